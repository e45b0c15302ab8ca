package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var normOps = table{
	"BatchNormalization":        fresh[BatchNormalization],
	"InstanceNormalization":     fresh[InstanceNormalization],
	"LayerNormalization":        fresh[LayerNormalization],
	"GroupNormalization":        fresh[GroupNormalization],
	"RMSNormalization":          fresh[RMSNormalization],
	"LpNormalization":           fresh[LpNormalization],
	"MeanVarianceNormalization": fresh[MeanVarianceNormalization],
	"LRN":                       fresh[LRN],
}

// moments returns the mean and 1/sqrt(variance+epsilon) of a row and leaves the centred row in dst.
func moments[T float32 | float64](dst, x []T, epsilon float64) (mean, inverse T) {
	mean = meanOf(x)
	if d, ok := any(dst).([]float32); ok {
		kernel.AddScalar(d, any(x).([]float32), -float32(mean))
		v := float64(kernel.Dot(d, d)) / float64(len(x))
		return mean, T(1 / math.Sqrt(v+epsilon))
	}
	var v float64
	for i := range dst {
		dst[i] = x[i] - mean
		v += float64(dst[i] * dst[i])
	}
	return mean, T(1 / math.Sqrt(v/float64(len(x))+epsilon))
}

// scaleRow sets dst = x*s + t for one s and t.
func scaleRow[T float32 | float64](dst, x []T, s, t T) {
	if d, ok := any(dst).([]float32); ok {
		kernel.ScaleShift(d, any(x).([]float32), float32(s), float32(t))
		return
	}
	for i, v := range x {
		dst[i] = v*s + t
	}
}

// affineRow sets dst = dst*scale + shift element by element; shift may be nil.
func affineRow[T float32 | float64](dst, scale, shift []T) {
	if d, ok := any(dst).([]float32); ok {
		kernel.Mul(d, d, any(scale).([]float32))
		if shift != nil {
			kernel.Add(d, d, any(shift).([]float32))
		}
		return
	}
	for i := range dst {
		dst[i] *= scale[i]
		if shift != nil {
			dst[i] += shift[i]
		}
	}
}

// channelsOf returns batch, channels and the size of an image plane of [batch, channels, ...].
func channelsOf(x *tensor.Tensor) (batch, channels, plane int, err error) {
	if x.Rank() < 2 {
		return 0, 0, 0, fmt.Errorf("want at least 2 dimensions, got %v", x)
	}
	return x.Shape[0], x.Shape[1], x.Shape[2:].Len(), nil
}

