package quantize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// weightLayer is a matrix product with a constant weight: y = x*W^T.
type weightLayer struct {
	node       *graph.Node
	x, w       *graph.Value
	rows, cols int  // outputs and inputs
	byInput    bool // the weight is stored [cols, rows], as the right factor of a MatMul is
	decision   int  // index of its decision
}

// name is what the layer is called: its weight without the ending, as checkpoints name modules, or its node.
func (l *weightLayer) name() string {
	if s, ok := strings.CutSuffix(l.w.Name, ".weight"); ok {
		return s
	}
	return l.node.Name
}

// productOf returns the layer that a node of g is, if it is one.
func productOf(g *graph.Graph, n *graph.Node) (weightLayer, bool) {
	l := weightLayer{node: n}
	switch o := n.Op.(type) {
	case *op.FusedMatMul:
		if o.TransA || o.TransBatchA || o.TransBatchB || o.Alpha != 1 {
			return l, false
		}
		l.byInput = !o.TransB
	case *op.MatMul:
		l.byInput = true
	default:
		return l, false
	}
	l.x, l.w = n.In[0], n.In[1]
	if !g.IsParam(l.w) || g.IsParam(l.x) || l.w.Data.DType() != tensor.Float32 {
		return l, false
	}
	shape := l.w.Data.Shape()
	if len(shape) != 2 || shape.Len() == 0 {
		return l, false
	}
	l.rows, l.cols = shape[0], shape[1]
	if l.byInput {
		l.rows, l.cols = l.cols, l.rows
	}
	return l, true
}

// weightOnly lists the layers of a model whose weights alone are quantized and what becomes of each: how is their scheme. Heads and routers of known architectures stay as they are unless an Only pattern asks for them.
func weightOnly(m *model.Model, r Recipe, how tensor.Scheme, bytes func(l *weightLayer) int) ([]weightLayer, *Plan, error) {
	sel, err := newSelection(r)
	if err != nil {
		return nil, nil, err
	}
	sel.tables = tablesOf(m.Graph)
	p := &Plan{Recipe: r}
	uses := m.Graph.Uses()
	var all, layers []weightLayer
	var names, heads []string
	for _, n := range m.Graph.Nodes {
		l, ok := productOf(m.Graph, n)
		if !ok {
			continue
		}
		shape := l.w.Data.Shape()
		d := Decision{Layer: l.name(), Op: n.Op.Kind(), Param: l.w.Name, Shape: shape, Before: storedBytes(l.w.Data), Outputs: l.rows, Inputs: l.cols}
		d.Stored, d.After = storedName(l.w.Data), d.Before
		names = append(names, d.Layer)
		why, skip, asked := sel.judge(site{m.Graph, n, d.Layer}, l.w)
		if !skip {
			skip = true
			switch {
			case len(uses[l.w]) > 1 && r.Head && isHead(m.Graph, n, uses):
				return nil, nil, fmt.Errorf("lm_head: the weight of the head is %q, which is the embedding's too (tie_word_embeddings): no layout has it in codes for one and in float for the other", l.w.Name)
			case len(uses[l.w]) > 1:
				why = "its weight is that of other layers too"
			case m.Arch != "" && !asked && !r.Head && isHead(m.Graph, n, uses):
				why = "the head stays in float, as most loaders expect"
				heads = append(heads, d.Layer)
			case m.Arch != "" && !asked && isRouter(d.Layer):
				why = "a router of experts, which loaders expect in float"
			default:
				if refuse := r.WeightOnly.Refuse; refuse != nil {
					why = refuse(how, l.rows, l.cols)
				}
				skip = why != ""
			}
		}
		d.Why = why
		d.Quantized = !skip
		l.decision = len(p.Decisions)
		p.Decisions = append(p.Decisions, d)
		all = append(all, l)
	}
	for _, l := range all {
		d := &p.Decisions[l.decision]
		if !d.Quantized {
			continue
		}
		if i := slices.IndexFunc(heads, func(h string) bool { return strings.HasSuffix(d.Layer, h) }); i >= 0 {
			d.Quantized, d.Why = false, fmt.Sprintf("loaders take its name for that of %s, which stays in float", heads[i])
			continue
		}
		d.Scheme, d.Stored, d.Why = how, how.String(), "weight only"
		d.After = bytes(&l)
		layers = append(layers, l)
	}
	return layers, p, sel.check(names)
}

