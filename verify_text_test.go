package neuroquant

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
)

func verifiedText(t *testing.T, original, quantized string, texts []string, o VerifyOptions) *Verification {
	t.Helper()
	ctx := context.Background()
	orig, err := Open(ctx, original)
	if err != nil {
		t.Fatal(err)
	}
	defer orig.Close()
	quant, err := Open(ctx, quantized)
	if err != nil {
		t.Fatal(err)
	}
	defer quant.Close()
	if !orig.PredictsText() || !quant.PredictsText() {
		t.Fatal("not taken for language models")
	}
	v, err := (&Analyzer{Original: orig, Quantized: quant}).VerifyText(ctx, texts, "", o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVerifyText verifies a rounded folder, and the same folder with its zero points read by the other convention of GPTQ, one off.
func TestVerifyText(t *testing.T) {
	source := material.Path(t, "data/stories260k")
	folder := roundedStories(t, source, "gptq", true)
	v := verifiedText(t, source, folder, nil, VerifyOptions{Tokens: 16, MinAgreement: 0.8, MaxDivergence: 0.1})
	if len(v.Failed) > 0 {
		t.Errorf("a rounded model: %v", v.Failed)
	}
	// The story that llama.cpp tells begins so too.
	if !strings.HasPrefix(v.Answer, " a little girl named Lily") && !strings.HasPrefix(v.Answer, "a little girl named Lily") {
		t.Errorf("the original goes on with %q", v.Answer)
	}
	codes := 0
	for _, w := range v.Weights {
		if w.Quantized {
			codes++
			// Rounding to the nearest of 15 steps between -max and max of 32 normal weights.
			if w.SQNR == nil || *w.SQNR < 16 || *w.SQNR > 24 {
				t.Errorf("%s: SQNR %v dB", w.Tensor, w.SQNR)
			}
		} else if w.SQNR != nil && *w.SQNR < keptSQNROfHalf {
			t.Errorf("%s: %v dB lost without codes", w.Tensor, w.SQNR)
		}
	}
	if codes == 0 || v.Divergence == nil || v.Divergence.Mean <= 0 || v.Samples != 1 || v.Runtime != "" {
		t.Errorf("%d matrices of codes, divergence %+v", codes, v.Divergence)
	}

	folder = roundedStories(t, source, "gptq", false) // of symmetric codes the reader sees the convention
	for _, name := range []string{"config.json", "quantize_config.json"} {
		path := filepath.Join(folder, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		other := bytes.ReplaceAll(text, []byte(`"checkpoint_format": "gptq"`), []byte(`"checkpoint_format": "gptq_v2"`))
		if bytes.Equal(other, text) {
			t.Fatalf("%s does not say checkpoint_format: %s", name, text)
		}
		if err := os.WriteFile(path, other, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v = verifiedText(t, source, folder, nil, VerifyOptions{WeightsOnly: true})
	if len(v.Failed) < codes*9/10 || !strings.Contains(v.Failed[0], "want at least 12 dB") {
		t.Errorf("zero points one off: %d of %d matrices failed: %v", len(v.Failed), codes, v.Failed)
	}
	if v.Divergence != nil || v.Samples != 0 {
		t.Error("models were run for weights alone")
	}
	texts, err := ReadTexts(filepath.Join(source, "eval", "tinystories-eval.json"))
	if err != nil {
		t.Fatal(err)
	}
	v = verifiedText(t, source, folder, texts, VerifyOptions{Context: 64, Windows: 2, MinWeightSQNR: 1, MinAgreement: 0.99, MaxDivergence: 0.001, MinSQNR: 40})
	if v.Samples != 2 || v.Perplexity.Predicted != 2*63 || len(v.Failed) != 3 {
		t.Errorf("%d samples, %d predicted; failed: %v", v.Samples, v.Perplexity.Predicted, v.Failed)
	}
}

// keptSQNROfHalf is what float16 keeps of normal numbers at least, in dB.
const keptSQNROfHalf = 60
