package torchop

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// attentionOps are attention and the layers built of it.
var attentionOps = table{
	"scaled_dot_product_attention":                {"query key value attn_mask=None dropout_p=0 is_causal=False scale=None enable_gqa=False", attention},
	"_scaled_dot_product_flash_attention_for_cpu": {"query key value dropout_p=0 is_causal=False attn_mask=None scale=None enable_gqa=False", withRest(attention, 1)},
	"_scaled_dot_product_attention_math":          {"query key value attn_mask=None dropout_p=0 is_causal=False dropout_mask=None scale=None enable_gqa=False", withRest(attention, 1)},
	"_native_multi_head_attention": {
		"query key value embed_dim num_head qkv_weight qkv_bias proj_weight proj_bias mask=None need_weights=True average_attn_weights=True mask_type=None", multiHead,
	},
	"_transformer_encoder_layer_fwd": {
		"src embed_dim num_heads qkv_weight qkv_bias proj_weight proj_bias use_gelu norm_first eps norm_weight_1 norm_bias_1 norm_weight_2 norm_bias_2 ffn_weight_1 ffn_bias_1 ffn_weight_2 ffn_bias_2 mask=None mask_type=None", encoderLayer,
	},
}

// withRest is for operators with results beside the first one that nothing uses in evaluation.
func withRest(f func(c *call) any, rest int) func(c *call) any {
	return func(c *call) any {
		t := Tuple{f(c)}
		for range rest {
			t = append(t, Absent("the further results of "+c.op))
		}
		return t
	}
}

func attention(c *call) any {
	q, k, v, mask := c.tensor("query"), c.tensor("key"), c.tensor("value"), c.optional("attn_mask")
	if c.bool("enable_gqa") {
		return c.failf("grouped queries (enable_gqa)")
	}
	if c.float("dropout_p") != 0 {
		return c.failf("the model was saved in training mode, in which results are random; save it after model.eval()")
	}
	scale := 0.0
	if c.has("scale") {
		scale = c.float("scale")
	}
	if c.bad {
		return nil
	}
	return Of(c.ScaledDotProductAttention(q, k, v, mask, c.bool("is_causal"), scale))
}

// param returns the source of an argument that is a parameter, whose name in the file it keeps.
func (c *call) param(name string) tensor.Source {
	t, ok := c.args[name].(*Tensor)
	if ok && t.base == nil && t.source != nil {
		c.Declare(t.name, t.source)
	}
	return c.source(name)
}

// attentionMask returns the mask that is added to the scores, from that of PyTorch's fused operators: true for what is left out.
func (c *call) attentionMask(q *graph.Value) (*graph.Value, bool) {
	if !c.has("mask") {
		return nil, true
	}
	m := c.tensor("mask")
	kind := -1
	if c.has("mask_type") {
		kind = c.known("mask_type")
	}
	r := c.Rank(m)
	switch {
	case kind == 1 && r == 2 || kind == -1 && r == 2 && c.Rank(q) == 3 && c.sym.Size(m, 0).Equal(c.sym.Size(q, 0)): // [batch, others]
		m = c.Unsqueeze(m, 1, 2)
	case kind == 0 && r == 2, r == 4, kind == -1 && r == 2: // [tokens, others]
	default:
		c.failf("a mask of %v and type %v", m.Type, c.args["mask_type"])
		return nil, false
	}
	if m.Type.DType == tensor.Bool {
		m = c.Node("Where", nil, m, c.Number(q, math.Inf(-1)), c.Number(q, 0))
	}
	return m, true
}

func (c *call) multiHead() aten.MultiHead {
	name := "num_heads"
	if _, ok := c.args["num_head"]; ok {
		name = "num_head"
	}
	return aten.MultiHead{
		Heads: c.known(name), BatchFirst: true,
		In: c.param("qkv_weight"), InBias: c.param("qkv_bias"), Out: c.param("proj_weight"), OutBias: c.param("proj_bias"),
	}
}

func multiHead(c *call) any {
	q, k, v := c.tensor("query"), c.tensor("key"), c.tensor("value")
	p := c.multiHead()
	mask, ok := c.attentionMask(q)
	if !ok || c.bad {
		return nil
	}
	return Tuple{Of(c.MultiHeadAttention(q, k, v, mask, p)), Absent("the weights of _native_multi_head_attention")}
}

func encoderLayer(c *call) any {
	x := c.tensor("src")
	w := aten.TransformerWeights{
		Attention: c.multiHead(),
		Norm1:     c.param("norm_weight_1"), Norm1Bias: c.param("norm_bias_1"), Norm2: c.param("norm_weight_2"), Norm2Bias: c.param("norm_bias_2"),
		Linear1: c.param("ffn_weight_1"), Linear1Bias: c.param("ffn_bias_1"), Linear2: c.param("ffn_weight_2"), Linear2Bias: c.param("ffn_bias_2"),
	}
	act := func(x *graph.Value) *graph.Value { return c.Relu(x) }
	if c.bool("use_gelu") {
		act = func(x *graph.Value) *graph.Value { return c.Gelu(x, "none") }
	}
	p := aten.Transformer{NormFirst: c.bool("norm_first"), Eps: c.float("eps"), Activation: act}
	mask, ok := c.attentionMask(x)
	if !ok || c.bad {
		return nil
	}
	return Of(c.TransformerEncoderLayer(x, mask, p, w))
}
