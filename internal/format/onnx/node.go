package onnx

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
)

// importNodes appends the nodes of a graph or function body to s.g.
func (s *scope) importNodes(nodes []*protobuf.Node) {
	list, err := ordered(nodes)
	if err != nil {
		s.im.fail(err)
		return
	}
	explicit := graph.Names{}
	for _, n := range list {
		explicit.Take(n.Name)
	}
	for i, n := range list {
		if s.im.ctx.Err() != nil {
			s.im.fail(s.im.ctx.Err())
			return
		}
		if len(s.im.calls) > 0 {
			if s.im.inlined++; s.im.inlined > maxInlined {
				s.fail("%w: local functions expand to more than %d nodes", ErrFormat, maxInlined)
				return
			}
		}
		if len(s.im.errs) > maxErrors {
			return
		}
		label := nodeLabel(n, i)
		if n.Name == "" {
			label = explicit.Fresh(label)
		}
		label = s.prefix + label
		err := s.importNode(n, label)
		if err == nil {
			continue
		}
		s.fail("node %q (%s): %w", label, kind(n.Domain, n.OpType), err)
		// Readers of the outputs must not be reported as well: their inputs exist, their types are what the file declares.
		for _, out := range n.Outputs {
			if out != "" && s.names[out] == nil {
				s.names[out] = s.value(out)
			}
		}
	}
}

// value makes the value for a name that a node of the file produces.
func (s *scope) value(name string) *graph.Value {
	v := &graph.Value{Name: name, Type: s.declared[name]}
	if s.prefix != "" {
		v.Name = s.used.values.Fresh(s.prefix + name)
	}
	return v
}

// importNode appends one node, or what stands for it.
func (s *scope) importNode(n *protobuf.Node, label string) error {
	in := make([]*graph.Value, len(n.Inputs))
	for i, name := range n.Inputs {
		if name == "" || s.isOmitted(name) {
			continue
		}
		if in[i] = s.lookup(name); in[i] == nil {
			return fmt.Errorf("%w: input %d (%q) is not a graph input, an initializer or the output of a node", ErrFormat, i, name)
		}
	}
	for len(in) > 0 && in[len(in)-1] == nil {
		in = in[:len(in)-1]
	}
	for _, out := range n.Outputs {
		if out != "" && s.names[out] != nil {
			return fmt.Errorf("%w: output %q is already the name of another value", ErrFormat, out)
		}
	}
	if f := s.im.functions[functionKey(n.Domain, n.OpType, n.Overload)]; f != nil {
		return s.inline(f, n, in, label)
	}
	version, ok := s.opset[domain(n.Domain)]
	if !ok {
		if domain(n.Domain) == "" {
			return fmt.Errorf("%w: no version of the default operator set is imported", ErrFormat)
		}
		version = 1
	}
	c := &call{s: s, kind: kind(n.Domain, n.OpType), name: label, version: version, in: in, outs: n.Outputs}
	var err error
	if c.attrs, err = s.attributes(n, c); err != nil {
		return err
	}
	if err := c.upgrade(); err != nil {
		return err
	}
	if c.results == nil {
		if err := c.build(); err != nil {
			return err
		}
	}
	return c.bind()
}

// call is an operator application on its way into the graph; the rewrites of upgrade.go change it.
type call struct {
	s       *scope
	kind    string
	name    string
	version int // of the operator's domain
	attrs   map[string]any
	in      []*graph.Value
	outs    []string       // names of the outputs; "" where one is not used
	results []*graph.Value // set by a rewrite that replaces the operator by other nodes
	bodies  []*scope       // of the subgraphs among attrs
}

// build adds the node for the call and sets its results.
func (c *call) build() error {
	o, ok := op.New(c.kind)
	if !ok {
		return fmt.Errorf("the operator is %w", ErrUnsupported)
	}
	if err := op.SetAttrs(o, c.attrs); err != nil {
		return err
	}
	c.close(o)
	node := &graph.Node{Name: c.s.used.nodes.Fresh(c.name), Op: o, In: c.in}
	for _, out := range c.outs {
		var v *graph.Value
		if out != "" {
			v = c.s.value(out)
			v.Node = node
		}
		node.Out = append(node.Out, v)
		c.results = append(c.results, v)
	}
	if c.results == nil {
		c.results = []*graph.Value{}
	}
	return c.s.append(node)
}

// append infers the types of a node and adds it to the graph.
func (s *scope) append(n *graph.Node) error {
	s.g.Nodes = append(s.g.Nodes, n)
	return infer(n)
}

// infer refines the declared types of a node's outputs by what its inputs say.
func infer(n *graph.Node) error {
	err := (&graph.Graph{Nodes: []*graph.Node{n}}).Infer()
	if err == nil {
		return nil
	}
	// The caller names the node.
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) && len(joined.Unwrap()) == 1 {
		if inner := errors.Unwrap(joined.Unwrap()[0]); inner != nil {
			return inner
		}
	}
	return err
}

// close passes what the subgraphs of the call capture to the node: all subgraphs get the same additional inputs, those that any of
// them captures.
func (c *call) close(o graph.Op) {
	counted, ok := o.(interface{ SetCaptures(n int) })
	if !ok || len(c.bodies) == 0 {
		return
	}
	var outer []*graph.Value
	seen := map[*graph.Value]bool{}
	for _, b := range c.bodies {
		for _, k := range b.captures {
			if !seen[k.outer] {
				seen[k.outer] = true
				outer = append(outer, k.outer)
			}
		}
	}
	for _, b := range c.bodies {
		inner := map[*graph.Value]*graph.Value{}
		for _, k := range b.captures {
			inner[k.outer] = k.inner
		}
		b.g.Inputs = b.g.Inputs[:len(b.g.Inputs)-len(b.captures)]
		b.captures = nil
		for _, o := range outer {
			v := inner[o]
			if v == nil {
				v = &graph.Value{Name: b.used.values.Fresh(o.Name), Type: o.Type}
			}
			b.g.Inputs = append(b.g.Inputs, v)
			b.captures = append(b.captures, capture{o, v})
		}
	}
	c.in = append(c.in, outer...)
	counted.SetCaptures(len(outer))
}

// bind gives the results the names that the file has for them.
func (c *call) bind() error {
	for i, out := range c.outs {
		if out == "" {
			continue
		}
		if i >= len(c.results) || c.results[i] == nil {
			return fmt.Errorf("output %d (%q) does not exist in the present form of the operator", i, out)
		}
		v := c.results[i]
		c.s.names[out] = v
		if c.s.prefix == "" && v.Name != out {
			c.s.rename(v, out)
		}
	}
	return nil
}

// rename gives a value that a node of the graph produces the name of the file. A value that has one already, an input for
// example, is passed through an Identity.
func (s *scope) rename(v *graph.Value, name string) {
	if v.Node == nil || s.owner(v) {
		o, _ := op.New("Identity")
		id := &graph.Node{Name: s.used.nodes.Fresh(name), Op: o, In: []*graph.Value{v}}
		out := &graph.Value{Name: name, Type: v.Type, Node: id}
		id.Out = []*graph.Value{out}
		s.g.Nodes = append(s.g.Nodes, id)
		s.names[name] = out
		return
	}
	v.Name = name
	if t, ok := s.declared[name]; ok && v.Type.DType == 0 {
		v.Type = t
	}
}

// owner reports whether a name of the file other than the one being bound stands for v already.
func (s *scope) owner(v *graph.Value) bool {
	w := s.names[v.Name]
	return w == v
}
