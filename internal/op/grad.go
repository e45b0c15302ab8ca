package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// What the Backward methods of the operators share. They compute on float32 and float64; training holds its values in one of these.

// operandSet returns a set of inputs or outputs for [graph.Recalling].
func operandSet(i ...int) uint64 {
	var s uint64
	for _, k := range i {
		s |= 1 << k
	}
	return s
}

// gradElems lists the element types that are trained in.
type gradElems interface{ float32 | float64 }

// checkGrad returns an error unless d is an element type that is trained in.
func checkGrad(d tensor.DType) error {
	if d != tensor.Float32 && d != tensor.Float64 {
		return fmt.Errorf("gradients of %v are not available, only of float32 and float64", d)
	}
	return nil
}

// byGrad runs the one or the other function by the element type of a gradient.
func byGrad(d tensor.DType, f32, f64 func() error) error {
	switch d {
	case tensor.Float32:
		return f32()
	case tensor.Float64:
		return f64()
	}
	return checkGrad(d)
}

// gradList is the list of gradients for n inputs of which the first are given.
func gradList(n int, first ...*tensor.Tensor) []*tensor.Tensor {
	out := make([]*tensor.Tensor, n)
	copy(out, first)
	return out
}

// sumTo adds a gradient up over the dimensions along which an input of the given shape was broadcast.
func sumTo(e *graph.Env, d *tensor.Tensor, shape tensor.Shape) (*tensor.Tensor, error) {
	if d.Shape.Equal(shape) {
		return d, nil
	}
	if d.Len() == shape.Len() {
		return e.View(d, shape...), nil
	}
	out := e.Zeros(d.DType, shape...)
	err := byGrad(d.DType,
		func() error { return sumInto(e, tensor.Data[float32](out), shape, tensor.Data[float32](d), d.Shape) },
		func() error { return sumInto(e, tensor.Data[float64](out), shape, tensor.Data[float64](d), d.Shape) })
	return out, err
}

func sumInto[T gradElems](e *graph.Env, dst []T, shape tensor.Shape, d []T, from tensor.Shape) error {
	wide := make(tensor.Shape, len(from))
	for i := range wide {
		wide[i] = 1
	}
	copy(wide[len(from)-len(shape):], shape)
	reduced := make([]bool, len(from))
	for i := range from {
		reduced[i] = wide[i] == 1 && from[i] != 1
	}
	acc := make([]float64, len(dst))
	r := newReduction(from, reduced)
	along := r.along()
	r.each(e, func(x, n, out int) {
		run := d[x : x+n]
		if along {
			acc[out] += float64(sumOf(run))
			return
		}
		to := acc[out : out+n]
		for i, v := range run {
			to[i] += float64(v)
		}
	})
	for i, v := range acc {
		dst[i] = T(v)
	}
	return nil
}

// mapGrad returns d times the derivative at each element of x.
func mapGrad(e *graph.Env, d, x *tensor.Tensor, derivative func(float64) float64) ([]*tensor.Tensor, error) {
	out := e.New(d.DType, d.Shape...)
	err := byGrad(d.DType,
		func() error {
			mapGradOf(e, tensor.Data[float32](out), tensor.Data[float32](d), tensor.Data[float32](x), derivative)
			return nil
		},
		func() error {
			mapGradOf(e, tensor.Data[float64](out), tensor.Data[float64](d), tensor.Data[float64](x), derivative)
			return nil
		})
	return e.Single(out, err)
}

func mapGradOf[T gradElems](e *graph.Env, dst, d, x []T, derivative func(float64) float64) {
	e.For(len(dst), elementGrain/16, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst[i] = T(float64(d[i]) * derivative(float64(x[i])))
		}
	})
}

// multiplied returns a*b of one shape, row by row by the kernels.
func multiplied(e *graph.Env, a, b *tensor.Tensor) (*tensor.Tensor, error) {
	return arithTensor(e, a, b, multiplication)
}

// scaledGrad returns d*s.
func scaledGrad(e *graph.Env, d *tensor.Tensor, s float64) (*tensor.Tensor, error) {
	out := e.New(d.DType, d.Shape...)
	err := byGrad(d.DType,
		func() error {
			x, y := tensor.Data[float32](d), tensor.Data[float32](out)
			e.For(len(y), elementGrain, func(lo, hi int) { kernel.Scale(y[lo:hi], x[lo:hi], float32(s)) })
			return nil
		},
		func() error {
			x, y := tensor.Data[float64](d), tensor.Data[float64](out)
			for i, v := range x {
				y[i] = v * s
			}
			return nil
		})
	return out, err
}

// floatsOf converts elements to float64, without a copy where they are.
func floatsOf(t *tensor.Tensor) ([]float64, error) {
	if t.DType == tensor.Float64 {
		return tensor.Data[float64](t), nil
	}
	return t.Float64s()
}
