package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var activationOps = table{
	"Relu": fresh[Relu], "LeakyRelu": fresh[LeakyRelu], "PRelu": fresh[PRelu], "ThresholdedRelu": fresh[ThresholdedRelu],
	"Elu": fresh[Elu], "Selu": fresh[Selu], "Celu": fresh[Celu], "Sigmoid": fresh[Sigmoid], "HardSigmoid": fresh[HardSigmoid],
	"HardSwish": fresh[HardSwish], "Softplus": fresh[Softplus], "Softsign": fresh[Softsign], "Gelu": fresh[Gelu],
	"Mish": fresh[Mish], "Swish": fresh[Swish], "Shrink": fresh[Shrink], "Dropout": fresh[Dropout],
	"Softmax": fresh[Softmax], "LogSoftmax": fresh[LogSoftmax], "Hardmax": fresh[Hardmax],
}

// Relu is max(x, 0).
type Relu struct{}

func (*Relu) Kind() string { return "Relu" }

func (*Relu) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, floats|signed) }

func (*Relu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalUnary(e, in, floats|signed, rectify)
}

// LeakyRelu is x, or alpha*x where x < 0.
type LeakyRelu struct {
	real1
	Alpha float32 `attr:"alpha,0.01"`
}

func (*LeakyRelu) Kind() string { return "LeakyRelu" }

func (o *LeakyRelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		for i, v := range x {
			if v < 0 {
				v *= o.Alpha
			}
			dst[i] = v
		}
	}, func(v float64) float64 {
		if v < 0 {
			v *= float64(o.Alpha)
		}
		return v
	})
}

// PRelu is x, or slope*x where x < 0; the slope is broadcast to x.
type PRelu struct{}

var slopes = floats | wideInts

func (*PRelu) Kind() string { return "PRelu" }

func (*PRelu) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 2, slopes)
	if err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

func (*PRelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	x, slope := in[0], in[1]
	shape, err := broadcastShapes(x, slope)
	if err != nil {
		return nil, err
	}
	if !shape.Equal(x.Shape) {
		return nil, fmt.Errorf("slope of shape %v does not broadcast to %v", slope.Shape, x.Shape)
	}
	w := newBroadcast(shape, x.Shape, slope.Shape)
	out := e.New(x.DType, shape...)
	switch x.DType {
	case tensor.Float32:
		zip(e, w, tensor.Data[float32](out), tensor.Data[float32](x), tensor.Data[float32](slope), leak[float32])
	case tensor.Float64:
		zip(e, w, tensor.Data[float64](out), tensor.Data[float64](x), tensor.Data[float64](slope), leak[float64])
	case tensor.Float16:
		zip(e, w, tensor.Data[tensor.Half](out), tensor.Data[tensor.Half](x), tensor.Data[tensor.Half](slope), throughF32[tensor.Half](leak[float32]))
	case tensor.BFloat16:
		zip(e, w, tensor.Data[tensor.BF16](out), tensor.Data[tensor.BF16](x), tensor.Data[tensor.BF16](slope), throughF32[tensor.BF16](leak[float32]))
	case tensor.Int32:
		zip(e, w, tensor.Data[int32](out), tensor.Data[int32](x), tensor.Data[int32](slope), leak[int32])
	case tensor.Int64:
		zip(e, w, tensor.Data[int64](out), tensor.Data[int64](x), tensor.Data[int64](slope), leak[int64])
	case tensor.Uint32, tensor.Uint64:
		return in[:1:1], nil // nothing is below zero
	default:
		return nil, slopes.check(0, x.DType)
	}
	return []*tensor.Tensor{out}, nil
}

func leak[T number](dst, x, slope []T) {
	for i, v := range x {
		if v < 0 {
			v *= slope[i]
		}
		dst[i] = v
	}
}

// ThresholdedRelu is x where x > alpha, else 0.
type ThresholdedRelu struct {
	real1
	Alpha float32 `attr:"alpha,1"`
}

func (*ThresholdedRelu) Kind() string { return "ThresholdedRelu" }

func (o *ThresholdedRelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	alpha := float64(o.Alpha)
	return evalReal(e, in, nil, func(v float64) float64 {
		if v > alpha {
			return v
		}
		return 0
	})
}

// Elu is x, or alpha*(e^x-1) where x < 0 (Clevert et al., "Exponential Linear Units").
type Elu struct {
	real1
	Alpha float32 `attr:"alpha,1"`
}

func (*Elu) Kind() string { return "Elu" }

func (o *Elu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, elu(1, float64(o.Alpha)))
}

// elu returns gamma*x, or gamma*alpha*(e^x-1) where x < 0.
func elu(gamma, alpha float64) func(float64) float64 {
	return func(v float64) float64 {
		if v < 0 {
			return gamma * alpha * math.Expm1(v)
		}
		return gamma * v
	}
}

// Selu is gamma*x, or gamma*alpha*(e^x-1) where x < 0 (Klambauer et al., "Self-Normalizing Neural Networks").
type Selu struct {
	real1
	Alpha float32 `attr:"alpha,1.67326319217681884765625"`
	Gamma float32 `attr:"gamma,1.05070102214813232421875"`
}

func (*Selu) Kind() string { return "Selu" }

func (o *Selu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, elu(float64(o.Gamma), float64(o.Alpha)))
}

