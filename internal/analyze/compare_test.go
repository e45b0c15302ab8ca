package analyze

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

func mk(t *testing.T, kind string, attrs map[string]any) graph.Op {
	t.Helper()
	o, ok := op.New(kind)
	if !ok {
		t.Fatalf("no operator %s", kind)
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		t.Fatal(err)
	}
	return o
}

func built(t *testing.T, b *graph.Builder) *graph.Graph {
	t.Helper()
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// classifier adds bias to its input, the class scores; "twice" is a second output. The outputs are in the order of names.
func classifier(t *testing.T, bias []float32, names ...string) *graph.Graph {
	b := graph.NewBuilder("classifier")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Known(len(bias))))
	scores := b.Add("bias", mk(t, "Add", nil), x, b.Param("b", tensor.Vector(bias...)))
	out := map[string]*graph.Value{"scores": scores, "twice": b.Add("sum", mk(t, "Add", nil), scores, x)}
	for _, n := range names {
		b.Output(n, out[n])
	}
	return built(t, b)
}

func session(t *testing.T, g *graph.Graph) *exec.Session {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func feeds(t *testing.T, g *graph.Graph, batch int, labels []int, rows ...[]float32) *Feeds {
	t.Helper()
	set, err := data.Arrays([]string{"x"}, []*tensor.Tensor{tensor.Of(tensor.Shape{len(rows), len(rows[0])}, slices.Concat(rows...))}, labels)
	if err != nil {
		t.Fatal(err)
	}
	f, err := FromSet(g, set, batch)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestCompareAccuracy has the quantized model give its outputs in another order, and one class get a bias that moves one of
// three samples.
func TestCompareAccuracy(t *testing.T) {
	a := classifier(t, []float32{0, 0, 0}, "scores", "twice")
	b := classifier(t, []float32{0, 1, 0}, "twice", "scores")
	rows := [][]float32{{3, 0, 0}, {0.5, 0, 0}, {0, 0, 4}}
	labels := []int{0, 0, 1}
	for batch := 1; batch <= 4; batch++ {
		acc, err := CompareAccuracy(context.Background(), session(t, a), session(t, b), feeds(t, a, batch, labels, rows...), "")
		if err != nil {
			t.Fatal(err)
		}
		if acc.Samples != 3 || acc.Agreement == nil || !near(*acc.Agreement, 2.0/3) {
			t.Errorf("batch %d: %d samples, agreement %v", batch, acc.Samples, *acc.Agreement)
		}
		if !near(acc.Original.Top1, 2.0/3) || !near(acc.Quantized.Top1, 1.0/3) || acc.Original.Top5 != 1 {
			t.Errorf("batch %d: %+v and %+v", batch, acc.Original, acc.Quantized)
		}
		loss := func(r []float64, label int) float64 {
			z := 0.0
			for _, v := range r {
				z += math.Exp(v)
			}
			return math.Log(z) - r[label]
		}
		if want := (loss([]float64{3, 1, 0}, 0) + loss([]float64{0.5, 1, 0}, 0) + loss([]float64{0, 1, 4}, 1)) / 3; !near(acc.Quantized.Loss, want) {
			t.Errorf("batch %d: loss %v, want %v", batch, acc.Quantized.Loss, want)
		}
		// scores: energy 9+0.25+16, errors three times 1; twice: the double of each, the same errors.
		for i, want := range []struct {
			name   string
			energy float64
		}{{"scores", 25.25}, {"twice", 4 * 25.25}} {
			o := acc.Outputs[i]
			if o.Name != want.name || !near(*o.SQNR, 10*math.Log10(want.energy/3)) || o.Values != 9 || o.MaxDiff != 1 {
				t.Errorf("batch %d: %+v", batch, o)
			}
		}
	}
}

func TestCompareAccuracyErrors(t *testing.T) {
	a := classifier(t, []float32{0, 0, 0}, "scores", "twice")
	row := []float32{1, 2, 3}
	for _, c := range []struct {
		name, output, want string
		b                  *graph.Graph
		labels             []int
	}{
		{"label", "", `sample "arrays[0]" has label 3; the model has 3 classes`, a, []int{3}},
		{"output", "logits", `the model has no output "logits"`, a, []int{0}},
		{"missing", "", `the quantized model has no output "twice"`, classifier(t, []float32{0, 0, 0}, "scores"), nil},
	} {
		_, err := CompareAccuracy(context.Background(), session(t, a), session(t, c.b), feeds(t, a, 1, c.labels, row), c.output)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if _, err := Evaluate(context.Background(), session(t, a), feeds(t, a, 1, nil, row), ""); err == nil || !strings.Contains(err.Error(), "the data has no labels") {
		t.Errorf("no labels: %v", err)
	}
}

func TestEvaluate(t *testing.T) {
	g := classifier(t, []float32{0, 0, 0}, "scores", "twice")
	f := feeds(t, g, 2, []int{1, 2, 0}, []float32{0, 2, 0}, []float32{0, 2, 0}, []float32{9, 0, 0})
	for _, output := range []string{"", "twice"} {
		s, err := Evaluate(context.Background(), session(t, g), f, output)
		if err != nil {
			t.Fatal(err)
		}
		if s.Samples != 3 || !near(s.Top1, 2.0/3) || s.Top5 != 1 {
			t.Errorf("%q: %+v", output, s)
		}
	}
}

// TestTop5Ties: of equal scores the first ranks first, so that a constant output is right as often as chance would have it.
func TestTop5Ties(t *testing.T) {
	row := make([]float32, 10)
	for label := range 10 {
		var s scoreSum
		s.add(row, 10, []int{label})
		if s.top1 != b2i(label == 0) || s.top5 != b2i(label < 5) {
			t.Errorf("label %d: top-1 %d, top-5 %d", label, s.top1, s.top5)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestNumPyValues compares with float64 results of numpy on the same float32 values.
func TestNumPyValues(t *testing.T) {
	var s errorSum
	s.add([]float32{1.5, -2}, []float32{1.25, -2.125}) // in two batches
	s.add([]float32{0.25, 3, -0.5}, []float32{0.25, 3.5, -0.625})
	e := s.result()
	if !near(*e.SQNR, 16.558366576014926) || !near(e.Cosine, 0.9943676625002356) || e.MaxDiff != 0.5 || !near(e.RMS, 0.2622022120425379) {
		t.Errorf("%+v, %v dB", e, *e.SQNR)
	}
	logits := []float32{2, -1, 0.5, 0}
	want := []float64{0.34234958238982216, 3.342349582389822, 1.8423495823898222, 2.342349582389822}
	logProbs := make([]float32, 4)
	for i := range logits {
		logProbs[i] = float32(-want[i])
		if got := crossEntropy(logits, i); !near(got, want[i]) {
			t.Errorf("logits, label %d: %v, want %v", i, got, want[i])
		}
	}
	probs := []float32{0.1, 0.6, 0.25, 0.05}
	for i, w := range []float64{2.3025850780928847, 0.5108255840295616, 1.3862943611198906, 2.99573225865283} {
		if got := crossEntropy(probs, i); !near(got, w) {
			t.Errorf("probabilities, label %d: %v, want %v", i, got, w)
		}
		if got := crossEntropy(logProbs, i); !near(got, want[i]) {
			t.Errorf("log probabilities, label %d: %v, want %v", i, got, want[i])
		}
	}
	got := timing([]float64{5, 1, 3, 2, 8, 13, 21, 34})
	if !near(got.P10, 1.7) || got.Median != 6.5 || !near(got.P90, 24.9) {
		t.Errorf("percentiles %+v", got)
	}
}

// TestLayers: values are paired by name, whichever operators compute them; those of one model only are left out.
func TestLayers(t *testing.T) {
	build := func(quantized bool) *graph.Graph {
		b := graph.NewBuilder("net")
		x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(2)))
		h := b.Add("first", mk(t, "Neg", nil), x)
		if quantized {
			h = b.Add("extra", mk(t, "Abs", nil), h)
			h = b.Add("second", mk(t, "Sub", nil), h, b.Param("half", tensor.Scalar[float32](0.5)))
		} else {
			h = b.Add("second", mk(t, "Abs", nil), h)
		}
		b.Add("third", mk(t, "Cast", map[string]any{"to": int64(tensor.Int32)}), h)
		b.Output("y", b.Add("last", mk(t, "Add", nil), h, h))
		return built(t, b)
	}
	g, q := build(false), build(true)
	f := feeds(t, g, 1, nil, []float32{1, -2}, []float32{3, 4}, []float32{0, 1})
	got, err := Layers(context.Background(), g, q, f, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		layer, op, value string
		quantized        bool
		most             float64
	}{{"first", "Neg", "first", false, 0}, {"second", "Abs", "second", true, 0.5}, {"last", "Add", "y", false, 1}}
	if len(got) != len(want) {
		t.Fatalf("%d layers: %+v", len(got), got)
	}
	for i, w := range want {
		e := got[i]
		if e.Layer != w.layer || e.Op != w.op || e.Value != w.value || e.Quantized != w.quantized || e.MaxDiff != w.most || e.Values != 6 {
			t.Errorf("got %+v, want %+v", e, w)
		}
	}
	if got, err := Layers(context.Background(), classifier(t, []float32{0, 0}, "scores"), built(t, other(t)), f, 1); err != nil || got != nil {
		t.Errorf("models without a common name: %v %v", got, err)
	}
}

func other(t *testing.T) *graph.Builder {
	b := graph.NewBuilder("other")
	b.Output("z", b.Add("only", mk(t, "Neg", nil), b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(2)))))
	return b
}

// TestRandom: a seed means the same values in every walk; calls and inputs differ from one another.
func TestRandom(t *testing.T) {
	b := graph.NewBuilder("net")
	b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(3)))
	b.Input("ids", graph.Ranked(tensor.Int64, graph.Named("n")))
	b.Input("mask", graph.Ranked(tensor.Bool, graph.Known(2), graph.Named("n")))
	g := built(t, b)
	w := graph.Param("w", tensor.Scalar[float32](1))
	g.Inputs = append(g.Inputs, w)
	walk := func(seed uint64) []string {
		f, err := Random(g, 3, 4, seed)
		if err != nil {
			t.Fatal(err)
		}
		if f.Samples != 12 || f.Calls != 3 || f.Labeled {
			t.Errorf("%+v", f)
		}
		var all []string
		for pass := range 2 {
			n := 0
			for feed, err := range f.All(context.Background()) {
				if err != nil {
					t.Fatal(err)
				}
				if feed.In[3] != nil || !feed.In[0].Shape.Equal(tensor.Shape{4, 3}) || !feed.In[1].Shape.Equal(tensor.Shape{4}) || !feed.In[2].Shape.Equal(tensor.Shape{2, 4}) {
					t.Errorf("inputs %v", feed.In)
				}
				for _, id := range tensor.Data[int64](feed.In[1]) {
					if id != 0 && id != 1 {
						t.Errorf("id %d", id)
					}
				}
				text := string(feed.In[0].Bytes()) + string(feed.In[1].Bytes()) + string(feed.In[2].Bytes())
				if pass == 0 {
					all = append(all, text)
				} else if all[n] != text {
					t.Errorf("walk 2 differs from walk 1 at call %d", n)
				}
				n++
			}
		}
		return all
	}
	first := walk(1)
	if !slices.Equal(first, walk(1)) || slices.Equal(first, walk(2)) || first[0] == first[1] {
		t.Error("seeds")
	}
	for _, v := range []*graph.Value{
		{Name: "free", Type: graph.Ranked(tensor.Float32, graph.Known(1), graph.Named("tokens"))},
		{Name: "free", Type: graph.Unranked(tensor.Float32)},
		{Name: "free", Type: graph.Ranked(tensor.String, graph.Known(1))},
	} {
		if _, err := Random(&graph.Graph{Inputs: []*graph.Value{v}}, 1, 1, 1); err == nil || !strings.Contains(err.Error(), `input "free"`) {
			t.Errorf("%v: %v", v.Type, err)
		}
	}
}

