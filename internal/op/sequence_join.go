package op

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// SplitToSequence cuts a tensor along Axis into parts of the size (scalar) or sizes (vector) of its second input, or into
// slices of size 1 without one, whose dimension is dropped unless KeepDims is set.
type SplitToSequence struct {
	Axis     int  `attr:"axis,0"`
	KeepDims bool `attr:"keepdims,1"`
}

func (*SplitToSequence) Kind() string { return "SplitToSequence" }

func (o *SplitToSequence) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	t := retyped(in[0], in[0].DType)
	if t.Ranked {
		axis, err := tensor.Axis(o.Axis, len(t.Dims))
		if err != nil {
			return nil, err
		}
		t.Dims = slices.Clone(t.Dims)
		switch {
		case !arg(in, 1).IsNone():
			t.Dims[axis] = graph.Unknown
		case o.KeepDims:
			t.Dims[axis] = graph.Known(1)
		default:
			t.Dims = slices.Delete(t.Dims, axis, axis+1)
		}
	}
	return []graph.Type{sequenceOf(t)}, nil
}

func (o *SplitToSequence) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	axis, err := tensor.Axis(o.Axis, x.Rank())
	if err != nil {
		return nil, err
	}
	n := x.Shape[axis]
	sizes, err := intsOf(arg(in, 1))
	if err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	split := arg(in, 1)
	if split == nil || split.Rank() == 0 {
		per := 1
		if split != nil {
			per = sizes[0]
		}
		if per < 1 {
			return nil, fmt.Errorf("split: %d is not positive", per)
		}
		sizes = nil
		for rest := n; rest > 0; rest -= min(per, rest) {
			sizes = append(sizes, min(per, rest))
		}
	} else if err := checkParts(n, sizes); err != nil {
		return nil, err
	}
	parts, err := cut(e, x, axis, sizes)
	if err != nil {
		return nil, err
	}
	if split == nil && !o.KeepDims {
		for i, p := range parts {
			parts[i] = p.Reshape(slices.Delete(p.Shape.Clone(), axis, axis+1)...)
		}
	}
	return []*tensor.Tensor{tensor.NewSequence(parts...)}, nil
}

// ConcatFromSequence joins the tensors of a sequence along Axis, which NewAxis says to be a new one.
type ConcatFromSequence struct {
	Axis    int  `attr:"axis"`
	NewAxis bool `attr:"new_axis,0"`
}

func (*ConcatFromSequence) Kind() string { return "ConcatFromSequence" }

func (o *ConcatFromSequence) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferSequence(in, 1, 1); err != nil {
		return nil, err
	}
	t := elemOf(in[0])
	if !t.Ranked {
		return []graph.Type{t}, nil
	}
	rank := len(t.Dims)
	if o.NewAxis {
		rank++
	}
	axis, err := tensor.Axis(o.Axis, rank)
	if err != nil {
		return nil, err
	}
	t.Dims = slices.Clone(t.Dims)
	if o.NewAxis {
		t.Dims = slices.Insert(t.Dims, axis, graph.Unknown)
	}
	t.Dims[axis] = graph.Unknown
	return []graph.Type{t}, nil
}

func (o *ConcatFromSequence) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := wantSequence(in, 0); err != nil {
		return nil, err
	}
	if len(in[0].Elems()) == 0 {
		return nil, errors.New("the sequence is empty")
	}
	parts, err := tensors(in[0].Elems(), 1, -1)
	if err != nil {
		return nil, err
	}
	if !o.NewAxis {
		return one(concat(e, parts, o.Axis))
	}
	axis, err := tensor.Axis(o.Axis, parts[0].Rank()+1)
	if err != nil {
		return nil, err
	}
	return one(stack(e, parts, axis, false))
}

// stack joins tensors of equal shape along a new axis, in reverse order if asked to.
func stack(e *graph.Env, parts []*tensor.Tensor, axis int, reverse bool) (*tensor.Tensor, error) {
	if err := sameElems(parts...); err != nil {
		return nil, err
	}
	shape := parts[0].Shape
	out, err := newElems(e, parts[0].DType, slices.Insert(shape.Clone(), axis, len(parts)))
	if err != nil {
		return nil, err
	}
	outer, inner := shape[:axis].Len(), shape[axis:].Len()
	for i, p := range parts {
		if !p.Shape.Equal(shape) {
			return nil, fmt.Errorf("element %d: shape %v differs from %v", i, p.Shape, shape)
		}
		if reverse {
			i = len(parts) - 1 - i
		}
		copyElems(e, out.elems, i*inner, elemsOf(p), 0, []copyLoop{{outer, inner * len(parts), inner}, {inner, 1, 1}})
	}
	return out.done(), nil
}
