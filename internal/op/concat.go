package op

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Concat joins tensors of equal element type and of equal shape but for dimension Axis.
type Concat struct {
	Axis int `attr:"axis"`
}

func (*Concat) Kind() string { return "Concat" }

func (c *Concat) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, -1); err != nil {
		return nil, err
	}
	d, err := sameDType(in...)
	if err != nil {
		return nil, err
	}
	out := graph.Unranked(d)
	for i, t := range in {
		if !t.Ranked {
			continue
		}
		if !out.Ranked {
			out.Ranked, out.Dims = true, unknownDims(len(t.Dims))
		}
		if len(t.Dims) != len(out.Dims) {
			return nil, fmt.Errorf("input %d: rank %d differs from %d", i, len(t.Dims), len(out.Dims))
		}
	}
	if !out.Ranked {
		return []graph.Type{out}, nil
	}
	axis, err := tensor.Axis(c.Axis, len(out.Dims))
	if err != nil {
		return nil, err
	}
	total, certain := 0, true
	for i, t := range in {
		if !t.Ranked {
			certain = false
			continue
		}
		for k, d := range t.Dims {
			switch have := &out.Dims[k]; {
			case k == axis:
				certain = certain && d.IsKnown() && d.Size <= maxElems
				total += d.Size
			case d.IsKnown() && have.IsKnown() && d != *have:
				return nil, fmt.Errorf("input %d: dimension %d is %v, elsewhere %v", i, k, d, *have)
			case d.IsKnown() || *have == graph.Unknown:
				*have = d
			}
		}
	}
	if len(in) == 1 {
		out.Dims[axis] = in[0].Dims[axis]
	} else if certain {
		out.Dims[axis] = graph.Known(total)
	}
	return []graph.Type{out}, nil
}

func (c *Concat) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, max(1, len(in)), -1)
	if err != nil {
		return nil, err
	}
	return one(concat(e, in, c.Axis))
}

// concat joins dense tensors along an axis.
func concat(e *graph.Env, in []*tensor.Tensor, axis int) (*tensor.Tensor, error) {
	if len(in) == 0 {
		return nil, errors.New("nothing to concatenate")
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	axis, err := tensor.Axis(axis, in[0].Rank())
	if err != nil {
		return nil, err
	}
	shape := in[0].Shape.Clone()
	for i, t := range in[1:] {
		if t.Rank() != len(shape) {
			return nil, fmt.Errorf("input %d: shape %v differs from %v in rank", i+1, t.Shape, in[0].Shape)
		}
		for k, d := range t.Shape {
			if k == axis {
				shape[k] += d
			} else if d != shape[k] {
				return nil, fmt.Errorf("input %d: shape %v differs from %v beside axis %d", i+1, t.Shape, in[0].Shape, axis)
			}
		}
	}
	if len(in) == 1 {
		return in[0], nil
	}
	out, err := newElems(e, in[0].DType, shape)
	if err != nil {
		return nil, err
	}
	outer, inner := shape[:axis].Len(), shape[axis+1:].Len()
	row, at := shape[axis]*inner, 0
	for _, t := range in {
		n := t.Shape[axis] * inner
		copyElems(e, out.elems, at, elemsOf(t), 0, []copyLoop{{outer, row, n}, {n, 1, 1}})
		at += n
	}
	return out.done(), nil
}

// Split cuts a tensor along Axis into parts of the sizes that the split input gives or, without it, into NumOutputs parts of
// equal size, of which the last ones may be smaller.
type Split struct {
	Axis       int `attr:"axis,0"`
	NumOutputs int `attr:"num_outputs,0"`
}

func (*Split) Kind() string { return "Split" }

func (s *Split) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	sizes, known := knownInts(arg(in, 1))
	parts := len(sizes)
	if !known {
		switch split := arg(in, 1); {
		case split.IsNone():
			if s.NumOutputs < 1 {
				return nil, errors.New("neither the split input nor num_outputs is given")
			}
			parts = s.NumOutputs
		case split.Ranked && len(split.Dims) == 1 && split.Dims[0].IsKnown():
			parts = split.Dims[0].Size
		}
	}
	if parts > 1<<16 {
		return nil, fmt.Errorf("%d outputs are too many", parts)
	}
	out := make([]graph.Type, parts)
	if !in[0].Ranked {
		for i := range out {
			out[i] = graph.Unranked(in[0].DType)
		}
		return out, nil
	}
	axis, err := tensor.Axis(s.Axis, len(in[0].Dims))
	if err != nil {
		return nil, err
	}
	if n := in[0].Dims[axis]; n.IsKnown() {
		if known || arg(in, 1).IsNone() {
			if sizes, err = s.sizes(n.Size, sizes, known); err != nil {
				return nil, err
			}
		}
	}
	for i := range out {
		dims := append([]graph.Dim(nil), in[0].Dims...)
		switch {
		case i < len(sizes):
			dims[axis] = graph.Known(sizes[i])
		case parts > 1:
			dims[axis] = graph.Unknown
		}
		out[i] = graph.Ranked(in[0].DType, dims...)
	}
	return out, nil
}

// sizes returns the part sizes of a dimension of n.
func (s *Split) sizes(n int, given []int, isGiven bool) ([]int, error) {
	if !isGiven {
		if s.NumOutputs < 1 || s.NumOutputs > 1<<16 {
			return nil, fmt.Errorf("num_outputs: %d is out of range", s.NumOutputs)
		}
		out := make([]int, s.NumOutputs)
		per := (n + s.NumOutputs - 1) / s.NumOutputs
		for i := range out {
			out[i] = min(per, n)
			n -= out[i]
		}
		return out, nil
	}
	return given, checkParts(n, given)
}

// checkParts checks that sizes add up to n.
func checkParts(n int, sizes []int) error {
	rest := n
	for _, k := range sizes {
		if k < 0 || k > rest {
			return fmt.Errorf("split: %v does not divide a dimension of %d", sizes, n)
		}
		rest -= k
	}
	if rest != 0 {
		return fmt.Errorf("split: %v does not add up to a dimension of %d", sizes, n)
	}
	return nil
}

func (s *Split) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 2)
	if err != nil {
		return nil, err
	}
	axis, err := tensor.Axis(s.Axis, in[0].Rank())
	if err != nil {
		return nil, err
	}
	sizes, err := intsOf(arg(in, 1))
	if err != nil {
		return nil, fmt.Errorf("split: %w", err)
	}
	if sizes, err = s.sizes(in[0].Shape[axis], sizes, arg(in, 1) != nil); err != nil {
		return nil, err
	}
	return cut(e, in[0], axis, sizes)
}

// cut copies consecutive parts of the given sizes, which add up to the dimension, out of a dense tensor.
func cut(e *graph.Env, x *tensor.Tensor, axis int, sizes []int) ([]*tensor.Tensor, error) {
	if len(sizes) == 1 {
		return []*tensor.Tensor{x}, nil
	}
	src := elemsOf(x)
	outer, inner := x.Shape[:axis].Len(), x.Shape[axis+1:].Len()
	row, at := x.Shape[axis]*inner, 0
	parts := make([]*tensor.Tensor, len(sizes))
	for i, n := range sizes {
		shape := x.Shape.Clone()
		shape[axis] = n
		out, err := newElems(e, x.DType, shape)
		if err != nil {
			return nil, err
		}
		copyElems(e, out.elems, 0, src, at, []copyLoop{{outer, n * inner, row}, {n * inner, 1, 1}})
		at += n * inner
		parts[i] = out.done()
	}
	return parts, nil
}
