package neuroquant

import (
	"context"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

// steadyNets are small networks of the kinds that are to run without allocations, with the method that quantizes each.
var steadyNets = []struct {
	name, method string
	build        func() (*graph.Graph, error)
	batch, seq   int
}{
	{"ResNet", "static", shapes.ResNet{Blocks: [4]int{1, 2, 1, 1}, Bottleneck: true, Width: 16, Classes: 10, Side: 64, Seed: 1}.Graph, 2, 0},
	{"MobileNetV2", "static", shapes.MobileNetV2{Multiplier: 0.5, Classes: 10, Side: 64, Seed: 1}.Graph, 2, 0},
	{"BERT", "dynamic", shapes.BERT{Layers: 2, Hidden: 64, Heads: 4, Intermediate: 128, Vocabulary: 100, Positions: 128, Seed: 1}.Graph, 2, 65},
}

func steadyInput(t *testing.T, g *graph.Graph, batch, seq int) map[string]*tensor.Tensor {
	t.Helper()
	in := map[string]*tensor.Tensor{}
	r := rand.New(rand.NewPCG(1, 2))
	for _, v := range g.Inputs {
		shape := tensor.Shape{batch}
		for _, d := range v.Type.Dims[1:] {
			if d.IsKnown() {
				shape = append(shape, d.Size)
			} else {
				shape = append(shape, seq)
			}
		}
		values := make([]float64, shape.Len())
		for i := range values {
			switch v.Name {
			case "images":
				values[i] = r.NormFloat64()
			case "token_type_ids":
				values[i] = float64(r.IntN(2))
			case "input_ids":
				values[i] = float64(r.IntN(100))
			default:
				values[i] = 1
			}
		}
		x, err := tensor.FromFloat64s(v.Type.DType, shape, values)
		if err != nil {
			t.Fatal(err)
		}
		in[v.Name] = x
	}
	return in
}

// steadyModel is a network in float32, or in 8 bits with a method.
func steadyModel(t *testing.T, build func() (*graph.Graph, error), method string, in map[string]*tensor.Tensor) *Model {
	t.Helper()
	g, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if method == "" {
		return &Model{m: &model.Model{Graph: g}}
	}
	if err := pass.Clean(g); err != nil {
		t.Fatal(err)
	}
	m := &model.Model{Graph: g}
	p, err := quantize.NewPlan(m, quantize.Recipe{Method: method, Weight: "qint8", Calibrator: quantize.Calibrator{Method: "minmax"}})
	if err != nil {
		t.Fatal(err)
	}
	samples := quantize.Samples{Len: 1, All: func(context.Context) iter.Seq2[quantize.Call, error] {
		return func(yield func(quantize.Call, error) bool) {
			c := quantize.Call{Samples: 1}
			for _, v := range g.Inputs {
				c.In = append(c.In, in[v.Name])
			}
			yield(c, nil)
		}
	}}
	if err := quantize.Run(t.Context(), m, p, samples); err != nil {
		t.Fatal(err)
	}
	return &Model{m: m}
}

// steadyAllocations returns the least number of heap allocations of a round of calls. Which thread does what is left to chance, so
// that kernels may need some rounds until they have all the memory that they ever work in at once; it ends with a round that has few
// enough.
func steadyAllocations(t *testing.T, m *Model, in, out map[string]*tensor.Tensor, enough uint64) uint64 {
	t.Helper()
	const rounds, calls = 40, 3
	least := ^uint64(0)
	for range rounds {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range calls {
			if err := m.RunInto(t.Context(), in, out); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if least = min(least, after.Mallocs-before.Mallocs); least <= enough*calls {
			break
		}
	}
	return least / calls
}

func TestRunsAfterTheFirstAllocateNothing(t *testing.T) {
	for _, n := range steadyNets {
		for _, method := range []string{"", n.method} {
			for _, threads := range []int{1, 2} {
				g, err := n.build()
				if err != nil {
					t.Fatal(err)
				}
				in := steadyInput(t, g, n.batch, n.seq)
				m := steadyModel(t, n.build, method, in)
				m.SetThreads(threads)
				want, err := m.Run(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				// Kernels in portable Go, which stand in for those in assembly, may make a function for each loop.
				limit := uint64(0)
				if !slices.ContainsFunc(impl.List(), func(i impl.Implementation) bool {
					return i.Kernel == "convNHWC" && i.ISA == impl.AVX512VNNI && i.Enabled && i.Available
				}) {
					limit = uint64(8 * len(m.session.Graph().Nodes))
				}
				out := map[string]*tensor.Tensor{}
				if got := steadyAllocations(t, m, in, out, limit); got > limit {
					t.Errorf("%s %s, %d threads: %d allocations a call, want at most %d", n.name, method, threads, got, limit)
				}
				for name, w := range want {
					if got := out[name]; got == nil || !got.Shape.Equal(w.Shape) || string(got.Bytes()) != string(w.Bytes()) {
						t.Errorf("%s %s, %d threads: output %s differs from that of the first call", n.name, method, threads, name)
					}
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestRunIntoFillsWhatFits gives room for outputs that fits, that does not, and none.
func TestRunIntoFillsWhatFits(t *testing.T) {
	m := smallNet(t)
	defer m.Close()
	in := map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 2, 3, 32, 32)}
	want, err := m.Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	fits, other := tensor.New(tensor.Float32, 2, 10), tensor.New(tensor.Float32, 1, 10)
	for _, given := range []*tensor.Tensor{fits, other, nil} {
		out := map[string]*tensor.Tensor{"logits": given}
		if given == nil {
			out = map[string]*tensor.Tensor{}
		}
		if err := m.RunInto(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		if string(out["logits"].Bytes()) != string(want["logits"].Bytes()) {
			t.Errorf("given %v: wrong output", given)
		}
		if (out["logits"] == given) != (given == fits) {
			t.Errorf("given %v: filled %v", given, out["logits"] == given)
		}
	}
	for _, v := range tensor.Data[float32](other) {
		if v != 0 {
			t.Fatal("room of another shape was written to")
		}
	}
}

// TestThreadsDoNotChangeResults compares the bits of what networks compute on one thread and on several, twice each: the second call
// runs on what the first one left in the memory of values.
func TestThreadsDoNotChangeResults(t *testing.T) {
	for _, n := range steadyNets {
		for _, method := range []string{"", n.method} {
			g, err := n.build()
			if err != nil {
				t.Fatal(err)
			}
			in := steadyInput(t, g, n.batch, n.seq)
			var want map[string]*tensor.Tensor
			for threads := 1; threads <= 4; threads++ {
				m := steadyModel(t, n.build, method, in)
				m.SetThreads(threads)
				for range 2 {
					got, err := m.Run(t.Context(), in)
					if err != nil {
						t.Fatal(err)
					}
					if want == nil {
						want = got
					}
					for name, w := range want {
						if string(got[name].Bytes()) != string(w.Bytes()) {
							t.Errorf("%s %s, %d threads: output %s differs from that of one thread", n.name, method, threads, name)
						}
					}
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
