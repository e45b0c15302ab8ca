package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gate is a lowered activation(x)*y for float32 x and y of the same shape, the middle of a gated feed-forward network (Shazeer, "GLU Variants
// Improve Transformer"). It has no ONNX form and is never saved.
type Gate struct{ activation Activation }

// NewGate returns the operator for an activation that does something.
func NewGate(a Activation) *Gate { return &Gate{a} }

// Kind names the operator.
func (o *Gate) Kind() string { return o.activation.name + "Gate" }

// Infer gives the type of x.
func (o *Gate) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	for i, t := range in {
		if err := wantFloat32(i, t.DType); err != nil {
			return nil, err
		}
	}
	return []graph.Type{retyped(in[0], tensor.Float32)}, nil
}

// Eval computes it, in pieces that stay in the cache.
func (o *Gate) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	for i, t := range in {
		if err := wantFloat32(i, t.DType); err != nil {
			return nil, err
		}
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return nil, fmt.Errorf("want two values of the same shape, got %v and %v", in[0], in[1])
	}
	t := e.New(tensor.Float32, in[0].Shape...)
	a := gating{o.activation.row, tensor.Data[float32](t), tensor.Data[float32](in[0]), tensor.Data[float32](in[1])}
	gatings.For(e.Workers(), len(a.dst), elementGrain/4, a, (*gating).run)
	return e.Single(t, nil)
}

var gatings kernel.Jobs[gating]

type gating struct {
	row       func(dst, x []float32)
	dst, x, y []float32
}

func (g *gating) run(lo, hi int) {
	const piece = 2048
	for ; lo < hi; lo += piece {
		end := min(lo+piece, hi)
		g.row(g.dst[lo:end], g.x[lo:end])
		kernel.Mul(g.dst[lo:end], g.dst[lo:end], g.y[lo:end])
	}
}
