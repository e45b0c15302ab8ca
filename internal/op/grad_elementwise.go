package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of arithmetic with broadcasting: that of an operand is summed over what it was repeated along.

// Recalls implements [graph.Recalling].
func (*Add) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Add) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return sumEach(e, in, dOut[0], nil)
}

// Recalls implements [graph.Recalling].
func (*Sub) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Sub) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return sumEach(e, in, dOut[0], func(i int, d *tensor.Tensor) (*tensor.Tensor, error) {
		if i == 0 {
			return d, nil
		}
		return scaledGrad(e, d, -1)
	})
}

// sumEach gives every input the gradient that f makes of d for it, summed to its shape.
func sumEach(e *graph.Env, in []*tensor.Tensor, d *tensor.Tensor, f func(i int, d *tensor.Tensor) (*tensor.Tensor, error)) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(in))
	for i, t := range in {
		if t == nil || !e.Wants(i) {
			continue
		}
		own, err := d, error(nil)
		if f != nil {
			if own, err = f(i, d); err != nil {
				return nil, err
			}
			if own == nil {
				continue
			}
		}
		if out[i], err = sumTo(e, own, t.Shape); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Backward implements [graph.Differentiable].
func (*Mul) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return sumEach(e, in, dOut[0], func(i int, d *tensor.Tensor) (*tensor.Tensor, error) { return multiplied(e, d, in[1-i]) })
}

// Backward implements [graph.Differentiable].
func (*Div) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return sumEach(e, in, dOut[0], func(i int, d *tensor.Tensor) (*tensor.Tensor, error) {
		q, err := arithTensor(e, d, in[1], division)
		if i == 0 || err != nil {
			return q, err
		}
		return pairGrad(e, q, in, func(d, a, b float64) float64 { return -d * a / b })
	})
}

// pairGrad computes f of d, which has the shape of the output, and two broadcast operands.
func pairGrad(e *graph.Env, d *tensor.Tensor, in []*tensor.Tensor, f func(d, a, b float64) float64) (*tensor.Tensor, error) {
	out := e.New(d.DType, d.Shape...)
	err := byGrad(d.DType,
		func() error { pairGradOf[float32](e, out, d, in, f); return nil },
		func() error { pairGradOf[float64](e, out, d, in, f); return nil })
	return out, err
}

func pairGradOf[T gradElems](e *graph.Env, out, d *tensor.Tensor, in []*tensor.Tensor, f func(d, a, b float64) float64) {
	w := newBroadcast(d.Shape, in[0].Shape, in[1].Shape)
	y, g, a, b := tensor.Data[T](out), tensor.Data[T](d), tensor.Data[T](in[0]), tensor.Data[T](in[1])
	e.For(w.n, elementGrain/16, func(lo, hi int) {
		w.each(lo, hi, func(at, n int, from []int) {
			i, j := from[0], from[1]
			for k := at; k < at+n; k++ {
				y[k] = T(f(float64(g[k]), float64(a[i]), float64(b[j])))
				i += w.step[0]
				j += w.step[1]
			}
		})
	})
}

// Backward implements [graph.Differentiable].
func (*Pow) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, y := in[0], in[1]
	var err error
	if y.DType != x.DType {
		if y, err = castTensor(e, y, x.DType, castMode{}); err != nil {
			return nil, err
		}
	}
	same := []*tensor.Tensor{x, y}
	return sumEach(e, same, dOut[0], func(i int, d *tensor.Tensor) (*tensor.Tensor, error) {
		if i == 0 {
			return pairGrad(e, d, same, func(d, a, b float64) float64 {
				if b == 0 {
					return 0
				}
				return d * b * math.Pow(a, b-1)
			})
		}
		if in[1].DType != x.DType {
			return nil, nil
		}
		return pairGrad(e, d, same, func(d, a, b float64) float64 {
			if a == 0 {
				return 0
			}
			return d * math.Pow(a, b) * math.Log(a)
		})
	})
}

// Backward implements [graph.Differentiable].
func (*Min) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return extremeGrad(e, in, dOut[0], minimum)
}

// Backward implements [graph.Differentiable].
func (*Max) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return extremeGrad(e, in, dOut[0], maximum)
}

