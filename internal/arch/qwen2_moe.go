package arch

// qwen2MoE is Qwen1.5-MoE and Qwen2-57B-A14B (arXiv:2407.10671): Qwen2 with a mixture of experts in some layers, beside one expert
// that all tokens go to.
func qwen2MoE(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	bias := c.Bool("qkv_bias", true)
	size, below := c.Int("sliding_window", 4096), c.Int("max_window_layers", 28)
	use := c.Bool("use_sliding_window", false)
	window := c.windowsOf(s.layers, size, func(i int) bool { return use && i%2 == 0 && i < below })
	sparse := c.sparse(s.layers)
	mixture := c.qwenMoE(s, activation, "num_experts", 60, 4)
	shared := c.Size("shared_expert_intermediate_size", 5632)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		a := &b.Attention
		a.Rope, a.Window = rope, window[i]
		a.Q.Bias, a.K.Bias, a.V.Bias = bias, bias, bias
		if sparse[i] {
			m := mixture()
			m.Shared = s.expert("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj", "mlp.shared_expert.down_proj", activation, shared)
			m.Gate = "mlp.shared_expert_gate"
			b.MLP = m
		}
		return b
	}
	return d
}

// sparse reads which layers have a mixture of experts: each decoder_sparse_step-th that is none of mlp_only_layers.
func (c *Config) sparse(layers int) []bool {
	out := make([]bool, layers)
	step := c.Size("decoder_sparse_step", 1)
	for i := range out {
		out[i] = (i+1)%step == 0
	}
	for _, l := range c.Ints("mlp_only_layers") {
		if l < layers {
			out[l] = false
		}
	}
	return out
}

// qwenMoE reads the mixture of experts of a layer of Qwen.
func (c *Config) qwenMoE(s common, activation, key string, experts, perToken int) func() *MoE {
	experts, perToken = c.experts(key, experts, perToken)
	inner := c.Size("moe_intermediate_size", 0)
	normalize := c.Bool("norm_topk_prob", false)
	return func() *MoE {
		m := &MoE{Router: "mlp.gate", PerToken: perToken, Normalize: normalize}
		for e := range experts {
			name := layer("mlp.experts.", e)
			m.Experts = append(m.Experts, s.expert(name+".gate_proj", name+".up_proj", name+".down_proj", activation, inner))
		}
		return m
	}
}
