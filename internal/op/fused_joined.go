package op

import (
	"fmt"
	"runtime"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// JoinedMatMul is several lowered products of the same x with encoded weights, such as those that give queries, keys and values: x is rounded
// once, and threads share all of the work. Its outputs are those of the products. It has no ONNX form and is never saved.
type JoinedMatMul struct{ parts []*PackedMatMul }

// JoinMatMul returns the operator; false where the products have nothing to share.
func JoinMatMul(parts []*PackedMatMul) (*JoinedMatMul, bool) {
	if len(parts) < 2 || len(parts) > packed.MostTogether {
		return nil, false
	}
	for _, p := range parts {
		if p.residual || p.weight.encoded == nil || !packed.Together(parts[0].weight.encoded, p.weight.encoded) {
			return nil, false
		}
	}
	return &JoinedMatMul{parts}, true
}

// Rounded is [PackedMatMul.Rounded] of all products.
func (o *JoinedMatMul) Rounded() *JoinedMatMul {
	c := &JoinedMatMul{}
	for _, p := range o.parts {
		c.parts = append(c.parts, p.Rounded())
	}
	return c
}

// Kind names the operator.
func (o *JoinedMatMul) Kind() string { return "JoinedMatMul" }

// Infer gives the types of all products.
func (o *JoinedMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	var out []graph.Type
	for _, p := range o.parts {
		t, err := p.Infer(in)
		if err != nil {
			return nil, err
		}
		out = append(out, t...)
	}
	return out, nil
}

// Eval makes the products.
func (o *JoinedMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := wantFloat32(0, in[0].DType); err != nil {
		return nil, err
	}
	out := make([]*tensor.Tensor, len(o.parts))
	var products [packed.MostTogether]packed.Product
	k, rows := o.parts[0].weight.k, 0
	for i, p := range o.parts {
		var shape []int
		if rows, shape, err = leadingRows(e, in[0].Shape, k, p.weight.n); err != nil {
			return nil, fmt.Errorf("product %d: %w", i, err)
		}
		out[i] = e.New(tensor.Float32, shape...)
		products[i] = packed.Product{M: p.weight.encoded, Dst: tensor.Data[float32](out[i]), Ldd: max(p.weight.n, 1)}
	}
	packed.MultiplyTogether(e.Workers(), rows, tensor.Data[float32](in[0]), max(k, 1), products[:len(o.parts)])
	runtime.KeepAlive(o) // and with it the packed weights
	for i, p := range o.parts {
		if out[i], err = p.end(e, out[i], nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}