// TestFromSetBatches: a declared batch size wins and cuts what does not fill it; otherwise the last batch is shorter.
func TestFromSetBatches(t *testing.T) {
	for _, c := range []struct {
		declared       graph.Dim
		samples, batch int
		sizes          string
		err            string
	}{
		{graph.Named("n"), 7, 3, "[3 3 1]", ""},
		{graph.Named("n"), 7, 100, "[7]", ""},
		{graph.Named("n"), 2, 0, "[1 1]", ""},
		{graph.Unknown, 4, 2, "[2 2]", ""},
		{graph.Known(3), 7, 2, "[3 3]", ""},
		{graph.Known(3), 2, 2, "", "the model takes batches of 3 samples; the data has 2"},
		{graph.Known(1), 2, 8, "[1 1]", ""},
	} {
		g := &graph.Graph{Inputs: []*graph.Value{{Name: "x", Type: graph.Ranked(tensor.Float32, c.declared, graph.Known(2))}}}
		labels := make([]int, c.samples)
		for i := range labels {
			labels[i] = i
		}
		set, err := data.Arrays([]string{"x"}, []*tensor.Tensor{tensor.New(tensor.Float32, c.samples, 2)}, labels)
		if err != nil {
			t.Fatal(err)
		}
		f, err := FromSet(g, set, c.batch)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var sizes, seen []int
		for feed, err := range f.All(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			sizes, seen = append(sizes, feed.Samples), append(seen, feed.Labels...)
			if feed.In[0].Shape[0] != feed.Samples || len(feed.IDs) != feed.Samples {
				t.Errorf("%+v: %v", c, feed)
			}
		}
		if fmt.Sprint(sizes) != c.sizes || f.Calls != len(sizes) || f.Samples != len(seen) || !f.Labeled || !slices.Equal(seen, labels[:len(seen)]) {
			t.Errorf("%+v: sizes %v, %+v", c, sizes, f)
		}
	}
}

