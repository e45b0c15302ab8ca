package neuroquant_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/material"
)

// verses are lines of a kind that no model of stories has seen.
func verses(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString([]string{"O river, run to the sea. ", "O wind, carry the sand. ", "O moon, walk over the hill. "}[i%3])
	}
	return b.String()
}

func perplexityOf(t *testing.T, m *neuroquant.Model, text string) float64 {
	t.Helper()
	p, _, err := neuroquant.EvaluateText(context.Background(), m, nil, []string{text}, neuroquant.TextOptions{Context: 64})
	if err != nil {
		t.Fatal(err)
	}
	return p.Perplexity
}

// Adapters that are trained on a model in NF4 make it predict texts of that kind; beside the weights and merged into them they do the same.
func TestAdapterIsTrainedKeptApartAndMerged(t *testing.T) {
	ctx := context.Background()
	source, dir := material.Path(t, "data/stories260k"), t.TempDir()
	c := neuroquant.BitsAndBytes4BitConfig()
	r, err := neuroquant.NewManager(c).Quantize(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	base := filepath.Join(dir, "nf4")
	if err := neuroquant.NewManager(c).Save(ctx, r, base, false); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "verses.txt")
	if err := os.WriteFile(text, []byte(verses(300)), 0o644); err != nil {
		t.Fatal(err)
	}
	m := openModel(t, base)
	set, err := m.Texts([]string{text}, 64)
	if err != nil {
		t.Fatal(err)
	}
	train := neuroquant.LoRATrainConfig()
	train.LearningRate, train.LoRARank, train.Epochs, train.TargetModules = 0.01, 4, 1, []string{"q_proj", "v_proj", "up_proj", "down_proj"}
	tr := neuroquant.NewTrainer(train, neuroquant.QATConfig())
	defer tr.Close()
	if err := tr.Setup(ctx, base); err != nil {
		t.Fatal(err)
	}
	h, err := tr.Train(ctx, set, set)
	if err != nil {
		t.Fatal(err)
	}
	adapter := filepath.Join(dir, "adapter")
	if err := tr.Save(ctx, adapter, false); err != nil {
		t.Fatal(err)
	}
	if !neuroquant.IsAdapter(adapter) || neuroquant.IsAdapter(base) {
		t.Error("the folders are not told apart")
	}
	before := perplexityOf(t, m, verses(60))
	adapted := openModel(t, base)
	if err := adapted.Adapt(adapter); err != nil {
		t.Fatal(err)
	}
	after := perplexityOf(t, adapted, verses(60))
	if after > before/2 || h.Before == nil || *h.Before-*h.Epochs[0].Valid < math.Log(2) {
		t.Errorf("perplexity %v before, %v after; history %+v", before, after, h.Epochs)
	}
	merged := filepath.Join(dir, "merged")
	if _, err := neuroquant.Convert(ctx, base, merged, neuroquant.ConvertOptions{Adapter: adapter}); err != nil {
		t.Fatal(err)
	}
	if got := perplexityOf(t, openModel(t, merged), verses(60)); math.Abs(got-after) > 1e-3*after {
		t.Errorf("perplexity %v with the adapter beside the weights, %v within them", after, got)
	}
	if err := adapted.Adapt(adapter); err == nil || !strings.Contains(err.Error(), "has run already") {
		t.Errorf("an adapter for a model that has run: %v", err)
	}
}

func TestAdapterSettings(t *testing.T) {
	good := neuroquant.LoRATrainConfig()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*neuroquant.TrainConfig){
		"rank: want at least 1, got 0":             func(c *neuroquant.TrainConfig) { c.LoRARank = 0 },
		"alpha: want a number above 0":             func(c *neuroquant.TrainConfig) { c.LoRAAlpha = 0 },
		"dropout: want 0 to below 1":               func(c *neuroquant.TrainConfig) { c.LoRADropout = 1 },
		"want next_token with method lora":         func(c *neuroquant.TrainConfig) { c.Criterion = "mse" },
		"are settings of method lora":              func(c *neuroquant.TrainConfig) { c.Method = "float"; c.UseRSLoRA = true },
		"bits and scales are settings of method":   func(c *neuroquant.TrainConfig) { c.WeightBits = 4 },
		"method lora trains no normalization":      func(c *neuroquant.TrainConfig) { c.FreezeNorm = true },
		`want one of float, qat, lora, got "dora"`: func(c *neuroquant.TrainConfig) { c.Method = "dora" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	path, _, _ := shapesFile(t, 8)
	tr := neuroquant.NewTrainer(good, neuroquant.QATConfig())
	defer tr.Close()
	if err := tr.Setup(context.Background(), path); err == nil || !strings.Contains(err.Error(), "method lora trains language models") {
		t.Errorf("adapters of a classifier: %v", err)
	}
}
