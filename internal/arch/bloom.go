package arch

// bloom is BLOOM (arXiv:2211.05100): a penalty on distance in the place of positions, a normalized embedding.
func bloom(c *Config) *Decoder {
	s := common{
		vocab: c.Size("vocab_size", 0), hidden: c.Size(c.first("hidden_size", "n_embed"), 0), layers: c.layers(c.first("n_layer", "num_hidden_layers"), 0),
		heads: c.Size(c.first("n_head", "num_attention_heads"), 0),
	}
	s.inner = 4 * s.hidden
	s.shared(c, "hidden_size", "n_head")
	norm := Norm{Epsilon: c.Epsilon("layer_norm_epsilon", 1e-5), Mean: true, Bias: true}
	fromNorm := c.Bool("apply_residual_connection_post_layernorm", false)
	// What training did, and how: nothing of a network that is evaluated.
	c.Ignore("slow_but_exact", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "seq_length", "unk_token_id", "attention_softmax_in_fp32",
		"bias_dropout_fusion", "masked_softmax_fusion")
	slopes := Slopes(s.heads)
	d := s.decoder(c, norm, true)
	d.Base, d.Embedding, d.Norm.Name = "transformer.", "transformer.word_embeddings", "transformer.ln_f"
	embed := norm
	embed.Name = "transformer.word_embeddings_layernorm"
	d.EmbedNorm = &embed
	d.Block = func(i int) Block {
		b := s.block(i, norm, "gelu_new")
		b.Name, b.FromNorm = layer("transformer.h.", i), fromNorm
		a := &b.Attention
		a.Slopes = slopes
		a.Fused, a.Layout, a.Out = Linear{Name: "self_attention.query_key_value"}, ByHead, Linear{Name: "self_attention.dense"}
		a.biases(true)
		b.MLP = s.plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "gelu_new", s.inner, true)
		return b
	}
	return d
}
