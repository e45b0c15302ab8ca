package op

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Scan runs Body once for every slice of its last NumScanInputs formal inputs. Inputs: the initial state, the scan inputs.
// Body takes the state and one slice of each scan input; it gives the next state and one element of each scan output. Axes
// say along which dimension inputs are sliced and outputs stacked (nil: 0), a direction of 1 means from the end.
type Scan struct {
	captures
	Body             *graph.Graph `attr:"body"`
	NumScanInputs    int          `attr:"num_scan_inputs"`
	InputAxes        []int        `attr:"scan_input_axes"`
	InputDirections  []int        `attr:"scan_input_directions"`
	OutputAxes       []int        `attr:"scan_output_axes"`
	OutputDirections []int        `attr:"scan_output_directions"`
}

func (*Scan) Kind() string { return "Scan" }

// Bodies returns the body.
func (o *Scan) Bodies() []*graph.Graph { return given(o.Body) }

// WithBodies returns a copy with another body.
func (o *Scan) WithBodies(bodies []*graph.Graph) graph.Op {
	c := *o
	exchange(bodies, &c.Body)
	return &c
}

// counts checks the signature of the body and the attributes and returns the numbers of states and scan outputs.
func (o *Scan) counts(formal, captured int) (states, scans int, err error) {
	if o.Body == nil {
		return 0, 0, errors.New("the body is missing")
	}
	states = formal - o.NumScanInputs
	scans = len(o.Body.Outputs) - states
	if o.NumScanInputs < 1 || states < 0 || scans < 0 || len(o.Body.Inputs) != formal+captured {
		return 0, 0, fmt.Errorf("the body takes %d inputs and gives %d outputs, which does not fit %d inputs of which %d are scanned, and %d captured values",
			len(o.Body.Inputs), len(o.Body.Outputs), formal, o.NumScanInputs, captured)
	}
	for _, a := range []struct {
		name string
		v    []int
		n    int
	}{
		{"scan_input_axes", o.InputAxes, o.NumScanInputs},
		{"scan_input_directions", o.InputDirections, o.NumScanInputs},
		{"scan_output_axes", o.OutputAxes, scans},
		{"scan_output_directions", o.OutputDirections, scans},
	} {
		if a.v != nil && len(a.v) != a.n {
			return 0, 0, fmt.Errorf("%s: want %d values, got %d", a.name, a.n, len(a.v))
		}
	}
	return states, scans, nil
}

func (o *Scan) Infer(in []graph.Type) ([]graph.Type, error) {
	formal, captured, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	states, scans, err := o.counts(len(formal), len(captured))
	if err != nil {
		return nil, err
	}
	steps := graph.Unknown
	for i, t := range formal[states:] {
		if !t.Ranked {
			continue
		}
		axis, err := tensor.Axis(arg(o.InputAxes, i), len(t.Dims))
		if err != nil {
			return nil, fmt.Errorf("scan input %d: %w", i, err)
		}
		d := t.Dims[axis]
		if steps.IsKnown() && d.IsKnown() && d != steps {
			return nil, fmt.Errorf("scan inputs differ in length: %v and %v", steps, d)
		}
		if d.IsKnown() || steps == graph.Unknown {
			steps = d
		}
	}
	types := bodyTypes(o.Body)
	out := make([]graph.Type, 0, len(types))
	for i := range states {
		out = append(out, commonType(formal[i], types[i]))
	}
	for i := range scans {
		t := types[states+i]
		if t.Ranked {
			axis, err := tensor.Axis(arg(o.OutputAxes, i), len(t.Dims)+1)
			if err != nil {
				return nil, fmt.Errorf("scan output %d: %w", i, err)
			}
			t = withAxis(t, axis, steps)
		}
		out = append(out, t)
	}
	return out, nil
}

