package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Config reads config.json. Fields that are read are known; what is left at the end and is not known to be harmless is an error,
// for it might change what the model computes. Errors stick.
type Config struct {
	m    map[string]any
	path string // of a nested object, with a dot behind
	used map[string]bool
	errs []error
}

// Bounds of sizes, far above any model's, so that absurd values are errors and no attempt to make room for them.
const (
	maxSize   = 1 << 24
	maxLayers = 1 << 12
)

func newConfig(m map[string]any) *Config { return &Config{m: m, used: map[string]bool{}} }

// Has reports whether a field is there and not null.
func (c *Config) Has(key string) bool { return c.get(key) != nil }

// Errorf records an error about a field.
func (c *Config) Errorf(key, format string, a ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s%s: %w", c.path, key, fmt.Errorf(format, a...)))
}

// get returns a field and notes that it is known.
func (c *Config) get(key string) any {
	c.used[key] = true
	return c.m[key]
}

// number returns a field as a number.
func (c *Config) number(key string) (v float64, there bool) {
	switch x := c.get(key).(type) {
	case nil:
		return 0, false
	case float64:
		v = x
	case float32:
		v = float64(x)
	case int:
		v = float64(x)
	case int64:
		v = float64(x)
	case uint32:
		v = float64(x)
	case json.Number:
		f, err := x.Float64()
		if err != nil {
			c.Errorf(key, "want a number, found %v", x)
		}
		v = f
	default:
		c.Errorf(key, "want a number, found %v", x)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		c.Errorf(key, "want a finite number, found %v", v)
		v = 0
	}
	return v, true
}

// Float returns a number, def where it is absent or null.
func (c *Config) Float(key string, def float64) float64 {
	if v, ok := c.number(key); ok {
		return v
	}
	return def
}

// Epsilon returns what a normalization adds to a variance, def where it is absent or null.
func (c *Config) Epsilon(key string, def float64) float64 {
	v := c.Float(key, def)
	if v < 0 || v > 1 {
		c.Errorf(key, "want a number from 0 to 1, found %v", v)
		return def
	}
	return v
}

// Int returns a whole number that is not negative, def where it is absent or null.
func (c *Config) Int(key string, def int) int {
	v, ok := c.number(key)
	if !ok {
		return def
	}
	if v != math.Trunc(v) || v < 0 || v > 1<<40 {
		c.Errorf(key, "want a whole number that is not negative, found %v", v)
		return def
	}
	return int(v)
}

// Size returns a size, which is positive. A def of 0 means that the field must be there.
func (c *Config) Size(key string, def int) int {
	v := c.Int(key, def)
	switch {
	case v == 0 && !c.Has(key):
		c.Errorf(key, "is missing")
		return 1
	case v < 1 || v > maxSize:
		c.Errorf(key, "want a size from 1 to %d, found %d", maxSize, v)
		return 1
	}
	return v
}

// Bool returns a truth value, def where it is absent or null.
func (c *Config) Bool(key string, def bool) bool {
	switch v := c.get(key).(type) {
	case nil:
	case bool:
		return v
	default:
		c.Errorf(key, "want true or false, found %v", v)
	}
	return def
}

// Text returns a text, def where it is absent or null.
func (c *Config) Text(key, def string) string {
	switch v := c.get(key).(type) {
	case nil:
	case string:
		return v
	default:
		c.Errorf(key, "want a text, found %v", v)
	}
	return def
}

// List returns the elements of a list; nil where it is absent or null.
func (c *Config) List(key string) []any {
	switch v := c.get(key).(type) {
	case nil:
	case []any:
		return v
	default:
		c.Errorf(key, "want a list, found %v", v)
	}
	return nil
}

// Texts returns a list of texts; nil where it is absent or null.
func (c *Config) Texts(key string) []string {
	var out []string
	for _, v := range c.List(key) {
		s, ok := v.(string)
		if !ok {
			c.Errorf(key, "want texts, found %v", v)
		}
		out = append(out, s)
	}
	return out
}

// Ints returns a list of whole numbers that are not negative; nil where it is absent or null.
func (c *Config) Ints(key string) []int {
	list := c.List(key)
	one := newConfig(map[string]any{})
	var out []int
	for _, v := range list {
		one.m["x"] = v
		i := one.Int("x", 0)
		if v == nil || len(one.errs) > 0 {
			c.Errorf(key, "want whole numbers that are not negative, found %v", v)
			return nil
		}
		out = append(out, i)
	}
	return out
}

// Floats returns a list of n numbers; nil where it is absent or null.
func (c *Config) Floats(key string, n int) []float64 {
	list := c.List(key)
	if list == nil {
		return nil
	}
	if len(list) != n {
		c.Errorf(key, "want %d numbers, found %d", n, len(list))
		return make([]float64, n)
	}
	one := newConfig(map[string]any{})
	out := make([]float64, n)
	for i, v := range list {
		one.m["x"] = v
		out[i] = one.Float("x", 0)
		if v == nil || len(one.errs) > 0 {
			c.Errorf(key, "want numbers, found %v", v)
			break
		}
	}
	return out
}

// Sub returns a nested object; nil where it is absent or null. What is left in it is checked with the rest by [Config.Done].
func (c *Config) Sub(key string) *Config {
	switch v := c.get(key).(type) {
	case nil:
	case map[string]any:
		s := newConfig(v)
		s.path = c.path + key + "."
		return s
	default:
		c.Errorf(key, "want an object, found %v", v)
	}
	return nil
}

