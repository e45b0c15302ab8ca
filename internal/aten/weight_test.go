package aten

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

func random(shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	for i := range t.Len() {
		tensor.Data[float32](t)[i] = rand.Float32()
	}
	return t
}

// A derived parameter that is changed is what its parts, changed by Spread, give.
func TestSpreadUndoesLoad(t *testing.T) {
	lstm := gateOrder["LSTM"]
	for name, c := range map[string]struct {
		shapes []tensor.Shape
		derive func(p []tensor.Source) tensor.Source
	}{
		"transposed":   {[]tensor.Shape{{3, 5}}, func(p []tensor.Source) tensor.Source { return transposed{p[0]} }},
		"rows":         {[]tensor.Shape{{6, 4}}, func(p []tensor.Source) tensor.Source { return rows(p[0], 2, 5) }},
		"rows, turned": {[]tensor.Shape{{6, 4}}, func(p []tensor.Source) tensor.Source { return transposed{rows(p[0], 2, 5)} }},
		"stacked":      {[]tensor.Shape{{8, 3}, {8, 3}}, func(p []tensor.Source) tensor.Source { return stacked(p, lstm) }},
		"concatenated": {[]tensor.Shape{{8}, {8}, {8}, {8}}, func(p []tensor.Source) tensor.Source {
			return concatenated([][]tensor.Source{p[:2], p[2:]}, lstm)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			old := make([]tensor.Source, len(c.shapes))
			for i, s := range c.shapes {
				old[i] = tensor.InMemory(random(s...))
			}
			d := c.derive(old)
			value := random(d.Shape()...)
			changed := spread(t, d, value, old)
			got, err := c.derive(changed).Load()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(tensor.Data[float32](got), tensor.Data[float32](value)) {
				t.Errorf("got %v, want %v", tensor.Data[float32](got), tensor.Data[float32](value))
			}
			if name == "rows" { // what is not in it stays
				a, b := data(t, old[0]), data(t, changed[0])
				if !slices.Equal(a[:8], b[:8]) || !slices.Equal(a[20:], b[20:]) {
					t.Error("other rows were changed")
				}
			}
		})
	}
}

// spread returns the sources at the bottom of a chain of derived ones after a change.
func spread(t *testing.T, s tensor.Source, value *tensor.Tensor, bottom []tensor.Source) []tensor.Source {
	t.Helper()
	d := s.(tensor.Derived)
	parts := make([]*tensor.Tensor, len(d.Parts()))
	for i, p := range d.Parts() {
		x, err := p.Load()
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = tensor.Of(x.Shape, slices.Clone(tensor.Data[float32](x)))
	}
	if err := d.Spread(value, parts); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(bottom, d.Parts()[0]) {
		return spread(t, d.Parts()[0], parts[0], bottom)
	}
	out := make([]tensor.Source, len(parts))
	for i, p := range parts {
		out[i] = tensor.InMemory(p)
	}
	return out
}

func data(t *testing.T, s tensor.Source) []float32 {
	t.Helper()
	x, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Data[float32](x)
}
