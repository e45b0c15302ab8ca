package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ArgMax is the index of the greatest element along an axis.
type ArgMax struct{ ArgExtreme }

func (*ArgMax) Kind() string { return "ArgMax" }

func (o *ArgMax) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, true)
}

// ArgMin is the index of the least element along an axis.
type ArgMin struct{ ArgExtreme }

func (*ArgMin) Kind() string { return "ArgMin" }

func (o *ArgMin) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, false)
}

// ArgExtreme holds the attributes of [ArgMax] and [ArgMin].
type ArgExtreme struct {
	Axis     int  `attr:"axis,0"`
	KeepDims bool `attr:"keepdims,1"`
	Last     bool `attr:"select_last_index,0"` // of equal elements, the last
}

// Infer implements [graph.Op].
func (o *ArgExtreme) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := numbers.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(tensor.Int64)}, nil
	}
	out := graph.Ranked(tensor.Int64)
	if len(in[0].Dims) == 0 {
		return []graph.Type{out}, nil
	}
	axis, err := tensor.Axis(o.Axis, len(in[0].Dims))
	if err != nil {
		return nil, err
	}
	for i, d := range in[0].Dims {
		switch {
		case i != axis:
			out.Dims = append(out.Dims, d)
		case o.KeepDims:
			out.Dims = append(out.Dims, graph.Known(1))
		}
	}
	return []graph.Type{out}, nil
}

func (o *ArgExtreme) eval(e *graph.Env, in []*tensor.Tensor, greatest bool) ([]*tensor.Tensor, error) {
	t, err := single(in, numbers)
	if err != nil {
		return nil, err
	}
	if t.Rank() == 0 {
		return []*tensor.Tensor{e.Zeros(tensor.Int64)}, nil
	}
	axis, err := tensor.Axis(o.Axis, t.Rank())
	if err != nil {
		return nil, err
	}
	var shape tensor.Shape
	for i, d := range t.Shape {
		switch {
		case i != axis:
			shape = append(shape, d)
		case o.KeepDims:
			shape = append(shape, 1)
		}
	}
	rows, cols := t.Shape[axis], t.Shape[axis+1:].Len()
	if rows == 0 && shape.Len() > 0 {
		return nil, fmt.Errorf("axis %d of shape %v is empty", axis, t.Shape)
	}
	out := e.New(tensor.Int64, shape...)
	x := decoded(e, t)
	switch x.DType {
	case tensor.Float32:
		argDown[float32](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Float64:
		argDown[float64](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Int8:
		argDown[int8](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Int16:
		argDown[int16](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Int32:
		argDown[int32](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Int64:
		argDown[int64](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Uint8:
		argDown[uint8](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Uint16:
		argDown[uint16](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Uint32:
		argDown[uint32](e, out, x, rows, cols, greatest, o.Last)
	case tensor.Uint64:
		argDown[uint64](e, out, x, rows, cols, greatest, o.Last)
	}
	return []*tensor.Tensor{out}, nil
}

// argDown works on matrices of rows x cols, down the rows. NaN counts as beyond everything, as in numpy.
func argDown[T number](e *graph.Env, out, t *tensor.Tensor, rows, cols int, greatest, last bool) {
	dst, x := tensor.Data[int64](out), tensor.Data[T](t)
	if len(x) == 0 {
		return
	}
	beyond := func(v, w T) bool { // whether v takes the place of w, found before it
		if v == w || v != v && w != w {
			return last
		}
		return w == w && (v != v || v > w == greatest)
	}
	size := rows * cols
	e.For(len(x)/size, max(1, elementGrain/size), func(lo, hi int) {
		best := make([]T, cols)
		for b := lo; b < hi; b++ {
			x, index := x[b*size:(b+1)*size], dst[b*cols:(b+1)*cols]
			if cols == 1 && greatest && !last {
				index[0] = int64(firstGreatest(x))
				continue
			}
			copy(best, x)
			clear(index)
			for r := 1; r < rows; r++ {
				for i, v := range x[r*cols : (r+1)*cols] {
					if beyond(v, best[i]) {
						best[i], index[i] = v, int64(r)
					}
				}
			}
		}
	})
}

func firstGreatest[T number](x []T) int {
	best := 0
	w := x[0]
	for i, v := range x {
		if v <= w {
			continue
		}
		if w != w {
			break
		}
		best, w = i, v
	}
	return best
}
