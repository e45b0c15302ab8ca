package train

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// gradient computes Backward of an operator: its inputs are the n inputs and m outputs of that and the gradients of the outputs, its outputs
// the gradients of the inputs. It is never saved.
type gradient struct {
	of       graph.Differentiable
	n, m     int
	outlines []*tensor.Tensor // in place of inputs and outputs whose elements are not read
	types    []graph.Type     // of the gradients
}

func (o *gradient) Kind() string { return "GradientOf" + o.of.Kind() }

// Infer implements [graph.Op].
func (o *gradient) Infer([]graph.Type) ([]graph.Type, error) { return o.types, nil }

// Overwrites implements [graph.Overwriting]: the gradient of the first input may lie where that of the first output did.
func (o *gradient) Overwrites() int {
	if _, ok := o.of.(interface{ BackwardOver() }); ok {
		return o.n + o.m
	}
	return -1
}

// Eval implements [graph.Op].
func (o *gradient) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	kept := graph.Keep[[]*tensor.Tensor](e)
	defer kept.Done()
	args := append(kept.V[:0], in...)
	kept.V = args
	for i, t := range o.outlines {
		if t != nil {
			args[i] = t
		}
	}
	d := args[o.n+o.m:]
	for i, t := range d {
		if t != nil && !t.DType.IsFloat() {
			return nil, fmt.Errorf("gradient of output %d is of %v", i, t.DType)
		}
	}
	out, err := o.of.Backward(e, args[:o.n:o.n], args[o.n:o.n+o.m:o.n+o.m], d)
	if err != nil {
		return nil, fmt.Errorf("gradient: %w", err)
	}
	for i, v := range e.Out {
		if v == nil {
			continue
		}
		if i >= len(out) || out[i] == nil {
			if i >= len(out) {
				out = append(out, make([]*tensor.Tensor, i+1-len(out))...)
			}
			shape, known := o.types[i].Shape()
			if args[i] != nil {
				shape, known = args[i].Shape, true
			}
			if !known {
				return nil, fmt.Errorf("gradient of input %d has no known shape", i)
			}
			out[i] = e.Zeros(o.types[i].DType, shape...) // it does not depend on it
		}
	}
	return out, nil
}

// accumulate is the sum of two gradients of one value.
type accumulate struct{}

func (*accumulate) Kind() string { return "AccumulateGradient" }

// Infer implements [graph.Op].
func (*accumulate) Infer(in []graph.Type) ([]graph.Type, error) {
	t := in[0]
	t.Const = nil
	return []graph.Type{t}, nil
}

// Overwrites implements [graph.Overwriting].
func (*accumulate) Overwrites() int { return 0 }

// Eval implements [graph.Op].
func (*accumulate) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	a, b := in[0], in[1]
	if !a.Shape.Equal(b.Shape) || a.DType != b.DType {
		return nil, fmt.Errorf("gradients of one value are %v and %v", a, b)
	}
	out := e.NewOver(a)
	if a.DType == tensor.Float64 {
		x, y, z := tensor.Data[float64](a), tensor.Data[float64](b), tensor.Data[float64](out)
		for i, v := range x {
			z[i] = v + y[i]
		}
		return e.One(out), nil
	}
	adding.For(e.Workers(), a.Len(), 1<<14, addArgs{tensor.Data[float32](out), tensor.Data[float32](a), tensor.Data[float32](b)}, (*addArgs).rows)
	return e.One(out), nil
}

var adding kernel.Jobs[addArgs]

type addArgs struct{ out, a, b []float32 }

func (a *addArgs) rows(lo, hi int) { kernel.Add(a.out[lo:hi], a.a[lo:hi], a.b[lo:hi]) }