// perChannel checks tensors of one value a channel and converts them.
func perChannel[T float32 | float64](channels int, names string, in ...*tensor.Tensor) ([][]T, error) {
	out := make([][]T, len(in))
	for i, t := range in {
		if t.Rank() != 1 || t.Shape[0] != channels {
			return nil, fmt.Errorf("%s: want %d values, got shape %v", names, channels, t.Shape)
		}
		v, err := realData[T](t)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// inferNorm is Infer of an operator whose first output is like its first input; all inputs are floats.
func inferNorm(in []graph.Type, required, most int) ([]graph.Type, error) {
	if err := want(in, required, most); err != nil {
		return nil, err
	}
	for i, t := range in {
		if err := floats.check(i, t.DType); err != nil {
			return nil, err
		}
	}
	return []graph.Type{retyped(in[0], in[0].DType)}, nil
}

// BatchNormalization is the ONNX operator BatchNormalization (Ioffe and Szegedy). In training mode it normalizes by the
// moments of the batch and returns the running mean and variance, old*momentum + new*(1-momentum), as well.
type BatchNormalization struct {
	Epsilon      float32 `attr:"epsilon,1e-5"`
	Momentum     float32 `attr:"momentum,0.9"`
	TrainingMode bool    `attr:"training_mode,0"`

	// ChannelsLast says that X is [batch, spatial..., channels], float32, and so is Y. Training sets it.
	ChannelsLast bool
	// Saved adds two outputs, for Backward: the mean of each channel that X was normalized by, and the inverse of its standard deviation.
	// Training sets it.
	Saved bool
}

func (*BatchNormalization) Kind() string { return "BatchNormalization" }

func (o *BatchNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	out, err := inferNorm(in, 5, 5)
	if err != nil || !o.TrainingMode {
		return out, err
	}
	out = append(out, retyped(in[3], in[3].DType), retyped(in[4], in[4].DType))
	if o.Saved {
		out = append(out, retyped(in[3], in[0].DType), retyped(in[4], in[0].DType))
	}
	return out, nil
}

func (o *BatchNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 5, 5)
	if err != nil {
		return nil, err
	}
	if o.ChannelsLast {
		return o.evalLast(e, in)
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalBatchNorm[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalBatchNorm[float64](e, o, in) })
}

func evalBatchNorm[T float32 | float64](e *graph.Env, o *BatchNormalization, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	t := in[0]
	batch, channels, plane := 0, 1, 1 // one dimension: one channel
	if t.Rank() == 1 {
		batch = t.Shape[0]
	} else {
		var err error
		if batch, channels, plane, err = channelsOf(t); err != nil {
			return nil, err
		}
	}
	p, err := perChannel[T](channels, "scale, B, mean and var", in[1:]...)
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	scale, shift, mean, variance := p[0], p[1], p[2], p[3]
	y, done := realOutput[T](e, t.DType, t.Shape)
	var outputs []*tensor.Tensor
	if o.TrainingMode {
		runMean, meanDone := realOutput[T](e, in[3].DType, in[3].Shape)
		runVar, varDone := realOutput[T](e, in[4].DType, in[4].Shape)
		m, v := batchMoments(e, x, batch, channels, plane)
		keep := T(o.Momentum)
		for c := range channels {
			runMean[c] = mean[c]*keep + m[c]*(1-keep)
			runVar[c] = variance[c]*keep + v[c]*(1-keep)
		}
		mean, variance = m, v
		outputs = []*tensor.Tensor{meanDone(), varDone()}
		if o.Saved {
			savedMean, savedInverse := e.New(t.DType, channels), e.New(t.DType, channels)
			copy(tensor.Data[T](savedMean), m)
			for c, x := range v {
				tensor.Data[T](savedInverse)[c] = T(1 / math.Sqrt(float64(x)+float64(o.Epsilon)))
			}
			outputs = append(outputs, savedMean, savedInverse)
		}
	}
	e.For(batch*channels, max(1, elementGrain/max(plane, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			c := r % channels
			s := T(float64(scale[c]) / math.Sqrt(float64(variance[c])+float64(o.Epsilon)))
			scaleRow(y[r*plane:(r+1)*plane], x[r*plane:(r+1)*plane], s, shift[c]-mean[c]*s)
		}
	})
	return append([]*tensor.Tensor{done()}, outputs...), nil
}

// batchMoments returns mean and (biased) variance of each channel over batch and plane.
func batchMoments[T float32 | float64](e *graph.Env, x []T, batch, channels, plane int) (mean, variance []T) {
	mean, variance = make([]T, channels), make([]T, channels)
	n := float64(batch * plane)
	e.For(channels, 1, func(lo, hi int) {
		for c := lo; c < hi; c++ {
			sum, square := 0.0, 0.0
			for b := range batch {
				for _, v := range x[(b*channels+c)*plane:][:plane] {
					sum += float64(v)
				}
			}
			m := sum / n
			for b := range batch {
				for _, v := range x[(b*channels+c)*plane:][:plane] {
					square += (float64(v) - m) * (float64(v) - m)
				}
			}
			mean[c], variance[c] = T(m), T(square/n)
		}
	})
	return mean, variance
}

// InstanceNormalization is the ONNX operator InstanceNormalization (Ulyanov et al.): each image plane is normalized by itself.
type InstanceNormalization struct {
	Epsilon float32 `attr:"epsilon,1e-5"`
}

func (*InstanceNormalization) Kind() string { return "InstanceNormalization" }

func (*InstanceNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	return inferNorm(in, 3, 3)
}

func (o *InstanceNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 3)
	if err != nil {
		return nil, err
	}
	_, channels, _, err := channelsOf(in[0])
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalGroupNorm[float32](e, channels, o.Epsilon, in)) },
		func() ([]*tensor.Tensor, error) { return one(evalGroupNorm[float64](e, channels, o.Epsilon, in)) })
}

