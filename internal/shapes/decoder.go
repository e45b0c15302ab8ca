package shapes

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Decoder is a language model of the Llama family with random weights, as a checkpoint of Hugging Face.
type Decoder struct {
	Type       string // model_type: llama, mixtral, or qwen2, which has biases of queries, keys and values
	Layers     int
	Hidden     int
	Inner      int // of the feed-forward network
	Heads      int
	KVHeads    int
	Vocabulary int // at least 258
	RopeTheta  float64
	Seed       uint64
	DType      tensor.DType // of the weights: Float16, which Invalid stands for, or BFloat16
	Untied     bool         // the head has a matrix of its own
	Experts    int          // of each block, in the names of mixtral, of which a token goes to two; 0: one feed-forward network
}

// Llama7B is the shape of Llama-2-7B in bfloat16, 13.5 GB.
var Llama7B = Decoder{Type: "llama", Layers: 32, Hidden: 4096, Inner: 11008, Heads: 32, KVHeads: 32, Vocabulary: 32000, RopeTheta: 10000, Seed: 1, DType: tensor.BFloat16, Untied: true}

// Llama1B is the shape of Llama-3.2-1B, Qwen05B that of Qwen2.5-0.5B; both have the embedding as their head.
var (
	Llama1B = Decoder{Type: "llama", Layers: 16, Hidden: 2048, Inner: 8192, Heads: 32, KVHeads: 8, Vocabulary: 128256, RopeTheta: 500000, Seed: 1}
	Qwen05B = Decoder{Type: "qwen2", Layers: 24, Hidden: 896, Inner: 4864, Heads: 14, KVHeads: 2, Vocabulary: 151936, RopeTheta: 1000000, Seed: 1}
)

// Matrices is the number of weights of the matrices of the blocks: what every token is multiplied by, the head left out.
func (d Decoder) Matrices() int {
	size := d.Hidden / d.Heads
	return d.Layers * d.Hidden * (2*d.Heads*size + 2*d.KVHeads*size + 3*d.Inner)
}

// entries lists the tensors.
func (d Decoder) entries() []safetensors.Entry {
	var out []safetensors.Entry
	add := func(name string, shape ...int) {
		out = append(out, safetensors.Entry{Name: name + ".weight", DType: d.dtype(), Shape: shape})
	}
	bias := func(name string, n int) {
		if d.Type == "qwen2" {
			out = append(out, safetensors.Entry{Name: name + ".bias", DType: d.dtype(), Shape: tensor.Shape{n}})
		}
	}
	size := d.Hidden / d.Heads
	add("model.embed_tokens", d.Vocabulary, d.Hidden)
	for i := range d.Layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		add(at+"input_layernorm", d.Hidden)
		for _, p := range []struct {
			name  string
			heads int
		}{{"q", d.Heads}, {"k", d.KVHeads}, {"v", d.KVHeads}} {
			add(at+"self_attn."+p.name+"_proj", p.heads*size, d.Hidden)
			bias(at+"self_attn."+p.name+"_proj", p.heads*size)
		}
		add(at+"self_attn.o_proj", d.Hidden, d.Heads*size)
		add(at+"post_attention_layernorm", d.Hidden)
		if d.Experts > 0 {
			add(at+"block_sparse_moe.gate", d.Experts, d.Hidden)
			for e := range d.Experts {
				expert := fmt.Sprintf("%sblock_sparse_moe.experts.%d.", at, e)
				add(expert+"w1", d.Inner, d.Hidden)
				add(expert+"w3", d.Inner, d.Hidden)
				add(expert+"w2", d.Hidden, d.Inner)
			}
			continue
		}
		add(at+"mlp.gate_proj", d.Inner, d.Hidden)
		add(at+"mlp.up_proj", d.Inner, d.Hidden)
		add(at+"mlp.down_proj", d.Hidden, d.Inner)
	}
	add("model.norm", d.Hidden)
	if d.Untied {
		add("lm_head", d.Vocabulary, d.Hidden)
	}
	return out
}

// dtype is the type of the weights.
func (d Decoder) dtype() tensor.DType {
	if d.DType == tensor.Invalid {
		return tensor.Float16
	}
	return d.DType
}

