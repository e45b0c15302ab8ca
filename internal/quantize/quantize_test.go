package quantize

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// net builds graphs of random weights for tests.
type net struct {
	*graph.Builder
	t *testing.T
	r *rand.Rand
}

func newNet(t *testing.T, seed uint64) *net {
	return &net{graph.NewBuilder("net"), t, rand.New(rand.NewPCG(seed, 1))}
}

func (b *net) op(kind string, a attrs) graph.Op {
	b.t.Helper()
	o, ok := op.New(kind)
	if !ok {
		b.t.Fatalf("no operator %s", kind)
	}
	if err := op.SetAttrs(o, a); err != nil {
		b.t.Fatal(err)
	}
	return o
}

func (b *net) node(name, kind string, a attrs, in ...*graph.Value) *graph.Value {
	b.t.Helper()
	return b.Add(name, b.op(kind, a), in...)
}

// values are normally distributed with another deviation in each index of the first dimension.
func (b *net) values(shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	v := tensor.Data[float32](t)
	inner := tensor.Shape(shape[min(1, len(shape)):]).Len()
	for i := range v {
		v[i] = float32(b.r.NormFloat64() * (0.5 + float64(i/inner%7)/4))
	}
	return t
}

func (b *net) weight(name string, shape ...int) *graph.Value {
	return b.Param(name, b.values(shape...))
}

// small has the scale of the weights of trained recurrences, which do not blow a small error up.
func (b *net) small(name string, shape ...int) *graph.Value {
	t := b.values(shape...)
	for i, v := range tensor.Data[float32](t) {
		tensor.Data[float32](t)[i] = v / 6
	}
	return b.Param(name, t)
}

func (b *net) input(name string, shape ...int) *graph.Value {
	return b.Input(name, graph.Shaped(tensor.Float32, shape))
}

func (b *net) graph(out ...*graph.Value) *graph.Graph {
	b.t.Helper()
	for i, v := range out {
		b.Output(fmt.Sprintf("y%d", i), v)
	}
	g, err := b.Graph()
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// feed makes inputs of normal values, integers from [0, 40) where integers are wanted.
func feed(g *graph.Graph, seed uint64) []*tensor.Tensor {
	r := rand.New(rand.NewPCG(seed, 2))
	var in []*tensor.Tensor
	for _, v := range g.Inputs {
		s, _ := v.Type.Shape()
		f := make([]float64, s.Len())
		for i := range f {
			f[i] = r.NormFloat64()
			if v.Type.DType.IsInt() {
				f[i] = float64(r.IntN(40))
			}
		}
		t, err := tensor.FromFloat64s(v.Type.DType, s, f)
		if err != nil {
			panic(err)
		}
		in = append(in, t)
	}
	return in
}

func run(t *testing.T, g *graph.Graph, in []*tensor.Tensor) []*tensor.Tensor {
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
	return out
}

// quantized plans and runs a recipe on a clean copy of g. The plan's bytes must be exactly those of the parameters that come out,
// before anything was computed and after.
func quantized(t *testing.T, g *graph.Graph, r Recipe) (*graph.Graph, *Plan) {
	t.Helper()
	m := &model.Model{Graph: g.Clone()}
	if err := pass.Clean(m.Graph); err != nil {
		t.Fatal(err)
	}
	if r.Method == "" {
		r.Method = "dynamic"
	}
	text := m.Graph.String()
	p, err := NewPlan(m, r)
	if err != nil {
		t.Fatal(err)
	}
	if m.Graph.String() != text {
		t.Error("planning changed the graph")
	}
	whole := analyze.SizeOf(m).MemoryBytes
	planned := slices.Clone(p.Decisions)
	if err := Run(context.Background(), m, p, Samples{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Graph.Verify(); err != nil {
		t.Fatal(err)
	}
	before, after := p.Bytes()
	if got := analyze.SizeOf(m).MemoryBytes; got != whole-int64(before)+int64(after) {
		t.Errorf("%s: parameters take %d bytes, the plan says %d - %d + %d = %d\n%+v", r.Weight, got, whole, before, after, whole-int64(before)+int64(after), p.Decisions)
	}
	if !reflect.DeepEqual(planned, p.Decisions) && !strings.Contains(p.Decisions[0].Why, "do not fit float16") {
		t.Errorf("running changed the plan from %+v to %+v", planned, p.Decisions)
	}
	return m.Graph, p
}

// snr is the energy of want over that of the difference, in dB.
func snr(t *testing.T, want, got *tensor.Tensor) float64 {
	t.Helper()
	if !want.Shape.Equal(got.Shape) || want.DType != got.DType {
		t.Fatalf("got %v, want %v", got, want)
	}
	var signal, noise float64
	g := tensor.Data[float32](got)
	for i, w := range tensor.Data[float32](want) {
		signal += float64(w) * float64(w)
		noise += (float64(w) - float64(g[i])) * (float64(w) - float64(g[i]))
	}
	return 10 * math.Log10(signal/noise)
}

// recipes are the ways to store weights with the least signal-to-noise ratio of one layer's output, in dB, on normal values:
// the error of uint8 activations over a whole tensor dominates that of int8 weights.
var recipes = []struct {
	Recipe
	least float64
}{
	{Recipe{Weight: "qint8"}, 30},
	{Recipe{Weight: "quint8"}, 30},
	{Recipe{Weight: "qint8", PerTensor: true}, 27},
	{Recipe{Weight: "quint8", PerTensor: true}, 27},
	{Recipe{Weight: "float16"}, 60},
	{Recipe{Weight: "bfloat16"}, 42},
}

// checkLayer quantizes a graph by every recipe and compares outputs, as written and lowered. Every decision must be to quantize.
func checkLayer(t *testing.T, g *graph.Graph) {
	t.Helper()
	in := feed(g, 7)
	want := run(t, g, in)
	for _, r := range recipes {
		r.Only = []string{"*"}
		q, p := quantized(t, g, r.Recipe)
		for _, d := range p.Decisions {
			if !d.Quantized && !strings.HasPrefix(d.Why, "small (") {
				t.Errorf("%s: %s stays: %s", r.Weight, d.Param, d.Why)
			}
		}
		got := run(t, q, in)
		lowered, err := pass.Lower(q)
		if err != nil {
			t.Fatal(err)
		}
		fast := run(t, lowered, in)
		for i := range want {
			if db := snr(t, want[i], got[i]); db < r.least {
				t.Errorf("%s, per tensor %v: output %d: %.1f dB, want %v\n%v", r.Weight, r.PerTensor, i, db, r.least, q)
			}
			if db := snr(t, got[i], fast[i]); db < 80 {
				t.Errorf("%s, per tensor %v: output %d: lowered is %.1f dB from the portable form", r.Weight, r.PerTensor, i, db)
			}
		}
	}
}
