package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// LayerNormalization is the ONNX operator LayerNormalization (Ba et al.) over the dimensions from Axis on. Beside Y it returns
// the mean and the inverse standard deviation of each row. Moments are computed in float32 whatever the input type, in float64
// for float64.
type LayerNormalization struct {
	Axis      int     `attr:"axis,-1"`
	Epsilon   float32 `attr:"epsilon,1e-5"`
	StashType int     `attr:"stash_type,1"` // element type of mean and inverse standard deviation
}

func (*LayerNormalization) Kind() string { return "LayerNormalization" }

func (o *LayerNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	out, err := inferNorm(in, 2, 3)
	if err != nil {
		return nil, err
	}
	stash, err := stashType(o.StashType)
	if err != nil {
		return nil, err
	}
	stat := graph.Unranked(stash)
	if in[0].Ranked {
		axis, err := tensor.Axis(o.Axis, len(in[0].Dims))
		if err != nil {
			return nil, err
		}
		stat.Ranked = true
		for i, d := range in[0].Dims {
			if i >= axis {
				d = graph.Known(1)
			}
			stat.Dims = append(stat.Dims, d)
		}
	}
	return append(out, stat, stat), nil
}

// stashType is the element type that statistics are returned in.
func stashType(attr int) (tensor.DType, error) {
	stash := tensor.DType(attr)
	if attr != int(stash) || !floats.has(stash) {
		return 0, fmt.Errorf("stash_type: %d is not a floating-point type", attr)
	}
	return stash, nil
}

func (o *LayerNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	stash, err := stashType(o.StashType)
	if err != nil {
		return nil, err
	}
	if t, ok := o.plain(e, in); ok {
		return e.One(t), nil
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalLayerNorm[float32](e, o, stash, in) },
		func() ([]*tensor.Tensor, error) { return evalLayerNorm[float64](e, o, stash, in) })
}

// plain normalizes float32 rows with the same float32 scale and bias for all, where statistics are not wanted; false if that is not
// what is asked for.
func (o *LayerNormalization) plain(e *graph.Env, in []*tensor.Tensor) (*tensor.Tensor, bool) {
	x, scale, bias := in[0], in[1], arg(in, 2)
	axis, err := tensor.Axis(o.Axis, x.Rank())
	if err != nil || x.DType != tensor.Float32 || e.Wants(1) || e.Wants(2) {
		return nil, false
	}
	a := normArgs{x: tensor.Data[float32](x), rows: x.Shape[:axis].Len(), cols: x.Shape[axis:].Len(), epsilon: float64(o.Epsilon)}
	for _, p := range []struct {
		t  *tensor.Tensor
		to *[]float32
	}{{scale, &a.scale}, {bias, &a.bias}} {
		if p.t == nil {
			continue
		}
		if p.t.DType != tensor.Float32 || !p.t.Shape.Equal(x.Shape[axis:]) {
			return nil, false
		}
		*p.to = tensor.Data[float32](p.t)
	}
	y := e.New(tensor.Float32, x.Shape...)
	a.y = tensor.Data[float32](y)
	normalizing.For(e.Workers(), a.rows, max(1, elementGrain/max(a.cols, 1)), a, (*normArgs).normalize)
	return y, true
}

var normalizing kernel.Jobs[normArgs]

type normArgs struct {
	x, y, scale, bias []float32
	rows, cols        int
	epsilon           float64
}

func (a *normArgs) normalize(lo, hi int) {
	for r := lo; r < hi; r++ {
		dst := a.y[r*a.cols : (r+1)*a.cols]
		_, inverse := moments(dst, a.x[r*a.cols:(r+1)*a.cols], a.epsilon)
		scaleRow(dst, dst, inverse, 0)
		affineRow(dst, a.scale, a.bias)
	}
}

// rowsFrom splits a shape at axis into rows and the row length.
func rowsFrom(axis int, shape tensor.Shape) (rows, cols int, stat tensor.Shape, err error) {
	axis, err = tensor.Axis(axis, len(shape))
	if err != nil {
		return 0, 0, nil, err
	}
	stat = shape.Clone()
	for i := axis; i < len(stat); i++ {
		stat[i] = 1
	}
	return shape[:axis].Len(), shape[axis:].Len(), stat, nil
}

