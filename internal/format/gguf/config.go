package gguf

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/codec/gguf"
)

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
		copied, _, err := f.header.Flag(tiedOutputKey)
		if err != nil {
			f.fail("metadata: %w", err)
		}
		f.config["tie_word_embeddings"] = !f.has("output.weight") || copied && f.alike("output.weight", "token_embd.weight")
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
	if s, _ := scaling(f.config); s != nil {
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
		if factor <= 0 && original > 0 {
			context, _ := f.number("max_position_embeddings")
			factor = context / original
		}
		f.put("rope.scaling.type", "yarn")
		f.put("rope.scaling.factor", float32(factor))
		f.put("rope.scaling.original_context_length", uint32(original))
		sub.yarn(factor)
		f.pairs = append(f.pairs, sub.pairs...)
	case "longrope", "su": // tensors of factors
		f.put("rope.scaling.original_context_length", uint32(original))
		if a, ok := sub.number("attention_factor"); ok {
			f.put("rope.scaling.attn_factor", float32(a))
		} else if context, _ := f.number("max_position_embeddings"); original > 1 {
			if factor == 0 {
				factor = context / original
			}
			if factor > 1 {
				f.put("rope.scaling.attn_factor", float32(math.Sqrt(1+math.Log(factor)/math.Log(original))))
			}
		}
	default:
		f.fail("config: rotary embeddings scaled by %q cannot be written", kind)
	}
	f.errs = append(f.errs, subErrors(f, sub)...)
}

// yarnMagnitude is what llama.cpp multiplies cosines and sines by beside the attn_factor.
func yarnMagnitude(factor float64) float64 { return 0.1*math.Log(max(factor, 1)) + 1 }

