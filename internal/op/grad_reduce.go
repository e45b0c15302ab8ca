package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of reductions: that of an output, and the output itself where it is needed, spread over the elements that were reduced.

// spreadBack returns d, and y unless it is nil, in the shape of the input.
func (o *Reduce) spreadBack(e *graph.Env, in []*tensor.Tensor, y, d *tensor.Tensor) (wideY, wideD *tensor.Tensor, n int, err error) {
	axes, err := intsOf(arg(in, 1))
	if err != nil {
		return nil, nil, 0, err
	}
	x := in[0]
	reduced, err := o.reduced(axes, x.Rank())
	if err != nil {
		return nil, nil, 0, err
	}
	r := newReduction(x.Shape, reduced)
	if wideD, err = expand(e, d.Reshape(r.kept...), x.Shape); err == nil && y != nil {
		wideY, err = expand(e, y.Reshape(r.kept...), x.Shape)
	}
	return wideY, wideD, r.count, err
}

// backward computes f of every element, its output and the gradient of that.
func (o *Reduce) backward(e *graph.Env, in []*tensor.Tensor, y, d *tensor.Tensor, f func(d, x, y float64) float64) ([]*tensor.Tensor, error) {
	wideY, wideD, _, err := o.spreadBack(e, in, y, d)
	if err != nil {
		return nil, err
	}
	dx, err := pairGrad(e, wideD, []*tensor.Tensor{in[0], wideY}, f)
	return gradList(len(in), dx), err
}

// Recalls implements [graph.Recalling].
func (*ReduceSum) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *ReduceSum) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	_, d, _, err := o.spreadBack(e, in, nil, dOut[0])
	return gradList(len(in), d), err
}

// Recalls implements [graph.Recalling].
func (*ReduceMean) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *ReduceMean) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	_, _, n, err := o.spreadBack(e, in, nil, dOut[0])
	if err != nil {
		return nil, err
	}
	d, err := scaledGrad(e, dOut[0], 1/float64(n))
	if err != nil {
		return nil, err
	}
	_, d, _, err = o.spreadBack(e, in, nil, d)
	return gradList(len(in), d), err
}

// Backward implements [graph.Differentiable]: the product of the others, which are multiplied anew where one is zero.
func (o *ReduceProd) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x := in[0]
	values, err := floatsOf(x)
	if err != nil {
		return nil, err
	}
	axes, err := intsOf(arg(in, 1))
	if err != nil {
		return nil, err
	}
	reduced, err := o.reduced(axes, x.Rank())
	if err != nil {
		return nil, err
	}
	r := newReduction(x.Shape, reduced)
	product, zeros := make([]float64, r.outs), make([]int, r.outs)
	spread(product, 1)
	each := func(f func(i, out int)) {
		w := newBroadcast(x.Shape, r.kept)
		w.each(0, w.n, func(at, n int, from []int) {
			for k := range n {
				f(at+k, from[0]+k*w.step[0])
			}
		})
	}
	each(func(i, out int) {
		if values[i] == 0 {
			zeros[out]++
		} else {
			product[out] *= values[i]
		}
	})
	others := make([]float64, len(values))
	each(func(i, out int) {
		switch {
		case zeros[out] == 0:
			others[i] = product[out] / values[i]
		case zeros[out] == 1 && values[i] == 0:
			others[i] = product[out]
		}
	})
	_, d, _, err := o.spreadBack(e, in, nil, dOut[0])
	if err != nil {
		return nil, err
	}
	t, err := castTensor(e, tensor.Of(x.Shape, others), d.DType, castMode{})
	if err != nil {
		return nil, err
	}
	dx, err := multiplied(e, d, t)
	return gradList(len(in), dx), err
}

