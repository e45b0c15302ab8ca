package arch

import "slices"

// electra is ELECTRA (Clark et al., arXiv:2003.10555): BERT whose embeddings may be narrower than its blocks.
func electra(c *Config) *Encoder {
	e, text, norm := c.encoder("electra.", nil, true)
	text.Size, text.Project = c.Size("embedding_size", 128), "electra.embeddings_project"
	of, summary := c.summary("sequence_summary.summary")
	transform := dense("generator_predictions.dense", text.Size, "gelu")
	transform.Norm = norm.named("generator_predictions.LayerNorm")
	found := dense("discriminator_predictions.dense", 0, c.Activation("hidden_act", "gelu"))
	h := c.tokens()
	h["Model"] = []Head{{Outputs: []string{LastHidden}}}
	h["ForMaskedLM"] = []Head{{Dense: []Dense{transform, c.vocabulary("generator_lm_head", "generator_lm_head.bias", text.Vocab)}, Outputs: []string{Logits}}}
	h["ForPreTraining"] = []Head{{Dense: []Dense{found, dense("discriminator_predictions.dense_prediction", 1, "")}, Columns: true, Outputs: []string{Logits}}}
	h["ForSequenceClassification"] = []Head{{
		Of: FirstToken, Dense: []Dense{dense("classifier.dense", 0, "gelu"), dense("classifier.out_proj", c.labels(), "")}, Outputs: []string{Logits},
	}}
	h["ForMultipleChoice"] = choice(of, summary)
	h.read(c, "Electra", e)
	return e
}

// summary reads how ForMultipleChoice makes one vector of those of a text: which one it takes, and the layer that follows. Other classes do without.
func (c *Config) summary(name string) (Summary, Dense) {
	c.Ignore("summary_last_dropout")
	if !slices.Contains(c.Texts("architectures"), "ElectraForMultipleChoice") {
		return FirstToken, dense(name, 0, "")
	}
	of := Summary(c.OneOf("summary_type", string(FirstToken), string(LastToken), string(MeanToken), "cls_index"))
	if of == "cls_index" {
		of = LastToken // of texts that do not say which token
	}
	c.Only("summary_use_proj", true)
	c.Only("summary_proj_to_labels", false)
	activation := ""
	if v, there := c.m["summary_activation"]; !there || v != nil && v != "" { // null asks for none
		activation = c.Activation("summary_activation", "gelu")
	}
	return of, dense(name, 0, activation)
}
