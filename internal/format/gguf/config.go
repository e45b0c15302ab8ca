package gguf

import "math"

// shape carries over what all have: the sizes of the model. It returns the size of a head.
func (f *fields) shape() (heads, kvHeads, size int) {
	f.size("num_hidden_layers", "block_count", -1)
	f.size("max_position_embeddings", "context_length", 0)
	hidden := f.size("hidden_size", "embedding_length", -1)
	f.size("intermediate_size", "feed_forward_length", -1)
	heads = f.size("num_attention_heads", "attention.head_count", -1)
	kvHeads = f.size("num_key_value_heads", "attention.head_count_kv", heads)
	if heads < 1 {
		f.fail("num_attention_heads is %d", heads)
		return 1, 1, 1
	}
	return heads, kvHeads, f.headSize(hidden / heads)
}

// headSize carries over the size of a head, whose default is that of equal shares.
func (f *fields) headSize(share int) int {
	size := share
	if f.writing {
		if v, ok := f.number("head_dim"); ok {
			size = int(v)
		}
		f.put("attention.key_length", uint32(size))
		f.put("attention.value_length", uint32(size))
		return size
	}
	v, ok, err := f.header.Int(f.arch + ".attention.key_length")
	if err != nil {
		f.fail("metadata: %w", err)
	}
	if ok {
		size = v
	}
	if w, ok, _ := f.header.Int(f.arch + ".attention.value_length"); ok && w != size {
		f.fail("metadata: keys of %d elements and values of %d are not supported", size, w)
	}
	if size != share {
		f.config["head_dim"] = size
	}
	return size
}

// tied says whether the head is the embedding.
func (f *fields) tied() {
	if !f.writing {
		f.config["tie_word_embeddings"] = !f.has("output.weight")
	}
}

