package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// FakeQuantize is QuantizeLinear and DequantizeLinear with the same parameters in one step,
//
//	y = (min(max(rne(x/scale)+Zero, Low), High) - Zero) * scale
//
// for training: x is float32 or float64 and scale of its type, one value or, with Axis at least 0, one for every index of that axis. Backward
// passes gradients straight through where a value is in range (Bengio et al., "Estimating or Propagating Gradients Through Stochastic
// Neurons"), and gives the scale that of a learned step size (Esser et al., "Learned Step Size Quantization"). It has no ONNX
// form and is never saved: what is saved is the pair.
type FakeQuantize struct {
	Axis            int // -1: one scale
	Low, High, Zero int32
	// Learn says that the scale has a gradient.
	Learn bool
	// PowerOfTwo rounds the scale to a power of two, through which its gradient passes straight.
	PowerOfTwo bool
}

func (*FakeQuantize) Kind() string { return "FakeQuantize" }

// Infer implements [graph.Op].
func (o *FakeQuantize) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	return one(retyped(in[0], in[0].DType), nil)
}

// smallestStep is the least scale: what is below it, such as one that learning has made negative, counts as it.
const smallestStep = 1e-8

// scalesOf returns the scale of every run of elements: their number, and how many elements lie together.
func (o *FakeQuantize) scalesOf(x, scale *tensor.Tensor) (values []float64, inner int, err error) {
	if err := checkGrad(x.DType); err != nil {
		return nil, 0, err
	}
	inner = x.Len()
	n := 1
	if o.Axis >= 0 {
		if o.Axis >= x.Rank() {
			return nil, 0, fmt.Errorf("axis %d is out of range for %v", o.Axis, x)
		}
		n, inner = x.Shape[o.Axis], x.Shape[o.Axis+1:].Len()
	}
	if scale.Len() != n {
		return nil, 0, fmt.Errorf("scale: want %d values, got shape %v", n, scale.Shape)
	}
	if values, err = scale.Float64s(); err != nil {
		return nil, 0, err
	}
	for i, s := range values {
		values[i] = o.Step(s)
	}
	return values, inner, nil
}

// Step is the scale that stands for a parameter.
func (o *FakeQuantize) Step(s float64) float64 {
	if !(s > smallestStep) {
		s = smallestStep
	}
	if o.PowerOfTwo {
		return float64(kernel.PowerOfTwo(float32(s)))
	}
	return s
}

// Eval implements [graph.Op].
func (o *FakeQuantize) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	scales, inner, err := o.scalesOf(x, in[1])
	if err != nil {
		return nil, err
	}
	y := e.New(x.DType, x.Shape...)
	lo, hi := float64(o.Low-o.Zero), float64(o.High-o.Zero)
	if x.DType == tensor.Float64 {
		to := tensor.Data[float64](y)
		for i, v := range tensor.Data[float64](x) {
			s := scales[i/max(inner, 1)%len(scales)]
			to[i] = min(max(math.RoundToEven(v/s), lo), hi) * s
		}
		return e.One(y), nil
	}
	a := fakeArgs{scales: scales, inner: inner, x: tensor.Data[float32](x), to: tensor.Data[float32](y), zero: float32(-lo), most: float32(hi - lo)}
	faking.For(e.Workers(), a.runs(), 1, a, (*fakeArgs).round)
	return e.One(y), nil
}

var faking kernel.Jobs[fakeArgs]

// fakeArgs are a loop over runs of elements of one scale, long ones cut into pieces.
type fakeArgs struct {
	scales     []float64
	inner      int
	x, to, d   []float32
	zero, most float32
	lo, hi     float32
	sums       []float64 // by run
}

// fakePiece is the most elements of a run.
const fakePiece = 1 << 14

// pieces is how many pieces elements of one scale that lie together are cut into.
func (a *fakeArgs) pieces() int { return (a.inner + fakePiece - 1) / fakePiece }

func (a *fakeArgs) runs() int {
	if a.inner == 0 {
		return 0
	}
	return len(a.x) / a.inner * a.pieces()
}

// run returns the elements and the scale of run i.
func (a *fakeArgs) run(i int) (lo, hi, scale int) {
	p := a.pieces()
	from := i / p * a.inner
	return from + i%p*fakePiece, min(from+(i%p+1)*fakePiece, from+a.inner), i / p % len(a.scales)
}

func (a *fakeArgs) round(first, last int) {
	for i := first; i < last; i++ {
		lo, hi, k := a.run(i)
		kernel.RoundToGrid(a.to[lo:hi], a.x[lo:hi], float32(a.scales[k]), a.zero, a.most)
	}
}

func (a *fakeArgs) back(first, last int) {
	for i := first; i < last; i++ {
		lo, hi, k := a.run(i)
		a.sums[i] = kernel.FakeQuantGrad(a.to[lo:hi], a.d[lo:hi], a.x[lo:hi], float32(a.scales[k]), a.lo, a.hi)
	}
}

