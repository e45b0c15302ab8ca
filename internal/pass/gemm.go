package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// SplitGemm is a Gemm that was taken apart, see [SplitGemms].
type SplitGemm struct {
	whole   *graph.Node
	product *graph.Node
	weight  *graph.Value
	parts   []*graph.Node
}

// SplitGemms takes every Gemm with a constant matrix of floats apart: Y = alpha*A*B + beta*C becomes a product that has the name of the Gemm, of A
// transposed if the Gemm says so and of B as it lies, and what is left of the factors and the sum. Methods that quantize weights alone replace the
// product, see [RestoreGemms].
func SplitGemms(g *graph.Graph) ([]SplitGemm, error) {
	x := &expander{fuser: newFuser(g), names: g.ValueNames()}
	names := g.NodeNames()
	var out []SplitGemm
	for _, n := range g.Nodes {
		o, ok := n.Op.(*op.Gemm)
		if !ok || g.IsParam(n.In[0]) || !g.IsParam(n.In[1]) || n.In[1].Data.DType() != tensor.Float32 || len(n.In[1].Data.Shape()) != 2 {
			continue
		}
		x.n, x.nodes = n, nil
		factor := func(v *graph.Value, f float32) *graph.Value {
			if f == 1 || v == nil {
				return v
			}
			return x.add(&op.Mul{}, v, graph.Param(x.names.Fresh(n.Name+"_factor"), tensor.Scalar(f)))
		}
		a := n.In[0]
		if o.TransA {
			a = x.add(&op.Transpose{Perm: []int{1, 0}}, a)
		}
		y := x.add(&op.FusedMatMul{Alpha: 1, TransB: o.TransB}, a, n.In[1])
		if y == nil {
			continue
		}
		product := y.Node
		y = factor(y, o.Alpha)
		if c := optional(n.In, 2); c != nil && o.Beta != 0 {
			y = x.add(&op.Add{}, y, factor(c, o.Beta))
		}
		if x.end(y); !x.gone[n] {
			continue
		}
		for _, m := range x.nodes {
			if m != product {
				m.Name = names.Fresh(n.Name + "_" + m.Op.Kind())
			}
		}
		out = append(out, SplitGemm{n, product, n.In[1], slices.Clone(x.nodes)})
	}
	return out, x.finish()
}

// RestoreGemms puts those back together whose product is what it was.
func RestoreGemms(g *graph.Graph, list []SplitGemm) {
	at, gone := map[*graph.Node]*graph.Node{}, map[*graph.Node]bool{}
	for _, s := range list {
		if _, ok := s.product.Op.(*op.FusedMatMul); !ok || s.product.In[1] != s.weight {
			continue
		}
		for _, n := range s.parts {
			gone[n] = true
		}
		at[s.parts[len(s.parts)-1]] = s.whole
	}
	var nodes []*graph.Node
	for _, n := range g.Nodes {
		switch whole := at[n]; {
		case whole != nil:
			whole.Out[0].Node = whole
			nodes = append(nodes, whole)
		case !gone[n]:
			nodes = append(nodes, n)
		}
	}
	g.Nodes = nodes
}
