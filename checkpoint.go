package neuroquant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

// formatAuto is the format that fits the method and the model.
const formatAuto = "auto"

// weightOnly lists the methods that store weights in few bits and leave activations as they are, with the layout of a Hugging Face folder
// that each writes by itself.
var weightOnly = map[string]string{"rtn": "compressed-tensors", "gptq": "gptq", "awq": "awq", "bitsandbytes": "bitsandbytes", "w8a8": "compressed-tensors"}

// resolve returns the settings with the format that is meant for a model.
func (c Config) resolve(m *model.Model) Config {
	c.Format = c.formats()[0]
	if c.Format == formatPT {
		c.BiasCorrection = false // it holds weights as they were rounded and biases as they are
	}
	if c.Format != formatAuto {
		return c
	}
	c.Format = formatONNX
	if layout := weightOnly[c.Method]; layout != "" && m.Config != nil {
		c.Format = layout
	}
	return c
}

// formats lists the formats that are asked for, the first that of the result, others what it is converted to.
func (c Config) formats() []string { return strings.Split(c.Format, ",") }

// holdsAll says which of several formats cannot hold a matrix, and why, or nothing.
func holdsAll(formats []string) func(s tensor.Scheme, rows, cols int) string {
	return func(s tensor.Scheme, rows, cols int) string {
		for _, f := range formats {
			if why := holds(f)(s, rows, cols); why != "" {
				return why
			}
		}
		return ""
	}
}

// isLayout reports whether a format is a layout of a Hugging Face folder.
func isLayout(format string) bool { return slices.Contains(hf.LayoutNames(), format) }

// holds says why the format cannot hold a matrix, or nothing.
func holds(format string) func(s tensor.Scheme, rows, cols int) string {
	return func(s tensor.Scheme, rows, cols int) string {
		switch {
		case format == formatONNX && s.Code != "int":
			return fmt.Sprintf("%v goes to Hugging Face folders, and this model is of none", s)
		case format == formatONNX:
			return quantize.RefuseNBits(s, rows, cols)
		case format == gguf.Name && (s.Reordered || s.Group%32 != 0 || cols%32 != 0):
			return fmt.Sprintf("%v of %d inputs; blocks of GGUF files have 32 columns in a row", s, cols)
		case isLayout(format):
			if err := hf.CheckLayout(format, s, rows, cols); err != nil {
				return err.Error()
			}
		}
		return ""
	}
}

// toCheckpoint makes the state of work that of the original checkpoint with the matrices of codes in place of the floats, and what was scaled
// for them.
func toCheckpoint(orig, work *model.Model, p *quantize.Plan) error {
	state, lost := model.Changed(orig.StateDict(), p.Changes)
	if len(lost) > 0 {
		return fmt.Errorf("%d scaled parameters are no tensors of the checkpoint", len(lost))
	}
	byName := map[string]*graph.Value{}
	for _, v := range work.Graph.Params() {
		byName[v.Name] = v
	}
	for _, d := range p.Decisions {
		if !d.Quantized {
			continue
		}
		i := slices.IndexFunc(state, func(e model.Entry) bool { return e.Name == d.Param })
		if i < 0 || byName[d.Param] == nil {
			return fmt.Errorf("weight %q is no tensor of the checkpoint: a Hugging Face folder cannot hold its codes", d.Param)
		}
		state[i].Source = byName[d.Param].Data
	}
	work.State = state
	return nil
}
