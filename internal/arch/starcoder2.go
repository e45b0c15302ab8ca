package arch

// starcoder2 is StarCoder2 (Lozhkov et al., arXiv:2402.19173): layer normalizations, a feed-forward network without a gate, biases.
func starcoder2(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("norm_epsilon", 1e-5), Mean: true, Bias: true}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "gelu_pytorch_tanh")
	bias := c.Bool("use_bias", true)
	window := c.Int("sliding_window", 0)
	d := s.decoder(c, norm, true)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Rope, b.Attention.Window = rope, window
		b.Attention.biases(bias)
		b.MLP = s.plain("mlp.c_fc", "mlp.c_proj", activation, s.inner, bias)
		return b
	}
	return d
}
