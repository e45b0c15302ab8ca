package arch

// phi is Phi-1, Phi-1.5 and Phi-2 (arXiv:2309.05463): attention and MLP side by side behind one layer normalization, biases
// everywhere, half of each head rotated.
func phi(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("layer_norm_eps", 1e-5), Mean: true, Bias: true}
	rope := c.Rope(s.size, 0, 0.5)
	activation := c.Activation("hidden_act", "gelu_new")
	normalized := c.Bool("qk_layernorm", false)
	d := s.decoder(c, norm, false)
	d.Norm.Name = "model.final_layernorm"
	d.Head.Bias = true
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Parallel, b.BeforeMLP = true, nil
		a := &b.Attention
		a.Rope, a.Out.Name = rope, "self_attn.dense"
		a.biases(true)
		if normalized {
			q, k := norm, norm
			q.Name, k.Name = "self_attn.q_layernorm", "self_attn.k_layernorm"
			a.QNorm, a.KNorm = &q, &k
		}
		b.MLP = s.plain("mlp.fc1", "mlp.fc2", activation, s.inner, true)
		return b
	}
	return d
}

// plain is a feed-forward network without a gate, by the names of its matrices.
func (s common) plain(up, down, activation string, inner int, bias bool) *MLP {
	return &MLP{Up: Linear{Name: up, Bias: bias}, Down: Linear{Name: down, Bias: bias}, Activation: activation, Inner: inner}
}

// phi3 is Phi-3, Phi-3.5 and Phi-4 (arXiv:2404.14219): Llama with queries, keys and values from one matrix, gate and up from
// another, and for long contexts a rotary embedding with a factor for each frequency.
func phi3(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-5)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	window := c.Int("sliding_window", 0)
	c.Ignore("original_max_position_embeddings") // of a scaled rotary embedding alone
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		a := &b.Attention
		a.Rope, a.Window = rope, window
		a.Fused, a.Layout = Linear{Name: "self_attn.qkv_proj"}, Stacked
		b.MLP = &MLP{Up: Linear{Name: "mlp.gate_up_proj"}, Down: Linear{Name: "mlp.down_proj"}, Fused: true, Activation: activation, Inner: s.inner}
		return b
	}
	return d
}
