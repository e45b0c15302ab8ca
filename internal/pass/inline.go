package pass

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// InlineIfs replaces an If whose condition is a constant by the nodes of the branch that is taken, those inside it included.
func InlineIfs(g *graph.Graph) error {
	for {
		changed, err := inlineIfs(g)
		if err != nil || !changed {
			return err
		}
		if err := g.Infer(); err != nil {
			return err
		}
		if err := FoldConstants(g); err != nil { // conditions that the branch computes
			return err
		}
	}
}

func inlineIfs(g *graph.Graph) (changed bool, err error) {
	var values, nodes graph.Names
	var out []*graph.Node
	for _, n := range g.Nodes {
		branch, err := taken(g, n)
		if err != nil {
			return false, err
		}
		if branch == nil {
			out = append(out, n)
			continue
		}
		if values == nil {
			values, nodes = g.ValueNames(), g.NodeNames()
		}
		out = append(out, splice(g, n, branch, values, nodes)...)
	}
	g.Nodes = out
	return values != nil, nil
}

// taken returns the branch of an If that a constant condition chooses, or nil.
func taken(g *graph.Graph, n *graph.Node) (*graph.Graph, error) {
	i, ok := n.Op.(*op.If)
	if !ok {
		return nil, nil
	}
	c, err := g.Constant(n.In[0])
	if err != nil || c == nil || c.DType != tensor.Bool || c.Len() != 1 {
		return nil, err
	}
	if c.Bytes()[0] != 0 {
		return i.Then, nil
	}
	return i.Else, nil
}

// splice copies the branch's nodes into g. The branch's outputs become the If's; where the branch hands an input or a constant
// through, an Identity keeps the value apart.
func splice(g *graph.Graph, n *graph.Node, branch *graph.Graph, values, nodes graph.Names) []*graph.Node {
	c := branch.Clone()
	outer := map[*graph.Value]*graph.Value{}
	for i, v := range c.Inputs {
		outer[v] = n.In[1+i]
	}
	resolve := func(v *graph.Value) *graph.Value {
		if o, ok := outer[v]; ok {
			return o
		}
		return v
	}
	named := map[*graph.Value]bool{}
	rename := func(v *graph.Value) {
		if v != nil && !named[v] {
			named[v] = true
			v.Name = values.Fresh(v.Name)
		}
	}
	for _, m := range c.Nodes {
		m.Name = nodes.Fresh(m.Name)
		for i, v := range m.In {
			if v == nil {
				continue
			}
			m.In[i] = resolve(v)
			if m.In[i] == v && v.Data != nil {
				rename(v)
			}
		}
		for _, v := range m.Out {
			rename(v)
		}
	}
	list := c.Nodes
	moved := map[*graph.Value]bool{}
	for i, v := range c.Outputs {
		if i >= len(n.Out) || n.Out[i] == nil {
			continue
		}
		old := n.Out[i]
		src := resolve(v)
		if src == v && v.Node != nil && !moved[v] {
			moved[v] = true
			replaceIn(list, v, old)
			old.Node = v.Node
			continue
		}
		if src == v && v.Data != nil {
			rename(v)
		}
		if moved[src] { // two outputs of the branch are one value
			src = n.Out[indexOf(c.Outputs, v)]
		}
		id, _ := op.New("Identity")
		node := &graph.Node{Name: nodes.Fresh(n.Name + "_output"), Op: id, In: []*graph.Value{src}, Out: []*graph.Value{old}}
		old.Node = node
		list = append(list, node)
	}
	return list
}

// replaceIn makes the nodes produce and read v under the identity of old.
func replaceIn(list []*graph.Node, v, old *graph.Value) {
	for _, m := range list {
		for i := range m.In {
			if m.In[i] == v {
				m.In[i] = old
			}
		}
		for i := range m.Out {
			if m.Out[i] == v {
				m.Out[i] = old
			}
		}
	}
}

func indexOf(list []*graph.Value, v *graph.Value) int {
	for i, x := range list {
		if x == v {
			return i
		}
	}
	return -1
}
