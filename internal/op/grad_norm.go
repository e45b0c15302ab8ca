package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of normalizations over rows of n elements. With x^ = (x-mean)*inverse, g the gradient of the output times the scale, and means over
// the row,
//
//	dx = inverse * (g - mean(g) - x^*mean(g*x^))
//
// and without the second term where no mean is taken off (Ba et al.; Wu and He; Zhang and Sennrich).

// rowNorm is a normalization whose rows have n elements; element i of row r is scaled by value param(r, i) of the scale.
type rowNorm struct {
	n       int
	center  bool
	epsilon float64
	param   func(row, i int) int
}

// backward returns the gradients of x, scale and, with center, bias.
func (o *rowNorm) backward(e *graph.Env, x, scale, d *tensor.Tensor) (dx, dScale, dBias *tensor.Tensor, err error) {
	dx = e.New(d.DType, x.Shape...)
	gains, err := floatsOf(scale)
	if err != nil {
		return nil, nil, nil, err
	}
	sums, biases := make([]float64, len(gains)), make([]float64, len(gains))
	err = byGrad(d.DType,
		func() error { return rowNormGrad[float32](o, x, d, dx, gains, sums, biases) },
		func() error { return rowNormGrad[float64](o, x, d, dx, gains, sums, biases) })
	if err != nil {
		return nil, nil, nil, err
	}
	dScale, dBias = e.New(d.DType, scale.Shape...), e.New(d.DType, scale.Shape...)
	setFloats(dScale, func(i int) float64 { return sums[i] })
	setFloats(dBias, func(i int) float64 { return biases[i] })
	return dx, dScale, dBias, nil
}

func rowNormGrad[T gradElems](o *rowNorm, x, d, dx *tensor.Tensor, gains, sums, biases []float64) error {
	xs, err := realData[T](x)
	if err != nil {
		return err
	}
	ds, to := tensor.Data[T](d), tensor.Data[T](dx)
	if o.n == 0 {
		return nil
	}
	hat, g := make([]float64, o.n), make([]float64, o.n)
	n := float64(o.n)
	for r := range len(xs) / o.n {
		row, dRow, out := xs[r*o.n:(r+1)*o.n], ds[r*o.n:(r+1)*o.n], to[r*o.n:(r+1)*o.n]
		mean, square := 0.0, 0.0
		if o.center {
			for _, v := range row {
				mean += float64(v)
			}
			mean /= n
		}
		for i, v := range row {
			hat[i] = float64(v) - mean
			square += hat[i] * hat[i]
		}
		inverse := 1 / math.Sqrt(square/n+o.epsilon)
		meanG, meanGX := 0.0, 0.0
		for i, v := range dRow {
			k := o.param(r, i)
			hat[i] *= inverse
			sums[k] += float64(v) * hat[i]
			biases[k] += float64(v)
			g[i] = float64(v) * gains[k]
			meanG += g[i]
			meanGX += g[i] * hat[i]
		}
		meanG, meanGX = meanG/n, meanGX/n
		if !o.center {
			meanG = 0
		}
		for i := range out {
			out[i] = T(inverse * (g[i] - meanG - hat[i]*meanGX))
		}
	}
	return nil
}

// Recalls implements [graph.Recalling].
func (*LayerNormalization) Recalls() (in, out uint64) { return operandSet(0, 1), 0 }

// Backward implements [graph.Differentiable]. The statistics have no gradient.
func (o *LayerNormalization) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	dx, dScale, dBias, err := lastNorm(e, o.Axis, true, o.Epsilon, in, dOut[0])
	if err != nil {
		return nil, err
	}
	list := gradList(len(in), dx, dScale)
	if arg(in, 2) != nil {
		if list[2], err = sumTo(e, dBias, in[2].Shape); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// lastNorm is Backward of a normalization of the dimensions from axis on, with a scale that is broadcast to them.
func lastNorm(e *graph.Env, axis int, center bool, epsilon float32, in []*tensor.Tensor, d *tensor.Tensor) (dx, dScale, dBias *tensor.Tensor, err error) {
	if d == nil {
		return nil, nil, nil, fmt.Errorf("only the normalized output has a gradient")
	}
	x, scale := in[0], in[1]
	a, err := tensor.Axis(axis, x.Rank())
	if err != nil {
		return nil, nil, nil, err
	}
	inner := x.Shape[a:]
	if extra := scale.Rank() - len(inner); extra > 0 {
		if scale.Shape[:extra].Len() != 1 {
			return nil, nil, nil, fmt.Errorf("there is no gradient of a scale %v that differs from row to row", scale)
		}
		scale = scale.Reshape(scale.Shape[extra:]...)
	}
	wide, err := expand(e, scale, inner)
	if err != nil {
		return nil, nil, nil, err
	}
	o := &rowNorm{n: inner.Len(), center: center, epsilon: float64(epsilon), param: func(_, i int) int { return i }}
	dx, dScale, dBias, err = o.backward(e, x, wide, d)
	if err == nil {
		dScale, err = sumTo(e, dScale, in[1].Shape)
	}
	return dx, dScale, dBias, err
}

// Recalls implements [graph.Recalling].
func (*RMSNormalization) Recalls() (in, out uint64) { return operandSet(0, 1), 0 }

// Backward implements [graph.Differentiable].
func (o *RMSNormalization) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	dx, dScale, _, err := lastNorm(e, o.Axis, false, o.Epsilon, in, dOut[0])
	return gradList(len(in), dx, dScale), err
}

// Recalls implements [graph.Recalling].
func (*InstanceNormalization) Recalls() (in, out uint64) { return operandSet(0, 1), 0 }

// Backward implements [graph.Differentiable].
func (o *InstanceNormalization) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return groupNorm(e, in[0].Shape[1], o.Epsilon, in, dOut[0])
}

// Recalls implements [graph.Recalling].
func (*GroupNormalization) Recalls() (in, out uint64) { return operandSet(0, 1), 0 }

// Backward implements [graph.Differentiable].
func (o *GroupNormalization) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return groupNorm(e, o.NumGroups, o.Epsilon, in, dOut[0])
}

func groupNorm(e *graph.Env, groups int, epsilon float32, in []*tensor.Tensor, d *tensor.Tensor) ([]*tensor.Tensor, error) {
	channels, plane := in[0].Shape[1], max(in[0].Shape[2:].Len(), 1)
	per := channels / max(groups, 1)
	o := &rowNorm{n: per * plane, center: true, epsilon: float64(epsilon), param: func(r, i int) int { return r%groups*per + i/plane }}
	dx, dScale, dBias, err := o.backward(e, in[0], in[1], d)
	return gradList(len(in), dx, dScale, dBias), err
}
