package neuroquant

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/progress"
)

// logged keeps what is logged.
type logged struct {
	progress.Reporter
	lines []string
}

func (l *logged) Log(line string) { l.lines = append(l.lines, line) }

func solvedStories(t *testing.T, c Config, set data.Set) (out string, r *Record, log []string) {
	t.Helper()
	l := &logged{Reporter: progress.From(context.Background())}
	ctx := progress.With(context.Background(), l)
	m := NewManager(c)
	if set != nil {
		m.Calibrate(set)
	}
	res, err := m.Quantize(ctx, material.Path(t, "data/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	out = filepath.Join(t.TempDir(), "out")
	if err := m.Save(ctx, res, out, false); err != nil {
		t.Fatal(err)
	}
	if r, err = readRecord(out); err != nil {
		t.Fatal(err)
	}
	return out, r, l.lines
}

// TestModelsWriteTheirCalibrationText calibrates GPTQ without data: the same seed gives the same bytes, another one others, and the result
// keeps the predictions of the original better than rounding does.
func TestModelsWriteTheirCalibrationText(t *testing.T) {
	c := GPTQ4BitConfig()
	c.Bits, c.GroupSize, c.NumCalibrationSamples, c.CalibrationLength, c.CalibrationSeed = 3, 64, 12, 4096, 5
	first, rec, log := solvedStories(t, c, nil)
	// The model was made for 512 tokens.
	if want := (CalibrationText{12, 512, 5}); rec.CalibrationText == nil || *rec.CalibrationText != want {
		t.Fatalf("the record says %+v, want %+v", rec.CalibrationText, want)
	}
	if len(log) == 0 || !strings.Contains(log[0], "the model writes 12 samples of 512 tokens itself (seed 5)") {
		t.Errorf("log: %v", log)
	}
	same, _, _ := solvedStories(t, c, nil)
	c.CalibrationSeed = 6
	other, _, _ := solvedStories(t, c, nil)
	read := func(dir string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(read(first), read(same)) {
		t.Error("the same seed gave other bytes")
	}
	if bytes.Equal(read(first), read(other)) {
		t.Error("another seed gave the same bytes")
	}

	rounded := c
	rounded.Method, rounded.CalibrationLength, rounded.NumCalibrationSamples, rounded.CalibrationSeed = "rtn", DefaultConfig().CalibrationLength, DefaultConfig().NumCalibrationSamples, 0
	plain, rec, _ := solvedStories(t, rounded, nil)
	if rec.CalibrationText != nil {
		t.Error("rounding was calibrated")
	}
	source := material.Path(t, "data/stories260k")
	texts, err := ReadTexts(filepath.Join(source, "eval", "tinystories-eval.json"))
	if err != nil {
		t.Fatal(err)
	}
	divergence := func(dir string) float64 {
		return verifiedText(t, source, dir, texts, VerifyOptions{Context: 256, Windows: 8, MinWeightSQNR: -100}).Divergence.Mean
	}
	if a, b := divergence(first), divergence(plain); a > b/3 {
		t.Errorf("divergence %v from the float model, with plain rounding %v", a, b)
	}
}

func TestModelsDoNotWriteBeyondMemory(t *testing.T) {
	c := GPTQ4BitConfig()
	c.MaxMemory = "24MiB"
	_, err := NewManager(c).Quantize(context.Background(), material.Path(t, "data/stories260k"))
	if err == nil || !strings.Contains(err.Error(), "max_memory is 24.00 MiB; give texts as data") {
		t.Errorf("got %v", err)
	}
}
