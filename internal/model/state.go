package model

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Entry is a tensor of a state dict.
type Entry struct {
	Name string
	tensor.Source
	// Scales is set for the weight of a linear layer that is stored in codes: whole numbers of -128 to 127 times these, of which
	// there is one, or one a row.
	Scales []float32
}

// StateDict returns the tensors of a model as its makers named them: those of the file, or where that has a graph only, the
// parameters of the graph that are floats.
func (m *Model) StateDict() []Entry {
	if m.State != nil {
		return m.State
	}
	var out []Entry
	seen := map[*graph.Value]bool{}
	var walk func(g *graph.Graph)
	walk = func(g *graph.Graph) {
		for _, v := range g.Params() {
			if !seen[v] && v.Data.DType().IsFloat() {
				seen[v] = true
				out = append(out, Entry{Name: v.Name, Source: v.Data})
			}
		}
		for _, n := range g.Nodes {
			if b, ok := n.Op.(graph.Body); ok {
				for _, sub := range b.Bodies() {
					walk(sub)
				}
			}
		}
	}
	walk(m.Graph)
	return out
}

// change is a value for a source.
type change struct{ of, to tensor.Source }

// Changed returns the tensors of a state dict after changes to what was derived from them: each key of changes is one of them or
// a [tensor.Derived] of them, and its value what it is to be. Tensors keep their element types; they are computed when they
// are loaded. Keys that do not lead to a tensor of the state dict, such as a bias that other tensors were folded into, are lost:
// what they are derived from stays.
func Changed(state []Entry, changes map[tensor.Source]tensor.Source) (changed []Entry, lost []tensor.Source) {
	lists := map[tensor.Source][]change{}
	for _, e := range state {
		lists[e.Source] = nil
	}
	for of, to := range changes {
		found := roots(of, lists)
		if len(found) == 0 {
			lost = append(lost, of)
		}
		for _, r := range found {
			lists[r] = append(lists[r], change{of, to})
		}
	}
	out := slices.Clone(state)
	made := map[tensor.Source]tensor.Source{}
	for i, e := range state {
		if len(lists[e.Source]) == 0 {
			continue
		}
		if made[e.Source] == nil {
			made[e.Source] = &restated{e.Source, lists[e.Source]}
		}
		out[i].Source = made[e.Source]
	}
	return out, lost
}

// roots lists the tensors of a state dict that a source is or is derived from.
func roots(s tensor.Source, state map[tensor.Source][]change) []tensor.Source {
	if _, ok := state[s]; ok {
		return []tensor.Source{s}
	}
	d, ok := s.(tensor.Derived)
	if !ok {
		return nil
	}
	var out []tensor.Source
	for _, p := range d.Parts() {
		for _, r := range roots(p, state) {
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// restated is a tensor of which what is derived was changed.
type restated struct {
	tensor.Source
	changes []change
}

// Load computes the tensor anew.
func (c *restated) Load() (*tensor.Tensor, error) {
	t, err := copied(c.Source)
	if err != nil {
		return nil, err
	}
	for _, x := range c.changes {
		v, err := x.to.Load()
		if err != nil {
			return nil, err
		}
		if err := spread(x.of, v, c.Source, t); err != nil {
			return nil, err
		}
	}
	if c.DType() == tensor.Float32 {
		return t, nil
	}
	f := tensor.Data[float32](t)
	wide := make([]float64, len(f))
	for i, x := range f {
		wide[i] = float64(x)
	}
	return tensor.FromFloat64s(c.DType(), t.Shape, wide)
}

// copied returns the values of a source as a float32 tensor of its own.
func copied(s tensor.Source) (*tensor.Tensor, error) {
	t, err := s.Load()
	if err != nil {
		return nil, err
	}
	f, err := t.Floats()
	if err != nil {
		return nil, err
	}
	return tensor.Of(t.Shape, slices.Clone(f)), nil
}

// spread changes t, the values of root, to what makes s be v.
func spread(s tensor.Source, v *tensor.Tensor, root tensor.Source, t *tensor.Tensor) error {
	if s == root {
		f, err := v.Floats()
		if err != nil {
			return err
		}
		copy(tensor.Data[float32](t), f)
		return nil
	}
	d, ok := s.(tensor.Derived)
	if !ok {
		return nil
	}
	parts := make([]*tensor.Tensor, len(d.Parts()))
	for i, p := range d.Parts() {
		var err error
		if p == root { // what other changes made of it stays
			parts[i] = t
		} else if parts[i], err = copied(p); err != nil {
			return err
		}
	}
	if err := d.Spread(v, parts); err != nil {
		return err
	}
	for i, p := range d.Parts() {
		if p == root {
			continue
		}
		if err := spread(p, parts[i], root, t); err != nil {
			return err
		}
	}
	return nil
}