// isHead reports whether what a layer computes reaches the outputs without another layer.
func isHead(g *graph.Graph, n *graph.Node, uses map[*graph.Value][]*graph.Node) bool {
	queue := slices.Clone(n.Out)
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if v == nil {
			continue
		}
		if g.IsOutput(v) {
			return true
		}
		for _, next := range uses[v] {
			switch next.Op.Kind() {
			case "Mul", "Div", "Add", "Tanh", "Cast", "Softmax", "LogSoftmax", "Gather":
				queue = append(queue, next.Out...)
			}
		}
	}
	return false
}

// isRouter tells routers of mixtures of experts by the names of their modules.
func isRouter(layer string) bool {
	for _, end := range []string{".mlp.gate", ".block_sparse_moe.gate", ".router", ".shared_expert_gate", ".router.layer"} {
		if strings.HasSuffix(layer, end) {
			return true
		}
	}
	return false
}

// inFile returns the source of what a matrix is in its file.
func inFile(s tensor.Source) tensor.Source {
	if d, ok := s.(tensor.Derived); ok && len(d.Parts()) == 1 {
		return d.Parts()[0]
	}
	return s
}

func storedName(s tensor.Source) string { return inFile(s).DType().String() }

func storedBytes(s tensor.Source) int {
	return inFile(s).DType().ByteLen(s.Shape().Len())
}

// changing notes which parameters of g scale replaces, but for the weights of layers, whose codes will have the scales in them.
func (p *Plan) changing(g *graph.Graph, layers []weightLayer, scale func() error) error {
	before := map[*graph.Value]tensor.Source{}
	for _, v := range g.Params() {
		before[v] = v.Data
	}
	if err := scale(); err != nil {
		return err
	}
	p.Changes = map[tensor.Source]tensor.Source{}
	for v, s := range before {
		if v.Data != s {
			p.Changes[s] = v.Data
		}
	}
	for i := range layers {
		delete(p.Changes, before[layers[i].w])
	}
	return nil
}

// weights returns a copy of the rows x cols weight in float32.
func (l *weightLayer) weights() ([]float32, error) { return l.some(0, l.rows) }

// some returns a copy of n rows of the weight from the first on, in float32. What was read of its file is let go of.
func (l *weightLayer) some(first, n int) ([]float32, error) {
	defer tensor.Release(l.w.Data)
	t, err := l.w.Data.Load()
	if err != nil {
		return nil, fmt.Errorf("weight %q: %w", l.w.Name, err)
	}
	out := make([]float32, n*l.cols)
	if t.Packed != nil && !l.byInput {
		kernel.Shared().For(n, 16, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				t.Packed.Row(out[r*l.cols:(r+1)*l.cols], first+r)
			}
		})
	} else {
		f, err := t.Floats()
		if err != nil {
			return nil, fmt.Errorf("weight %q: %w", l.w.Name, err)
		}
		if l.byInput {
			kernel.Transpose(out, l.cols, f[first:], l.rows, l.cols, n)
		} else {
			copy(out, f[first*l.cols:(first+n)*l.cols])
		}
	}
	if at := notFinite(out); at >= 0 {
		return nil, fmt.Errorf("weight %q: %v in row %d and column %d; %w", l.w.Name, out[at], first+at/l.cols, at%l.cols, kernel.ErrNotFinite)
	}
	return out, nil
}

// replace makes the layer compute with another weight, rows x cols.
func (l *weightLayer) replace(s tensor.Source) {
	tensor.Release(l.w.Data)
	w := graph.FromSource(l.w.Name, s)
	l.w, l.node.In[1] = w, w
	if l.byInput {
		l.node.Op, l.byInput = &op.FusedMatMul{Alpha: 1, TransB: true}, false
	}
}
