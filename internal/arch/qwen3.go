package arch

// qwen3 is Qwen3 (arXiv:2505.09388): Qwen2 without biases, with queries and keys that are normalized head by head.
func qwen3(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	bias := c.Bool("attention_bias", false)
	window := c.windows(s.layers)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Rope, b.Attention.Window = rope, window[i]
		b.Attention.normalized(norm, bias)
		return b
	}
	return d
}

// qwen3MoE is the sparse form of Qwen3.
func qwen3MoE(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	bias := c.Bool("attention_bias", false)
	window := c.Int("sliding_window", 4096)
	if !c.Bool("use_sliding_window", false) {
		window = 0
	}
	c.Ignore("max_window_layers")
	sparse := c.sparse(s.layers)
	key := "num_experts"
	if c.Has("num_local_experts") {
		key = "num_local_experts"
	}
	mixture := c.qwenMoE(s, activation, key, 128, 8)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Rope, b.Attention.Window = rope, window
		b.Attention.normalized(norm, bias)
		if sparse[i] {
			b.MLP = mixture()
		}
		return b
	}
	return d
}

// normalized gives queries and keys a normalization for each head, and all four matrices a bias or none.
func (a *Attention) normalized(norm Norm, bias bool) {
	q, k := norm, norm
	q.Name, k.Name = "self_attn.q_norm", "self_attn.k_norm"
	a.QNorm, a.KNorm = &q, &k
	a.biases(bias)
}

// biases gives all four matrices a bias or none.
func (a *Attention) biases(bias bool) {
	a.Q.Bias, a.K.Bias, a.V.Bias, a.Out.Bias, a.Fused.Bias = bias, bias, bias, bias, bias
}
