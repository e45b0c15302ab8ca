package op

import (
	"errors"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var elementwiseOps = table{
	"Add": fresh[Add], "Sub": fresh[Sub], "Mul": fresh[Mul], "Div": fresh[Div], "Mod": fresh[Mod], "Pow": fresh[Pow],
	"Min": fresh[Min], "Max": fresh[Max], "Sum": fresh[Sum], "Mean": fresh[Mean],
	"And": fresh[And], "Or": fresh[Or], "Xor": fresh[Xor], "Not": fresh[Not],
	"BitwiseAnd": fresh[BitwiseAnd], "BitwiseOr": fresh[BitwiseOr], "BitwiseXor": fresh[BitwiseXor],
	"BitwiseNot": fresh[BitwiseNot], "BitShift": fresh[BitShift],
	"Equal": fresh[Equal], "Less": fresh[Less], "LessOrEqual": fresh[LessOrEqual],
	"Greater": fresh[Greater], "GreaterOrEqual": fresh[GreaterOrEqual], "Where": fresh[Where],
	"Abs": fresh[Abs], "Neg": fresh[Neg], "Sign": fresh[Sign], "Clip": fresh[Clip],
	"Ceil": fresh[Ceil], "Floor": fresh[Floor], "Round": fresh[Round], "Sqrt": fresh[Sqrt], "Reciprocal": fresh[Reciprocal],
	"Exp": fresh[Exp], "Log": fresh[Log], "Erf": fresh[Erf],
	"Sin": fresh[Sin], "Cos": fresh[Cos], "Tan": fresh[Tan], "Asin": fresh[Asin], "Acos": fresh[Acos], "Atan": fresh[Atan],
	"Sinh": fresh[Sinh], "Cosh": fresh[Cosh], "Tanh": fresh[Tanh], "Asinh": fresh[Asinh], "Acosh": fresh[Acosh], "Atanh": fresh[Atanh],
	"IsNaN": fresh[IsNaN], "IsInf": fresh[IsInf], "CumSum": fresh[CumSum], "CumProd": fresh[CumProd],
}

// numeric is Infer of a binary operator on numbers of one type.
type numeric struct{}

func (numeric) Infer(in []graph.Type) ([]graph.Type, error) { return inferBinary(in, numbers) }

// Add is A + B with broadcasting.
type Add struct{ numeric }

func (*Add) Kind() string { return "Add" }

func (*Add) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalArith(e, in, addition)
}

// Sub is A - B with broadcasting.
type Sub struct{ numeric }

func (*Sub) Kind() string { return "Sub" }

func (*Sub) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalArith(e, in, subtraction)
}

// Mul is A * B with broadcasting.
type Mul struct{ numeric }

func (*Mul) Kind() string { return "Mul" }

func (*Mul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalArith(e, in, multiplication)
}

// Div is A / B with broadcasting; integers are divided towards zero, and an integer division by zero is an error.
type Div struct{ numeric }

func (*Div) Kind() string { return "Div" }

func (*Div) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalArith(e, in, division)
}

// Mod is the remainder of A / B with broadcasting. Without Fmod the quotient is rounded down and the result has the sign of
// B; with it the quotient is cut and the result has the sign of A.
type Mod struct {
	numeric
	Fmod bool `attr:"fmod,0"`
}

func (*Mod) Kind() string { return "Mod" }

func (o *Mod) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if o.Fmod {
		return evalArith(e, in, fmod)
	}
	return evalArith(e, in, modulo)
}

// inferBinary is Infer of an operator on two inputs of one element type out of set, with broadcasting.
func inferBinary(in []graph.Type, set dtypeSet) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	return inferSame(in, set)
}

// inferSame is inferBinary for any number of inputs.
func inferSame(in []graph.Type, set dtypeSet) ([]graph.Type, error) {
	d, err := inferCommon(in, 0, -1, set)
	if err != nil {
		return nil, err
	}
	return one(broadcastTypes(d, in...))
}

// arith is a binary operation on numbers.
type arith uint8

const (
	addition arith = iota
	subtraction
	multiplication
	division
	modulo // rounded down
	fmod   // cut
	maximum
	minimum
)

func evalArith(e *graph.Env, in []*tensor.Tensor, op arith) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	return e.Single(arithTensor(e, in[0], in[1], op))
}

var errDivideByZero = errors.New("integer division by zero")

