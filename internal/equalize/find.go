// Package equalize scales channels inside a network so that codes of few bits hold them better, and leaves what the network
// computes as it is: what produces a channel is divided by a factor, what reads it multiplied.
//
// A factor passes through whatever is linear in it with positive factors: Relu, pools, sums, concatenation, slices. [Find] follows
// it there and returns the [Groups] of channels that can be scaled, each by a factor of its own. How the factors are chosen is a
// matter of the method: [Groups.CrossLayer] looks at weights, [Groups.Smooth] at activations and weights.
package equalize

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Groups are the channels of a graph that can be scaled.
type Groups struct {
	list   []*group
	params []*param
	of     map[channel]int // index of the group of a channel, by need
}

// Len returns the number of factors that can be chosen.
func (g *Groups) Len() int { return len(g.list) }

// group is channels that share one factor.
type group struct {
	values []channel // activations, divided by it
	made   []line    // parameters that produce them: divided by it
	read   []line    // weights that read them: multiplied by it
}

// channel is one index along an axis of an activation.
type channel struct {
	v     *graph.Value
	axis  int
	index int
}

// line is a row or column of a parameter.
type line struct {
	p     *param
	index int
}

// site is an activation that is scaled along an axis.
type site struct {
	v    *graph.Value
	axis int
}

// finder joins channels that must have the same factor.
type finder struct {
	g      *graph.Graph
	uses   map[*graph.Value][]*graph.Node
	first  map[site]int // element of the site's channel 0
	sites  []site
	parent []int
	pinned []bool // by element; a group of a pinned element is pinned
	params map[input]*param
	order  []*param
	made   map[int][]line
	read   map[int][]line
}

// input is one input of a node.
type input struct {
	n *graph.Node
	i int
}

// Find returns the groups of a graph's channels that can be scaled.
func Find(g *graph.Graph) *Groups {
	f := &finder{g: g, uses: g.Uses(), first: map[site]int{}, params: map[input]*param{}, made: map[int][]line{}, read: map[int][]line{}}
	for _, n := range g.Nodes {
		if len(n.Out) == 0 || n.Out[0] == nil {
			continue
		}
		switch n.Op.(type) {
		case *op.Conv, *op.Gemm:
			f.at(n.Out[0], 1)
		case *op.MatMul, *op.FusedMatMul, *op.LayerNormalization, *op.RMSNormalization:
			f.at(n.Out[0], len(n.Out[0].Type.Dims)-1)
		}
	}
	next := 0
	for next < len(f.sites) { // visits add to them
		f.visit(f.sites[next])
		next++
	}
	return f.groups()
}

// at returns the element of channel 0 and the number of channels; none if they are not known.
func (f *finder) at(v *graph.Value, axis int) (first, n int) {
	if v == nil || v.Data != nil || !v.Type.Ranked || v.Type.DType != tensor.Float32 || axis < 0 || axis >= len(v.Type.Dims) || v.Type.Dims[axis].Size < 1 {
		return 0, 0
	}
	n = v.Type.Dims[axis].Size
	s := site{v, axis}
	if first, ok := f.first[s]; ok {
		return first, n
	}
	first = len(f.parent)
	f.first[s] = first
	f.sites = append(f.sites, s)
	for i := range n {
		f.parent = append(f.parent, first+i)
		f.pinned = append(f.pinned, false)
	}
	return first, n
}

func (f *finder) root(i int) int {
	for f.parent[i] != i {
		f.parent[i] = f.parent[f.parent[i]]
		i = f.parent[i]
	}
	return i
}

func (f *finder) pin(s site) {
	first, n := f.at(s.v, s.axis)
	for i := range n {
		f.pinned[first+i] = true
	}
}

