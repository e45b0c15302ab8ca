package packed

import (
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Turned is the transpose of a matrix as float32 values, made when it is loaded.
func Turned(s tensor.Source) tensor.Source { return turned{s} }

type turned struct{ tensor.Source }

// Shape implements [tensor.Source].
func (s turned) Shape() tensor.Shape {
	shape := s.Source.Shape()
	return tensor.Shape{shape[1], shape[0]}
}

// DType implements [tensor.Source].
func (turned) DType() tensor.DType { return tensor.Float32 }

// Load implements [tensor.Source].
func (s turned) Load() (*tensor.Tensor, error) {
	t, err := s.Source.Load()
	if err != nil {
		return nil, err
	}
	f, err := t.Floats()
	if err != nil {
		return nil, err
	}
	rows, cols := t.Shape[0], t.Shape[1]
	out := tensor.New(tensor.Float32, cols, rows)
	kernel.Transpose(tensor.Data[float32](out), rows, f, cols, rows, cols)
	return out, nil
}

// Release implements [tensor.Releaser].
func (s turned) Release() { tensor.Release(s.Source) }