// rms carries over the epsilon of normalizations by the root mean square.
func (f *fields) rms() { f.float("rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6) }

// rope carries over the rotary embedding.
func (f *fields) rope(theta float64, rotated int) {
	if f.writing {
		f.put("rope.dimension_count", uint32(rotated))
		f.writeRope(theta)
		return
	}
	f.float("rope_theta", "rope.freq_base", theta)
	f.readRope()
}

// writeRope writes base and scaling, from rope_theta with rope_scaling or from rope_parameters.
func (f *fields) writeRope(theta float64) {
	sub := f
	if s, ok := f.config["rope_parameters"].(map[string]any); ok {
		sub = &fields{writing: true, arch: f.arch, config: s}
	} else if s, ok := f.config["rope_scaling"].(map[string]any); ok {
		sub = &fields{writing: true, arch: f.arch, config: s}
	}
	base := theta
	for _, c := range []*fields{f, sub} {
		if v, ok := c.number("rope_theta"); ok {
			base = v
		}
	}
	f.put("rope.freq_base", float32(base))
	kind := sub.text("rope_type", sub.text("type", "default"))
	if sub == f {
		kind = "default"
	}
	factor, _ := sub.number("factor")
	original, ok := sub.number("original_max_position_embeddings")
	if !ok {
		if original, ok = f.number("original_max_position_embeddings"); !ok {
			original, _ = f.number("max_position_embeddings")
		}
	}
	switch kind {
	case "default":
	case "llama3": // a tensor of factors
	case "linear":
		f.put("rope.scaling.type", "linear")
		f.put("rope.scaling.factor", float32(factor))
	case "yarn":
		f.put("rope.scaling.type", "yarn")
		f.put("rope.scaling.factor", float32(factor))
		f.put("rope.scaling.original_context_length", uint32(original))
	case "longrope", "su": // tensors of factors
		f.put("rope.scaling.original_context_length", uint32(original))
	default:
		f.fail("config: rotary embeddings scaled by %q cannot be written", kind)
	}
	f.errs = append(f.errs, subErrors(f, sub)...)
}

func subErrors(f, sub *fields) []error {
	if f == sub {
		return nil
	}
	return sub.errs
}

// readRope reads the scaling.
func (f *fields) readRope() {
	kind, ok, err := f.header.Text(f.arch + ".rope.scaling.type")
	if err != nil {
		f.fail("metadata: %w", err)
	}
	if !ok || kind == "none" {
		return
	}
	scaling := map[string]any{"rope_type": kind}
	if v, ok, err := f.header.Float(f.arch + ".rope.scaling.factor"); err != nil {
		f.fail("metadata: %w", err)
	} else if ok {
		scaling["factor"] = shortest(v)
	}
	switch kind {
	case "linear":
	case "yarn":
		if n, ok, _ := f.header.Int(f.arch + ".rope.scaling.original_context_length"); ok {
			scaling["original_max_position_embeddings"] = n
		}
	default:
		f.fail("metadata: %s.rope.scaling.type %q is not supported; supported: none, linear, yarn", f.arch, kind)
	}
	f.config["rope_scaling"] = scaling
}

// vocabulary writes the number of tokens where llama.cpp looks for it.
func (f *fields) vocabulary() {
	if f.writing {
		if v, ok := f.number("vocab_size"); ok {
			f.put("vocab_size", uint32(v))
		}
	}
}

func configLlama(f *fields) {
	_, _, size := f.shape()
	f.rms()
	f.rope(10000, size)
	f.vocabulary()
	f.tied()
	f.only("hidden_act", "silu")
	if f.writing {
		// llama.cpp knows no window of this architecture; where a model has one, the context ends with it.
		if w, ok := f.number("sliding_window"); ok {
			if c, _ := f.number("max_position_embeddings"); w < c {
				f.fail("config: a sliding_window of %v below the context of %v cannot be said in GGUF's llama", w, c)
			}
		}
	} else {
		f.config["attention_bias"] = f.has("blk.0.attn_q.bias")
		f.config["mlp_bias"] = f.has("blk.0.ffn_up.bias")
	}
}

func configQwen2(f *fields) {
	_, _, size := f.shape()
	f.rms()
	f.rope(10000, size)
	f.tied()
	f.only("hidden_act", "silu")
	f.only("use_sliding_window", false)
}

func configQwen3(f *fields) {
	configQwen2(f)
	f.only("attention_bias", false)
}

func (f *fields) gemma(theta float64) {
	_, _, size := f.shape()
	f.rms()
	f.rope(theta, size)
	f.set("tie_word_embeddings", true)
	f.set("hidden_activation", "gelu_pytorch_tanh")
	f.only("hidden_activation", "gelu_pytorch_tanh")
	f.only("attention_bias", false)
}

func configGemma(f *fields) { f.gemma(10000) }

func configGemma2(f *fields) {
	f.gemma(10000)
	f.float("attn_logit_softcapping", "attn_logit_softcapping", 50)
	f.float("final_logit_softcapping", "final_logit_softcapping", 30)
	f.size("sliding_window", "attention.sliding_window", 4096)
	if !f.writing {
		_, _, size := f.headSizes()
		f.config["query_pre_attn_scalar"] = size
	}
}

// headSizes returns what [fields.shape] has read.
func (f *fields) headSizes() (heads, kvHeads, size int) {
	heads, _ = f.config["num_attention_heads"].(int)
	kvHeads, _ = f.config["num_key_value_heads"].(int)
	if size, _ = f.config["head_dim"].(int); size == 0 && heads > 0 {
		hidden, _ := f.config["hidden_size"].(int)
		size = hidden / heads
	}
	return heads, kvHeads, size
}

func configGemma3(f *fields) {
	f.gemma(1e6)
	f.size("sliding_window", "attention.sliding_window", 512)
	if !f.writing {
		_, _, size := f.headSizes()
		f.config["query_pre_attn_scalar"] = size
		f.config["rope_local_base_freq"] = 10000.0
		f.config["sliding_window_pattern"] = 6
	}
}

func configPhi3(f *fields) {
	_, _, size := f.shape()
	f.rms()
	rotated := size
	if f.writing {
		if p, ok := f.number("partial_rotary_factor"); ok {
			rotated = int(p * float64(size))
		}
		if w, ok := f.number("sliding_window"); ok {
			f.put("attention.sliding_window", uint32(w))
		}
	} else if n, ok, _ := f.header.Int(f.arch + ".rope.dimension_count"); ok && n != size && size > 0 {
		f.config["partial_rotary_factor"] = float64(n) / float64(size)
	}
	f.rope(10000, rotated)
	f.tied()
	f.only("hidden_act", "silu")
}

func configGPT2(f *fields) {
	f.size("n_layer", "block_count", -1)
	f.size("n_positions", "context_length", -1)
	hidden := f.size("n_embd", "embedding_length", -1)
	f.size("n_inner", "feed_forward_length", 4*hidden)
	f.size("n_head", "attention.head_count", -1)
	f.float("layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5)
	f.only("activation_function", "gelu_new")
	f.tied()
}

func configGPTNeoX(f *fields) {
	_, _, size := f.shape()
	f.float("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5)
	f.partialRope("rotary_pct", 0.25, size)
	f.only("hidden_act", "gelu")
	parallel := f.flag("use_parallel_residual", true)
	if f.writing {
		f.put("use_parallel_residual", parallel)
	} else {
		b, ok, err := f.header.Flag(f.arch + ".use_parallel_residual")
		if err != nil {
			f.fail("metadata: %w", err)
		}
		f.config["use_parallel_residual"] = b || !ok
		delete(f.config, "num_key_value_heads")
	}
	f.tied()
}

// partialRope carries over a rotary embedding of a part of each head; def is what a checkpoint that does not say has.
func (f *fields) partialRope(field string, def float64, size int) {
	if !f.writing {
		n, ok, err := f.header.Int(f.arch + ".rope.dimension_count")
		if err != nil {
			f.fail("metadata: %w", err)
		}
		if ok && size > 0 {
			f.config[field] = float64(n) / float64(size)
		}
		f.rope(10000, 0)
		return
	}
	part := def
	if v, ok := f.number(field); ok {
		part = v
	}
	if s, ok := f.config["rope_parameters"].(map[string]any); ok {
		sub := &fields{config: s}
		if v, ok := sub.number("partial_rotary_factor"); ok {
			part = v
		}
	}
	f.rope(10000, int(math.Round(part*float64(size))))
}

func configStableLM(f *fields) {
	_, _, size := f.shape()
	f.float("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5)
	f.partialRope("partial_rotary_factor", 0.25, size)
	f.tied()
	f.only("hidden_act", "silu")
	f.only("qk_layernorm", false)
	f.only("use_parallel_residual", false)
	if f.writing {
		f.put("use_parallel_residual", false)
	} else {
		f.config["use_qkv_bias"] = f.has("blk.0.attn_q.bias")
	}
}

func configStarcoder2(f *fields) {
	_, _, size := f.shape()
	f.float("norm_epsilon", "attention.layer_norm_epsilon", 1e-5)
	f.rope(10000, size)
	f.tied()
	f.only("hidden_act", "gelu_pytorch_tanh")
	f.only("use_bias", true)
	f.set("hidden_act", "gelu_pytorch_tanh")
}

func configOlmo2(f *fields) {
	_, _, size := f.shape()
	f.rms()
	f.rope(10000, size)
	f.tied()
	f.only("hidden_act", "silu")
}

func configGranite(f *fields) {
	_, _, size := f.shape()
	f.rms()
	f.rope(10000, size)
	f.vocabulary()
	f.tied()
	f.only("hidden_act", "silu")
	f.optional("attention_multiplier", "attention.scale")
	f.optional("embedding_multiplier", "embedding_scale")
	f.optional("residual_multiplier", "residual_scale")
	f.optional("logits_scaling", "logit_scale")
}

func configSmolLM3(f *fields) {
	_, _, size := f.shape()
	f.rms()
	f.rope(2e6, size)
	f.vocabulary()
	f.tied()
	f.only("hidden_act", "silu")
	f.only("no_rope_layer_interval", 4) // llama.cpp knows no other
	f.set("no_rope_layer_interval", 4)
	if !f.writing {
		f.config["attention_bias"] = f.has("blk.0.attn_q.bias")
	}
}

func configCohere(f *fields) {
	_, _, size := f.shape()
	f.float("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5)
	f.rope(10000, size)
	f.float("logit_scale", "logit_scale", 0.0625)
	f.tied()
	f.only("hidden_act", "silu")
	if f.writing {
		f.put("rope.scaling.type", "none")
	} else {
		f.config["use_qk_norm"] = f.has("blk.0.attn_q_norm.weight")
	}
}
