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

// rowNorm is a normalization whose rows have n elements. A row has n/plane parameters of the scale, each for plane elements in a row; the first row
// has the first of them, and after groups rows they begin again.
type rowNorm struct {
	n, plane, groups int
	center           bool
	epsilon          float64
}

// normParts is how many parts of the rows are summed apart, so that sums do not depend on the number of threads.
const normParts = 32

// backward returns the gradients of x, scale and, with center, bias.
func (o *rowNorm) backward(e *graph.Env, x, scale, d *tensor.Tensor) (dx, dScale, dBias *tensor.Tensor, err error) {
	dx = e.New(d.DType, x.Shape...)
	gains, err := floatsOf(scale)
	if err != nil {
		return nil, nil, nil, err
	}
	rows, count := x.Len()/max(o.n, 1), len(gains)
	parts := min(rows, normParts)
	room := make([]float64, 2*count*max(parts, 1)) // of each part the sums for scale and bias
	err = byGrad(d.DType,
		func() error { return rowNormGrad[float32](e, o, x, d, dx, gains, room, rows, parts) },
		func() error { return rowNormGrad[float64](e, o, x, d, dx, gains, room, rows, parts) })
	if err != nil {
		return nil, nil, nil, err
	}
	for p := 1; p < parts; p++ {
		for i, v := range room[2*count*p : 2*count*(p+1)] {
			room[i] += v
		}
	}
	dScale, dBias = e.New(d.DType, scale.Shape...), e.New(d.DType, scale.Shape...)
	setFloats(dScale, func(i int) float64 { return room[i] })
	setFloats(dBias, func(i int) float64 { return room[count+i] })
	return dx, dScale, dBias, nil
}

func rowNormGrad[T gradElems](e *graph.Env, o *rowNorm, x, d, dx *tensor.Tensor, gains, room []float64, rows, parts int) error {
	xs, err := realData[T](x)
	if err != nil {
		return err
	}
	ds, to, count := tensor.Data[T](d), tensor.Data[T](dx), len(gains)
	e.For(parts, 1, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			sums := room[2*count*p : 2*count*(p+1)]
			for r := rows * p / parts; r < rows*(p+1)/parts; r++ {
				at, first := r*o.n, r%o.groups*(o.n/o.plane)
				rowNormRow(o, xs[at:at+o.n], ds[at:at+o.n], to[at:at+o.n], gains[first:], sums[first:], sums[count+first:])
			}
		}
	})
	return nil
}

// rowNormRow sets the gradient of a row and adds those of its parameters.
func rowNormRow[T gradElems](o *rowNorm, x, d, dx []T, gains, sums, biases []float64) {
	n := float64(o.n)
	mean, square := 0.0, 0.0
	if o.center {
		for _, v := range x {
			mean += float64(v)
		}
		mean /= n
	}
	for _, v := range x {
		square += (float64(v) - mean) * (float64(v) - mean)
	}
	inverse := 1 / math.Sqrt(square/n+o.epsilon)
	meanG, meanGX := 0.0, 0.0
	for k := range o.n / o.plane {
		gain, sum, bias := gains[k], 0.0, 0.0
		for i := k * o.plane; i < (k+1)*o.plane; i++ {
			v := float64(d[i])
			sum += v * (float64(x[i]) - mean)
			bias += v
		}
		sum *= inverse
		sums[k] += sum
		biases[k] += bias
		meanG += bias * gain
		meanGX += sum * gain
	}
	meanG, meanGX = meanG/n, meanGX/n
	if !o.center {
		meanG = 0
	}
	meanGX *= inverse
	for k := range o.n / o.plane {
		gain := gains[k]
		for i := k * o.plane; i < (k+1)*o.plane; i++ {
			dx[i] = T(inverse * (float64(d[i])*gain - meanG - (float64(x[i])-mean)*meanGX))
		}
	}
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
	o := &rowNorm{n: inner.Len(), plane: 1, groups: 1, center: center, epsilon: float64(epsilon)}
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
	o := &rowNorm{n: per * plane, plane: plane, groups: max(groups, 1), center: true, epsilon: float64(epsilon)}
	dx, dScale, dBias, err := o.backward(e, in[0], in[1], d)
	return gradList(len(in), dx, dScale, dBias), err
}
