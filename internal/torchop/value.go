// Package torchop translates the operators of PyTorch, by name, to nodes of a graph: the operators that TorchScript code and the
// programs of torch.export call.
//
// [Builder.Call] takes an operator's name and its arguments as values and gives its result. Tensors are *[Tensor], cells that an
// in-place operator may set anew; whole numbers are [Int], which may be sizes that are not known before a run. The table has one
// file a family; what an operator computes is in package aten.
package torchop

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Values are nil (None), bool, [Int], float64, complex128, string, [Device], *[Tensor], *[List], [Tuple], *[Dict], [Missing], and
// what a caller has beside them, such as modules. Element types are numbers, as TorchScript has them: see [TypeCode].

// Device is a device, which means nothing here.
type Device string

// List is a list, which operators may append to.
type List struct{ Items []any }

// Tuple is a tuple.
type Tuple []any

// Dict is a dictionary with the keys in the order in which they came. Keys are strings, [Int] constants and bools.
type Dict struct {
	Keys   []any
	Values map[any]any
}

// NewDict returns an empty dictionary.
func NewDict() *Dict { return &Dict{Values: map[any]any{}} }

// Set sets a value.
func (d *Dict) Set(key, value any) error {
	k, err := dictKey(key)
	if err != nil {
		return err
	}
	if _, ok := d.Values[k]; !ok {
		d.Keys = append(d.Keys, key)
	}
	d.Values[k] = value
	return nil
}

// Get returns a value.
func (d *Dict) Get(key any) (any, bool) {
	k, err := dictKey(key)
	if err != nil {
		return nil, false
	}
	v, ok := d.Values[k]
	return v, ok
}

// dictKey returns a comparable form of a key.
func dictKey(key any) (any, error) {
	switch k := key.(type) {
	case string, bool, float64, Device:
		return k, nil
	case Int:
		if c, ok := k.Const(); ok {
			return c, nil
		}
		return nil, fmt.Errorf("%v is not known before a run; it cannot be a key", k)
	}
	return nil, fmt.Errorf("a %s cannot be a key", TypeName(key))
}

// Absent is a result that an operator does not give here, such as the indices of an adaptive pooling. Using it is refused under its
// name.
type Absent string

// Missing stands for the result of an operator that is not supported. What is computed from it is Missing too.
type Missing struct{}

// Tensor is a tensor of a program: a cell that holds a value of the graph. In-place operators set another value; a view then
// computes itself anew, and what is set on a view is written to what it is a view of.
type Tensor struct {
	val     *graph.Value
	source  tensor.Source // of a parameter that no node has used yet
	name    string
	version int

	base *Tensor // what it is a view of; nil: none
	seen int     // version of base that val was computed from
	read func(base *graph.Value) *graph.Value
	put  func(base, v *graph.Value) *graph.Value // base with v written to the view

	strided    bool // possibly not contiguous in PyTorch
	transposed bool // base, a matrix, with rows and columns exchanged
}

// Of returns a tensor with a value of the graph.
func Of(v *graph.Value) *Tensor { return &Tensor{val: v} }

// Param returns a parameter under its name in a state dict. It becomes part of the graph when an operator uses it.
func Param(name string, s tensor.Source) *Tensor { return &Tensor{name: name, source: s} }

// Source returns where a parameter comes from, nil for what is computed.
func (t *Tensor) Source() tensor.Source {
	if t.base != nil {
		return nil
	}
	return t.source
}

// Builder translates operators and records the result in a graph.
type Builder struct {
	*aten.Builder
	Where func() string // says what part of the program is translated, for messages; nil: nobody knows

	sym         *symbols
	unsupported map[string]*Unsupported
	order       []*Unsupported
	faults      int
	hints       Hints // of inputs, while probing; nil: not
}

// New returns a builder of an empty graph.
func New(name string) *Builder {
	b := &Builder{Builder: aten.New(name), unsupported: map[string]*Unsupported{}}
	b.sym = newSymbols(b.Builder)
	return b
}

// Of returns the present value of a tensor in the graph.
func (b *Builder) Of(t *Tensor) *graph.Value {
	switch {
	case t.base != nil:
		base := b.Of(t.base)
		if t.val == nil || t.seen != t.base.generation() {
			t.val = t.read(base)
			t.seen = t.base.generation()
		}
	case t.val == nil && t.source != nil:
		b.Declare(t.name, t.source)
		t.val = b.Weight(t.name, t.source)
	}
	return t.val
}

// generation counts the values that a tensor and what it is a view of have had.
func (t *Tensor) generation() int {
	n := t.version
	if t.base != nil {
		n += t.base.generation()
	}
	return n
}

// view returns a view of a tensor. put may be nil if nothing can be written to it.
func (b *Builder) view(base *Tensor, read func(*graph.Value) *graph.Value, put func(base, v *graph.Value) *graph.Value) *Tensor {
	return &Tensor{base: base, read: read, put: put, val: read(b.Of(base)), seen: base.generation(), strided: true}
}

// set gives a tensor another value, in place.
func (b *Builder) set(t *Tensor, v *graph.Value) {
	if t.base == nil {
		t.val, t.source = v, nil
		t.version++
		return
	}
	if t.put == nil {
		b.Errorf("an operator in place on a tensor that shares the elements of another in a way that is not supported")
		return
	}
	b.set(t.base, t.put(b.Of(t.base), v))
	t.val, t.seen = v, t.base.generation()
}

// TypeName returns the name of the type of a value, for messages.
func TypeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case Int:
		return "int"
	case float64:
		return "float"
	case complex128:
		return "complex"
	case string:
		return "str"
	case Device:
		return "device"
	case *Tensor:
		return "Tensor"
	case *List:
		if len(v.Items) > 0 {
			return "List[" + TypeName(v.Items[0]) + "]"
		}
		return "List"
	case Tuple:
		return "Tuple"
	case *Dict:
		return "Dict"
	case fmt.Stringer:
		return v.String()
	}
	return fmt.Sprintf("%T", v)
}

// Items returns the elements of a list or tuple.
func Items(v any) ([]any, bool) {
	switch v := v.(type) {
	case *List:
		return v.Items, true
	case Tuple:
		return v, true
	}
	return nil, false
}
