package graph

import (
	"errors"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// Builder records nodes, so that Go code that reads like an eager module builds a graph. Errors stick: the first ones are
// returned by [Builder.Graph] with the scope path of the node, and everything after them is harmless.
type Builder struct {
	g      Graph
	scope  []string
	values Names
	nodes  Names
	errs   []error
}

// NewBuilder returns a builder of an empty graph.
func NewBuilder(name string) *Builder {
	return &Builder{g: Graph{Name: name}, values: Names{}, nodes: Names{}}
}

// Input declares a graph input.
func (b *Builder) Input(name string, t Type) *Value {
	v := &Value{Name: b.values.Fresh(name), Type: t}
	b.g.Inputs = append(b.g.Inputs, v)
	return v
}

// Param declares a parameter in memory, named within the present scope.
func (b *Builder) Param(name string, t *tensor.Tensor) *Value {
	return Param(b.values.Fresh(b.path(name)), t)
}

// Source declares a parameter that may still be in its file, named within the present scope.
func (b *Builder) Source(name string, s tensor.Source) *Value {
	return FromSource(b.values.Fresh(b.path(name)), s)
}

// Scope runs f with name appended to the path of what it records.
func (b *Builder) Scope(name string, f func()) {
	b.scope = append(b.scope, name)
	f()
	b.scope = b.scope[:len(b.scope)-1]
}

// Root runs f outside all scopes.
func (b *Builder) Root(f func()) {
	scope := b.scope
	b.scope = nil
	f()
	b.scope = scope
}

// Add records op and returns its first output.
func (b *Builder) Add(name string, op Op, in ...*Value) *Value { return b.AddN(name, 1, op, in...)[0] }

// AddN records op with n outputs. Types are inferred; an error of Infer sticks.
func (b *Builder) AddN(name string, n int, op Op, in ...*Value) []*Value {
	node := &Node{Name: b.nodes.Fresh(b.path(name)), Op: op, In: in}
	types, err := InferNode(node)
	if err != nil && len(b.errs) < 20 {
		b.errs = append(b.errs, fmt.Errorf("node %q (%s): %w", node.Name, op.Kind(), err))
	}
	for i := range n {
		out := node.Name
		if i > 0 {
			out = fmt.Sprintf("%s:%d", node.Name, i)
		}
		v := &Value{Name: b.values.Fresh(out), Node: node}
		if i < len(types) {
			v.Type = types[i]
		}
		node.Out = append(node.Out, v)
	}
	b.g.Nodes = append(b.g.Nodes, node)
	return node.Out
}

// Output declares v a graph output under the given name.
func (b *Builder) Output(name string, v *Value) {
	if v.Node != nil && !b.g.IsOutput(v) {
		v.Name = name
	}
	b.g.Outputs = append(b.g.Outputs, v)
}

// IsOutput reports whether v was declared an output.
func (b *Builder) IsOutput(v *Value) bool { return b.g.IsOutput(v) }

// Count returns the number of nodes.
func (b *Builder) Count() int { return len(b.g.Nodes) }

// Errorf records an error at the present scope.
func (b *Builder) Errorf(format string, a ...any) {
	err := fmt.Errorf(format, a...)
	if len(b.scope) > 0 {
		err = fmt.Errorf("%s: %w", strings.Join(b.scope, "."), err)
	}
	b.errs = append(b.errs, err)
}

// Graph returns what was recorded, or the errors.
func (b *Builder) Graph() (*Graph, error) {
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	return &b.g, b.g.Verify()
}

func (b *Builder) path(name string) string {
	return strings.Join(append(b.scope[:len(b.scope):len(b.scope)], name), ".")
}
