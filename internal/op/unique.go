package op

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Unique yields the distinct slices along Axis (nil: the distinct elements of the flattened input), in ascending order if
// Sorted, else by first occurrence; then, as int64 vectors, where each first occurs, which one each input slice is, and how
// often each occurs.
type Unique struct {
	Axis   *int `attr:"axis"`
	Sorted bool `attr:"sorted,1"`
}

func (*Unique) Kind() string { return "Unique" }

func (o *Unique) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	y, inverse := graph.Unranked(in[0].DType), graph.Unknown
	switch {
	case o.Axis == nil:
		y = graph.Ranked(in[0].DType, graph.Unknown)
		if in[0].Ranked {
			inverse = quotient(in[0].Dims, 1)
		}
	case in[0].Ranked:
		axis, err := tensor.Axis(*o.Axis, len(in[0].Dims))
		if err != nil {
			return nil, err
		}
		y.Ranked, y.Dims = true, slices.Clone(in[0].Dims)
		inverse, y.Dims[axis] = y.Dims[axis], graph.Unknown
	}
	count := graph.Ranked(tensor.Int64, graph.Unknown)
	return []graph.Type{y, count, graph.Ranked(tensor.Int64, inverse), count}, nil
}

func (o *Unique) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x, axis, err := axisOrFlat(in[0], o.Axis)
	if err != nil {
		return nil, err
	}
	// Each slice becomes a row of keys.
	perm := []int{axis}
	for i := range x.Shape {
		if i != axis {
			perm = append(perm, i)
		}
	}
	rows, err := permute(e, x, x.Shape, perm, nil)
	if err != nil {
		return nil, err
	}
	keys, per := keysOf(rows)
	n := x.Shape[axis]
	width := rows.Shape[1:].Len() * per
	compare := func(i, j int) int {
		for k := range width {
			if c := keys.compare(i*width+k, j*width+k); c != 0 {
				return c
			}
		}
		return 0
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, compare)
	var groups [][]int // equal slices, each in order of occurrence
	for i, at := range order {
		if i > 0 && compare(order[i-1], at) == 0 {
			groups[len(groups)-1] = append(groups[len(groups)-1], at)
		} else {
			groups = append(groups, order[i:i+1:i+1])
		}
	}
	if !o.Sorted {
		slices.SortFunc(groups, func(a, b []int) int { return a[0] - b[0] })
	}
	first, inverse, counts := make([]int, len(groups)), make([]int, n), make([]int, len(groups))
	for i, g := range groups {
		first[i], counts[i] = g[0], len(g)
		for _, at := range g {
			inverse[at] = i
		}
	}
	y, err := takeAxis(e, x, axis, first)
	if err != nil {
		return nil, err
	}
	return []*tensor.Tensor{y, int64Vector(first), int64Vector(inverse), int64Vector(counts)}, nil
}
