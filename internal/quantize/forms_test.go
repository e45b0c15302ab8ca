package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// A range in codes: its ends and zero are held, symmetric codes have zero in their middle, and no number inside is off by more
// than half a step.
func TestActivationForms(t *testing.T) {
	for _, name := range ActivationTypes {
		for _, symmetric := range []bool{false, true} {
			r := Recipe{Activations: name, SymmetricActivations: symmetric}
			form := r.activations()
			lo, hi := form.limits()
			for _, c := range [][2]float32{{-1, 3}, {0, 6}, {-2.5, 0}, {0.5, 2}, {-1, -0.5}, {0, 0}, {0, 1e-41}} {
				a := form.of(c[0], c[1])
				if got := a.value(a.code(0)); got != 0 || a.scale <= 0 {
					t.Fatalf("%s %v %v: zero is held as %v, scale %v", name, symmetric, c, got, a.scale)
				}
				if middle := (int64(lo) + int64(hi) + 1) / 2; symmetric && int64(a.zero) != middle {
					t.Errorf("%s %v: zero point %d, want %d", name, c, a.zero, middle)
				}
				for k := range 101 {
					x := c[0] + (c[1]-c[0])*float32(k)/100
					if d := math.Abs(a.value(a.code(x)) - float64(x)); d > 0.51*float64(a.scale) {
						t.Errorf("%s %v %v: %v is held as %v, half a step is %v", name, symmetric, c, x, a.value(a.code(x)), a.scale/2)
					}
				}
				if used := float64(max(c[1], 0)-min(c[0], 0)) / float64(a.scale); !symmetric && used > 1e-30 && used < float64(form.levels())-2 {
					t.Errorf("%s %v: %v of %d codes are used", name, c, used, form.levels())
				}
			}
		}
	}
}

// The written graph has the types asked for and computes what the float one does, the nearer the more codes there are.
func TestFormsOfGraphs(t *testing.T) {
	reached := map[string]float64{}
	for _, r := range []Recipe{
		{Activations: "quint8"},
		{Activations: "qint8", SymmetricActivations: true},
		{Activations: "quint16"},
		{Activations: "qint16", SymmetricActivations: true},
		{BlockSize: 16},
		{BlockSize: 16, Weight: "qint4"},
		{Weight: "qint4"},
		{Activations: "quint16", BlockSize: 16},
	} {
		r.Method, r.Calibrator = "static", Calibrator{Method: "minmax"}
		name := fmt.Sprintf("%s %v %d %s", r.Activations, r.SymmetricActivations, r.BlockSize, r.Weight)
		g := residual(t)
		x := firstCall(t)
		want := run(t, g, x)[0]
		q, p := staticOf(t, residual(t), r)
		wantType := r.activations().dtype
		blocks := 0
		for _, n := range q.Nodes {
			switch o := n.Op.(type) {
			case *op.QuantizeLinear:
				if d := n.Out[0].Type.DType; d != wantType {
					t.Errorf("%s: %s gives %v, want %v", name, n.Name, d, wantType)
				}
			case *op.DequantizeLinear:
				if o.BlockSize != 0 {
					blocks++
				}
			case *op.MatMulNBits:
				blocks++
			}
		}
		if want := map[bool]int{true: 1}[r.BlockSize != 0]; blocks != want { // the last product alone sums over more than 16 channels
			t.Errorf("%s: %d weights in blocks, want %d", name, blocks, want)
		}
		reached[name] = snr(t, want, run(t, q, x)[0])
		if db := reached[name]; db < 15 {
			t.Errorf("%s: %.1f dB", name, db)
		}
		for _, d := range p.Decisions {
			if d.Layer == "head" && r.BlockSize != 0 && (d.Scheme.Group != 16 || d.After <= d.Before/8) {
				t.Errorf("%s: decision %+v", name, d)
			}
		}
	}
	t.Log(reached)
	if reached["quint16 false 0 "] < reached["quint8 false 0 "]+3 {
		t.Errorf("16 bits: %v dB, 8 bits: %v dB", reached["quint16 false 0 "], reached["quint8 false 0 "])
	}
	if reached[" false 16 qint4"] < reached[" false 0 qint4"] {
		t.Errorf("4-bit weights in blocks: %v dB, by channel: %v dB", reached[" false 16 qint4"], reached[" false 0 qint4"])
	}
}

