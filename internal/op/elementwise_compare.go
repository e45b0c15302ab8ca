package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// comparison is Infer of an operator that compares numbers.
type comparison struct{}

func (comparison) Infer(in []graph.Type) ([]graph.Type, error) { return inferCompare(in, numbers) }

// Equal tells where A and B are equal, with broadcasting.
type Equal struct{}

var comparables = numbers | dtypes(tensor.Bool, tensor.String)

func (*Equal) Kind() string { return "Equal" }

func (*Equal) Infer(in []graph.Type) ([]graph.Type, error) { return inferCompare(in, comparables) }

func (*Equal) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalCompare(e, in, comparables, equal)
}

// Less tells where A < B, with broadcasting.
type Less struct{ comparison }

func (*Less) Kind() string { return "Less" }

func (*Less) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalCompare(e, in, numbers, less)
}

// LessOrEqual tells where A <= B, with broadcasting.
type LessOrEqual struct{ comparison }

func (*LessOrEqual) Kind() string { return "LessOrEqual" }

func (*LessOrEqual) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalCompare(e, in, numbers, lessOrEqual)
}

// Greater tells where A > B, with broadcasting.
type Greater struct{ comparison }

func (*Greater) Kind() string { return "Greater" }

func (*Greater) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalCompare(e, swapped(in), numbers, less)
}

// GreaterOrEqual tells where A >= B, with broadcasting.
type GreaterOrEqual struct{ comparison }

func (*GreaterOrEqual) Kind() string { return "GreaterOrEqual" }

func (*GreaterOrEqual) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalCompare(e, swapped(in), numbers, lessOrEqual)
}

// swapped exchanges two inputs; another number of inputs is left for the check that follows.
func swapped(in []*tensor.Tensor) []*tensor.Tensor {
	if len(in) != 2 {
		return in
	}
	return []*tensor.Tensor{in[1], in[0]}
}

func inferCompare(in []graph.Type, set dtypeSet) ([]graph.Type, error) {
	out, err := inferBinary(in, set)
	if err != nil {
		return nil, err
	}
	out[0].DType = tensor.Bool
	return out, nil
}

type relation uint8

const (
	equal relation = iota
	less
	lessOrEqual
)

func evalCompare(e *graph.Env, in []*tensor.Tensor, set dtypeSet, rel relation) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	if err := set.check(0, in[0].DType); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(in...)
	if err != nil {
		return nil, err
	}
	w := newBroadcast(shape, in[0].Shape, in[1].Shape)
	out := e.New(tensor.Bool, shape...)
	switch in[0].DType {
	case tensor.Float32:
		compare[float32](e, w, out, in, rel)
	case tensor.Float64:
		compare[float64](e, w, out, in, rel)
	case tensor.Float16, tensor.BFloat16:
		compare[float32](e, w, out, []*tensor.Tensor{decoded(e, in[0]), decoded(e, in[1])}, rel)
	case tensor.Int8:
		compare[int8](e, w, out, in, rel)
	case tensor.Int16:
		compare[int16](e, w, out, in, rel)
	case tensor.Int32:
		compare[int32](e, w, out, in, rel)
	case tensor.Int64:
		compare[int64](e, w, out, in, rel)
	case tensor.Uint8, tensor.Bool:
		compare[uint8](e, w, out, in, rel)
	case tensor.Uint16:
		compare[uint16](e, w, out, in, rel)
	case tensor.Uint32:
		compare[uint32](e, w, out, in, rel)
	case tensor.Uint64:
		compare[uint64](e, w, out, in, rel)
	case tensor.String:
		zip(e, w, tensor.Data[bool](out), in[0].Text(), in[1].Text(), func(dst []bool, a, b []string) {
			for i := range dst {
				dst[i] = a[i] == b[i]
			}
		})
	}
	return []*tensor.Tensor{out}, nil
}

func compare[T number](e *graph.Env, w *broadcast, out *tensor.Tensor, in []*tensor.Tensor, rel relation) {
	var row func(dst []bool, a, b []T)
	switch rel {
	case equal:
		row = func(dst []bool, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] == b[i]
			}
		}
	case less:
		row = func(dst []bool, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] < b[i]
			}
		}
	case lessOrEqual:
		row = func(dst []bool, a, b []T) {
			a, b = a[:len(dst)], b[:len(dst)]
			for i := range dst {
				dst[i] = a[i] <= b[i]
			}
		}
	}
	zip(e, w, tensor.Data[bool](out), tensor.Data[T](in[0]), tensor.Data[T](in[1]), row)
}

// Where takes elements of X where the condition holds and of Y elsewhere, with broadcasting of all three.
type Where struct{}

func (*Where) Kind() string { return "Where" }

func (*Where) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	if err := booleans.check(0, in[0].DType); err != nil {
		return nil, err
	}
	d, err := sameDType(in[1:]...)
	if err != nil {
		return nil, err
	}
	return one(broadcastTypes(d, in...))
}

func (*Where) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 3)
	if err != nil {
		return nil, err
	}
	if err := booleans.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if err := sameElems(in[1:]...); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(in...)
	if err != nil {
		return nil, err
	}
	d := in[1].DType
	w := newBroadcast(shape, in[0].Shape, in[1].Shape, in[2].Shape)
	cond := tensor.Data[uint8](in[0])
	out := e.New(d, shape...)
	switch {
	case d == tensor.String:
		choose(e, w, out.Text(), cond, in[1].Text(), in[2].Text())
	case d.Size() == 1:
		chooseCells[uint8](e, w, out, cond, in)
	case d.Size() == 2:
		chooseCells[uint16](e, w, out, cond, in)
	case d.Size() == 4:
		chooseCells[uint32](e, w, out, cond, in)
	case d.Size() == 8:
		chooseCells[uint64](e, w, out, cond, in)
	case d.Size() == 16:
		chooseCells[[2]uint64](e, w, out, cond, in)
	default:
		return nil, fmt.Errorf("element type %v is not supported", d)
	}
	return []*tensor.Tensor{out}, nil
}

func chooseCells[W any](e *graph.Env, w *broadcast, out *tensor.Tensor, cond []uint8, in []*tensor.Tensor) {
	choose(e, w, cells[W](out), cond, cells[W](in[1]), cells[W](in[2]))
}

// choose is Where on the walk w over condition, x and y.
func choose[T any](e *graph.Env, w *broadcast, dst []T, cond []uint8, x, y []T) {
	e.For(w.n, elementGrain, func(lo, hi int) {
		w.each(lo, hi, func(out, n int, at []int) {
			d, c, i, j := dst[out:out+n], at[0], at[1], at[2]
			if w.step[0] == 0 {
				src, from, step := x, i, w.step[1]
				if cond[c] == 0 {
					src, from, step = y, j, w.step[2]
				}
				if step == 0 {
					spread(d, src[from])
				} else {
					copy(d, src[from:])
				}
				return
			}
			for k, holds := range cond[c : c+n] {
				if holds != 0 {
					d[k] = x[i+k*w.step[1]]
				} else {
					d[k] = y[j+k*w.step[2]]
				}
			}
		})
	})
}
