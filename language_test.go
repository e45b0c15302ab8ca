package neuroquant_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestPerplexityIsThatOfPyTorch(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	texts, err := neuroquant.ReadTexts(filepath.Join(dir, "eval/tinystories-eval.json"))
	if err != nil {
		t.Fatal(err)
	}
	var first *neuroquant.Perplexity
	for _, threads := range []int{1, 2} {
		m := open(t, dir)
		m.SetThreads(threads)
		p, _, err := neuroquant.EvaluateText(context.Background(), m, nil, texts, neuroquant.TextOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(p.Perplexity/4.7957-1) > 1e-4 || p.Windows != 150 || p.Predicted != 150*511 {
			t.Errorf("%+v", p)
		}
		if first == nil {
			first = p
		} else if *p != *first {
			t.Errorf("%d threads: %+v; one: %+v", threads, p, first)
		}
	}
}

func TestDivergenceFromAReference(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	texts, err := neuroquant.ReadTexts(filepath.Join(dir, "eval/tinystories-eval.json"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	o := neuroquant.TextOptions{Context: 128, Limit: 3, Protocol: "llama.cpp"}
	p, d, err := neuroquant.EvaluateText(ctx, open(t, dir), open(t, dir), texts, o)
	if err != nil {
		t.Fatal(err)
	}
	if p.Windows != 3 || p.Predicted != 3*63 || d.Top1 != 1 || d.Max > 1e-9 || d.Reference != p.Perplexity {
		t.Errorf("a model and itself: %+v, %+v", p, d)
	}
	p, d, err = neuroquant.EvaluateText(ctx, open(t, copied(t, dir, func(name string, v []float32) {
		if strings.HasSuffix(name, "up_proj.weight") {
			for i := range v {
				v[i] *= 0.9
			}
		}
	})), open(t, dir), texts, o)
	if err != nil {
		t.Fatal(err)
	}
	if !(d.Mean > 1e-4 && d.Mean < 0.5 && d.Top1 > 0.7 && d.Top1 < 1 && d.P99 <= d.Max && d.Mean < d.P99) || p.Perplexity == d.Reference {
		t.Errorf("a changed model: %+v, %+v", p, d)
	}
	if _, _, err := neuroquant.EvaluateText(ctx, open(t, dir), open(t, material.Path(t, "data/golm-15m")), texts, o); err == nil || !strings.Contains(err.Error(), "do not have the same tokens") {
		t.Error(err)
	}
	for want, o := range map[string]neuroquant.TextOptions{
		"unknown protocol": {Protocol: "guess"}, "the model was made for 512 tokens": {Context: 513}, "want at least 2 ids": {Context: 1},
	} {
		if _, _, err := neuroquant.EvaluateText(ctx, open(t, dir), nil, texts, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, _, err := neuroquant.EvaluateText(ctx, open(t, dir), nil, []string{"short"}, neuroquant.TextOptions{}); err == nil || !strings.Contains(err.Error(), "fewer than one window of 512") {
		t.Error(err)
	}
}

// copied writes a float32 copy of a model of one file with changed tensors.
func copied(t *testing.T, dir string, change func(name string, v []float32)) string {
	t.Helper()
	s, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := t.TempDir()
	var entries []safetensors.Entry
	for _, x := range s.Tensors() {
		entries = append(entries, safetensors.Entry{Name: x.Name, DType: tensor.Float32, Shape: x.Shape()})
	}
	w, err := safetensors.Create(out, entries, safetensors.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range s.Tensors() {
		v, err := x.Load()
		if err != nil {
			t.Fatal(err)
		}
		f, err := v.Floats()
		if err != nil {
			t.Fatal(err)
		}
		f = slices.Clone(f)
		change(x.Name, f)
		if err := w.Write(x.Name, tensor.Of(x.Shape(), f)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func generator(t *testing.T, dir string, o neuroquant.GeneratorOptions) *neuroquant.Generator {
	t.Helper()
	g, err := open(t, dir).NewGenerator(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func TestGeneratedTextIsThatOfPyTorch(t *testing.T) {
	for _, name := range []string{"stories260k", "golm-15m"} {
		dir := material.Path(t, "data/"+name)
		b, err := os.ReadFile(filepath.Join(dir, "expected/greedy.json"))
		if err != nil {
			t.Fatal(err)
		}
		var list []struct {
			Prompt, Text string
			IDs          []int `json:"greedy_ids"`
		}
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatal(err)
		}
		g := generator(t, dir, neuroquant.GeneratorOptions{})
		for _, c := range list {
			streamed := ""
			out, timing, err := g.Generate(context.Background(), []string{c.Prompt}, neuroquant.GenerateOptions{MaxTokens: len(c.IDs), Begin: true, IgnoreEnd: true}, func(_ int, text string) error {
				streamed += text
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimPrefix(c.Text, c.Prompt)
			if strings.TrimSpace(out[0].Text) != strings.TrimSpace(want) || streamed != out[0].Text || !slices.Equal(out[0].IDs, c.IDs) || timing.GeneratedTokens != len(c.IDs) {
				t.Errorf("%s: %q: want %q, got %q (streamed %q)", name, c.Prompt, want, out[0].Text, streamed)
			}
		}
	}
}

func TestStopTextsAndSeeds(t *testing.T) {
	g := generator(t, material.Path(t, "data/stories260k"), neuroquant.GeneratorOptions{Cache: "int8", Context: 100})
	ctx := context.Background()
	run := func(o neuroquant.GenerateOptions, prompts ...string) []neuroquant.Generation {
		t.Helper()
		out, _, err := g.Generate(ctx, prompts, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	whole := run(neuroquant.GenerateOptions{MaxTokens: 60}, "Once upon a time")[0]
	at := strings.Index(whole.Text, "loved to")
	if at < 0 || whole.End != "length" {
		t.Fatalf("%+v", whole)
	}
	streamed := ""
	out, _, err := g.Generate(ctx, []string{"Once upon a time"}, neuroquant.GenerateOptions{MaxTokens: 60, Stop: []string{"never there", "loved to", "to play"}}, func(_ int, s string) error { streamed += s; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if out[0].Text != whole.Text[:at] || streamed != out[0].Text || out[0].End != "stop" {
		t.Errorf("stopped: %+v, streamed %q", out[0], streamed)
	}
	if e := run(neuroquant.GenerateOptions{MaxTokens: 1000, IgnoreEnd: true}, "A")[0].End; e != "context" {
		t.Errorf("ended by %s", e)
	}
	one, k := 1.0, 40
	drawn := func(seed uint64) []neuroquant.Generation {
		return run(neuroquant.GenerateOptions{MaxTokens: 20, Temperature: &one, TopK: &k, Seed: seed}, "A cat", "A cat")
	}
	a, b := drawn(1), drawn(1)
	if !slices.Equal(a[0].IDs, b[0].IDs) || !slices.Equal(a[1].IDs, b[1].IDs) || slices.Equal(a[0].IDs, a[1].IDs) || slices.Equal(a[0].IDs, drawn(2)[0].IDs) {
		t.Error("draws do not follow the seed alone")
	}
	for want, o := range map[string]neuroquant.GenerateOptions{"top-k": {TopK: new(-1)}, "temperature": {Temperature: new(-1.0)}} {
		if _, _, err := g.Generate(ctx, []string{"A"}, o, nil); err == nil || !strings.Contains(err.Error(), want+": want") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, _, err := g.Generate(ctx, []string{strings.Repeat("word ", 200)}, neuroquant.GenerateOptions{}, nil); err == nil || !strings.Contains(err.Error(), "are more than the context of 100") {
		t.Error(err)
	}
}

func TestLanguageModelsThatAreDamaged(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	ctx := context.Background()
	nan := copied(t, dir, func(name string, v []float32) {
		if strings.HasSuffix(name, "layers.2.mlp.up_proj.weight") {
			v[5] = float32(math.NaN())
		}
	})
	const want = `model.safetensors: tensor "model.layers.2.mlp.up_proj.weight": the element at [0 5] is not a finite number`
	if _, _, err := generator(t, nan, neuroquant.GeneratorOptions{}).Generate(ctx, []string{"A"}, neuroquant.GenerateOptions{}, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if _, _, err := neuroquant.EvaluateText(ctx, open(t, nan), nil, []string{strings.Repeat("A cat sat. ", 100)}, neuroquant.TextOptions{Context: 64}); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	for want, spoil := range map[string]func(dir string) error{
		"the tokenizer has 4096 tokens, the model an embedding of 512": func(dir string) error {
			b, err := os.ReadFile(filepath.Join(material.Path(t, "data/golm-15m"), "tokenizer.json"))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o600)
		},
		"no tokenizer": func(dir string) error { return os.Remove(filepath.Join(dir, "tokenizer.json")) },
		"eos_token_id 700 is none of the 512 tokens": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(`{"eos_token_id": [2, 700]}`), 0o600)
		},
		"generation_config.json": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(`{"top_k": "many"}`), 0o600)
		},
	} {
		bad := copied(t, dir, func(string, []float32) {})
		if err := spoil(bad); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, bad).NewGenerator(neuroquant.GeneratorOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for want, o := range map[string]neuroquant.GeneratorOptions{"cache: unknown element type": {Cache: "int3"}, "cache: keys and values are not kept in int32; accepted: float16, int8, float32": {Cache: "int32"}} {
		if _, err := open(t, dir).NewGenerator(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
