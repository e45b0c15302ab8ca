package neuroquant_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/shapes"
)

// checkpointOf writes a small language model.
func checkpointOf(t *testing.T, d shapes.Decoder) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := d.WriteCheckpoint(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

var plannedModel = shapes.Decoder{Type: "llama", Layers: 2, Hidden: 128, Inner: 192, Heads: 4, KVHeads: 2, Vocabulary: 320, RopeTheta: 1e4, Seed: 5}

// TestForecastBytes holds the bytes that are foretold against those of the files.
func TestForecastBytes(t *testing.T) {
	ctx := context.Background()
	dir := checkpointOf(t, plannedModel)
	text := filepath.Join(t.TempDir(), "texts.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("It was a dark and stormy night, and the rain fell. ", 40)), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := open(t, dir).Texts([]string{text}, 64)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *neuroquant.Config){
		"gptq":  func(c *neuroquant.Config) { c.Method, c.GroupSize = "gptq", 32 },
		"gptq3": func(c *neuroquant.Config) { c.Method, c.GroupSize, c.Bits, c.Sym = "gptq", 64, 3, false },
		"desc_act": func(c *neuroquant.Config) {
			c.Method, c.GroupSize, c.DescAct, c.ActGroupAware = "gptq", 32, true, false
		},
		"v2":  func(c *neuroquant.Config) { c.Method, c.GroupSize, c.Format = "gptq", -1, "gptq_v2" },
		"awq": func(c *neuroquant.Config) { c.Method, c.GroupSize = "awq", 64 },
		"rtn": func(c *neuroquant.Config) { c.Method, c.GroupSize, c.Bits = "rtn", 32, 5 },
		"nf4": func(c *neuroquant.Config) {
			c.Method, c.LoadIn4Bit, c.BnB4BitUseDoubleQuant = "bitsandbytes", true, true
		},
		"int8":         func(c *neuroquant.Config) { c.Method, c.LoadIn8Bit = "bitsandbytes", true },
		"w8a8":         func(c *neuroquant.Config) { c.Method, c.SmoothQuant = "w8a8", true },
		"kept":         func(c *neuroquant.Config) { c.Method, c.GroupSize, c.Keep = "gptq", 32, []string{"*down_proj"} },
		"head":         func(c *neuroquant.Config) { c.Method, c.GroupSize, c.LMHead = "awq", 64, true },
		"head in nf4":  func(c *neuroquant.Config) { c.Method, c.LoadIn4Bit, c.LMHead = "bitsandbytes", true, true },
		"onnx":         func(c *neuroquant.Config) { c.Method, c.GroupSize, c.Format = "rtn", 32, "onnx" },
		"onnx of gptq": func(c *neuroquant.Config) { c.Method, c.GroupSize, c.Format, c.Sym = "gptq", 32, "onnx", false },
	} {
		t.Run(name, func(t *testing.T) {
			c := neuroquant.DefaultConfig()
			change(&c)
			dir := dir
			if c.LMHead { // of its own
				d := plannedModel
				d.Untied = true
				dir = checkpointOf(t, d)
			}
			m := neuroquant.NewManager(c)
			m.Calibrate(set)
			f, err := m.Forecast(ctx, dir, neuroquant.ForecastOptions{Output: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			told := f.PeakBytes != nil && f.Seconds != nil && *f.Seconds > 0
			if f.OutputBytes == nil || f.Format != "onnx" && told == c.SmoothQuant || c.SmoothQuant && len(f.Notes) == 0 {
				t.Fatalf("%+v", f)
			}
			out := filepath.Join(t.TempDir(), "out")
			if err := m.Save(ctx, quantize(t, m, dir), out, false); err != nil {
				t.Fatal(err)
			}
			list, err := os.ReadDir(out)
			if err != nil {
				t.Fatal(err)
			}
			var bytes int64
			for _, e := range list {
				info, err := e.Info()
				if err != nil {
					t.Fatal(err)
				}
				if e.Name() != "neuroquant.json" {
					bytes += info.Size()
				}
			}
			if bytes != *f.OutputBytes {
				t.Errorf("%d bytes are written, %d were foretold", bytes, *f.OutputBytes)
			}
		})
	}
}

// TestForecastOfOwnText counts the time and the memory of calibration text that the model writes itself: of more text each is more.
func TestForecastOfOwnText(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
	forecast := func(samples int, limit string) (*neuroquant.Forecast, error) {
		c := neuroquant.GPTQ4BitConfig()
		c.GroupSize, c.NumCalibrationSamples, c.MaxMemory = 64, samples, limit
		return neuroquant.NewManager(c).Forecast(context.Background(), dir, neuroquant.ForecastOptions{Output: t.TempDir()})
	}
	few, err := forecast(2, "")
	if err != nil {
		t.Fatal(err)
	}
	many, err := forecast(200, "")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := few.Parts["calibration text"], many.Parts["calibration text"]; a <= 0 || b <= a {
		t.Errorf("2 samples take %g s to write, 200 take %g s", a, b)
	}
	if *many.PeakBytes <= *few.PeakBytes {
		t.Errorf("2 samples take %d bytes, 200 take %d", *few.PeakBytes, *many.PeakBytes)
	}
	if _, err := forecast(2, "24MiB"); err == nil || !strings.Contains(err.Error(), "max_memory: memory of 24 MiB") {
		t.Errorf("error %v", err)
	}
}

// TestForecastRefuses asks for what cannot be.
func TestForecastRefuses(t *testing.T) {
	dir := checkpointOf(t, plannedModel)
	for want, change := range map[string]func(c *neuroquant.Config){
		"max_memory: memory of 1 MiB": func(c *neuroquant.Config) { c.Method, c.MaxMemory = "gptq", "1MiB" },
		"layout awq has 4":            func(c *neuroquant.Config) { c.Method, c.Bits = "awq", 3 },
	} {
		c := neuroquant.DefaultConfig()
		change(&c)
		_, err := neuroquant.NewManager(c).Forecast(context.Background(), dir, neuroquant.ForecastOptions{NoTime: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// TestSplits shares a model among devices: 192 inputs of the second matrix of the feed-forward network in groups of 64 go on 1 or 3 devices, in
// groups of 16 on 2 and 4.
func TestSplits(t *testing.T) {
	c := neuroquant.DefaultConfig()
	c.Method, c.GroupSize = "gptq", 64
	f, err := neuroquant.NewManager(c).Forecast(context.Background(), checkpointOf(t, plannedModel), neuroquant.ForecastOptions{NoTime: true})
	if err != nil {
		t.Fatal(err)
	}
	two, eight := f.Splits[0], f.Splits[2]
	if two.Possible || two.Group != 32 || !slices.ContainsFunc(two.Problems, func(s string) bool { return strings.Contains(s, "down_proj: 96 inputs on each of 2 devices") }) {
		t.Errorf("%+v", two)
	}
	if eight.Possible || eight.Group != 0 || !strings.Contains(eight.Problems[0], "num_attention_heads is 4") {
		t.Errorf("%+v", eight)
	}
	if len(f.Loaders) != 2 || !f.Loaders[0].Accepts {
		t.Errorf("%+v", f.Loaders)
	}
}
