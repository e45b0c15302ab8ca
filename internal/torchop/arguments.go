package torchop

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// fail records that an argument is not as wanted.
func (c *call) fail(name, want string) {
	c.bad = true
	c.Fault("%s: argument %q is a %s; want %s", c.op, name, TypeName(c.args[name]), want)
}

// failf records an error of the operator.
func (c *call) failf(format string, a ...any) any {
	c.bad = true
	c.Fault("%s: %w", c.op, fmt.Errorf(format, a...))
	return Missing{}
}

// Rank returns the number of dimensions of an argument; the operator fails if that is not known.
func (c *call) Rank(x *graph.Value) int {
	if !x.Type.Ranked {
		if !c.bad && x.Name != "missing" {
			c.failf("the number of dimensions of %q is not known", x.Name)
		}
		c.bad = true
		return 0
	}
	return len(x.Type.Dims)
}

var placeholder = &graph.Value{Name: "missing"}

// tensor returns an argument that is a tensor, or a number taken for one.
func (c *call) tensor(name string) *graph.Value {
	switch v := c.args[name].(type) {
	case *Tensor:
		return c.Of(v)
	case Int:
		return c.operand(v, tensor.Int64)
	case float64:
		return c.operand(v, tensor.Float32)
	case bool:
		return c.operand(v, tensor.Bool)
	}
	c.fail(name, "a tensor")
	return placeholder
}

// optional is tensor for an argument that may be None.
func (c *call) optional(name string) *graph.Value {
	if c.args[name] == nil {
		return nil
	}
	return c.tensor(name)
}

// cell returns an argument that is a tensor as such.
func (c *call) cell(name string) *Tensor {
	if t, ok := c.args[name].(*Tensor); ok {
		return t
	}
	return Of(c.tensor(name))
}

// source returns the parameter that an argument is, nil for None.
func (c *call) source(name string) tensor.Source {
	switch v := c.args[name].(type) {
	case nil:
		return nil
	case *Tensor:
		if s := c.sourceOf(v); s != nil {
			return s
		}
	}
	c.fail(name, "a parameter of the model")
	return nil
}

// sourceOf returns where the value of a tensor lies if nothing computes it.
func (b *Builder) sourceOf(t *Tensor) tensor.Source {
	if s := t.Source(); s != nil {
		return s
	}
	return b.Of(t).Data
}

// tensors returns an argument that is a list of tensors.
func (c *call) tensors(name string) []*graph.Value {
	items, ok := Items(c.args[name])
	if !ok {
		c.fail(name, "a list of tensors")
		return nil
	}
	out := make([]*graph.Value, len(items))
	for i, v := range items {
		t, ok := v.(*Tensor)
		if !ok {
			c.fail(name, "a list of tensors")
			return nil
		}
		out[i] = c.Of(t)
	}
	return out
}

// int returns an argument that is a whole number.
func (c *call) int(name string) Int {
	if n, ok := c.toInt(c.args[name]); ok {
		return n
	}
	c.fail(name, "a whole number")
	return Int{}
}

// toInt returns a value as a whole number: a tensor too, if it has one known element or is computed.
func (b *Builder) toInt(v any) (Int, bool) {
	switch v := v.(type) {
	case Int:
		return v, true
	case bool:
		if v {
			return N(1), true
		}
		return N(0), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return N(int64(v)), true
		}
	case *Tensor:
		return b.item(v)
	}
	return Int{}, false
}

// item returns the only element of a tensor of whole numbers.
func (b *Builder) item(t *Tensor) (Int, bool) {
	v := b.Of(t)
	if k, ok := constant(v); ok {
		if f, ok := number(k); ok {
			return N(int64(f)), true
		}
		return Int{}, false
	}
	return b.sym.Symbol("", func() *graph.Value { return b.Node("Reshape", nil, b.cast(v, tensor.Int64), b.Ints(1)) }), true
}

