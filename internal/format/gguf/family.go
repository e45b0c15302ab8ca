package gguf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// family is an architecture as llama.cpp knows it: what its tensors are called there and in Hugging Face checkpoints, and what
// happens to them on the way. Names and changes follow gguf-py and convert_hf_to_gguf.py of github.com/ggml-org/llama.cpp.
type family struct {
	name  string   // general.architecture
	types []string // model_type of config.json, the one that is read back first

	block string      // what a layer's tensors begin with in a checkpoint
	inner [][2]string // tensors of a layer: checkpoint, GGUF; without .weight and .bias
	outer [][2]string // the others

	// stacked are tensors of a layer that checkpoints have one by one and GGUF as one with a dimension more: %d is the number.
	stacked [][2]string

	interleave bool // rows of queries and keys in pairs of neighbours, not of two halves
	plusOne    bool // weights of normalizations are stored less one in checkpoints
	transpose  bool // matrices of a layer are [in, out] in checkpoints
	byHead     bool // rows of the fused matrix are grouped by head of keys in checkpoints: its queries, key, value
	output     bool // llama.cpp wants the matrix of the head also where it is the embedding
	// mark is a tensor of the first layer that tells this family from a later one of the same name; "" for none.
	mark   string
	config func(f *fields)
}

// The names that most architectures share.
var (
	outerLlama = [][2]string{{"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}}

	attentionLlama = [][2]string{
		{"self_attn.q_proj", "attn_q"},
		{"self_attn.k_proj", "attn_k"},
		{"self_attn.v_proj", "attn_v"},
		{"self_attn.o_proj", "attn_output"},
		{"self_attn.q_norm", "attn_q_norm"},
		{"self_attn.k_norm", "attn_k_norm"},
	}
	normsLlama = [][2]string{{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"}}
	mlpLlama   = [][2]string{{"mlp.gate_proj", "ffn_gate"}, {"mlp.up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"}}
	normsGemma = [][2]string{
		{"input_layernorm", "attn_norm"},
		{"post_attention_layernorm", "post_attention_norm"},
		{"pre_feedforward_layernorm", "ffn_norm"},
		{"post_feedforward_layernorm", "post_ffw_norm"},
	}

	expertsQwen = [][2]string{
		{"mlp.experts.%d.gate_proj", "ffn_gate_exps"}, {"mlp.experts.%d.up_proj", "ffn_up_exps"}, {"mlp.experts.%d.down_proj", "ffn_down_exps"},
	}
	outerGPT = [][2]string{{"transformer.wte", "token_embd"}, {"transformer.wpe", "position_embd"}, {"transformer.ln_f", "output_norm"}, {"lm_head", "output"}}

	outerFalcon = [][2]string{{"transformer.word_embeddings", "token_embd"}, {"transformer.ln_f", "output_norm"}, {"lm_head", "output"}}
	innerFalcon = [][2]string{
		{"self_attention.query_key_value", "attn_qkv"},
		{"self_attention.dense", "attn_output"},
		{"mlp.dense_h_to_4h", "ffn_up"},
		{"mlp.dense_4h_to_h", "ffn_down"},
	}

	innerLlama = slices.Concat(normsLlama, attentionLlama, mlpLlama)
)

// families is the table.
var families = []*family{
	{
		name: "llama", types: []string{"mixtral"}, mark: "ffn_gate_inp", block: "model.layers.", outer: outerLlama, interleave: true, config: configMixtral,
		inner: slices.Concat(normsLlama, attentionLlama, [][2]string{{"block_sparse_moe.gate", "ffn_gate_inp"}}),
		stacked: [][2]string{
			{"block_sparse_moe.experts.%d.w1", "ffn_gate_exps"}, {"block_sparse_moe.experts.%d.w3", "ffn_up_exps"}, {"block_sparse_moe.experts.%d.w2", "ffn_down_exps"},
		},
	},
	{
		name: "llama", types: []string{"llama", "mistral"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, interleave: true,
		config: configLlama,
	},
	{name: "qwen2", types: []string{"qwen2"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configQwen2},
	{name: "qwen3", types: []string{"qwen3"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configQwen3},
	{
		name: "qwen2moe", types: []string{"qwen2_moe"}, output: true, block: "model.layers.", outer: outerLlama, stacked: expertsQwen, config: configQwen2MoE,
		inner: slices.Concat(normsLlama, attentionLlama, [][2]string{
			{"mlp.gate", "ffn_gate_inp"},
			{"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
			{"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
			{"mlp.shared_expert.up_proj", "ffn_up_shexp"},
			{"mlp.shared_expert.down_proj", "ffn_down_shexp"},
		}),
	},
	{
		name: "qwen3moe", types: []string{"qwen3_moe"}, block: "model.layers.", outer: outerLlama, stacked: expertsQwen, config: configQwen3MoE,
		inner: slices.Concat(normsLlama, attentionLlama, [][2]string{{"mlp.gate", "ffn_gate_inp"}}),
	},
	{name: "gemma", types: []string{"gemma"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, plusOne: true, config: configGemma},
	{
		name: "gemma2", types: []string{"gemma2"}, block: "model.layers.", outer: outerLlama, plusOne: true, config: configGemma2,
		inner: slices.Concat(attentionLlama, mlpLlama, normsGemma),
	},
	{
		name: "gemma3", types: []string{"gemma3_text"}, block: "model.layers.", outer: outerLlama, plusOne: true, config: configGemma3,
		inner: slices.Concat(attentionLlama, mlpLlama, normsGemma),
	},
	{
		name: "phi2", types: []string{"phi"}, output: true, block: "model.layers.", config: configPhi,
		outer: [][2]string{{"model.embed_tokens", "token_embd"}, {"model.final_layernorm", "output_norm"}, {"lm_head", "output"}},
		inner: [][2]string{
			{"input_layernorm", "attn_norm"},
			{"self_attn.q_proj", "attn_q"},
			{"self_attn.k_proj", "attn_k"},
			{"self_attn.v_proj", "attn_v"},
			{"self_attn.dense", "attn_output"},
			{"mlp.fc1", "ffn_up"},
			{"mlp.fc2", "ffn_down"},
		},
	},
	{
		name: "phi3", types: []string{"phi3"}, block: "model.layers.", outer: outerLlama, config: configPhi3,
		inner: slices.Concat(normsLlama, [][2]string{
			{"self_attn.qkv_proj", "attn_qkv"}, {"self_attn.o_proj", "attn_output"}, {"mlp.gate_up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"},
		}),
	},
	{
		name: "gpt2", types: []string{"gpt2"}, block: "transformer.h.", transpose: true, config: configGPT2,
		outer: outerGPT,
		inner: [][2]string{
			{"ln_1", "attn_norm"}, {"ln_2", "ffn_norm"}, {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"}, {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"},
		},
	},
	{
		name: "gptneox", types: []string{"gpt_neox"}, output: true, block: "gpt_neox.layers.", byHead: true, config: configGPTNeoX,
		outer: [][2]string{{"gpt_neox.embed_in", "token_embd"}, {"gpt_neox.final_layer_norm", "output_norm"}, {"embed_out", "output"}},
		inner: [][2]string{
			{"input_layernorm", "attn_norm"},
			{"post_attention_layernorm", "ffn_norm"},
			{"attention.query_key_value", "attn_qkv"},
			{"attention.dense", "attn_output"},
			{"mlp.dense_h_to_4h", "ffn_up"},
			{"mlp.dense_4h_to_h", "ffn_down"},
		},
	},
	{
		name: "falcon", types: []string{"falcon"}, mark: "attn_norm_2", block: "transformer.h.", byHead: true, outer: outerFalcon, config: configFalcon,
		inner: slices.Concat(innerFalcon, [][2]string{{"ln_mlp", "attn_norm"}, {"ln_attn", "attn_norm_2"}}),
	},
	{
		name: "falcon", types: []string{"falcon"}, block: "transformer.h.", byHead: true, outer: outerFalcon, config: configFalcon,
		inner: slices.Concat(innerFalcon, [][2]string{{"input_layernorm", "attn_norm"}}),
	},
	{
		name: "bloom", types: []string{"bloom"}, block: "transformer.h.", byHead: true, config: configBloom,
		inner: slices.Concat(innerFalcon, normsLlama),
		outer: [][2]string{
			{"transformer.word_embeddings", "token_embd"},
			{"transformer.word_embeddings_layernorm", "token_embd_norm"},
			{"transformer.ln_f", "output_norm"},
			{"lm_head", "output"},
		},
	},
	{
		name: "stablelm", types: []string{"stablelm"}, output: true, block: "model.layers.", outer: outerLlama, config: configStableLM,
		inner:   slices.Concat(normsLlama, attentionLlama[:4], mlpLlama),
		stacked: [][2]string{{"self_attn.q_layernorm.norms.%d", "attn_q_norm"}, {"self_attn.k_layernorm.norms.%d", "attn_k_norm"}},
	},
	{
		name: "starcoder2", types: []string{"starcoder2"}, block: "model.layers.", outer: outerLlama, config: configStarcoder2,
		inner: slices.Concat(normsLlama, attentionLlama, [][2]string{{"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}}),
	},
	{
		name: "olmo2", types: []string{"olmo2"}, output: true, block: "model.layers.", outer: outerLlama, config: configOlmo2,
		inner: slices.Concat(attentionLlama, mlpLlama, [][2]string{{"post_attention_layernorm", "post_attention_norm"}, {"post_feedforward_layernorm", "post_ffw_norm"}}),
	},
	{name: "granite", types: []string{"granite"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, interleave: true, config: configGranite},
	{name: "smollm3", types: []string{"smollm3"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, interleave: true, config: configSmolLM3},
	{name: "command-r", types: []string{"cohere"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configCohere},
}

// familyOf returns the family of a model_type whose checkpoint has tensors.
func familyOf(modelType string, has func(name string) bool) (*family, error) {
	var known []string
	for _, f := range families {
		if slices.Contains(f.types, modelType) && (f.mark == "" || has(f.toCheckpoint("blk.0."+f.mark+".weight"))) {
			return f, nil
		}
		known = append(known, f.types...)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("model_type %q has no form in GGUF that is known here; known are %s", modelType, strings.Join(slices.Compact(known), ", "))
}

// familyNamed returns the family of an architecture of GGUF whose file has tensors.
func familyNamed(name string, has func(name string) bool) (*family, error) {
	var known []string
	for _, f := range families {
		if f.name == name && (f.mark == "" || has("blk.0."+f.mark+".weight")) {
			return f, nil
		}
		known = append(known, f.name)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("architecture %q is not known; known are %s", name, strings.Join(slices.Compact(known), ", "))
}

// place is where a tensor of a checkpoint goes.
type place struct {
	name  string // "": nowhere
	layer int    // -1: none
	index int    // in a stack; -1: it is none
}

// toGGUF returns what a tensor of a checkpoint is called in GGUF. Checkpoints of models without a head leave the first part of all
// names out.
func (f *family) toGGUF(name string) place {
	base, kind := cutKind(name)
	for _, full := range []string{base, f.block[:strings.Index(f.block, ".")+1] + base} {
		for _, r := range f.outer {
			if full == r[0] {
				return place{r[1] + kind, -1, -1}
			}
		}
		rest, ok := strings.CutPrefix(full, f.block)
		if !ok {
			continue
		}
		number, part, _ := strings.Cut(rest, ".")
		layer, ok := count(number)
		if !ok {
			continue
		}
		in := func(to string, index int) place {
			return place{fmt.Sprintf("blk.%d.%s%s", layer, to, kind), layer, index}
		}
		for _, r := range f.inner {
			if part == r[0] {
				return in(r[1], -1)
			}
		}
		for _, r := range f.stacked {
			before, behind, _ := strings.Cut(r[0], "%d")
			if i, ok := count(strings.TrimSuffix(strings.TrimPrefix(part, before), behind)); ok && part == fmt.Sprintf(r[0], i) {
				return in(r[1], i)
			}
		}
	}
	return place{"", -1, -1}
}

// count reads a number that is not negative, as names have it.
func count(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == s
}

// toCheckpoint is the inverse. The name of a stack has %d for the number.
func (f *family) toCheckpoint(name string) string {
	base, kind := cutKind(name)
	for _, r := range f.outer {
		if base == r[1] {
			return r[0] + kind
		}
	}
	rest, ok := strings.CutPrefix(base, "blk.")
	if !ok {
		return ""
	}
	number, part, _ := strings.Cut(rest, ".")
	for _, list := range [][][2]string{f.inner, f.stacked} {
		for _, r := range list {
			if part == r[1] {
				return f.block + number + "." + r[0] + kind
			}
		}
	}
	return ""
}

// cutKind cuts ".weight" or ".bias" off a name.
func cutKind(name string) (base, kind string) {
	for _, k := range []string{".weight", ".bias"} {
		if b, ok := strings.CutSuffix(name, k); ok {
			return b, k
		}
	}
	return name, ""
}

// order says how the rows of a tensor in GGUF follow from those of the checkpoint: row(r) is the row of the checkpoint that is row r
// there. It is nil where they are the same.
func (f *family) order(name string, heads, kvHeads, rows int) func(r int) int {
	base, _ := cutKind(name)
	_, part, _ := strings.Cut(strings.TrimPrefix(base, "blk."), ".")
	switch {
	case f.interleave && part == "attn_q" && heads > 0 && rows%(2*heads) == 0:
		return neighbours(rows / heads)
	case f.interleave && part == "attn_k" && kvHeads > 0 && rows%(2*kvHeads) == 0:
		return neighbours(rows / kvHeads)
	case f.byHead && part == "attn_qkv" && kvHeads > 0 && heads%kvHeads == 0 && rows%(heads+2*kvHeads) == 0:
		size, queries := rows/(heads+2*kvHeads), heads/kvHeads
		return func(r int) int {
			head := r / size
			switch {
			case head < heads:
				head = head/queries*(queries+2) + head%queries
			case head < heads+kvHeads:
				head = (head-heads)*(queries+2) + queries
			default:
				head = (head-heads-kvHeads)*(queries+2) + queries + 1
			}
			return head*size + r%size
		}
	}
	return nil
}

// neighbours makes pairs of elements of the two halves of a head neighbours: element i of half t comes to 2i+t.
func neighbours(size int) func(r int) int {
	return func(r int) int {
		at := r % size
		return r - at + at%2*(size/2) + at/2
	}
}

// inverseOrder returns the permutation that undoes another of n rows.
func inverseOrder(row func(r int) int, n int) func(r int) int {
	back := make([]int, n)
	for r := range n {
		back[row(r)] = r
	}
	return func(r int) int { return back[r] }
}
