package calibrate

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// network is a convolution with a residual connection, a Relu and a matrix product, for images of any size.
func network(t testing.TB, weight float32) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("small")
	mk := func(kind string, a map[string]any) graph.Op {
		o, ok := op.New(kind)
		if !ok {
			t.Fatal(kind)
		}
		if err := op.SetAttrs(o, a); err != nil {
			t.Fatal(err)
		}
		return o
	}
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(2), graph.Named("h"), graph.Named("w")))
	y := b.Input("y", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(2), graph.Named("h"), graph.Named("w")))
	w := normal(1, 2*2*3*3, weight)
	c := b.Add("conv", mk("Conv", map[string]any{"pads": []int64{1, 1, 1, 1}}), x, b.Param("w", tensor.Of(tensor.Shape{2, 2, 3, 3}, w)))
	r := b.Add("relu", mk("Relu", nil), b.Add("add", mk("Add", nil), c, y))
	p := b.Add("pool", mk("GlobalAveragePool", nil), r)
	b.Output("out", b.Add("flat", mk("Flatten", nil), p))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func valuesOf(g *graph.Graph) []*graph.Value {
	out := append([]*graph.Value(nil), g.Inputs...)
	for _, n := range g.Nodes {
		out = append(out, n.Out...)
	}
	return out
}

// images returns samples [from, to) of two inputs, batch at a time. With sizes, every call has images of another size.
func images(from, to, batch int, sizes bool) Samples {
	return Samples{Len: to - from, All: func(context.Context) iter.Seq2[Call, error] {
		return func(yield func(Call, error) bool) {
			for at := from; at < to; at += batch {
				n := min(batch, to-at)
				c := Call{Samples: n}
				side := 6
				if sizes {
					side += at % 5
				}
				for in := range 2 {
					var v []float32
					for i := range n {
						v = append(v, normal(uint64(at+i), 2*side*side*(1+in), 0)[in*2*side*side:]...)
					}
					c.In = append(c.In, tensor.Of(tensor.Shape{n, 2, side, side}, v))
				}
				for i := range n {
					c.IDs = append(c.IDs, fmt.Sprintf("img%03d", at+i))
				}
				if !yield(c, nil) {
					return
				}
			}
		}
	}}
}

// collect runs the network and returns the file's bytes.
func collect(t testing.TB, g *graph.Graph, s Samples) (*File, []byte) {
	t.Helper()
	ctx := context.Background()
	_, values, err := Run(ctx, g, valuesOf(g), s)
	if err != nil {
		t.Fatal(err)
	}
	id, err := Identify(ctx, "small.onnx", g)
	if err != nil {
		t.Fatal(err)
	}
	f := New(id, int64(s.Len), nil, values)
	return f, encode(t, f)
}

func encode(t testing.TB, f *File) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := f.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes of %d: %v", n, b.Len(), err)
	}
	return b.Bytes()
}

// Two halves, on whatever machines, give the bytes of one run; so does any batch size, and images of several sizes.
func TestHalvesMergeToOneRun(t *testing.T) {
	g := network(t, 0)
	for _, sizes := range []bool{false, true} {
		_, whole := collect(t, g, images(0, 30, 1, sizes))
		for _, cut := range []int{1, 13, 15} {
			a, _ := collect(t, g, images(0, cut, 1, sizes))
			b, _ := collect(t, g, images(cut, 30, 1, sizes))
			if err := b.Merge(a); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(whole), string(encode(t, b))); d != "" {
				t.Errorf("cut at %d, several sizes %v:\n%s", cut, sizes, d)
			}
		}
		if sizes {
			continue
		}
		if _, got := collect(t, g, images(0, 30, 7, sizes)); !bytes.Equal(got, whole) {
			t.Error("batches of 7 give other statistics than single samples")
		}
	}
}

func TestFilesKeepEverything(t *testing.T) {
	g := network(t, 0)
	f, text := collect(t, g, images(0, 12, 4, false))
	path := filepath.Join(t.TempDir(), "stats.json")
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.Values(), got.Values()); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(encode(t, got), text) {
		t.Error("a file that is read and written is another")
	}
	conv := got.Values()["conv"]
	if conv == nil || conv.Felt == nil || conv.Channels == nil || len(conv.Channels.Min) != 2 {
		t.Errorf("statistics of the convolution: %+v", conv)
	}
	if got.Values()["add"].Felt != nil {
		t.Error("all of the sum is felt")
	}
}

