package shapes

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// BERT is the size of an encoder (Devlin et al., "BERT", 2019) with pooler and without a task head.
type BERT struct {
	Layers, Hidden, Heads, Intermediate, Vocabulary, Positions int
	Seed                                                       uint64
}

// BERTBase is the shape of bert-base-uncased: 109,482,240 parameters.
func BERTBase() BERT {
	return BERT{Layers: 12, Hidden: 768, Heads: 12, Intermediate: 3072, Vocabulary: 30522, Positions: 512, Seed: 1}
}

// Graph builds the encoder. Inputs are input_ids, attention_mask and token_type_ids, int64 [batch, tokens]; outputs are
// last_hidden_state [batch, tokens, hidden] and pooler_output [batch, hidden].
func (c BERT) Graph() (*graph.Graph, error) {
	err := check("BERT", map[string]int{
		"layers": c.Layers, "hidden": c.Hidden, "heads": c.Heads, "intermediate": c.Intermediate, "vocabulary": c.Vocabulary, "positions": c.Positions,
	})
	if err != nil {
		return nil, err
	}
	if c.Hidden%c.Heads != 0 {
		return nil, fmt.Errorf("BERT: hidden size %d is not a multiple of %d heads", c.Hidden, c.Heads)
	}
	b := newBuilder("bert", c.Seed)
	ids := graph.Ranked(tensor.Int64, graph.Named("batch"), graph.Named("tokens"))
	input, mask, kinds := b.Input("input_ids", ids), b.Input("attention_mask", ids), b.Input("token_type_ids", ids)
	h := c.embed(b, input, kinds)
	blocked := c.block(b, mask)
	for i := range c.Layers {
		b.Scope(fmt.Sprintf("encoder.layer.%d", i), func() { h = c.layer(b, h, blocked) })
	}
	b.Scope("pooler", func() {
		first := b.node("first", "Gather", attrs{"axis": int64(1)}, h, b.Param("token", tensor.Scalar[int64](0)))
		dense := b.node("dense", "Gemm", attrs{"transB": int64(1)}, first, b.normal("dense.weight", 0, 0.02, c.Hidden, c.Hidden), b.normal("dense.bias", 0, 0.02, c.Hidden))
		b.Output("last_hidden_state", h)
		b.Output("pooler_output", b.node("activation", "Tanh", nil, dense))
	})
	return b.Graph()
}

// embed sums the embeddings of words, positions and token types.
func (c BERT) embed(b *builder, input, kinds *graph.Value) (h *graph.Value) {
	b.Scope("embeddings", func() {
		look := func(name string, rows int, at *graph.Value) *graph.Value {
			return b.node(name, "Gather", nil, b.normal(name+".weight", 0, 0.02, rows, c.Hidden), at)
		}
		all := make([]int64, c.Positions)
		for i := range all {
			all[i] = int64(i)
		}
		tokens := b.node("tokens", "Gather", nil, b.node("shape", "Shape", nil, input), b.ints("axis", 1))
		positions := b.node("positions", "Slice", nil, b.Param("position_ids", tensor.Of(tensor.Shape{1, c.Positions}, all)), b.ints("start", 0), tokens, b.ints("axes", 1))
		words := b.node("words", "Add", nil, look("word_embeddings", c.Vocabulary, input), look("token_type_embeddings", 2, kinds))
		sum := b.node("sum", "Add", nil, words, look("position_embeddings", c.Positions, positions))
		h = c.norm(b, "LayerNorm", sum)
	})
	return h
}

// block turns the mask into what is added to attention scores: 0 for tokens to attend to, a large negative number for others.
func (c BERT) block(b *builder, mask *graph.Value) (blocked *graph.Value) {
	b.Scope("mask", func() {
		m := b.node("heads", "Unsqueeze", nil, mask, b.ints("axes", 1, 2))
		f := b.node("float", "Cast", attrs{"to": int64(tensor.Float32)}, m)
		blocked = b.node("blocked", "Mul", nil, b.node("inverse", "Sub", nil, b.scalar("one", 1), f), b.scalar("low", -10000))
	})
	return blocked
}

func (c BERT) layer(b *builder, h, blocked *graph.Value) *graph.Value {
	b.Scope("attention", func() {
		size := c.Hidden / c.Heads
		split := b.ints("split", 0, 0, int64(c.Heads), int64(size))
		heads := func(name string, perm ...int64) *graph.Value {
			v := b.node(name+".heads", "Reshape", nil, c.dense(b, name, h, c.Hidden, c.Hidden), split)
			return b.node(name+".order", "Transpose", attrs{"perm": perm}, v)
		}
		q, k, v := heads("query", 0, 2, 1, 3), heads("key", 0, 2, 3, 1), heads("value", 0, 2, 1, 3)
		scores := b.node("scale", "Div", nil, b.node("scores", "MatMul", nil, q, k), b.scalar("root", float32(math.Sqrt(float64(size)))))
		probs := b.node("softmax", "Softmax", attrs{"axis": int64(-1)}, b.node("masked", "Add", nil, scores, blocked))
		mix := b.node("context.order", "Transpose", attrs{"perm": []int64{0, 2, 1, 3}}, b.node("context", "MatMul", nil, probs, v))
		mix = b.node("merge", "Reshape", nil, mix, b.ints("merged", 0, 0, int64(c.Hidden)))
		out := c.dense(b, "output.dense", mix, c.Hidden, c.Hidden)
		h = c.norm(b, "output.LayerNorm", b.node("output.sum", "Add", nil, out, h))
	})
	up := c.dense(b, "intermediate.dense", h, c.Hidden, c.Intermediate)
	down := c.dense(b, "output.dense", gelu(b, up), c.Intermediate, c.Hidden)
	return c.norm(b, "output.LayerNorm", b.node("output.sum", "Add", nil, down, h))
}

// dense is x*W + bias with W [in, out], as exporters write a linear layer on more than two dimensions.
func (c BERT) dense(b *builder, name string, x *graph.Value, in, out int) *graph.Value {
	y := b.node(name+".product", "MatMul", nil, x, b.normal(name+".weight", 0, 0.02, in, out))
	return b.node(name, "Add", nil, b.normal(name+".bias", 0, 0.02, out), y)
}

func (c BERT) norm(b *builder, name string, x *graph.Value) *graph.Value {
	return b.node(name, "LayerNormalization", attrs{"epsilon": float32(1e-12)}, x, b.normal(name+".weight", 1, 0.1, c.Hidden), b.normal(name+".bias", 0, 0.1, c.Hidden))
}

// gelu is x/2 * (1 + erf(x/sqrt(2))) (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).
func gelu(b *builder, x *graph.Value) (y *graph.Value) {
	b.Scope("intermediate.gelu", func() {
		erf := b.node("erf", "Erf", nil, b.node("divide", "Div", nil, x, b.scalar("root", math.Sqrt2)))
		y = b.node("product", "Mul", nil, x, b.node("shifted", "Add", nil, erf, b.scalar("one", 1)))
		y = b.node("half", "Mul", nil, y, b.scalar("factor", 0.5))
	})
	return y
}