func (o *Scan) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	formal, captured, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	states, scans, err := o.counts(len(formal), len(captured))
	if err != nil {
		return nil, err
	}
	scanned, err := tensors(formal[states:], o.NumScanInputs, -1)
	if err != nil {
		return nil, err
	}
	axes := make([]int, len(scanned))
	steps := 0
	for i, x := range scanned {
		if axes[i], err = tensor.Axis(arg(o.InputAxes, i), x.Rank()); err != nil {
			return nil, fmt.Errorf("scan input %d: %w", i, err)
		}
		n := x.Shape[axes[i]]
		if i > 0 && n != steps {
			return nil, fmt.Errorf("scan inputs differ in length: %d and %d", steps, n)
		}
		steps = n
	}
	state := slices.Clone(formal[:states])
	parts := make([][]*tensor.Tensor, scans)
	for t := range steps {
		args := slices.Clone(state)
		for i, x := range scanned {
			k := t
			if arg(o.InputDirections, i) != 0 {
				k = steps - 1 - t
			}
			s, err := sliceAt(x, axes[i], k)
			if err != nil {
				return nil, err
			}
			args = append(args, s)
		}
		out, err := runBody(e, o.Body, append(args, captured...))
		if err != nil {
			return nil, fmt.Errorf("iteration %d: %w", t, err)
		}
		copy(state, out[:states])
		for k := range parts {
			parts[k] = append(parts[k], out[states+k])
		}
	}
	for k, p := range parts {
		s, err := stackScan(e, p, o.Body.Outputs[states+k].Type, arg(o.OutputAxes, k), arg(o.OutputDirections, k) != 0)
		if err != nil {
			return nil, fmt.Errorf("scan output %d: %w", k, err)
		}
		state = append(state, s)
	}
	return state, nil
}

// sliceAt copies element k of an axis to memory of its own, which the collector takes back once the iteration has let go of it.
func sliceAt(x *tensor.Tensor, axis, k int) (*tensor.Tensor, error) {
	shape := slices.Delete(x.Shape.Clone(), axis, axis+1)
	out, err := newElems(nil, x.DType, shape)
	if err != nil {
		return nil, err
	}
	outer, inner := x.Shape[:axis].Len(), x.Shape[axis+1:].Len()
	copyElems(nil, out.elems, 0, elemsOf(x), k*inner, []copyLoop{{outer, inner, inner * x.Shape[axis]}, {inner, 1, 1}})
	return out.done(), nil
}

// SequenceMap applies Body to each element of a sequence. Further sequences among the inputs give their element of the same
// position, tensors are passed whole. The outputs are sequences of what the body gives.
type SequenceMap struct {
	captures
	Body *graph.Graph `attr:"body"`
}

func (*SequenceMap) Kind() string { return "SequenceMap" }

// Bodies returns the body.
func (o *SequenceMap) Bodies() []*graph.Graph { return given(o.Body) }

// WithBodies returns a copy with another body.
func (o *SequenceMap) WithBodies(bodies []*graph.Graph) graph.Op {
	c := *o
	exchange(bodies, &c.Body)
	return &c
}

func (o *SequenceMap) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferSequence(in, 1, -1); err != nil {
		return nil, err
	}
	if o.Body == nil {
		return nil, errors.New("the body is missing")
	}
	if len(o.Body.Inputs) != len(in) {
		return nil, fmt.Errorf("the body takes %d inputs, is given %d", len(o.Body.Inputs), len(in))
	}
	out := bodyTypes(o.Body)
	for i, t := range out {
		out[i] = sequenceOf(t)
	}
	return out, nil
}

func (o *SequenceMap) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	formal, captured, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	if err := want(formal, max(1, len(formal)), -1); err != nil {
		return nil, err
	}
	if err := wantSequence(formal, 0); err != nil {
		return nil, err
	}
	n := len(formal[0].Elems())
	parts := make([][]*tensor.Tensor, len(o.Body.Outputs))
	for k := range n {
		args := make([]*tensor.Tensor, len(formal))
		for i, t := range formal {
			args[i] = t
			if t.DType == tensor.Sequence {
				if len(t.Elems()) != n {
					return nil, fmt.Errorf("input %d: want %d elements, got %d", i, n, len(t.Elems()))
				}
				args[i] = t.Elems()[k]
			}
		}
		out, err := runBody(e, o.Body, append(args, captured...))
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", k, err)
		}
		for i, t := range out {
			parts[i] = append(parts[i], t)
		}
	}
	out := make([]*tensor.Tensor, len(parts))
	for i, p := range parts {
		out[i] = tensor.NewSequence(p...)
	}
	return out, nil
}
