package arch

// olmo2 is OLMo 2 (arXiv:2501.00656): what attention and MLP give is normalized, not what they get; queries and keys are, all heads
// together.
func olmo2(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-5)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	bias := c.Bool("attention_bias", false)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		attention, mlp := norm, norm
		attention.Name, mlp.Name = "post_attention_layernorm", "post_feedforward_layernorm"
		b.BeforeAttention, b.BeforeMLP, b.OfAttention, b.OfMLP = nil, nil, &attention, &mlp
		b.Attention.Rope, b.Attention.Norms = rope, HeadsTogether
		b.Attention.normalized(norm, bias)
		return b
	}
	return d
}
