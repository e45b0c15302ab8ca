package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Pad adds elements before and after each of the axes, or removes some where a count is negative. Inputs: data, pads (all
// counts before, then all counts after), and optionally the value of mode "constant" and the axes. The modes "reflect", "edge"
// and "wrap" take the new elements from the data as numpy.pad does.
type Pad struct {
	Mode string `attr:"mode,constant"`
}

func (*Pad) Kind() string { return "Pad" }

// counts spreads the pads input over all dimensions.
func (p *Pad) counts(rank int, pads, axes []int, hasAxes bool) (before, after []int, err error) {
	if !hasAxes {
		axes = make([]int, rank)
		for i := range axes {
			axes[i] = i
		}
	} else if _, err := axesOf(axes, rank); err != nil {
		return nil, nil, fmt.Errorf("axes: %w", err)
	}
	if len(pads) != 2*len(axes) {
		return nil, nil, fmt.Errorf("pads: want %d values, got %d", 2*len(axes), len(pads))
	}
	before, after = make([]int, rank), make([]int, rank)
	for i, a := range axes {
		a, _ = tensor.Axis(a, rank)
		before[a], after[a] = pads[i], pads[len(axes)+i]
		for _, n := range []int{before[a], after[a]} {
			if n > maxElems || n < -maxElems {
				return nil, nil, fmt.Errorf("pads: %d is too large", n)
			}
		}
	}
	return before, after, nil
}

func (p *Pad) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 4); err != nil {
		return nil, err
	}
	if err := p.checkMode(); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	out := graph.Ranked(in[0].DType, unknownDims(len(in[0].Dims))...)
	pads, known := knownInts(in[1])
	axes, hasAxes := knownInts(arg(in, 3))
	if !known || !hasAxes && !arg(in, 3).IsNone() {
		return []graph.Type{out}, nil
	}
	before, after, err := p.counts(len(in[0].Dims), pads, axes, hasAxes)
	if err != nil {
		return nil, err
	}
	for i, d := range in[0].Dims {
		switch {
		case before[i] == 0 && after[i] == 0:
			out.Dims[i] = d
		case d.IsKnown():
			n := d.Size + before[i] + after[i]
			if n < 0 {
				return nil, fmt.Errorf("pads: dimension %d of size %d becomes %d", i, d.Size, n)
			}
			out.Dims[i] = graph.Known(n)
		}
	}
	return []graph.Type{out}, nil
}

func (p *Pad) checkMode() error {
	switch p.Mode {
	case "constant", "reflect", "edge", "wrap":
		return nil
	}
	return fmt.Errorf("mode: %q is none of constant, reflect, edge, wrap", p.Mode)
}

func (p *Pad) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 4)
	if err != nil {
		return nil, err
	}
	if err := p.checkMode(); err != nil {
		return nil, err
	}
	x := in[0]
	pads, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("pads: %w", err)
	}
	axes, err := intsOf(arg(in, 3))
	if err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	before, after, err := p.counts(x.Rank(), pads, axes, arg(in, 3) != nil)
	if err != nil {
		return nil, err
	}
	shape := x.Shape.Clone()
	for i := range shape {
		if shape[i] += before[i] + after[i]; shape[i] < 0 {
			return nil, fmt.Errorf("pads: dimension %d of size %d becomes %d", i, x.Shape[i], shape[i])
		}
	}
	if p.Mode == "constant" {
		v := arg(in, 2)
		if v != nil && (v.Len() != 1 || v.DType != x.DType) {
			return nil, fmt.Errorf("constant_value: want one %v, got %v", x.DType, v)
		}
		return one(padConstant(e, x, shape, before, v))
	}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	at := make([][]int, len(shape)) // per dimension: which source element each output element is
	for i, n := range shape {
		if n > 0 && x.Shape[i] == 0 {
			return nil, fmt.Errorf("pads: mode %s cannot extend the empty dimension %d", p.Mode, i)
		}
		at[i] = make([]int, n)
		for k := range at[i] {
			at[i][k] = p.source(k-before[i], x.Shape[i], max(-before[i], 0), x.Shape[i]-max(-after[i], 0))
		}
	}
	return one(takeAxes(e, x, at))
}

// source maps position i relative to the data, outside of [0, n) or not, to the element that stands there. Negative counts
// crop the data to [lo, hi) first.
func (p *Pad) source(i, n, lo, hi int) int {
	if i >= lo && i < hi {
		return i
	}
	if lo >= hi {
		lo, hi = 0, n
	}
	n = hi - lo
	i -= lo
	switch p.Mode {
	case "edge":
		i = min(max(i, 0), n-1)
	case "wrap":
		i = (i%n + n) % n
	default: // reflect: the sequence 0 1 2 3 2 1 repeats
		if n == 1 {
			return lo
		}
		period := 2*n - 2
		i = (i%period + period) % period
		if i >= n {
			i = period - i
		}
	}
	return lo + i
}

// padConstant places x in a tensor of the given shape, before[i] elements from the beginning of dimension i (negative: cut off),
// and fills the rest with v, the zero value if nil.
func padConstant(e *graph.Env, x *tensor.Tensor, shape tensor.Shape, before []int, v *tensor.Tensor) (*tensor.Tensor, error) {
	spans := make([]span, len(shape))
	inside, at := true, 0
	out, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	strides := shape.Strides()
	for i := range spans {
		lo, hi := max(-before[i], 0), min(x.Shape[i], shape[i]-before[i])
		spans[i] = span{lo, max(hi-lo, 0), 1}
		at += max(before[i], 0) * strides[i]
		inside = inside && spans[i].n == shape[i]
	}
	if !inside {
		if v != nil {
			fillElems(e, out.elems, elemsOf(v), shape.Len())
		} else {
			clear(out.data)
			clear(out.strs)
		}
	}
	copySpans(e, out.elems, at, strides, elemsOf(x), x.Shape.Strides(), spans)
	return out.done(), nil
}

// takeAxes returns the tensor whose element (i, j, ...) is element (at[0][i], at[1][j], ...) of x.
func takeAxes(e *graph.Env, x *tensor.Tensor, at [][]int) (*tensor.Tensor, error) {
	shape := make(tensor.Shape, len(at))
	for i := range at {
		shape[i] = len(at[i])
	}
	out, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	same := func(i int) bool { return shape[i] == x.Shape[i] && isIota(at[i]) }
	// Leading dimensions that stay as they are make blocks, trailing ones make up a row.
	first, last, outer, width := 0, len(shape), 1, 1
	for ; first < last && same(first); first++ {
		outer *= shape[first]
	}
	for ; last > first && same(last-1); last-- {
		width *= shape[last-1]
	}
	rows := []int{0}
	strides := x.Shape.Strides()
	for i := first; i < last; i++ {
		next := make([]int, 0, len(rows)*shape[i])
		for _, r := range rows {
			for _, k := range at[i] {
				next = append(next, r+k*strides[i])
			}
		}
		rows = next
	}
	gatherRows(e, out.elems, elemsOf(x), outer, x.Shape[first:].Len(), width, rows)
	return out.done(), nil
}

func isIota(v []int) bool {
	for i, k := range v {
		if i != k {
			return false
		}
	}
	return true
}
