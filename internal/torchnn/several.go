package torchnn

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// nnModules is where the classes of torch.nn are.
const nnModules = "torch.nn.modules."

// several is a class that takes or gives several values, as the whole of a network.
type several struct {
	inputs  []string // by the names that its forward has; nil: one, [InputName]
	outputs []string // nil: one, [OutputName]
	forward func(l *Layer, in []*graph.Value) []*graph.Value
	// dims returns the dimensions of input i, where they are not those of the first, d; nil: they are.
	dims func(l *Layer, i int, d []graph.Dim) []graph.Dim
}

// severalInputs are the classes that take or give several values, below [nnModules].
var severalInputs = map[string]several{
	"rnn.LSTM":                            {outputs: []string{OutputName, "hidden", "cells"}, forward: recurrent},
	"rnn.GRU":                             {outputs: []string{OutputName, "hidden"}, forward: recurrent},
	"rnn.RNN":                             {outputs: []string{OutputName, "hidden"}, forward: recurrent},
	"rnn.LSTMCell":                        {outputs: []string{OutputName, "cells"}, forward: cell},
	"activation.MultiheadAttention":       {inputs: []string{"query", "key", "value"}, forward: multiHead, dims: keyDims},
	"transformer.TransformerDecoder":      {inputs: []string{"tgt", "memory"}, forward: decoder, dims: keyDims},
	"transformer.TransformerDecoderLayer": {inputs: []string{"tgt", "memory"}, forward: decoderLayer, dims: keyDims},
	"transformer.Transformer":             {inputs: []string{"src", "tgt"}, forward: transformer, dims: keyDims},
	"linear.Bilinear": {
		inputs: []string{"input1", "input2"},
		forward: func(l *Layer, in []*graph.Value) []*graph.Value {
			return []*graph.Value{l.Bilinear(in[0], in[1], l.need("weight"), l.Weight("bias"))}
		},
		dims: func(l *Layer, _ int, d []graph.Dim) []graph.Dim {
			return append(slices.Clone(d[:len(d)-1]), graph.Known(l.Int("in2_features", 0)))
		},
	},
	"distance.CosineSimilarity": {
		inputs: []string{"x1", "x2"},
		forward: func(l *Layer, in []*graph.Value) []*graph.Value {
			return []*graph.Value{l.CosineSimilarity(in[0], in[1], l.Int("dim", 1), l.Number("eps", 1e-8))}
		},
	},
	"distance.PairwiseDistance": {
		inputs: []string{"x1", "x2"},
		forward: func(l *Layer, in []*graph.Value) []*graph.Value {
			return []*graph.Value{l.PairwiseDistance(in[0], in[1], l.Number("norm", 2), l.Number("eps", 1e-6), l.Bool("keepdim", false))}
		},
	},
}

// keyDims are the dimensions of what queries d attend to: as many samples, tokens of a number of their own.
func keyDims(l *Layer, i int, d []graph.Dim) []graph.Dim {
	d = slices.Clone(d)
	for j := range d {
		if d[j] == tokens {
			d[j].Name = "keys"
		}
	}
	if n := l.Int([]string{"", "kdim", "vdim"}[i], 0); n > 0 && len(d) == 3 {
		d[2] = graph.Known(n)
	}
	return d
}