// TestFromSetWholeCalls: samples with the shape of an input are calls, one after another.
func TestFromSetWholeCalls(t *testing.T) {
	g := &graph.Graph{Inputs: []*graph.Value{
		{Name: "x", Type: graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(3))},
		{Name: "state", Type: graph.Ranked(tensor.Float32, graph.Known(2), graph.Named("n"), graph.Known(4))},
		{Name: "rate", Type: graph.Ranked(tensor.Int64)},
	}}
	set, err := data.Arrays([]string{"state", "x", "rate"}, []*tensor.Tensor{
		tensor.New(tensor.Float32, 5, 2, 1, 4), tensor.New(tensor.Float32, 5, 1, 3), tensor.New(tensor.Int64, 5, 1),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := FromSet(g, set, 4)
	if err != nil || f.Calls != 5 {
		t.Fatalf("%+v, %v", f, err)
	}
	for feed, err := range f.All(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []tensor.Shape{{1, 3}, {2, 1, 4}, {}} {
			if !feed.In[i].Shape.Equal(want) {
				t.Errorf("%s: %v, want %v", g.Inputs[i].Name, feed.In[i].Shape, want)
			}
		}
	}
}

// TestFromSetDefaults: inputs with a default are not looked for in the data.
func TestFromSetDefaults(t *testing.T) {
	w := graph.Param("w", tensor.Scalar[float32](1))
	g := &graph.Graph{Inputs: []*graph.Value{w, {Name: "x", Type: graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(2))}}}
	for feed, err := range feeds(t, g, 2, nil, []float32{1, 2}, []float32{3, 4}).All(context.Background()) {
		if err != nil || feed.In[0] != nil || feed.In[1].Len() != 4 {
			t.Errorf("%v %v", feed, err)
		}
	}
}