// extremeGrad shares the gradient out between the inputs that are the extreme.
func extremeGrad(e *graph.Env, in []*tensor.Tensor, d *tensor.Tensor, op arith) ([]*tensor.Tensor, error) {
	y, err := foldArith(e, in, floats, op)
	if err != nil {
		return nil, err
	}
	count := make([]float64, d.Len())
	each := func(t *tensor.Tensor, f func(k int, x, y float64)) error {
		return byGrad(d.DType,
			func() error { eachPair(y, t, tensor.Data[float32](y), tensor.Data[float32](t), f); return nil },
			func() error { eachPair(y, t, tensor.Data[float64](y), tensor.Data[float64](t), f); return nil })
	}
	for _, t := range in {
		if err := each(t, func(k int, x, y float64) {
			if x == y {
				count[k]++
			}
		}); err != nil {
			return nil, err
		}
	}
	g, err := floatsOf(d)
	if err != nil {
		return nil, err
	}
	return sumEach(e, in, d, func(i int, d *tensor.Tensor) (*tensor.Tensor, error) {
		own := make([]float64, d.Len())
		if err := each(in[i], func(k int, x, y float64) {
			if x == y {
				own[k] = g[k] / count[k]
			}
		}); err != nil {
			return nil, err
		}
		return castTensor(e, tensor.Of(d.Shape, own), d.DType, castMode{})
	})
}

// eachPair calls f for every element of y with that of t, which is broadcast to it.
func eachPair[T gradElems](y, t *tensor.Tensor, ys, ts []T, f func(k int, x, y float64)) {
	w := newBroadcast(y.Shape, t.Shape)
	w.each(0, w.n, func(at, n int, from []int) {
		i := from[0]
		for k := at; k < at+n; k++ {
			f(k, float64(ts[i]), float64(ys[k]))
			i += w.step[0]
		}
	})
}

// Recalls implements [graph.Recalling].
func (*Sum) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Sum) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return sumEach(e, in, dOut[0], nil)
}

// Recalls implements [graph.Recalling].
func (*Mean) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Mean) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d, err := scaledGrad(e, dOut[0], 1/float64(len(in)))
	if err != nil {
		return nil, err
	}
	return sumEach(e, in, d, nil)
}

// Recalls implements [graph.Recalling].
func (*Where) Recalls() (in, out uint64) { return operandSet(0), 0 }

// Backward implements [graph.Differentiable].
func (*Where) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d := dOut[0]
	zero := tensor.New(d.DType)
	return sumEach(e, in, d, func(i int, d *tensor.Tensor) (*tensor.Tensor, error) {
		pick := []*tensor.Tensor{in[0], d, zero}
		switch i {
		case 0:
			return nil, nil
		case 2:
			pick[1], pick[2] = zero, d
		}
		return onlyOne((&Where{}).Eval(e, pick))
	})
}

// onlyOne returns the first of some outputs.
func onlyOne(out []*tensor.Tensor, err error) (*tensor.Tensor, error) {
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Backward implements [graph.Differentiable]. Limits have gradients from the elements that they hold back.
func (*Clip) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d, lo, hi := dOut[0], math.Inf(-1), math.Inf(1)
	var err error
	if t := arg(in, 1); t != nil {
		if lo, err = scalarFloat(t); err != nil {
			return nil, err
		}
	}
	if t := arg(in, 2); t != nil {
		if hi, err = scalarFloat(t); err != nil {
			return nil, err
		}
	}
	dx, err := mapGrad(e, d, in[0], func(x float64) float64 {
		if x >= lo && x <= hi {
			return 1
		}
		return 0
	})
	if err != nil {
		return nil, err
	}
	out := gradList(len(in), dx[0])
	for i := 1; i < len(in); i++ {
		if in[i] == nil || !e.Wants(i) {
			continue
		}
		held := func(x float64) float64 {
			if i == 1 && x < lo && lo <= hi || i == 2 && x > hi || i == 2 && lo > hi {
				return 1
			}
			return 0
		}
		own, err := mapGrad(e, d, in[0], held)
		if err != nil {
			return nil, err
		}
		if out[i], err = sumTo(e, own[0], in[i].Shape); err != nil {
			return nil, err
		}
	}
	return out, nil
}
