package aten

import "github.com/neurotrain/neuroquant/internal/graph"

// CosineSimilarity is torch.nn.functional.cosine_similarity.
func (b *Builder) CosineSimilarity(x, y *graph.Value, axis int, eps float64) *graph.Value {
	norm := func(v *graph.Value) *graph.Value {
		return b.Node("Max", nil, b.Node("ReduceL2", Attrs{"keepdims": 0}, v, b.Ints(axis)), b.Number(v, eps))
	}
	dot := b.Node("ReduceSum", Attrs{"keepdims": 0}, b.Node("Mul", nil, x, y), b.Ints(axis))
	return b.Node("Div", nil, dot, b.Node("Mul", nil, norm(x), norm(y)))
}

// Distance is the norm of order p, 1 or 2, of differences over the last axis.
func (b *Builder) Distance(d *graph.Value, p float64, keep bool) *graph.Value {
	kind := map[float64]string{1: "ReduceL1", 2: "ReduceL2"}[p]
	if kind == "" {
		return b.Fail("a distance of order %v; orders are 1 and 2", p)
	}
	return b.Node(kind, Attrs{"keepdims": keep}, d, b.Ints(-1))
}

// PairwiseDistance is torch.nn.functional.pairwise_distance.
func (b *Builder) PairwiseDistance(x, y *graph.Value, p, eps float64, keep bool) *graph.Value {
	d := b.Node("Sub", nil, x, y)
	return b.Distance(b.Node("Add", nil, d, b.Number(d, eps)), p, keep)
}
