package op

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// walk evaluates a graph node by node.
func walk(g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	vals := map[*graph.Value]*tensor.Tensor{}
	for i, v := range g.Inputs {
		vals[v] = in[i]
	}
	get := func(v *graph.Value) *tensor.Tensor {
		if v != nil && v.Data != nil {
			t, _ := v.Data.Load()
			return t
		}
		return vals[v]
	}
	for _, n := range g.Nodes {
		args := make([]*tensor.Tensor, len(n.In))
		for i, v := range n.In {
			args[i] = get(v)
		}
		out, err := n.Op.Eval(&graph.Env{RunGraph: walk}, args)
		if err != nil {
			return nil, err
		}
		for i, v := range n.Out {
			vals[v] = out[i]
		}
	}
	out := make([]*tensor.Tensor, len(g.Outputs))
	for i, v := range g.Outputs {
		out[i] = get(v)
	}
	return out, nil
}

func mustGraph(t *testing.T, b *graph.Builder) *graph.Graph {
	t.Helper()
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func scalarF(v float32) *tensor.Tensor { return tensor.Scalar(v) }

// sumLoop carries s, adds a captured value to it in each iteration while s < 10 and lists the sums.
func sumLoop(t *testing.T) graph.Op {
	b := graph.NewBuilder("sum")
	b.Input("i", graph.Ranked(tensor.Int64))
	b.Input("cond", graph.Ranked(tensor.Bool))
	s := b.Input("s", graph.Ranked(tensor.Float32))
	step := b.Input("step", graph.Ranked(tensor.Float32))
	next := b.Add("next", newOp(t, "Add"), s, step)
	b.Output("more", b.Add("less", newOp(t, "Less"), next, b.Param("ten", scalarF(10))))
	b.Output("s_out", next)
	b.Output("all", b.Add("all", newOp(t, "Identity"), next))
	o := newOp(t, "Loop", "body", mustGraph(t, b))
	o.(*Loop).SetCaptures(1)
	return o
}

func TestLoop(t *testing.T) {
	e := &graph.Env{RunGraph: walk}
	o := sumLoop(t)
	for _, c := range []struct {
		m, cond *tensor.Tensor
		s       float32
		all     []float32
	}{
		{i64s(3), nil, 6, []float32{2, 4, 6}},
		{i64s(7), nil, 14, []float32{2, 4, 6, 8, 10, 12, 14}}, // without a condition the body's is ignored
		{i64s(7), tensor.Scalar(true), 10, []float32{2, 4, 6, 8, 10}},
		{nil, tensor.Scalar(true), 10, []float32{2, 4, 6, 8, 10}},
		{i64s(7), tensor.Scalar(false), 0, []float32{}},
		{i64s(0), nil, 0, []float32{}},
	} {
		out := mustEval(t, e, o, c.m, c.cond, scalarF(0), scalarF(2))
		if s := tensor.Item[float32](out[0]); s != c.s {
			t.Errorf("Loop: carried value %v, want %v", s, c.s)
		}
		if out[1].Rank() != 1 || !slices.Equal(tensor.Data[float32](out[1]), c.all) {
			t.Errorf("Loop: scan output %v, want %v", tensor.Data[float32](out[1]), c.all)
		}
	}
	types, err := o.Infer([]graph.Type{{}, {}, graph.Ranked(tensor.Float32), graph.Ranked(tensor.Float32)})
	if err != nil || types[0].String() != "float32[]" || types[1].String() != "float32[?]" {
		t.Errorf("Infer: got %v, %v", types, err)
	}
	if _, err := o.Infer(make([]graph.Type, 3)); err == nil || !strings.Contains(err.Error(), "does not fit 0 carried and 1 captured") {
		t.Errorf("Infer of too few inputs: got %v", err)
	}
}

func TestLoopIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	runs := 0
	e := &graph.Env{Ctx: ctx, RunGraph: func(g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
		if runs++; runs == 3 {
			cancel()
		}
		return walk(g, in)
	}}
	_, err := sumLoop(t).Eval(e, []*tensor.Tensor{nil, nil, scalarF(0), scalarF(1)})
	if !errors.Is(err, context.Canceled) || runs != 3 {
		t.Errorf("got %v after %d iterations", err, runs)
	}
}

