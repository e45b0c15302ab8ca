package arch_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/arch/archtest"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestConfigurationsOfDecodersThatAreRefused spoils the configurations or tensors of small models that are known to be right.
func TestConfigurationsOfDecodersThatAreRefused(t *testing.T) {
	cases := map[string]*archtest.Case{}
	for _, c := range archtest.Golden(t) {
		cases[c.Type()] = c
	}
	for _, c := range []struct {
		kind, key, value, want string
	}{
		{"mixtral", "num_experts_per_tok", "9", "num_experts_per_tok: 9 of 4 experts"},
		{"mixtral", "num_local_experts", "1000000", "num_local_experts: want a number from 1 to"},
		{"mixtral", "num_local_experts", "5", `tensor "model.layers.0.block_sparse_moe.gate.weight": the configuration wants shape 5x48`},
		{"qwen2_moe", "mlp_only_layers", "[1.5]", "mlp_only_layers: want whole numbers"},
		{"qwen2_moe", "decoder_sparse_step", "0", "decoder_sparse_step: want a size from 1"},
		{"qwen2", "layer_types", `["full_attention"]`, "layer_types: want one for each of 3 layers, found 1"},
		{"qwen2", "layer_types", `["full_attention", "chunked_attention", "full_attention"]`, `"chunked_attention" is not supported`},
		{"gemma2", "query_pre_attn_scalar", "-1", "query_pre_attn_scalar: want a positive number"},
		{"gemma3_text", "use_bidirectional_attention", "true", "use_bidirectional_attention: true is not supported"},
		{"gemma3_text", "attn_logit_softcapping", "50", "attn_logit_softcapping: 50 is not supported"},
		{"gpt2", "n_head", "5", "n_embd: 48 is not a multiple of the 5 n_head"},
		{"gpt2", "n_layer", "0", "n_layer: want a number from 1 to"},
		{"gpt2", "add_cross_attention", "true", "add_cross_attention: true is not supported"},
		{"gpt2", "n_positions", "65", `tensor "transformer.wpe.weight": the configuration wants shape 65x48`},
		{"opt", "word_embed_proj_dim", "0", "word_embed_proj_dim: want a size from 1"},
		{"falcon", "num_attention_heads", "7", "hidden_size: 48 is not a multiple of the 7"},
		{"smollm3", "no_rope_layers", "[1, 0]", "no_rope_layers: want one number for each of 5 layers, found 2"},
		{"granite", "logits_scaling", "0", "logits_scaling: want a number that is not 0"},
		{"phi", "partial_rotary_factor", "0.5", ""},
		{"cohere", "norm_flavour", `"new"`, "may change what the model computes: norm_flavour"},
		{"stablelm", "vocab_size", "33", `tensor "model.embed_tokens.weight": the configuration wants shape 33x48, the checkpoint has 32x48`},
	} {
		config := maps.Clone(cases[c.kind].Config)
		d := json.NewDecoder(strings.NewReader(c.value))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		config[c.key] = v
		_, _, err := arch.Build(config, cases[c.kind])
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %s = %s: want %q, got %v", c.kind, c.key, c.value, c.want, err)
		}
	}
}

// bare are the tensors of a checkpoint of a model without its head: without the first part of their names.
type bare struct {
	*archtest.Case
	base string
}

func (b bare) Names() []string {
	var out []string
	for _, n := range b.Case.Names() {
		out = append(out, strings.TrimPrefix(n, b.base))
	}
	return out
}

func (b bare) Tensor(name string) tensor.Source {
	if s := b.Case.Tensor(b.base + name); s != nil {
		return s
	}
	if strings.HasPrefix(name, b.base) {
		return nil
	}
	return b.Case.Tensor(name)
}

// Checkpoints of GPT-2 and BLOOM have names as the model without a head has them.
func TestNamesWithoutTheirFirstPart(t *testing.T) {
	for _, c := range archtest.Golden(t) {
		if c.Type() != "gpt2" && c.Type() != "bloom" {
			continue
		}
		g, _, err := arch.Build(c.Config, bare{c, "transformer."})
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		c.Check(t, g)
	}
}
