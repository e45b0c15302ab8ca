package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Abs is the magnitude.
type Abs struct{}

func (*Abs) Kind() string { return "Abs" }

func (*Abs) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, numbers) }

func (*Abs) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalUnary(e, in, numbers, absolute)
}

// Neg turns the sign around.
type Neg struct{}

func (*Neg) Kind() string { return "Neg" }

func (*Neg) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, floats|signed) }

func (*Neg) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalUnary(e, in, floats|signed, negative)
}

// Sign is 1, 0 or -1; NaN stays NaN.
type Sign struct{}

func (*Sign) Kind() string { return "Sign" }

func (*Sign) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, numbers) }

func (*Sign) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalUnary(e, in, numbers, signum)
}

// unary is an operation on one number of any type.
type unary uint8

const (
	absolute unary = iota
	negative
	signum
	rectify // max(x, 0)
)

func evalUnary(e *graph.Env, in []*tensor.Tensor, set dtypeSet, op unary) ([]*tensor.Tensor, error) {
	t, err := single(in, set)
	if err != nil {
		return nil, err
	}
	out := e.New(t.DType, t.Shape...)
	switch t.DType {
	case tensor.Float32:
		row := unaryRow[float32](op)
		if op == rectify {
			row = kernel.ReLU
		}
		eachRow(e, tensor.Data[float32](out), tensor.Data[float32](t), row)
	case tensor.Float64:
		eachRow(e, tensor.Data[float64](out), tensor.Data[float64](t), unaryRow[float64](op))
	case tensor.Float16:
		eachRow(e, tensor.Data[tensor.Half](out), tensor.Data[tensor.Half](t), unaryThroughF32[tensor.Half](unaryRow[float32](op)))
	case tensor.BFloat16:
		eachRow(e, tensor.Data[tensor.BF16](out), tensor.Data[tensor.BF16](t), unaryThroughF32[tensor.BF16](unaryRow[float32](op)))
	case tensor.Int8:
		eachRow(e, tensor.Data[int8](out), tensor.Data[int8](t), unaryRow[int8](op))
	case tensor.Int16:
		eachRow(e, tensor.Data[int16](out), tensor.Data[int16](t), unaryRow[int16](op))
	case tensor.Int32:
		eachRow(e, tensor.Data[int32](out), tensor.Data[int32](t), unaryRow[int32](op))
	case tensor.Int64:
		eachRow(e, tensor.Data[int64](out), tensor.Data[int64](t), unaryRow[int64](op))
	case tensor.Uint8:
		eachRow(e, tensor.Data[uint8](out), tensor.Data[uint8](t), unaryRow[uint8](op))
	case tensor.Uint16:
		eachRow(e, tensor.Data[uint16](out), tensor.Data[uint16](t), unaryRow[uint16](op))
	case tensor.Uint32:
		eachRow(e, tensor.Data[uint32](out), tensor.Data[uint32](t), unaryRow[uint32](op))
	case tensor.Uint64:
		eachRow(e, tensor.Data[uint64](out), tensor.Data[uint64](t), unaryRow[uint64](op))
	}
	return []*tensor.Tensor{out}, nil
}

func unaryRow[T number](op unary) func(dst, x []T) {
	switch op {
	case absolute:
		return func(dst, x []T) {
			for i, v := range x {
				if v <= 0 { // the difference makes +0 of -0
					v = 0 - v
				}
				dst[i] = v
			}
		}
	case negative:
		return func(dst, x []T) {
			for i, v := range x {
				dst[i] = -v
			}
		}
	case signum:
		return func(dst, x []T) {
			var minus T
			minus--
			for i, v := range x {
				switch {
				case v > 0:
					v = 1
				case v < 0:
					v = minus
				}
				dst[i] = v
			}
		}
	}
	return func(dst, x []T) {
		for i, v := range x {
			if v < 0 {
				v = 0
			}
			dst[i] = v
		}
	}
}

// real1 is Infer of an operator on one floating-point tensor.
type real1 struct{}

func (real1) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, floats) }

// evalReal is Eval of such an operator: f32 does a row of float32 values, f one float64 value. Types of 16 bits go through
// float32. A nil f32 is made of f.
func evalReal(e *graph.Env, in []*tensor.Tensor, f32 func(dst, x []float32), f func(float64) float64) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	return []*tensor.Tensor{mapReal(e, in[0], f32, f)}, nil
}

func mapReal(e *graph.Env, t *tensor.Tensor, f32 func(dst, x []float32), f func(float64) float64) *tensor.Tensor {
	if f32 == nil {
		f32 = func(dst, x []float32) {
			for i, v := range x {
				dst[i] = float32(f(float64(v)))
			}
		}
	}
	out := e.New(t.DType, t.Shape...)
	switch t.DType {
	case tensor.Float32:
		eachRow(e, tensor.Data[float32](out), tensor.Data[float32](t), f32)
	case tensor.Float64:
		eachRow(e, tensor.Data[float64](out), tensor.Data[float64](t), func(dst, x []float64) {
			for i, v := range x {
				dst[i] = f(v)
			}
		})
	case tensor.Float16:
		eachRow(e, tensor.Data[tensor.Half](out), tensor.Data[tensor.Half](t), unaryThroughF32[tensor.Half](f32))
	case tensor.BFloat16:
		eachRow(e, tensor.Data[tensor.BF16](out), tensor.Data[tensor.BF16](t), unaryThroughF32[tensor.BF16](f32))
	}
	return out
}

// Ceil rounds up to an integer.
type Ceil struct{ real1 }

func (*Ceil) Kind() string { return "Ceil" }

func (*Ceil) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		for i, v := range x {
			dst[i] = float32(math.Ceil(float64(v)))
		}
	}, math.Ceil)
}

// Floor rounds down to an integer.
type Floor struct{ real1 }

func (*Floor) Kind() string { return "Floor" }

func (*Floor) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		for i, v := range x {
			dst[i] = float32(math.Floor(float64(v)))
		}
	}, math.Floor)
}

// Round rounds to the nearest integer, half to even.
type Round struct{ real1 }

func (*Round) Kind() string { return "Round" }

func (*Round) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		for i, v := range x {
			dst[i] = float32(math.RoundToEven(float64(v)))
		}
	}, math.RoundToEven)
}

// Sqrt is the square root.
type Sqrt struct{ real1 }

func (*Sqrt) Kind() string { return "Sqrt" }

func (*Sqrt) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		for i, v := range x {
			dst[i] = float32(math.Sqrt(float64(v)))
		}
	}, math.Sqrt)
}

// Reciprocal is 1 / X.
type Reciprocal struct{ real1 }

func (*Reciprocal) Kind() string { return "Reciprocal" }

func (*Reciprocal) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		for i, v := range x {
			dst[i] = 1 / v
		}
	}, func(v float64) float64 { return 1 / v })
}

// Exp is e to the power of X.
type Exp struct{ real1 }

func (*Exp) Kind() string { return "Exp" }

func (*Exp) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, kernel.Exp, math.Exp)
}

// Log is the natural logarithm.
type Log struct{ real1 }

func (*Log) Kind() string { return "Log" }

func (*Log) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Log)
}

// Erf is the error function.
type Erf struct{ real1 }

func (*Erf) Kind() string { return "Erf" }

func (*Erf) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, kernel.Erf, math.Erf)
}
