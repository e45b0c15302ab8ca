package arch

// roberta is RoBERTa (Liu et al., arXiv:1907.11692): BERT whose positions begin behind the row of the padding token.
func roberta(c *Config) *Encoder { return c.roberta("Roberta") }

// xlmRoberta is XLM-RoBERTa (Conneau et al., arXiv:1911.02116), which differs in nothing but its tokens.
func xlmRoberta(c *Config) *Encoder { return c.roberta("XLMRoberta") }

func (c *Config) roberta(class string) *Encoder {
	pad := c.Int("pad_token_id", 1)
	e, text, norm := c.encoder("roberta.", &pad, true)
	h := c.robertaHeads(text, norm, dense("roberta.pooler.dense", 0, "tanh"), "gelu")
	h.read(c, class, e)
	return e
}

// robertaHeads are those of RoBERTa and MPNet.
func (c *Config) robertaHeads(text *Text, norm Norm, pooler Dense, activation string) heads {
	transform := dense("lm_head.dense", 0, activation)
	transform.Norm = norm.named("lm_head.layer_norm")
	h := c.tokens()
	h["Model"] = bare(pooler)
	h["ForMultipleChoice"] = choice(FirstToken, pooler)
	h["ForMaskedLM"] = []Head{{Dense: []Dense{transform, c.vocabulary("lm_head.decoder", "lm_head.bias", text.Vocab)}, Outputs: []string{Logits}}}
	h["ForSequenceClassification"] = []Head{{
		Of: FirstToken, Dense: []Dense{dense("classifier.dense", 0, "tanh"), dense("classifier.out_proj", c.labels(), "")}, Outputs: []string{Logits},
	}}
	return h
}
