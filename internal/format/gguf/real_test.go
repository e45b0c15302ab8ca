package gguf

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

func open(t *testing.T, f func(context.Context, string) (*model.Model, error), path string) *model.Model {
	t.Helper()
	m, err := f(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func save(t *testing.T, m *model.Model, o model.SaveOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := Save(context.Background(), path, m, o); err != nil {
		t.Fatal(err)
	}
	return path
}

// same compares the tensors of two files, and the metadata that the second has.
func same(t *testing.T, got, want string) {
	t.Helper()
	a, err := OpenFile(got)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := OpenFile(want)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if len(a.names) != len(b.names) {
		t.Errorf("%d tensors, want %d", len(a.names), len(b.names))
	}
	for _, name := range b.names {
		x, y := a.tensors[name], b.tensors[name]
		if x.Tensor == nil || x.kind != y.kind || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.data, y.data) {
			t.Errorf("%s: tensor %s differs: %v%v, want %v%v", want, name, x.kind, x.Tensor, y.kind, y.Tensor)
		}
	}
	for _, p := range b.Pairs {
		x, err := json.Marshal(a.Get(p.Key))
		if err != nil {
			t.Fatal(err)
		}
		// Scores order the merges; only their order counts.
		if y, _ := json.Marshal(p.Value); !bytes.Equal(x, y) && p.Key != "general.name" && p.Key != "tokenizer.ggml.scores" {
			t.Errorf("%s: %s is %.60s, want %.60s", want, p.Key, x, y)
		}
	}
}

// What is written is what llama.cpp's own program makes of the same float16 file.
func TestFilesOfLlamaQuantize(t *testing.T) {
	for _, c := range []struct{ model, kind, stored string }{
		{"stories260k", "f16", "stories260k-f16.gguf"},
		{"stories260k", "q8_0", "stories260k-q8_0.gguf"},
		{"stories260k", "q4_0", "stories260k-q4_0.gguf"},
		{"golm-15m", "q4_0", "golm-15m-q4_0.gguf"},
		{"golm-15m", "q4_K_M", "golm-15m-q4_K_M.gguf"},
	} {
		dir := material.Path(t, "data/"+c.model)
		half := save(t, open(t, hf.Open, dir), model.SaveOptions{})
		same(t, save(t, open(t, Open, half), model.SaveOptions{Type: c.kind}), filepath.Join(dir, "gguf", c.stored))
	}
}

// answer is what llama.cpp says to a prompt.
type answer struct {
	Prompt      string
	IDs, Greedy []int64
}

// The files that llama.cpp wrote are opened, and give the tokens that it gives.
func TestTokensOfLlamaCpp(t *testing.T) {
	for _, name := range []string{"golm-15m", "stories260k"} {
		dir := material.Path(t, "data/"+name)
		raw, err := os.ReadFile(filepath.Join(dir, "expected/llamacpp_greedy.json"))
		if err != nil {
			t.Fatal(err)
		}
		var all map[string][]answer
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "gguf/*.gguf"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			answers := all[filepath.Base(file)]
			if len(answers) == 0 {
				t.Fatalf("no answers for %s", file)
			}
			m := open(t, Open, file)
			g, err := pass.Lower(m.Graph)
			if err != nil {
				t.Fatal(err)
			}
			s, err := exec.NewSession(g, exec.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range answers {
				ids := slices.Concat(a.IDs, a.Greedy[:len(a.Greedy)-1])
				out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(ids)}, ids)})
				if err != nil {
					t.Fatal(err)
				}
				vocab := out[0].Shape[2]
				for i, want := range a.Greedy {
					row := tensor.Data[float32](out[0])[(len(a.IDs)-1+i)*vocab:][:vocab]
					// llama.cpp rounds activations to 8 bits where weights are quantized, which decides between equals.
					if best := slices.Index(row, slices.Max(row)); row[want] < row[best]-5e-2 {
						t.Errorf("%s: %q: token %d is %d (%v), want %d (%v)", file, a.Prompt, i, best, row[best], want, row[want])
						break
					}
				}
			}
			s.Close()
		}
	}
}
