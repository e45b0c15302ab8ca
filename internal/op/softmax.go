package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Softmax is e^x over its sum along an axis.
type Softmax struct {
	Axis int `attr:"axis,-1"`
}

func (*Softmax) Kind() string { return "Softmax" }

func (o *Softmax) Infer(in []graph.Type) ([]graph.Type, error) { return inferAlong(in, o.Axis) }

func (o *Softmax) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalAlong(e, in, o.Axis, func(t, out *tensor.Tensor, rows, cols int) {
		switch {
		case t.DType == tensor.Float64:
			softmax(e, tensor.Data[float64](out), tensor.Data[float64](t), rows, cols, rows64)
		case cols == 1:
			x := tensor.Data[float32](t)
			kernel.SoftmaxRows(e.Workers(), tensor.Data[float32](out), x, len(x)/rows, rows)
		default:
			softmax(e, tensor.Data[float32](out), tensor.Data[float32](t), rows, cols, rows32)
		}
	})
}

// LogSoftmax is the logarithm of [Softmax].
type LogSoftmax struct {
	Axis int `attr:"axis,-1"`
}

func (*LogSoftmax) Kind() string { return "LogSoftmax" }

func (o *LogSoftmax) Infer(in []graph.Type) ([]graph.Type, error) { return inferAlong(in, o.Axis) }

func (o *LogSoftmax) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalAlong(e, in, o.Axis, func(t, out *tensor.Tensor, rows, cols int) { logSoftmaxTensor(e, out, t, rows, cols) })
}

// Hardmax is 1 at the first greatest element along an axis and 0 elsewhere.
type Hardmax struct {
	Axis int `attr:"axis,-1"`
}

func (*Hardmax) Kind() string { return "Hardmax" }

func (o *Hardmax) Infer(in []graph.Type) ([]graph.Type, error) { return inferAlong(in, o.Axis) }

func (o *Hardmax) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalAlong(e, in, o.Axis, func(t, out *tensor.Tensor, rows, cols int) {
		if t.DType == tensor.Float64 {
			hardmax(tensor.Data[float64](out), tensor.Data[float64](t), rows, cols)
		} else {
			hardmax(tensor.Data[float32](out), tensor.Data[float32](t), rows, cols)
		}
	})
}

