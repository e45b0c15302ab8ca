package equalize

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// network builds graphs with random parameters whose channels differ much.
type network struct {
	*graph.Builder
	t *testing.T
	r *rand.Rand
}

func newNetwork(t *testing.T) *network {
	return &network{graph.NewBuilder("net"), t, rand.New(rand.NewPCG(1, 2))}
}

func (n *network) param(name string, shape ...int) *graph.Value {
	t := tensor.New(tensor.Float32, shape...)
	x := tensor.Data[float32](t)
	inner := max(1, len(x)/max(1, shape[0]))
	for i := range x {
		x[i] = float32(n.r.NormFloat64() * math.Exp(float64(i/inner%5)-2))
	}
	return n.Param(name, t)
}

func ints(v ...int64) *tensor.Tensor { return tensor.Vector(v...) }

func (n *network) conv(name string, x *graph.Value, outputs, inputs, size, group int) *graph.Value {
	p := size / 2
	o := &op.Conv{Group: group}
	if err := op.SetAttrs(o, map[string]any{"pads": []int64{int64(p), int64(p), int64(p), int64(p)}, "group": int64(group)}); err != nil {
		n.t.Fatal(err)
	}
	return n.Add(name, o, x, n.param(name+".w", outputs, inputs/group, size, size), n.param(name+".b", outputs))
}

func (n *network) op(kind string, attrs map[string]any) graph.Op {
	o, ok := op.New(kind)
	if !ok {
		n.t.Fatal(kind)
	}
	if attrs != nil {
		if err := op.SetAttrs(o, attrs); err != nil {
			n.t.Fatal(err)
		}
	}
	return o
}

func (n *network) relu(name string, x *graph.Value) *graph.Value {
	return n.Add(name, n.op("Relu", nil), x)
}

func run(t *testing.T, g *graph.Graph, x *tensor.Tensor) []float32 {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), []*tensor.Tensor{x})
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Data[float32](out[0])
}

// images is a network with all that factors pass through: residuals whose channels are sliced and padded, grouped and depthwise
// convolutions, concatenation, pools, a matrix behind a flattened image.
func images(t *testing.T) *graph.Graph {
	n := newNetwork(t)
	x := n.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(3), graph.Known(8), graph.Known(8)))
	a := n.relu("a.relu", n.conv("a", x, 8, 3, 3, 1))
	b := n.conv("b2", n.relu("b.relu", n.conv("b1", a, 6, 8, 3, 1)), 8, 6, 1, 1)
	c := n.relu("c", n.Add("sum", n.op("Add", nil), b, a))
	d := n.Add("d.prelu", n.op("LeakyRelu", map[string]any{"alpha": float32(0.1)}), n.conv("d", c, 8, 8, 3, 8)) // depthwise
	e := n.conv("e", d, 12, 8, 3, 2)                                                                            // grouped
	short := n.Add("slice", n.op("Slice", nil), c, n.Param("starts", ints(1, 0)), n.Param("ends", ints(1<<60, 1<<60)), n.Param("axes", ints(2, 3)), n.Param("steps", ints(1, 1)))
	short = n.Add("unslice", n.op("Pad", nil), short, n.Param("pads", ints(0, 2, 1, 0, 0, 2, 0, 0)))
	f := n.relu("f", n.Add("sum2", n.op("Add", nil), e, short))
	g := n.Add("cat", n.op("Concat", map[string]any{"axis": int64(1)}), f, n.relu("g.relu", n.conv("g", f, 4, 12, 1, 1)))
	h := n.Add("pool", n.op("MaxPool", map[string]any{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}), n.relu("h.relu", n.conv("h", g, 5, 16, 1, 1)))
	h = n.Add("flat", n.op("Flatten", nil), h)
	h = n.relu("fc.relu", n.Add("fc", n.op("Gemm", map[string]any{"transB": int64(1)}), h, n.param("fc.w", 20, 80), n.param("fc.b", 20)))
	n.Output("y", n.Add("head", n.op("Gemm", nil), h, n.param("head.w", 20, 7), n.param("head.b", 7)))
	return n.graph()
}

func (n *network) graph() *graph.Graph {
	g, err := n.Graph()
	if err != nil {
		n.t.Fatal(err)
	}
	return g
}

