package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// capturing is an operator whose last inputs are values that its subgraphs capture: the last inputs of each of them.
type capturing interface {
	graph.Body
	Captures() int
	SetCaptures(n int)
}

// SinkConstants makes constants that subgraphs capture parameters of the subgraphs, so that they can be folded, packed and
// quantized there. They share the data.
func SinkConstants(g *graph.Graph) error {
	for _, n := range g.Nodes {
		c, ok := n.Op.(capturing)
		if !ok {
			continue
		}
		formal := len(n.In) - c.Captures()
		if !slices.ContainsFunc(n.In[formal:], g.IsParam) {
			continue
		}
		bodies := slices.Clone(c.Bodies())
		for i, sub := range bodies {
			bodies[i] = sub.Clone()
			sub = bodies[i]
			first := len(sub.Inputs) - c.Captures()
			kept := slices.Clone(sub.Inputs[:first])
			for k, v := range sub.Inputs[first:] {
				if outer := n.In[formal+k]; g.IsParam(outer) {
					v.Data, v.Type = outer.Data, outer.Type
				} else {
					kept = append(kept, v)
				}
			}
			sub.Inputs = kept
		}
		in := slices.Clone(n.In[:formal])
		for _, v := range n.In[formal:] {
			if !g.IsParam(v) {
				in = append(in, v)
			}
		}
		o := c.WithBodies(bodies).(capturing)
		o.SetCaptures(len(in) - formal)
		n.Op, n.In = o, in
	}
	return nil
}
