package hf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// roundedPart is one of the tensors that a rounded matrix is stored as. The parts of a matrix share what rounding made until all were written.
type roundedPart struct {
	shape tensor.Shape
	dtype tensor.DType
	of    *roundedCell
	make  func(m tensor.Packed) (*tensor.Tensor, error)
}

type roundedCell struct {
	from  *packed.Rounded
	made  tensor.Packed
	parts int // not yet written
	rooms *rooms
}

// rooms are the last two matrices, which are written while the next is made. Their memory goes round: a matrix takes over that of the one before the
// last.
type rooms struct {
	made [2]tensor.Packed
	next int
}

func (p *roundedPart) Shape() tensor.Shape { return p.shape }
func (p *roundedPart) DType() tensor.DType { return p.dtype }

// Load implements [tensor.Source]. Each part is loaded once.
func (p *roundedPart) Load() (*tensor.Tensor, error) {
	c := p.of
	if c.made == nil {
		old := &c.rooms.made[c.rooms.next]
		if !c.from.Fits(*old) {
			*old = nil
			collect(c.from.Shape().Len())
		}
		var err error
		if c.made, err = c.from.Round(*old); err != nil {
			return nil, err
		}
	}
	t, err := p.make(c.made)
	if c.parts--; c.parts == 0 {
		c.rooms.made[c.rooms.next], c.made = c.made, nil
		c.rooms.next ^= 1
		c.from.Release()
	}
	return t, err
}

// addPart adds a tensor of a matrix to a state.
type addPart = func(end string, d tensor.DType, make func(p tensor.Packed) (*tensor.Tensor, error), shape ...int)

// roundedLayout stores matrices that are rounded each by itself.
type roundedLayout struct {
	name   string
	add    func(r *packed.Rounded, add addPart)
	config func(r packed.Rounding, coded, kept []string, settings map[string]any) map[string]any
}

// tiedHeads are the modules that multiply by a matrix which is an embedding as well, and so have none of their own in a checkpoint.
func tiedHeads(g *graph.Graph) []string {
	var out []string
	uses := g.Uses()
	for _, n := range g.Nodes {
		kind := n.Op.Kind()
		if module, ok := strings.CutSuffix(n.Name, "."+strings.ToLower(kind)); ok && kind == "com.microsoft.FusedMatMul" && len(uses[n.In[1]]) > 1 && g.IsParam(n.In[1]) {
			out = append(out, module)
		}
	}
	return out
}

// laidOut is a model's state with its rounded matrices taken apart, and the configuration that says so.
func (l *roundedLayout) laidOut(m *model.Model, settings map[string]any) (state []model.Entry, config map[string]any, err error) {
	var first *packed.Rounded
	rooms := &rooms{}
	kept := tiedHeads(m.Graph)
	var coded []string
	for _, e := range m.StateDict() {
		module, isWeight := strings.CutSuffix(e.Name, ".weight")
		r, ok := e.Source.(*packed.Rounded)
		switch {
		case !ok:
			if isWeight && len(e.Shape()) == 2 && !slices.Contains(kept, module) {
				kept = append(kept, module)
			}
			state = append(state, e)
			continue
		case !isWeight:
			return nil, nil, fmt.Errorf("tensor %q: only tensors called MODULE.weight can be stored in codes", e.Name)
		case first == nil:
			first = r
		case r.Rounding != first.Rounding:
			return nil, nil, fmt.Errorf("layer %q: %v; layout %s holds one scheme, that of the first layer, %v", module, r.Scheme(), l.name, first.Scheme())
		}
		coded = append(coded, module)
		c := &roundedCell{from: r, rooms: rooms}
		add := func(end string, d tensor.DType, make func(p tensor.Packed) (*tensor.Tensor, error), shape ...int) {
			c.parts++
			state = append(state, model.Entry{Name: module + "." + end, Source: &roundedPart{shape, d, c, make}})
		}
		l.add(r, add)
	}
	if first == nil {
		return nil, nil, fmt.Errorf("the model has no matrices of layout %s", l.name)
	}
	config = map[string]any{}
	for k, v := range m.Config {
		config[k] = v
	}
	config["quantization_config"] = l.config(first.Rounding, coded, kept, settings)
	return state, config, nil
}
