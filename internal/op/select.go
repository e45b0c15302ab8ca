package op

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ReverseSequence reverses, in every batch entry, the first sequence_lens[entry] steps of the time axis. The axes are 0 and 1.
type ReverseSequence struct {
	BatchAxis int `attr:"batch_axis,1"`
	TimeAxis  int `attr:"time_axis,0"`
}

func (*ReverseSequence) Kind() string { return "ReverseSequence" }

func (o *ReverseSequence) check(rank int) error {
	if rank < 2 {
		return fmt.Errorf("want a rank of at least 2, got %d", rank)
	}
	if b, t := o.BatchAxis, o.TimeAxis; b != 0 && b != 1 || t != 1-b {
		return fmt.Errorf("batch_axis %d and time_axis %d are not 0 and 1", b, t)
	}
	return nil
}

func (o *ReverseSequence) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if in[0].Ranked {
		if err := o.check(len(in[0].Dims)); err != nil {
			return nil, err
		}
	}
	return []graph.Type{retyped(in[0], in[0].DType)}, nil
}

func (o *ReverseSequence) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := o.check(x.Rank()); err != nil {
		return nil, err
	}
	lens, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("sequence_lens: %w", err)
	}
	batch, steps := x.Shape[o.BatchAxis], x.Shape[o.TimeAxis]
	if len(lens) != batch {
		return nil, fmt.Errorf("sequence_lens: want %d values, got %d", batch, len(lens))
	}
	width := x.Shape[2:].Len()
	strides := [2]int{x.Shape[1] * width, width}
	at := make([]int, batch*steps)
	for b, n := range lens {
		if n < 0 || n > steps {
			return nil, fmt.Errorf("sequence_lens: %d is out of range for %d steps", n, steps)
		}
		for t := range steps {
			from := t
			if t < n {
				from = n - 1 - t
			}
			at[(b*strides[o.BatchAxis]+t*strides[o.TimeAxis])/max(width, 1)] = b*strides[o.BatchAxis] + from*strides[o.TimeAxis]
		}
	}
	out, err := newElems(e, x.DType, x.Shape.Clone())
	if err != nil {
		return nil, err
	}
	gatherRows(e, out.elems, elemsOf(x), 1, 0, width, at)
	return []*tensor.Tensor{out.done()}, nil
}

// Compress keeps the slices along Axis (nil: the elements of the flattened input) at which the condition vector is true.
// What lies beyond the end of the condition is dropped.
type Compress struct {
	Axis *int `attr:"axis"`
}

func (*Compress) Kind() string { return "Compress" }

func (o *Compress) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := booleans.check(1, in[1].DType); err != nil {
		return nil, err
	}
	switch {
	case o.Axis == nil:
		return []graph.Type{graph.Ranked(in[0].DType, graph.Unknown)}, nil
	case !in[0].Ranked:
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	axis, err := tensor.Axis(*o.Axis, len(in[0].Dims))
	if err != nil {
		return nil, err
	}
	out := graph.Ranked(in[0].DType, slices.Clone(in[0].Dims)...)
	out.Dims[axis] = graph.Unknown
	return []graph.Type{out}, nil
}

func (o *Compress) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := booleans.check(1, in[1].DType); err != nil {
		return nil, err
	}
	x, axis, err := axisOrFlat(in[0], o.Axis)
	if err != nil {
		return nil, err
	}
	at := []int{}
	for i, keep := range tensor.Data[bool](in[1]) {
		if keep {
			if i >= x.Shape[axis] {
				return nil, fmt.Errorf("condition: true at %d of a dimension of %d", i, x.Shape[axis])
			}
			at = append(at, i)
		}
	}
	return one(takeAxis(e, x, axis, at))
}

// takeAxis gathers slices along an axis by positions that are in range.
func takeAxis(e *graph.Env, x *tensor.Tensor, axis int, at []int) (*tensor.Tensor, error) {
	shape := x.Shape.Clone()
	shape[axis] = len(at)
	out, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	width := x.Shape[axis+1:].Len()
	rows := make([]int, len(at))
	for i, k := range at {
		rows[i] = k * width
	}
	gatherRows(e, out.elems, elemsOf(x), x.Shape[:axis].Len(), x.Shape[axis]*width, width, rows)
	return out.done(), nil
}

// NonZero yields the indices of the elements that are not zero, in row-major order: an int64 matrix of one row per dimension.
type NonZero struct{}

func (*NonZero) Kind() string { return "NonZero" }

func (*NonZero) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	out := graph.Ranked(tensor.Int64, graph.Unknown, graph.Unknown)
	if in[0].Ranked {
		out.Dims[0] = graph.Known(len(in[0].Dims))
	}
	return []graph.Type{out}, nil
}

func (*NonZero) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x := in[0]
	keys, _ := keysOf(x)
	var at []int
	for i := range x.Len() {
		if !keys.zero(i) {
			at = append(at, i)
		}
	}
	out := e.New(tensor.Int64, x.Rank(), len(at))
	data := tensor.Data[int64](out)
	for k := x.Rank() - 1; k >= 0; k-- {
		for i, a := range at {
			data[k*len(at)+i] = int64(a % x.Shape[k])
			at[i] = a / x.Shape[k]
		}
	}
	return []*tensor.Tensor{out}, nil
}

// sortKeys are the elements of a tensor in a form that can be compared; one of the slices is set.
type sortKeys struct {
	floats []float64
	ints   []int64
	uints  []uint64
	strs   []string
}

// keysOf returns the elements of a dense tensor for comparison and how many keys make up an element: 2 for complex numbers.
func keysOf(t *tensor.Tensor) (sortKeys, int) {
	switch t.DType {
	case tensor.String:
		return sortKeys{strs: t.Text()}, 1
	case tensor.Uint64:
		return sortKeys{uints: tensor.Data[uint64](t)}, 1
	case tensor.Complex64:
		v := tensor.Data[complex64](t)
		out := make([]float64, 0, 2*len(v))
		for _, c := range v {
			out = append(out, float64(real(c)), float64(imag(c)))
		}
		return sortKeys{floats: out}, 2
	case tensor.Complex128:
		v := tensor.Data[complex128](t)
		out := make([]float64, 0, 2*len(v))
		for _, c := range v {
			out = append(out, real(c), imag(c))
		}
		return sortKeys{floats: out}, 2
	}
	if v, err := t.Ints(); err == nil {
		return sortKeys{ints: v}, 1
	}
	v, _ := t.Float64s() // every other element type has real values
	return sortKeys{floats: v}, 1
}

// compare orders keys i and j; NaN is the greatest value and equal to itself.
func (k *sortKeys) compare(i, j int) int {
	switch {
	case k.strs != nil:
		return strings.Compare(k.strs[i], k.strs[j])
	case k.ints != nil:
		return cmp.Compare(k.ints[i], k.ints[j])
	case k.uints != nil:
		return cmp.Compare(k.uints[i], k.uints[j])
	}
	a, b := k.floats[i], k.floats[j]
	if math.IsNaN(a) || math.IsNaN(b) {
		return -cmp.Compare(a, b)
	}
	return cmp.Compare(a, b)
}

// zero reports whether element i is zero, false or empty.
func (k *sortKeys) zero(i int) bool {
	switch {
	case k.strs != nil:
		return k.strs[i] == ""
	case k.ints != nil:
		return k.ints[i] == 0
	case k.uints != nil:
		return k.uints[i] == 0
	}
	return k.floats[i] == 0
}
