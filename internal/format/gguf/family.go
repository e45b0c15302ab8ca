package gguf

import (
	"fmt"
	"slices"
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

	interleave bool // rows of queries and keys in pairs of neighbours, not of two halves
	plusOne    bool // weights of normalizations are stored less one in checkpoints
	transpose  bool // matrices of a layer are [in, out] in checkpoints
	byHead     bool // rows of the fused matrix are grouped by head in checkpoints: query, key, value of each
	config     func(f *fields)
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

	innerLlama = slices.Concat(normsLlama, attentionLlama, mlpLlama)
)

// families is the table.
var families = []*family{
	{
		name: "llama", types: []string{"llama", "mistral"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, interleave: true,
		config: configLlama,
	},
	{name: "qwen2", types: []string{"qwen2"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configQwen2},
	{name: "qwen3", types: []string{"qwen3"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configQwen3},
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
		name: "phi3", types: []string{"phi3"}, block: "model.layers.", outer: outerLlama, config: configPhi3,
		inner: slices.Concat(normsLlama, [][2]string{
			{"self_attn.qkv_proj", "attn_qkv"}, {"self_attn.o_proj", "attn_output"}, {"mlp.gate_up_proj", "ffn_up"}, {"mlp.down_proj", "ffn_down"},
		}),
	},
	{
		name: "gpt2", types: []string{"gpt2"}, block: "transformer.h.", transpose: true, config: configGPT2,
		outer: [][2]string{{"transformer.wte", "token_embd"}, {"transformer.wpe", "position_embd"}, {"transformer.ln_f", "output_norm"}, {"lm_head", "output"}},
		inner: [][2]string{
			{"ln_1", "attn_norm"}, {"ln_2", "ffn_norm"}, {"attn.c_attn", "attn_qkv"}, {"attn.c_proj", "attn_output"}, {"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"},
		},
	},
	{
		name: "gptneox", types: []string{"gpt_neox"}, block: "gpt_neox.layers.", byHead: true, config: configGPTNeoX,
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
	{name: "stablelm", types: []string{"stablelm"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configStableLM},
	{
		name: "starcoder2", types: []string{"starcoder2"}, block: "model.layers.", outer: outerLlama, config: configStarcoder2,
		inner: slices.Concat(normsLlama, attentionLlama, [][2]string{{"mlp.c_fc", "ffn_up"}, {"mlp.c_proj", "ffn_down"}}),
	},
	{
		name: "olmo2", types: []string{"olmo2"}, block: "model.layers.", outer: outerLlama, config: configOlmo2,
		inner: slices.Concat(attentionLlama, mlpLlama, [][2]string{{"post_attention_layernorm", "post_attention_norm"}, {"post_feedforward_layernorm", "post_ffw_norm"}}),
	},
	{name: "granite", types: []string{"granite"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, interleave: true, config: configGranite},
	{name: "smollm3", types: []string{"smollm3"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, interleave: true, config: configSmolLM3},
	{name: "command-r", types: []string{"cohere"}, block: "model.layers.", outer: outerLlama, inner: innerLlama, config: configCohere},
}

var normsGemma = [][2]string{
	{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "post_attention_norm"}, {"pre_feedforward_layernorm", "ffn_norm"}, {"post_feedforward_layernorm", "post_ffw_norm"},
}

// familyOf returns the family of a model_type.
func familyOf(modelType string) (*family, error) {
	var known []string
	for _, f := range families {
		if slices.Contains(f.types, modelType) {
			return f, nil
		}
		known = append(known, f.types...)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("model_type %q has no form in GGUF that is known here; known are %s", modelType, strings.Join(known, ", "))
}

// familyNamed returns the family of an architecture of GGUF.
func familyNamed(name string) (*family, error) {
	var known []string
	for _, f := range families {
		if f.name == name {
			return f, nil
		}
		known = append(known, f.name)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("architecture %q is not known; known are %s", name, strings.Join(known, ", "))
}

// toGGUF returns what a tensor of a checkpoint is called in GGUF and its layer, -1 for none; "" for a name that has no place.
func (f *family) toGGUF(name string) (to string, layer int) {
	base, kind := cutKind(name)
	for _, r := range f.outer {
		if base == r[0] {
			return r[1] + kind, -1
		}
	}
	rest, ok := strings.CutPrefix(base, f.block)
	if !ok {
		return "", -1
	}
	number, part, _ := strings.Cut(rest, ".")
	if _, err := fmt.Sscanf(number, "%d", &layer); err != nil || fmt.Sprint(layer) != number {
		return "", -1
	}
	for _, r := range f.inner {
		if part == r[0] {
			return fmt.Sprintf("blk.%d.%s%s", layer, r[1], kind), layer
		}
	}
	return "", layer
}

// toCheckpoint is the inverse.
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
	for _, r := range f.inner {
		if part == r[1] {
			return f.block + number + "." + r[0] + kind
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
	case f.byHead && part == "attn_qkv" && heads > 0 && rows%(3*heads) == 0:
		size := rows / (3 * heads)
		return func(r int) int {
			which, head := r/(heads*size), r/size%heads
			return (3*head+which)*size + r%size
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