func TestIf(t *testing.T) {
	branch := func(op string) *graph.Graph {
		b := graph.NewBuilder(op)
		x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n")))
		b.Output("y", b.Add("y", newOp(t, op), x, x))
		return mustGraph(t, b)
	}
	o := newOp(t, "If", "then_branch", branch("Add"), "else_branch", branch("Mul"))
	x := tensor.Vector[float32](3, 5)
	e := &graph.Env{RunGraph: walk}
	if got := tensor.Data[float32](mustEval(t, e, o, tensor.Scalar(true), x)[0]); !slices.Equal(got, []float32{6, 10}) {
		t.Errorf("then: got %v", got)
	}
	if got := tensor.Data[float32](mustEval(t, e, o, tensor.Vector(false), x)[0]); !slices.Equal(got, []float32{9, 25}) {
		t.Errorf("else: got %v", got)
	}
	types, err := o.Infer([]graph.Type{graph.Ranked(tensor.Bool), graph.TypeOf(x)})
	if err != nil || types[0].String() != "float32[?]" {
		t.Errorf("Infer: got %v, %v", types, err)
	}
}

// TestScan sums columns from the end while stacking the sums from the end along axis 1: the outputs follow from the definition
// in the operator's specification.
func TestScan(t *testing.T) {
	b := graph.NewBuilder("scan")
	s := b.Input("s", graph.Ranked(tensor.Float32, graph.Known(2)))
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Known(2)))
	k := b.Input("k", graph.Ranked(tensor.Float32))
	next := b.Add("next", newOp(t, "Add"), s, x)
	b.Output("s_out", next)
	b.Output("y", b.Add("y", newOp(t, "Mul"), next, k))
	o := newOp(t, "Scan", "body", mustGraph(t, b), "num_scan_inputs", int64(1), "scan_input_axes", []int64{-1},
		"scan_input_directions", []int64{1}, "scan_output_axes", []int64{1}, "scan_output_directions", []int64{1})
	o.(*Scan).SetCaptures(1)
	e := &graph.Env{RunGraph: walk}
	in := []*tensor.Tensor{tensor.Vector[float32](0, 100), tensor.Of(tensor.Shape{2, 3}, []float32{1, 2, 3, 4, 5, 6}), scalarF(10)}
	out := mustEval(t, e, o, in...)
	if got := tensor.Data[float32](out[0]); !slices.Equal(got, []float32{6, 115}) {
		t.Errorf("state: got %v", got)
	}
	if got := tensor.Data[float32](out[1]); !out[1].Shape.Equal(tensor.Shape{2, 3}) || !slices.Equal(got, []float32{60, 50, 30, 1150, 1110, 1060}) {
		t.Errorf("scan output: got %v of shape %v", got, out[1].Shape)
	}
	in[1] = tensor.New(tensor.Float32, 2, 0)
	if out := mustEval(t, e, o, in...); !out[1].Shape.Equal(tensor.Shape{2, 0}) {
		t.Errorf("without steps: got %v", out[1])
	}
	types, err := o.Infer([]graph.Type{graph.Shaped(tensor.Float32, tensor.Shape{2}), graph.Ranked(tensor.Float32, dimsOf("2,t")...), graph.Ranked(tensor.Float32)})
	if err != nil || types[0].String() != "float32[2]" || types[1].String() != "float32[2,t]" {
		t.Errorf("Infer: got %v, %v", types, err)
	}
}

