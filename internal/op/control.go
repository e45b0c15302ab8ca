package op

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// controlOps are the operators that run subgraphs. Captured values are the last inputs of the node and of its subgraphs.
var controlOps = table{
	"If":   fresh[If],
	"Loop": fresh[Loop],
	"Scan": fresh[Scan],
}

// captures is how many of a node's last inputs are values that its subgraphs capture.
type captures int

// SetCaptures says how many of the node's last inputs are captured values. It is called before the operator is in a graph.
func (c *captures) SetCaptures(n int) { *c = captures(n) }

// Captures returns how many of the node's last inputs are captured values.
func (c captures) Captures() int { return int(c) }

// splitCaptures divides inputs into the formal ones of the operator and the captured values.
func splitCaptures[T any](c captures, in []T) (formal, captured []T, err error) {
	n := len(in) - int(c)
	if n < 0 {
		return nil, nil, fmt.Errorf("%d captured values among %d inputs", c, len(in))
	}
	return in[:n:n], in[n:], nil
}

// given returns the subgraphs that are set; Infer reports those that are not.
func given(bodies ...*graph.Graph) []*graph.Graph {
	return slices.DeleteFunc(bodies, func(g *graph.Graph) bool { return g == nil })
}

// exchange puts other subgraphs in the place of those that are set.
func exchange(bodies []*graph.Graph, fields ...**graph.Graph) {
	for _, f := range fields {
		if *f != nil {
			*f, bodies = bodies[0], bodies[1:]
		}
	}
}

// runBody evaluates a subgraph after checking that it takes as many inputs as it is given.
func runBody(e *graph.Env, g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if e == nil || e.RunGraph == nil {
		return nil, errors.New("subgraphs cannot be run here")
	}
	if err := e.Context().Err(); err != nil {
		return nil, err
	}
	if len(g.Inputs) != len(in) {
		return nil, fmt.Errorf("subgraph %q takes %d inputs, is given %d", g.Name, len(g.Inputs), len(in))
	}
	out, err := e.RunGraph(g, in)
	if err != nil {
		return nil, fmt.Errorf("subgraph %q: %w", g.Name, err)
	}
	return out, nil
}

// bodyTypes returns what is certain about the outputs of a subgraph. Names of dimensions do not carry over from it.
func bodyTypes(g *graph.Graph) []graph.Type {
	out := make([]graph.Type, len(g.Outputs))
	for i, v := range g.Outputs {
		out[i] = nameless(v.Type)
	}
	return out
}

func nameless(t graph.Type) graph.Type {
	t.Const = nil
	t.Dims = slices.Clone(t.Dims)
	for k, d := range t.Dims {
		if !d.IsKnown() {
			t.Dims[k] = graph.Unknown
		}
	}
	if t.Elem != nil {
		e := nameless(*t.Elem)
		t.Elem = &e
	}
	return t
}

// If runs one of two subgraphs, which take only captured values and give equally many outputs.
type If struct {
	captures
	Then *graph.Graph `attr:"then_branch"`
	Else *graph.Graph `attr:"else_branch"`
}

func (*If) Kind() string { return "If" }

// Bodies returns both branches.
func (o *If) Bodies() []*graph.Graph { return given(o.Then, o.Else) }

// WithBodies returns a copy with other branches.
func (o *If) WithBodies(bodies []*graph.Graph) graph.Op {
	c := *o
	exchange(bodies, &c.Then, &c.Else)
	return &c
}

func (o *If) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, -1); err != nil {
		return nil, err
	}
	if o.Then == nil || o.Else == nil {
		return nil, errors.New("then_branch or else_branch is missing")
	}
	if err := booleans.check(0, in[0].DType); err != nil {
		return nil, err
	}
	out, other := bodyTypes(o.Then), bodyTypes(o.Else)
	if len(out) != len(other) {
		return nil, fmt.Errorf("the branches give %d and %d outputs", len(out), len(other))
	}
	if c := in[0].Const; c != nil && c.Len() == 1 && c.DType == tensor.Bool {
		if !tensor.Item[bool](c) {
			return other, nil
		}
		return out, nil
	}
	for i, t := range other {
		out[i] = commonType(out[i], t)
	}
	return out, nil
}

func (o *If) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, -1); err != nil {
		return nil, err
	}
	cond, err := truth(in[0])
	if err != nil {
		return nil, err
	}
	if cond {
		return runBody(e, o.Then, in[1:])
	}
	return runBody(e, o.Else, in[1:])
}

// truth returns the value of a condition.
func truth(t *tensor.Tensor) (bool, error) {
	if t == nil || t.DType != tensor.Bool || t.Len() != 1 {
		return false, fmt.Errorf("condition: want one bool, got %v", t)
	}
	return tensor.Item[bool](t), nil
}

// Loop runs Body for at most M iterations while the condition holds. Inputs: M (omitted: no limit), the first condition
// (omitted: true), the carried values. Body takes the iteration number, the condition and the carried values; it gives the
// next condition, the carried values and one element of each scan output, which are stacked along a new first dimension.
type Loop struct {
	captures
	Body *graph.Graph `attr:"body"`
}

