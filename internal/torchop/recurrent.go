package torchop

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// recurrentOps are recurrent networks and their cells.
var recurrentOps = table{
	"lstm":          {"input hx params has_biases num_layers dropout train bidirectional batch_first", recurrent("LSTM")},
	"gru":           {"input hx params has_biases num_layers dropout train bidirectional batch_first", recurrent("GRU")},
	"rnn_tanh":      {"input hx params has_biases num_layers dropout train bidirectional batch_first", recurrent("RNN_TANH")},
	"rnn_relu":      {"input hx params has_biases num_layers dropout train bidirectional batch_first", recurrent("RNN_RELU")},
	"lstm_cell":     {"input hx w_ih w_hh b_ih=None b_hh=None", cell("LSTM")},
	"gru_cell":      {"input hx w_ih w_hh b_ih=None b_hh=None", cell("GRU")},
	"rnn_tanh_cell": {"input hx w_ih w_hh b_ih=None b_hh=None", cell("RNN_TANH")},
	"rnn_relu_cell": {"input hx w_ih w_hh b_ih=None b_hh=None", cell("RNN_RELU")},
}

// states returns the initial states: one tensor, or two of an LSTM.
func (c *call) states() (h, cell *graph.Value, ok bool) {
	items, list := Items(c.args["hx"])
	if !list {
		items = []any{c.args["hx"]}
	}
	var out [2]*graph.Value
	for i, v := range items {
		t, ok := v.(*Tensor)
		if !ok || i > 1 {
			c.fail("hx", "a tensor, or two")
			return nil, nil, false
		}
		out[i] = c.Of(t)
	}
	return out[0], out[1], true
}

// weights returns the parameters of a recurrent network by the names that modules have for them.
func (c *call) weights(layers int, bias, both, projected bool) func(name string) tensor.Source {
	items, _ := Items(c.args["params"])
	byName := map[string]tensor.Source{}
	kinds := []string{"weight_ih", "weight_hh"}
	if bias {
		kinds = append(kinds, "bias_ih", "bias_hh")
	}
	if projected {
		kinds = append(kinds, "weight_hr")
	}
	dirs := []string{""}
	if both {
		dirs = append(dirs, "_reverse")
	}
	if len(items) != layers*len(dirs)*len(kinds) {
		c.failf("%d parameters; %d layers have %d", len(items), layers, layers*len(dirs)*len(kinds))
		return nil
	}
	for layer := range layers {
		for _, d := range dirs {
			for _, kind := range kinds {
				name := fmt.Sprintf("%s_l%d%s", kind, layer, d)
				c.args[name] = items[0]
				if byName[name] = c.param(name); c.bad {
					return nil
				}
				byName[name] = aten.Float32(byName[name])
				items = items[1:]
			}
		}
	}
	return func(name string) tensor.Source { return byName[name] }
}

func recurrent(mode string) func(c *call) any {
	return func(c *call) any {
		if _, packed := Items(c.args["hx"]); !packed && mode == "LSTM" {
			return c.failf("sequences of different lengths (packed)")
		}
		if _, ok := c.args["params"].(bool); ok {
			return c.failf("sequences of different lengths (packed)")
		}
		x := c.tensor("input")
		h, cs, ok := c.states()
		layers, bias, both := c.known("num_layers"), c.bool("has_biases"), c.bool("bidirectional")
		if !ok || c.bad || layers < 1 || layers > 1<<10 {
			return c.failf("%d layers", layers)
		}
		if c.bool("train") && c.float("dropout") != 0 {
			return c.failf("the model was saved in training mode, in which results are random; save it after model.eval()")
		}
		weight := c.weights(layers, bias, both, false)
		if c.bad {
			return nil
		}
		hidden := 0
		if w := weight("weight_hh_l0"); w != nil && len(w.Shape()) == 2 {
			hidden = w.Shape()[1]
		}
		p := aten.Recurrent{Mode: mode, Hidden: hidden, Layers: layers, Bidirectional: both, BatchFirst: c.bool("batch_first")}
		dims := c.sym.Sizes(x)
		y, hn, cn := c.Recurrent(x, h, cs, p, weight)
		if len(dims) > 0 {
			dims[len(dims)-1] = N(hidden)
			if both {
				dims[len(dims)-1] = N(2 * hidden)
			}
			y = c.named(y, dims)
		}
		if mode == "LSTM" {
			return of(y, hn, cn)
		}
		return of(y, hn)
	}
}

// cell is one step of a recurrent network: a sequence of one.
func cell(mode string) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("input")
		h, cs, ok := c.states()
		if !ok || c.bad {
			return nil
		}
		byName := map[string]tensor.Source{}
		for _, arg := range []string{"w_ih", "w_hh", "b_ih", "b_hh"} {
			if !c.has(arg) {
				continue
			}
			name := strings.NewReplacer("w_", "weight_", "b_", "bias_").Replace(arg) + "_l0"
			if byName[name] = c.param(arg); c.bad {
				return nil
			}
			byName[name] = aten.Float32(byName[name])
		}
		hn, cn := c.Cell(x, h, cs, mode, func(name string) tensor.Source { return byName[name] })
		if mode == "LSTM" {
			return of(hn, cn)
		}
		return Of(hn)
	}
}
