package arch

// common are the fields that most decoders have under the same names.
type common struct {
	vocab, hidden, inner, layers, heads, kvHeads, size int
}

// common reads sizes of the model.
func (c *Config) common() common {
	s := common{
		vocab: c.Size("vocab_size", 0), hidden: c.Size("hidden_size", 0), inner: c.Size("intermediate_size", 0),
		layers: c.layers("num_hidden_layers", 0), heads: c.Size("num_attention_heads", 0),
	}
	s.kvHeads = c.Size("num_key_value_heads", s.heads)
	if s.heads%s.kvHeads != 0 {
		c.Errorf("num_attention_heads", "%d is not a multiple of the %d num_key_value_heads", s.heads, s.kvHeads)
		s.kvHeads = s.heads
	}
	if !c.Has("head_dim") && s.hidden%s.heads != 0 {
		c.Errorf("hidden_size", "%d is not a multiple of the %d num_attention_heads", s.hidden, s.heads)
	}
	s.size = c.Size("head_dim", max(1, s.hidden/s.heads))
	return s
}

// decoder describes what is outside the blocks, as Llama names it. tied is the default of tie_word_embeddings.
func (s common) decoder(c *Config, norm Norm, tied bool) *Decoder {
	norm.Name = "model.norm"
	return &Decoder{
		Vocab: s.vocab, Hidden: s.hidden, Layers: s.layers, Base: "model.", Embedding: "model.embed_tokens", Norm: &norm,
		Head: Linear{Name: "lm_head"}, Tied: c.Bool("tie_word_embeddings", tied),
	}
}

// block describes a block as Llama has it: both parts behind a normalization, a gated MLP, no biases.
func (s common) block(i int, norm Norm, activation string) Block {
	before, mlp := norm, norm
	before.Name, mlp.Name = "input_layernorm", "post_attention_layernorm"
	return Block{
		Name:            layer("model.layers.", i),
		BeforeAttention: &before, BeforeMLP: &mlp,
		Attention: Attention{
			Heads: s.heads, KVHeads: s.kvHeads, Size: s.size,
			Q: Linear{Name: "self_attn.q_proj"}, K: Linear{Name: "self_attn.k_proj"}, V: Linear{Name: "self_attn.v_proj"}, Out: Linear{Name: "self_attn.o_proj"},
		},
		MLP: &MLP{
			Gate: Linear{Name: "mlp.gate_proj"}, Up: Linear{Name: "mlp.up_proj"}, Down: Linear{Name: "mlp.down_proj"},
			Activation: activation, Inner: s.inner,
		},
	}
}

// llama is Llama 1 to 3 (Touvron et al., arXiv:2302.13971) and what shares its form: Yi, TinyLlama, SmolLM2, DeepSeek's distillations.
func llama(c *Config) *Decoder { return c.common().llama(c, 0, false) }

// llama reads the rest of what Llama has; theta and tied are the defaults of rope_theta and tie_word_embeddings.
func (s common) llama(c *Config, theta float64, tied bool) *Decoder {
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6)}
	rope := c.Rope(s.size, theta, 0)
	activation := c.Activation("hidden_act", "silu")
	bias, mlpBias := c.Bool("attention_bias", false), c.Bool("mlp_bias", false)
	d := s.decoder(c, norm, tied)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		a, m := &b.Attention, b.MLP.(*MLP)
		a.Rope = rope
		a.biases(bias)
		m.Gate.Bias, m.Up.Bias, m.Down.Bias = mlpBias, mlpBias, mlpBias
		return b
	}
	return d
}