// constant returns the elements of a value where they are known and few.
func constant(v *graph.Value) (*tensor.Tensor, bool) {
	if v.Type.Const != nil {
		return v.Type.Const, true
	}
	if v.Data != nil && v.Data.Shape().Len() <= 1<<12 {
		if t, err := v.Data.Load(); err == nil {
			return t, true
		}
	}
	return nil, false
}

// number returns the only element of a tensor.
func number(t *tensor.Tensor) (float64, bool) {
	if t.Len() != 1 {
		return 0, false
	}
	f, err := t.Float64s()
	if err != nil {
		return 0, false
	}
	return f[0], true
}

// known returns an argument that is a whole number and known.
func (c *call) known(name string) int {
	n, ok := c.int(name).Const()
	if !ok && !c.bad {
		c.failf("argument %q is %v, which is not known before a run", name, c.args[name])
	}
	return int(n)
}

// sizes returns an argument that is a list of whole numbers; a single one is a list of one.
func (c *call) sizes(name string) []Int {
	items, ok := Items(c.args[name])
	if !ok {
		items = []any{c.args[name]}
		if t, is := c.args[name].(*Tensor); is {
			if k, known := constant(c.Of(t)); known && k.DType == tensor.Int64 {
				items = nil
				for _, n := range tensor.Data[int64](k) {
					items = append(items, N(n))
				}
			}
		}
	}
	out := make([]Int, len(items))
	for i, v := range items {
		n, ok := c.toInt(v)
		if !ok {
			c.fail(name, "a list of whole numbers")
			return nil
		}
		out[i] = n
	}
	return out
}

// ints returns an argument that is a list of whole numbers that are known; nil for None.
func (c *call) ints(name string) []int {
	if c.args[name] == nil {
		return nil
	}
	list, ok := consts(c.sizes(name))
	if !ok && !c.bad {
		c.failf("argument %q is not known before a run", name)
	}
	return list
}

// float returns an argument that is a number.
func (c *call) float(name string) float64 {
	switch v := c.args[name].(type) {
	case float64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	case Int:
		if n, ok := v.Const(); ok {
			return float64(n)
		}
	case *Tensor:
		if k, ok := constant(c.Of(v)); ok {
			if f, ok := number(k); ok {
				return f
			}
		}
	}
	c.fail(name, "a number")
	return 0
}

// floats returns an argument that is a list of numbers; nil for None.
func (c *call) floats(name string) []float64 {
	if c.args[name] == nil {
		return nil
	}
	items, ok := Items(c.args[name])
	if !ok {
		return []float64{c.float(name)}
	}
	var out []float64
	for _, v := range items {
		switch v := v.(type) {
		case float64:
			out = append(out, v)
		case Int:
			n, _ := v.Const()
			out = append(out, float64(n))
		default:
			c.fail(name, "a list of numbers")
		}
	}
	return out
}

// bool returns an argument that says yes or no.
func (c *call) bool(name string) bool {
	switch v := c.args[name].(type) {
	case bool:
		return v
	case Int:
		if n, ok := v.Const(); ok {
			return n != 0
		}
	}
	c.fail(name, "True or False")
	return false
}

// text returns an argument that is a string; "" for None.
func (c *call) text(name string) string {
	switch v := c.args[name].(type) {
	case nil:
		return ""
	case string:
		return v
	}
	c.fail(name, "a string")
	return ""
}

// dtype returns an argument that is an element type; missing where it is None.
func (c *call) dtype(name string, missing tensor.DType) tensor.DType {
	if c.args[name] == nil {
		return missing
	}
	if n, ok := c.args[name].(Int); ok {
		if code, ok := n.Const(); ok {
			if d, ok := typeCodes[code]; ok {
				return d
			}
		}
	}
	c.fail(name, "the number of an element type")
	return missing
}

// has reports whether an argument is not None.
func (c *call) has(name string) bool { return c.args[name] != nil }