// rowParam is a scale or bias that broadcasts to the input: the same for every row if it has only trailing dimensions.
func rowParam[T float32 | float64](e *graph.Env, t *tensor.Tensor, x tensor.Shape, cols int) (func(row int) []T, error) {
	if t == nil {
		return func(int) []T { return nil }, nil
	}
	v, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	if s, err := tensor.Broadcast(x, t.Shape); err != nil || !s.Equal(x) {
		return nil, fmt.Errorf("scale or bias: shape %v does not broadcast to %v", t.Shape, x)
	}
	if len(v) == cols && leadingOnes(t.Shape, cols) {
		return func(int) []T { return v }, nil
	}
	full := make([]T, x.Len())
	fillBroadcast(e, full, x, v, t.Shape)
	return func(row int) []T { return full[row*cols : (row+1)*cols] }, nil
}

// leadingOnes reports whether a shape of n elements is trailing dimensions of n elements behind ones.
func leadingOnes(s tensor.Shape, n int) bool {
	size := 1
	for i := len(s) - 1; i >= 0 && size < n; i-- {
		size *= s[i]
	}
	return size == n
}

func evalLayerNorm[T float32 | float64](e *graph.Env, o *LayerNormalization, stash tensor.DType, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	t := in[0]
	rows, cols, stat, err := rowsFrom(o.Axis, t.Shape)
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	scale, err := rowParam[T](e, in[1], t.Shape, cols)
	if err != nil {
		return nil, err
	}
	bias, err := rowParam[T](e, arg(in, 2), t.Shape, cols)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, t.DType, t.Shape)
	means, inverses := make([]T, rows), make([]T, rows)
	e.For(rows, max(1, elementGrain/max(cols, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst := y[r*cols : (r+1)*cols]
			means[r], inverses[r] = moments(dst, x[r*cols:(r+1)*cols], float64(o.Epsilon))
			scaleRow(dst, dst, inverses[r], 0)
			affineRow(dst, scale(r), bias(r))
		}
	})
	return []*tensor.Tensor{done(), statTensor(stash, stat, means), statTensor(stash, stat, inverses)}, nil
}

// statTensor makes a tensor of element type d of per-row statistics.
func statTensor[T float32 | float64](d tensor.DType, shape tensor.Shape, v []T) *tensor.Tensor {
	if d == tensor.DTypeOf[T]() {
		return tensor.Of(shape, v)
	}
	wide := make([]float64, len(v))
	for i, x := range v {
		wide[i] = float64(x)
	}
	t, err := tensor.FromFloat64s(d, shape, wide)
	if err != nil {
		panic(err) // d is a floating-point type and shape counts the rows
	}
	return t
}

// RMSNormalization is the ONNX operator RMSNormalization (Zhang and Sennrich): x / sqrt(mean x^2 + epsilon) * scale over the
// dimensions from Axis on. The output has the type of the scale.
type RMSNormalization struct {
	Axis      int     `attr:"axis,-1"`
	Epsilon   float32 `attr:"epsilon,1e-5"`
	StashType int     `attr:"stash_type,1"`
}

func (*RMSNormalization) Kind() string { return "RMSNormalization" }

func (o *RMSNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	out, err := inferNorm(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if in[0].Ranked {
		if _, err := tensor.Axis(o.Axis, len(in[0].Dims)); err != nil {
			return nil, err
		}
	}
	out[0].DType = in[1].DType
	return out, nil
}

func (o *RMSNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := floats.check(1, in[1].DType); err != nil {
		return nil, err
	}
	if in[1].DType == tensor.Float64 || in[0].DType == tensor.Float64 {
		return one(evalRMSNorm[float64](e, o, in[0], in[1]))
	}
	return byReal(in, func() ([]*tensor.Tensor, error) { return one(evalRMSNorm[float32](e, o, in[0], in[1])) }, nil)
}

func evalRMSNorm[T float32 | float64](e *graph.Env, o *RMSNormalization, t, gain *tensor.Tensor) (*tensor.Tensor, error) {
	rows, cols, _, err := rowsFrom(o.Axis, t.Shape)
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	scale, err := rowParam[T](e, gain, t.Shape, cols)
	if err != nil {
		return nil, err
	}
	var y []T
	var done func() *tensor.Tensor
	if gain.DType == tensor.DTypeOf[T]() || tensor.DTypeOf[T]() == tensor.Float32 {
		y, done = realOutput[T](e, gain.DType, t.Shape)
	} else {
		y = make([]T, len(x))
		done = func() *tensor.Tensor { return statTensor(gain.DType, t.Shape, y) }
	}
	e.For(rows, max(1, elementGrain/max(cols, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			src, dst := x[r*cols:(r+1)*cols], y[r*cols:(r+1)*cols]
			inverse := T(1 / math.Sqrt(meanSquare(src)+float64(o.Epsilon)))
			scaleRow(dst, src, inverse, 0)
			affineRow(dst, scale(r), nil)
		}
	})
	return done(), nil
}

func meanSquare[T float32 | float64](x []T) float64 {
	if f, ok := any(x).([]float32); ok {
		return float64(kernel.Dot(f, f)) / float64(len(x))
	}
	s := 0.0
	for _, v := range x {
		s += float64(v * v)
	}
	return s / float64(len(x))
}

// LpNormalization is the ONNX operator LpNormalization: x over its p-norm along an axis; 0 where the norm is 0.
type LpNormalization struct {
	Axis int `attr:"axis,-1"`
	P    int `attr:"p,2"`
}

func (*LpNormalization) Kind() string { return "LpNormalization" }

func (o *LpNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	if o.P != 1 && o.P != 2 {
		return nil, fmt.Errorf("p: want 1 or 2, got %d", o.P)
	}
	out, err := inferUnary(in, floats)
	if err == nil && in[0].Ranked {
		_, err = tensor.Axis(o.Axis, len(in[0].Dims))
	}
	return out, err
}

func (o *LpNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalLpNorm[float32](e, o, in[0])) },
		func() ([]*tensor.Tensor, error) { return one(evalLpNorm[float64](e, o, in[0])) })
}