func (*Loop) Kind() string { return "Loop" }

// Bodies returns the body.
func (o *Loop) Bodies() []*graph.Graph { return given(o.Body) }

// WithBodies returns a copy with another body.
func (o *Loop) WithBodies(bodies []*graph.Graph) graph.Op {
	c := *o
	exchange(bodies, &c.Body)
	return &c
}

// counts checks the signature of the body for the given numbers of formal and captured inputs and returns those of carried
// values and scan outputs.
func (o *Loop) counts(formal, captured int) (carried, scans int, err error) {
	if o.Body == nil {
		return 0, 0, errors.New("the body is missing")
	}
	carried = max(0, formal-2)
	scans = len(o.Body.Outputs) - 1 - carried
	if len(o.Body.Inputs) != 2+carried+captured || scans < 0 {
		return 0, 0, fmt.Errorf("the body takes %d inputs and gives %d outputs, which does not fit %d carried and %d captured values",
			len(o.Body.Inputs), len(o.Body.Outputs), carried, captured)
	}
	return carried, scans, nil
}

func (o *Loop) Infer(in []graph.Type) ([]graph.Type, error) {
	formal, captured, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	carried, scans, err := o.counts(len(formal), len(captured))
	if err != nil {
		return nil, err
	}
	types := bodyTypes(o.Body)[1:]
	out := make([]graph.Type, 0, len(types))
	for i := range carried {
		// Without an iteration the result is the initial value.
		out = append(out, commonType(formal[2+i], types[i]))
	}
	for i := range scans {
		out = append(out, withAxis(types[carried+i], 0, graph.Unknown))
	}
	return out, nil
}

// withAxis inserts a dimension into a type.
func withAxis(t graph.Type, axis int, d graph.Dim) graph.Type {
	if t.Ranked {
		t.Dims = slices.Insert(slices.Clone(t.Dims), axis, d)
	}
	return t
}

func (o *Loop) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	formal, captured, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	carried, scans, err := o.counts(len(formal), len(captured))
	if err != nil {
		return nil, err
	}
	limit, cond := -1, true
	if t := arg(formal, 0); t != nil {
		if limit, err = scalarInt(t); err != nil {
			return nil, fmt.Errorf("trip count: %w", err)
		}
		limit = max(limit, 0)
	}
	if t := arg(formal, 1); t != nil {
		if cond, err = truth(t); err != nil {
			return nil, err
		}
	}
	checked := arg(formal, 1) != nil // without a condition the body's is ignored
	state := make([]*tensor.Tensor, carried)
	copy(state, formal[min(2, len(formal)):])
	parts := make([][]*tensor.Tensor, scans)
	for i := 0; (limit < 0 || i < limit) && cond; i++ {
		args := []*tensor.Tensor{
			scalarFor(o.Body.Inputs[0], tensor.Scalar(int64(i))),
			scalarFor(o.Body.Inputs[1], tensor.Scalar(cond)),
		}
		out, err := runBody(e, o.Body, append(append(args, state...), captured...))
		if err != nil {
			return nil, fmt.Errorf("iteration %d: %w", i, err)
		}
		if checked {
			if cond, err = truth(out[0]); err != nil {
				return nil, fmt.Errorf("iteration %d: %w", i, err)
			}
		}
		copy(state, out[1:1+carried])
		for k := range parts {
			parts[k] = append(parts[k], out[1+carried+k])
		}
	}
	for k, p := range parts {
		t, err := stackScan(e, p, o.Body.Outputs[1+carried+k].Type, 0, false)
		if err != nil {
			return nil, fmt.Errorf("scan output %d: %w", k, err)
		}
		state = append(state, t)
	}
	return state, nil
}

// scalarFor gives a scalar the shape [1] where a body input is declared to be a vector, as some exporters do.
func scalarFor(v *graph.Value, t *tensor.Tensor) *tensor.Tensor {
	if v.Type.Ranked && len(v.Type.Dims) == 1 {
		return t.Reshape(1)
	}
	return t
}

// stackScan joins the elements of a scan output along a new axis. Without elements the declared type of an element tells the
// shape, in which unknown dimensions become 0.
func stackScan(e *graph.Env, parts []*tensor.Tensor, declared graph.Type, axis int, reverse bool) (*tensor.Tensor, error) {
	if len(parts) == 0 {
		if declared.DType.Bits() == 0 && declared.DType != tensor.String {
			return nil, fmt.Errorf("no iteration ran and the element type is %v", declared.DType)
		}
		shape := make(tensor.Shape, len(declared.Dims))
		for i, d := range declared.Dims {
			shape[i] = max(d.Size, 0)
		}
		axis, err := tensor.Axis(axis, len(shape)+1)
		if err != nil {
			return nil, err
		}
		return e.Zeros(declared.DType, slices.Insert(shape, axis, 0)...), nil
	}
	parts, err := tensors(parts, len(parts), -1)
	if err != nil {
		return nil, err
	}
	if axis, err = tensor.Axis(axis, parts[0].Rank()+1); err != nil {
		return nil, err
	}
	return stack(e, parts, axis, reverse)
}
