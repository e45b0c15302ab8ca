package arch

// vit is the Vision Transformer (Dosovitskiy et al., arXiv:2010.11929) as checkpoints of Hugging Face have it.
func vit(c *Config) *Encoder {
	s := common{hidden: c.Size("hidden_size", 768), inner: c.Size("intermediate_size", 3072), layers: c.layers("num_hidden_layers", 12), heads: c.Size("num_attention_heads", 12)}
	s.shared(c, "hidden_size", "num_attention_heads")
	norm := Norm{Epsilon: c.Epsilon("layer_norm_eps", 1e-12), Mean: true, Bias: true}
	activation := c.Activation("hidden_act", "gelu")
	bias := c.Bool("qkv_bias", true)
	image := &Image{Prefix: "vit.embeddings.", Channels: c.Size("num_channels", 3)}
	image.Height, image.Width = c.sides("image_size", 224)
	image.PatchH, image.PatchW = c.sides("patch_size", 16)
	if image.PatchH > image.Height || image.PatchW > image.Width {
		c.Errorf("patch_size", "%dx%d is larger than the image of %dx%d", image.PatchH, image.PatchW, image.Height, image.Width)
	}
	c.Ignore("encoder_stride") // of ViTForMaskedImageModeling
	e := &Encoder{
		Hidden: s.hidden, Layers: s.layers, Base: "vit.", Input: image, Norm: norm.named("vit.layernorm"), Ignored: []string{"embeddings.mask_token"},
		Block: func(i int) Block {
			b := Block{
				Name: layer("vit.encoder.layer.", i), BeforeAttention: norm.named("layernorm_before"), BeforeMLP: norm.named("layernorm_after"),
				Attention: Attention{
					Heads: s.heads, KVHeads: s.heads, Size: s.size, Bidirectional: true,
					Q: Linear{Name: "attention.attention.query"}, K: Linear{Name: "attention.attention.key"}, V: Linear{Name: "attention.attention.value"},
					Out: Linear{Name: "attention.output.dense"},
				},
				MLP: &MLP{Up: Linear{Name: "intermediate.dense", Bias: true}, Down: Linear{Name: "output.dense", Bias: true}, Activation: activation, Inner: s.inner},
			}
			b.Attention.biases(bias)
			b.Attention.Out.Bias = true
			return b
		},
	}
	heads{
		"Model":                  bare(dense("vit.pooler.dense", c.Size("pooler_output_size", s.hidden), c.Activation("pooler_act", "tanh"))),
		"ForImageClassification": {{Of: FirstToken, Dense: []Dense{dense("classifier", c.labels(), "")}, Outputs: []string{Logits}}},
	}.read(c, "ViT", e)
	return e
}

// sides reads the height and width of something square, or of what is given as both.
func (c *Config) sides(key string, def int) (height, width int) {
	if _, ok := c.m[key].([]any); !ok {
		n := c.Size(key, def)
		return n, n
	}
	if two := c.Ints(key); len(two) == 2 && two[0] > 0 && two[1] > 0 && two[0] <= maxSize && two[1] <= maxSize {
		return two[0], two[1]
	}
	c.Errorf(key, "want a size, or the height and width")
	return def, def
}