func inferAlong(in []graph.Type, axis int) ([]graph.Type, error) {
	out, err := inferUnary(in, floats)
	if err != nil {
		return nil, err
	}
	if in[0].Ranked && len(in[0].Dims) > 0 {
		if _, err := tensor.Axis(axis, len(in[0].Dims)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// evalAlong calls f with the input as float32 or float64, seen as matrices of rows x cols elements whose columns run along
// the axis, and an output of the same type that f fills. A scalar is taken as one row.
func evalAlong(e *graph.Env, in []*tensor.Tensor, axis int, f func(t, out *tensor.Tensor, rows, cols int)) ([]*tensor.Tensor, error) {
	t, err := single(in, floats)
	if err != nil {
		return nil, err
	}
	rows, cols := 1, 1
	if t.Rank() > 0 {
		if axis, err = tensor.Axis(axis, t.Rank()); err != nil {
			return nil, err
		}
		rows, cols = t.Shape[axis], t.Shape[axis+1:].Len()
	}
	x := decoded(e, t)
	if x.DType != t.DType {
		if x.Len() > 0 {
			f(x, x, rows, cols)
		}
		return []*tensor.Tensor{encoded(e, x, t.DType, castMode{})}, nil
	}
	out := e.New(t.DType, t.Shape...)
	if x.Len() > 0 {
		f(x, out, rows, cols)
	}
	return []*tensor.Tensor{out}, nil
}

// rowOps are the loops that a softmax is made of.
type rowOps[T float32 | float64] struct {
	add, sub, div, max func(dst, a, b []T)
	exp                func(dst, x []T)
}

var (
	rows32 = rowOps[float32]{kernel.Add, kernel.Sub, kernel.Div, numberRow[float32](maximum), kernel.Exp}
	rows64 = rowOps[float64]{
		numberRow[float64](addition), numberRow[float64](subtraction), numberRow[float64](division), numberRow[float64](maximum),
		func(dst, x []float64) {
			for i, v := range x {
				dst[i] = math.Exp(v)
			}
		},
	}
)

// columnBlock is how many columns are worked on at once, so that the rows of a block stay in the cache between the steps.
const columnBlock = 64

// eachColumns calls f for blocks of columns of the matrices of rows x cols that n elements make: the offset of the first
// element and how many columns.
func eachColumns(e *graph.Env, n, rows, cols int, f func(at, width int)) {
	blocks := (cols + columnBlock - 1) / columnBlock
	size := rows * cols
	e.For(n/size*blocks, max(1, elementGrain/8/(rows*min(cols, columnBlock))), func(lo, hi int) {
		for k := lo; k < hi; k++ {
			first := k % blocks * columnBlock
			f(k/blocks*size+first, min(columnBlock, cols-first))
		}
	})
}

// softmax works on matrices of rows x cols, down the rows. dst may be x.
func softmax[T float32 | float64](e *graph.Env, dst, x []T, rows, cols int, ops rowOps[T]) {
	eachColumns(e, len(x), rows, cols, func(at, width int) {
		var tops, sums [columnBlock]T
		top, sum := tops[:width], sums[:width]
		maxDown(top, x[at:], rows, cols, ops)
		for r := range rows {
			i := at + r*cols
			d := dst[i : i+width]
			ops.sub(d, x[i:i+width], top)
			ops.exp(d, d)
			ops.add(sum, sum, d)
		}
		for r := range rows {
			i := at + r*cols
			ops.div(dst[i:i+width], dst[i:i+width], sum)
		}
	})
}

// maxDown sets top to the greatest element of each of len(top) columns of a matrix whose rows are cols apart.
func maxDown[T float32 | float64](top, x []T, rows, cols int, ops rowOps[T]) {
	copy(top, x)
	for r := 1; r < rows; r++ {
		ops.max(top, top, x[r*cols:r*cols+len(top)])
	}
}

// logSoftmaxTensor computes the log-softmax of float32 or float64 matrices of rows x cols, down the rows. out may be t.
func logSoftmaxTensor(e *graph.Env, out, t *tensor.Tensor, rows, cols int) {
	if t.DType == tensor.Float64 {
		logSoftmax(e, tensor.Data[float64](out), tensor.Data[float64](t), rows, cols, rows64)
	} else {
		logSoftmax(e, tensor.Data[float32](out), tensor.Data[float32](t), rows, cols, rows32)
	}
}

func logSoftmax[T float32 | float64](e *graph.Env, dst, x []T, rows, cols int, ops rowOps[T]) {
	if cols == 1 { // one column that is contiguous
		e.For(len(x)/rows, max(1, elementGrain/8/rows), func(lo, hi int) {
			buf := make([]T, min(rows, block))
			for b := lo; b < hi; b++ {
				logSoftmaxRow(dst[b*rows:(b+1)*rows], x[b*rows:(b+1)*rows], buf, ops)
			}
		})
		return
	}
	eachColumns(e, len(x), rows, cols, func(at, width int) {
		var tops, terms, sums [columnBlock]T
		top, term, sum := tops[:width], terms[:width], sums[:width]
		maxDown(top, x[at:], rows, cols, ops)
		for r := range rows {
			i := at + r*cols
			d := dst[i : i+width]
			ops.sub(d, x[i:i+width], top)
			ops.exp(term, d)
			ops.add(sum, sum, term)
		}
		for i, v := range sum {
			sum[i] = T(math.Log(float64(v)))
		}
		for r := range rows {
			i := at + r*cols
			ops.sub(dst[i:i+width], dst[i:i+width], sum)
		}
	})
}

func logSoftmaxRow[T float32 | float64](dst, x, buf []T, ops rowOps[T]) {
	top := greatestOf(x[0], x)
	var sum float64
	for i := 0; i < len(x); i += len(buf) {
		n := min(len(buf), len(x)-i)
		for k, v := range x[i : i+n] {
			dst[i+k] = v - top
		}
		ops.exp(buf[:n], dst[i:i+n])
		for _, v := range buf[:n] {
			sum += float64(v)
		}
	}
	shift := T(math.Log(sum))
	for i := range dst {
		dst[i] -= shift
	}
}

func hardmax[T float32 | float64](dst, x []T, rows, cols int) {
	size := rows * cols
	best := make([]int, cols)
	for b := 0; b < len(x); b += size {
		x, dst := x[b:b+size], dst[b:b+size]
		clear(best)
		for r := 1; r < rows; r++ {
			for i, v := range x[r*cols : (r+1)*cols] {
				if v > x[best[i]*cols+i] {
					best[i] = r
				}
			}
		}
		clear(dst)
		for i, r := range best {
			dst[r*cols+i] = 1
		}
	}
}
