package aten

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Rows is x [..., in] times the transpose of a matrix w [out, in], which stays as it is: the rows of a quantized matrix are its
// outputs.
func (b *Builder) Rows(x, w *graph.Value) *graph.Value {
	return b.Node("com.microsoft.FusedMatMul", Attrs{"transB": 1}, x, w)
}

// Rotary rotates pairs of elements of each head (Su et al., RoFormer, arXiv:2104.09864): x [batch, tokens, heads*size], cosines
// and sines [batch, tokens, rotated/2]. The first rotated elements of a head take part: all where that is 0.
func (b *Builder) Rotary(x, cos, sin *graph.Value, heads, rotated int, interleaved bool) *graph.Value {
	return b.Node("RotaryEmbedding", Attrs{"num_heads": heads, "rotary_embedding_dim": rotated, "interleaved": interleaved}, x, cos, sin)
}

// GroupedAttention are the parameters of attention whose queries may have more heads than keys and values.
type GroupedAttention struct {
	Heads, KVHeads int
	Causal         bool
	Scale          float64 // 0: 1/sqrt(size of a head)
	Softcap        float64 // 0: none
	Window         int     // keys that a query sees, its own included; 0: all
}

// Attention is scaled dot-product attention of q [batch, tokens, heads*size], k and v [batch, tokens, kvHeads*size]. The mask is
// added to the scores and may be nil.
func (b *Builder) Attention(q, k, v, mask *graph.Value, p GroupedAttention) *graph.Value {
	a := Attrs{"q_num_heads": p.Heads, "kv_num_heads": p.KVHeads, "is_causal": p.Causal, "softcap": p.Softcap}
	if p.Scale != 0 {
		a["scale"] = p.Scale
	}
	if p.Window > 0 {
		a["left_window_size"] = p.Window - 1
	}
	return b.Node("Attention", a, inputs(q, k, v, mask)...)
}

// PlusOne is a parameter of float32 with one added, as normalizations have it whose weights are stored around zero.
func PlusOne(s tensor.Source) tensor.Source { return &plusOne{s} }

type plusOne struct{ tensor.Source }

// Load computes the sum.
func (p *plusOne) Load() (*tensor.Tensor, error) {
	t, err := p.Source.Load()
	if err != nil {
		return nil, err
	}
	f, err := t.Floats()
	if err != nil {
		return nil, err
	}
	out := tensor.New(tensor.Float32, t.Shape...)
	for i, v := range f {
		tensor.Data[float32](out)[i] = v + 1
	}
	return out, nil
}

// Parts implements [tensor.Derived].
func (p *plusOne) Parts() []tensor.Source { return []tensor.Source{p.Source} }

// Spread implements [tensor.Derived].
func (p *plusOne) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	f, err := value.Floats()
	if err != nil {
		return err
	}
	for i, v := range f {
		tensor.Data[float32](parts[0])[i] = v - 1
	}
	return nil
}
