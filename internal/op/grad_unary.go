package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of functions of one element: the gradient of the output times the derivative, which is found from the input or, where that is
// shorter, from the output.

// Recalls implements [graph.Recalling].
func (*Relu) Recalls() (in, out uint64) { return 0, operandSet(0) }

// BackwardOver says that the gradient of the input may be written over that of the output.
func (*Relu) BackwardOver() {}

// Backward implements [graph.Differentiable].
func (*Relu) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	y, d := out[0], dOut[0]
	if d.DType == tensor.Float64 {
		return mapGrad(e, d, y, func(y float64) float64 {
			if y > 0 {
				return 1
			}
			return 0
		})
	}
	if err := checkGrad(d.DType); err != nil {
		return nil, err
	}
	dx := e.NewOver(d)
	masking.For(e.Workers(), d.Len(), elementGrain, maskArgs{tensor.Data[float32](dx), tensor.Data[float32](d), tensor.Data[float32](y)}, (*maskArgs).rows)
	return e.One(dx), nil
}

var masking kernel.Jobs[maskArgs]

type maskArgs struct{ dx, d, y []float32 }

var logisticSlopes kernel.Jobs[maskArgs]

// logistic multiplies by the derivative of the logistic function, of which y is the value.
func (a *maskArgs) logistic(lo, hi int) {
	dx, d, y := a.dx[lo:hi], a.d[lo:hi], a.y[lo:hi]
	for i, v := range y {
		dx[i] = d[i] * v * (1 - v)
	}
}

func (a *maskArgs) rows(lo, hi int) { kernel.MaskPositive(a.dx[lo:hi], a.d[lo:hi], a.y[lo:hi]) }

// Recalls implements [graph.Recalling].
func (*Neg) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Neg) Backward(e *graph.Env, _, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return e.Single(scaledGrad(e, dOut[0], -1))
}

// eluSlope is the derivative of elu.
func eluSlope(x, gamma, alpha float64) float64 {
	if x < 0 {
		return gamma * alpha * math.Exp(x)
	}
	return gamma
}

// geluSlope is the derivative of the Gaussian error linear unit.
func geluSlope(x float64, tanh bool) float64 {
	if tanh {
		c := math.Sqrt(2 / math.Pi)
		t := math.Tanh(c * (x + 0.044715*x*x*x))
		return 0.5*(1+t) + 0.5*x*(1-t*t)*c*(1+3*0.044715*x*x)
	}
	return 0.5*math.Erfc(-x/math.Sqrt2) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
}

// Backward implements [graph.Differentiable].
func (*Abs) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		}
		return 0
	})
}

// Backward implements [graph.Differentiable].
func (*Reciprocal) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return -1 / (x * x)
	})
}

// Backward implements [graph.Differentiable].
func (*Log) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 1 / x
	})
}

// Backward implements [graph.Differentiable].
func (*Erf) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 2 / math.Sqrt(math.Pi) * math.Exp(-x*x)
	})
}

// Backward implements [graph.Differentiable].
func (*Sin) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return math.Cos(x)
	})
}

// Backward implements [graph.Differentiable].
func (*Cos) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return -math.Sin(x)
	})
}

// Backward implements [graph.Differentiable].
func (*Tan) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		c := math.Cos(x)
		return 1 / (c * c)
	})
}

// Backward implements [graph.Differentiable].
func (*Asin) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 1 / math.Sqrt(1-x*x)
	})
}

// Backward implements [graph.Differentiable].
func (*Acos) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return -1 / math.Sqrt(1-x*x)
	})
}

// Backward implements [graph.Differentiable].
func (*Atan) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 1 / (1 + x*x)
	})
}

// Backward implements [graph.Differentiable].
func (*Sinh) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return math.Cosh(x)
	})
}

// Backward implements [graph.Differentiable].
func (*Cosh) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return math.Sinh(x)
	})
}

// Backward implements [graph.Differentiable].
func (*Asinh) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 1 / math.Sqrt(x*x+1)
	})
}

// Backward implements [graph.Differentiable].
func (*Acosh) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 1 / math.Sqrt(x*x-1)
	})
}

// Backward implements [graph.Differentiable].
func (*Atanh) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return 1 / (1 - x*x)
	})
}

// Backward implements [graph.Differentiable].
func (o *LeakyRelu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		if x < 0 {
			return float64(o.Alpha)
		}
		return 1
	})
}

// Backward implements [graph.Differentiable].
func (o *ThresholdedRelu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		if x > float64(o.Alpha) {
			return 1
		}
		return 0
	})
}

// Backward implements [graph.Differentiable].
func (o *Elu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return eluSlope(x, 1, float64(o.Alpha))
	})
}

// Backward implements [graph.Differentiable].
func (o *Selu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return eluSlope(x, float64(o.Gamma), float64(o.Alpha))
	})
}

// Backward implements [graph.Differentiable].
func (o *Celu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		if x < 0 {
			return math.Exp(x / float64(o.Alpha))
		}
		return 1
	})
}

// Backward implements [graph.Differentiable].
func (o *HardSigmoid) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		if v := float64(o.Alpha)*x + float64(o.Beta); v > 0 && v < 1 {
			return float64(o.Alpha)
		}
		return 0
	})
}

