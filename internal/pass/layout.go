package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// ChooseLayouts gives the operators that compute on channels-last images (see [op.ChannelsLast]) images in that order. What lies
// between them follows where it can, so that images change their order only where they enter and leave such a region.
func ChooseLayouts(g *graph.Graph) error { return newLayouts(g).choose() }

// ChooseTrainingLayouts is [ChooseLayouts] for a graph in portable form that is trained: convolutions with weights that are computed are
// among the operators that it is done for, and the values in trained stay what they are.
func ChooseTrainingLayouts(g *graph.Graph, trained func(v *graph.Value) bool) error {
	l := newLayouts(g)
	l.trained = trained
	return l.choose()
}

func newLayouts(g *graph.Graph) *layouts {
	return &layouts{
		g: g, values: g.ValueNames(), nodes: g.NodeNames(),
		last: map[*graph.Value]*graph.Value{}, twins: map[*graph.Value]bool{}, pending: map[*graph.Value]bool{},
	}
}

func (l *layouts) choose() error {
	g := l.g
	for _, n := range g.Nodes {
		if l.trained != nil && l.train(n) {
			continue
		}
		if c, ok := n.Op.(op.ChannelsLast); ok && c.ImageRank() > 0 {
			l.put(n, c, c.ImageRank(), n.In)
			continue
		}
		if o, in, ok := l.form(n); ok {
			l.put(n, o, len(n.In[0].Type.Dims), in)
			continue
		}
		for _, v := range n.In {
			l.back(v)
		}
		l.out = append(l.out, n)
	}
	for _, v := range g.Outputs {
		l.back(v)
	}
	g.Nodes = l.out
	return l.err
}

// lastSuffix is what the name of a value in channels-last order ends in.
const lastSuffix = "_channels_last"

// layouts is the state of [ChooseLayouts].
type layouts struct {
	g             *graph.Graph
	values, nodes graph.Names
	last          map[*graph.Value]*graph.Value // the channels-last twin of a value
	twins         map[*graph.Value]bool
	pending       map[*graph.Value]bool     // values of which there is only the twin so far
	trained       func(v *graph.Value) bool // nil: the graph is not trained
	out           []*graph.Node
	err           error
}

// toLast and toSecond permute the dimensions of images of a rank to [batch, spatial..., channels] and back.
func toLast(rank int) []int {
	perm := make([]int, rank)
	for i := 1; i < rank-1; i++ {
		perm[i] = i + 1
	}
	perm[rank-1] = 1
	return perm
}

func toSecond(rank int) []int {
	perm := make([]int, rank)
	perm[1] = rank - 1
	for i := 2; i < rank; i++ {
		perm[i] = i - 1
	}
	return perm
}

// lastAxis is where an axis of an image of the given rank, which may count from the end, is in a channels-last image.
func lastAxis(axis, rank int) int {
	if axis < 0 {
		axis += rank
	}
	switch {
	case axis == 1:
		return rank - 1
	case axis > 1:
		return axis - 1
	}
	return axis
}

func lastType(t graph.Type) graph.Type {
	t.Const = nil
	if n := len(t.Dims); n > 2 {
		t.Dims = append(append([]graph.Dim{t.Dims[0]}, t.Dims[2:]...), t.Dims[1])
	}
	return t
}

// put emits a node on channels-last images: the inputs of the given rank become their twins.
func (l *layouts) put(n *graph.Node, o graph.Op, rank int, in []*graph.Value) {
	m := &graph.Node{Name: n.Name, Op: o, In: slices.Clone(in)}
	for i, v := range m.In {
		if v != nil && len(v.Type.Dims) == rank && !l.twins[v] && !l.g.IsParam(v) {
			m.In[i] = l.twin(v)
		}
	}
	l.emit(n, m, rank)
}

// emit adds m, which computes the outputs of n, those of the given rank as their twins.
func (l *layouts) emit(n, m *graph.Node, rank int) {
	for _, v := range n.Out {
		if v == nil || len(v.Type.Dims) != rank {
			if v != nil {
				v.Node = m
			}
			m.Out = append(m.Out, v)
			continue
		}
		t := l.newTwin(v)
		t.Node, l.pending[v] = m, true
		m.Out = append(m.Out, t)
	}
	l.out = append(l.out, m)
}

// train emits a convolution or normalization of a graph that is trained on channels-last images, if it is to be.
func (l *layouts) train(n *graph.Node) bool {
	x := n.In[0]
	if x == nil || !x.Type.Ranked || x.Type.DType != tensor.Float32 {
		return false
	}
	m := &graph.Node{Name: n.Name, In: slices.Clone(n.In)}
	switch o := n.Op.(type) {
	case *op.Conv:
		w, known := n.In[1].Type.Shape()
		if !known || !o.TrainsChannelsLast(w) {
			return false
		}
		p := *o
		p.ChannelsLast = true
		m.Op = &p
	case *op.BatchNormalization:
		if l.last[x] == nil {
			return false
		}
		p := *o
		p.ChannelsLast = true
		m.Op = &p
	default:
		return false
	}
	for _, v := range n.In[1:] {
		if v != nil {
			l.back(v)
		}
	}
	m.In[0] = l.twin(x)
	l.emit(n, m, len(x.Type.Dims))
	return true
}

// twin returns v in channels-last order.
func (l *layouts) twin(v *graph.Value) *graph.Value {
	if t := l.last[v]; t != nil {
		return t
	}
	t := l.newTwin(v)
	l.transpose(v, t, toLast(len(v.Type.Dims)))
	return t
}

func (l *layouts) newTwin(v *graph.Value) *graph.Value {
	t := &graph.Value{Name: l.values.Fresh(v.Name + lastSuffix), Type: lastType(v.Type)}
	l.last[v], l.twins[t] = t, true
	return t
}

// back sees to it that v is there in the order in which the graph has it.
func (l *layouts) back(v *graph.Value) {
	if l.pending[v] {
		delete(l.pending, v)
		l.transpose(l.last[v], v, toSecond(len(v.Type.Dims)))
	}
}

func (l *layouts) transpose(from, to *graph.Value, perm []int) {
	n := &graph.Node{Name: l.nodes.Fresh(to.Name + "_order"), Op: &op.Transpose{Perm: perm}, In: []*graph.Value{from}, Out: []*graph.Value{to}}
	to.Node = n
	l.out = append(l.out, n)
}
