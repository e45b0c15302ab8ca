package arch

// mixtral is Mixtral (Jiang et al., arXiv:2401.04088): Mistral with a mixture of experts in the place of each feed-forward network.
func mixtral(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-5)}
	rope := c.Rope(s.size, 1e6, 0)
	activation := c.Activation("hidden_act", "silu")
	window := c.Int("sliding_window", 0)
	experts, perToken := c.experts("num_local_experts", 8, 2)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Rope, b.Attention.Window = rope, window
		m := &MoE{Router: "block_sparse_moe.gate", PerToken: perToken, Normalize: true}
		for e := range experts {
			name := layer("block_sparse_moe.experts.", e)
			m.Experts = append(m.Experts, s.expert(name+".w1", name+".w3", name+".w2", activation, s.inner))
		}
		b.MLP = m
		return b
	}
	return d
}

// maxExperts bounds the experts of a layer.
const maxExperts = 1 << 12

// experts reads how many experts a layer has, and how many compute each token.
func (c *Config) experts(key string, def, perToken int) (experts, used int) {
	experts, used = c.Size(key, def), c.Size("num_experts_per_tok", perToken)
	if experts > maxExperts {
		c.Errorf(key, "want a number from 1 to %d, found %d", maxExperts, experts)
		experts = 1
	}
	if used > experts {
		c.Errorf("num_experts_per_tok", "%d of %d experts", used, experts)
		used = experts
	}
	return experts, used
}

// expert is a feed-forward network with a gate, by the names of its matrices.
func (s common) expert(gate, up, down, activation string, inner int) *MLP {
	return &MLP{Gate: Linear{Name: gate}, Up: Linear{Name: up}, Down: Linear{Name: down}, Activation: activation, Inner: inner}
}
