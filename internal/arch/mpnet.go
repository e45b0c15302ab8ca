package arch

// mpnet is MPNet (Song et al., arXiv:2004.09297): no types, positions as RoBERTa has them, and distances between tokens that count in attention.
func mpnet(c *Config) *Encoder {
	pad := 1 // whatever the token of padding is
	e, text, norm := c.encoder("mpnet.", &pad, false)
	rows := c.Size("relative_attention_num_buckets", distanceBuckets)
	if rows < distanceBuckets {
		c.Errorf("relative_attention_num_buckets", "%d is not supported; want at least %d", rows, distanceBuckets)
	}
	text.Distances, text.DistanceRows, text.DistanceHeads = "mpnet.encoder.relative_attention_bias", rows, c.Size("num_attention_heads", 12)
	block := e.Block
	e.Block = func(i int) Block {
		b := block(i)
		b.AfterAttention.Name = "attention.LayerNorm"
		b.Attention.Q.Name, b.Attention.K.Name, b.Attention.V.Name, b.Attention.Out.Name = "attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"
		return b
	}
	h := c.robertaHeads(text, norm, dense("mpnet.pooler.dense", 0, "tanh"), "gelu")
	h.read(c, "MPNet", e)
	return e
}
