package neuroquant

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

// Formats that results are written in.
const (
	formatONNX = "onnx"
	formatPT   = "pt"
)

// modelFile is the name of a saved model.
func modelFile(format string) string {
	if isLayout(format) {
		return hf.ConfigFile
	}
	return modelStem + "." + format
}

// formatOf is the format of files that holds what a setting names.
func formatOf(format string) string {
	if isLayout(format) {
		return hf.Name
	}
	return format
}

// toState makes work, which a plan was carried out on, what a PyTorch state dict can hold of it: float, the graph before that, with
// its weights as they were rounded, and the tensors of the original that they came from, changed likewise.
func (m *Manager) toState(orig, work *model.Model, float *graph.Graph, p *quantize.Plan) error {
	m.stateDecisions(p)
	names := map[tensor.Source]string{}
	changes := map[tensor.Source]tensor.Source{}
	eachParam(float, func(v *graph.Value) {
		if r := p.Rounded[v.Data]; r != nil {
			names[v.Data], changes[v.Data] = v.Name, r
		}
	})
	var lost []tensor.Source
	work.State, lost = model.Changed(orig.StateDict(), changes)
	for _, s := range lost {
		delete(changes, s)
		for i := range p.Decisions {
			if d := &p.Decisions[i]; d.Param == names[s] {
				d.Quantized, d.Stored, d.Why = false, "float", "it is computed from several tensors of the file, which a state dict holds in its place"
			}
		}
	}
	if len(changes) == 0 {
		return errors.New("format pt: none of the rounded weights is a tensor of the file")
	}
	if m.config.PTQint8 {
		n, err := packLinear(work.State, orig.StateDict(), float, changes)
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("pt_qint8: none of the rounded weights is that of a linear layer")
		}
	}
	work.Graph = rounded(float, changes)
	return nil
}

// packLinear marks the entries that are weights of linear layers, [out, in], whose values are codes of rows, and returns their
// number. The output projection of an attention is none: PyTorch does not quantize it.
func packLinear(state, orig []model.Entry, float *graph.Graph, changes map[tensor.Source]tensor.Source) (int, error) {
	rounding := map[tensor.Source]tensor.Source{}
	other := map[tensor.Source]bool{} // tensors that are used for more than products
	var walk func(g *graph.Graph)
	walk = func(g *graph.Graph) {
		for _, n := range g.Nodes {
			for i, v := range n.In {
				if v == nil || v.Data == nil {
					continue
				}
				root := v.Data
				for d, ok := root.(tensor.Derived); ok && len(d.Parts()) == 1; d, ok = root.(tensor.Derived) {
					root = d.Parts()[0]
				}
				product := i == 1 && (n.Op.Kind() == "Gemm" || n.Op.Kind() == "MatMul")
				if s, _ := quantize.Scales(changes[v.Data]); product && s != nil {
					rounding[root] = changes[v.Data]
				} else {
					other[root] = true
				}
			}
			if b, ok := n.Op.(graph.Body); ok {
				for _, sub := range b.Bodies() {
					walk(sub)
				}
			}
		}
	}
	walk(float)
	attention := map[string]bool{}
	for _, e := range orig {
		if path, ok := strings.CutSuffix(e.Name, "in_proj_weight"); ok {
			attention[path+"out_proj.weight"] = true
		}
	}
	count := 0
	for i, e := range state {
		s, most := quantize.Scales(rounding[orig[i].Source])
		linear := e.Name == "weight" || strings.HasSuffix(e.Name, ".weight")
		if !linear || s == nil || other[orig[i].Source] || attention[e.Name] || len(e.Shape()) != 2 || len(s) != 1 && len(s) != e.Shape()[0] {
			continue
		}
		t, err := e.Load()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", e.Name, err)
		}
		values, err := t.Floats()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", e.Name, err)
		}
		state[i].Scales = rowScales(values, s, most)
		tensor.Release(e.Source)
		count++
	}
	return count, nil
}

// rowScales returns the scales of the rows of a weight whose codes have these scales and largest numbers, also where the codes are
// of the weight times something a row, such as the factor of a normalization. A row that the factor made nothing of has codes of
// its own.
func rowScales(values, scales []float32, most []int) []float32 {
	out := slices.Clone(scales)
	inner := len(values) / len(scales)
	for r := range out {
		var top float32
		for _, v := range values[r*inner : (r+1)*inner] {
			top = max(top, v, -v)
		}
		n := most[r]
		if n == 0 {
			n = 127
		}
		if own := top / float32(n); top > 0 && math.Abs(float64(own/out[r])-1) > 1e-5 {
			out[r] = own
		}
	}
	return out
}

// rounded replaces the data of parameters in a graph and in copies of its subgraphs.
func rounded(g *graph.Graph, changes map[tensor.Source]tensor.Source) *graph.Graph {
	for _, v := range g.Params() {
		if r := changes[v.Data]; r != nil {
			v.Data = r
		}
	}
	for _, n := range g.Nodes {
		b, ok := n.Op.(graph.Body)
		if !ok {
			continue
		}
		bodies := b.Bodies()
		fresh := make([]*graph.Graph, len(bodies))
		for i, sub := range bodies {
			fresh[i] = rounded(sub.Clone(), changes)
		}
		n.Op = b.WithBodies(fresh)
	}
	return g
}

// stateDecisions says in the decisions of a plan what a state dict makes of them: rounded weights in their float types.
func (m *Manager) stateDecisions(p *quantize.Plan) {
	if m.config.Format != formatPT {
		return
	}
	for i := range p.Decisions {
		if d := &p.Decisions[i]; d.Quantized {
			d.After, d.Stored = d.Before, "float of "+d.Stored
			d.Why = "rounded; a state dict holds what the codes stand for, and no activations are quantized"
		}
	}
}
