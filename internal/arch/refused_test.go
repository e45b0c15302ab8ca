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
		config := with(t, cases[c.kind].Config, c.key, c.value)
		_, _, err := arch.Build(config, cases[c.kind])
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %s = %s: want %q, got %v", c.kind, c.key, c.value, c.want, err)
		}
	}
}

// with is a configuration with a field of another value.
func with(t *testing.T, config map[string]any, key, value string) map[string]any {
	t.Helper()
	config = maps.Clone(config)
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	config[key] = v
	return config
}

// TestConfigurationsOfEncodersThatAreRefused does so for encoders.
func TestConfigurationsOfEncodersThatAreRefused(t *testing.T) {
	cases := map[string]*archtest.Encoder{}
	for _, c := range archtest.Encoders(t) {
		cases[c.Name] = c
	}
	for _, c := range []struct {
		name, key, value, want string
	}{
		{"bert, BertModel", "position_embedding_type", `"relative_key"`, "position_embedding_type: relative_key is not supported; supported: [absolute]"},
		{"bert, BertModel", "is_decoder", "true", "is_decoder: true is not supported"},
		{"bert, BertModel", "architectures", `["BertForImages"]`, `architectures: "ForImages" is not supported; supported: BertForMaskedLM`},
		{"bert, BertModel", "architectures", `["BertForMaskedLM"]`, `tensor "cls.predictions.transform.dense.weight" is missing`},
		{"bert, BertModel", "architectures", "null", ""},
		{"bert, BertModel", "max_position_embeddings", "71", `tensor "embeddings.position_embeddings.weight": the configuration wants shape 71x48`},
		{"bert, BertForPreTraining", "architectures", `["BertForMaskedLM"]`, ""},
		{"bert, BertForSequenceClassification", "id2label", `{"0": "A"}`, `tensor "classifier.weight": the configuration wants shape 1x48, the checkpoint has 5x48`},
		{"electra, ElectraForMaskedLM", "embedding_size", "48", `tensor "electra.embeddings.word_embeddings.weight": the configuration wants shape 32x48`},
		{"electra, ElectraForMultipleChoice", "summary_type", `"attn"`, `summary_type: "attn" is not supported; supported: first, last, mean, cls_index`},
		{"electra, ElectraForMultipleChoice", "summary_use_proj", "false", "summary_use_proj: false is not supported"},
		{"electra, ElectraForMaskedLM", "summary_type", `"attn"`, ""},
		{"mpnet, MPNetForMaskedLM", "relative_attention_num_buckets", "16", "relative_attention_num_buckets: 16 is not supported; want at least 32"},
		{"distilbert, DistilBertForSequenceClassification", "n_heads", "7", "dim: 48 is not a multiple of the 7 n_heads"},
		{"vit, ViTModel, not square", "image_size", "[16, 40, 3]", "image_size: want a size, or the height and width"},
		{"vit, ViTModel, not square", "image_size", "[16, 48]", `the configuration wants shape 1x25x48, the checkpoint has 1x21x48`},
		{"vit, ViTModel, not square", "patch_size", "64", "patch_size: 64x64 is larger than the image of 16x40"},
	} {
		_, _, err := arch.Build(with(t, cases[c.name].Config, c.key, c.value), cases[c.name])
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %s = %s: want %q, got %v", c.name, c.key, c.value, c.want, err)
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

// converted are the tensors of a checkpoint as TensorFlow's programs named the parameters of normalizations.
type converted struct{ *archtest.Encoder }

var toGamma = strings.NewReplacer("LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta")

func (c converted) Names() []string {
	var out []string
	for _, n := range c.Encoder.Names() {
		out = append(out, toGamma.Replace(n))
	}
	return out
}

func (c converted) Tensor(name string) tensor.Source {
	if toGamma.Replace(name) != name {
		return nil
	}
	return c.Encoder.Tensor(strings.NewReplacer("LayerNorm.gamma", "LayerNorm.weight", "LayerNorm.beta", "LayerNorm.bias").Replace(name))
}

func TestOldNamesOfNormalizations(t *testing.T) {
	for _, c := range archtest.Encoders(t) {
		if c.Type() != "bert" {
			continue
		}
		g, _, err := arch.Build(c.Config, converted{c})
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		c.Check(t, g)
	}
}