// Done ends the reading of a nested object.
func (c *Config) Done(s *Config) {
	if err := s.finish(); err != nil {
		c.errs = append(c.errs, err)
	}
}

// Only refuses a field that is there with another value than those listed: the ones for which the description holds.
func (c *Config) Only(key string, values ...any) {
	v := c.get(key)
	if v == nil {
		return
	}
	for _, w := range values {
		if reflect.DeepEqual(v, w) || fmt.Sprint(v) == fmt.Sprint(w) {
			return
		}
	}
	if len(values) == 0 {
		values = []any{nil}
	}
	c.Errorf(key, "%v is not supported; supported: %v", v, values)
}

// OneOf returns a text that is one of those listed; the first where it is absent.
func (c *Config) OneOf(key string, values ...string) string {
	v := c.Text(key, values[0])
	if !slices.Contains(values, v) {
		c.Errorf(key, "%q is not supported; supported: %s", v, strings.Join(values, ", "))
	}
	return v
}

// Ignore notes fields that change nothing in what this architecture computes.
func (c *Config) Ignore(keys ...string) {
	for _, k := range keys {
		c.used[k] = true
	}
}

// positions returns what configurations call the largest number of positions; 0 where that is not said. Those of encoders that count from behind
// the padding token are fewer than the rows of their embedding.
func (c *Config) positions() int {
	for _, k := range []string{"max_position_embeddings", "n_positions", "seq_length", "max_seq_len"} {
		if !c.Has(k) {
			continue
		}
		n := c.Int(k, 0)
		switch c.Text("model_type", "") {
		case "roberta", "xlm-roberta":
			n -= c.Int("pad_token_id", 1) + 1
		case "mpnet":
			n -= 2
		}
		return max(n, 0)
	}
	return 0
}

// Context returns how many tokens the model was made for; 0 where that is not said. Where a rotary embedding is stretched, some
// configurations say how many there were before.
func (c *Config) Context() int {
	n := c.positions()
	for _, key := range []string{"rope_parameters", "rope_scaling"} {
		s, ok := c.m[key].(map[string]any)
		if !ok {
			continue
		}
		one := newConfig(s)
		original, factor := one.Int("original_max_position_embeddings", 0), one.Float("factor", 1)
		if original == 0 && one.Text("rope_type", one.Text("type", "")) == "dynamic" {
			original = n
		}
		if long := float64(original) * factor; long > float64(n) && long < maxSize && len(one.errs) == 0 {
			n = int(long)
		}
		break
	}
	return n
}

// harmlessFields change nothing in what an evaluated model computes: names, training, generation, storage.
var harmlessFields = strings.Fields(`architectures model_type torch_dtype dtype transformers_version _name_or_path name_or_path auto_map
	bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id mask_token_id unk_token_id decoder_start_token_id begin_suppress_tokens
	initializer_range initializer_factor use_cache pretraining_tp attention_dropout hidden_dropout hidden_dropout_prob dropout resid_dropout
	attention_probs_dropout_prob classifier_dropout embd_dropout embd_pdrop resid_pdrop attn_pdrop embedding_dropout rope_dropout layerdrop activation_dropout
	ffn_dropout residual_dropout output_router_logits router_aux_loss_coef router_jitter_noise router_z_loss_coef
	quantization_config compression_config output_attentions output_hidden_states return_dict return_dict_in_generate torchscript
	use_bfloat16 tie_word_embeddings id2label label2id num_labels problem_type task_specific_params tokenizer_class prefix
	chunk_size_feed_forward pruned_heads is_decoder is_encoder_decoder add_cross_attention cross_attention_hidden_size finetuning_task
	tie_encoder_decoder tf_legacy_loss summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
	temperature top_k top_p typical_p repetition_penalty length_penalty max_length min_length do_sample early_stopping num_beams num_beam_groups
	diversity_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores
	forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
	_attn_implementation _attn_implementation_autoset attn_implementation use_flash_attn use_flash_attention_2 unsloth_fixed unsloth_version
	gradient_checkpointing cache_implementation keys_to_ignore_at_inference model_max_length max_position_embeddings n_positions
	position_embedding_type_autoset sparsity_config license description _commit_hash fused_bias_fc`)

// harmless notes the fields that change nothing for any architecture. Positions that are said are at least one, as those of embeddings are.
func (c *Config) harmless() {
	c.Ignore(harmlessFields...)
	for _, key := range []string{"max_position_embeddings", "n_positions"} {
		if c.Has(key) {
			c.Size(key, 0)
		}
	}
}

// finish returns the errors, fields that nobody read among them. A field whose value is null, false or empty asks for nothing.
func (c *Config) finish() error {
	var unknown []string
	for k, v := range c.m {
		if c.used[k] || v == nil || v == false || v == "" {
			continue
		}
		if r := reflect.ValueOf(v); (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0 {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(fmt.Sprint(v))
		}
		unknown = append(unknown, fmt.Sprintf("%s%s = %.60s", c.path, k, text))
	}
	errs := c.errs
	if len(unknown) > 0 {
		slices.Sort(unknown)
		errs = append(errs, fmt.Errorf("fields that are not known here and may change what the model computes: %s", strings.Join(unknown, ", ")))
	}
	return errors.Join(errs...)
}
