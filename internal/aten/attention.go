package aten

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ScaledDotProductAttention is torch.nn.functional.scaled_dot_product_attention: q [..., tokens, size], k and v [..., others,
// size]. The mask, which is added to the scores, or says as a bool what to attend to, may be nil. A scale of 0 is 1/sqrt(size).
func (b *Builder) ScaledDotProductAttention(q, k, v, mask *graph.Value, causal bool, scale float64) *graph.Value {
	r := b.Rank(q)
	if r < 2 || b.Rank(k) < 2 || b.Rank(v) < 2 {
		return b.Fail("attention of %v, %v and %v; want tokens of vectors", q.Type, k.Type, v.Type)
	}
	if scale == 0 {
		if size := dim(q, r-1); size > 0 {
			scale = 1 / math.Sqrt(float64(size))
		}
	}
	scores := b.Node("MatMul", nil, q, b.Transpose(k, -2, -1))
	if scale != 0 {
		scores = b.Node("Mul", nil, scores, b.Number(q, scale))
	} else {
		size := b.Node("Cast", Attrs{"to": int(tensor.Float32)}, b.Size(q, -1))
		scores = b.Node("Div", nil, scores, b.Node("Sqrt", nil, size))
	}
	if causal {
		rows, cols := b.Size(q, -2), b.Size(k, -2)
		all := b.Node("ConstantOfShape", Attrs{"value": tensor.Vector(true)}, b.Concat(0, rows, cols))
		mask = b.Node("Trilu", Attrs{"upper": 0}, all)
	}
	if mask != nil {
		if mask.Type.DType == tensor.Bool {
			mask = b.Node("Where", nil, mask, b.Number(q, 0), b.Number(q, math.Inf(-1)))
		}
		scores = b.Node("Add", nil, scores, mask)
	}
	return b.Node("MatMul", nil, b.Softmax(scores, -1), v)
}

// MultiHead are the weights of torch.nn.MultiheadAttention: either In [3*size, size] for queries, keys and values of one size,
// or one matrix each.
type MultiHead struct {
	Heads      int
	BatchFirst bool
	In         tensor.Source    // nil: Each
	Each       [3]tensor.Source // q_proj_weight, k_proj_weight, v_proj_weight
	InBias     tensor.Source    // [3*size]; nil: none
	Out        tensor.Source    // out_proj.weight
	OutBias    tensor.Source    // nil: none
}

// MultiHeadAttention is the output of torch.nn.MultiheadAttention: q [tokens, batch, size], or [batch, tokens, size], or without
// a batch [tokens, size]. The mask is added to the scores [batch, heads, tokens, others]; nil: none.
func (b *Builder) MultiHeadAttention(q, k, v, mask *graph.Value, p MultiHead) *graph.Value {
	self := q == k && k == v
	single := b.Rank(q) == 2
	swap := !p.BatchFirst && !single
	batchFirst := func(x *graph.Value) *graph.Value {
		switch {
		case single:
			return b.Unsqueeze(x, 0)
		case swap:
			return b.Transpose(x, 0, 1)
		}
		return x
	}
	q = batchFirst(q)
	if self {
		k, v = q, q
	} else {
		k, v = batchFirst(k), batchFirst(v)
	}
	if p.Out == nil || len(p.Out.Shape()) != 2 || p.Heads < 1 || p.Out.Shape()[1]%p.Heads != 0 {
		return b.Fail("a multi-head attention of %d heads without a weight out_proj of as many columns", p.Heads)
	}
	size := p.Out.Shape()[1]
	in, ok := b.projections(q, k, v, self, size, p)
	if !ok {
		return b.Fail("a multi-head attention of size %d without weights of that size", size)
	}
	y := b.FullAttention(in[0], in[1], in[2], mask, p.Heads, size/p.Heads)
	y = b.Linear(y, "out_proj.weight", p.Out, "out_proj.bias", p.OutBias)
	switch {
	case single:
		return b.Squeeze(y, 0)
	case swap:
		return b.Transpose(y, 0, 1)
	}
	return y
}

// FullAttention is attention of every query to every key: q, k and v [batch, tokens, heads*size]. The mask is added to the scores [batch,
// heads, tokens, others]; nil: none.
func (b *Builder) FullAttention(q, k, v, mask *graph.Value, heads, size int) *graph.Value {
	split := func(x *graph.Value, perm ...int) *graph.Value {
		return b.Permute(b.Node("Reshape", nil, x, b.Ints(0, 0, heads, size)), perm...)
	}
	scores := b.Node("MatMul", nil, split(q, 0, 2, 1, 3), split(k, 0, 2, 3, 1))
	scores = b.Node("Mul", nil, scores, b.Number(q, 1/math.Sqrt(float64(size))))
	if mask != nil {
		scores = b.Node("Add", nil, scores, mask)
	}
	y := b.Node("MatMul", nil, b.Softmax(scores, -1), split(v, 0, 2, 1, 3))
	return b.Node("Reshape", nil, b.Permute(y, 0, 2, 1, 3), b.Ints(0, 0, heads*size))
}

// projections returns the queries, keys and values of all heads.
func (b *Builder) projections(q, k, v *graph.Value, self bool, size int, p MultiHead) (in [3]*graph.Value, ok bool) {
	if p.InBias != nil && !p.InBias.Shape().Equal(tensor.Shape{3 * size}) {
		return in, false
	}
	if p.In != nil && (len(p.In.Shape()) != 2 || p.In.Shape()[0] != 3*size) {
		return in, false
	}
	if p.In != nil && self { // one product
		all := b.Linear(q, "in_proj_weight", p.In, "in_proj_bias", p.InBias)
		copy(in[:], b.Split(all, []int{size, size, size}, -1))
		return in, true
	}
	for i, x := range []*graph.Value{q, k, v} {
		w, bias := p.Each[i], tensor.Source(nil)
		name := []string{"q_proj_weight", "k_proj_weight", "v_proj_weight"}[i]
		if p.In != nil {
			w, name = rows(p.In, i*size, (i+1)*size), "in_proj_weight"
		}
		if w == nil || len(w.Shape()) != 2 || w.Shape()[0] != size {
			return in, false
		}
		if p.InBias != nil {
			bias = rows(p.InBias, i*size, (i+1)*size)
		}
		in[i] = b.Linear(x, name, w, "in_proj_bias", bias)
	}
	return in, true
}

// Transformer are the parameters of a layer of torch.nn.TransformerEncoderLayer beside its weights.
type Transformer struct {
	NormFirst  bool
	Eps        float64
	Activation func(*graph.Value) *graph.Value
}

// TransformerWeights are the weights of such a layer.
type TransformerWeights struct {
	Attention            MultiHead
	Norm1, Norm1Bias     tensor.Source
	Norm2, Norm2Bias     tensor.Source
	Linear1, Linear1Bias tensor.Source
	Linear2, Linear2Bias tensor.Source
}

// TransformerEncoderLayer is torch.nn.TransformerEncoderLayer (Vaswani et al., "Attention Is All You Need", 2017): attention
// and two linear layers, each added to its input and normalized, after it or, with NormFirst, before.
func (b *Builder) TransformerEncoderLayer(x, mask *graph.Value, p Transformer, w TransformerWeights) *graph.Value {
	norm := func(name string, x *graph.Value, weight, bias tensor.Source) (y *graph.Value) {
		if weight == nil {
			return b.Fail("%s has no weight", name)
		}
		b.Scope(name, func() {
			var c *graph.Value
			if bias != nil {
				c = b.Weight("bias", bias)
			}
			y = b.LayerNorm(x, b.Weight("weight", weight), c, weight.Shape(), p.Eps)
		})
		return y
	}
	attend := func(x *graph.Value) (y *graph.Value) {
		b.Scope("self_attn", func() { y = b.MultiHeadAttention(x, x, x, mask, w.Attention) })
		return y
	}
	feed := func(x *graph.Value) (y *graph.Value) {
		if w.Linear1 == nil || w.Linear2 == nil {
			return b.Fail("a transformer layer without linear1 and linear2")
		}
		b.Scope("linear1", func() { y = b.Linear(x, "weight", w.Linear1, "bias", w.Linear1Bias) })
		y = p.Activation(y)
		b.Scope("linear2", func() { y = b.Linear(y, "weight", w.Linear2, "bias", w.Linear2Bias) })
		return y
	}
	add := func(x, y *graph.Value) *graph.Value { return b.Node("Add", nil, x, y) }
	if p.NormFirst {
		x = add(x, attend(norm("norm1", x, w.Norm1, w.Norm1Bias)))
		return add(x, feed(norm("norm2", x, w.Norm2, w.Norm2Bias)))
	}
	x = norm("norm1", add(x, attend(x)), w.Norm1, w.Norm1Bias)
	return norm("norm2", add(x, feed(x)), w.Norm2, w.Norm2Bias)
}
