package example_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// The embedded models compute here what their training ended with: the program in train wrote expected.json.
func TestModelsComputeWhatTheirTrainerDid(t *testing.T) {
	b, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]struct {
		Correct int      `json:"correct_of_first_256"`
		Logits  []string `json:"logits"`
	}
	if err := json.Unmarshal(b, &expected); err != nil {
		t.Fatal(err)
	}
	for _, m := range example.Models() {
		t.Run(m.Name, func(t *testing.T) {
			inputs, labels := m.Test(256)
			logits := run(t, m, inputs)
			classes := len(m.Classes)
			if want := (tensor.Shape{256, classes}); !logits.Shape.Equal(want) {
				t.Fatalf("logits have shape %v, want %v", logits.Shape, want)
			}
			got := tensor.Data[float32](logits)
			for row, line := range expected[m.Name].Logits {
				for c, text := range strings.Fields(line) {
					want, err := strconv.ParseFloat(text, 64)
					if err != nil {
						t.Fatal(err)
					}
					if v := float64(got[row*classes+c]); math.Abs(v-want) > 1e-3+1e-4*math.Abs(want) {
						t.Errorf("logit %d of sample %d is %v, want %v", c, row, v, want)
					}
				}
			}
			correct := 0
			for i, label := range labels {
				best := 0
				for c := range classes {
					if got[i*classes+c] > got[i*classes+best] {
						best = c
					}
				}
				if best == label {
					correct++
				}
			}
			if want := expected[m.Name].Correct; correct != want || want == 0 {
				t.Errorf("%d of 256 samples right, want %d", correct, want)
			}
		})
	}
}

func run(t *testing.T, m example.Model, inputs *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), m.Name+".onnx")
	if err := os.WriteFile(file, m.ONNX, 0o644); err != nil {
		t.Fatal(err)
	}
	loaded, err := format.Open(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loaded.Close() })
	g, err := pass.Lower(loaded.Graph)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	out, err := s.RunNamed(ctx, map[string]*tensor.Tensor{m.Input: inputs})
	if err != nil {
		t.Fatal(err)
	}
	return out["logits"]
}