// Backward implements [graph.Differentiable].
func (*HardSwish) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		switch {
		case x <= -3:
			return 0
		case x >= 3:
			return 1
		}
		return x/3 + 0.5
	})
}

// Backward implements [graph.Differentiable].
func (*Softplus) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return logistic(x)
	})
}

// Backward implements [graph.Differentiable].
func (*Softsign) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		s := 1 + math.Abs(x)
		return 1 / (s * s)
	})
}

// Backward implements [graph.Differentiable].
func (*Mish) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		t, s := math.Tanh(softplus(x)), logistic(x)
		return t + x*s*(1-t*t)
	})
}

// Backward implements [graph.Differentiable].
func (o *Swish) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		a := float64(o.Alpha)
		s := logistic(a * x)
		return s + a*x*s*(1-s)
	})
}

// Backward implements [graph.Differentiable].
func (o *Gelu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		return geluSlope(x, o.Approximate == "tanh")
	})
}

// Backward implements [graph.Differentiable].
func (o *Shrink) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], in[0], func(x float64) float64 {
		if x < -float64(o.Lambd) || x > float64(o.Lambd) {
			return 1
		}
		return 0
	})
}

// Recalls implements [graph.Recalling].
func (*Sign) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable]: constant but for steps, it has no gradient.
func (*Sign) Backward(_ *graph.Env, in, _, _ []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return make([]*tensor.Tensor, len(in)), nil
}

// Recalls implements [graph.Recalling].
func (*Ceil) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable]: constant but for steps, it has no gradient.
func (*Ceil) Backward(_ *graph.Env, in, _, _ []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return make([]*tensor.Tensor, len(in)), nil
}

// Recalls implements [graph.Recalling].
func (*Floor) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable]: constant but for steps, it has no gradient.
func (*Floor) Backward(_ *graph.Env, in, _, _ []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return make([]*tensor.Tensor, len(in)), nil
}

// Recalls implements [graph.Recalling].
func (*Round) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable]: constant but for steps, it has no gradient.
func (*Round) Backward(_ *graph.Env, in, _, _ []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return make([]*tensor.Tensor, len(in)), nil
}

// Recalls implements [graph.Recalling].
func (*Sqrt) Recalls() (in, out uint64) { return 0, operandSet(0) }

// Backward implements [graph.Differentiable].
func (*Sqrt) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], out[0], func(y float64) float64 { return 0.5 / y })
}

// Recalls implements [graph.Recalling].
func (*Exp) Recalls() (in, out uint64) { return 0, operandSet(0) }

// Backward implements [graph.Differentiable].
func (*Exp) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], out[0], func(y float64) float64 { return y })
}

// Recalls implements [graph.Recalling].
func (*Sigmoid) Recalls() (in, out uint64) { return 0, operandSet(0) }

// Backward implements [graph.Differentiable].
func (*Sigmoid) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	y, d := out[0], dOut[0]
	if d.DType != tensor.Float32 {
		return mapGrad(e, d, y, func(y float64) float64 { return y * (1 - y) })
	}
	dx := e.New(tensor.Float32, d.Shape...)
	logisticSlopes.For(e.Workers(), d.Len(), elementGrain, maskArgs{tensor.Data[float32](dx), tensor.Data[float32](d), tensor.Data[float32](y)}, (*maskArgs).logistic)
	return e.One(dx), nil
}

// Recalls implements [graph.Recalling].
func (*Tanh) Recalls() (in, out uint64) { return 0, operandSet(0) }

// Backward implements [graph.Differentiable].
func (*Tanh) Backward(e *graph.Env, _, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return mapGrad(e, dOut[0], out[0], func(y float64) float64 { return 1 - y*y })
}

// Backward implements [graph.Differentiable].
func (*PRelu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return sumEach(e, in, dOut[0], func(i int, d *tensor.Tensor) (*tensor.Tensor, error) {
		return pairGrad(e, d, in, func(d, x, slope float64) float64 {
			switch {
			case i == 0 && x < 0:
				return d * slope
			case i == 0:
				return d
			case x < 0:
				return d * x
			}
			return 0
		})
	})
}

// Recalls implements [graph.Recalling].
func (*Dropout) Recalls() (in, out uint64) { return operandSet(1, 2), operandSet(1) }

// Backward implements [graph.Differentiable].
func (*Dropout) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	list := gradList(len(in), dOut[0])
	if len(out) < 2 || out[1] == nil { // nothing was dropped
		return list, nil
	}
	ratio, training := 0.5, 0.0
	var err error
	if r := arg(in, 1); r != nil {
		if ratio, err = scalarFloat(r); err != nil {
			return nil, err
		}
	}
	if m := arg(in, 2); m != nil {
		if training, err = scalarFloat(m); err != nil {
			return nil, err
		}
	}
	if training == 0 || ratio == 0 {
		return list, nil
	}
	kept := tensor.Data[bool](out[1])
	d, err := scaledGrad(e, dOut[0], 1/(1-ratio))
	if err != nil {
		return nil, err
	}
	list[0] = d
	return list, byGrad(d.DType,
		func() error { dropGrad(tensor.Data[float32](d), kept); return nil },
		func() error { dropGrad(tensor.Data[float64](d), kept); return nil })
}

func dropGrad[T gradElems](d []T, kept []bool) {
	for i, k := range kept {
		if !k {
			d[i] = 0
		}
	}
}
