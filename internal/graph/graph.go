// Package graph is the intermediate representation: a [Graph] of [Node]s joined by [Value]s, each node computing one [Op].
//
// There is one operator vocabulary, that of ONNX, and one version of it: importers bring every operator to the form of the
// newest ONNX operator set that this package follows (axes as inputs, not attributes, and so on), exporters may go back.
//
// A graph is closed: a subgraph (the body of If, Loop, Scan, SequenceMap) does not see outer values. What it captures is
// passed to the node as additional trailing inputs and appears as additional trailing inputs of the subgraph.
package graph

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Graph is a list of nodes in topological order with named inputs and outputs.
type Graph struct {
	Name    string
	Nodes   []*Node
	Inputs  []*Value
	Outputs []*Value
}

// Node applies an operator. Nil entries of In are omitted optional inputs, nil entries of Out unused optional outputs.
// Name is unique in its graph.
type Node struct {
	Name string
	Op   Op
	In   []*Value
	Out  []*Value
}

// Value is an edge: a graph input (Node and Data nil), a parameter (Data set) or the output of a node (Node set).
// A graph input that also has Data is an input with a default, which a caller may override; passes leave such values alone.
type Value struct {
	Name string
	Type Type
	Node *Node
	Data tensor.Source
}

// Type is what is known about a value before it is computed.
type Type struct {
	DType  tensor.DType // Invalid: unknown
	Ranked bool         // whether Dims is known; a ranked type without Dims is a scalar
	Dims   []Dim
	Const  *tensor.Tensor // the value itself where it is known beforehand (parameters, shape arithmetic)
	Elem   *Type          // element type of a Sequence or Optional
}

// Dim is the size of a dimension: a number, a name that stands for a number, or unknown (Size -1, no name).
type Dim struct {
	Size int // -1 when not a number
	Name string
}

// Known returns a numeric dimension.
func Known(n int) Dim { return Dim{Size: n} }

// Named returns a dimension that is fixed only at run time.
func Named(name string) Dim { return Dim{Size: -1, Name: name} }

// Unknown is a dimension of which nothing is known.
var Unknown = Dim{Size: -1}

// IsKnown reports whether the dimension is a number.
func (d Dim) IsKnown() bool { return d.Size >= 0 }

// String returns the number, the name or "?".
func (d Dim) String() string {
	switch {
	case d.Size >= 0:
		return fmt.Sprint(d.Size)
	case d.Name != "":
		return d.Name
	}
	return "?"
}

// TypeOf returns the type of a tensor, with Const set.
func TypeOf(t *tensor.Tensor) Type {
	ty := Type{DType: t.DType, Ranked: true, Const: t}
	if t.DType == tensor.Sequence || t.DType == tensor.Optional {
		ty.Ranked = false
		if e := t.Elems(); len(e) > 0 {
			et := TypeOf(e[0])
			et.Const = nil
			for _, o := range e[1:] {
				if !o.Shape.Equal(e[0].Shape) {
					et.Ranked, et.Dims = false, nil
				}
			}
			ty.Elem = &et
		}
		return ty
	}
	for _, d := range t.Shape {
		ty.Dims = append(ty.Dims, Known(d))
	}
	return ty
}

// Ranked returns a type of known element type and dimensions.
func Ranked(d tensor.DType, dims ...Dim) Type { return Type{DType: d, Ranked: true, Dims: dims} }

// Shaped returns a type whose dimensions are all numbers.
func Shaped(d tensor.DType, shape tensor.Shape) Type {
	t := Type{DType: d, Ranked: true}
	for _, n := range shape {
		t.Dims = append(t.Dims, Known(n))
	}
	return t
}

// Unranked returns a type of which only the element type is known.
func Unranked(d tensor.DType) Type { return Type{DType: d} }

// Shape returns the dimensions as numbers, or false if one is not known.
func (t Type) Shape() (tensor.Shape, bool) {
	if !t.Ranked {
		return nil, false
	}
	s := make(tensor.Shape, len(t.Dims))
	for i, d := range t.Dims {
		if !d.IsKnown() {
			return nil, false
		}
		s[i] = d.Size
	}
	return s, true
}

// IsNone reports whether the type stands for an omitted input.
func (t Type) IsNone() bool {
	return t.DType == tensor.Invalid && !t.Ranked && t.Elem == nil && t.Const == nil
}

// String returns a form such as "float32[batch,3,224,224]".
func (t Type) String() string {
	if t.Elem != nil {
		return fmt.Sprintf("%v(%v)", t.DType, t.Elem)
	}
	if !t.Ranked {
		return t.DType.String() + "[...]"
	}
	s := t.DType.String() + "["
	for i, d := range t.Dims {
		if i > 0 {
			s += ","
		}
		s += d.String()
	}
	return s + "]"
}