// Every weight of a block is off by at most half a step of the block's scale, which its largest weight fixes.
func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		kind    string
		shape   tensor.Shape
		trans   int64
		channel int
	}{{"MatMul", tensor.Shape{37, 5}, 0, 1}, {"Gemm", tensor.Shape{5, 37}, 1, 0}, {"Gemm", tensor.Shape{37, 5}, 0, 1}, {"Conv", tensor.Shape{3, 18, 2, 2}, 0, 0}} {
		b := newNet(t, 3)
		var a attrs
		if c.kind == "Gemm" {
			a = attrs{"transB": c.trans}
		}
		w := b.weight("w", c.shape...)
		n := &graph.Node{Op: b.op(c.kind, a), In: []*graph.Value{b.input("x", 2, 37), w}}
		l := placedLayer{node: n, x: n.In[0], weight: w, channel: c.channel}
		for _, form := range []weightForm{{signed: true}, {signed: true, four: true}} {
			blocks := l.blocks(16)
			x := tensor.Data[float32](must(w.Data.Load()))
			got, err := roundBlocks("w", must(w.Data.Load()), blocks, form)
			if err != nil {
				t.Fatal(err)
			}
			seen := make([]int, len(x))
			for k, s := range got.scale {
				most := 0.0
				blocks.each(k, func(i int) {
					seen[i]++
					most = max(most, math.Abs(float64(x[i])))
					if blocks.at(i) != k || got.scaleOf(i, 0) != s {
						t.Fatalf("%s: weight %d is of block %d, want %d", c.kind, i, blocks.at(i), k)
					}
					if ch := i / c.shape[c.channel+1:].Len() % c.shape[c.channel]; blocks.channel(k, c.channel) != ch {
						t.Fatalf("%s: block %d is of channel %d, want %d", c.kind, k, blocks.channel(k, c.channel), ch)
					}
					if d := math.Abs(float64(x[i]) - float64(int8(got.data[i]))*float64(s)); d > 0.5001*float64(s) {
						t.Errorf("%s: weight %v is held as %v*%v", c.kind, x[i], int8(got.data[i]), s)
					}
				})
				if want := most / form.most(); math.Abs(float64(s)-want) > 1e-6*want {
					t.Errorf("%s: scale %v, want %v", c.kind, s, want)
				}
			}
			if slices.Min(seen) != 1 || slices.Max(seen) != 1 {
				t.Errorf("%s: weights are in %v blocks", c.kind, seen)
			}
		}
	}
}

// A bias that would not fit 32 bits in the scale of the sums, because the weights are next to nothing, keeps its value.
func TestLargeBiasesBesideSmallWeights(t *testing.T) {
	g := residual(t)
	for _, n := range g.Nodes {
		if n.Name == "head" {
			w := must(n.In[1].Data.Load())
			for i, v := range tensor.Data[float32](w) {
				tensor.Data[float32](w)[i] = v * 1e-9
			}
			n.In[1].Data = tensor.InMemory(w)
			n.In[2].Data = tensor.InMemory(tensor.Of(tensor.Shape{10}, normal(3, 10, 100)))
		}
	}
	x := firstCall(t)
	want := run(t, g, x)[0]
	q, _ := staticOf(t, g, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}})
	if db := snr(t, want, run(t, q, x)[0]); db < 80 {
		t.Errorf("%.1f dB", db)
	}
}

// staticOf quantizes g statically.
func staticOf(t *testing.T, g *graph.Graph, r Recipe) (*graph.Graph, *Plan) {
	t.Helper()
	m := &model.Model{Graph: g}
	p, err := NewPlan(m, r)
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), m, p, calls(32)); err != nil {
		t.Fatal(err)
	}
	if err := m.Graph.Infer(); err != nil {
		t.Fatal(err)
	}
	return m.Graph, p
}

func firstCall(t *testing.T) []*tensor.Tensor {
	t.Helper()
	for c, err := range calls(1).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		return c.In
	}
	t.Fatal("no call")
	return nil
}

func must(t *tensor.Tensor, err error) *tensor.Tensor {
	if err != nil {
		panic(err)
	}
	return t
}
