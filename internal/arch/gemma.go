package arch

import "math"

// gemma is Gemma (arXiv:2403.08295): embeddings times the root of their size, weights of normalizations stored less one.
func gemma(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6), PlusOne: true}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_activation", c.Activation("hidden_act", "gelu_pytorch_tanh"))
	if activation == "gelu" { // so it stands in the first configurations that were published; the models were trained with the other
		activation = "gelu_pytorch_tanh"
	}
	bias := c.Bool("attention_bias", false)
	d := s.decoder(c, norm, true)
	d.EmbedScale = math.Sqrt(float64(s.hidden))
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Rope = rope
		b.Attention.biases(bias)
		return b
	}
	return d
}

// gemma2 is Gemma 2 (arXiv:2408.00118): normalizations before and behind both parts, scores and logits under a soft cap, a sliding
// window in every other layer.
func gemma2(c *Config) *Decoder {
	s, d, block := c.laterGemma()
	rope := c.Rope(s.size, 0, 0)
	size := c.Int("sliding_window", 4096)
	window := c.windowsOf(s.layers, size, func(i int) bool { return i%2 == 0 })
	softcap := c.Float("attn_logit_softcapping", 50)
	if v, there := c.m["attn_logit_softcapping"]; there && v == nil {
		softcap = 0
	}
	d.LogitCap = c.Float("final_logit_softcapping", 30)
	if v, there := c.m["final_logit_softcapping"]; there && v == nil {
		d.LogitCap = 0
	}
	d.Block = func(i int) Block {
		b := block(i)
		b.Attention.Rope, b.Attention.Window, b.Attention.Softcap = rope, window[i], softcap
		return b
	}
	return d
}

// gemma3 is the language model of Gemma 3 (arXiv:2503.19786): queries and keys normalized, five layers of six with a sliding window
// and a rotary embedding of their own.
func gemma3(c *Config) *Decoder {
	s, d, block := c.laterGemma()
	local, global := c.RopeOf("sliding_attention", s.size, 10000, 0), c.RopeOf("full_attention", s.size, 1e6, 0)
	if local == nil || global == nil {
		local = c.rope(newConfig(map[string]any{}), s.size, c.Float("rope_local_base_freq", 10000), 1)
		global = c.Rope(s.size, 1e6, 0)
	}
	c.Ignore("rope_parameters", "rope_local_base_freq")
	every := c.Size("sliding_window_pattern", c.Size("_sliding_window_pattern", 6))
	window := c.windowsOf(s.layers, c.Int("sliding_window", 4096), func(i int) bool { return (i+1)%every != 0 })
	c.Only("attn_logit_softcapping")
	d.LogitCap = c.Float("final_logit_softcapping", 0)
	d.Block = func(i int) Block {
		b := block(i)
		a := &b.Attention
		if a.Rope, a.Window = global, window[i]; a.Window > 0 {
			a.Rope = local
		}
		q, k := *d.Norm, *d.Norm
		q.Name, k.Name = "self_attn.q_norm", "self_attn.k_norm"
		a.QNorm, a.KNorm = &q, &k
		return b
	}
	return d
}

// laterGemma reads what Gemma 2 and 3 share.
func (c *Config) laterGemma() (common, *Decoder, func(i int) Block) {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6), PlusOne: true}
	activation := c.Activation("hidden_activation", "gelu_pytorch_tanh")
	bias := c.Bool("attention_bias", false)
	scalar := c.Float("query_pre_attn_scalar", 256)
	if scalar <= 0 {
		c.Errorf("query_pre_attn_scalar", "want a positive number, found %v", scalar)
		scalar = 1
	}
	c.Only("use_bidirectional_attention", false)
	d := s.decoder(c, norm, true)
	d.EmbedScale = math.Sqrt(float64(s.hidden))
	return s, d, func(i int) Block {
		b := s.block(i, norm, activation)
		b.Attention.Scale = 1 / math.Sqrt(scalar)
		b.Attention.biases(bias)
		behind, before, mlp := norm, norm, norm
		behind.Name, before.Name, mlp.Name = "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"
		b.OfAttention, b.BeforeMLP, b.OfMLP = &behind, &before, &mlp
		return b
	}
}
