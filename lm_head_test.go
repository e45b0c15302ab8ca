package neuroquant_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/format/hf"
)

// TestHeadInCodes writes the head in codes in every layout: the configuration says so as loaders want it, and the folder reads back.
func TestHeadInCodes(t *testing.T) {
	ctx := context.Background()
	d := plannedModel
	d.Untied = true
	dir := checkpointOf(t, d)
	for _, c := range []struct {
		method, format string
		key            string // of the quantization_config
		want           any
		loads, refuses []string
		change         func(c *neuroquant.Config)
	}{
		{"rtn", "gptq", "lm_head", true, []string{"vLLM", "gptqmodel"}, []string{"transformers with gptqmodel"}, nil},
		{"rtn", "gptq_v2", "lm_head", true, []string{"vLLM", "gptqmodel"}, []string{"transformers with gptqmodel"}, nil},
		{"rtn", "awq", "lm_head", true, []string{"vLLM", "gptqmodel"}, []string{"transformers with gptqmodel"}, nil},
		{"rtn", "compressed-tensors", "ignore", 0, []string{"vLLM", "transformers with compressed-tensors"}, nil, nil},
		{"w8a8", "auto", "ignore", 0, []string{"vLLM", "transformers with compressed-tensors"}, nil, nil},
		{"bitsandbytes", "auto", "llm_int8_skip_modules", 1, []string{"transformers with bitsandbytes"}, []string{"vLLM"}, func(c *neuroquant.Config) { c.LoadIn8Bit = true }},
	} {
		cfg := neuroquant.DefaultConfig()
		cfg.Method, cfg.Format, cfg.LMHead = c.method, c.format, true
		if c.method == "rtn" {
			cfg.GroupSize = 64
		}
		if c.change != nil {
			c.change(&cfg)
		}
		m := neuroquant.NewManager(cfg)
		r, err := m.Quantize(ctx, dir)
		if err != nil {
			t.Fatalf("%s as %s: %v", c.method, c.format, err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := m.Save(ctx, r, out, false); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		config, err := hf.ReadJSON(filepath.Join(out, hf.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		got := config["quantization_config"].(map[string]any)[c.key]
		if list, ok := got.([]any); ok {
			got = len(list) // without the head: the embedding at most
			for _, name := range list {
				if strings.Contains(name.(string), "lm_head") {
					t.Errorf("%s as %s: %s names the head", c.method, c.format, c.key)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s as %s: %s is %v, want %v", c.method, c.format, c.key, got, c.want)
		}
		f, err := m.Forecast(ctx, dir, neuroquant.ForecastOptions{NoTime: true})
		if err != nil {
			t.Fatal(err)
		}
		takes := map[string]bool{}
		for _, l := range f.Loaders {
			takes[l.Loader] = l.Accepts
		}
		for _, name := range c.loads {
			if !takes[name] {
				t.Errorf("%s as %s: plan says %s does not load it: %+v", c.method, c.format, name, f.Loaders)
			}
		}
		findings, err := neuroquant.Lint(ctx, out)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.refuses {
			if takes[name] {
				t.Errorf("%s as %s: plan says %s loads it", c.method, c.format, name)
			}
			noted := false
			for _, x := range findings {
				noted = noted || x.Loader == name && strings.Contains(x.What, "does not take codes of lm_head")
			}
			if !noted {
				t.Errorf("%s as %s: lint says nothing of %s: %+v", c.method, c.format, name, findings)
			}
		}
		for _, x := range findings {
			if x.Error {
				t.Errorf("%s as %s: lint: %+v", c.method, c.format, x)
			}
		}
		quantized, original := open(t, out), open(t, dir)
		set, err := original.Texts([]string{"README.md"}, 16)
		if err != nil {
			t.Fatal(err)
		}
		acc, err := (&neuroquant.Analyzer{Original: original, Quantized: quantized}).CompareAccuracy(ctx, set)
		if err != nil {
			t.Fatal(err)
		}
		if s := acc.WorstSQNR(); s != nil && *s < 5 {
			t.Errorf("%s as %s: read back, logits keep %v dB", c.method, c.format, *s)
		}
	}
}

func TestHeadThatIsTheEmbedding(t *testing.T) {
	c := neuroquant.GPTQ4BitConfig()
	c.LMHead, c.GroupSize = true, 64
	_, err := neuroquant.NewManager(c).Plan(context.Background(), checkpointOf(t, plannedModel))
	if err == nil || !strings.Contains(err.Error(), `lm_head: the weight of the head is "model.embed_tokens.weight", which is the embedding's too`) {
		t.Errorf("got %v", err)
	}
}

// TestEmbeddingsStayInFloat asks for codes of an embedding, which no loader of quantized checkpoints reads: the error names them and what does.
func TestEmbeddingsStayInFloat(t *testing.T) {
	d := plannedModel
	d.Untied = true
	dir := checkpointOf(t, d)
	for _, method := range []string{"rtn", "gptq", "awq", "w8a8", "bitsandbytes"} {
		c := neuroquant.DefaultConfig()
		c.Method, c.Only = method, []string{"*embed_tokens"}
		if method == "bitsandbytes" {
			c.LoadIn8Bit = true
		}
		_, err := neuroquant.NewManager(c).Plan(context.Background(), dir)
		if err == nil {
			t.Fatalf("%s takes an embedding", method)
		}
		for _, want := range []string{`asks for the embedding "model.embed_tokens"`, "transformers, gptqmodel and vLLM read embeddings in float", "llama.cpp", "convert MODEL OUT.gguf"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q lacks %q", method, err, want)
			}
		}
	}
}
