package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// GlobalMaxPool is the ONNX operator GlobalMaxPool.
type GlobalMaxPool struct{}

func (*GlobalMaxPool) Kind() string { return "GlobalMaxPool" }

func (*GlobalMaxPool) Infer(in []graph.Type) ([]graph.Type, error) { return inferGlobal(in) }

func (*GlobalMaxPool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalGlobal(e, in, maxOf[float32], maxOf[float64])
}

func maxOf[T float32 | float64](x []T) T {
	best := T(math.Inf(-1))
	for _, v := range x {
		best = max(best, v)
	}
	return best
}

// GlobalAveragePool is the ONNX operator GlobalAveragePool.
type GlobalAveragePool struct{}

func (*GlobalAveragePool) Kind() string { return "GlobalAveragePool" }

func (*GlobalAveragePool) Infer(in []graph.Type) ([]graph.Type, error) { return inferGlobal(in) }

func (*GlobalAveragePool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalGlobal(e, in, meanOf[float32], meanOf[float64])
}

func meanOf[T float32 | float64](x []T) T { return sumOf(x) / T(len(x)) }

func sumOf[T float32 | float64](x []T) T {
	if f, ok := any(x).([]float32); ok {
		return T(kernel.Sum(f))
	}
	var s T
	for _, v := range x {
		s += v
	}
	return s
}

// GlobalLpPool is the ONNX operator GlobalLpPool.
type GlobalLpPool struct {
	P int `attr:"p,2"`
}

func (*GlobalLpPool) Kind() string { return "GlobalLpPool" }

func (o *GlobalLpPool) Infer(in []graph.Type) ([]graph.Type, error) {
	if o.P < 1 {
		return nil, fmt.Errorf("p: want at least 1, got %d", o.P)
	}
	return inferGlobal(in)
}

func (o *GlobalLpPool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalGlobal(e, in, func(x []float32) float32 { return normOf(x, o.P) }, func(x []float64) float64 { return normOf(x, o.P) })
}

func normOf[T float32 | float64](x []T, p int) T {
	sum := 0.0
	for _, v := range x {
		sum += absPower(float64(v), p)
	}
	return T(root(sum, p))
}

func inferGlobal(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	x := in[0]
	if err := floats.check(0, x.DType); err != nil {
		return nil, err
	}
	return one(inferGlobalType(x))
}

// inferGlobalType is x with all spatial dimensions 1.
func inferGlobalType(x graph.Type) (graph.Type, error) {
	if !x.Ranked {
		return graph.Unranked(x.DType), nil
	}
	if len(x.Dims) < 2 {
		return graph.Type{}, fmt.Errorf("want at least 2 dimensions, got %v", x)
	}
	out := graph.Ranked(x.DType, x.Dims[0], x.Dims[1])
	for range x.Dims[2:] {
		out.Dims = append(out.Dims, graph.Known(1))
	}
	return out, nil
}

func evalGlobal(e *graph.Env, in []*tensor.Tensor, f32 func([]float32) float32, f64 func([]float64) float64) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalPlanes(e, in[0], f32)) },
		func() ([]*tensor.Tensor, error) { return one(evalPlanes(e, in[0], f64)) })
}

// evalPlanes reduces each image plane to one value.
func evalPlanes[T float32 | float64](e *graph.Env, t *tensor.Tensor, f func([]T) T) (*tensor.Tensor, error) {
	if t.Rank() < 2 {
		return nil, fmt.Errorf("want at least 2 dimensions, got %v", t)
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	shape := t.Shape.Clone()
	for i := range shape[2:] {
		shape[2+i] = 1
	}
	size := t.Shape[2:].Len()
	y, done := realOutput[T](e, t.DType, shape)
	e.For(len(y), max(1, elementGrain/max(size, 1)), func(lo, hi int) {
		for p := lo; p < hi; p++ {
			y[p] = f(x[p*size : (p+1)*size])
		}
	})
	return done(), nil
}
