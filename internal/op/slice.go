package op

import (
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Slice takes a regular part of its first input. Further inputs: starts, ends, and optionally axes and steps. Negative
// positions count from the end, positions beyond the dimension are clamped, negative steps walk backwards.
type Slice struct{}

func (*Slice) Kind() string { return "Slice" }

// span is the part of one dimension that a slice takes: n elements from first on, step apart.
type span struct{ first, n, step int }

// spanOf resolves a slice of a dimension of the given size as the ONNX operator specification says.
func spanOf(size, start, end, step int) span {
	if start < 0 {
		start += size
	}
	if end < 0 {
		end += size
	}
	if size == 0 {
		return span{0, 0, 1}
	}
	if step > 0 {
		start, end = min(max(start, 0), size), min(max(end, 0), size)
		if start >= end {
			return span{0, 0, 1}
		}
		return span{start, 1 + (end-start-1)/step, step}
	}
	step = max(step, -math.MaxInt)
	start, end = min(max(start, 0), size-1), min(max(end, -1), size-1)
	if start <= end {
		return span{0, 0, 1}
	}
	return span{start, 1 + (start-end-1)/-step, step}
}

// sliceArgs are the inputs of a slice with defaults applied; one entry per sliced axis.
type sliceArgs struct{ starts, ends, axes, steps []int }

// check resolves axes against the rank.
func (a *sliceArgs) check(rank int) error {
	n := len(a.starts)
	if a.axes == nil {
		a.axes = make([]int, n)
		for i := range a.axes {
			a.axes[i] = i
		}
	}
	if a.steps == nil {
		a.steps = slices.Repeat([]int{1}, n)
	}
	if len(a.ends) != n || len(a.axes) != n || len(a.steps) != n {
		return fmt.Errorf("starts, ends, axes and steps differ in length: %d, %d, %d, %d", n, len(a.ends), len(a.axes), len(a.steps))
	}
	if slices.Contains(a.steps, 0) {
		return fmt.Errorf("steps: %v has a zero", a.steps)
	}
	if _, err := axesOf(a.axes, rank); err != nil {
		return fmt.Errorf("axes: %w", err)
	}
	for i, x := range a.axes {
		if x < 0 {
			a.axes[i] += rank
		}
	}
	return nil
}

func (s *Slice) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 5); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	out := graph.Ranked(in[0].DType, slices.Clone(in[0].Dims)...)
	var a sliceArgs
	var known [5]bool
	a.starts, known[1] = knownInts(in[1])
	a.ends, known[2] = knownInts(in[2])
	a.axes, known[3] = knownInts(arg(in, 3))
	a.steps, known[4] = knownInts(arg(in, 4))
	for i := 3; i < 5; i++ {
		known[i] = known[i] || arg(in, i).IsNone()
	}
	if known[1] && known[2] && known[3] && known[4] {
		if err := a.check(len(out.Dims)); err != nil {
			return nil, err
		}
		for i, axis := range a.axes {
			switch d := &out.Dims[axis]; {
			case d.IsKnown():
				d.Size = spanOf(d.Size, a.starts[i], a.ends[i], a.steps[i]).n
			case a.starts[i] == 0 && a.ends[i] >= math.MaxInt32 && a.steps[i] == 1:
			case a.starts[i] == -1 && a.ends[i] >= math.MaxInt32 && a.steps[i] == 1:
				*d = graph.Known(1) // the last element; a dimension of unknown size is not taken to be empty
			default:
				*d = graph.Unknown
			}
		}
		return []graph.Type{out}, nil
	}
	axes := a.axes
	if arg(in, 3).IsNone() {
		for _, t := range in[1:3] {
			if t.Ranked && len(t.Dims) == 1 && t.Dims[0].IsKnown() {
				axes = []int{}
				for i := range min(t.Dims[0].Size, len(out.Dims)) {
					axes = append(axes, i)
				}
			}
		}
	}
	if axes == nil {
		out.Dims = unknownDims(len(out.Dims))
		return []graph.Type{out}, nil
	}
	axes, err := axesOf(axes, len(out.Dims))
	if err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	for _, axis := range axes {
		out.Dims[axis] = graph.Unknown
	}
	return []graph.Type{out}, nil
}

func (s *Slice) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 3, 5)
	if err != nil {
		return nil, err
	}
	spans, err := s.spans(in)
	if err != nil {
		return nil, err
	}
	return one(sliceSpans(e, in[0], spans))
}

