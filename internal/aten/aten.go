// Package aten records the functions of PyTorch's tensor library as nodes of a graph, in terms of ONNX operators.
//
// A [Builder] has one method a function, named as in torch.nn.functional or torch, with the meaning it has there for a network
// that is evaluated and not trained. Values are *graph.Value; everything else is a plain parameter. As with graph.Builder,
// errors stick, and the names of nodes and parameters are paths of scopes, so that a parameter keeps the name that it has in a
// state dict.
//
// Shapes may be unknown: what needs a size that is no number computes it in the graph, and inference folds what is known.
package aten

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Attrs are attributes of an ONNX operator. An int, bool or []int is converted to what [op.SetAttrs] takes.
type Attrs map[string]any

// Builder adds PyTorch's functions to a graph builder.
type Builder struct {
	*graph.Builder
	params map[paramKey]*graph.Value
	names  map[tensor.Source]string
	consts map[string]*graph.Value
}

// paramKey is a parameter in one of its forms.
type paramKey struct {
	source any
	form   string
}

// New returns a builder of an empty graph.
func New(name string) *Builder {
	return &Builder{Builder: graph.NewBuilder(name), params: map[paramKey]*graph.Value{}, names: map[tensor.Source]string{}, consts: map[string]*graph.Value{}}
}

// Node records an ONNX operator with one output. The node is named after the kind within the present scope.
func (b *Builder) Node(kind string, a Attrs, in ...*graph.Value) *graph.Value {
	return b.Nodes(1, kind, a, in...)[0]
}

// Nodes is [Builder.Node] for an operator with n outputs.
func (b *Builder) Nodes(n int, kind string, a Attrs, in ...*graph.Value) []*graph.Value {
	o, ok := op.New(kind)
	if !ok {
		panic("aten: there is no operator " + kind)
	}
	attrs := make(map[string]any, len(a))
	for k, v := range a {
		switch v := v.(type) {
		case int:
			attrs[k] = int64(v)
		case bool:
			attrs[k] = int64(0)
			if v {
				attrs[k] = int64(1)
			}
		case []int:
			attrs[k] = wide(v)
		case float64:
			attrs[k] = float32(v)
		default:
			attrs[k] = v
		}
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		b.Errorf("%s: %w", kind, err)
	}
	for i, v := range in {
		if v == nil && i == 0 {
			b.Errorf("%s: its input is missing", kind)
			return b.missing(n)
		}
	}
	return b.AddN(strings.ToLower(kind), n, o, in...)
}

// missing returns values that stand for the outputs of what could not be recorded, so that building goes on.
func (b *Builder) missing(n int) []*graph.Value {
	out := make([]*graph.Value, n)
	for i := range out {
		out[i] = &graph.Value{Name: "missing"}
	}
	return out
}

// Fail records an error at the present scope and returns a value that stands for the result.
func (b *Builder) Fail(format string, a ...any) *graph.Value {
	b.Errorf(format, a...)
	return b.missing(1)[0]
}

func wide(v []int) []int64 {
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out
}

// Ints returns a constant vector, such as a shape. Equal ones are the same value.
func (b *Builder) Ints(v ...int) *graph.Value {
	return b.constant(fmt.Sprint("ints ", v), func() *tensor.Tensor { return tensor.Vector(wide(v)...) })
}

// Int returns a constant whole number.
func (b *Builder) Int(v int) *graph.Value {
	return b.constant(fmt.Sprint("int ", v), func() *tensor.Tensor { return tensor.Scalar(int64(v)) })
}

// Number returns a constant number of the element type of x, float32 where that is not known.
func (b *Builder) Number(x *graph.Value, v float64) *graph.Value { return b.NumberOf(x.Type.DType, v) }

// NumberOf returns a constant number of an element type.
func (b *Builder) NumberOf(d tensor.DType, v float64) *graph.Value {
	if d == tensor.Invalid {
		d = tensor.Float32
	}
	return b.constant(fmt.Sprint(d, " ", v), func() *tensor.Tensor {
		t, err := scalar(d, v)
		if err != nil {
			b.Errorf("the number %v as %v: %w", v, d, err)
			return tensor.Scalar(float32(v))
		}
		return t
	})
}

// scalar returns a number of an element type.
func scalar(d tensor.DType, v float64) (*tensor.Tensor, error) {
	switch d {
	case tensor.Float32:
		return tensor.Scalar(float32(v)), nil
	case tensor.Float64:
		return tensor.Scalar(v), nil
	case tensor.Int64:
		return tensor.Scalar(int64(v)), nil
	}
	cast, ok := op.New("Cast")
	if !ok {
		panic("aten: there is no operator Cast")
	}
	if err := op.SetAttrs(cast, map[string]any{"to": int64(d)}); err != nil {
		return nil, err
	}
	out, err := cast.Eval(&graph.Env{}, []*tensor.Tensor{tensor.Scalar(v)})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// constant returns the constant of a key, which is made once.
func (b *Builder) constant(key string, make func() *tensor.Tensor) *graph.Value {
	if v := b.consts[key]; v != nil {
		return v
	}
	v := b.Param("const", make())
	b.consts[key] = v
	return v
}

// Rank returns the number of dimensions of x; it is an error if that is not known.
func (b *Builder) Rank(x *graph.Value) int {
	if !x.Type.Ranked {
		if x.Name != "missing" {
			b.Errorf("the number of dimensions of %q is not known", x.Name)
		}
		return 0
	}
	return len(x.Type.Dims)
}

// Axis returns a dimension of x that may count from the end.
func (b *Builder) Axis(x *graph.Value, axis int) int {
	r := b.Rank(x)
	a, err := tensor.Axis(axis, r)
	if err != nil && x.Type.Ranked {
		b.Errorf("%w", err)
		return 0
	}
	return a
}

// dim returns the size of a dimension, -1 where it is not a number.
func dim(x *graph.Value, axis int) int {
	if !x.Type.Ranked || axis < 0 || axis >= len(x.Type.Dims) || !x.Type.Dims[axis].IsKnown() {
		return -1
	}
	return x.Type.Dims[axis].Size
}

// Size returns the size of a dimension of x as a vector of one: a constant where it is known.
func (b *Builder) Size(x *graph.Value, axis int) *graph.Value {
	axis = b.Axis(x, axis)
	if n := dim(x, axis); n >= 0 {
		return b.Ints(n)
	}
	return b.Node("Shape", Attrs{"start": axis, "end": axis + 1}, x)
}

// floats returns a constant vector of float32.
func (b *Builder) floats(v []float32) *graph.Value {
	return b.constant(fmt.Sprint("floats ", v), func() *tensor.Tensor { return tensor.Vector(v...) })
}
