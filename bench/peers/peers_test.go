package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/bench/measure"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

// small are networks of the kinds that are measured, cut down.
var small = []network{
	{name: "resnet", build: shapes.ResNet{Blocks: [4]int{1, 1, 1, 1}, Width: 8, Classes: 10, Side: 32, Seed: 1}.Graph, method: "static"},
	{name: "bottleneck", build: shapes.ResNet{Blocks: [4]int{1, 1, 1, 1}, Bottleneck: true, Width: 8, Classes: 10, Side: 32, Seed: 1}.Graph, method: "static"},
	{name: "mobilenet", build: shapes.MobileNetV2{Multiplier: 0.25, Classes: 10, Side: 32, Seed: 1}.Graph, method: "static"},
	{name: "bert", build: shapes.BERT{Layers: 1, Hidden: 32, Heads: 2, Intermediate: 64, Vocabulary: 30522, Positions: tokens, Seed: 1}.Graph, method: "dynamic"},
	{name: "bert-static", build: shapes.BERT{Layers: 1, Hidden: 32, Heads: 2, Intermediate: 64, Vocabulary: 30522, Positions: tokens, Seed: 1}.Graph, method: "static", of: "bert"},
}

// TestFiles makes the files of each network and compares what they compute, with any number of threads.
func TestFiles(t *testing.T) {
	for _, n := range small {
		t.Run(n.name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := n.makeFiles(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if f.Ops <= 0 || f.Weights <= 0 {
				t.Errorf("%+v", f)
			}
			var res [2]map[string]*tensor.Tensor
			for i, path := range []string{f.Float32, f.Int8} {
				o := &ours{ctx: t.Context()}
				if err := o.load(path, 1, 2); err != nil {
					t.Fatal(err)
				}
				if res[i], err = o.outputs(); err != nil {
					t.Fatal(err)
				}
				if err := o.close(); err != nil {
					t.Fatal(err)
				}
				s, err := checkSteady(t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				if !s.Equal {
					t.Errorf("%s: threads change the result", filepath.Base(path))
				}
			}
			e, err := difference(res[1], res[0])
			if err != nil {
				t.Fatal(err)
			}
			if e == 0 || e > 0.15 {
				t.Errorf("int8 differs from float32 by %.3f of the signal", e)
			}
			before, err := os.Stat(f.Int8)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := n.makeFiles(t.Context(), dir); err != nil || again.Ops != f.Ops {
				t.Errorf("a second call: %+v, %v", again, err)
			}
			if after, err := os.Stat(f.Int8); err != nil || !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("the files were made anew: %v", err)
			}
		})
	}
}

// TestOps counts by hand: a convolution of 3x3 over 4x4 outputs, and a linear layer.
func TestOps(t *testing.T) {
	c := shapes.ResNet{Blocks: [4]int{1, 1, 1, 1}, Width: 8, Classes: 10, Side: 32, Seed: 1}
	g, err := c.Graph()
	if err != nil {
		t.Fatal(err)
	}
	got, err := countOps(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	macs := 16 * 16 * 8 * 3 * 49 // stem, then a pool
	macs += 2 * 8 * 8 * 8 * 8 * 9
	for stage, in := 1, 8; stage < 4; stage++ {
		side, out := 8>>stage, 8<<stage
		macs += side * side * out * (9*in + 9*out + in)
		in = out
	}
	macs += 64 * 10
	if got != float64(2*macs) {
		t.Errorf("got %v operations, want %d", got, 2*macs)
	}
}

// fake is a side that gives fixed outputs and takes fixed times.
type fake struct {
	ns  float64
	out map[string]*tensor.Tensor
}

func (f *fake) close() error                                { return nil }
func (f *fake) outputs() (map[string]*tensor.Tensor, error) { return f.out, nil }
func (f *fake) run(count int) (durations, error) {
	d := durations{make([]float64, count), make([]float64, count)}
	for i := range count {
		d.wall[i], d.cpu[i] = f.ns, 2*f.ns
	}
	d.wall[0] *= 100 // the caches are cold
	return d, nil
}

func TestCompare(t *testing.T) {
	out := map[string]*tensor.Tensor{"y": tensor.Vector[float32](3, 4)}
	off := map[string]*tensor.Tensor{"y": tensor.Vector[float32](3, 4.5)}
	p, err := compare(&fake{3e8, out}, &fake{1e8, off}, 3, &measure.Meter{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Ratio != 3 || p.RatioCPU != 3 || p.Peer != 300 || p.Ours != 100 || p.OursCPU != 200 || math.Abs(p.Error-0.1) > 1e-6 {
		t.Errorf("%+v", p)
	}
	if _, err := compare(&fake{1, out}, &fake{1, nil}, 1, &measure.Meter{}); err == nil {
		t.Error("accepts a missing output")
	}
}

func TestConclusions(t *testing.T) {
	s := summary{Results: []result{
		{Engine: "onnxruntime", Model: "resnet50", Kind: "float32", Batch: 1, Threads: 1, pair: pair{Peer: 8, Ours: 4, Ratio: 2}},
		{Engine: "onnxruntime", Model: "bert", Kind: "float32", Batch: 1, Threads: 1, pair: pair{Peer: 4, Ours: 8, Ratio: 0.5}},
		{Engine: "onnxruntime", Model: "resnet50", Kind: "int8", Batch: 1, Threads: 1, pair: pair{Peer: 2, Ours: 2, Ratio: 1}},
	}}
	s.conclude()
	if len(s.Means) != 2 || s.Means[0].Ratio != 1 || !s.Means[0].Pass || s.Means[1].Pass {
		t.Errorf("means %+v", s.Means)
	}
	if len(s.Speedups) != 1 || s.Speedups[0].Ratio != 2 || s.Speedups[0].Limit != 2.3 || s.Speedups[0].Pass {
		t.Errorf("speedups %+v", s.Speedups)
	}
	var text, md, js bytes.Buffer
	if err := s.text(&text); err != nil {
		t.Fatal(err)
	}
	if err := s.markdown(&md); err != nil {
		t.Fatal(err)
	}
	if err := measure.JSON(&js, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"resnet50", "MISSED", "2.30x"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(md.String(), want) {
			t.Errorf("%q is missing in\n%s\n%s", want, &text, &md)
		}
	}
	if !json.Valid(js.Bytes()) {
		t.Errorf("not JSON: %s", &js)
	}
}

func TestInputs(t *testing.T) {
	g := &graph.Graph{Inputs: []*graph.Value{
		{Name: "images", Type: graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Known(3))},
		{Name: "input_ids", Type: graph.Ranked(tensor.Int64, graph.Named("batch"), graph.Named("tokens"))},
	}}
	in := input(declared(g), 2, 1)
	if !in["images"].Shape.Equal(tensor.Shape{2, 3}) || !in["input_ids"].Shape.Equal(tensor.Shape{2, tokens}) {
		t.Errorf("%v", in)
	}
	again := input(declared(g), 2, 1)
	if !bytes.Equal(in["images"].Bytes(), again["images"].Bytes()) {
		t.Error("the same seed gives other values")
	}
}
