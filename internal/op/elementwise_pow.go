package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Pow is X to the power of Y with broadcasting. The result has the element type of X; the powers of integers wrap around, and
// one that is no integer is cut towards zero.
type Pow struct{}

var powBases = floats | indexInts

func (*Pow) Kind() string { return "Pow" }

func (*Pow) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := powBases.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if err := numbers.check(1, in[1].DType); err != nil {
		return nil, err
	}
	return one(broadcastTypes(in[0].DType, in...))
}

func (*Pow) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x, y := in[0], in[1]
	if err := powBases.check(0, x.DType); err != nil {
		return nil, err
	}
	if err := numbers.check(1, y.DType); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(x, y)
	if err != nil {
		return nil, err
	}
	if y.Len() == 1 && x.DType == tensor.Float32 && len(shape) == len(x.Shape) {
		exponent, err := scalarFloat(y)
		if err != nil {
			return nil, err
		}
		if row := fixedPower(exponent); row != nil {
			out := e.New(x.DType, shape...)
			eachRow(e, tensor.Data[float32](out), tensor.Data[float32](x), row)
			return []*tensor.Tensor{out}, nil
		}
	}
	// The type that is computed in: that of X where X is real, else one that holds both X and Y.
	d := goType(x.DType)
	switch {
	case x.DType.IsInt() && y.DType.IsInt():
		d = tensor.Int64
	case x.DType.IsInt():
		d = tensor.Float64
	}
	a, err := castTensor(e, x, d, castMode{})
	if err != nil {
		return nil, err
	}
	b, err := castTensor(e, y, d, castMode{})
	if err != nil {
		return nil, err
	}
	w := newBroadcast(shape, x.Shape, y.Shape)
	out := e.New(d, shape...)
	switch d {
	case tensor.Float32:
		zip(e, w, tensor.Data[float32](out), tensor.Data[float32](a), tensor.Data[float32](b), powRow[float32])
	case tensor.Float64:
		zip(e, w, tensor.Data[float64](out), tensor.Data[float64](a), tensor.Data[float64](b), powRow[float64])
	case tensor.Int64:
		zip(e, w, tensor.Data[int64](out), tensor.Data[int64](a), tensor.Data[int64](b), func(dst, a, b []int64) {
			for i := range dst {
				dst[i] = intPower(a[i], b[i])
			}
		})
	default:
		return nil, fmt.Errorf("element type %v is not supported", d)
	}
	return one(castTensor(e, out, x.DType, castMode{}))
}

// fixedPower returns a loop for the exponents that models use most, or nil.
func fixedPower(y float64) func(dst, x []float32) {
	switch y {
	case 2:
		return func(dst, x []float32) { kernel.Mul(dst, x, x) }
	case 3:
		return func(dst, x []float32) {
			for i, v := range x {
				dst[i] = float32(float64(v) * float64(v) * float64(v))
			}
		}
	case 0.5:
		return func(dst, x []float32) {
			for i, v := range x {
				dst[i] = float32(math.Pow(float64(v), 0.5))
			}
		}
	}
	return nil
}

func powRow[T float32 | float64](dst, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = T(math.Pow(float64(a[i]), float64(b[i])))
	}
}

// intPower is x to the power of y modulo 2^64; a negative y gives the integral part of the fraction, 0 where x is 0.
func intPower(x, y int64) int64 {
	if y < 0 {
		switch {
		case x == 1 || x == -1 && y%2 == 0:
			return 1
		case x == -1:
			return -1
		}
		return 0
	}
	r := int64(1)
	for ; y > 0; y >>= 1 {
		if y&1 == 1 {
			r *= x
		}
		x *= x
	}
	return r
}
