package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
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

func vector(v ...float32) *tensor.Tensor { return tensor.Vector(v...) }

// chain builds y = ((x+1)*2 reshaped) + x through values that die one after the other and a view in between.
func chain(t *testing.T) *graph.Graph {
	b := graph.NewBuilder("chain")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n")))
	neg := b.Add("neg", mk(t, "Neg", nil), x)
	h := x
	for i := range 6 {
		b.Scope(fmt.Sprintf("layer%d", i), func() {
			h = b.Add("add", mk(t, "Add", nil), h, b.Param("one", tensor.Scalar[float32](1)))
			v := b.Add("view", mk(t, "Reshape", nil), h, b.Param("shape", tensor.Vector[int64](-1, 1)))
			w := b.Add("back", mk(t, "Reshape", nil), v, b.Param("shape1", tensor.Vector[int64](-1)))
			h = b.Add("double", mk(t, "Add", nil), w, h)
		})
	}
	b.Output("y", h)
	b.Output("first", neg)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func chainWant(x float32) float32 {
	for range 6 {
		x = 2 * (x + 1)
	}
	return x
}

func TestBuffersAreReusedAndNeverWhileAlive(t *testing.T) {
	s, err := NewSession(chain(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	var first []*tensor.Tensor
	for run := range 3 {
		in := vector(1, 2, float32(run))
		out, err := s.Run(context.Background(), []*tensor.Tensor{in})
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range tensor.Data[float32](in) {
			if got := tensor.Data[float32](out[0])[i]; got != chainWant(x) {
				t.Errorf("run %d: y[%d] = %v, want %v", run, i, got, chainWant(x))
			}
			if got := tensor.Data[float32](out[1])[i]; got != -x {
				t.Errorf("run %d: first[%d] = %v, want %v", run, i, got, -x)
			}
		}
		if run == 0 {
			first = out
		}
	}
	if got := tensor.Data[float32](first[0])[2]; got != chainWant(0) {
		t.Errorf("an output handed to the caller was overwritten by a later run: %v", got)
	}
	if n := len(s.idle[0].mem.free); n != 0 {
		t.Errorf("%d buffers lie beside the block; want none", n)
	}
	if m := s.Memory(); m.Peak != 3*12 || m.Reserved > 3*alignment {
		t.Errorf("%d bytes at most, %d kept, for three values of 12 at a time", m.Peak, m.Reserved)
	}
	if n := len(s.idle[0].mem.live); n != 0 {
		t.Errorf("%d buffers are still counted as live", n)
	}
}

func TestConcurrentRuns(t *testing.T) {
	s, err := NewSession(chain(t), Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				x := float32(g*100 + i)
				out, err := s.Run(context.Background(), []*tensor.Tensor{vector(x)})
				if err != nil {
					t.Error(err)
					return
				}
				if got := tensor.Data[float32](out[0])[0]; got != chainWant(x) {
					t.Errorf("got %v, want %v", got, chainWant(x))
				}
			}
		})
	}
	wg.Wait()
}