// spans returns the part of each dimension that is taken of given inputs.
func (s *Slice) spans(in []*tensor.Tensor) ([]span, error) {
	var err error
	var v [5][]int
	for i, name := range []string{"", "starts", "ends", "axes", "steps"} {
		if i > 0 {
			if v[i], err = intsOf(arg(in, i)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	a := sliceArgs{v[1], v[2], v[3], v[4]}
	if arg(in, 3) == nil {
		a.axes = nil
	}
	if err := a.check(in[0].Rank()); err != nil {
		return nil, err
	}
	spans := wholeSpans(in[0].Shape)
	for i, axis := range a.axes {
		spans[axis] = spanOf(in[0].Shape[axis], a.starts[i], a.ends[i], a.steps[i])
	}
	return spans, nil
}

func wholeSpans(shape tensor.Shape) []span {
	spans := make([]span, len(shape))
	for i, n := range shape {
		spans[i] = span{0, n, 1}
	}
	return spans
}

// sliceSpans copies the given part of each dimension of a dense tensor.
func sliceSpans(e *graph.Env, x *tensor.Tensor, spans []span) (*tensor.Tensor, error) {
	if slices.Equal(spans, wholeSpans(x.Shape)) {
		return x, nil
	}
	shape := make(tensor.Shape, len(spans))
	for i, s := range spans {
		shape[i] = s.n
	}
	out, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	copySpans(e, out.elems, 0, shape.Strides(), elemsOf(x), x.Shape.Strides(), spans)
	return out.done(), nil
}

// copySpans copies the spans of a source with the given strides to a destination that begins at element at.
func copySpans(e *graph.Env, dst elems, at int, dstStrides []int, src elems, srcStrides []int, spans []span) {
	from := 0
	loops := make([]copyLoop, len(spans))
	for i, s := range spans {
		from += s.first * srcStrides[i]
		step := s.step
		if s.n == 1 {
			step = 1 // a step beyond the dimension must not overflow
		}
		loops[i] = copyLoop{s.n, dstStrides[i], step * srcStrides[i]}
	}
	copyElems(e, dst, at, src, from, loops)
}

// CenterCropPad cuts or zero-pads the given axes (all of them if nil) evenly on both sides to the sizes of its second input.
type CenterCropPad struct {
	Axes []int `attr:"axes"`
}

func (*CenterCropPad) Kind() string { return "CenterCropPad" }

func (c *CenterCropPad) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	out := graph.Ranked(in[0].DType, slices.Clone(in[0].Dims)...)
	if sizes, ok := knownInts(in[1]); ok {
		axes, err := c.axes(len(out.Dims), sizes)
		if err != nil {
			return nil, err
		}
		for i, a := range axes {
			out.Dims[a] = graph.Known(sizes[i])
		}
		return []graph.Type{out}, nil
	}
	if c.Axes == nil {
		out.Dims = unknownDims(len(out.Dims))
		return []graph.Type{out}, nil
	}
	axes, err := c.axes(len(out.Dims), make([]int, len(c.Axes)))
	if err != nil {
		return nil, err
	}
	for _, a := range axes {
		out.Dims[a] = graph.Unknown
	}
	return []graph.Type{out}, nil
}

// axes resolves the axes that sizes refer to, in the order of sizes.
func (c *CenterCropPad) axes(rank int, sizes []int) ([]int, error) {
	axes := make([]int, len(sizes))
	if c.Axes == nil {
		for i := range axes {
			axes[i] = i
		}
		if len(sizes) != rank {
			return nil, fmt.Errorf("shape: want %d values, got %v", rank, sizes)
		}
	} else {
		if len(sizes) != len(c.Axes) {
			return nil, fmt.Errorf("shape: want %d values, got %v", len(c.Axes), sizes)
		}
		if _, err := axesOf(c.Axes, rank); err != nil {
			return nil, fmt.Errorf("axes: %w", err)
		}
		for i, a := range c.Axes {
			axes[i], _ = tensor.Axis(a, rank)
		}
	}
	for _, n := range sizes {
		if n < 0 {
			return nil, fmt.Errorf("shape: %v has a negative size", sizes)
		}
	}
	return axes, nil
}

func (c *CenterCropPad) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	sizes, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("shape: %w", err)
	}
	axes, err := c.axes(x.Rank(), sizes)
	if err != nil {
		return nil, err
	}
	before := make([]int, x.Rank())
	shape := x.Shape.Clone()
	for i, a := range axes {
		// Halves round down: one pixel more is cropped or padded at the end.
		if d := sizes[i] - shape[a]; d >= 0 {
			before[a] = d / 2
		} else {
			before[a] = -(-d / 2)
		}
		shape[a] = sizes[i]
	}
	return one(padConstant(e, x, shape, before, nil))
}
