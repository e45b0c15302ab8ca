package arch

// distilBERT is DistilBERT (Sanh et al., arXiv:1910.01108): BERT without types and pooler, with names of its own.
func distilBERT(c *Config) *Encoder {
	s := common{
		vocab: c.Size("vocab_size", 30522), hidden: c.Size(c.first("dim", "hidden_size"), 768), inner: c.Size("hidden_dim", 3072),
		layers: c.layers(c.first("n_layers", "num_hidden_layers"), 6), heads: c.Size(c.first("n_heads", "num_attention_heads"), 12),
	}
	s.shared(c, "dim", "n_heads")
	activation := c.Activation("activation", "gelu")
	c.Ignore("sinusoidal_pos_embds", "qa_dropout", "seq_classif_dropout") // the embedding of positions is stored all the same
	norm := Norm{Epsilon: 1e-12, Mean: true, Bias: true}
	linear := func(name string) Linear { return Linear{Name: name, Bias: true} }
	e := &Encoder{
		Hidden: s.hidden, Layers: s.layers, Base: "distilbert.",
		Input: &Text{Prefix: "distilbert.embeddings.", Vocab: s.vocab, Rows: c.Size("max_position_embeddings", 512), Norm: *norm.named("LayerNorm")},
		Block: func(i int) Block {
			return Block{
				Name: layer("distilbert.transformer.layer.", i), AfterAttention: norm.named("sa_layer_norm"), AfterMLP: norm.named("output_layer_norm"),
				Attention: Attention{
					Heads: s.heads, KVHeads: s.heads, Size: s.size, Bidirectional: true,
					Q: linear("attention.q_lin"), K: linear("attention.k_lin"), V: linear("attention.v_lin"), Out: linear("attention.out_lin"),
				},
				MLP: &MLP{Up: linear("ffn.lin1"), Down: linear("ffn.lin2"), Activation: activation, Inner: s.inner},
			}
		},
	}
	transform := dense("vocab_transform", 0, activation)
	transform.Norm = norm.named("vocab_layer_norm")
	h := c.tokens()
	h["Model"] = []Head{{Outputs: []string{LastHidden}}}
	h["ForMaskedLM"] = []Head{{Dense: []Dense{transform, c.vocabulary("vocab_projector", "vocab_projector.bias", s.vocab)}, Outputs: []string{Logits}}}
	h["ForSequenceClassification"] = []Head{{
		Of: FirstToken, Dense: []Dense{dense("pre_classifier", 0, "relu"), dense("classifier", c.labels(), "")}, Outputs: []string{Logits},
	}}
	h["ForMultipleChoice"] = choice(FirstToken, dense("pre_classifier", 0, "relu"))
	h.read(c, "DistilBert", e)
	return e
}
