package hf

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

const tinyConfig = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 20, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
	"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-05, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}`

// tiny writes a checkpoint of random bfloat16 weights in shards of at most so many bytes.
func tiny(t *testing.T, shard int) string {
	t.Helper()
	dir := t.TempDir()
	var entries []safetensors.Entry
	add := func(name string, dims ...int) {
		entries = append(entries, safetensors.Entry{Name: name, DType: tensor.BFloat16, Shape: dims})
	}
	add("model.embed_tokens.weight", 20, 8)
	for _, l := range []string{"model.layers.0.", "model.layers.1."} {
		add(l+"input_layernorm.weight", 8)
		add(l+"self_attn.q_proj.weight", 8, 8)
		add(l+"self_attn.k_proj.weight", 4, 8)
		add(l+"self_attn.v_proj.weight", 4, 8)
		add(l+"self_attn.o_proj.weight", 8, 8)
		add(l+"post_attention_layernorm.weight", 8)
		add(l+"mlp.gate_proj.weight", 12, 8)
		add(l+"mlp.up_proj.weight", 12, 8)
		add(l+"mlp.down_proj.weight", 8, 12)
	}
	add("model.norm.weight", 8)
	w, err := safetensors.Create(dir, entries, safetensors.WriteOptions{ShardBytes: shard})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, e := range entries {
		v := make([]float64, e.Shape.Len())
		for i := range v {
			v[i] = r.NormFloat64()
		}
		x, err := tensor.FromFloat64s(tensor.BFloat16, e.Shape, v)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(e.Name, x); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, dir, ConfigFile, tinyConfig)
	return dir
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSavedCheckpointsAreTheSame(t *testing.T) {
	ctx := context.Background()
	for _, shard := range []int{0, 300} {
		dir := tiny(t, shard)
		put(t, dir, "tokenizer.json", "{}")
		put(t, dir, "notes.md", "mine")
		m, err := Open(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		out := t.TempDir()
		if err := Save(ctx, out, m, model.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		again, err := Open(ctx, out)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		if len(again.State) != len(m.State) || again.Arch != "llama" || len(again.Files) != 1 {
			t.Errorf("%d tensors of %d, %s, %v", len(again.State), len(m.State), again.Arch, again.Files)
		}
		for _, e := range again.State {
			a, err := e.Load()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range m.State {
				if o.Name != e.Name {
					continue
				}
				if b, err := o.Load(); err != nil || a.DType != b.DType || !bytes.Equal(a.Bytes(), b.Bytes()) {
					t.Errorf("%s: %v and %v differ, %v", e.Name, a, b, err)
				}
			}
		}
		text, err := os.ReadFile(filepath.Join(out, ConfigFile))
		if err != nil || !strings.Contains(string(text), `"rms_norm_eps": 1e-05`) {
			t.Errorf("%s, %v", text, err)
		}
		for name, want := range map[string]bool{"tokenizer.json": true, "notes.md": false} {
			if exists(filepath.Join(out, name)) != want {
				t.Errorf("%s was copied: %v", name, !want)
			}
		}
	}
}

func TestStreamedTensorsAreConverted(t *testing.T) {
	ctx := context.Background()
	m, err := Open(ctx, tiny(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	out := t.TempDir()
	w, err := Create(ctx, out, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Graph.Params() { // what the graph has is float32 or narrow rows of it
		if !strings.HasSuffix(p.Name, ".weight") {
			continue
		}
		v, err := p.Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		if v.Packed != nil {
			if err := w.Accepts(v.Packed.Scheme()); err != nil {
				t.Error(err)
			}
		}
		if err := w.Write(p.Name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Accepts(tensor.Scheme{Code: "nf4", Bits: 4, Group: 64}); err == nil {
		t.Error("4-bit codes were accepted")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for i, e := range again.State {
		a, _ := e.Load()
		b, _ := m.State[i].Load()
		if e.Name != m.State[i].Name || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s differs", e.Name)
		}
	}
	w, err = Create(ctx, t.TempDir(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "tensors were not written: model.embed_tokens.weight") {
		t.Error(err)
	}
}

// TestBadFolders breaks a checkpoint in one way at a time.
func TestBadFolders(t *testing.T) {
	edit := func(t *testing.T, dir, name string, f func([]byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, dir, name, string(f(b)))
	}
	field := func(key string, value any) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			edit(t, dir, ConfigFile, func(b []byte) []byte {
				var c map[string]any
				if err := json.Unmarshal(b, &c); err != nil {
					t.Fatal(err)
				}
				c[key] = value
				b, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				return b
			})
		}
	}
	for _, c := range []struct {
		name  string
		shard int
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"no config", 0, func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, ConfigFile)) }, "there is no config.json"},
		{"config cut short", 0, func(t *testing.T, dir string) { edit(t, dir, ConfigFile, func(b []byte) []byte { return b[:40] }) }, "config.json: unexpected EOF"},
		{"config of two objects", 0, func(t *testing.T, dir string) {
			edit(t, dir, ConfigFile, func(b []byte) []byte { return append(b, "{}"...) })
		}, "want one JSON object"},
		{"no weights", 0, func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "model.safetensors")) }, "the folder holds no weights: want one of model.safetensors"},
		{"truncated", 0, func(t *testing.T, dir string) {
			edit(t, dir, "model.safetensors", func(b []byte) []byte { return b[:len(b)-1] })
		}, `model.safetensors: truncated: tensor "model.norm.weight" ends at`},
		{"truncated shard", 300, func(t *testing.T, dir string) {
			edit(t, dir, "model-00002-of-00011.safetensors", func(b []byte) []byte { return b[:len(b)-5] })
		}, "model-00002-of-00011.safetensors: truncated"},
		{"missing shard", 300, func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "model-00003-of-00011.safetensors")) }, "1 of 11 shards are missing: model-00003-of-00011.safetensors"},
		{"no index", 300, func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "model.safetensors.index.json")) }, "the folder holds 11 safetensors files without model.safetensors.index.json"},
		{"other vocabulary", 0, field("vocab_size", 21), `tensor "model.embed_tokens.weight": the configuration wants shape 21x8, the checkpoint has 20x8`},
		{"absurd size", 0, field("hidden_size", 1<<40), "hidden_size: want a size from 1 to"},
		{"no layers", 0, field("num_hidden_layers", 0), "num_hidden_layers: want a number from 1 to"},
		{"fewer layers", 0, field("num_hidden_layers", 1), "the configuration has no place for 9 tensors of the checkpoint: model.layers.1.input_layernorm.weight"},
		{"unknown architecture", 0, field("model_type", "lstm"), `unknown model_type "lstm"; known are`},
		{"unknown field", 0, field("residual_gate", 0.5), "may change what the model computes: residual_gate = 0.5"},
		{"unknown method", 0, field("quantization_config", map[string]any{"quant_method": "magic"}), `weights quantized by "magic" are not supported`},
	} {
		dir := tiny(t, c.shard)
		if len(c.name) > 0 && c.shard > 0 {
			if list, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); len(list) != 11 {
				t.Fatalf("%d shards", len(list))
			}
		}
		c.spoil(t, dir)
		m, err := Open(context.Background(), dir)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: want %q, got %v", c.name, c.want, err)
		}
	}
}
