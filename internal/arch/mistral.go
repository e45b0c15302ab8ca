package arch

// mistral is Mistral 7B (Jiang et al., arXiv:2310.06825) and its successors: Llama with a sliding window, which may be null.
func mistral(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	window := c.Int("sliding_window", 0)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Rope, b.Attention.Window = rope, window
		return b
	}
	return d
}