// tokens is a transformer's feed-forward part.
func tokens(t *testing.T) *graph.Graph {
	n := newNetwork(t)
	x := n.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(4), graph.Known(6)))
	y := n.Add("ln", n.op("LayerNormalization", nil), x, n.param("g", 6), n.param("b", 6))
	y = n.Add("up.bias", n.op("Add", nil), n.Add("up", n.op("MatMul", nil), y, n.param("up.w", 6, 10)), n.param("up.b", 10))
	y = n.relu("relu", y)
	y = n.Add("down", n.op("MatMul", nil), y, n.param("down.w", 10, 6))
	n.Output("y", n.Add("res", n.op("Add", nil), y, x))
	return n.graph()
}

func samples(shape ...int) *tensor.Tensor {
	r := rand.New(rand.NewPCG(3, 4))
	x := tensor.New(tensor.Float32, shape...)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(r.NormFloat64())
	}
	return x
}

// Whatever the factors, the network computes what it did.
func TestFunctionStays(t *testing.T) {
	for name, c := range map[string]struct {
		build  func(t *testing.T) *graph.Graph
		x      *tensor.Tensor
		groups int
	}{
		// a, c, d and the middle of f are one group of channels each; b1 6; f's padded channels 4; g 4; h 5; fc 20.
		"images": {images, samples(3, 3, 8, 8), 8 + 6 + 8 + 4 + 4 + 5 + 20},
		"tokens": {tokens, samples(2, 4, 6), 6 + 10},
	} {
		want := run(t, c.build(t), c.x)
		for method, scale := range map[string]func(g *Groups) error{
			"cross-layer": (*Groups).CrossLayer,
			"smooth": func(g *Groups) error {
				return g.Smooth(0.7, false, func(string, int) []float64 { return []float64{1, 2, 30, 4, 0.5, 6, 7, 8, 9, 10} })
			},
			"random": func(g *Groups) error {
				r := rand.New(rand.NewPCG(5, 6))
				f := ones(g.Len())
				for i := range f {
					f[i] = math.Exp(r.NormFloat64())
				}
				g.apply(f)
				return nil
			},
		} {
			g := c.build(t)
			groups := Find(g)
			if groups.Len() != c.groups {
				t.Errorf("%s: %d groups, want %d", name, groups.Len(), c.groups)
			}
			if err := scale(groups); err != nil {
				t.Fatal(err)
			}
			changed := false
			for _, v := range g.Params() {
				if _, ok := v.Data.(*scaled); ok {
					changed = true
				}
			}
			if !changed {
				t.Errorf("%s, %s: nothing was scaled", name, method)
			}
			got := run(t, g, c.x)
			most := 0.0
			for _, v := range want {
				most = max(most, math.Abs(float64(v)))
			}
			for i := range want {
				if math.Abs(float64(got[i]-want[i])) > 2e-5*most {
					t.Fatalf("%s, %s: value %d is %v, want %v", name, method, i, got[i], want[i])
				}
			}
		}
	}
}

// After equalization what makes a channel has the same range as what reads it.
func TestCrossLayerEqualizes(t *testing.T) {
	g := images(t)
	if err := Find(g).CrossLayer(); err != nil {
		t.Fatal(err)
	}
	again := Find(g)
	ranges, err := again.ranges(ones(again.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range again.list {
		if made, read := ranges(x); math.Abs(math.Log(made/read)) > 0.05 {
			t.Errorf("group %d of %q: made in a range of %v, read in one of %v", i, x.values[0].v.Name, made, read)
		}
	}
}

// What has other readers or is no multiple of its channels stays.
func TestPinnedChannels(t *testing.T) {
	for name, end := range map[string]func(n *network, x *graph.Value) *graph.Value{
		"a function that is not linear": func(n *network, x *graph.Value) *graph.Value { return n.Add("f", n.op("Sigmoid", nil), x) },
		"an output":                     func(n *network, x *graph.Value) *graph.Value { n.Output("too", x); return x },
		"a sum with an input": func(n *network, x *graph.Value) *graph.Value {
			return n.Add("f", n.op("Add", nil), x, n.Input("z", x.Type))
		},
		"a constant for all channels": func(n *network, x *graph.Value) *graph.Value { return n.Add("f", n.op("Add", nil), x, n.param("c", 1)) },
		"another reader": func(n *network, x *graph.Value) *graph.Value {
			n.Output("too", n.Add("f", n.op("Softmax", nil), x))
			return x
		},
	} {
		n := newNetwork(t)
		x := n.Input("x", graph.Ranked(tensor.Float32, graph.Known(1), graph.Known(3), graph.Known(8), graph.Known(8)))
		n.Output("y", n.conv("b", end(n, n.conv("a", x, 4, 3, 3, 1)), 2, 4, 1, 1))
		if got := Find(n.graph()).Len(); got != 0 {
			t.Errorf("%s: %d groups", name, got)
		}
	}
}
