package arch

import "math"

// gpt2 is GPT-2 (Radford et al., 2019): learned positions, layer normalizations, matrices that are stored transposed.
func gpt2(c *Config) *Decoder {
	s := common{vocab: c.Size("vocab_size", 0), hidden: c.Size("n_embd", 768), layers: c.layers("n_layer", 12), heads: c.Size("n_head", 12)}
	s.inner = c.Size("n_inner", 4*s.hidden)
	s.shared(c, "n_embd", "n_head")
	norm := Norm{Epsilon: c.Epsilon("layer_norm_epsilon", 1e-5), Mean: true, Bias: true}
	activation := c.Activation("activation_function", "gelu_new")
	scaled, byLayer := c.Bool("scale_attn_weights", true), c.Bool("scale_attn_by_inverse_layer_idx", false)
	c.Only("add_cross_attention", false)
	c.Ignore("reorder_and_upcast_attn", "n_ctx") // changes nothing in float32; older name of n_positions
	final := norm
	final.Name = "transformer.ln_f"
	conv := func(name string) Linear { return Linear{Name: name, Bias: true, Conv1D: true} }
	return &Decoder{
		Vocab: s.vocab, Hidden: s.hidden, Layers: s.layers, Base: "transformer.", Embedding: "transformer.wte",
		Learned: "transformer.wpe", LearnedRows: c.Size("n_positions", 1024), Norm: &final,
		Head: Linear{Name: "lm_head"}, Tied: c.Bool("tie_word_embeddings", true),
		Block: func(i int) Block {
			before, mlp := norm, norm
			before.Name, mlp.Name = "ln_1", "ln_2"
			scale := 1.0
			if scaled {
				scale = 1 / math.Sqrt(float64(s.size))
			}
			if byLayer {
				scale /= float64(i + 1)
			}
			return Block{
				Name: layer("transformer.h.", i), BeforeAttention: &before, BeforeMLP: &mlp,
				Attention: Attention{
					Heads: s.heads, KVHeads: s.heads, Size: s.size, Fused: conv("attn.c_attn"), Layout: Stacked, Out: conv("attn.c_proj"), Scale: scale,
				},
				MLP: &MLP{Up: conv("mlp.c_fc"), Down: conv("mlp.c_proj"), Activation: activation, Inner: s.inner},
			}
		},
	}
}

// shared gives all heads an equal share of the hidden size, whose fields are named for errors.
func (s *common) shared(c *Config, hidden, heads string) {
	if s.hidden%s.heads != 0 {
		c.Errorf(hidden, "%d is not a multiple of the %d %s", s.hidden, s.heads, heads)
	}
	s.kvHeads, s.size = s.heads, max(1, s.hidden/s.heads)
}

// layers reads how many layers there are; a def of 0 means that the field must be there.
func (c *Config) layers(key string, def int) int {
	n := c.Int(key, def)
	if n < 1 || n > maxLayers {
		c.Errorf(key, "want a number from 1 to %d, found %d", maxLayers, n)
		return 1
	}
	return n
}
