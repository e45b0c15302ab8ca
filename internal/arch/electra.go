package arch

// electra is ELECTRA (Clark et al., arXiv:2003.10555): BERT whose embeddings may be narrower than its blocks.
func electra(c *Config) *Encoder {
	e, text, norm := c.encoder("electra.", nil, true)
	text.Size, text.Project = c.Size("embedding_size", 128), "electra.embeddings_project"
	c.Ignore("summary_last_dropout") // of ForMultipleChoice, with the other fields summary_*
	transform := dense("generator_predictions.dense", text.Size, "gelu")
	transform.Norm = norm.named("generator_predictions.LayerNorm")
	found := dense("discriminator_predictions.dense", 0, c.Activation("hidden_act", "gelu"))
	h := c.tokens()
	h["Model"] = []Head{{Outputs: []string{LastHidden}}}
	h["ForMaskedLM"] = []Head{{Dense: []Dense{transform, c.vocabulary("generator_lm_head", "generator_lm_head.bias", text.Vocab)}, Outputs: []string{Logits}}}
	h["ForPreTraining"] = []Head{{Dense: []Dense{found, dense("discriminator_predictions.dense_prediction", 1, "")}, Columns: true, Outputs: []string{Logits}}}
	h["ForSequenceClassification"] = []Head{{
		First: true, Dense: []Dense{dense("classifier.dense", 0, "gelu"), dense("classifier.out_proj", c.labels(), "")}, Outputs: []string{Logits},
	}}
	h.read(c, "Electra", e)
	return e
}
