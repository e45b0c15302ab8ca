package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// FuseGates makes activation(x)*y one operator, for x and y of the same shape: the middle of gated feed-forward networks.
func FuseGates(g *graph.Graph) error {
	f := newFuser(g)
	for _, m := range g.Nodes {
		if m.Op.Kind() != "Mul" || f.gone[m] || len(m.In) != 2 || m.In[0] == m.In[1] {
			continue
		}
		for i, v := range m.In {
			chain, x, a := f.gate(v)
			y := m.In[1-i]
			if chain == nil || f.next(chain[len(chain)-1]) != m || x == y || !sameShape(x.Type, y.Type) {
				continue
			}
			f.replace(append(chain, m), op.NewGate(a), x, y)
			break
		}
	}
	return f.finish()
}

// gate finds the nodes that compute v = activation(x): one operator, or x*sigmoid(x).
func (f *fuser) gate(v *graph.Value) (chain []*graph.Node, x *graph.Value, a op.Activation) {
	n := v.Node
	if n == nil || f.gone[n] || len(n.In) == 0 || v.Type.DType != tensor.Float32 {
		return nil, nil, a
	}
	if n.Op.Kind() == "Mul" && len(n.In) == 2 {
		for i, s := range n.In {
			if s.Node == nil || f.gone[s.Node] || s.Node.Op.Kind() != "Sigmoid" || s.Node.In[0] != n.In[1-i] || f.next(s.Node) != n {
				continue
			}
			silu, ok := op.NewActivation(&op.Swish{Alpha: 1}, nil, nil)
			if !ok {
				break
			}
			return []*graph.Node{s.Node, n}, n.In[1-i], silu
		}
		return nil, nil, a
	}
	a, ok := f.activation(n, n.In[0])
	if !ok {
		return nil, nil, a
	}
	return []*graph.Node{n}, n.In[0], a
}

// sameShape reports whether two types are of float32 and have the same dimensions for certain.
func sameShape(a, b graph.Type) bool {
	return a.DType == tensor.Float32 && b.DType == tensor.Float32 && a.Ranked && b.Ranked && slices.Equal(a.Dims, b.Dims) &&
		!slices.ContainsFunc(a.Dims, func(d graph.Dim) bool { return d == graph.Unknown })
}
