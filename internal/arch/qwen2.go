package arch

// qwen2 is Qwen2 and Qwen2.5 (arXiv:2412.15115): Llama with biases of queries, keys and values, and a sliding window, mostly not
// in use, in the layers from max_window_layers on.
func qwen2(c *Config) *Decoder {
	s := c.common()
	norm := Norm{Epsilon: c.Epsilon("rms_norm_eps", 1e-6)}
	rope := c.Rope(s.size, 0, 0)
	activation := c.Activation("hidden_act", "silu")
	window := c.windows(s.layers)
	d := s.decoder(c, norm, false)
	d.Block = func(i int) Block {
		b := s.block(i, norm, activation)
		a := &b.Attention
		a.Rope, a.Window = rope, window[i]
		a.Q.Bias, a.K.Bias, a.V.Bias = true, true, true
		return b
	}
	return d
}

// windows reads which layers have a sliding window, as Qwen models say it: 0 for none.
func (c *Config) windows(layers int) []int {
	size, from := c.Int("sliding_window", 4096), c.Int("max_window_layers", 28)
	use := c.Bool("use_sliding_window", false)
	return c.windowsOf(layers, size, func(i int) bool { return use && i >= from })
}

// windowsOf returns the sliding window of each layer, 0 for none: what layer_types says, and where that is not there what def does.
func (c *Config) windowsOf(layers, size int, def func(i int) bool) []int {
	out := make([]int, layers)
	types := c.layerTypes(layers)
	for i := range out {
		if types != nil && types[i] == "sliding_attention" || types == nil && def(i) {
			if out[i] = size; size == 0 {
				c.Errorf("sliding_window", "is missing, and layer %d has one", i)
				return make([]int, layers)
			}
		}
	}
	return out
}

// layerTypes reads layer_types: full_attention or sliding_attention for each layer; nil where that is not said.
func (c *Config) layerTypes(layers int) []string {
	types := c.Texts("layer_types")
	if types == nil {
		return nil
	}
	if len(types) != layers {
		c.Errorf("layer_types", "want one for each of %d layers, found %d", layers, len(types))
		return nil
	}
	for _, t := range types {
		if t != "full_attention" && t != "sliding_attention" {
			c.Errorf("layer_types", "%q is not supported; supported: full_attention, sliding_attention", t)
			return nil
		}
	}
	return types
}
