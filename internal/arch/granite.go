package arch

// granite is Granite 3 of IBM: Llama with a factor for the embedding, the scores, what each part adds, and the logits.
func granite(c *Config) *Decoder {
	d := c.common().llama(c, 0, false)
	d.EmbedScale = c.Float("embedding_multiplier", 1)
	scale, residual, divisor := c.Float("attention_multiplier", 1), c.Float("residual_multiplier", 1), c.Float("logits_scaling", 1)
	if divisor == 0 {
		c.Errorf("logits_scaling", "want a number that is not 0")
		divisor = 1
	}
	d.LogitScale = 1 / divisor
	plain := d.Block
	d.Block = func(i int) Block {
		b := plain(i)
		b.Attention.Scale, b.Residual = scale, residual
		return b
	}
	return d
}
