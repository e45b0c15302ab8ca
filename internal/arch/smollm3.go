package arch

// smolLM3 is SmolLM3: Llama without a rotary embedding in every fourth layer.
func smolLM3(c *Config) *Decoder {
	s := c.common()
	interval := c.Size("no_rope_layer_interval", 4)
	has := c.Ints("no_rope_layers") // 1 for a layer with one
	switch {
	case has == nil:
		for i := range s.layers {
			has = append(has, min((i+1)%interval, 1))
		}
	case len(has) != s.layers:
		c.Errorf("no_rope_layers", "want one number for each of %d layers, found %d", s.layers, len(has))
		has = make([]int, s.layers)
	}
	size, use := c.Int("sliding_window", 0), c.Bool("use_sliding_window", false)
	window := make([]int, s.layers)
	if types := c.layerTypes(s.layers); use {
		for i := range window {
			if types != nil && types[i] == "sliding_attention" || types == nil && size > 0 && has[i] == 0 {
				window[i] = size
			}
		}
	}
	d := s.llama(c, 2e6, true)
	plain := d.Block
	d.Block = func(i int) Block {
		b := plain(i)
		if b.Attention.Window = window[i]; has[i] == 0 {
			b.Attention.Rope = nil
		}
		return b
	}
	return d
}