// WriteCheckpoint writes the folder of a checkpoint, with a tokenizer of bytes. The values of matrices are normal with a standard
// deviation of 0.02; they are cut from a table at random places, so that a model of gigabytes takes no longer than writing it.
func (d Decoder) WriteCheckpoint(dir string) error {
	if d.Heads < 1 || d.KVHeads < 1 || d.Hidden%max(d.Heads, 1) != 0 || d.Vocabulary < 258 || d.Layers < 1 || d.Inner < 1 {
		return fmt.Errorf("shapes: %+v is no model", d)
	}
	return outfile.WriteFolder(dir, false, func(dir string) error {
		for name, v := range map[string]any{"config.json": d.config(), "tokenizer.json": byteTokenizer()} {
			text, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // a file of a model is for all to read
				return err
			}
		}
		entries := d.entries()
		w, err := safetensors.Create(dir, entries, safetensors.WriteOptions{})
		if err != nil {
			return err
		}
		defer w.Abort()
		table := d.table()
		for i, e := range entries {
			if err := w.Write(e.Name, d.values(table, i, e.Shape)); err != nil {
				return err
			}
		}
		return w.Close()
	})
}

func (d Decoder) config() map[string]any {
	class := "LlamaForCausalLM"
	if d.Type == "qwen2" {
		class = "Qwen2ForCausalLM"
	}
	c := map[string]any{
		"architectures": []string{class}, "model_type": d.Type, "vocab_size": d.Vocabulary, "hidden_size": d.Hidden, "intermediate_size": d.Inner,
		"num_hidden_layers": d.Layers, "num_attention_heads": d.Heads, "num_key_value_heads": d.KVHeads, "hidden_act": "silu",
		"max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": d.RopeTheta, "tie_word_embeddings": !d.Untied,
		"bos_token_id": 257, "eos_token_id": 257, "torch_dtype": d.dtype().String(),
	}
	if d.Experts > 0 {
		c["architectures"], c["num_local_experts"], c["num_experts_per_tok"] = []string{"MixtralForCausalLM"}, d.Experts, 2
	}
	return c
}

// tableLen is the number of values that matrices are cut from.
const tableLen = 1 << 22

// table draws the values.
func (d Decoder) table() []uint16 {
	const piece = 1 << 16
	out := make([]uint16, tableLen)
	kernel.Shared().For(tableLen/piece, 1, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			r := rand.New(rand.NewPCG(d.Seed, uint64(p))) //nolint:gosec // weights are no secret
			for i := range piece {
				out[p*piece+i] = d.bits(float32(0.02 * r.NormFloat64()))
			}
		}
	})
	return out
}

// bits are those of a value in the type of the weights.
func (d Decoder) bits(v float32) uint16 {
	if d.dtype() == tensor.BFloat16 {
		return uint16(tensor.ToBF16(v))
	}
	return uint16(tensor.ToHalf(v))
}

// values makes a tensor: a matrix of pieces of the table, a vector of ones.
func (d Decoder) values(table []uint16, index int, shape tensor.Shape) *tensor.Tensor {
	t := tensor.New(d.dtype(), shape...)
	out := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(t.Bytes()))), shape.Len())
	if len(shape) == 1 {
		for i := range out {
			out[i] = d.bits(1)
		}
		return t
	}
	r := rand.New(rand.NewPCG(d.Seed, 1<<32|uint64(index))) //nolint:gosec // as above
	for rest := out; len(rest) > 0; {
		n := copy(rest[:min(len(rest), tableLen/4)], table[r.IntN(tableLen/2):])
		rest = rest[n:]
	}
	return t
}

// byteTokenizer is a tokenizer.json of byte-level BPE in which nearly every byte is a token: 256 of them, one pair, and one that ends a text.
func byteTokenizer() map[string]any {
	vocab := map[string]int{}
	next := rune(256)
	for b := range 256 { // the characters by which GPT-2's tokenizer writes bytes
		c := rune(b)
		if b < '!' || b > '~' && b < 0xa1 || b == 0xad {
			c, next = next, next+1
		}
		vocab[string(c)] = b
	}
	vocab["th"] = 256
	level := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil, "pre_tokenizer": level, "post_processor": nil, "decoder": level,
		"added_tokens": []any{map[string]any{
			"id": 257, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
		}},
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false,
			"byte_fallback": false, "vocab": vocab, "merges": []string{"t h"},
		},
	}
}
