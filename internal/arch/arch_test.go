package arch

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// made are weights of zeros of the shapes that are asked for.
type made map[string]tensor.Shape

func (m made) Tensor(name string) tensor.Source {
	s, ok := m[name]
	if !ok {
		return nil
	}
	return tensor.InMemory(tensor.New(tensor.BFloat16, s...))
}

func (m made) Names() []string {
	var out []string
	for n := range m {
		out = append(out, n)
	}
	return out
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var c map[string]any
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

const small = `"model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1`

func smallWeights() made {
	l := "model.layers.0."
	return made{
		"model.embed_tokens.weight": {10, 8}, "model.norm.weight": {8}, "lm_head.weight": {10, 8},
		l + "input_layernorm.weight": {8}, l + "post_attention_layernorm.weight": {8},
		l + "self_attn.q_proj.weight": {8, 8}, l + "self_attn.k_proj.weight": {4, 8}, l + "self_attn.v_proj.weight": {4, 8}, l + "self_attn.o_proj.weight": {8, 8},
		l + "mlp.gate_proj.weight": {6, 8}, l + "mlp.up_proj.weight": {6, 8}, l + "mlp.down_proj.weight": {8, 6},
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, c := range []struct{ more, want string }{
		{``, ""},
		{`, "torch_dtype": "bfloat16", "use_cache": true, "unknown": null, "other": false, "list": [], "rope_scaling": null`, ""},
		{`, "model_type": "lama"`, `unknown model_type "lama"; known are`},
		{`, "model_type": 3`, `unknown model_type`},
		{`, "clip_qkv": 8.0`, `may change what the model computes: clip_qkv = 8.0`},
		{`, "hidden_size": -8`, "hidden_size: want a whole number that is not negative, found -8"},
		{`, "hidden_size": 0`, "hidden_size: want a size from 1 to"},
		{`, "hidden_size": null`, "hidden_size: is missing"},
		{`, "hidden_size": 1e30`, "hidden_size: want a whole number"},
		{`, "hidden_size": 8.5`, "hidden_size: want a whole number"},
		{`, "hidden_size": "8"`, "hidden_size: want a number, found 8"},
		{`, "rms_norm_eps": -1`, "rms_norm_eps: want a number from 0 to 1, found -1"},
		{`, "rms_norm_eps": 1e30`, "rms_norm_eps: want a number from 0 to 1, found 1e+30"},
		{`, "max_position_embeddings": 0`, "max_position_embeddings: want a size from 1 to"},
		{`, "max_position_embeddings": 1e12`, "max_position_embeddings: want a size from 1 to"},
		{`, "hidden_size": 16`, `tensor "model.embed_tokens.weight": the configuration wants shape 10x16, the checkpoint has 10x8`},
		{`, "vocab_size": 12`, `the configuration wants shape 12x8, the checkpoint has 10x8`},
		{`, "num_hidden_layers": 1000000`, "num_hidden_layers: want a number from 1 to 4096"},
		{`, "num_hidden_layers": 2`, `"model.layers.1.input_layernorm.weight" is missing in the checkpoint`},
		{`, "num_attention_heads": 3, "num_key_value_heads": 2`, "num_attention_heads: 3 is not a multiple of the 2 num_key_value_heads"},
		{`, "num_attention_heads": 3, "num_key_value_heads": 1`, "hidden_size: 8 is not a multiple of the 3"},
		{`, "hidden_act": "sine"`, `hidden_act: unknown activation "sine"; known are gelu`},
		{`, "attention_bias": true`, `"model.layers.0.self_attn.q_proj.bias" is missing`},
		{`, "attention_bias": 1`, "attention_bias: want true or false"},
		{`, "tie_word_embeddings": true, "rope_theta": 0`, "rope_theta: want a number from 1 to"},
		{`, "rope_scaling": {"type": "round"}`, `rope_type: "round" is not supported; supported: default, linear`},
		{`, "rope_scaling": {"type": "linear"}`, "rope_scaling.factor: want a positive number"},
		{`, "rope_scaling": {"type": "linear", "factor": 2, "twist": 1}, "max_position_embeddings": 5`, "rope_scaling.twist = 1"},
		{`, "rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1, 1]}, "max_position_embeddings": 5`, "short_factor: want 2 numbers, found 1"},
		{`, "rope_scaling": 5`, "rope_scaling: want an object"},
	} {
		// The last of equal names wins.
		_, info, err := Build(parse(t, "{"+small+c.more+"}"), smallWeights())
		if c.want == "" {
			if err != nil || info.Vocab != 10 || info.Layers != 1 {
				t.Errorf("%s: %+v, %v", c.more, info, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %q, got %v", c.more, c.want, err)
		}
	}
	w := smallWeights()
	w["model.layers.0.self_attn.rotary_emb.inv_freq"] = tensor.Shape{2}
	if _, _, err := Build(parse(t, "{"+small+"}"), w); err != nil {
		t.Errorf("with what can be computed: %v", err)
	}
	w["model.layers.0.self_attn.q_proj.bias"] = tensor.Shape{8}
	if _, _, err := Build(parse(t, "{"+small+"}"), w); err == nil || !strings.Contains(err.Error(), "no place for 1 tensors of the checkpoint: model.layers.0.self_attn.q_proj.bias") {
		t.Errorf("a bias that the configuration does not know: %v", err)
	}
}

// TestRopeForms has values worked out by hand from the formulas of the papers, for heads of 8 elements.
func TestRopeForms(t *testing.T) {
	for _, c := range []struct {
		text      string
		want      []float64
		magnitude float64
	}{
		{`{"rope_theta": 10000}`, []float64{1, 0.1, 0.01, 0.001}, 0},
		{`{"rope_parameters": {"rope_type": "default", "rope_theta": 16}}`, []float64{1, 0.5, 0.25, 0.125}, 0},
		{`{"rope_parameters": {"rope_type": "default", "rope_theta": 16, "partial_rotary_factor": 0.5}}`, []float64{1, 0.25}, 0},
		{`{"rope_theta": 16, "partial_rotary_factor": 0.5}`, []float64{1, 0.25}, 0},
		{`{"rope_scaling": {"type": "linear", "factor": 4}, "max_position_embeddings": 64}`, []float64{0.25, 0.025, 0.0025, 0.00025}, 0},
		{
			`{"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 100}, "max_position_embeddings": 800}`,
			[]float64{1, 0.029753527, 0.00125, 0.000125},
			0,
		},
		{
			`{"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 2048}, "max_position_embeddings": 8192}`,
			[]float64{1, 0.1, 0.00625, 0.00025},
			0.1*math.Log(4) + 1,
		},
		{
			`{"rope_scaling": {"rope_type": "longrope", "short_factor": [1, 2, 4, 5], "long_factor": [2, 2, 2, 2]}, "original_max_position_embeddings": 64, "max_position_embeddings": 256}`,
			[]float64{1, 0.05, 0.0025, 0.0002},
			math.Sqrt(1 + math.Log(4)/math.Log(64)),
		},
	} {
		cfg := newConfig(parse(t, c.text))
		cfg.harmless()
		r := cfg.Rope(8, 0, 0)
		if err := cfg.finish(); err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		same := func(a float32, b float64) bool { return math.Abs(float64(a)-b) < 2e-6*b }
		if len(r.Frequency) != len(c.want) || slices.ContainsFunc(c.want, func(w float64) bool {
			return !slices.ContainsFunc(r.Frequency, func(f float32) bool { return same(f, w) })
		}) {
			t.Errorf("%s: want frequencies %v, got %v", c.text, c.want, r.Frequency)
		}
		if math.Abs(r.Magnitude-c.magnitude) > 1e-12 {
			t.Errorf("%s: want magnitude %v, got %v", c.text, c.magnitude, r.Magnitude)
		}
	}
}
