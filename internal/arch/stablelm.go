package arch

// stableLM is StableLM 2 and StableLM-3B-4E1T (arXiv:2402.17834): layer normalizations, a quarter of each head rotated; in the 12B form
// attention and MLP side by side, queries and keys normalized.
func stableLM(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("layer_norm_eps", 1e-5), Mean: true, Bias: true}
	rope := c.Rope(s.size, 0, 0.25)
	activation := c.Activation("hidden_act", "silu")
	bias, normalized, parallel := c.Bool("use_qkv_bias", false), c.Bool("qk_layernorm", false), c.Bool("use_parallel_residual", false)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		if parallel {
			b.Parallel, b.BeforeMLP = true, nil
		}
		a := &b.Attention
		a.Rope = rope
		a.Q.Bias, a.K.Bias, a.V.Bias = bias, bias, bias
		if normalized {
			q := Norm{Name: "self_attn.q_layernorm", Epsilon: norm.Epsilon, Mean: true}
			k := q
			k.Name = "self_attn.k_layernorm"
			a.QNorm, a.KNorm, a.Norms = &q, &k, HeadsListed
		}
		return b
	}
	return d
}