// arithTensor computes op on two dense tensors of one element type.
func arithTensor(e *graph.Env, a, b *tensor.Tensor, op arith) (*tensor.Tensor, error) {
	if err := numbers.check(0, a.DType); err != nil {
		return nil, err
	}
	pair, err := broadcastPair(e, a, b)
	if err != nil {
		return nil, err
	}
	defer pair.Done()
	w := pair.V.walk
	out := e.New(a.DType, pair.V.shape...)
	ok := true
	switch a.DType {
	case tensor.Float32:
		zip(e, w, tensor.Data[float32](out), tensor.Data[float32](a), tensor.Data[float32](b), arithRow32(op))
	case tensor.Float64:
		zip(e, w, tensor.Data[float64](out), tensor.Data[float64](a), tensor.Data[float64](b), realRow[float64](op))
	case tensor.Float16:
		zip(e, w, tensor.Data[tensor.Half](out), tensor.Data[tensor.Half](a), tensor.Data[tensor.Half](b), throughF32[tensor.Half](arithRow32(op)))
	case tensor.BFloat16:
		zip(e, w, tensor.Data[tensor.BF16](out), tensor.Data[tensor.BF16](a), tensor.Data[tensor.BF16](b), throughF32[tensor.BF16](arithRow32(op)))
	case tensor.Int8:
		ok = arithInts[int8](e, w, out, a, b, op)
	case tensor.Int16:
		ok = arithInts[int16](e, w, out, a, b, op)
	case tensor.Int32:
		ok = arithInts[int32](e, w, out, a, b, op)
	case tensor.Int64:
		ok = arithInts[int64](e, w, out, a, b, op)
	case tensor.Uint8:
		ok = arithInts[uint8](e, w, out, a, b, op)
	case tensor.Uint16:
		ok = arithInts[uint16](e, w, out, a, b, op)
	case tensor.Uint32:
		ok = arithInts[uint32](e, w, out, a, b, op)
	case tensor.Uint64:
		ok = arithInts[uint64](e, w, out, a, b, op)
	}
	if !ok {
		return nil, errDivideByZero
	}
	return out, nil
}

// arithInts reports false, and computes nothing, where the operation divides by zero.
func arithInts[T integer](e *graph.Env, w *broadcast, out, a, b *tensor.Tensor, op arith) bool {
	y := tensor.Data[T](b)
	if (op == division || op == modulo || op == fmod) && w.n > 0 {
		for _, v := range y {
			if v == 0 {
				return false
			}
		}
	}
	zip(e, w, tensor.Data[T](out), tensor.Data[T](a), y, intRow[T](op))
	return true
}

func arithRow32(op arith) func(dst, a, b []float32) {
	switch op {
	case addition:
		return kernel.Add
	case subtraction:
		return kernel.Sub
	case multiplication:
		return kernel.Mul
	case division:
		return kernel.Div
	}
	return realRow[float32](op)
}

func realRow[T float32 | float64](op arith) func(dst, a, b []T) {
	switch op {
	case modulo:
		return func(dst, a, b []T) {
			for i := range dst {
				dst[i] = T(floorMod(float64(a[i]), float64(b[i])))
			}
		}
	case fmod:
		return func(dst, a, b []T) {
			for i := range dst {
				dst[i] = T(math.Mod(float64(a[i]), float64(b[i])))
			}
		}
	}
	return numberRow[T](op)
}

func floorMod(x, y float64) float64 {
	r := math.Mod(x, y)
	switch {
	case r == 0:
		return math.Copysign(0, y)
	case r < 0 != (y < 0):
		return r + y
	}
	return r
}

func intRow[T integer](op arith) func(dst, a, b []T) {
	switch op {
	case modulo:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i, y := range b {
				r := a[i] % y
				if r != 0 && r < 0 != (y < 0) {
					r += y
				}
				dst[i] = r
			}
		}
	case fmod:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i, y := range b {
				dst[i] = a[i] % y
			}
		}
	}
	return numberRow[T](op)
}

// numberRow returns the loop of an operation that reads the same for all numbers. The maximum and minimum of NaN and
// anything is NaN.
func numberRow[T number](op arith) func(dst, a, b []T) {
	switch op {
	case addition:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] + b[i]
			}
		}
	case subtraction:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] - b[i]
			}
		}
	case multiplication:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] * b[i]
			}
		}
	case division:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] / b[i]
			}
		}
	case maximum:
		return func(dst, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = max(a[i], b[i])
			}
		}
	}
	return func(dst, a, b []T) {
		a, b = a[:len(dst)], b[:len(dst)]
		for i := range dst {
			dst[i] = min(a[i], b[i])
		}
	}
}
