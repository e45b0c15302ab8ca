package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// RecognizeAttention finds softmax(scale*q*k' + mask)*v over heads that were split from [batch, tokens, heads*size] and are
// merged again, and makes it one Attention on the unsplit values (Vaswani et al. 2017; ONNX Attention with 3-D inputs).
func RecognizeAttention(g *graph.Graph) error {
	f := newFuser(g)
	for _, n := range g.Nodes {
		s, ok := n.Op.(*op.Softmax)
		if !ok || f.gone[n] || !n.In[0].Type.Ranked || len(n.In[0].Type.Dims) != 4 || s.Axis != -1 && s.Axis != 3 {
			continue
		}
		if err := f.attention(n); err != nil {
			return err
		}
	}
	return f.finish()
}

func (f *fuser) attention(soft *graph.Node) error {
	chain := []*graph.Node{soft}
	// single returns the node that computes v, if v is read here only.
	single := func(v *graph.Value) *graph.Node {
		if v == nil || v.Node == nil || len(f.uses[v]) != 1 || f.g.IsOutput(v) || f.gone[v.Node] {
			return nil
		}
		return v.Node
	}
	scale := 1.0
	var mask *graph.Value
	scores := single(soft.In[0])
	if scores != nil && scores.Op.Kind() == "Add" {
		chain = append(chain, scores)
		for i, v := range scores.In {
			if p := single(v); p != nil && (p.Op.Kind() == "MatMul" || f.isScaled(p)) {
				mask, scores = scores.In[1-i], p
				break
			}
		}
		if mask == nil || mask.Type.DType != tensor.Float32 || !mask.Type.Ranked || len(mask.Type.Dims) < 2 {
			return nil
		}
	}
	for scores != nil && f.isScaled(scores) {
		c, v := f.scaling(scores)
		scale *= c
		chain = append(chain, scores)
		scores = single(v)
	}
	if scores == nil || scores.Op.Kind() != "MatMul" {
		return nil
	}
	mixed := f.next(soft)
	if mixed == nil || mixed.Op.Kind() != "MatMul" || mixed.In[0] != soft.Out[0] {
		return nil
	}
	merge := f.next(mixed)
	if merge == nil || !isTranspose(merge, 0, 2, 1, 3) {
		return nil
	}
	flat := f.next(merge)
	if flat == nil || flat.Op.Kind() != "Reshape" || flat.In[0] != merge.Out[0] {
		return nil
	}
	chain = append(chain, scores, mixed, merge)
	// unsplit follows a head-split operand back to [batch, tokens, heads*size].
	unsplit := func(v *graph.Value, perm ...int) (x *graph.Value, heads, size int) {
		t := single(v)
		for t != nil && f.isScaled(t) {
			c, w := f.scaling(t)
			scale *= c
			chain = append(chain, t)
			t = single(w)
		}
		if t == nil || !isTranspose(t, perm...) {
			return nil, 0, 0
		}
		r := single(t.In[0])
		if r == nil || !f.splits(r) {
			return nil, 0, 0
		}
		chain = append(chain, t, r)
		d := r.Out[0].Type.Dims
		return r.In[0], d[2].Size, d[3].Size
	}
	q, heads, size := unsplit(scores.In[0], 0, 2, 1, 3)
	if q == nil {
		return nil
	}
	k, kHeads, kSize := unsplit(scores.In[1], 0, 2, 3, 1)
	if k == nil || kHeads != heads || kSize != size {
		return nil
	}
	v, vHeads, _ := unsplit(mixed.In[1], 0, 2, 1, 3)
	if v == nil || vHeads != heads || !f.merges(flat) {
		return nil
	}
	o, _ := op.New("Attention")
	if err := op.SetAttrs(o, map[string]any{"q_num_heads": int64(heads), "kv_num_heads": int64(heads), "scale": float32(scale)}); err != nil {
		return err
	}
	in := []*graph.Value{q, k, v}
	if mask != nil {
		in = append(in, mask)
	}
	f.replace(append(chain, flat), o, in...)
	return nil
}

// isScaled reports whether n multiplies or divides by a constant number.
func (f *fuser) isScaled(n *graph.Node) bool {
	_, v := f.scaling(n)
	return v != nil
}

// scaling returns the factor that n applies and the value that it applies it to, or nil.
func (f *fuser) scaling(n *graph.Node) (float64, *graph.Value) {
	switch n.Op.Kind() {
	case "Div":
		if c, ok := f.scalar(n.In[1]); ok && c != 0 {
			return 1 / c, n.In[0]
		}
	case "Mul":
		for i := range n.In {
			if c, ok := f.scalar(n.In[i]); ok {
				return c, n.In[1-i]
			}
		}
	}
	return 0, nil
}

func isTranspose(n *graph.Node, perm ...int) bool {
	t, ok := n.Op.(*op.Transpose)
	return ok && slices.Equal(t.Perm, perm)
}

// splits reports whether n is a Reshape that is certain to split the last of three dimensions in two.
func (f *fuser) splits(n *graph.Node) bool {
	return n.Op.Kind() == "Reshape" && f.splitsLast(n, n.In[0].Type, n.Out[0].Type)
}

// merges reports whether n is a Reshape that is certain to join the last two of four dimensions.
func (f *fuser) merges(n *graph.Node) bool {
	return n.Op.Kind() == "Reshape" && f.splitsLast(n, n.Out[0].Type, n.In[0].Type)
}

// splitsLast reports whether the Reshape n keeps the first two dimensions of whole and parts, one of which it makes of the other.
func (f *fuser) splitsLast(n *graph.Node, whole, parts graph.Type) bool {
	if !whole.Ranked || !parts.Ranked || len(whole.Dims) != 3 || len(parts.Dims) != 4 || whole.DType != tensor.Float32 {
		return false
	}
	w, p := whole.Dims, parts.Dims
	if !p[2].IsKnown() || !p[3].IsKnown() || !w[2].IsKnown() || w[2].Size != p[2].Size*p[3].Size || w[2].Size == 0 {
		return false
	}
	// A dimension is kept where the shape says so by 0, where the types agree, or where it is the only one left.
	shape := f.constant(n.In[1])
	var words []int64
	if o, ok := n.Op.(*op.Reshape); ok && shape != nil && !o.AllowZero {
		words, _ = shape.Ints()
	}
	kept := 0
	for i := range 2 {
		switch {
		case i < len(words) && words[i] == 0, w[i] == p[i] && w[i] != graph.Unknown:
			kept++
		case i >= len(words) || words[i] != -1:
			return false
		}
	}
	return kept > 0
}