func TestSequenceMap(t *testing.T) {
	b := graph.NewBuilder("map")
	x := b.Input("x", graph.Unranked(tensor.Float32))
	y := b.Input("y", graph.Unranked(tensor.Float32))
	q := b.Input("captured", graph.Type{DType: tensor.Sequence})
	last := b.Add("last", newOp(t, "SequenceAt"), q, b.Param("at", i64s(-1)))
	b.Output("z", b.Add("z", newOp(t, "Add"), b.Add("xy", newOp(t, "Add"), x, y), last))
	o := newOp(t, "SequenceMap", "body", mustGraph(t, b))
	o.(*SequenceMap).SetCaptures(1)
	seq := tensor.NewSequence(tensor.Vector[float32](1), tensor.Vector[float32](2, 3))
	captured := tensor.NewSequence(scalarF(7), scalarF(100), scalarF(1000))
	out := mustEval(t, &graph.Env{RunGraph: walk}, o, seq, seq, captured)[0].Elems()
	if len(out) != 2 || !slices.Equal(tensor.Data[float32](out[0]), []float32{1002}) || !slices.Equal(tensor.Data[float32](out[1]), []float32{1004, 1006}) {
		t.Errorf("got %v", out)
	}
}

func TestSequences(t *testing.T) {
	a, b := tensor.Vector[float32](1), tensor.Vector[float32](2, 3)
	seq := mustEval(t, nil, newOp(t, "SequenceConstruct"), a, b)[0]
	if got := mustEval(t, nil, newOp(t, "SequenceInsert"), seq, b, i64s(-2))[0].Elems(); !slices.Equal(got, []*tensor.Tensor{b, a, b}) {
		t.Errorf("SequenceInsert: got %v", got)
	}
	if got := mustEval(t, nil, newOp(t, "SequenceErase"), seq)[0].Elems(); !slices.Equal(got, []*tensor.Tensor{a}) {
		t.Errorf("SequenceErase: got %v", got)
	}
	x := tensor.Of(tensor.Shape{2, 3}, []int8{1, 2, 3, 4, 5, 6})
	parts := mustEval(t, nil, newOp(t, "SplitToSequence", "axis", int64(1)), x, tensor.Scalar[int64](2))[0]
	if e := parts.Elems(); len(e) != 2 || !e[1].Shape.Equal(tensor.Shape{2, 1}) || !slices.Equal(tensor.Data[int8](e[1]), []int8{3, 6}) {
		t.Errorf("SplitToSequence: got %v", e)
	}
	rows := mustEval(t, nil, newOp(t, "SplitToSequence", "keepdims", int64(0)), x)[0]
	stacked := mustEval(t, nil, newOp(t, "ConcatFromSequence", "axis", int64(-1), "new_axis", int64(1)), rows)[0]
	if !stacked.Shape.Equal(tensor.Shape{3, 2}) || !slices.Equal(tensor.Data[int8](stacked), []int8{1, 4, 2, 5, 3, 6}) {
		t.Errorf("ConcatFromSequence: got %v %v", stacked, tensor.Data[int8](stacked))
	}
	inner := graph.Unranked(tensor.Float32)
	empty := mustEval(t, nil, newOp(t, "Optional", "type", inner))[0]
	full := mustEval(t, nil, newOp(t, "Optional"), seq)[0]
	for i, c := range []struct {
		t    *tensor.Tensor
		want bool
	}{{empty, false}, {full, true}, {seq, true}, {nil, false}} {
		if got := tensor.Item[bool](mustEval(t, nil, newOp(t, "OptionalHasElement"), c.t)[0]); got != c.want {
			t.Errorf("OptionalHasElement %d: got %v", i, got)
		}
	}
	if got := mustEval(t, nil, newOp(t, "OptionalGetElement"), full)[0]; got != seq {
		t.Errorf("OptionalGetElement: got %v", got)
	}
	if _, err := newOp(t, "OptionalGetElement").Eval(nil, []*tensor.Tensor{empty}); err == nil {
		t.Error("OptionalGetElement of an empty optional succeeds")
	}
}
