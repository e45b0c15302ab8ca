package hf

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// answer is a prompt with what the model says to it.
type answer struct {
	Prompt    string
	PromptIDs []int64 `json:"prompt_ids"`
	GreedyIDs []int64 `json:"greedy_ids"`
}

func answers(t *testing.T, dir string) []answer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "expected/greedy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var out []answer
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// run computes the logits [tokens, vocab] of a sequence.
func run(t *testing.T, s *exec.Session, ids []int64) *tensor.Tensor {
	t.Helper()
	out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(ids)}, ids)})
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Reshape(out[0].Shape[1:]...)
}

func session(t *testing.T, dir string, lower bool) *exec.Session {
	t.Helper()
	m, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	g := m.Graph
	if lower {
		if g, err = pass.Lower(g); err != nil {
			t.Fatal(err)
		}
	}
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestTrainedModels compares logits with those of PyTorch in float32, and takes the most probable token at each position of the
// answers that it gave.
func TestTrainedModels(t *testing.T) {
	for _, name := range []string{"golm-15m", "stories260k"} {
		dir := material.Path(t, "data/"+name)
		want, err := data.ReadNPYFile(filepath.Join(dir, "expected/logits_prompt0.npy"))
		if err != nil {
			t.Fatal(err)
		}
		list := answers(t, dir)
		for _, lower := range []bool{false, true} {
			s := session(t, dir, lower)
			ids := slices.Concat(list[0].PromptIDs, list[0].GreedyIDs)[:want.Shape[len(want.Shape)-2]]
			got := tensor.Data[float32](run(t, s, ids))
			top, worst := 0.0, 0.0
			for i, v := range tensor.Data[float32](want) {
				top = max(top, math.Abs(float64(v)))
				worst = max(worst, math.Abs(float64(v-got[i])))
			}
			if !(worst < 1e-4*top) {
				t.Errorf("%s, lowered %v: logits up to %v differ by %v", name, lower, top, worst)
			}
			for _, a := range list {
				y := run(t, s, slices.Concat(a.PromptIDs, a.GreedyIDs[:len(a.GreedyIDs)-1]))
				vocab := y.Shape[1]
				for i, w := range a.GreedyIDs {
					row := tensor.Data[float32](y)[(len(a.PromptIDs)-1+i)*vocab:][:vocab]
					if best := slices.Index(row, slices.Max(row)); int64(best) != w {
						t.Errorf("%s, lowered %v: %q: token %d: want %d, got %d", name, lower, a.Prompt, i, w, best)
						break
					}
				}
			}
		}
	}
}
