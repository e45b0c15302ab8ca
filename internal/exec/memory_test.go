package exec

import (
	"context"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// wide returns n times x.
func wide(n int, x float32) *tensor.Tensor {
	t := tensor.New(tensor.Float32, n)
	for i := range n {
		tensor.Data[float32](t)[i] = x
	}
	return t
}

func wantAll(t *testing.T, what string, v *tensor.Tensor, want float32) {
	t.Helper()
	for i, got := range tensor.Data[float32](v) {
		if got != want {
			t.Fatalf("%s[%d] = %v, want %v", what, i, got, want)
		}
	}
}

// TestLargeOutputsAreTheCallers runs a model whose values lie outside of the heap: outputs outlive later runs and the session.
func TestLargeOutputsAreTheCallers(t *testing.T) {
	s, err := NewSession(chain(t), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * outsideSize
	var kept [][]*tensor.Tensor
	for run := range 4 {
		x := wide(n+run, float32(run))
		out, err := s.Run(context.Background(), []*tensor.Tensor{x})
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, out)
	}
	m := s.Memory()
	if m.Peak < 8*n || m.Reserved < 4*n || m.Reserved > 64*n {
		t.Errorf("%d bytes at most, %d kept, for values of %d", m.Peak, m.Reserved, 4*n)
	}
	s.Close()
	if m := s.Memory(); m.Reserved != 0 {
		t.Errorf("%d bytes are kept after closing", m.Reserved)
	}
	for run, out := range kept {
		wantAll(t, "y", out[0], chainWant(float32(run)))
		wantAll(t, "first", out[1], -float32(run))
	}
	// A closed session has no memory at hand, but still runs.
	out, err := s.Run(context.Background(), []*tensor.Tensor{wide(n, 3)})
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, "y", out[0], chainWant(3))
}

// TestElementsOfSequencesAreHeld builds a sequence of values that die, and makes many more of their size before it is read.
func TestElementsOfSequencesAreHeld(t *testing.T) {
	b := graph.NewBuilder("sequence")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n")))
	one := b.Param("one", tensor.Scalar[float32](1))
	first := b.Add("a", mk(t, "Add", nil), x, one)
	second := b.Add("b", mk(t, "Add", nil), first, one)
	list := b.Add("list", mk(t, "SequenceConstruct", nil), first, second)
	h := second
	for range 6 {
		h = b.Add("step", mk(t, "Add", nil), h, one)
	}
	b.Output("h", h)
	b.Output("joined", b.Add("joined", mk(t, "ConcatFromSequence", map[string]any{"axis": int64(0)}), list))
	b.Output("list", list)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSession(g, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	const n = outsideSize
	var lists []*tensor.Tensor
	for run := range 3 {
		out, err := s.Run(context.Background(), []*tensor.Tensor{wide(n, float32(10*run))})
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, "h", out[0], float32(10*run+8))
		joined := tensor.Data[float32](out[1])
		if joined[0] != float32(10*run+1) || joined[n] != float32(10*run+2) {
			t.Errorf("run %d: joined %v and %v", run, joined[0], joined[n])
		}
		lists = append(lists, out[2])
	}
	s.Close()
	for run, l := range lists {
		wantAll(t, "element 0", l.Elems()[0], float32(10*run+1))
		wantAll(t, "element 1", l.Elems()[1], float32(10*run+2))
	}
}

// TestInputsAndConstantsPassThrough gives outputs that no node computed.
func TestInputsAndConstantsPassThrough(t *testing.T) {
	b := graph.NewBuilder("through")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n")))
	same := b.Add("same", mk(t, "Identity", nil), x)
	twice := b.Add("twice", mk(t, "Add", nil), x, x)
	b.Output("same", same)
	b.Output("twice", twice)
	b.Output("again", b.Add("again", mk(t, "Identity", nil), twice))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSession(g, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{3, outsideSize} {
		in := wide(n, 2)
		var kept []*tensor.Tensor
		for range 3 {
			out, err := s.Run(context.Background(), []*tensor.Tensor{in})
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, out...)
		}
		for i, o := range kept {
			wantAll(t, "output", o, []float32{2, 4, 4}[i%3])
		}
	}
}
