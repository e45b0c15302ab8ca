package arch

// gptNeoX is GPT-NeoX-20B (Black et al., arXiv:2204.06745) and Pythia: attention and MLP side by side, each behind its own layer
// normalization, a quarter of each head rotated, one matrix for queries, keys and values head by head.
func gptNeoX(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("layer_norm_eps", 1e-5), Mean: true, Bias: true}
	rope := c.Rope(s.size, c.Float("rotary_emb_base", 0), c.Float("rotary_pct", 0.25))
	activation := c.Activation("hidden_act", "gelu")
	bias := c.Bool("attention_bias", true)
	parallel := c.Bool("use_parallel_residual", true)
	d := s.decoder(c, norm, false)
	d.Base, d.Embedding, d.Norm.Name, d.Head.Name = "gpt_neox.", "gpt_neox.embed_in", "gpt_neox.final_layer_norm", "embed_out"
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Name, b.Parallel = layer("gpt_neox.layers.", i), parallel
		a := &b.Attention
		a.Rope = rope
		a.Fused, a.Layout, a.Out = Linear{Name: "attention.query_key_value"}, ByHead, Linear{Name: "attention.dense"}
		a.biases(bias)
		b.MLP = s.plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", activation, s.inner, true)
		return b
	}
	return d
}
