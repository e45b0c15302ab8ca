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
			softmax(e, tensor.Data[float64](out), tensor.Data[float64](t), rows, cols, expRow64)
		case cols == 1:
			x := tensor.Data[float32](t)
			kernel.SoftmaxRows(e.Workers(), tensor.Data[float32](out), x, len(x)/rows, rows)
		default:
			softmax(e, tensor.Data[float32](out), tensor.Data[float32](t), rows, cols, kernel.Exp)
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
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	t := in[0]
	if err := floats.check(0, t.DType); err != nil {
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

func expRow64(dst, x []float64) {
	for i, v := range x {
		dst[i] = math.Exp(v)
	}
}

// softmax works on matrices of rows x cols, down the rows. dst may be x.
func softmax[T float32 | float64](e *graph.Env, dst, x []T, rows, cols int, exp func(dst, x []T)) {
	size := rows * cols
	e.For(len(x)/size, max(1, elementGrain/8/size), func(lo, hi int) {
		top, sum := make([]T, cols), make([]T, cols)
		for b := lo; b < hi; b++ {
			x, dst := x[b*size:(b+1)*size], dst[b*size:(b+1)*size]
			maxDown(top, x, rows)
			clear(sum)
			for r := range rows {
				d := dst[r*cols : (r+1)*cols]
				for i, v := range x[r*cols : (r+1)*cols] {
					d[i] = v - top[i]
				}
				exp(d, d)
				for i, v := range d {
					sum[i] += v
				}
			}
			for r := range rows {
				d := dst[r*cols : (r+1)*cols]
				for i := range d {
					d[i] /= sum[i]
				}
			}
		}
	})
}

// maxDown sets top to the greatest element of each of len(top) columns.
func maxDown[T float32 | float64](top, x []T, rows int) {
	cols := len(top)
	copy(top, x)
	for r := 1; r < rows; r++ {
		for i, v := range x[r*cols : (r+1)*cols] {
			top[i] = max(top[i], v)
		}
	}
}

// logSoftmaxTensor computes the log-softmax of float32 or float64 matrices of rows x cols, down the rows. out may be t.
func logSoftmaxTensor(e *graph.Env, out, t *tensor.Tensor, rows, cols int) {
	if t.DType == tensor.Float64 {
		logSoftmax(e, tensor.Data[float64](out), tensor.Data[float64](t), rows, cols, expRow64)
	} else {
		logSoftmax(e, tensor.Data[float32](out), tensor.Data[float32](t), rows, cols, kernel.Exp)
	}
}

func logSoftmax[T float32 | float64](e *graph.Env, dst, x []T, rows, cols int, exp func(dst, x []T)) {
	size := rows * cols
	e.For(len(x)/size, max(1, elementGrain/8/size), func(lo, hi int) {
		top, sum := make([]T, cols), make([]float64, cols)
		buf := make([]T, size)
		for b := lo; b < hi; b++ {
			x, dst := x[b*size:(b+1)*size], dst[b*size:(b+1)*size]
			maxDown(top, x, rows)
			clear(sum)
			for r := range rows {
				d := dst[r*cols : (r+1)*cols]
				for i, v := range x[r*cols : (r+1)*cols] {
					d[i] = v - top[i]
				}
			}
			exp(buf, dst)
			for r := range rows {
				for i, v := range buf[r*cols : (r+1)*cols] {
					sum[i] += float64(v)
				}
			}
			for i, v := range sum {
				sum[i] = math.Log(v)
			}
			for r := range rows {
				d := dst[r*cols : (r+1)*cols]
				for i := range d {
					d[i] -= T(sum[i])
				}
			}
		}
	})
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