// BackwardOver says that the gradient of x may be written over that of y.
func (*FakeQuantize) BackwardOver() {}

// Backward implements [graph.Differentiable]. The gradient of a scale is divided by the square root of the number of its elements times High-Zero,
// as Esser et al. do.
func (o *FakeQuantize) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	scales, inner, err := o.scalesOf(x, in[1])
	if err != nil {
		return nil, err
	}
	lo, hi := float64(o.Low-o.Zero), float64(o.High-o.Zero)
	sums := make([]float64, len(scales))
	var dx *tensor.Tensor
	if d.DType == tensor.Float64 {
		dx = e.New(d.DType, d.Shape...)
		to, ds := tensor.Data[float64](dx), tensor.Data[float64](d)
		for i, v := range tensor.Data[float64](x) {
			k := i / max(inner, 1) % len(scales)
			v /= scales[k]
			q := math.RoundToEven(v)
			switch {
			case q < lo:
				to[i] = 0
				sums[k] += ds[i] * lo
			case q > hi:
				to[i] = 0
				sums[k] += ds[i] * hi
			default:
				to[i] = ds[i]
				sums[k] += ds[i] * (q - v)
			}
		}
	} else {
		dx = e.NewOver(d)
		a := fakeArgs{scales: scales, inner: inner, x: tensor.Data[float32](x), d: tensor.Data[float32](d), to: tensor.Data[float32](dx), lo: float32(lo), hi: float32(hi)}
		parts := kernel.Borrow[float64](a.runs())
		defer parts.Release()
		a.sums = parts.Data
		faking.For(e.Workers(), a.runs(), 1, a, (*fakeArgs).back)
		for i, s := range parts.Data {
			_, _, k := a.run(i)
			sums[k] += s
		}
	}
	out := []*tensor.Tensor{dx, nil}
	if !o.Learn || !e.Wants(1) {
		return out, nil
	}
	g := 1 / math.Sqrt(float64(x.Len())/float64(len(scales))*max(hi, -lo, 1))
	out[1] = e.New(d.DType, in[1].Shape...)
	setFloats(out[1], func(i int) float64 { return sums[i] * g })
	return out, nil
}

// Backward implements [graph.Differentiable]: the codes stand for the quotient, through which gradients pass straight where it is in range.
// Scales and zero points have none.
func (o *QuantizeLinear) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	list := make([]*tensor.Tensor, len(in))
	if dOut[0] == nil || !e.Wants(0) {
		return list, nil
	}
	x, d := in[0], dOut[0]
	g, err := newScales(x.Shape, in[1].Shape, o.Axis, o.BlockSize)
	if err != nil {
		return nil, err
	}
	scale, err := in[1].Floats()
	if err != nil {
		return nil, err
	}
	codes := out[0]
	if smallFloats.has(codes.DType) {
		return nil, fmt.Errorf("there is no gradient through codes of %v", codes.DType)
	}
	zero, err := zeroPoints(arg(in, 2), g.count)
	if err != nil {
		return nil, err
	}
	xs, err := x.Floats()
	if err != nil {
		return nil, err
	}
	ds, err := d.Floats()
	if err != nil {
		return nil, err
	}
	low, high := codes.DType.IntRange()
	dx := e.New(tensor.Float32, x.Shape...)
	to := tensor.Data[float32](dx)
	g.each(e, func(start, n, s int, each bool) {
		for i := start; i < start+n; i++ {
			k := s
			if each {
				k += i - start
			}
			q := math.RoundToEven(float64(xs[i]/scale[k])) + float64(atOr(zero, k))
			to[i] = 0
			if q >= float64(low) && q <= float64(high) {
				to[i] = ds[i] / scale[k]
			}
		}
	})
	list[0] = dx
	return list, nil
}

// Recalls implements [graph.Recalling].
func (*QuantizeLinear) Recalls() (in, out uint64) { return ^uint64(0), 0 }

// Recalls implements [graph.Recalling].
func (*DequantizeLinear) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable]: that of the codes is the gradient times the scale.
func (o *DequantizeLinear) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	list := make([]*tensor.Tensor, len(in))
	if dOut[0] == nil || !e.Wants(0) {
		return list, nil
	}
	g, err := newScales(dOut[0].Shape, in[1].Shape, o.Axis, o.BlockSize)
	if err != nil {
		return nil, err
	}
	scale, err := in[1].Floats()
	if err != nil {
		return nil, err
	}
	ds, err := dOut[0].Floats()
	if err != nil {
		return nil, err
	}
	dx := e.New(tensor.Float32, dOut[0].Shape...)
	to := tensor.Data[float32](dx)
	g.each(e, func(start, n, s int, each bool) {
		for i := start; i < start+n; i++ {
			k := s
			if each {
				k += i - start
			}
			to[i] = ds[i] * scale[k]
		}
	})
	list[0] = dx
	return list, nil
}