// Op is an operator with its attributes as fields. Implementations are immutable once they are in a graph.
type Op interface {
	// Kind is the ONNX operator name; operators of another domain carry it as a prefix ("com.microsoft.MatMulNBits").
	Kind() string
	// Infer returns the types of the outputs. An omitted input is the zero Type. It reports what can never be valid and
	// leaves unknown what it cannot tell.
	Infer(in []Type) ([]Type, error)
	// Eval computes the outputs. An omitted input is nil. Inputs are read-only. An output is fresh memory from e, or shares
	// the whole data of an input (a reshape), never a part of one.
	Eval(e *Env, in []*tensor.Tensor) ([]*tensor.Tensor, error)
}

// Differentiable is an operator that may be trained through. Backward returns the gradients of the inputs, nil where an input has
// none or its gradient is not wanted (see [Env.Wants], which counts inputs here), from those of the outputs, nil where an output is not
// used. An input or output that it does not read (see [Recalling]) may be an outline: a tensor with its shape and type and without
// elements. What Backward is given is read-only; a gradient may be returned as that of an input as it is.
type Differentiable interface {
	Op
	Backward(e *Env, in, out, dOut []*tensor.Tensor) (dIn []*tensor.Tensor, err error)
}

// Recalling says which elements Backward reads, as sets of bits by input and by output; the others need not be kept until then. An operator
// that does not say so reads all inputs and no output.
type Recalling interface {
	Differentiable
	Recalls() (in, out uint64)
}

// Stateful is an operator that remembers earlier runs of a session, such as attention with its key-value cache.
type Stateful interface {
	Op
	NewState() State
}

// State computes in place of the operator's Eval. It may remember several sequences, each called a row by a number of its own.
type State interface {
	Eval(e *Env, in []*tensor.Tensor) ([]*tensor.Tensor, error)
	// Truncate forgets what a row has from a number of tokens on.
	Truncate(row, tokens int) error
	// Bytes is the memory that is held.
	Bytes() int
}

// Body is an operator with subgraphs; passes and checks descend into them.
type Body interface {
	Op
	Bodies() []*Graph
	// WithBodies returns a copy of the operator with other subgraphs, as many and in the same order.
	WithBodies(bodies []*Graph) Op
}

// Random is an operator whose result is not a function of its inputs; it is never folded.
type Random interface {
	Op
	IsRandom()
}

// Pass rewrites a graph in place.
type Pass func(*Graph) error

// Env is what an operator may use while it runs: workers, memory, the evaluation of subgraphs.
// The zero Env works: it runs on one thread and takes memory from the heap.
type Env struct {
	Ctx  context.Context
	Pool *kernel.Pool // nil: one thread
	// Make returns a tensor of numbers with undefined contents for an output. Nil: of the heap.
	Make func(d tensor.DType, shape tensor.Shape) *tensor.Tensor
	// Over reports whether the memory of an input may be written over, see [Env.NewOver]. Nil: never.
	Over func(in *tensor.Tensor) bool
	// Work is for lists and headers of tensors. Nil: of the heap.
	Work *Workspace
	// RunGraph evaluates a subgraph.
	RunGraph func(g *Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error)
	// Seed is for operators that draw random numbers and have no seed attribute. One that uses it moves it on, so that no two
	// draw the same numbers.
	Seed uint64
	// Out lists the outputs of the node that is being computed, nil where one is not used; see [Env.Wants].
	Out []*Value
}

// Wants reports whether output i of the node that is being computed is used. An operator may return nil for an output that is
// not, which saves what is costly beside the main result. Without a node all outputs are wanted.
func (e *Env) Wants(i int) bool {
	return e == nil || e.Out == nil || i < len(e.Out) && e.Out[i] != nil
}

// New returns a tensor with undefined contents for an output. Strings are empty.
func (e *Env) New(d tensor.DType, shape ...int) *tensor.Tensor {
	if e == nil || e.Make == nil || d == tensor.String {
		return tensor.New(d, shape...)
	}
	return e.Make(d, shape)
}

// Zeros returns a zeroed tensor for an output.
func (e *Env) Zeros(d tensor.DType, shape ...int) *tensor.Tensor {
	t := e.New(d, shape...)
	clear(t.Bytes())
	return t
}

// For runs body over [0, n) in chunks of at least grain, on all workers. The result must not depend on the chunks.
func (e *Env) For(n, grain int, body func(lo, hi int)) {
	if e == nil {
		(*kernel.Pool)(nil).For(n, grain, body)
		return
	}
	e.Pool.For(n, grain, body)
}

// Workers returns the pool to hand to kernels; nil means one thread.
func (e *Env) Workers() *kernel.Pool {
	if e == nil {
		return nil
	}
	return e.Pool
}

// Context returns the run's context, never nil.
func (e *Env) Context() context.Context {
	if e == nil || e.Ctx == nil {
		return context.Background()
	}
	return e.Ctx
}
