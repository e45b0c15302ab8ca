package onnx

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// What the rewrites of upgrade.go are made of.

// take removes an attribute and returns it; ok is false if it is absent.
func take[T any](c *call, name string) (v T, ok bool, err error) {
	a, ok := c.attrs[name]
	if !ok {
		return v, false, nil
	}
	delete(c.attrs, name)
	if v, ok = a.(T); !ok {
		return v, false, fmt.Errorf("attribute %q: want %T, got %T", name, v, a)
	}
	return v, true, nil
}

// param adds a parameter that the file does not have.
func (c *call) param(suffix string, t *tensor.Tensor) *graph.Value {
	return graph.Param(c.s.used.values.Fresh(c.name+"/"+suffix), t)
}

// ints adds an int64 vector parameter.
func (c *call) ints(suffix string, v ...int64) *graph.Value {
	return c.param(suffix, tensor.Of(tensor.Shape{len(v)}, v))
}

// set puts v at input i.
func (c *call) set(i int, v *graph.Value) {
	for len(c.in) <= i {
		c.in = append(c.in, nil)
	}
	c.in[i] = v
}

// input returns input i, nil if it is omitted.
func (c *call) input(i int) *graph.Value {
	if i < len(c.in) {
		return c.in[i]
	}
	return nil
}

// used reports whether output i is.
func (c *call) used(i int) bool { return i < len(c.outs) && c.outs[i] != "" }

// rank returns the number of dimensions of input i.
func (c *call) rank(i int) (int, error) {
	v := c.input(i)
	if v == nil {
		return 0, fmt.Errorf("input %d is missing", i)
	}
	if !v.Type.Ranked {
		return 0, fmt.Errorf("operator set %d: the rank of input %d (%q) must be known to bring the node to its present form", c.version, i, v.Name)
	}
	return len(v.Type.Dims), nil
}

// constant returns the value of input i if it is known.
func (c *call) constant(i int) (*tensor.Tensor, error) {
	v := c.input(i)
	if v == nil {
		return nil, nil
	}
	if v.Type.Const != nil {
		return v.Type.Const, nil
	}
	return c.s.g.Constant(v)
}

// emit adds a node beside the one at hand and returns its first output.
func (c *call) emit(kind string, attrs map[string]any, in ...*graph.Value) (*graph.Value, error) {
	out, err := c.emitN(c.name+"/"+kind, kind, 1, attrs, in...)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// emitN adds a node with n outputs.
func (c *call) emitN(name, kind string, n int, attrs map[string]any, in ...*graph.Value) ([]*graph.Value, error) {
	o, ok := op.New(kind)
	if !ok {
		return nil, fmt.Errorf("operator %s, which the rewrite needs, is %w", kind, ErrUnsupported)
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	node := &graph.Node{Name: c.s.used.nodes.Fresh(name), Op: o, In: in}
	for i := range n {
		suffix := ""
		if i > 0 {
			suffix = fmt.Sprintf(":%d", i)
		}
		node.Out = append(node.Out, &graph.Value{Name: c.s.used.values.Fresh(node.Name + suffix), Node: node})
	}
	return node.Out, c.s.append(node)
}

// chain collects the error of a series of emits, so that a rewrite reads as a formula.
type chain struct {
	c   *call
	err error
}

func (e *chain) emit(kind string, attrs map[string]any, in ...*graph.Value) *graph.Value {
	if e.err != nil {
		return &graph.Value{}
	}
	v, err := e.c.emit(kind, attrs, in...)
	if err != nil {
		e.err = err
		return &graph.Value{}
	}
	return v
}

// main adds the node that keeps the name of the one at hand.
func (e *chain) main(kind string, attrs map[string]any, in ...*graph.Value) *graph.Value {
	if e.err != nil {
		return &graph.Value{}
	}
	out, err := e.c.emitN(e.c.name, kind, 1, attrs, in...)
	if err != nil {
		e.err = err
		return &graph.Value{}
	}
	return out[0]
}

// done makes v the only result of the call.
func (e *chain) done(v *graph.Value) error {
	if e.err == nil {
		e.c.results = []*graph.Value{v}
	}
	return e.err
}

type attrMap = map[string]any

// drop removes attributes that have lost their meaning.
func drop(names ...string) func(*call) error {
	return func(c *call) error {
		for _, n := range names {
			delete(c.attrs, n)
		}
		return nil
	}
}

// defaultInt sets an attribute whose default changed.
func defaultInt(name string, v int64) func(*call) error {
	return func(c *call) error {
		if _, ok := c.attrs[name]; !ok {
			c.attrs[name] = v
		}
		return nil
	}
}

// defaultString sets an attribute whose default changed.
func defaultString(name, v string) func(*call) error {
	return func(c *call) error {
		if _, ok := c.attrs[name]; !ok {
			c.attrs[name] = v
		}
		return nil
	}
}

// renameTo gives the call another operator of the same form.
func renameTo(kind string) func(*call) error {
	return func(c *call) error {
		c.kind = kind
		return nil
	}
}

// attrsToInputs turns integer list attributes into inputs from index first on.
func attrsToInputs(first int, names ...string) func(*call) error {
	return func(c *call) error {
		for i, name := range names {
			v, ok, err := take[[]int64](c, name)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if c.input(first+i) != nil {
				return fmt.Errorf("%w: %s is given as an attribute and as an input", ErrFormat, name)
			}
			c.set(first+i, c.ints(name, v...))
		}
		return nil
	}
}

// errUntold is the reason where a rewrite needs a value that only a run would show.
var errUntold = errors.New("must be a constant to bring the node to its present form")