func evalLpNorm[T float32 | float64](e *graph.Env, o *LpNormalization, t *tensor.Tensor) (*tensor.Tensor, error) {
	axis, err := tensor.Axis(o.Axis, t.Rank())
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, t.DType, t.Shape)
	n, inner := t.Shape[axis], t.Shape[axis+1:].Len()
	e.For(t.Shape[:axis].Len(), max(1, elementGrain/max(n*inner, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			for i := range inner {
				norm := 0.0
				for k := range n {
					norm += absPower(float64(x[(r*n+k)*inner+i]), o.P)
				}
				norm = root(norm, o.P)
				for k := range n {
					at := (r*n+k)*inner + i
					y[at] = 0
					if norm != 0 {
						y[at] = T(float64(x[at]) / norm)
					}
				}
			}
		}
	})
	return done(), nil
}

// MeanVarianceNormalization is the ONNX operator MeanVarianceNormalization: (x - mean) / (standard deviation + 1e-9) over
// Axes, by default all but the channels of [batch, C, H, W].
type MeanVarianceNormalization struct {
	Axes []int `attr:"axes"`
}

func (*MeanVarianceNormalization) Kind() string { return "MeanVarianceNormalization" }

func (o *MeanVarianceNormalization) axes(rank int) ([]int, error) {
	if o.Axes == nil {
		return axesOf([]int{0, 2, 3}, rank)
	}
	return axesOf(o.Axes, rank)
}

func (o *MeanVarianceNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	out, err := inferUnary(in, floats)
	if err == nil && in[0].Ranked {
		_, err = o.axes(len(in[0].Dims))
	}
	return out, err
}

func (o *MeanVarianceNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalMeanVariance[float32](e, o, in[0])) },
		func() ([]*tensor.Tensor, error) { return one(evalMeanVariance[float64](e, o, in[0])) })
}

func evalMeanVariance[T float32 | float64](e *graph.Env, o *MeanVarianceNormalization, t *tensor.Tensor) (*tensor.Tensor, error) {
	axes, err := o.axes(t.Rank())
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	// Axes that are kept come first in keep, those that are reduced in gone.
	strides := t.Shape.Strides()
	var keep, keepStride, gone, goneStride []int
	for d, n := range t.Shape {
		reduced := false
		for _, a := range axes {
			reduced = reduced || a == d
		}
		if reduced {
			gone, goneStride = append(gone, n), append(goneStride, strides[d])
		} else {
			keep, keepStride = append(keep, n), append(keepStride, strides[d])
		}
	}
	y, done := realOutput[T](e, t.DType, t.Shape)
	rows, n := tensor.Shape(keep).Len(), tensor.Shape(gone).Len()
	offset := func(i int, sizes, strides []int) int {
		at := 0
		for d := len(sizes) - 1; d >= 0; d-- {
			at += i % sizes[d] * strides[d]
			i /= sizes[d]
		}
		return at
	}
	within := make([]int, n)
	for i := range within {
		within[i] = offset(i, gone, goneStride)
	}
	e.For(rows, max(1, elementGrain/max(n, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			base := offset(r, keep, keepStride)
			sum, square := 0.0, 0.0
			for _, i := range within {
				sum += float64(x[base+i])
			}
			mean := sum / float64(n)
			for _, i := range within {
				d := float64(x[base+i]) - mean
				square += d * d
			}
			inverse := 1 / (math.Sqrt(square/float64(n)) + 1e-9)
			for _, i := range within {
				y[base+i] = T((float64(x[base+i]) - mean) * inverse)
			}
		}
	})
	return done(), nil
}
