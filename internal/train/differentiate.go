// Package train fits the parameters of a graph to data.
//
// A step is a graph like any other: [differentiate] appends a node for the gradient of every node that the loss depends on, and the one
// executor runs forward and backward, lays all values out by lifetime and uses their memory again. Parameters that are trained are inputs of
// that graph, which an optimizer changes between runs.
package train

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// differentiate appends nodes to g that compute the gradients of a scalar loss, and returns them by value for the values in wrt; one that
// the loss does not depend on has none. A graph that cannot be trained through is an error that names all nodes that are in the way.
// With recompute above 1 the nodes are cut into so many parts; of all but the last one only what later parts read is kept, and the rest is
// computed again when the gradients of the part are.
func differentiate(g *graph.Graph, loss *graph.Value, wrt []*graph.Value, recompute int) (map[*graph.Value]*graph.Value, error) {
	d := &differentiation{
		g: g, values: g.ValueNames(), nodes: g.NodeNames(), needs: map[*graph.Value]bool{}, sums: map[*graph.Value]*graph.Value{}, again: map[*graph.Value]*graph.Value{},
	}
	for _, v := range wrt {
		d.needs[v] = true
	}
	forward := slices.Clone(g.Nodes)
	for _, n := range forward {
		if slices.ContainsFunc(n.In, func(v *graph.Value) bool { return d.needs[v] }) {
			for _, v := range n.Out { // shapes, positions and comparisons do not change with what is trained, but in steps
				if v != nil && d.carries(v) {
					d.needs[v] = true
				}
			}
		}
	}
	if !d.needs[loss] {
		return nil, fmt.Errorf("the loss does not depend on any parameter that is trained")
	}
	if err := d.blockers(forward, loss); err != nil {
		return nil, err
	}
	one := tensor.Scalar(float32(1))
	if loss.Type.DType == tensor.Float64 {
		one = tensor.Scalar(1.0)
	}
	d.sums[loss] = graph.Param(d.values.Fresh("loss_gradient"), one)
	cuts := cutsOf(forward, max(recompute, 1))
	for k := len(cuts) - 2; k >= 0; k-- {
		part := forward[cuts[k]:cuts[k+1]]
		if k < len(cuts)-2 {
			d.runAgain(part)
		}
		for _, n := range slices.Backward(part) {
			d.node(n)
		}
	}
	out := map[*graph.Value]*graph.Value{}
	for _, v := range wrt {
		if s := d.sums[v]; s != nil {
			out[v] = s
		}
	}
	return out, nil
}

type differentiation struct {
	g             *graph.Graph
	values, nodes graph.Names
	needs         map[*graph.Value]bool         // values that depend on what is trained
	sums          map[*graph.Value]*graph.Value // gradients so far
	again         map[*graph.Value]*graph.Value // values that are computed again
}

// blockers names the nodes between trained parameters and the loss that have no gradient.
func (d *differentiation) blockers(forward []*graph.Node, loss *graph.Value) error {
	wanted := map[*graph.Value]bool{loss: true}
	var names []string
	for _, n := range slices.Backward(forward) {
		if !slices.ContainsFunc(n.Out, func(v *graph.Value) bool { return v != nil && wanted[v] && d.needs[v] }) {
			continue
		}
		if _, ok := n.Op.(graph.Differentiable); !ok {
			names = append(names, fmt.Sprintf("%q (%s)", n.Name, n.Op.Kind()))
		}
		for _, v := range n.In {
			if v != nil && d.needs[v] {
				wanted[v] = true
			}
		}
	}
	if names == nil {
		return nil
	}
	slices.Reverse(names)
	return fmt.Errorf("the graph cannot be trained through: there is no gradient of node %s", strings.Join(names, ", "))
}

