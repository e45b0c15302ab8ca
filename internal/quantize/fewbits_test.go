package quantize

import (
	"context"
	"encoding/json"
	"flag"
	"iter"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
	"github.com/neurotrain/neuroquant/tensor"
)

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
	dense(g)
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

var table = flag.Bool("table", false, "print the perplexities of trained models with weights of 4, 3 and 2 bits")

// fewBitsCase is a method with its settings.
type fewBitsCase struct {
	name, method string
	o            WeightSettings
}

// fewBitsCases are the rows of the table: settings are those of the command's flags.
var fewBitsCases = []fewBitsCase{
	{"rtn --sym=false", "rtn", WeightSettings{}},
	{"rtn", "rtn", WeightSettings{Symmetric: true}},
	{"gptq --sym=false", "gptq", WeightSettings{Norm: 2.4, Order: solve.GroupAware}},
	{"gptq", "gptq", WeightSettings{Symmetric: true, Norm: 2.4, Order: solve.GroupAware}},
	{"gptq --sym=false --mse 0 --act-group-aware=false", "gptq", WeightSettings{}},
	{"gptq --sym=false --desc-act", "gptq", WeightSettings{Norm: 2.4, Order: solve.ActOrder}},
	{"gptq --sym=false --gptaq", "gptq", WeightSettings{Norm: 2.4, Order: solve.GroupAware, Asymmetric: true}},
	{"awq", "awq", WeightSettings{}},
}

// TestFewBitsTable prints what each method costs, and how much of what plain rounding loses it keeps. On the thoroughly trained model that must be
// a good part; on none may a method lose more than rounding does. It takes minutes and runs with -table alone; TestFewBitsOfStories is its
// short form.
func TestFewBitsTable(t *testing.T) {
	if !*table {
		return
	}
	least := map[string]map[int]float64{"gptq": {4: 0.35, 3: 0.55}, "awq": {4: 0.25, 3: 0.45}}
	dir := material.Path(t, "data/stories260k")
	wiki := material.Path(t, "data/golm-15m")
	for _, c := range []struct {
		name              string
		dir               string
		group             int
		test, calibration [][]int64
	}{
		{"stories260k", dir, 64, stories(t, dir, "tinystories-eval.json", 150), stories(t, dir, "tinystories-calib.json", 96)},
		{"golm-15m", wiki, 128, text(t, wiki, "wikitext2-test-part1.txt", 93), text(t, wiki, "calib-train-mix.txt", 128)},
	} {
		float := perplexity(t, opened(t, c.dir).Graph, c.test)
		t.Logf("%s: float %.4f, %d windows, %d to calibrate", c.name, float, len(c.test), len(c.calibration))
		for _, bits := range []int{4, 3, 2} {
			rounding := map[bool]float64{}
			for _, f := range fewBitsCases {
				f.o.Bits, f.o.Group, f.o.ScaleType, f.o.Damp = bits, c.group, tensor.Float16, 0.01
				p := perplexity(t, withFewBits(t, c.dir, f.method, f.o, c.calibration), c.test)
				if f.method == "rtn" {
					rounding[f.o.Symmetric] = p
				}
				kept := (rounding[f.o.Symmetric] - p) / (rounding[f.o.Symmetric] - float)
				if f.name != "gptq --sym=false --mse 0 --act-group-aware=false" && c.name == "stories260k" && kept < least[f.method][bits] {
					t.Errorf("%s, %d bits, %s keeps %.2f of what rounding loses, want %v", c.name, bits, f.name, kept, least[f.method][bits])
				}
				if p > 1.002*rounding[f.o.Symmetric] {
					t.Errorf("%s, %d bits, %s: %v, with rounding %v", c.name, bits, f.name, p, rounding[f.o.Symmetric])
				}
				t.Logf("%s, %d bits, %s: %.4f, %.0f %% of what rounding loses is kept", c.name, bits, f.name, p, 100*kept)
			}
		}
	}
}

// withFewBits returns the graph of a model after a method.
func withFewBits(t *testing.T, dir, method string, o WeightSettings, calibration [][]int64) *graph.Graph {
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
	return m.Graph
}

// text returns windows of 512 tokens of a text of golm-15m, the first of all behind the token that begins a text.
func text(t *testing.T, dir, file string, most int) [][]int64 {
	tok, err := tokenizer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "eval", file))
	if err != nil {
		t.Fatal(err)
	}
	part, err := tok.Encode(string(whole), false)
	if err != nil {
		t.Fatal(err)
	}
	ids := []int64{0}
	for _, id := range part {
		ids = append(ids, int64(id))
	}
	var out [][]int64
	for i := 0; i+512 <= len(ids) && len(out) < most; i += 512 {
		out = append(out, ids[i:i+512])
	}
	return out
}

// TestFewBitsOfStories holds methods that quantize weights alone against plain rounding, by the perplexity that each loses of a trained
// model. With few windows figures are rough; what is asked for is well below what is seen with all.
func TestFewBitsOfStories(t *testing.T) {
	dir := material.Path(t, "data/stories260k")
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
