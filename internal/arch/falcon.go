package arch

import "math"

// falcon is Falcon (Almazrouei et al., arXiv:2311.16867): attention and MLP side by side, one head of keys or a few, rotary
// embeddings, or in Falcon-RW a penalty on distance.
func falcon(c *Config) *Decoder {
	s := common{
		vocab: c.Size("vocab_size", 0), hidden: c.Size(c.first("hidden_size", "n_embed"), 0), layers: c.layers(c.first("num_hidden_layers", "n_layer"), 0),
		heads: c.Size(c.first("num_attention_heads", "n_head"), 0),
	}
	s.shared(c, "hidden_size", "num_attention_heads")
	s.inner = c.Size("ffn_hidden_size", 4*s.hidden)
	later, parallel, norms := c.Bool("new_decoder_architecture", false), c.Bool("parallel_attn", true), c.Int("num_ln_in_parallel_attn", 0)
	kvHeads, single := c.Size(c.first("num_kv_heads", "n_head_kv"), s.heads), c.Bool("multi_query", true)
	switch {
	case later:
		s.kvHeads = kvHeads
		if norms == 0 {
			norms = 2
		}
		if !parallel {
			c.Errorf("parallel_attn", "false is not supported with new_decoder_architecture")
		}
	case single:
		s.kvHeads = 1
	}
	if s.heads%s.kvHeads != 0 {
		c.Errorf("num_kv_heads", "%d heads are not a multiple of %d", s.heads, s.kvHeads)
		s.kvHeads = s.heads
	}
	norm := Norm{Epsilon: c.Epsilon("layer_norm_epsilon", 1e-5), Mean: true, Bias: true}
	activation := c.Activation("activation", "gelu")
	bias := c.Bool("bias", false)
	rope, slopes := c.Rope(s.size, 0, 0), []float64(nil)
	if c.Bool("alibi", false) {
		rope, slopes = nil, Slopes(s.heads)
		for i := range slopes {
			slopes[i] /= math.Sqrt(float64(s.size))
		}
	}
	d := s.decoder(c, norm, true)
	d.Base, d.Embedding, d.Norm.Name = "transformer.", "transformer.word_embeddings", "transformer.ln_f"
	d.Block = func(i int) Block {
		before, mlp := norm, norm
		before.Name, mlp.Name = "input_layernorm", "post_attention_layernorm"
		b := Block{
			Name: layer("transformer.h.", i), BeforeAttention: &before, Parallel: parallel,
			Attention: Attention{
				Heads: s.heads, KVHeads: s.kvHeads, Size: s.size, Rope: rope, Slopes: slopes,
				Fused: Linear{Name: "self_attention.query_key_value"}, Layout: ByGroup, Out: Linear{Name: "self_attention.dense"},
			},
			MLP: s.plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", activation, s.inner, bias),
		}
		b.Attention.biases(bias)
		switch {
		case !parallel:
			b.BeforeMLP = &mlp
		case later && norms == 2:
			before.Name, mlp.Name = "ln_attn", "ln_mlp"
			b.BeforeMLP = &mlp
		}
		return b
	}
	return d
}

// first returns the first of several names of a field that is there, the first of all if none is.
func (c *Config) first(keys ...string) string {
	for _, k := range keys {
		if c.Has(k) {
			return k
		}
	}
	return keys[0]
}
