package quantize

import (
	"context"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// strained changes parameters of the residual network by name.
func strained(t *testing.T, change map[string]func(i int, v float32) float32) *graph.Graph {
	t.Helper()
	g := residual(t)
	for _, v := range g.Params() {
		f := change[v.Name]
		if f == nil {
			continue
		}
		w, err := v.Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		x := slices.Clone(tensor.Data[float32](w))
		for i := range x {
			x[i] = f(i, x[i])
		}
		v.Data = tensor.InMemory(tensor.Of(w.Shape, x))
		delete(change, v.Name)
	}
	if len(change) > 0 {
		t.Fatalf("no parameters %v", change)
	}
	return g
}

// Each way of spoiling a layer is told from the others, in the right place.
func TestCauses(t *testing.T) {
	type changes = map[string]func(i int, v float32) float32
	spike := func(n int, outlier float32) Samples {
		s := calls(n)
		all := s.All
		s.All = func(ctx context.Context) iter.Seq2[Call, error] {
			return func(yield func(Call, error) bool) {
				first := true
				for c, err := range all(ctx) {
					if err == nil && first {
						first = false
						x := c.In[0].Clone()
						tensor.Data[float32](x)[5] = outlier
						c.In[0] = x
					}
					if !yield(c, err) {
						return
					}
				}
			}
		}
		return s
	}
	for name, test := range map[string]struct {
		change     changes
		outlier    float32
		calibrator Calibrator
		layer      string
		kind, text string
		first      bool
	}{
		"ordinary":       {nil, 0, Calibrator{Method: "minmax"}, "conv2", "rounding", "to 8 bits", true},
		"clipping":       {nil, 0, Calibrator{Method: "percentile", Percentile: 90}, "conv1", "clipping", "are clipped to", true},
		"outlier range":  {nil, 400, Calibrator{Method: "minmax"}, "conv1", "outlier range", "the range of x is", true},
		"weight outlier": {changes{"w2": func(i int, v float32) float32 { return pick(i%72 == 40, 60, v) }}, 0, Calibrator{Method: "minmax"}, "conv2", "weight outlier", "of w2 one weight is ", true},
		"uneven channels": {
			changes{"w1": func(i int, v float32) float32 { return pick(i/27 == 3, 300*v, v) }, "b1": func(i int, v float32) float32 { return pick(i == 3, 300*v, v) }},
			0,
			Calibrator{Method: "minmax"},
			"conv2", "uneven channels", "the widest channel of relu1", true,
		},
		"dead channel": {
			changes{"w1": func(i int, v float32) float32 { return pick(i/27 == 3, 0, v) }, "b1": func(i int, v float32) float32 { return pick(i == 3, -1, v) }},
			0,
			Calibrator{Method: "minmax"},
			"conv1", "dead channel", "1 of 8 channels of w1 are all zero", false,
		},
		"dead channel behind": {
			changes{"w1": func(i int, v float32) float32 { return pick(i/27 == 3, 0, v) }, "b1": func(i int, v float32) float32 { return pick(i == 3, -1, v) }},
			0,
			Calibrator{Method: "minmax"},
			"conv2", "dead channel", "1 of 8 channels of relu1 are always zero", false,
		},
		"overflow margin": {
			changes{"w3": func(_ int, v float32) float32 { return v * 1e-6 }, "b3": func(i int, v float32) float32 { return pick(i < 2, 1e3, v) }},
			0,
			Calibrator{Method: "minmax"},
			"head", "overflow margin", " channels have larger scales than their weights need", false,
		},
		"16 bits": {
			changes{"w2": func(i int, v float32) float32 { return pick(i < 72, 1, v) }},
			0,
			Calibrator{Method: "minmax"},
			"conv2", "16-bit sums", "can leave 16 bits in ", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &model.Model{Graph: strained(t, test.change)}
			p, err := NewPlan(m, Recipe{Method: "static", Calibrator: test.calibrator})
			if err != nil {
				t.Fatal(err)
			}
			s := calls(8)
			if test.outlier != 0 {
				s = spike(64, test.outlier)
			}
			c, err := Calibrate(context.Background(), m, p, s)
			if err != nil {
				t.Fatal(err)
			}
			list, err := p.Sensitivities(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			var layers []string
			for _, x := range list {
				layers = append(layers, x.Layer)
				sum := 0.0
				for _, cause := range x.Causes {
					sum += cause.Share
				}
				if sum > 1+1e-9 || x.SQNR == nil || *x.SQNR > 60 || len(x.Causes) == 0 {
					t.Errorf("%s: shares of %v, SQNR %v", x.Layer, sum, x.SQNR)
				}
				if x.Layer != test.layer {
					continue
				}
				i := slices.IndexFunc(x.Causes, func(c StrainingCause) bool { return c.Kind == test.kind && strings.Contains(c.Text, test.text) })
				if i < 0 || test.first && (i != 0 || x.Causes[0].Share < 0.3) {
					t.Errorf("%s: causes %+v, want %s", x.Layer, x.Causes, test.kind)
				}
			}
			if want := []string{"conv1", "conv2", "add", "head"}; !slices.Equal(layers, want) {
				t.Errorf("layers %v, want %v", layers, want)
			}
		})
	}
}

func pick(when bool, a, b float32) float32 {
	if when {
		return a
	}
	return b
}

// The estimate of what a layer's codes lose is near what they do lose.
func TestEstimateIsNearTheMeasure(t *testing.T) {
	g := residual(t)
	m := &model.Model{Graph: g.Clone()}
	r := Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, Layers: map[string]Precision{"conv1": InFloat, "conv2": InFloat, "add": InFloat}}
	p, err := NewPlan(m, r)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Calibrate(context.Background(), m, p, calls(8))
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.Sensitivities(context.Background(), c)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := Apply(context.Background(), m, p, c); err != nil {
		t.Fatal(err)
	}
	var signal, noise float64
	for call, err := range calls(8).All(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		want, got := outputOf(t, g, call.In), outputOf(t, m.Graph, call.In)
		for i := range want {
			d := float64(want[i] - got[i])
			signal, noise = signal+float64(want[i])*float64(want[i]), noise+d*d
		}
	}
	measured := 10 * math.Log10(signal/noise)
	if math.Abs(measured-*list[0].SQNR) > 2 {
		t.Errorf("estimated %.2f dB, measured %.2f", *list[0].SQNR, measured)
	}
}

func outputOf(t *testing.T, g *graph.Graph, in []*tensor.Tensor) []float32 {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(tensor.Data[float32](out[0]))
}
