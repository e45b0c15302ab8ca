package neuroquant

import (
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/nn"
)

// NewModel returns a model of layers for samples of a shape, without the batch, with parameters that a seed gives: an input "input" and an output
// "output". It is trained by a [Trainer].
func NewModel(name string, layers nn.Layer, seed uint64, shape ...int) (*Model, error) {
	g, err := nn.Build(name, layers, seed, shape...)
	if err != nil {
		return nil, err
	}
	return &Model{m: &model.Model{Graph: g, Format: formatONNX}}, nil
}
