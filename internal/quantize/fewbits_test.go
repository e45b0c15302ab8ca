package quantize

import (
	"context"
	"encoding/json"
	"iter"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
	"github.com/neurotrain/neuroquant/tensor"
)

// material returns the folder of a trained model of the shared material.
func material(t *testing.T, name string) string {
	dir := filepath.Join("../../../shared/data", name)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("the shared material is not there: %v", err)
	}
	return dir
}

// stories returns the windows of 512 tokens of a list of texts of stories260k.
func stories(t *testing.T, dir, file string, most int) [][]int64 {
	spec, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "eval", file))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, s := range list {
		part, err := tok.Encode(s, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range part {
			ids = append(ids, int64(id))
		}
	}
	var out [][]int64
	for i := 0; i+512 <= len(ids) && len(out) < most; i += 512 {
		out = append(out, ids[i:i+512])
	}
	return out
}

func windowsAsSamples(w [][]int64) Samples {
	return Samples{Len: len(w), All: func(context.Context) iter.Seq2[Call, error] {
		return func(yield func(Call, error) bool) {
			for _, ids := range w {
				if !yield(Call{In: []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(ids)}, ids)}, Samples: 1}, nil) {
					return
				}
			}
		}
	}}
}

// perplexity is that of the windows, each by itself.
func perplexity(t *testing.T, g *graph.Graph, windows [][]int64) float64 {
	g = g.Clone()
	if err := dense(g); err != nil {
		t.Fatal(err)
	}
	lowered, err := pass.Lower(g)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(lowered, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sum, n := 0.0, 0
	for _, ids := range windows {
		out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(ids)}, ids)})
		if err != nil {
			t.Fatal(err)
		}
		logits := tensor.Data[float32](out[0])
		vocab := out[0].Shape[2]
		for i := range len(ids) - 1 {
			row := logits[i*vocab : (i+1)*vocab]
			top, total := math.Inf(-1), 0.0
			for _, v := range row {
				top = max(top, float64(v))
			}
			for _, v := range row {
				total += math.Exp(float64(v) - top)
			}
			sum += math.Log(total) + top - float64(row[ids[i+1]])
			n++
		}
	}
	return math.Exp(sum / float64(n))
}

func opened(t *testing.T, dir string) *model.Model {
	m, err := hf.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestFewBitsOfStories holds methods that quantize weights alone against plain rounding, by the perplexity that each loses of a trained
// model. With few windows figures are rough; what is asked for is well below what is seen with all.
func TestFewBitsOfStories(t *testing.T) {
	dir := material(t, "stories260k")
	test, calibration := stories(t, dir, "tinystories-eval.json", 40), stories(t, dir, "tinystories-calib.json", 40)
	float := perplexity(t, opened(t, dir).Graph, test)
	lost := func(method string, o WeightSettings) float64 {
		o.Bits, o.Group, o.ScaleType, o.Damp = 3, 64, tensor.Float16, 0.01
		m := opened(t, dir)
		if err := pass.Clean(m.Graph); err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(m, Recipe{Method: method, WeightOnly: o})
		if err != nil {
			t.Fatal(err)
		}
		if err := Run(context.Background(), m, p, windowsAsSamples(calibration)); err != nil {
			t.Fatal(err)
		}
		for _, d := range p.Decisions {
			if d.Quantized == (d.Layer == "model.embed_tokens") { // the head, which shares its weight
				t.Errorf("%s: %+v", method, d)
			}
		}
		return perplexity(t, m.Graph, test) - float
	}
	rounding := lost("rtn", WeightSettings{})
	if rounding < 1 {
		t.Fatalf("rounding loses %v only", rounding)
	}
	for _, c := range []struct {
		method string
		o      WeightSettings
		share  float64
	}{
		{"gptq", WeightSettings{}, 0.7},
		{"gptq", WeightSettings{Norm: 2.4, Order: solve.GroupAware, Asymmetric: true}, 0.5},
		{"gptq", WeightSettings{Order: solve.ActOrder}, 0.7},
		{"awq", WeightSettings{}, 0.75},
	} {
		if l := lost(c.method, c.o); l > c.share*rounding || l < 0 {
			t.Errorf("%s %+v: perplexity rises by %.3f, with rounding by %.3f", c.method, c.o, l, rounding)
		}
	}
}
