package graph

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/tensor"
)

// Param returns a parameter that is already in memory.
func Param(name string, t *tensor.Tensor) *Value {
	return &Value{Name: name, Type: TypeOf(t), Data: tensor.InMemory(t)}
}

// FromSource returns a parameter that is loaded when it is needed.
func FromSource(name string, s tensor.Source) *Value {
	return &Value{Name: name, Type: Shaped(s.DType(), s.Shape()), Data: s}
}

// IsParam reports whether the value is a constant of the graph: it has data and no caller may override it.
func (g *Graph) IsParam(v *Value) bool {
	return v != nil && v.Data != nil && !slices.Contains(g.Inputs, v)
}

// Constant returns the tensor of a parameter, or nil if v is not one.
func (g *Graph) Constant(v *Value) (*tensor.Tensor, error) {
	if !g.IsParam(v) {
		return nil, nil
	}
	t, err := v.Data.Load()
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", v.Name, err)
	}
	return t, nil
}

// Params lists the parameters that nodes use (or that are outputs), in order of first use.
func (g *Graph) Params() []*Value {
	seen := map[*Value]bool{}
	var out []*Value
	add := func(v *Value) {
		if v != nil && v.Data != nil && !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	for _, n := range g.Nodes {
		for _, v := range n.In {
			add(v)
		}
	}
	for _, v := range g.Outputs {
		add(v)
	}
	return out
}

// Uses maps every value to the nodes that read it, a node once per input position.
func (g *Graph) Uses() map[*Value][]*Node {
	uses := map[*Value][]*Node{}
	for _, n := range g.Nodes {
		for _, v := range n.In {
			if v != nil {
				uses[v] = append(uses[v], n)
			}
		}
	}
	return uses
}

// IsOutput reports whether v is a graph output.
func (g *Graph) IsOutput(v *Value) bool { return slices.Contains(g.Outputs, v) }

// Replace makes every reader of old, graph outputs included, read v instead. A graph output keeps its name: v takes it over
// unless v is a graph input, a parameter or an output itself, in which case old stays as the output (the caller keeps its producer).
// It reports whether old is free of readers now.
func (g *Graph) Replace(old, v *Value) bool {
	for _, n := range g.Nodes {
		for i, x := range n.In {
			if x == old {
				n.In[i] = v
			}
		}
	}
	i := slices.Index(g.Outputs, old)
	if i < 0 {
		return true
	}
	if v.Node == nil || g.IsOutput(v) || slices.Contains(g.Inputs, v) {
		return false
	}
	for j := range g.Outputs {
		if g.Outputs[j] == old {
			g.Outputs[j] = v
		}
	}
	v.Name, old.Name = old.Name, v.Name
	return true
}

// Sort puts the nodes in topological order, keeping the present order where it is free. A cycle is an error that names its nodes.
func (g *Graph) Sort() error {
	pos := make(map[*Node]int, len(g.Nodes))
	for i, n := range g.Nodes {
		pos[n] = i
	}
	state := make(map[*Node]uint8, len(g.Nodes)) // 1: on the path, 2: done
	sorted := make([]*Node, 0, len(g.Nodes))
	type frame struct {
		n    *Node
		next int
	}
	for _, root := range g.Nodes {
		if state[root] != 0 {
			continue
		}
		path := []frame{{n: root}}
		state[root] = 1
		for len(path) > 0 {
			f := &path[len(path)-1]
			if f.next == len(f.n.In) {
				state[f.n] = 2
				sorted = append(sorted, f.n)
				path = path[:len(path)-1]
				continue
			}
			v := f.n.In[f.next]
			f.next++
			if v == nil || v.Node == nil {
				continue
			}
			if _, ok := pos[v.Node]; !ok {
				return fmt.Errorf("node %q (%s): input %q comes from a node outside the graph", f.n.Name, f.n.Op.Kind(), v.Name)
			}
			switch state[v.Node] {
			case 1:
				msg := ""
				for i := range path {
					if msg != "" || path[i].n == v.Node {
						msg += fmt.Sprintf("%q -> ", path[i].n.Name)
					}
				}
				return fmt.Errorf("the graph has a cycle: %s%q", msg, v.Node.Name)
			case 0:
				state[v.Node] = 1
				path = append(path, frame{n: v.Node})
			}
		}
	}
	g.Nodes = sorted
	return nil
}

// Verify checks the invariants that passes must keep: topological order, each value produced once, inputs that exist, unique
// node names, distinct value names. It reports every violation.
func (g *Graph) Verify() error {
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	have := map[*Value]bool{}
	names := map[string]*Value{}
	see := func(v *Value) {
		if o := names[v.Name]; o != nil && o != v {
			fail("value name %q is used twice", v.Name)
		}
		names[v.Name] = v
		have[v] = true
	}
	for _, v := range g.Inputs {
		if v.Node != nil {
			fail("graph input %q has a producer", v.Name)
		}
		see(v)
	}
	nodes := map[string]bool{}
	for _, n := range g.Nodes {
		if nodes[n.Name] {
			fail("node name %q is used twice", n.Name)
		}
		nodes[n.Name] = true
		for i, v := range n.In {
			switch {
			case v == nil:
			case v.Data != nil:
				see(v)
			case !have[v]:
				fail("node %q (%s): input %d (%q) is not computed before it", n.Name, n.Op.Kind(), i, v.Name)
			}
		}
		for _, v := range n.Out {
			if v == nil {
				continue
			}
			if v.Node != n {
				fail("node %q (%s): output %q names another producer", n.Name, n.Op.Kind(), v.Name)
			}
			if have[v] {
				fail("value %q is produced twice", v.Name)
			}
			see(v)
		}
		if b, ok := n.Op.(Body); ok {
			for _, sub := range b.Bodies() {
				if err := sub.Verify(); err != nil {
					fail("node %q (%s): %w", n.Name, n.Op.Kind(), err)
				}
			}
		}
	}
	for _, v := range g.Outputs {
		if v.Data == nil && !have[v] {
			fail("graph output %q is not computed", v.Name)
		}
	}
	return errors.Join(errs...)
}

// Names hands out value or node names that are not yet taken. A name is taken if it is a key; its value is the number from which
// on one that is appended to it may be new.
type Names map[string]int

// ValueNames returns the names of all values of the graph.
func (g *Graph) ValueNames() Names {
	s := Names{}
	add := func(vs []*Value) {
		for _, v := range vs {
			if v != nil {
				s.Take(v.Name)
			}
		}
	}
	add(g.Inputs)
	add(g.Outputs)
	for _, n := range g.Nodes {
		add(n.In)
		add(n.Out)
	}
	return s
}

// NodeNames returns the names of all nodes of the graph.
func (g *Graph) NodeNames() Names {
	s := Names{}
	for _, n := range g.Nodes {
		s.Take(n.Name)
	}
	return s
}

// Take makes a name taken.
func (s Names) Take(name string) { s[name] = max(s[name], 1) }

// Fresh returns name, or name with the least number appended that makes it new, and takes it.
func (s Names) Fresh(name string) string {
	next := s[name]
	if next == 0 {
		s[name] = 1
		return name
	}
	for ; ; next++ {
		if out := fmt.Sprintf("%s_%d", name, next); s[out] == 0 {
			s[name], s[out] = next+1, 1
			return out
		}
	}
}

// Clone returns a copy of the graph that may be rewritten without touching the original. Operators and parameter data are
// shared; subgraphs are shared too (passes replace the operator to change them).
func (g *Graph) Clone() *Graph {
	c, _ := g.CloneWith(nil)
	return c
}

// CloneWith is [Graph.Clone] that also returns what stands for the given values of g in the copy.
func (g *Graph) CloneWith(values []*Value) (*Graph, []*Value) {
	m := map[*Value]*Value{}
	val := func(v *Value) *Value {
		if v == nil {
			return nil
		}
		if c := m[v]; c != nil {
			return c
		}
		c := *v
		c.Node = nil
		m[v] = &c
		return &c
	}
	list := func(vs []*Value) []*Value {
		out := make([]*Value, len(vs))
		for i, v := range vs {
			out[i] = val(v)
		}
		return out
	}
	c := &Graph{Name: g.Name, Inputs: list(g.Inputs)}
	for _, n := range g.Nodes {
		nn := &Node{Name: n.Name, Op: n.Op, In: list(n.In), Out: list(n.Out)}
		for _, v := range nn.Out {
			if v != nil {
				v.Node = nn
			}
		}
		c.Nodes = append(c.Nodes, nn)
	}
	c.Outputs = list(g.Outputs)
	return c, list(values)
}
