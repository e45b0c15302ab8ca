package pass

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
)

// JoinProducts makes products of the same value with several encoded weights one node, where that saves work: queries, keys and values; the
// gate of a feed-forward network and what it gates. The node stands where the first of them stood.
func JoinProducts(g *graph.Graph) error {
	readers := map[*graph.Value][]*graph.Node{}
	for _, n := range g.Nodes {
		if _, ok := n.Op.(*op.PackedMatMul); ok && len(n.In) == 1 {
			readers[n.In[0]] = append(readers[n.In[0]], n)
		}
	}
	gone := map[*graph.Node]bool{}
	var nodes []*graph.Node
	for _, n := range g.Nodes {
		if gone[n] {
			continue
		}
		if _, ok := n.Op.(*op.PackedMatMul); ok && len(n.In) == 1 {
			n = joined(n, readers[n.In[0]], gone)
		}
		nodes = append(nodes, n)
	}
	g.Nodes = nodes
	return nil
}

// joined returns a node that takes the place of n and of as many of the other readers of its input as go together with it.
func joined(n *graph.Node, readers []*graph.Node, gone map[*graph.Node]bool) *graph.Node {
	nodes, parts := []*graph.Node{n}, []*op.PackedMatMul{n.Op.(*op.PackedMatMul)}
	var o *op.JoinedMatMul
	for _, r := range readers {
		if r == n || gone[r] {
			continue
		}
		if with, ok := op.JoinMatMul(append(parts[:len(parts):len(parts)], r.Op.(*op.PackedMatMul))); ok {
			o, nodes, parts = with, append(nodes, r), append(parts, r.Op.(*op.PackedMatMul))
		}
	}
	if o == nil {
		return n
	}
	all := &graph.Node{Name: n.Name, Op: o, In: n.In}
	for _, r := range nodes {
		gone[r] = true
		all.Out = append(all.Out, r.Out[0])
		r.Out[0].Node = all
	}
	return all
}
