package model

import (
	"context"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// OpenOptions say what a file does not: formats that hold weights without a graph need it.
type OpenOptions struct {
	// Arch names the architecture of the weights; empty: it is told by their names and shapes.
	Arch string
	// Inputs are the dimensions of inputs by name, or under "" those of the only one; nil: as the format sees fit.
	Inputs map[string][]graph.Dim
}

// Input returns the dimensions that are given for an input; nil where none are.
func (o OpenOptions) Input(name string) []graph.Dim {
	if d := o.Inputs[name]; d != nil {
		return d
	}
	return o.Inputs[""]
}

type openOptionsKey struct{}

// WithOpenOptions returns a context in which models are opened with o.
func WithOpenOptions(ctx context.Context, o OpenOptions) context.Context {
	return context.WithValue(ctx, openOptionsKey{}, o)
}

// OpenOptionsFrom returns the options of a context, zero where there are none.
func OpenOptionsFrom(ctx context.Context) OpenOptions {
	o, _ := ctx.Value(openOptionsKey{}).(OpenOptions)
	return o
}
