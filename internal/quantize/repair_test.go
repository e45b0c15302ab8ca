package quantize

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// meanOutput returns the mean of every channel of a graph's output over the samples.
func meanOutput(t *testing.T, g *graph.Graph, s Samples) []float64 {
	t.Helper()
	x, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var sum []float64
	for c, err := range s.All(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		out, err := x.Run(context.Background(), c.In)
		if err != nil {
			t.Fatal(err)
		}
		m := channelMeans(out[0], -1)
		if sum == nil {
			sum = make([]float64, len(m))
		}
		for i, v := range m {
			sum[i] += v / float64(s.Len)
		}
	}
	return sum
}

// channelMeans returns the mean of every channel along an axis.
func channelMeans(t *tensor.Tensor, axis int) []float64 {
	if len(t.Shape) == 0 {
		return nil
	}
	k := axis
	if k < 0 {
		k += len(t.Shape)
	}
	sum := make([]float64, t.Shape[k])
	channelBlocks(t, axis, func(c int, x []float32) {
		s := 0.0
		for _, v := range x {
			s += float64(v)
		}
		sum[c] += s
	})
	if n := t.Len() / max(len(sum), 1); n > 0 {
		for i := range sum {
			sum[i] /= float64(n)
		}
	}
	return sum
}

// products is a convolution without a bias, and matrix products with a bias that is added behind them, in a Gemm and not at all.
func products(t *testing.T) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("products")
	w := func(name string, seed uint64, shape ...int) *graph.Value {
		return b.Param(name, tensor.Of(shape, normal(seed, tensor.Shape(shape).Len(), 0)))
	}
	mk := func(kind string) graph.Op {
		o, ok := op.New(kind)
		if !ok {
			t.Fatal(kind)
		}
		return o
	}
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Known(1), graph.Known(3), graph.Known(8), graph.Known(8)))
	y := b.Add("relu", mk("Relu"), b.Add("conv", &op.Conv{Group: 1}, x, w("w1", 1, 6, 3, 8, 8)))
	y = b.Add("flatten", mk("Flatten"), y)
	y = b.Add("relu2", mk("Relu"), b.Add("bias", mk("Add"), b.Add("matmul", mk("MatMul"), y, w("w2", 2, 6, 12)), w("b2", 3, 12)))
	y = b.Add("relu3", mk("Relu"), b.Add("gemm", mk("Gemm"), y, w("w3", 4, 12, 12), w("b3", 5, 1, 12)))
	b.Output("y", b.Add("last", mk("Gemm"), y, w("w4", 6, 12, 5)))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Corrected biases take the mean error out of every channel.
func TestBiasCorrection(t *testing.T) {
	for name, build := range map[string]func(*testing.T) *graph.Graph{"residual": residual, "products": products} {
		s := calls(24)
		want := meanOutput(t, build(t), s)
		off := map[bool]float64{}
		for _, correct := range []bool{false, true} {
			m := &model.Model{Graph: build(t)}
			// A range that clips: then errors have a sign.
			p, err := NewPlan(m, Recipe{Method: "static", PerTensor: true, Calibrator: Calibrator{Method: "percentile", Percentile: 90}, Repairs: Repairs{Bias: correct}})
			if err != nil {
				t.Fatal(err)
			}
			if err := Run(context.Background(), m, p, s); err != nil {
				t.Fatal(err)
			}
			for i, v := range meanOutput(t, m.Graph, s) {
				off[correct] += math.Abs(v - want[i])
			}
		}
		t.Logf("%s: means are off by %.4g, corrected %.4g", name, off[false], off[true])
		if off[true] > off[false]/3 {
			t.Errorf("%s: want a third of the error at most", name)
		}
	}
}

// Repairs go together with everything else, and statistics serve them.
func TestRepairs(t *testing.T) {
	m := &model.Model{Graph: residual(t)}
	r := Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, Repairs: Repairs{CrossLayer: true, Smooth: 0.5, Bias: true}}
	p, err := NewPlan(m, r)
	if err != nil {
		t.Fatal(err)
	}
	before := m.Graph.String()
	done, err := Repair(context.Background(), m, p, calls(4))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"cross-layer equalization of 8 channels", "SmoothQuant of 8 channels, alpha 0.5"}; !slices.Equal(done, want) {
		t.Errorf("done %q, want %q", done, want)
	}
	if m.Graph.String() != before {
		t.Errorf("equalization changes more than parameters:\n%s", m.Graph)
	}
	if _, err := Repair(context.Background(), m, p, Samples{}); err == nil || !strings.Contains(err.Error(), "needs calibration samples") {
		t.Errorf("smoothing without samples: %v", err)
	}
	r.Repairs.Smooth = 2
	if _, err := NewPlan(m, r); err == nil || !strings.Contains(err.Error(), "between 0 and 1, got 2") {
		t.Errorf("got %v", err)
	}
}
