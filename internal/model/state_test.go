package model

import (
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// half of a vector, times two.
type half struct {
	tensor.Source
	from int
}

func (h half) Shape() tensor.Shape    { return tensor.Shape{h.Source.Shape()[0] / 2} }
func (h half) Parts() []tensor.Source { return []tensor.Source{h.Source} }
func (h half) Load() (*tensor.Tensor, error) {
	t, err := h.Source.Load()
	if err != nil {
		return nil, err
	}
	v := slices.Clone(tensor.Data[float32](t)[h.from : h.from+t.Len()/2])
	for i := range v {
		v[i] *= 2
	}
	return tensor.Vector(v...), nil
}

func (h half) Spread(v *tensor.Tensor, parts []*tensor.Tensor) error {
	for i, x := range tensor.Data[float32](v) {
		tensor.Data[float32](parts[0])[h.from+i] = x / 2
	}
	return nil
}

func TestChangesOfDerivedWeightsReachTheStateDict(t *testing.T) {
	w := tensor.InMemory(tensor.Vector[float32](1, 2, 3, 4))
	h, err := tensor.FromFloat64s(tensor.Float16, tensor.Shape{2}, []float64{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	state := []Entry{{Name: "w", Source: w}, {Name: "tied", Source: w}, {Name: "n", Source: tensor.InMemory(tensor.Vector[int64](7))}, {Name: "h", Source: tensor.InMemory(h)}}
	to := func(v ...float32) tensor.Source { return tensor.InMemory(tensor.Vector(v...)) }
	folded := to(1)
	got, lost := Changed(state, map[tensor.Source]tensor.Source{
		half{w, 0}: to(20, 40), half{half{w, 2}, 1}: to(120), state[3].Source: to(5, 6), folded: to(2),
	})
	if len(lost) != 1 || lost[0] != folded {
		t.Errorf("lost %v", lost)
	}
	for i, want := range [][]float64{{10, 20, 3, 30}, {10, 20, 3, 30}, {7}, {5, 6}} {
		x, err := got[i].Load()
		if err != nil {
			t.Fatal(err)
		}
		if v, err := x.Float64s(); err != nil || !slices.Equal(v, want) || x.DType != state[i].DType() || got[i].Name != state[i].Name {
			t.Errorf("%s: want %v, got %v %v, %v", state[i].Name, want, x, v, err)
		}
	}
	if got[0].Source != got[1].Source {
		t.Error("tied tensors are two")
	}
	if v, _ := w.Load(); tensor.Data[float32](v)[0] != 1 {
		t.Error("the original was changed")
	}
}

func TestStateDictOfAGraph(t *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Known(2)))
	w := b.Param("w", tensor.Vector[float32](1, 2))
	b.Output("y", b.Add("add", addOp{}, x, w))
	b.Output("n", b.Add("add2", addOp{}, b.Param("shape", tensor.Vector[int64](2)), b.Param("shape", tensor.Vector[int64](2))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	m := &Model{Graph: g}
	if s := m.StateDict(); len(s) != 1 || s[0].Name != "w" {
		t.Errorf("state dict %v", s)
	}
	m.State = []Entry{{Name: "a", Source: w.Data}}
	if s := m.StateDict(); len(s) != 1 || s[0].Name != "a" {
		t.Errorf("state dict %v", s)
	}
}

// addOp stands for an operator of any kind.
type addOp struct{}

func (addOp) Kind() string                                { return "Add" }
func (addOp) Infer(in []graph.Type) ([]graph.Type, error) { return in[:1], nil }
func (addOp) Eval(_ *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return in[:1], nil
}