// link gives channel i of s the factor of channel to(i) of v along axis; -1 is none.
func (f *finder) link(s site, v *graph.Value, axis int, to func(i int) int) {
	a, n := f.at(s.v, s.axis)
	b, m := f.at(v, axis)
	for i := range n {
		switch j := to(i); {
		case j < 0:
		case j >= m:
			f.pinned[a+i] = true
		default:
			f.parent[f.root(a+i)] = f.root(b + j)
		}
	}
}

func same(i int) int { return i }

func (f *finder) groups() *Groups {
	byRoot := map[int]*group{}
	pinned := map[int]bool{}
	for i, p := range f.pinned {
		if p {
			pinned[f.root(i)] = true
		}
	}
	out := &Groups{}
	for _, s := range f.sites {
		first, n := f.at(s.v, s.axis)
		for i := range n {
			r := f.root(first + i)
			if pinned[r] {
				continue
			}
			g := byRoot[r]
			if g == nil {
				g = &group{}
				byRoot[r] = g
				out.list = append(out.list, g)
			}
			g.values = append(g.values, channel{s.v, s.axis, i})
			g.made = append(g.made, f.made[first+i]...)
			g.read = append(g.read, f.read[first+i]...)
		}
	}
	out.list = slices.DeleteFunc(out.list, func(g *group) bool { return len(g.made) == 0 || len(g.read) == 0 })
	out.params = f.order
	return out
}

// visit looks at all that touches a site.
func (f *finder) visit(s site) {
	if s.v.Node == nil || f.g.IsOutput(s.v) {
		f.pin(s)
		return
	}
	f.node(s.v.Node, s, -1)
	for _, n := range f.uses[s.v] {
		for i, v := range n.In {
			if v == s.v {
				f.node(n, s, i)
			}
		}
	}
}

// node passes the factors of a site on through a node that reads it as input in, or makes it if that is -1, or absorbs them into
// the node's parameters.
func (f *finder) node(n *graph.Node, s site, in int) {
	out := in < 0
	if !out && in > 0 && !slices.Contains([]string{"Add", "Attention", "Concat", "MatMul", "Mul"}, n.Op.Kind()) || len(n.Out) == 0 || n.Out[0] == nil || out && n.Out[0] != s.v {
		f.pin(s)
		return
	}
	switch o := n.Op.(type) {
	case *op.Conv:
		if s.axis != 1 || o.Group < 1 {
			f.pin(s)
			return
		}
		f.product(n, s, out, &layout{groups: o.Group})
	case *op.Gemm:
		if s.axis != 1 || o.TransA {
			f.pin(s)
			return
		}
		f.product(n, s, out, &layout{groups: 1, transposed: !o.TransB})
	case *op.MatMul:
		if s.axis != len(s.v.Type.Dims)-1 || in > 0 {
			f.pin(s)
			return
		}
		f.product(n, s, out, &layout{groups: 1, transposed: true})
	case *op.FusedMatMul:
		if s.axis != len(s.v.Type.Dims)-1 || o.TransA || o.TransBatchA || o.TransBatchB || o.Alpha != 1 {
			f.pin(s)
			return
		}
		f.product(n, s, out, &layout{groups: 1, transposed: !o.TransB})
	case *op.RMSNormalization:
		last := len(s.v.Type.Dims) - 1
		if !out || s.axis != last || o.Axis != -1 && o.Axis != last {
			f.pin(s)
			return
		}
		f.vector(n, 1, s)
	case *op.LayerNormalization:
		last := len(s.v.Type.Dims) - 1
		if !out || s.axis != last || o.Axis != -1 && o.Axis != last {
			f.pin(s)
			return
		}
		f.vector(n, 1, s)
		f.vector(n, 2, s)
	case *op.Relu, *op.LeakyRelu, *op.PRelu, *op.Identity:
		f.through(n, s, out)
	case *op.MaxPool, *op.AveragePool, *op.GlobalAveragePool, *op.GlobalMaxPool:
		if s.axis != 1 || len(n.Out) > 1 && n.Out[1] != nil {
			f.pin(s)
			return
		}
		f.through(n, s, out)
	case *op.Add:
		f.sum(n, s, out)
	case *op.Mul:
		f.times(n, s, in)
	case *op.Attention:
		f.attention(n, o, s, in)
	case *op.Concat, *op.Slice, *op.Pad, *op.Transpose, *op.Flatten, *op.Reshape, *op.Squeeze, *op.Unsqueeze:
		if !f.move(n, s, in) {
			f.pin(s)
		}
	default:
		f.pin(s)
	}
}

