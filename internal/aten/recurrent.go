package aten

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Recurrent are the parameters of a recurrent network of several layers.
type Recurrent struct {
	Mode          string // LSTM, GRU, RNN_TANH or RNN_RELU
	Hidden        int
	Layers        int
	Bidirectional bool
	BatchFirst    bool // x and y are [batch, steps, size]; the states never are
}

// gateOrder says for each block of rows that ONNX wants which one of PyTorch's it is: PyTorch has the gates input, forget, cell,
// output of an LSTM, ONNX input, output, forget, cell; PyTorch reset, update, new of a GRU, ONNX update, reset, new.
var gateOrder = map[string][]int{"LSTM": {0, 3, 1, 2}, "GRU": {1, 0, 2}, "RNN_TANH": {0}, "RNN_RELU": {0}}

// Recurrent is torch.lstm, torch.gru, torch.rnn_tanh or torch.rnn_relu: x [steps, batch, size], or [steps, size] without a
// batch; h and c, the initial states [layers*directions, batch, hidden], may be nil. The weights come by the names that
// torch.nn.LSTM has for them, weight_ih_l0, weight_hh_l0_reverse and so on; a bias that is absent is nil. The results are y
// [steps, batch, directions*hidden] and the final states; c is that of an LSTM, else nil.
func (b *Builder) Recurrent(x, h, c *graph.Value, p Recurrent, weight func(name string) tensor.Source) (y, lastH, lastC *graph.Value) {
	order := gateOrder[p.Mode]
	if order == nil || p.Layers < 1 || p.Hidden < 1 {
		v := b.Fail("a recurrent network of mode %q with %d layers of %d", p.Mode, p.Layers, p.Hidden)
		return v, v, nil
	}
	single := b.Rank(x) == 2
	if single {
		x = b.Unsqueeze(x, 1)
		for _, s := range []**graph.Value{&h, &c} {
			if *s != nil {
				*s = b.Unsqueeze(*s, 1)
			}
		}
	} else if p.BatchFirst {
		x = b.Transpose(x, 0, 1)
	}
	var hs, cs []*graph.Value
	for layer := range p.Layers {
		var hn, cn *graph.Value
		x, hn, cn = b.layer(x, h, c, p, layer, order, weight)
		hs, cs = append(hs, hn), append(cs, cn)
	}
	lastH = b.Concat(0, hs...)
	if p.Mode == "LSTM" {
		lastC = b.Concat(0, cs...)
	}
	switch {
	case single:
		x, lastH = b.Squeeze(x, 1), b.Squeeze(lastH, 1)
		if lastC != nil {
			lastC = b.Squeeze(lastC, 1)
		}
	case p.BatchFirst:
		x = b.Transpose(x, 0, 1)
	}
	return x, lastH, lastC
}

// layer is one layer of a recurrent network, of one or two directions.
func (b *Builder) layer(x, h, c *graph.Value, p Recurrent, layer int, order []int, weight func(string) tensor.Source) (y, hn, cn *graph.Value) {
	dirs := []string{""}
	if p.Bidirectional {
		dirs = append(dirs, "_reverse")
	}
	var w, r []tensor.Source
	var biases [][]tensor.Source
	for _, d := range dirs {
		name := func(kind string) tensor.Source { return weight(fmt.Sprintf("%s_l%d%s", kind, layer, d)) }
		wi, wh, bi, bh := name("weight_ih"), name("weight_hh"), name("bias_ih"), name("bias_hh")
		rows := len(order) * p.Hidden
		if wi == nil || wh == nil || !wh.Shape().Equal(tensor.Shape{rows, p.Hidden}) || len(wi.Shape()) != 2 || wi.Shape()[0] != rows {
			v := b.Fail("layer %d%s of a recurrent network has no weights of %d rows", layer, d, rows)
			return v, v, v
		}
		w, r = append(w, wi), append(r, wh)
		if bi != nil && bh != nil {
			if !bi.Shape().Equal(tensor.Shape{rows}) || !bh.Shape().Equal(tensor.Shape{rows}) {
				v := b.Fail("layer %d%s of a recurrent network has biases of shape %v and %v; want %d", layer, d, bi.Shape(), bh.Shape(), rows)
				return v, v, v
			}
			biases = append(biases, []tensor.Source{bi, bh})
		}
	}
	if len(w) == 2 && (!w[0].Shape().Equal(w[1].Shape()) || len(biases) == 1) {
		v := b.Fail("layer %d of a recurrent network has directions of different sizes", layer)
		return v, v, v
	}
	declare := func(kind string, parts []tensor.Source, s func() tensor.Source) *graph.Value {
		return b.form(fmt.Sprintf("%s_l%d", kind, layer), parts[0], "gates", s)
	}
	in := []*graph.Value{
		x,
		declare("weight_ih", w, func() tensor.Source { return stacked(w, order) }),
		declare("weight_hh", r, func() tensor.Source { return stacked(r, order) }),
		nil, nil, nil, nil,
	}
	if len(biases) > 0 {
		in[3] = declare("bias_ih", biases[0], func() tensor.Source { return concatenated(biases, order) })
	}
	state := func(s *graph.Value) *graph.Value {
		if s == nil || p.Layers == 1 {
			return s
		}
		return b.Slice(s, 0, layer*len(dirs), (layer+1)*len(dirs), 1)
	}
	in[5] = state(h)
	a := Attrs{"hidden_size": p.Hidden}
	if len(dirs) == 2 {
		a["direction"] = "bidirectional"
	}
	kind, outputs := p.Mode, 2
	switch p.Mode {
	case "LSTM":
		in[6], outputs = state(c), 3
	case "GRU":
		a["linear_before_reset"] = 1
	case "RNN_RELU":
		kind, a["activations"] = "RNN", []string{"Relu", "Relu"}[:len(dirs)]
	default:
		kind = "RNN"
	}
	out := b.Nodes(outputs, kind, a, inputs(in...)...)
	y = out[0] // [steps, directions, batch, hidden]
	if len(dirs) == 1 {
		y = b.Squeeze(y, 1)
	} else {
		y = b.Node("Reshape", nil, b.Permute(y, 0, 2, 1, 3), b.Ints(0, 0, len(dirs)*p.Hidden))
	}
	if p.Mode == "LSTM" {
		cn = out[2]
	}
	return y, out[1], cn
}

// Cell is torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell or torch.rnn_relu_cell: one step of a [Recurrent] of one layer, from
// x [batch, size] or [size]. The states may be nil; c is that of an LSTM, else nil. Weights have the names of layer 0.
func (b *Builder) Cell(x, h, c *graph.Value, mode string, weight func(name string) tensor.Source) (nextH, nextC *graph.Value) {
	p := Recurrent{Mode: mode, Layers: 1}
	if w := weight("weight_hh_l0"); w != nil && len(w.Shape()) == 2 {
		p.Hidden = w.Shape()[1]
	}
	axes := []int{0}
	if b.Rank(x) == 1 {
		axes = []int{0, 1}
	}
	up := func(v *graph.Value) *graph.Value {
		for range axes {
			if v != nil {
				v = b.Unsqueeze(v, 0)
			}
		}
		return v
	}
	_, nextH, nextC = b.Recurrent(up(x), up(h), up(c), p, weight)
	nextH = b.Squeeze(nextH, axes...)
	if nextC != nil {
		nextC = b.Squeeze(nextC, axes...)
	}
	return nextH, nextC
}
