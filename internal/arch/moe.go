package arch

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// MoE is a mixture of experts (Shazeer et al., arXiv:1701.06538): a router gives each token to a few of many feed-forward networks
// and adds up what they make of it. Each expert computes the tokens that it was given and no others; how many those are is a value
// of the graph, [Counts].
type MoE struct {
	Router    string // a matrix [len(Experts), hidden]; the probability of an expert is the softmax of its products
	PerToken  int    // how many experts a token goes to
	Normalize bool   // the probabilities of those are made to sum to 1
	Experts   []Feed
	Shared    Feed   // for all tokens; nil: none
	Gate      string // a matrix [1, hidden] whose sigmoid Shared is multiplied by; "": not
}

// Counts is the end of the name of the value that has how many tokens each expert of a layer computes, int64 [experts].
const Counts = ".tokens"

func (m *MoE) record(n *net, x *graph.Value, prefix string, hidden int) *graph.Value {
	router := n.matrix(prefix+m.Router+".weight", len(m.Experts), hidden)
	if x == nil || router == nil {
		return nil
	}
	d := m.dispatch(n, x, router, prefix, hidden)
	made := make([]*graph.Value, len(m.Experts))
	for i, e := range m.Experts {
		if made[i] = e.record(n, d.parts[i], prefix, hidden); made[i] == nil {
			return nil
		}
	}
	y := d.collect(n, made, prefix, hidden)
	if m.Shared == nil {
		return n.shaped(y, x, prefix)
	}
	z := m.Shared.record(n, d.flat, prefix, hidden)
	if z == nil {
		return nil
	}
	if m.Gate != "" {
		gate := n.matrix(prefix+m.Gate+".weight", 1, hidden)
		if gate == nil {
			return nil
		}
		n.at(prefix+m.Gate, func() { z = n.Node("Mul", nil, z, n.Node("Sigmoid", nil, n.Rows(d.flat, gate))) })
	}
	n.at(prefix+m.Router, func() { y = n.add(y, z) })
	return n.shaped(y, x, prefix)
}

// dispatched are tokens on their way to experts.
type dispatched struct {
	m       *MoE
	flat    *graph.Value   // [tokens, hidden]
	weights *graph.Value   // [tokens, PerToken], of what the experts give
	back    *graph.Value   // where what token t's expert k gives lies among what all give, at PerToken*t+k
	parts   []*graph.Value // for each expert its tokens [count, hidden]
}

// dispatch sorts copies of the tokens by the experts that they go to, in the order of the tokens for each.
func (m *MoE) dispatch(n *net, x, router *graph.Value, prefix string, hidden int) *dispatched {
	d := &dispatched{m: m}
	n.at(prefix+m.Router, func() {
		d.flat = n.Node("Reshape", nil, x, n.Ints(-1, hidden))
		top := n.Nodes(2, "TopK", nil, n.Node("Softmax", nil, n.Rows(d.flat, router)), n.Ints(m.PerToken))
		if d.weights = top[0]; m.Normalize {
			d.weights = n.Node("Div", nil, d.weights, n.Node("ReduceSum", nil, d.weights, n.Ints(-1)))
		}
		chosen := n.Node("Reshape", nil, top[1], n.Ints(-1))
		all := n.Node("Shape", nil, chosen)
		place := n.Node("Range", nil, n.Int(0), n.Squeeze(all, 0), n.Int(1))
		ascending := map[string]any{"largest": 0}
		order := n.Nodes(2, "TopK", ascending, n.Node("Add", nil, n.Node("Mul", nil, chosen, all), place), all)[1]
		d.back = n.Nodes(2, "TopK", ascending, order, all)[1]

		number := make([]int, len(m.Experts))
		for i := range number {
			number[i] = i
		}
		is := n.Node("Equal", nil, n.Unsqueeze(n.Ints(number...), 1), n.Unsqueeze(chosen, 0))
		counts := n.Node("ReduceSum", map[string]any{"keepdims": 0}, n.Node("Cast", map[string]any{"to": int(tensor.Int64)}, is), n.Ints(1))
		counts.Name = prefix + m.Router + Counts
		copies := n.Node("Gather", nil, d.flat, n.Node("Div", nil, order, n.Int(m.PerToken)))
		d.parts = n.Nodes(len(m.Experts), "Split", map[string]any{"axis": 0}, copies, counts)
	})
	return d
}

// collect adds up what the experts give for each token [tokens, hidden].
func (d *dispatched) collect(n *net, made []*graph.Value, prefix string, hidden int) (y *graph.Value) {
	n.at(prefix+d.m.Router, func() {
		all := n.Node("Gather", nil, n.Node("Concat", map[string]any{"axis": 0}, made...), d.back)
		all = n.Node("Reshape", nil, all, n.Ints(-1, d.m.PerToken, hidden))
		y = n.Squeeze(n.Node("MatMul", nil, n.Unsqueeze(d.weights, 1), all), 1)
	})
	return y
}

// shaped gives y the shape of x.
func (n *net) shaped(y, x *graph.Value, prefix string) (z *graph.Value) {
	n.at(prefix+"mlp", func() { z = n.Node("Reshape", nil, y, n.Node("Shape", nil, x)) })
	return z
}
