package torchnn

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var recurrents = map[string]Forward{
	"rnn.LSTM": first(recurrent), "rnn.GRU": first(recurrent), "rnn.RNN": first(recurrent),
}

// severalInputs maps the classes that take or give several values to what they compute; see [Layer.Outputs].
var severalInputs = map[string]func(l *Layer, in []*graph.Value) []*graph.Value{
	"torch.nn.modules.rnn.LSTM": recurrent, "torch.nn.modules.rnn.GRU": recurrent, "torch.nn.modules.rnn.RNN": recurrent,
	"torch.nn.modules.activation.MultiheadAttention": multiHead,
	"torch.nn.modules.linear.Bilinear": func(l *Layer, in []*graph.Value) []*graph.Value {
		return []*graph.Value{l.Bilinear(in[0], in[1], l.need("weight"), l.Weight("bias"))}
	},
	"torch.nn.modules.distance.CosineSimilarity": func(l *Layer, in []*graph.Value) []*graph.Value {
		return []*graph.Value{l.CosineSimilarity(in[0], in[1], l.Int("dim", 1), l.Number("eps", 1e-8))}
	},
}

// first gives the first result of what has several, as it is where a Sequential goes on with it.
func first(f func(*Layer, []*graph.Value) []*graph.Value) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value { return f(l, []*graph.Value{x})[0] }
}

// recurrent gives the output, the final state and, of an LSTM, the final cells.
func recurrent(l *Layer, in []*graph.Value) []*graph.Value {
	p := aten.Recurrent{
		Mode: l.Text("mode", ""), Hidden: l.Int("hidden_size", 0), Layers: l.Int("num_layers", 1),
		Bidirectional: l.Bool("bidirectional", false), BatchFirst: l.Bool("batch_first", false),
	}
	if l.Int("proj_size", 0) != 0 {
		return []*graph.Value{l.Fail("%s: a projection (proj_size) is %w", l.what(), checkpoint.ErrUnsupported)}
	}
	if p.Layers > 64 {
		return []*graph.Value{l.Fail("%s: %d layers", l.what(), p.Layers)}
	}
	y, h, c := l.Recurrent(in[0], nil, nil, p, func(name string) tensor.Source { return l.Source(name) })
	if c == nil {
		return []*graph.Value{y, h}
	}
	return []*graph.Value{y, h, c}
}

// multiHead gives the output of an attention of queries, keys and values, or of one value for all three.
func multiHead(l *Layer, in []*graph.Value) []*graph.Value {
	for len(in) < 3 {
		in = append(in, in[len(in)-1])
	}
	return []*graph.Value{l.attention(in[0], in[1], in[2], nil)}
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

var transformers = map[string]Forward{
	"transformer.TransformerEncoder": func(l *Layer, x *graph.Value) *graph.Value {
		x = l.Child("layers").scoped(func() *graph.Value { return l.Child("layers").Sequence(x, nil) })
		if l.Has("norm") {
			x = l.Child("norm").Apply(x)
		}
		return x
	},
	"transformer.TransformerEncoderLayer": encoderLayer,
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
