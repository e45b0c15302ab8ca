package arch

// cohere is Command-R and Aya: attention and MLP side by side behind one layer normalization without a bias, neighbouring elements
// rotated, logits times a number.
func cohere(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("layer_norm_eps", 1e-5), Mean: true}
	rope := c.Rope(s.size, 500000, 0)
	rope.Interleaved = true
	activation := c.Activation("hidden_act", "silu")
	bias, normalized := c.Bool("attention_bias", false), c.Bool("use_qk_norm", false)
	d := s.decoder(c, norm, true)
	d.LogitScale = c.Float("logit_scale", 0.0625)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Parallel, b.BeforeMLP = true, nil
		a := &b.Attention
		if a.Rope = rope; normalized {
			a.normalized(norm, bias)
			a.Norms = HeadsApart
		}
		a.biases(bias)
		return b
	}
	return d
}
