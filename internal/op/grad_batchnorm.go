package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Recalls implements [graph.Recalling].
func (o *BatchNormalization) Recalls() (in, out uint64) {
	if o.TrainingMode {
		return operandSet(0, 1), operandSet(3, 4)
	}
	return operandSet(0, 1, 3, 4), 0
}

// Backward implements [graph.Differentiable]. With x^ the normalized X, n the values of a channel and sums over them, in training mode
//
//	dX = scale/std * (dY - sum(dY)/n - x^*sum(dY*x^)/n)    dscale = sum(dY*x^)    dB = sum(dY)
//
// (Ioffe and Szegedy); otherwise mean and variance are constants. In training mode it needs the outputs of Saved.
func (o *BatchNormalization) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	if d == nil {
		return make([]*tensor.Tensor, len(in)), nil
	}
	if err := checkGrad(d.DType); err != nil {
		return nil, err
	}
	channels := in[1].Len()
	kept := graph.Keep[batchNorm](e)
	defer kept.Done()
	k := &kept.V
	k.resize(channels)
	if o.TrainingMode {
		if len(out) < 5 || out[3] == nil || out[4] == nil {
			return nil, errors.New("the statistics of the batch are not there")
		}
		if err := k.load(out[3], out[4]); err != nil {
			return nil, err
		}
	} else {
		if err := k.load(in[3], in[4]); err != nil {
			return nil, err
		}
		for c, v := range k.inverse {
			k.inverse[c] = 1 / math.Sqrt(v+float64(o.Epsilon))
		}
	}
	rows := x.Len() / max(channels, 1)
	if o.ChannelsLast {
		for c, v := range k.mean {
			k.center[c] = float32(v)
		}
		kernel.ChannelSums(e.Workers(), rows, channels, tensor.Data[float32](x), tensor.Data[float32](d), k.center, k.sum, k.product)
	} else if err := byGrad(d.DType,
		func() error { planeSums[float32](e, x, d, k); return nil },
		func() error { planeSums[float64](e, x, d, k); return nil }); err != nil {
		return nil, err
	}
	list := make([]*tensor.Tensor, len(in))
	if e.Wants(1) {
		list[1] = e.New(d.DType, channels)
		setFloats(list[1], func(c int) float64 { return k.product[c] * k.inverse[c] })
	}
	if e.Wants(2) {
		list[2] = e.New(d.DType, channels)
		setFloats(list[2], func(c int) float64 { return k.sum[c] })
	}
	if !e.Wants(0) {
		return list, nil
	}
	scale, err := in[1].Float64s()
	if err != nil {
		return nil, err
	}
	// dX = a*dY + b*X + shift by channel.
	n := float64(rows)
	for c := range channels {
		a := scale[c] * k.inverse[c]
		b, shift := 0.0, 0.0
		if o.TrainingMode {
			b = -a * k.inverse[c] * k.inverse[c] * k.product[c] / n
			shift = -a*k.sum[c]/n - b*k.mean[c]
		}
		k.a[c], k.b[c], k.shift[c] = a, b, shift
	}
	dx := e.New(d.DType, d.Shape...)
	list[0] = dx
	if !o.ChannelsLast {
		return list, byGrad(d.DType,
			func() error { planeBlend[float32](e, dx, d, x, k); return nil },
			func() error { planeBlend[float64](e, dx, d, x, k); return nil })
	}
	for c := range channels {
		k.scale32[c], k.slope32[c], k.shift32[c] = float32(k.a[c]), float32(k.b[c]), float32(k.shift[c])
	}
	kernel.ChannelBlend(e.Workers(), rows, channels, tensor.Data[float32](dx), tensor.Data[float32](d), k.scale32, tensor.Data[float32](x), k.slope32, k.shift32)
	return list, nil
}

// batchNorm is what a normalization keeps to work in, a value per channel.
type batchNorm struct {
	mean, inverse, sum, product, a, b, shift []float64
	center, scale32, slope32, shift32        []float32
}

func (k *batchNorm) resize(channels int) {
	if len(k.mean) == channels {
		return
	}
	for _, v := range []*[]float64{&k.mean, &k.inverse, &k.sum, &k.product, &k.a, &k.b, &k.shift} {
		*v = make([]float64, channels)
	}
	for _, v := range []*[]float32{&k.center, &k.scale32, &k.slope32, &k.shift32} {
		*v = make([]float32, channels)
	}
}

func (k *batchNorm) load(mean, inverse *tensor.Tensor) error {
	for _, p := range []struct {
		dst []float64
		t   *tensor.Tensor
	}{{k.mean, mean}, {k.inverse, inverse}} {
		if p.t.Len() != len(p.dst) {
			return fmt.Errorf("want statistics of %d channels, got shape %v", len(p.dst), p.t.Shape)
		}
		switch p.t.DType {
		case tensor.Float32:
			for i, v := range tensor.Data[float32](p.t) {
				p.dst[i] = float64(v)
			}
		case tensor.Float64:
			copy(p.dst, tensor.Data[float64](p.t))
		default:
			return checkGrad(p.t.DType)
		}
	}
	return nil
}

