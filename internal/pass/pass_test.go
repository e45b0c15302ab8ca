package pass

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

var update = flag.Bool("update", false, "write testdata/*.txt")

// net builds graphs for tests. Parameters are random, the same in every run.
type net struct {
	*graph.Builder
	t *testing.T
	r *rand.Rand
}

func newNet(t *testing.T, name string) *net {
	return &net{graph.NewBuilder(name), t, rand.New(rand.NewPCG(1, uint64(len(name))))}
}

func (b *net) op(kind string, a map[string]any) graph.Op {
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

func (b *net) node(name, kind string, a map[string]any, in ...*graph.Value) *graph.Value {
	b.t.Helper()
	return b.Add(name, b.op(kind, a), in...)
}

func (b *net) weight(name string, shape ...int) *graph.Value {
	return b.Param(name, normal(b.r, shape))
}

func (b *net) ints(name string, v ...int64) *graph.Value { return b.Param(name, tensor.Vector(v...)) }

func (b *net) input(name string, dims ...any) *graph.Value {
	t := graph.Type{DType: tensor.Float32, Ranked: true}
	for _, d := range dims {
		if n, ok := d.(int); ok {
			t.Dims = append(t.Dims, graph.Known(n))
		} else {
			t.Dims = append(t.Dims, graph.Named(d.(string)))
		}
	}
	return b.Input(name, t)
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

func normal(r *rand.Rand, shape tensor.Shape) *tensor.Tensor {
	v := make([]float32, shape.Len())
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return tensor.Of(shape, v)
}

// feed makes random inputs; named dimensions are 2, bools are true.
func feed(g *graph.Graph) map[string]*tensor.Tensor {
	r := rand.New(rand.NewPCG(9, 9))
	in := map[string]*tensor.Tensor{}
	for _, v := range g.Inputs {
		shape := tensor.Shape{}
		for _, d := range v.Type.Dims {
			n := d.Size
			if !d.IsKnown() {
				n = 2
			}
			shape = append(shape, n)
		}
		in[v.Name] = normal(r, shape)
		if v.Type.DType == tensor.Bool {
			in[v.Name] = tensor.Scalar(true)
		}
	}
	return in
}

// evaluate runs the nodes of a graph one after the other, without a plan: what passes must not change.
func evaluate(t *testing.T, g *graph.Graph, in map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	t.Helper()
	out := map[string]*tensor.Tensor{}
	list := make([]*tensor.Tensor, len(g.Inputs))
	for i, v := range g.Inputs {
		list[i] = in[v.Name]
	}
	res, err := eval(g, list)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range g.Outputs {
		out[v.Name] = res[i]
	}
	return out
}

func eval(g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	have := map[*graph.Value]*tensor.Tensor{}
	for i, v := range g.Inputs {
		have[v] = in[i]
	}
	get := func(v *graph.Value) (*tensor.Tensor, error) {
		if v == nil || have[v] != nil || v.Data == nil {
			return have[v], nil
		}
		return v.Data.Load()
	}
	for _, n := range g.Nodes {
		args := make([]*tensor.Tensor, len(n.In))
		for i, v := range n.In {
			t, err := get(v)
			if err != nil {
				return nil, err
			}
			args[i] = t
		}
		e := &graph.Env{Ctx: context.Background(), RunGraph: func(g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) { return eval(g, in) }}
		res, err := n.Op.Eval(e, args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name, err)
		}
		for i, v := range n.Out {
			if v != nil {
				have[v] = res[i]
			}
		}
	}
	out := make([]*tensor.Tensor, len(g.Outputs))
	for i, v := range g.Outputs {
		t, err := get(v)
		if err != nil {
			return nil, err
		}
		out[i] = t
	}
	return out, nil
}

// same fails unless the outputs have the same names and, within a rounding of folded arithmetic, the same values.
func same(t *testing.T, what string, want, got map[string]*tensor.Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d outputs, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		g := got[name]
		if g == nil || g.DType != w.DType || !g.Shape.Equal(w.Shape) {
			t.Errorf("%s: output %q is %v, want %v", what, name, g, w)
			continue
		}
		a, err := w.Float64s()
		if err != nil {
			t.Fatal(err)
		}
		b, err := g.Float64s()
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if d := math.Abs(a[i] - b[i]); !(d <= 1e-4+1e-4*math.Abs(a[i])) {
				t.Errorf("%s: output %q: value %d is %v, want %v", what, name, i, b[i], a[i])
				break
			}
		}
	}
}

// golden applies a pass, compares the graph's text before and after with testdata/NAME.txt and outputs before with those after.
func golden(t *testing.T, name string, g *graph.Graph, pass graph.Pass) {
	t.Helper()
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	before := g.String()
	original := g.Clone()
	in := feed(g)
	want := evaluate(t, g, in)
	if err := pass(g); err != nil {
		t.Fatal(err)
	}
	if err := g.Verify(); err != nil {
		t.Error(err)
	}
	text := "before\n\n" + before + "\nafter\n\n" + g.String()
	same(t, name, want, evaluate(t, g, in))
	if original.String() != before {
		t.Errorf("the pass changed a clone of the graph that was made before:\n%v", original)
	}
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if string(stored) != text {
		t.Errorf("%s: got\n%s\nwant\n%s", file, text, stored)
	}
}

// kinds lists the operators of a graph in order.
func kinds(g *graph.Graph) string {
	var s []string
	for _, n := range g.Nodes {
		s = append(s, n.Op.Kind())
	}
	return strings.Join(s, " ")
}