// node appends the gradient of n, unless nothing behind it leads to the loss.
func (d *differentiation) node(n *graph.Node) {
	some := false
	dOut := make([]*graph.Value, len(n.Out))
	for i, v := range n.Out {
		if v != nil && d.sums[v] != nil {
			dOut[i], some = d.sums[v], true
		}
	}
	if !some {
		return
	}
	of := n.Op.(graph.Differentiable)
	reads, remembers := ^uint64(0), uint64(0)
	if r, ok := of.(graph.Recalling); ok {
		reads, remembers = r.Recalls()
	}
	d.addOutputs(n, remembers)
	for len(dOut) < len(n.Out) {
		dOut = append(dOut, nil)
	}
	o := &gradient{of: of, n: len(n.In), m: len(n.Out)}
	m := &graph.Node{Name: d.nodes.Fresh(n.Name + "_gradient"), Op: o}
	keep := func(vs []*graph.Value, set uint64) {
		for i, v := range vs {
			var outline *tensor.Tensor
			if v != nil {
				if a := d.again[v]; a != nil {
					v = a
				}
				if shape, known := v.Type.Shape(); known && set>>min(i, 63)&1 == 0 && v.Type.DType.Bits() > 0 {
					outline = &tensor.Tensor{Shape: shape, DType: v.Type.DType}
					v = nil
				}
			}
			o.outlines = append(o.outlines, outline)
			m.In = append(m.In, v)
		}
	}
	keep(n.In, reads)
	keep(n.Out, remembers)
	m.In = append(m.In, dOut...)
	for _, v := range n.In {
		o.types = append(o.types, gradientType(v))
		if v == nil || !d.needs[v] || !d.carries(v) {
			m.Out = append(m.Out, nil)
			continue
		}
		out := &graph.Value{Name: d.values.Fresh(v.Name + "_gradient"), Type: gradientType(v), Node: m}
		m.Out = append(m.Out, out)
	}
	d.g.Nodes = append(d.g.Nodes, m)
	for i, v := range n.In {
		if m.Out[i] != nil {
			d.add(v, m.Out[i])
		}
	}
}

// carries reports whether a gradient may pass through v: integers between a quantization and the dequantization behind it carry one.
func (d *differentiation) carries(v *graph.Value) bool {
	return v.Type.DType.IsFloat() || v.Node != nil && strings.HasSuffix(v.Node.Op.Kind(), "QuantizeLinear")
}

// gradientType is the type of the gradient of v.
func gradientType(v *graph.Value) graph.Type {
	if v == nil {
		return graph.Type{}
	}
	t := v.Type
	t.Const = nil
	if !t.DType.IsFloat() {
		t.DType = tensor.Float32
	}
	return t
}

// add adds a part of the gradient of v.
func (d *differentiation) add(v, part *graph.Value) {
	old := d.sums[v]
	if old == nil {
		d.sums[v] = part
		return
	}
	m := &graph.Node{Name: d.nodes.Fresh(v.Name + "_gradient_sum"), Op: &accumulate{}, In: []*graph.Value{old, part}}
	sum := &graph.Value{Name: d.values.Fresh(v.Name + "_gradient_sum"), Type: gradientType(v), Node: m}
	m.Out = []*graph.Value{sum}
	d.g.Nodes = append(d.g.Nodes, m)
	d.sums[v] = sum
}

// addOutputs makes those outputs of a set that are not used: only the gradient reads them.
func (d *differentiation) addOutputs(n *graph.Node, set uint64) {
	if set == 0 {
		return
	}
	types, err := graph.InferNode(n)
	if err != nil {
		return
	}
	for i, t := range types {
		if set>>min(i, 63)&1 == 0 || i < len(n.Out) && n.Out[i] != nil {
			continue
		}
		for len(n.Out) <= i {
			n.Out = append(n.Out, nil)
		}
		t.Const = nil
		n.Out[i] = &graph.Value{Name: d.values.Fresh(fmt.Sprintf("%s_output%d", n.Name, i)), Type: t, Node: n}
	}
}

// runAgain appends copies of nodes, of which only those that are read stay in the end. What draws random numbers keeps its values.
func (d *differentiation) runAgain(part []*graph.Node) {
	for _, n := range part {
		if _, random := n.Op.(graph.Random); random {
			continue
		}
		m := &graph.Node{Name: d.nodes.Fresh(n.Name + "_again"), Op: n.Op, In: slices.Clone(n.In)}
		for i, v := range m.In {
			if a := d.again[v]; a != nil {
				m.In[i] = a
			}
		}
		for _, v := range n.Out {
			if v == nil {
				m.Out = append(m.Out, nil)
				continue
			}
			a := &graph.Value{Name: d.values.Fresh(v.Name + "_again"), Type: v.Type, Node: m}
			d.again[v] = a
			m.Out = append(m.Out, a)
		}
		d.g.Nodes = append(d.g.Nodes, m)
	}
}
