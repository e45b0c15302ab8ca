package torchnn

import (
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var recurrents = map[string]Forward{
	"rnn.LSTM": first(recurrent), "rnn.GRU": first(recurrent), "rnn.RNN": first(recurrent),
	"rnn.LSTMCell": first(cell), "rnn.GRUCell": first(cell), "rnn.RNNCell": first(cell),
}

// first gives the first result of what has several, as it is where a Sequential goes on with it.
func first(f func(*Layer, []*graph.Value) []*graph.Value) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value { return f(l, []*graph.Value{x})[0] }
}

// recurrent gives the output, the final state and, of an LSTM, the final cells.
func recurrent(l *Layer, in []*graph.Value) []*graph.Value {
	p := aten.Recurrent{
		Mode: l.Text("mode", ""), Hidden: l.Int("hidden_size", 0), Layers: l.Int("num_layers", 1),
		Bidirectional: l.Bool("bidirectional", false), BatchFirst: l.Bool("batch_first", false),
	}
	if l.Int("proj_size", 0) != 0 {
		return []*graph.Value{l.Fail("%s: a projection (proj_size) is %w", l.what(), checkpoint.ErrUnsupported)}
	}
	if p.Layers > 64 {
		return []*graph.Value{l.Fail("%s: %d layers", l.what(), p.Layers)}
	}
	y, h, c := l.Recurrent(in[0], nil, nil, p, func(name string) tensor.Source { return l.Source(name) })
	if c == nil {
		return []*graph.Value{y, h}
	}
	return []*graph.Value{y, h, c}
}

// cell gives the next state and, of an LSTM, the next cells, after states of zero.
func cell(l *Layer, in []*graph.Value) []*graph.Value {
	mode := map[string]string{"rnn.LSTMCell": "LSTM", "rnn.GRUCell": "GRU", "rnn.RNNCell": "RNN_TANH"}[strings.TrimPrefix(l.Module.Class, nnModules)]
	if mode == "RNN_TANH" && l.Text("nonlinearity", "tanh") == "relu" {
		mode = "RNN_RELU"
	}
	h, c := l.Cell(in[0], nil, nil, mode, func(name string) tensor.Source { return l.Source(strings.TrimSuffix(name, "_l0")) })
	if c == nil {
		return []*graph.Value{h}
	}
	return []*graph.Value{h, c}
}

// multiHead gives the output of an attention of queries, keys and values, or of one value for all three.
func multiHead(l *Layer, in []*graph.Value) []*graph.Value {
	for len(in) < 3 {
		in = append(in, in[len(in)-1])
	}
	return []*graph.Value{l.attention(in[0], in[1], in[2], nil)}
}
