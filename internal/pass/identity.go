package pass

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// RemoveIdentities removes nodes that hand their input on unchanged: Identity, Dropout outside training, Cast to the type
// that is there, Transpose that keeps the order, Reshape and Expand to the shape that is there.
func RemoveIdentities(g *graph.Graph) error {
	uses := g.Uses()
	kept := g.Nodes[:0:0]
	for _, n := range g.Nodes {
		if !isIdentity(g, n, uses) || !g.Replace(n.Out[0], n.In[0]) {
			kept = append(kept, n)
		}
	}
	g.Nodes = kept
	return nil
}

func isIdentity(g *graph.Graph, n *graph.Node, uses map[*graph.Value][]*graph.Node) bool {
	if len(n.In) == 0 || n.In[0] == nil || len(n.Out) == 0 || n.Out[0] == nil {
		return false
	}
	x, y := n.In[0], n.Out[0]
	for _, v := range n.Out[1:] {
		if v != nil && (len(uses[v]) > 0 || g.IsOutput(v)) {
			return false
		}
	}
	switch n.Op.Kind() {
	case "Identity":
		return true
	case "Dropout":
		return len(n.In) < 3 || n.In[2] == nil || isFalse(g, n.In[2])
	case "Cast", "CastLike":
		return x.Type.DType != tensor.Invalid && x.Type.DType == y.Type.DType
	case "Transpose":
		t, ok := n.Op.(*op.Transpose)
		return ok && keepsOrder(t.Perm)
	case "Reshape", "Expand", "Flatten", "Squeeze", "Unsqueeze":
		a, okA := x.Type.Shape()
		b, okB := y.Type.Shape()
		return okA && okB && a.Equal(b)
	}
	return false
}

// keepsOrder reports whether a permutation is the identity; an absent one reverses the dimensions.
func keepsOrder(perm []int) bool {
	for i, p := range perm {
		if p != i {
			return false
		}
	}
	return perm != nil
}

func isFalse(g *graph.Graph, v *graph.Value) bool {
	t, err := g.Constant(v)
	return err == nil && t != nil && t.DType == tensor.Bool && t.Len() == 1 && t.Bytes()[0] == 0
}

// RemoveDead removes nodes none of whose outputs is used.
func RemoveDead(g *graph.Graph) error {
	live := map[*graph.Value]bool{}
	for _, v := range g.Outputs {
		live[v] = true
	}
	kept := make([]*graph.Node, 0, len(g.Nodes))
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		used := false
		for _, v := range n.Out {
			used = used || v != nil && live[v]
		}
		if !used {
			continue
		}
		for _, v := range n.In {
			if v != nil {
				live[v] = true
			}
		}
		kept = append(kept, n)
	}
	for i, j := 0, len(kept)-1; i < j; i, j = i+1, j-1 {
		kept[i], kept[j] = kept[j], kept[i]
	}
	g.Nodes = kept
	return nil
}