func TestTapSeesEveryNode(t *testing.T) {
	var seen []string
	s, err := NewSession(chain(t), Options{Threads: 1, Tap: func(n *graph.Node, in, out []*tensor.Tensor) {
		if len(in) == 0 || len(out) != 1 {
			t.Errorf("node %s: %d inputs, %d outputs", n.Name, len(in), len(out))
		}
		seen = append(seen, n.Name)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(context.Background(), []*tensor.Tensor{vector(1)}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != len(s.Graph().Nodes) || seen[0] != "neg" {
		t.Errorf("saw %v", seen)
	}
}

// loopGraph sums 1..n in a Loop whose body captures an outer value.
func loopGraph(t *testing.T) *graph.Graph {
	i := &graph.Value{Name: "i", Type: graph.Shaped(tensor.Int64, nil)}
	c := &graph.Value{Name: "c", Type: graph.Shaped(tensor.Bool, nil)}
	acc := &graph.Value{Name: "acc", Type: graph.Shaped(tensor.Float32, tensor.Shape{1})}
	step := &graph.Value{Name: "step", Type: graph.Shaped(tensor.Float32, tensor.Shape{1})}
	keep := &graph.Node{Name: "keep", Op: mk(t, "Identity", nil), In: []*graph.Value{c}}
	add := &graph.Node{Name: "add", Op: mk(t, "Add", nil), In: []*graph.Value{acc, step}}
	outC := &graph.Value{Name: "c_out", Node: keep}
	outA := &graph.Value{Name: "acc_out", Node: add}
	keep.Out, add.Out = []*graph.Value{outC}, []*graph.Value{outA}
	body := &graph.Graph{Name: "body", Nodes: []*graph.Node{keep, add}, Inputs: []*graph.Value{i, c, acc, step}, Outputs: []*graph.Value{outC, outA}}

	b := graph.NewBuilder("sum")
	n := b.Input("n", graph.Shaped(tensor.Int64, nil))
	s := b.Input("s", graph.Shaped(tensor.Float32, tensor.Shape{1}))
	neg := b.Add("neg", mk(t, "Neg", nil), s)
	loop := mk(t, "Loop", map[string]any{"body": body})
	loop.(*op.Loop).SetCaptures(1)
	res := b.Add("loop", loop, n, nil, b.Param("zero", vector(0)), neg)
	b.Output("sum", res)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLoopWithCapture(t *testing.T) {
	s, err := NewSession(loopGraph(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{0, 1, 5, 100} {
		out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Scalar(n), vector(2)})
		if err != nil {
			t.Fatal(err)
		}
		if got := tensor.Data[float32](out[0])[0]; got != float32(-2*n) {
			t.Errorf("n=%d: got %v", n, got)
		}
	}
}

func TestCancelledContextStops(t *testing.T) {
	s, err := NewSession(chain(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Run(ctx, []*tensor.Tensor{vector(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Run(context.Background(), []*tensor.Tensor{vector(1)}); err != nil {
		t.Errorf("the session does not recover: %v", err)
	}
}

func TestInputErrorsNameEverything(t *testing.T) {
	g := loopGraph(t)
	err := CheckInputs(g, []*tensor.Tensor{tensor.Scalar[int32](1), vector(1, 2)})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{`input "n": want element type int64, got int32`, `input "s": dimension 0: want 1, got 2`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if err := CheckInputs(g, []*tensor.Tensor{tensor.Scalar[int64](1), nil}); err == nil || !strings.Contains(err.Error(), `input "s"`) {
		t.Errorf("missing input: %v", err)
	}
	s, err := NewSession(g, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RunNamed(context.Background(), map[string]*tensor.Tensor{"x": vector(1)}); err == nil || !strings.Contains(err.Error(), `no input "x"`) {
		t.Errorf("unknown name: %v", err)
	}
	// Arrays of rank 0 come as vectors of one element from some libraries.
	if _, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Vector[int64](3), vector(1)}); err != nil {
		t.Errorf("a vector of one element for a scalar: %v", err)
	}
}

type boom struct{}

func (boom) Kind() string                                                { return "Boom" }
func (boom) Infer([]graph.Type) ([]graph.Type, error)                    { return []graph.Type{{}}, nil }
func (boom) Eval(*graph.Env, []*tensor.Tensor) ([]*tensor.Tensor, error) { panic("out of range") }

func TestPanicOfAnOperatorIsAnError(t *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", graph.Unranked(tensor.Float32))
	b.Output("y", b.Add("bad", boom{}, x))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSession(g, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(context.Background(), []*tensor.Tensor{vector(1)}); err == nil || !strings.Contains(err.Error(), `node "bad" (Boom): internal error: out of range`) {
		t.Errorf("got %v", err)
	}
}