// setFloats sets the elements of a float32 or float64 tensor.
func setFloats(t *tensor.Tensor, f func(i int) float64) {
	if t.DType == tensor.Float64 {
		for i := range tensor.Data[float64](t) {
			tensor.Data[float64](t)[i] = f(i)
		}
		return
	}
	for i := range tensor.Data[float32](t) {
		tensor.Data[float32](t)[i] = float32(f(i))
	}
}

// planes calls f with the runs of every channel of [batch, channels, ...].
func channelPlanes(e *graph.Env, t *tensor.Tensor, channels int, f func(c, lo, hi int)) {
	batch, plane := 0, 1
	if t.Len() > 0 {
		if batch = t.Shape[0]; t.Rank() > 1 {
			plane = t.Len() / batch / channels
		}
	}
	e.For(channels, 1, func(lo, hi int) {
		for c := lo; c < hi; c++ {
			for b := range batch {
				at := (b*channels + c) * plane
				f(c, at, at+plane)
			}
		}
	})
}

func planeSums[T gradElems](e *graph.Env, x, d *tensor.Tensor, k *batchNorm) {
	clear(k.sum)
	clear(k.product)
	xs, ds := tensor.Data[T](x), tensor.Data[T](d)
	channelPlanes(e, x, len(k.sum), func(c, lo, hi int) {
		var sum, product float64
		for i := lo; i < hi; i++ {
			sum += float64(ds[i])
			product += float64(ds[i]) * (float64(xs[i]) - k.mean[c])
		}
		k.sum[c] += sum
		k.product[c] += product
	})
}

func planeBlend[T gradElems](e *graph.Env, dx, d, x *tensor.Tensor, k *batchNorm) {
	ys, ds, xs := tensor.Data[T](dx), tensor.Data[T](d), tensor.Data[T](x)
	channelPlanes(e, x, len(k.sum), func(c, lo, hi int) {
		a, b, shift := T(k.a[c]), T(k.b[c]), T(k.shift[c])
		for i := lo; i < hi; i++ {
			ys[i] = a*ds[i] + b*xs[i] + shift
		}
	})
}

// evalLast is Eval on float32 images with channels last.
func (o *BatchNormalization) evalLast(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x := in[0]
	if x.DType != tensor.Float32 || x.Rank() < 2 {
		return nil, fmt.Errorf("channels-last images: want float32 of at least 2 dimensions, got %v", x)
	}
	channels := x.Shape[x.Rank()-1]
	p, err := perChannel[float32](channels, "scale, B, mean and var", in[1:]...)
	if err != nil {
		return nil, err
	}
	kept := graph.Keep[batchNorm](e)
	defer kept.Done()
	k := &kept.V
	k.resize(channels)
	xs, rows := tensor.Data[float32](x), x.Len()/max(channels, 1)
	for c := range channels {
		k.mean[c], k.inverse[c] = float64(p[2][c]), 1/math.Sqrt(float64(p[3][c])+float64(o.Epsilon))
	}
	var out []*tensor.Tensor
	if o.TrainingMode {
		kernel.ChannelSums(e.Workers(), rows, channels, xs, nil, nil, k.sum, nil)
		n := float64(max(rows, 1))
		for c, s := range k.sum {
			k.mean[c] = s / n
			k.center[c] = float32(k.mean[c])
		}
		// The sum of (x-center)*x is that of (x-center)^2 and center*(sum of x - n*center).
		kernel.ChannelSums(e.Workers(), rows, channels, xs, xs, k.center, k.sum, k.product)
		out = make([]*tensor.Tensor, 5)
		for i := 1; i < 5; i++ {
			if i < 3 || o.Saved {
				out[i] = e.New(tensor.Float32, channels)
			}
		}
		keep := float64(o.Momentum)
		for c := range channels {
			center := float64(k.center[c])
			v := max(0, (k.product[c]-center*(k.sum[c]-n*center))/n-(k.mean[c]-center)*(k.mean[c]-center))
			k.inverse[c] = 1 / math.Sqrt(v+float64(o.Epsilon))
			tensor.Data[float32](out[1])[c] = float32(float64(p[2][c])*keep + k.mean[c]*(1-keep))
			tensor.Data[float32](out[2])[c] = float32(float64(p[3][c])*keep + v*(1-keep))
			if o.Saved {
				tensor.Data[float32](out[3])[c], tensor.Data[float32](out[4])[c] = float32(k.mean[c]), float32(k.inverse[c])
			}
		}
	}
	for c := range channels {
		s := float64(p[0][c]) * k.inverse[c]
		k.scale32[c], k.shift32[c] = float32(s), float32(float64(p[1][c])-k.mean[c]*s)
	}
	y := e.New(tensor.Float32, x.Shape...)
	kernel.ChannelAffine(e.Workers(), rows, channels, tensor.Data[float32](y), xs, k.scale32, k.shift32)
	if out == nil {
		return e.One(y), nil
	}
	out[0] = y
	if !o.Saved {
		out = out[:3]
	}
	return out, nil
}