// through links the input and the output of a node that works on each channel alone.
func (f *finder) through(n *graph.Node, s site, out bool) {
	if out {
		f.link(s, n.In[0], s.axis, same)
	} else {
		f.link(s, n.Out[0], s.axis, same)
	}
}

// times passes factors on through one of two operands that are computed: the one that a product made, for a factor there needs no
// other. Nothing may scale the operand beside it.
func (f *finder) times(n *graph.Node, s site, in int) {
	i := 0
	for i < len(n.In) && (n.In[i] == nil || n.In[i].Node == nil || !isProduct(n.In[i].Node)) {
		i++
	}
	if i == len(n.In) || in >= 0 && in != i || n.In[0] == n.In[1] {
		f.pin(s)
		return
	}
	v := n.In[i]
	axis := s.axis
	if in < 0 {
		axis += len(v.Type.Dims) - len(s.v.Type.Dims)
	}
	y := n.Out[0]
	if len(v.Type.Dims) != len(y.Type.Dims) {
		f.pin(s)
		return
	}
	if in < 0 {
		f.link(s, v, axis, same)
	} else {
		f.link(s, y, axis, same)
	}
}

// isProduct reports whether a node is a product, or the addition of a bias to one.
func isProduct(n *graph.Node) bool {
	switch n.Op.(type) {
	case *op.MatMul, *op.FusedMatMul, *op.Gemm:
		return true
	case *op.Add:
		for i, v := range n.In {
			if v != nil && v.Node != nil && isProduct(v.Node) && n.In[1-i] != nil && n.In[1-i].Data != nil {
				return true
			}
		}
	}
	return false
}

// attention links the output of each head, [batch, tokens, heads*size], to the head of values that it sums.
func (f *finder) attention(n *graph.Node, o *op.Attention, s site, in int) {
	v, y := n.In[2], n.Out[0]
	if in != -1 && in != 2 || len(v.Type.Dims) != 3 || s.axis != 2 || o.QueryHeads == nil || o.KVHeads == nil || n.In[0] == v || n.In[1] == v {
		f.pin(s)
		return
	}
	for _, other := range n.Out[1:] {
		if other != nil { // the values go out as well
			f.pin(s)
			return
		}
	}
	heads, kv := *o.QueryHeads, *o.KVHeads
	width := v.Type.Dims[2].Size
	if kv < 1 || width < 1 || width%kv != 0 || heads%kv != 0 || y.Type.Dims[2].Size != width/kv*heads {
		f.pin(s)
		return
	}
	size := width / kv
	f.link(site{y, 2}, v, 2, func(i int) int { return i/size/(heads/kv)*size + i%size })
}

// sum links what is added. Operands must have all channels; constants are scaled with them.
func (f *finder) sum(n *graph.Node, s site, out bool) {
	if !out {
		f.link(s, n.Out[0], len(n.Out[0].Type.Dims)-len(s.v.Type.Dims)+s.axis, same)
		return
	}
	for i, v := range n.In {
		if f.g.IsParam(v) {
			f.vector(n, i, s)
			continue
		}
		axis := s.axis - len(s.v.Type.Dims) + len(v.Type.Dims)
		if _, m := f.at(v, axis); m != s.v.Type.Dims[s.axis].Size {
			f.pin(s)
			continue
		}
		f.link(s, v, axis, same)
	}
}