// Celu is max(0, x) + min(0, alpha*(e^(x/alpha)-1)) (Barron, "Continuously Differentiable Exponential Linear Units").
type Celu struct {
	real1
	Alpha float32 `attr:"alpha,1"`
}

func (*Celu) Kind() string { return "Celu" }

func (o *Celu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	alpha := float64(o.Alpha)
	return evalReal(e, in, nil, func(v float64) float64 {
		return max(0, v) + min(0, alpha*math.Expm1(v/alpha))
	})
}

// Sigmoid is 1/(1+e^-x).
type Sigmoid struct{ real1 }

func (*Sigmoid) Kind() string { return "Sigmoid" }

func (*Sigmoid) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, kernel.Sigmoid, logistic)
}

func logistic(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

// HardSigmoid is alpha*x+beta limited to 0..1.
type HardSigmoid struct {
	real1
	Alpha float32 `attr:"alpha,0.2"`
	Beta  float32 `attr:"beta,0.5"`
}

func (*HardSigmoid) Kind() string { return "HardSigmoid" }

func (o *HardSigmoid) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	alpha, beta := float64(o.Alpha), float64(o.Beta)
	return evalReal(e, in, func(dst, x []float32) {
		kernel.ScaleShift(dst, x, o.Alpha, o.Beta)
		kernel.Clip(dst, dst, 0, 1)
	}, func(v float64) float64 { return min(max(alpha*v+beta, 0), 1) })
}

// HardSwish is x * min(max(x/6+1/2, 0), 1) (Howard et al., "Searching for MobileNetV3").
type HardSwish struct{ real1 }

func (*HardSwish) Kind() string { return "HardSwish" }

func (*HardSwish) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		var gate [block]float32
		for i := 0; i < len(x); i += block {
			n := min(block, len(x)-i)
			g := gate[:n]
			kernel.ScaleShift(g, x[i:i+n], 1.0/6, 0.5)
			kernel.Clip(g, g, 0, 1)
			kernel.Mul(dst[i:i+n], g, x[i:i+n])
		}
	}, func(v float64) float64 { return v * min(max(v/6+0.5, 0), 1) })
}

// Softplus is log(1+e^x).
type Softplus struct{ real1 }

func (*Softplus) Kind() string { return "Softplus" }

func (*Softplus) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, softplus)
}

func softplus(v float64) float64 {
	if v > 0 { // the exponential of a large x would overflow
		return v + math.Log1p(math.Exp(-v))
	}
	return math.Log1p(math.Exp(v))
}

// Softsign is x/(1+|x|).
type Softsign struct{ real1 }

func (*Softsign) Kind() string { return "Softsign" }

func (*Softsign) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, func(v float64) float64 { return v / (1 + math.Abs(v)) })
}

// Mish is x*tanh(softplus(x)) (Misra, "Mish: A Self Regularized Non-Monotonic Activation Function").
type Mish struct{ real1 }

func (*Mish) Kind() string { return "Mish" }

func (*Mish) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, func(v float64) float64 { return v * math.Tanh(softplus(v)) })
}

// Swish is x*sigmoid(alpha*x) (Ramachandran et al., "Searching for Activation Functions").
type Swish struct {
	real1
	Alpha float32 `attr:"alpha,1"`
}

func (*Swish) Kind() string { return "Swish" }

func (o *Swish) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	alpha := float64(o.Alpha)
	row := kernel.SiLU
	if o.Alpha != 1 {
		row = nil
	}
	return evalReal(e, in, row, func(v float64) float64 { return v * logistic(alpha*v) })
}

// Gelu is x times the normal distribution function of x (Hendrycks and Gimpel, "Gaussian Error Linear Units"), by the error
// function or, with Approximate "tanh", by their approximation.
type Gelu struct {
	Approximate string `attr:"approximate,none"`
}

func (*Gelu) Kind() string { return "Gelu" }

func (o *Gelu) Infer(in []graph.Type) ([]graph.Type, error) {
	if o.Approximate != "none" && o.Approximate != "tanh" {
		return nil, fmt.Errorf("approximate: want none or tanh, got %q", o.Approximate)
	}
	return inferUnary(in, floats)
}

func (o *Gelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if o.Approximate == "tanh" {
		return evalReal(e, in, kernel.GeluTanh, func(v float64) float64 {
			return 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		})
	}
	return evalReal(e, in, kernel.Gelu, func(v float64) float64 { return 0.5 * v * math.Erfc(-v/math.Sqrt2) })
}

// Shrink is x+bias where x < -lambd, x-bias where x > lambd, and 0 between.
type Shrink struct {
	Bias  float32 `attr:"bias,0"`
	Lambd float32 `attr:"lambd,0.5"`
}

func (*Shrink) Kind() string { return "Shrink" }

func (*Shrink) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, numbers) }

func (o *Shrink) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	t, err := single(in, numbers)
	if err != nil {
		return nil, err
	}
	f := func(v float64) float64 {
		switch {
		case v < -float64(o.Lambd):
			return v + float64(o.Bias)
		case v > float64(o.Lambd):
			return v - float64(o.Bias)
		}
		return 0
	}
	if floats.has(t.DType) {
		return []*tensor.Tensor{mapReal(e, t, nil, f)}, nil
	}
	wide, err := castTensor(e, t, tensor.Float64, castMode{})
	if err != nil {
		return nil, err
	}
	return one(castTensor(e, mapReal(e, wide, nil, f), t.DType, castMode{}))
}