func TestOtherModelsAreRefused(t *testing.T) {
	ctx := context.Background()
	f, _ := collect(t, network(t, 0), images(0, 3, 1, false))
	id, err := Identify(ctx, "other.onnx", network(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(id, nil); err != nil {
		t.Errorf("the same model under another name: %v", err)
	}
	other, err := Identify(ctx, "other.onnx", network(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(other, nil); err == nil || !strings.Contains(err.Error(), "other.onnx is one with other values of parameters w") {
		t.Errorf("another weight: %v", err)
	}
	g := network(t, 0)
	g.Nodes[0].In[1].Name = "v"
	if other, err = Identify(ctx, "other.onnx", g); err != nil {
		t.Fatal(err)
	}
	if err := f.Check(other, nil); err == nil || !strings.Contains(err.Error(), "without parameters w, with parameters v") {
		t.Errorf("a weight of another name: %v", err)
	}
	g = network(t, 0)
	g.Nodes[1].Op = &op.Mul{}
	if other, err = Identify(ctx, "other.onnx", g); err != nil {
		t.Fatal(err)
	}
	if err := f.Check(other, nil); err == nil || !strings.Contains(err.Error(), "other nodes") {
		t.Errorf("another operator: %v", err)
	}
	if err := f.Check(id, []string{"equalize"}); err == nil || !strings.Contains(err.Error(), "repairs") {
		t.Errorf("other repairs: %v", err)
	}
	h, _ := collect(t, network(t, 3), images(0, 3, 1, false))
	if err := f.Merge(h); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("merged with those of another model: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	_, text := collect(t, network(t, 0), images(0, 6, 1, false))
	for _, c := range []struct{ old, new, want string }{
		{fileKind, "something else", "this is no file of"},
		{`"schema": 1`, `"schema": 2`, "this version reads schema 1"},
		{`"samples": 6`, `"samples": 0`, "statistics of 0 samples"},
		{`"samples": 6`, `"samples": 6, "more": 1`, "more"},
		{`"count":432`, `"count":433`, "counts 432 of 433"},
		{`"exp":-1`, `"exp":-9999`, "width"},
		{`"exp":-1`, `"exp":5,"zeros":0,"x":-1`, "unknown"},
		{`"first":`, `"first":9`, "bins"},
		{`"bins":[`, `"bins":[-1,`, "bin"},
		{`"counts":[[`, `"counts":[[99999999,1],[`, "class"},
		{`"axis":1`, `"axis":-1`, "axis"},
		{`"min":[`, `"min":[1,`, "channels"},
		{`"top":[`, `"top":[{"id":"x","value":1e9},`, "samples by name"},
		{`"top":[{"id":"img`, `"top":[{"value":-1e9},{"id":"img`, "samples by name"},
		{`"max":`, `"max":1`, "none has the extreme"},
		{`}`, ``, "unexpected end"},
	} {
		bad := strings.Replace(string(text), c.old, c.new, 1)
		if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v, want an error with %q", c.new, c.old, err, c.want)
		}
	}
	if _, err := LoadAll(context.Background(), nil); err == nil {
		t.Error("no files make statistics")
	}
}

// Whatever a file holds, what is accepted can be merged, turned into ranges and diagnosed, and written again.
func FuzzParse(f *testing.F) {
	s := &Stats{} // a mutation says more about a short file
	s.Add([]float32{-1, 0, 1.001, 1.002, -0.999}, []string{"a"}, 1)
	s.AddFelt([]float32{-1, -0.999}, []float32{3, 1}, 0, 6)
	s.AddChannels([]float32{-1, 1}, []int{1, 2}, 1)
	f.Add(encode(f, New(Identity{Parameters: map[string]string{"w": "00"}}, 1, nil, map[string]*Stats{"v": s})))
	f.Add([]byte(`{"kind":"` + fileKind + `","schema":1,"samples":1,"model":{},"values":{"v":{"min":0,"max":0,"count":2,"all":{"zeros":2}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := Parse(text)
		if err != nil || len(a.values) > 4 {
			return
		}
		b, err := Parse(encode(t, a))
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if err := a.Merge(b); err != nil {
			t.Fatal(err)
		}
		values := a.Values()
		for name, s := range values {
			for _, m := range Methods {
				if m == "entropy" && s.Count%8 != 0 { // it takes as long as all the rest
					continue
				}
				lo, hi := Calibrator{Method: m, Percentile: 99.9, Levels: 256}.Range(s)
				if !(lo <= hi) || math.IsInf(float64(hi-lo), 0) && !math.IsInf(float64(s.Max-s.Min), 0) {
					t.Fatalf("%q: %s gives [%v, %v]", name, m, lo, hi)
				}
			}
		}
		Diagnose(values)
	})
}