// yarn writes what a scaling of that kind has beside its factor.
func (f *fields) yarn(factor float64) {
	f.only("truncate", true)
	magnitude, ok := f.number("attention_factor")
	m, _ := f.number("mscale")
	all, _ := f.number("mscale_all_dim")
	if !ok && m != 0 && all != 0 {
		of := func(m float64) float64 { return m*(yarnMagnitude(factor)-1) + 1 }
		magnitude, ok = of(m)/of(all), true
	}
	if ok {
		f.put("rope.scaling.attn_factor", float32(magnitude/yarnMagnitude(factor)))
	}
	for _, key := range []string{"beta_fast", "beta_slow"} {
		if v, ok := f.number(key); ok && v != 0 {
			f.put("rope.scaling.yarn_"+key, float32(v))
		}
	}
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
		factor, _ := scaling["factor"].(float64)
		for key, field := range map[string]string{"attn_factor": "attention_factor", "yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"} {
			v, ok, err := f.header.Float(f.arch + ".rope.scaling." + key)
			switch {
			case err != nil:
				f.fail("metadata: %w", err)
			case ok && key == "attn_factor":
				scaling[field] = v * yarnMagnitude(factor)
			case ok:
				scaling[field] = shortest(v)
			}
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
	f.window()
	if f.writing {
		return
	}
	if f.config["sliding_window"] != nil {
		f.config["model_type"] = "mistral"
		return
	}
	f.config["attention_bias"] = f.has("blk.0.attn_q.bias")
	f.config["mlp_bias"] = f.has("blk.0.ffn_up.bias")
}

// Metadata of this program's own: what a file does not say in words that llama.cpp knows.
const (
	fullContextKey = "neuroquant.context_length" // of a model whose context is that of its sliding window in the file
	tiedOutputKey  = "neuroquant.tied_output"    // the head is a copy of the embedding
)

// window carries a sliding window over for architectures in which llama.cpp knows none. It sees all of a text, which is right up to the window:
// that is the context that it is told.
func (f *fields) window() {
	if !f.writing {
		full, ok, err := f.header.Int(fullContextKey)
		w, there, e := f.header.Int(f.arch + ".attention.sliding_window")
		if err := errors.Join(err, e); err != nil {
			f.fail("metadata: %w", err)
		}
		if ok && there {
			f.config["sliding_window"], f.config["max_position_embeddings"] = w, full
		}
		return
	}
	w, ok := f.number("sliding_window")
	c, _ := f.number("max_position_embeddings")
	if !ok || w < 1 || w >= c {
		return
	}
	key := f.arch + ".context_length"
	for i := range f.pairs {
		if f.pairs[i].Key == key {
			f.pairs[i].Value = uint32(w)
		}
	}
	f.put("attention.sliding_window", uint32(w))
	f.pairs = append(f.pairs, gguf.Pair{Key: fullContextKey, Value: uint32(c)})
	f.notes = append(f.notes, fmt.Sprintf(
		"llama.cpp knows no sliding window in %s: the file says a context of %v tokens, the window, up to which both compute the same; the model was made for %v", f.arch, w, c))
}

// layerTypes refuses to write layers of other types than llama.cpp takes them for.
func (f *fields) layerTypes(slides func(i int) bool) {
	list, _ := f.config["layer_types"].([]any)
	for i, t := range list {
		if f.writing && (t == "sliding_attention") != slides(i) {
			f.fail("config: layer_types: that layer %d is of %v cannot be said in GGUF's %s", i, t, f.arch)
			return
		}
	}
}

func configMixtral(f *fields) {
	configLlama(f)
	f.size("num_local_experts", "expert_count", -1)
	f.size("num_experts_per_tok", "expert_used_count", -1)
	if !f.writing {
		f.config["model_type"] = "mixtral"
		delete(f.config, "attention_bias")
		delete(f.config, "mlp_bias")
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

// moe carries over a mixture of experts as Qwen's models have it; llama.cpp knows it in all layers, with the probabilities of those
// chosen made to sum to 1 or not.
func (f *fields) moe(key string, normalized bool) {
	f.size(key, "expert_count", -1)
	f.size("num_experts_per_tok", "expert_used_count", -1)
	f.size("moe_intermediate_size", "expert_feed_forward_length", -1)
	f.only("norm_topk_prob", normalized)
	f.only("decoder_sparse_step", 1)
	f.only("mlp_only_layers", []any{})
	f.set("norm_topk_prob", normalized)
	if _, there := f.config["norm_topk_prob"]; !there && normalized {
		f.fail("config: norm_topk_prob is false, which GGUF's %s cannot say", f.arch)
	}
}

func configQwen2MoE(f *fields) {
	configQwen2(f)
	f.moe("num_experts", false)
	f.size("shared_expert_intermediate_size", "expert_shared_feed_forward_length", -1)
	if !f.writing {
		f.config["qkv_bias"] = f.has("blk.0.attn_q.bias")
	}
}

func configQwen3MoE(f *fields) {
	configQwen3(f)
	key := "num_experts"
	if _, there := f.config["num_local_experts"]; there {
		key = "num_local_experts"
	}
	f.moe(key, true)
}

func (f *fields) gemma(theta float64) {
	_, _, size := f.shape()
	f.rms()
	f.rope(theta, size)
	f.only("tie_word_embeddings", true)
	f.set("tie_word_embeddings", true)
	f.set("hidden_activation", "gelu_pytorch_tanh")
	f.only("hidden_activation", "gelu_pytorch_tanh")
	f.only("attention_bias", false)
}

func configGemma(f *fields) { f.gemma(10000) }

func configGemma2(f *fields) {
	f.gemma(10000)
	for _, c := range []struct {
		name string
		def  float64
	}{{"attn_logit_softcapping", 50}, {"final_logit_softcapping", 30}} {
		if v, there := f.config[c.name]; there && v == nil {
			f.fail("config: that %s is null cannot be said in GGUF's gemma2", c.name)
		}
		f.float(c.name, c.name, c.def)
	}
	f.size("sliding_window", "attention.sliding_window", 4096)
	f.layerTypes(func(i int) bool { return i%2 == 0 })
	f.queryScale(46)
}

// queryScale holds the scale of queries against the one that llama.cpp takes: by the size of a head, but by the share of the hidden
// size in the largest model, which it tells by its number of layers.
func (f *fields) queryScale(largest int) {
	hidden, _ := f.number("hidden_size")
	heads, _ := f.number("num_attention_heads")
	layers, _ := f.number("num_hidden_layers")
	size, ok := f.number("head_dim")
	if !ok {
		size = 256
	}
	if int(layers) == largest && heads > 0 {
		size = math.Floor(hidden / heads)
	}
	f.only("query_pre_attn_scalar", size)
	if v, ok := f.number("query_pre_attn_scalar"); f.writing && !ok && size != 256 {
		f.fail("config: query_pre_attn_scalar is %v, which GGUF's %s cannot say; it can: %v", max(v, 256), f.arch, size)
	}
	f.set("query_pre_attn_scalar", int(size))
}

// headSizes returns what has been read of heads.
func (f *fields) headSizes() (heads, kvHeads, size int) {
	integer := func(keys ...string) int {
		n, _ := f.config[f.first(keys...)].(int)
		return n
	}
	heads = integer("num_attention_heads", "n_head")
	if kvHeads = integer("num_key_value_heads", "num_kv_heads"); kvHeads == 0 {
		kvHeads = heads
	}
	if size = integer("head_dim"); size == 0 && heads > 0 {
		size = integer("hidden_size", "n_embd") / heads
	}
	return heads, kvHeads, size
}

func configGemma3(f *fields) {
	f.gemma(1e6)
	f.size("sliding_window", "attention.sliding_window", 4096)
	f.layerTypes(func(i int) bool { return (i+1)%6 != 0 })
	f.only("sliding_window_pattern", 6)
	f.only("_sliding_window_pattern", 6)
	f.only("final_logit_softcapping")
	f.only("rope_local_base_freq", 10000)
	if all, ok := f.config["rope_parameters"].(map[string]any); ok && f.writing {
		local, _ := all["sliding_attention"].(map[string]any)
		sub := &fields{writing: true, arch: f.arch, config: local}
		sub.only("rope_type", "default")
		sub.only("rope_theta", 10000)
		f.errs = append(f.errs, sub.errs...)
	}
	f.queryScale(62)
	f.set("rope_local_base_freq", 10000.0)
	f.set("sliding_window_pattern", 6)
}

func configPhi(f *fields) {
	_, _, size := f.shape()
	f.float("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5)
	f.partialRope("partial_rotary_factor", 0.5, size)
	f.tied()
	f.only("hidden_act", "gelu_new")
	f.only("qk_layernorm", false)
}

func configPhi3(f *fields) {
	_, _, size := f.shape()
	f.rms()
	f.partialRope("partial_rotary_factor", 1, size)
	f.tied()
	f.only("hidden_act", "silu")
	f.window()
	if w, ok, _ := f.windowRead(); ok {
		f.config["sliding_window"] = w
	}
}

// windowRead is the sliding window of a file that is read.
func (f *fields) windowRead() (int, bool, error) {
	if f.writing {
		return 0, false, nil
	}
	return f.header.Int(f.arch + ".attention.sliding_window")
}

func configGPT2(f *fields) {
	f.size("n_layer", "block_count", -1)
	f.size("n_positions", "context_length", -1)
	hidden := f.size("n_embd", "embedding_length", -1)
	f.size("n_inner", "feed_forward_length", 4*hidden)
	f.size("n_head", "attention.head_count", -1)
	f.float("layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5)
	f.only("activation_function", "gelu_new")
	f.only("scale_attn_weights", true)
	f.only("scale_attn_by_inverse_layer_idx", false)
	f.tied()
}

func configGPTNeoX(f *fields) {
	_, _, size := f.shape()
	f.float("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5)
	f.partialRope("rotary_pct", 0.25, size)
	f.only("hidden_act", "gelu")
	f.only("attention_bias", true)
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

func configFalcon(f *fields) {
	f.size(f.first("num_hidden_layers", "n_layer"), "block_count", -1)
	f.size("max_position_embeddings", "context_length", 2048)
	hidden := f.size(f.first("hidden_size", "n_embed"), "embedding_length", -1)
	f.size("ffn_hidden_size", "feed_forward_length", 4*hidden)
	heads := max(1, f.size(f.first("num_attention_heads", "n_head"), "attention.head_count", -1))
	f.float("layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5)
	f.rope(10000, hidden/heads)
	f.tied()
	f.only("activation", "gelu")
	f.only("bias", false)
	f.only("alibi", false)
	f.only("parallel_attn", true)
	if f.writing {
		kvHeads := heads
		if f.flag("new_decoder_architecture", false) {
			if v, ok := f.number(f.first("num_kv_heads", "n_head_kv")); ok {
				kvHeads = int(v)
			}
		} else if f.flag("multi_query", true) {
			kvHeads = 1
		}
		f.put("attention.head_count_kv", uint32(kvHeads))
		return
	}
	kvHeads := f.size("num_kv_heads", "attention.head_count_kv", heads)
	two := f.has("blk.0.attn_norm_2.weight")
	f.config["new_decoder_architecture"] = two || kvHeads != 1 && kvHeads != heads
	f.config["multi_query"] = kvHeads == 1
	f.config["num_ln_in_parallel_attn"] = 1
	if two {
		f.config["num_ln_in_parallel_attn"] = 2
	}
}

func configBloom(f *fields) {
	f.size(f.first("n_layer", "num_hidden_layers"), "block_count", -1)
	f.size("seq_length", "context_length", 2048)
	hidden := f.size(f.first("hidden_size", "n_embed"), "embedding_length", -1)
	f.size(f.first("n_head", "num_attention_heads"), "attention.head_count", -1)
	f.float("layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5)
	f.tied()
	f.only("apply_residual_connection_post_layernorm", false)
	if f.writing {
		f.put("feed_forward_length", uint32(4*hidden))
	}
}

// first is the first of several names of a field that is there, the first of all if none is.
func (f *fields) first(keys ...string) string {
	for _, k := range keys {
		if f.config[k] != nil {
			return k
		}
	}
	return keys[0]
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
	if f.writing {
		f.put("use_parallel_residual", f.flag("use_parallel_residual", false))
	} else {
		f.config["use_qkv_bias"] = f.has("blk.0.attn_q.bias")
		f.config["qk_layernorm"] = f.has("blk.0.attn_q_norm.weight")
		f.config["use_parallel_residual"] = !f.has("blk.0.ffn_norm.weight")
	}
}

func configStarcoder2(f *fields) {
	_, _, size := f.shape()
	f.float("norm_epsilon", "attention.layer_norm_epsilon", 1e-5)
	f.rope(10000, size)
	f.tied()
	f.only("hidden_act", "gelu_pytorch_tanh")
	f.only("use_bias", true)
	f.window()
	f.set("hidden_act", "gelu_pytorch_tanh")
}

func configOlmo2(f *fields) {
	_, _, size := f.shape()
	f.only("attention_bias", false)
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
	if !f.writing {
		f.config["attention_bias"] = f.has("blk.0.attn_q.bias")
		f.config["mlp_bias"] = f.has("blk.0.ffn_up.bias")
	}
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
	f.only("attention_bias", false)
	f.only("mlp_bias", false)
	f.only("use_sliding_window", false)
	list, _ := f.config["no_rope_layers"].([]any)
	for i, v := range list {
		if fmt.Sprint(v) != fmt.Sprint(min((i+1)%4, 1)) {
			f.fail("config: no_rope_layers: %v for layer %d cannot be said in GGUF's smollm3", v, i)
			break
		}
	}
}

func configCohere(f *fields) {
	_, _, size := f.shape()
	f.float("layer_norm_eps", "attention.layer_norm_epsilon", 1e-5)
	f.rope(10000, size)
	f.float("logit_scale", "logit_scale", 0.0625)
	f.set("tie_word_embeddings", true)
	f.only("tie_word_embeddings", true)
	f.only("hidden_act", "silu")
	f.only("attention_bias", false)
	layers, _ := f.number("num_hidden_layers")
	f.only("use_qk_norm", layers >= 64) // llama.cpp tells the form by the number of layers
	if f.writing {
		f.put("rope.scaling.type", "none")
	} else {
		f.config["use_qk_norm"] = f.has("blk.0.attn_q_norm.weight")
	}
}