// GroupNormalization is the ONNX operator GroupNormalization (Wu and He): channels are normalized in groups; scale and bias
// have one value a channel.
type GroupNormalization struct {
	Epsilon   float32 `attr:"epsilon,1e-5"`
	NumGroups int     `attr:"num_groups"`
	StashType int     `attr:"stash_type,1"`
}

func (*GroupNormalization) Kind() string { return "GroupNormalization" }

func (o *GroupNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	if o.NumGroups < 1 {
		return nil, fmt.Errorf("num_groups: want at least 1, got %d", o.NumGroups)
	}
	if len(in) > 0 && in[0].Ranked && len(in[0].Dims) > 1 && in[0].Dims[1].IsKnown() && in[0].Dims[1].Size%o.NumGroups != 0 {
		return nil, fmt.Errorf("num_groups %d does not divide the channels of %v", o.NumGroups, in[0])
	}
	return inferNorm(in, 3, 3)
}

func (o *GroupNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 3)
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalGroupNorm[float32](e, o.NumGroups, o.Epsilon, in)) },
		func() ([]*tensor.Tensor, error) { return one(evalGroupNorm[float64](e, o.NumGroups, o.Epsilon, in)) })
}

func evalGroupNorm[T float32 | float64](e *graph.Env, groups int, epsilon float32, in []*tensor.Tensor) (*tensor.Tensor, error) {
	t := in[0]
	batch, channels, plane, err := channelsOf(t)
	if err != nil {
		return nil, err
	}
	if groups < 1 && channels > 0 || groups > 0 && channels%groups != 0 {
		return nil, fmt.Errorf("num_groups %d does not divide %d channels", groups, channels)
	}
	p, err := perChannel[T](channels, "scale and bias", in[1:]...)
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, t.DType, t.Shape)
	per := channels / max(groups, 1)
	size := per * plane
	if size == 0 {
		return done(), nil
	}
	e.For(batch*groups, max(1, elementGrain/size), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst := y[r*size : (r+1)*size]
			_, inverse := moments(dst, x[r*size:(r+1)*size], float64(epsilon))
			for i := range per {
				c := r%groups*per + i
				row := dst[i*plane : (i+1)*plane]
				scaleRow(row, row, inverse*p[0][c], p[1][c])
			}
		}
	})
	return done(), nil
}

// LRN is the ONNX operator LRN (Krizhevsky et al.): x / (bias + alpha/size * sum of squares over size neighbouring channels)^beta.
type LRN struct {
	Alpha float32 `attr:"alpha,1e-4"`
	Beta  float32 `attr:"beta,0.75"`
	Bias  float32 `attr:"bias,1"`
	Size  int     `attr:"size"`
}

func (*LRN) Kind() string { return "LRN" }

func (o *LRN) Infer(in []graph.Type) ([]graph.Type, error) {
	if o.Size < 1 {
		return nil, fmt.Errorf("size: want at least 1, got %d", o.Size)
	}
	return inferUnary(in, floats)
}

func (o *LRN) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalLRN[float32](e, o, in[0])) },
		func() ([]*tensor.Tensor, error) { return one(evalLRN[float64](e, o, in[0])) })
}

func evalLRN[T float32 | float64](e *graph.Env, o *LRN, t *tensor.Tensor) (*tensor.Tensor, error) {
	batch, channels, plane, err := channelsOf(t)
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, t.DType, t.Shape)
	before, after := (o.Size-1)/2, o.Size/2
	e.For(batch*channels, max(1, elementGrain/max(plane*o.Size, 1)), func(lo, hi int) {
		squares := make([]float64, plane)
		for r := lo; r < hi; r++ {
			b, c := r/channels, r%channels
			clear(squares)
			for n := max(c-before, 0); n <= min(c+after, channels-1); n++ {
				for i, v := range x[(b*channels+n)*plane:][:plane] {
					squares[i] += float64(v) * float64(v)
				}
			}
			dst := y[r*plane : (r+1)*plane]
			for i, v := range x[r*plane : (r+1)*plane] {
				base := float64(o.Bias) + float64(o.Alpha)/float64(o.Size)*squares[i]
				dst[i] = T(float64(v) / math.Pow(base, float64(o.Beta)))
			}
		}
	})
	return done(), nil
}