// TestSizeOf counts the parameters of subgraphs, and what several graphs share once.
func TestSizeOf(t *testing.T) {
	shared := tensor.InMemory(tensor.New(tensor.Float32, 10, 10))
	branch := func() *graph.Graph {
		b := graph.NewBuilder("branch")
		w := b.Add("sum", mk(t, "Add", nil), b.Source("w", shared), b.Param("b", tensor.New(tensor.Float32, 10)))
		b.Output("out", w)
		return built(t, b)
	}
	b := graph.NewBuilder("net")
	c := b.Input("c", graph.Ranked(tensor.Bool))
	y := b.Add("if", mk(t, "If", map[string]any{"then_branch": branch(), "else_branch": branch()}), c)
	y = b.Add("sum", mk(t, "Add", nil), y, b.Source("w", shared))
	b.Output("y", b.Add("codes", mk(t, "Cast", map[string]any{"to": int64(1)}), b.Param("q", tensor.New(tensor.Int8, 7))))
	b.Output("z", y)
	s := SizeOf(&model.Model{Graph: built(t, b)})
	if s.Parameters != 100+20+7 || s.MemoryBytes != 4*120+7 || s.Nodes != 5 || s.DiskBytes != 0 {
		t.Errorf("%+v", s)
	}
	if want := []TypeSize{{"float32", 120, 480}, {"int8", 7, 7}}; !slices.Equal(s.ByType, want) {
		t.Errorf("%v", s.ByType)
	}
}
