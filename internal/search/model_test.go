package search

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

// chain is a network of five convolutions of eight channels and a classifier. A weight of hurt is spoiled: in all its channels one
// value is so large that 8 bits leave the others nothing; the channel of its input that it multiplies is always zero, so that the
// network computes what it did.
func chain(t *testing.T, hurt string) *graph.Graph {
	t.Helper()
	b := graph.NewBuilder("chain")
	mk := func(kind string, attrs map[string]any) graph.Op {
		o, ok := op.New(kind)
		if !ok {
			t.Fatal(kind)
		}
		if err := op.SetAttrs(o, attrs); err != nil {
			t.Fatal(err)
		}
		return o
	}
	r := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, deviation float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(deviation * r.NormFloat64())
		}
		return v
	}
	const channels = 8
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(3), graph.Known(8), graph.Known(8)))
	in := 3
	for i := range 5 {
		name := fmt.Sprintf("conv%d", i+1)
		w, bias := normal(channels*in*9, 0.25), normal(channels, 0.1)
		for k := range in * 9 { // the last channel is dead
			w[(channels-1)*in*9+k] = 0
		}
		bias[channels-1] = -1
		if name == hurt {
			for c := range channels {
				w[c*in*9+(in-1)*9+4] = 500
			}
		}
		y := b.Add(name, mk("Conv", map[string]any{"pads": []int64{1, 1, 1, 1}}), x, b.Param(name+".weight", tensor.Of(tensor.Shape{channels, in, 3, 3}, w)), b.Param(name+".bias", tensor.Vector(bias...)))
		x = b.Add("relu"+name[4:], mk("Relu", nil), y)
		in = channels
	}
	x = b.Add("flatten", mk("Flatten", nil), x)
	b.Output("logits", b.Add("head", mk("Gemm", map[string]any{"transB": int64(1)}), x, b.Param("head.weight", tensor.Of(tensor.Shape{10, channels * 64}, normal(10*channels*64, 0.05))), b.Param("head.bias", tensor.Vector(normal(10, 0.1)...))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if err := pass.Clean(g); err != nil {
		t.Fatal(err)
	}
	return g
}

func samples(t *testing.T, n int, labels []int) data.Set {
	t.Helper()
	r := rand.New(rand.NewPCG(3, uint64(n)))
	v := make([]float32, n*3*64)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	set, err := data.Arrays([]string{"x"}, []*tensor.Tensor{tensor.Of(tensor.Shape{n, 3, 8, 8}, v)}, labels)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// subject prepares a graph for a search on 16 samples, calibrated on 16 others.
func subject(t *testing.T, g *graph.Graph, budget int) *Model {
	t.Helper()
	ctx := context.Background()
	m := &model.Model{Graph: g}
	recipe := quantize.Recipe{Method: "static", Calibrator: quantize.Calibrator{Method: "mse", Percentile: 99.9, Levels: 256}}
	w := &model.Model{Graph: g.Clone()}
	p, err := quantize.NewPlan(w, recipe)
	if err != nil {
		t.Fatal(err)
	}
	feeds, err := analyze.FromSet(g, samples(t, 17, nil), 4)
	if err != nil {
		t.Fatal(err)
	}
	c, err := quantize.Calibrate(ctx, w, p, quantize.Samples{Len: feeds.Samples, All: func(ctx context.Context) iter.Seq2[quantize.Call, error] {
		return func(yield func(quantize.Call, error) bool) {
			for f, err := range feeds.All(ctx) {
				if !yield(quantize.Call{In: f.In, Samples: f.Samples, IDs: f.IDs}, err) {
					return
				}
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	low, err := pass.Lower(g)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(low, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if feeds, err = analyze.FromSet(g, samples(t, 16, nil), 4); err != nil {
		t.Fatal(err)
	}
	ref, err := analyze.NewReference(ctx, s, feeds, "", budget)
	if err != nil {
		t.Fatal(err)
	}
	x, err := NewModel(ctx, m, recipe, c, ref, 1)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// The layer with the outlier is found and left in float, alone.
func TestSearchFindsTheOutlier(t *testing.T) {
	for _, hurt := range []string{"conv2", "conv4"} {
		for _, budget := range []int{0, 1 << 20} { // with and without the calls in memory
			s := subject(t, chain(t, hurt), budget)
			best := ""
			r, err := Run(context.Background(), s, Options{Target: target(t, "sqnr=30"), Calibrators: []string{"mse", "minmax", "percentile"}, RankSamples: 8}, nil, func(ctx context.Context, p Point) error {
				m, plan, err := s.Build(ctx, p.Choice)
				if err != nil {
					return err
				}
				if n := len(plan.Units()); n != len(s.Units())-len(p.Float) {
					t.Errorf("%d units are quantized with %v in float", n, p.Float)
				}
				best = m.Graph.String()
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Met || !slices.Equal(r.Best.Float, []string{hurt}) || best == "" {
				t.Errorf("%s hurts: the search leaves %v in float and reaches %v dB after %d evaluations", hurt, r.Best.Float, *r.Best.SQNR, r.Evaluations)
			}
			if *r.Points[0].SQNR > 15 {
				t.Errorf("all in 8 bits reach %v dB: nothing hurts", *r.Points[0].SQNR)
			}
			if r.Ranking[0].Layers[0] != hurt {
				t.Errorf("first in the ranking is %v", r.Ranking[0])
			}
			m, err := s.Measure(context.Background(), r.Best.Choice, 0)
			if err != nil || !reflect.DeepEqual(m, r.Best.Measure) {
				t.Errorf("measured again it is %+v, %v; want %+v", m, err, r.Best.Measure)
			}
		}
	}
}

// Operations are those of one sample, whatever the batch.
func TestOperations(t *testing.T) {
	s := subject(t, chain(t, ""), 1<<20)
	want := map[string]int64{"conv1": 8 * 64 * 27, "conv3": 8 * 64 * 72, "head": 10 * 512}
	for _, u := range s.Units() {
		if n, ok := want[u.Layer]; ok && n != u.Operations {
			t.Errorf("%s: %d operations, want %d", u.Layer, u.Operations, n)
		}
		if u.Before <= u.After || u.After == 0 {
			t.Errorf("%s: %d bytes, %d quantized", u.Layer, u.Before, u.After)
		}
	}
	if len(s.Units()) != 6 || len(s.Ranges()) != 6 {
		t.Errorf("%d units, %d ranges", len(s.Units()), len(s.Ranges()))
	}
}

// Latencies are measured once and stand in the journal.
func TestTime(t *testing.T) {
	s := subject(t, chain(t, ""), 1<<20)
	path := filepath.Join(t.TempDir(), "search.jsonl")
	choices := []Choice{{Calibrator: "mse"}, {Calibrator: "mse", Float: []string{"conv1", "conv2"}}}
	var first map[string]Timing
	for range 2 {
		j, err := OpenJournal(path, Key{}, false)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Time(context.Background(), j, choices)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if first != nil && !reflect.DeepEqual(got, first) {
			t.Errorf("%+v, then %+v", first, got)
		}
		first = got
		for _, c := range choices {
			if x := got[c.key()]; x.MS <= 0 || x.OriginalMS <= 0 || x.Speedup <= 0 {
				t.Errorf("%v takes %+v", c, x)
			}
		}
	}
}
