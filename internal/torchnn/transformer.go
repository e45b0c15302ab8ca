package torchnn

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var transformers = map[string]Forward{
	"transformer.TransformerEncoder":      stack(func(l *Layer, x *graph.Value) *graph.Value { return l.Apply(x) }),
	"transformer.TransformerEncoderLayer": encoderLayer,
}

// stack applies the layers of an encoder or a decoder and the normalization that may follow them.
func stack(layer Forward) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		layers := l.Child("layers")
		x = layers.scoped(func() *graph.Value {
			for _, c := range layers.Children() {
				x = layer(c, x)
			}
			return x
		})
		if l.Has("norm") {
			x = l.Child("norm").Apply(x)
		}
		return x
	}
}

// decoder is torch.nn.TransformerDecoder: targets, and the memory of an encoder that its layers attend to.
func decoder(l *Layer, in []*graph.Value) []*graph.Value {
	return []*graph.Value{stack(func(c *Layer, x *graph.Value) *graph.Value {
		return c.scoped(func() *graph.Value { return decoderLayer(c, []*graph.Value{x, in[1]})[0] })
	})(l, in[0])}
}

// decoderLayer is torch.nn.TransformerDecoderLayer without masks.
func decoderLayer(l *Layer, in []*graph.Value) []*graph.Value {
	x, memory := in[0], in[1]
	attend := func(name string, x, others *graph.Value) *graph.Value {
		c := l.Child(name)
		if c.Module == nil {
			return l.Fail("%s: its attention %s is missing", l.what(), name)
		}
		return c.scoped(func() *graph.Value { return c.attention(x, others, others, nil) })
	}
	norm := func(i string, x *graph.Value) *graph.Value { return l.Child("norm" + i).Apply(x) }
	blocks := []func(x *graph.Value) *graph.Value{
		func(x *graph.Value) *graph.Value { return attend("self_attn", x, x) },
		func(x *graph.Value) *graph.Value { return attend("multihead_attn", x, memory) },
		func(x *graph.Value) *graph.Value {
			return l.Child("linear2").Apply(l.activation()(l.Child("linear1").Apply(x)))
		},
	}
	for i, block := range blocks {
		name := string(rune('1' + i))
		if l.Bool("norm_first", false) {
			x = l.Node("Add", nil, x, block(norm(name, x)))
		} else {
			x = norm(name, l.Node("Add", nil, x, block(x)))
		}
	}
	return []*graph.Value{x}
}

// transformer is torch.nn.Transformer without masks: sources to an encoder, targets to a decoder.
func transformer(l *Layer, in []*graph.Value) []*graph.Value {
	d := l.Child("decoder")
	memory := l.Child("encoder").Apply(in[0])
	if d.Module == nil {
		return []*graph.Value{l.Fail("%s: its decoder is missing", l.what())}
	}
	return []*graph.Value{d.scoped(func() *graph.Value { return decoder(d, []*graph.Value{in[1], memory})[0] })}
}

// attention is torch.nn.MultiheadAttention.
func (l *Layer) attention(q, k, v, mask *graph.Value) *graph.Value {
	w, ok := l.multiHead()
	if !ok {
		return l.Fail("%s: bias_k, bias_v and add_zero_attn are %w", l.what(), checkpoint.ErrUnsupported)
	}
	return l.MultiHeadAttention(q, k, v, mask, w)
}

// multiHead returns the weights of an attention.
func (l *Layer) multiHead() (aten.MultiHead, bool) {
	out := l.Child("out_proj")
	w := aten.MultiHead{
		Heads: l.Int("num_heads", 1), BatchFirst: l.Bool("batch_first", false), In: l.Source("in_proj_weight"), InBias: l.Source("in_proj_bias"),
		Out: out.Source("weight"), OutBias: out.Source("bias"),
	}
	for i, name := range []string{"q_proj_weight", "k_proj_weight", "v_proj_weight"} {
		w.Each[i] = l.Source(name)
	}
	return w, l.Tensor("bias_k") == nil && l.Tensor("bias_v") == nil && !l.Bool("add_zero_attn", false)
}

func encoderLayer(l *Layer, x *graph.Value) *graph.Value {
	attn := l.Child("self_attn")
	heads, ok := attn.multiHead()
	if !ok {
		return l.Fail("%s: bias_k, bias_v and add_zero_attn are %w", attn.what(), checkpoint.ErrUnsupported)
	}
	src := func(path, name string) tensor.Source { return l.Child(path).Source(name) }
	p := aten.Transformer{NormFirst: l.Bool("norm_first", false), Eps: l.Child("norm1").Number("eps", 1e-5), Activation: l.activation()}
	return l.TransformerEncoderLayer(x, nil, p, aten.TransformerWeights{
		Attention: heads,
		Norm1:     src("norm1", "weight"), Norm1Bias: src("norm1", "bias"), Norm2: src("norm2", "weight"), Norm2Bias: src("norm2", "bias"),
		Linear1: src("linear1", "weight"), Linear1Bias: src("linear1", "bias"), Linear2: src("linear2", "weight"), Linear2Bias: src("linear2", "bias"),
	})
}

// activation returns the function between the linear layers of a transformer: an attribute that names it, a module, or a number
// that says relu (1) or gelu (2).
func (l *Layer) activation() func(*graph.Value) *graph.Value {
	if c := l.Child("activation"); c.Module != nil {
		return c.Apply
	}
	if g, ok := l.attr("activation").(pickle.Global); ok {
		switch g.Name {
		case "relu":
			return l.Net.Relu
		case "gelu":
			return func(x *graph.Value) *graph.Value { return l.Gelu(x, "none") }
		case "silu":
			return l.Silu
		case "tanh":
			return func(x *graph.Value) *graph.Value { return l.Node("Tanh", nil, x) }
		}
		return func(*graph.Value) *graph.Value {
			return l.Fail("%s: activation %v is %w", l.what(), g, checkpoint.ErrUnsupported)
		}
	}
	if l.attr("activation") == nil {
		switch l.Int("activation_relu_or_gelu", 1) {
		case 1:
			return l.Net.Relu
		case 2:
			return func(x *graph.Value) *graph.Value { return l.Gelu(x, "none") }
		}
	}
	return func(*graph.Value) *graph.Value {
		return l.Fail("%s: its activation cannot be told", l.what())
	}
}
