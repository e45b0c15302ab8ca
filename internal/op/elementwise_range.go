package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Clip limits values to the range from the optional second input to the optional third; NaN stays NaN. Where the range is
// empty, the upper limit wins.
type Clip struct{}

func (*Clip) Kind() string { return "Clip" }

func (*Clip) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 1, 3, numbers)
	if err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

func (*Clip) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 3)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	t, lo, hi := in[0], arg(in, 1), arg(in, 2)
	for i, limit := range []*tensor.Tensor{lo, hi} {
		if limit != nil && limit.Len() != 1 {
			return nil, fmt.Errorf("input %d: want one value, got shape %v", i+1, limit.Shape)
		}
	}
	if lo == nil && hi == nil {
		return []*tensor.Tensor{t}, numbers.check(0, t.DType)
	}
	out := e.New(t.DType, t.Shape...)
	switch t.DType {
	case tensor.Float32:
		l, h := limits(lo, hi, float32(math.Inf(-1)), float32(math.Inf(1)))
		eachRow(e, tensor.Data[float32](out), tensor.Data[float32](t), func(dst, x []float32) { kernel.Clip(dst, x, l, h) })
	case tensor.Float64:
		clip(e, out, t, lo, hi, math.Inf(-1), math.Inf(1))
	case tensor.Float16:
		l, h := limits(wide32(lo), wide32(hi), float32(math.Inf(-1)), float32(math.Inf(1)))
		eachRow(e, tensor.Data[tensor.Half](out), tensor.Data[tensor.Half](t), unaryThroughF32[tensor.Half](func(dst, x []float32) { kernel.Clip(dst, x, l, h) }))
	case tensor.BFloat16:
		l, h := limits(wide32(lo), wide32(hi), float32(math.Inf(-1)), float32(math.Inf(1)))
		eachRow(e, tensor.Data[tensor.BF16](out), tensor.Data[tensor.BF16](t), unaryThroughF32[tensor.BF16](func(dst, x []float32) { kernel.Clip(dst, x, l, h) }))
	case tensor.Int8:
		clip[int8](e, out, t, lo, hi, math.MinInt8, math.MaxInt8)
	case tensor.Int16:
		clip[int16](e, out, t, lo, hi, math.MinInt16, math.MaxInt16)
	case tensor.Int32:
		clip[int32](e, out, t, lo, hi, math.MinInt32, math.MaxInt32)
	case tensor.Int64:
		clip[int64](e, out, t, lo, hi, math.MinInt64, math.MaxInt64)
	case tensor.Uint8:
		clip[uint8](e, out, t, lo, hi, 0, math.MaxUint8)
	case tensor.Uint16:
		clip[uint16](e, out, t, lo, hi, 0, math.MaxUint16)
	case tensor.Uint32:
		clip[uint32](e, out, t, lo, hi, 0, math.MaxUint32)
	case tensor.Uint64:
		clip[uint64](e, out, t, lo, hi, 0, math.MaxUint64)
	default:
		return nil, numbers.check(0, t.DType)
	}
	return []*tensor.Tensor{out}, nil
}

// limits reads the bounds, or gives the defaults.
func limits[T number](lo, hi *tensor.Tensor, least, most T) (T, T) {
	if lo != nil {
		least = tensor.Item[T](lo)
	}
	if hi != nil {
		most = tensor.Item[T](hi)
	}
	return least, most
}

func wide32(t *tensor.Tensor) *tensor.Tensor {
	if t == nil {
		return nil
	}
	return decoded(nil, t)
}

func clip[T number](e *graph.Env, out, t, lo, hi *tensor.Tensor, least, most T) {
	l, h := limits(lo, hi, least, most)
	eachRow(e, tensor.Data[T](out), tensor.Data[T](t), func(dst, x []T) {
		for i, v := range x {
			if v < l {
				v = l
			}
			if v > h {
				v = h
			}
			dst[i] = v
		}
	})
}

// IsNaN tells where X is not a number.
type IsNaN struct{}

func (*IsNaN) Kind() string { return "IsNaN" }

func (*IsNaN) Infer(in []graph.Type) ([]graph.Type, error) { return inferTest(in) }

func (*IsNaN) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalTest(e, in, func(v float64) bool { return v != v })
}

// IsInf tells where X is infinite, of the signs asked for.
type IsInf struct {
	Negative bool `attr:"detect_negative,1"`
	Positive bool `attr:"detect_positive,1"`
}

func (*IsInf) Kind() string { return "IsInf" }

func (*IsInf) Infer(in []graph.Type) ([]graph.Type, error) { return inferTest(in) }

func (o *IsInf) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalTest(e, in, func(v float64) bool { return o.Positive && v > math.MaxFloat64 || o.Negative && v < -math.MaxFloat64 })
}

func inferTest(in []graph.Type) ([]graph.Type, error) {
	out, err := inferUnary(in, floats|float8s)
	if err != nil {
		return nil, err
	}
	out[0].DType = tensor.Bool
	return out, nil
}

func evalTest(e *graph.Env, in []*tensor.Tensor, test func(float64) bool) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := (floats | float8s).check(0, in[0].DType); err != nil {
		return nil, err
	}
	t := decoded(e, in[0])
	out := e.New(tensor.Bool, t.Shape...)
	if t.DType == tensor.Float64 {
		eachRow(e, tensor.Data[bool](out), tensor.Data[float64](t), func(dst []bool, x []float64) {
			for i, v := range x {
				dst[i] = test(v)
			}
		})
	} else {
		eachRow(e, tensor.Data[bool](out), tensor.Data[float32](t), func(dst []bool, x []float32) {
			for i, v := range x {
				dst[i] = test(float64(v))
			}
		})
	}
	return []*tensor.Tensor{out}, nil
}