// extreme shares the gradient out between the elements that are the extreme.
func (o *Reduce) extreme(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	y, d, _, err := o.spreadBack(e, in, out[0], dOut[0])
	if err != nil {
		return nil, err
	}
	hits, err := pairGrad(e, d, []*tensor.Tensor{in[0], y}, func(_, x, y float64) float64 {
		if x == y {
			return 1
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	axes := append([]*tensor.Tensor{hits}, in[1:]...)
	count, err := (&Reduce{KeepDims: o.KeepDims, Noop: o.Noop}).eval(e, axes, reduceSum)
	if err != nil {
		return nil, err
	}
	n, _, _, err := o.spreadBack(e, in, count[0], dOut[0])
	if err != nil {
		return nil, err
	}
	dx, err := pairGrad(e, d, []*tensor.Tensor{hits, n}, func(d, hit, n float64) float64 { return d * hit / n })
	return gradList(len(in), dx), err
}

// Recalls implements [graph.Recalling].
func (*ReduceMax) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceMax) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.extreme(e, in, out, dOut)
}

// Recalls implements [graph.Recalling].
func (*ReduceMin) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceMin) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.extreme(e, in, out, dOut)
}

// Recalls implements [graph.Recalling].
func (*ReduceL1) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceL1) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.backward(e, in, out[0], dOut[0], func(d, x, _ float64) float64 {
		if x == 0 {
			return 0
		}
		return math.Copysign(d, d*x)
	})
}

// Recalls implements [graph.Recalling].
func (*ReduceL2) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceL2) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.backward(e, in, out[0], dOut[0], func(d, x, y float64) float64 {
		if y == 0 {
			return 0
		}
		return d * x / y
	})
}

// Recalls implements [graph.Recalling].
func (*ReduceSumSquare) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceSumSquare) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.backward(e, in, out[0], dOut[0], func(d, x, _ float64) float64 { return 2 * d * x })
}

// Recalls implements [graph.Recalling].
func (*ReduceLogSum) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceLogSum) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.backward(e, in, out[0], dOut[0], func(d, _, y float64) float64 { return d * math.Exp(-y) })
}

// Recalls implements [graph.Recalling].
func (*ReduceLogSumExp) Recalls() (in, out uint64) { return ^uint64(0), operandSet(0) }

// Backward implements [graph.Differentiable].
func (o *ReduceLogSumExp) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return o.backward(e, in, out[0], dOut[0], func(d, x, y float64) float64 { return d * math.Exp(x-y) })
}

// Recalls implements [graph.Recalling].
func (*Softmax) Recalls() (in, out uint64) { return 0, operandSet(0) }

// Backward implements [graph.Differentiable]: dX = Y*(dY - sum(dY*Y)) along the axis.
func (o *Softmax) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return alongGrad(e, out[0], dOut[0], o.Axis, false)
}

// Recalls implements [graph.Recalling].
func (*LogSoftmax) Recalls() (in, out uint64) { return 0, operandSet(0) }

// Backward implements [graph.Differentiable]: dX = dY - exp(Y)*sum(dY) along the axis.
func (o *LogSoftmax) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return alongGrad(e, out[0], dOut[0], o.Axis, true)
}

func alongGrad(e *graph.Env, y, d *tensor.Tensor, axis int, log bool) ([]*tensor.Tensor, error) {
	n, inner := 1, 1
	if y.Rank() > 0 {
		a, err := tensor.Axis(axis, y.Rank())
		if err != nil {
			return nil, err
		}
		n, inner = y.Shape[a], y.Shape[a+1:].Len()
	}
	dx := e.New(d.DType, d.Shape...)
	return e.One(dx), byGrad(d.DType,
		func() error { softmaxGrad[float32](e, dx, y, d, n, inner, log); return nil },
		func() error { softmaxGrad[float64](e, dx, y, d, n, inner, log); return nil })
}

func softmaxGrad[T gradElems](e *graph.Env, dx, y, d *tensor.Tensor, n, inner int, log bool) {
	to, ys, ds := tensor.Data[T](dx), tensor.Data[T](y), tensor.Data[T](d)
	if len(to) == 0 {
		return
	}
	e.For(len(to)/n, max(1, elementGrain/n), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			at := r/inner*n*inner + r%inner
			sum := 0.0
			for i := at; i < at+n*inner; i += inner {
				if log {
					sum += float64(ds[i])
				} else {
					sum += float64(ds[i]) * float64(ys[i])
				}
			}
			for i := at; i < at+n*inner; i += inner {
				if log {
					to[i] = ds[i] - T(math.Exp(float64(ys[i]))*sum)
				} else {
					to[i] = ys[i] * (ds[i] - T(sum))
				}
			}
		}
	})
}
