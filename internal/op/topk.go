package op

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// TopK yields the k largest (or smallest) elements along Axis, in order, and their positions. Of equal elements the one of
// lower position comes first; NaN counts as the largest value. The result is ordered whether Sorted or not.
type TopK struct {
	Axis    int  `attr:"axis,-1"`
	Largest bool `attr:"largest,1"`
	Sorted  bool `attr:"sorted,1"`
}

func (*TopK) Kind() string { return "TopK" }

func (o *TopK) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := numbers.check(0, in[0].DType); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	if in[0].Ranked {
		axis, err := tensor.Axis(o.Axis, len(in[0].Dims))
		if err != nil {
			return nil, err
		}
		out.Ranked, out.Dims = true, slices.Clone(in[0].Dims)
		out.Dims[axis] = graph.Unknown
		if k, ok := knownInts(in[1]); ok {
			if len(k) != 1 || k[0] < 0 || in[0].Dims[axis].IsKnown() && k[0] > in[0].Dims[axis].Size {
				return nil, fmt.Errorf("k: %v is out of range for a dimension of %v", k, in[0].Dims[axis])
			}
			out.Dims[axis] = graph.Known(k[0])
		}
	}
	return []graph.Type{out, retyped(out, tensor.Int64)}, nil
}

func (o *TopK) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := numbers.check(0, x.DType); err != nil {
		return nil, err
	}
	axis, err := tensor.Axis(o.Axis, x.Rank())
	if err != nil {
		return nil, err
	}
	k, err := scalarInt(in[1])
	if err != nil {
		return nil, fmt.Errorf("k: %w", err)
	}
	n := x.Shape[axis]
	if k < 0 || k > n {
		return nil, fmt.Errorf("k: %d is out of range for a dimension of %d", k, n)
	}
	shape := x.Shape.Clone()
	shape[axis] = k
	values, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	positions := e.New(tensor.Int64, shape...)
	at := make([]int, shape.Len())
	l := lanes{outer: x.Shape[:axis].Len(), n: n, inner: x.Shape[axis+1:].Len(), k: k, largest: o.Largest}
	switch x.DType {
	case tensor.Float32:
		selectTop(e, l, tensor.Data[float32](x), at)
	case tensor.Float64:
		selectTop(e, l, tensor.Data[float64](x), at)
	case tensor.Float16, tensor.BFloat16:
		f, err := x.Floats()
		if err != nil {
			return nil, err
		}
		selectTop(e, l, f, at)
	case tensor.Uint64:
		selectTop(e, l, tensor.Data[uint64](x), at)
	default:
		v, err := x.Ints()
		if err != nil {
			return nil, err
		}
		selectTop(e, l, v, at)
	}
	// From offsets to positions along the axis.
	pos := tensor.Data[int64](positions)
	for i, a := range at {
		pos[i] = int64(a / l.inner % n)
	}
	gatherRows(e, values.elems, elemsOf(x), 1, 0, 1, at)
	return []*tensor.Tensor{values.done(), positions}, nil
}

// lanes are the vectors along one axis of a tensor: outer*inner vectors of n elements that are inner elements apart.
type lanes struct {
	outer, n, inner, k int
	largest            bool
}

// selectTop fills at, row-major in the shape of the result, with the offsets of the selected elements.
func selectTop[T number](e *graph.Env, l lanes, x []T, at []int) {
	if l.k == 0 {
		return
	}
	e.For(l.outer*l.inner, max(1, moveGrain/8/l.n), func(lo, hi int) {
		best := make([]int, 0, l.n)
		for lane := lo; lane < hi; lane++ {
			base := lane/l.inner*l.n*l.inner + lane%l.inner
			// before orders positions: the better value, then the lower position.
			before := func(i, j int) bool {
				a, b := x[base+i*l.inner], x[base+j*l.inner]
				switch {
				case a == b:
					return i < j
				case a != a || b != b: // NaN
					if a != a && b != b {
						return i < j
					}
					return (a != a) == l.largest
				}
				return (a > b) == l.largest
			}
			best = best[:0]
			if l.k*4 > l.n {
				for i := range l.n {
					best = append(best, i)
				}
			} else {
				best = topHeap(best, l.n, l.k, before)
			}
			slices.SortFunc(best, func(i, j int) int {
				if before(i, j) {
					return -1
				}
				return 1
			})
			for r, i := range best[:l.k] {
				at[(lane/l.inner*l.k+r)*l.inner+lane%l.inner] = base + i*l.inner
			}
		}
	})
}

// topHeap collects the k best of n positions in a heap whose root is the worst of them.
func topHeap(heap []int, n, k int, before func(i, j int) bool) []int {
	sink := func(i int) {
		for {
			c := 2*i + 1
			if c >= len(heap) {
				return
			}
			if c+1 < len(heap) && before(heap[c], heap[c+1]) {
				c++
			}
			if before(heap[c], heap[i]) {
				return
			}
			heap[i], heap[c] = heap[c], heap[i]
			i = c
		}
	}
	for i := range k {
		heap = append(heap, i)
	}
	for i := k/2 - 1; i >= 0; i-- {
		sink(i)
	}
	for i := k; i < n; i++ {
		if before(i, heap[0]) {
			heap[0] = i
			sink(0)
		}
	}
	return heap
}
