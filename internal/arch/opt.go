package arch

// opt is OPT (Zhang et al., arXiv:2205.01068): learned positions whose first two rows are of no use, layer normalizations before
// or, in OPT-350m, behind attention and MLP, and an embedding that may be narrower than the rest.
func opt(c *Config) *Decoder {
	s := common{
		vocab: c.Size("vocab_size", 0), hidden: c.Size("hidden_size", 0), inner: c.Size("ffn_dim", 0), layers: c.layers("num_hidden_layers", 0),
		heads: c.Size("num_attention_heads", 0),
	}
	s.shared(c, "hidden_size", "num_attention_heads")
	bias, affine := c.Bool("enable_bias", true), c.Bool("layer_norm_elementwise_affine", true)
	norm := Norm{Epsilon: 1e-5, Mean: true, Bias: affine, Plain: !affine}
	activation := c.Activation("activation_function", "relu")
	c.Ignore("init_std")
	before := c.Bool("do_layer_norm_before", true)
	d := &Decoder{
		Vocab: s.vocab, Hidden: s.hidden, Layers: s.layers, Base: "model.", Embedding: "model.decoder.embed_tokens",
		Learned: "model.decoder.embed_positions", LearnedOffset: 2, LearnedRows: c.Size("max_position_embeddings", 2048) + 2,
		Head: Linear{Name: "lm_head"}, Tied: c.Bool("tie_word_embeddings", true),
	}
	if d.EmbedSize = c.Size("word_embed_proj_dim", s.hidden); d.EmbedSize != s.hidden {
		d.In, d.Out = "model.decoder.project_in", "model.decoder.project_out"
	}
	if remove := c.Bool("_remove_final_layer_norm", false); before && !remove {
		final := norm
		final.Name = "model.decoder.final_layer_norm"
		d.Norm = &final
	}
	d.Block = func(i int) Block {
		attention, mlp := norm, norm
		attention.Name, mlp.Name = "self_attn_layer_norm", "final_layer_norm"
		b := Block{
			Name: layer("model.decoder.layers.", i),
			Attention: Attention{
				Heads: s.heads, KVHeads: s.heads, Size: s.size,
				Q: Linear{Name: "self_attn.q_proj"}, K: Linear{Name: "self_attn.k_proj"}, V: Linear{Name: "self_attn.v_proj"}, Out: Linear{Name: "self_attn.out_proj"},
			},
			MLP: s.plain("fc1", "fc2", activation, s.inner, bias),
		}
		b.Attention.biases(bias)
		if before {
			b.BeforeAttention, b.BeforeMLP = &attention, &mlp
		} else {
			b.AfterAttention, b.AfterMLP = &attention, &mlp
		}
		return b
	}
	return d
}
