package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// CumSum is the running sum along the axis that the second input gives.
type CumSum struct{ Cumulative }

func (*CumSum) Kind() string { return "CumSum" }

func (o *CumSum) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, addition)
}

// CumProd is the running product along the axis that the second input gives.
type CumProd struct{ Cumulative }

func (*CumProd) Kind() string { return "CumProd" }

func (o *CumProd) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.eval(e, in, multiplication)
}

// Cumulative holds the attributes of [CumSum] and [CumProd].
type Cumulative struct {
	Exclusive bool `attr:"exclusive,0"` // leave the element itself out
	Reverse   bool `attr:"reverse,0"`   // from the end
}

// Infer implements [graph.Op].
func (Cumulative) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, in[1].DType); err != nil {
		return nil, err
	}
	return inferUnary(in[:1], numbers)
}

func (o Cumulative) eval(e *graph.Env, in []*tensor.Tensor, op arith) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	t := in[0]
	if err := numbers.check(0, t.DType); err != nil {
		return nil, err
	}
	axis, err := scalarInt(in[1])
	if err != nil {
		return nil, fmt.Errorf("axis: %w", err)
	}
	if axis, err = tensor.Axis(axis, t.Rank()); err != nil {
		return nil, err
	}
	rows, cols := t.Shape[axis], t.Shape[axis+1:].Len()
	switch t.DType {
	case tensor.Float16, tensor.BFloat16:
		wide := decoded(e, t)
		accumulate[float32](e, o, wide, wide, rows, cols, op)
		return []*tensor.Tensor{encoded(e, wide, t.DType, castMode{})}, nil
	}
	out := e.New(t.DType, t.Shape...)
	switch t.DType {
	case tensor.Float32:
		accumulate[float32](e, o, out, t, rows, cols, op)
	case tensor.Float64:
		accumulate[float64](e, o, out, t, rows, cols, op)
	case tensor.Int8:
		accumulate[int8](e, o, out, t, rows, cols, op)
	case tensor.Int16:
		accumulate[int16](e, o, out, t, rows, cols, op)
	case tensor.Int32:
		accumulate[int32](e, o, out, t, rows, cols, op)
	case tensor.Int64:
		accumulate[int64](e, o, out, t, rows, cols, op)
	case tensor.Uint8:
		accumulate[uint8](e, o, out, t, rows, cols, op)
	case tensor.Uint16:
		accumulate[uint16](e, o, out, t, rows, cols, op)
	case tensor.Uint32:
		accumulate[uint32](e, o, out, t, rows, cols, op)
	case tensor.Uint64:
		accumulate[uint64](e, o, out, t, rows, cols, op)
	}
	return []*tensor.Tensor{out}, nil
}

// accumulate runs over matrices of rows x cols, down the rows. out may be t.
func accumulate[T number](e *graph.Env, o Cumulative, out, t *tensor.Tensor, rows, cols int, op arith) {
	dst, x := tensor.Data[T](out), tensor.Data[T](t)
	size := rows * cols
	if size == 0 || len(x) == 0 {
		return
	}
	row := numberRow[T](op)
	e.For(len(x)/size, max(1, elementGrain/size), func(lo, hi int) {
		var start T
		if op == multiplication {
			start = 1
		}
		sum := make([]T, cols)
		kept := make([]T, cols)
		for b := lo; b < hi; b++ {
			spread(sum, start)
			for r := range rows {
				if o.Reverse {
					r = rows - 1 - r
				}
				at := b*size + r*cols
				d, s := dst[at:at+cols], x[at:at+cols]
				if o.Exclusive {
					copy(kept, sum)
					row(sum, sum, s)
					copy(d, kept)
				} else {
					row(sum, sum, s)
					copy(d, sum)
				}
			}
		}
	})
}
