package quantize

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Placement says, in the order of the graph, where codes are: a line for each input that is held in codes and each node that computes
// numbers, with how it is computed, from which weight, and the values it makes. A line does not depend on the others, so that what
// two recipes do differently is what differs between the lines. Scales are there once they are known. It is empty for methods that
// do not place quantizers.
func (p *Plan) Placement() []string {
	if p.placed == nil && p.place != nil {
		p.placed = p.place.lines(&p.Recipe, nil)
	}
	return p.placed
}

// lines writes a placement; params may be nil.
func (p *placement) lines(r *Recipe, params map[*graph.Value]activation) []string {
	layers := map[*graph.Node]*placedLayer{}
	for i := range p.layers {
		layers[p.layers[i].node] = &p.layers[i]
	}
	floats := map[*graph.Node]string{}
	for _, f := range p.floats {
		floats[f.node] = f.why
	}
	out := []string{}
	for _, v := range p.g.Inputs {
		if p.root[v] != nil {
			out = append(out, fmt.Sprintf("input %s: given in float32 -> %s", v.Name, p.held(v, r, params)))
		}
	}
	for _, n := range p.g.Nodes {
		why, float := floats[n]
		if p.roles[n] == inFloat && !float { // shapes and indices
			continue
		}
		var made []string
		for _, v := range n.Out {
			if v != nil {
				made = append(made, p.held(v, r, params))
			}
		}
		how := "float32: " + why
		if !float {
			how = p.computed(n, layers[n], r)
		}
		out = append(out, fmt.Sprintf("%s (%s): %s -> %s", n.Name, n.Op.Kind(), how, strings.Join(made, ", ")))
	}
	return out
}

// computed says how a node on codes is computed.
func (p *placement) computed(n *graph.Node, l *placedLayer, r *Recipe) string {
	switch p.roles[n] {
	case product, lookup:
		return l.computed(r) + p.constants(n)
	case pointy:
		return p.between(r, "on codes") + p.constants(n)
	case tabled:
		return p.between(r, "a table of codes")
	case carrying:
		return "moves codes"
	case absorbed:
		w := p.writer(n.Out[0])
		if n.Op.Kind() == "Add" {
			return fmt.Sprintf("the bias of %s", w.Name)
		}
		return fmt.Sprintf("in the range of %s", w.Name)
	}
	return ""
}

// between is how an operator is computed that has a form on codes of 8 bits.
func (p *placement) between(r *Recipe, how string) string {
	if r.activations().wide() {
		return "float32 between codes"
	}
	return how
}

// computed says how a layer is computed, and what its weight and bias are.
func (l *placedLayer) computed(r *Recipe) string {
	how := "integer product"
	blocks := l.blocks(r.BlockSize)
	switch {
	case l.x == nil:
		how = "looks up codes"
	case blocks != nil || r.activations().wide():
		how = "float32 between codes"
	}
	if l.weight == nil {
		return how + " of activations"
	}
	scales := "a scale in all"
	switch {
	case blocks != nil:
		scales = fmt.Sprintf("a scale for %d along axis %d", blocks.size, blocks.axis)
	case !r.PerTensor && l.channel >= 0:
		scales = fmt.Sprintf("a scale for each of axis %d", l.channel)
	}
	bits := l.decision(*r).Scheme.Bits
	if t := r.trained; t != nil {
		bits = t.weights
	}
	how += fmt.Sprintf(" with %s int%d, %s", l.weight.Name, bits, scales)
	if l.bias != nil {
		kind := "int32"
		if blocks != nil {
			kind = "float32"
		}
		how += fmt.Sprintf(", bias %s %s", l.bias.Name, kind)
	}
	return how
}

// constants names the constant operands that are held in codes.
func (p *placement) constants(n *graph.Node) string {
	s := ""
	for _, i := range p.consts[n] {
		s += fmt.Sprintf(", %s in codes", n.In[i].Name)
	}
	return s
}

// held says how a value is held.
func (p *placement) held(v *graph.Value, r *Recipe, params map[*graph.Value]activation) string {
	root := p.root[v]
	if root == nil {
		if m := p.only(v); m != nil && p.roles[m] == absorbed {
			return v.Name + " in sums"
		}
		return fmt.Sprintf("%s %v", v.Name, v.Type.DType)
	}
	form := r.activations()
	kind := form.dtype.String()
	if form.bits > 0 {
		kind += fmt.Sprintf(" of %d bits", form.bits)
	}
	s := fmt.Sprintf("%s %s", v.Name, kind)
	if root = p.find(v); root != v {
		s += " as " + root.Name
	}
	if a, ok := params[v]; ok {
		s += fmt.Sprintf(" scale %v zero %d", a.scale, a.zero)
	}
	return s
}
