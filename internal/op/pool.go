package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var poolOps = table{
	"MaxPool":           fresh[MaxPool],
	"AveragePool":       fresh[AveragePool],
	"LpPool":            fresh[LpPool],
	"GlobalMaxPool":     fresh[GlobalMaxPool],
	"GlobalAveragePool": fresh[GlobalAveragePool],
	"GlobalLpPool":      fresh[GlobalLpPool],
	"MaxUnpool":         fresh[MaxUnpool],
	"RoiAlign":          fresh[RoiAlign],
	"MaxRoiPool":        fresh[MaxRoiPool],
}

// maxPoolTypes are the element types of MaxPool.
var maxPoolTypes = floats | dtypes(tensor.Int8, tensor.Uint8)

// inferPool returns the type of a pooled tensor.
func inferPool(win *Window, ceil bool, x graph.Type) (graph.Type, error) {
	if win.KernelShape == nil {
		return graph.Type{}, fmt.Errorf("kernel_shape is missing")
	}
	if !x.Ranked {
		return graph.Unranked(x.DType), nil
	}
	if len(x.Dims) < 3 {
		return graph.Type{}, fmt.Errorf("want at least 3 dimensions, got %v", x)
	}
	spatial, err := win.inferDims(x.Dims[2:], nil, ceil)
	if err != nil {
		return graph.Type{}, err
	}
	return graph.Ranked(x.DType, append([]graph.Dim{x.Dims[0], x.Dims[1]}, spatial...)...), nil
}

// newPool resolves a pooling: its geometry with three spatial axes and the shape of the output.
func newPool(win *Window, ceil bool, x tensor.Shape) (geometry, tensor.Shape, error) {
	if len(x) < 3 {
		return geometry{}, nil, fmt.Errorf("want at least 3 dimensions, got shape %v", x)
	}
	g, err := win.resolve(x[2:], nil, ceil)
	if err != nil {
		return g, nil, err
	}
	out := append(tensor.Shape{x[0], x[1]}, g.out...)
	if err := checkSize(out); err != nil {
		return g, nil, err
	}
	g3, ok := g.padded3()
	if !ok {
		return g, nil, fmt.Errorf("pooling over %d spatial axes is not supported, at most 3", len(g.in))
	}
	return g3, out, nil
}

// planes calls f for every image plane of x and of the output, on all workers.
func (g *geometry) planes(e *graph.Env, count int, f func(plane, in, out int)) {
	in, out := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	work := out * tensor.Shape(g.kernel).Len()
	e.For(count, max(1, elementGrain/max(work, 1)), func(lo, hi int) {
		for p := lo; p < hi; p++ {
			f(p, p*in, p*out)
		}
	})
}

// MaxPool is the ONNX operator MaxPool, with the flat indices of the maxima as second output.
type MaxPool struct {
	Window
	CeilMode     bool `attr:"ceil_mode,0"`
	StorageOrder int  `attr:"storage_order,0"` // 1: indices count column-major within an image

	// OmitIndices leaves out the second output; lowering sets it where nobody reads that.
	OmitIndices bool
	// ChannelsLast says that X is [batch, spatial..., channels] and so is the result. Indices are omitted then, and X is
	// float32, int8 or uint8.
	ChannelsLast bool
}

func (*MaxPool) Kind() string { return "MaxPool" }

func (o *MaxPool) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := maxPoolTypes.check(0, in[0].DType); err != nil {
		return nil, err
	}
	t, err := inferPool(&o.Window, o.CeilMode, channelsSecond(in[0], o.ChannelsLast))
	if err != nil {
		return nil, err
	}
	t = channelsBack(t, o.ChannelsLast)
	return []graph.Type{t, retyped(t, tensor.Int64)}, nil
}

func (o *MaxPool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if o.OmitIndices || o.ChannelsLast || !e.Wants(1) {
		switch {
		case bytes8.has(in[0].DType):
			return o.evalCodes(e, in[0])
		case in[0].DType == tensor.Float32:
			return o.evalFloats(e, in[0])
		}
	}
	if o.ChannelsLast {
		return nil, fmt.Errorf("channels-last images: want float32, int8 or uint8, got %v", in[0].DType)
	}
	switch in[0].DType {
	case tensor.Int8:
		return evalMaxPool[int8](e, o, in[0], tensor.Data[int8](in[0]), nil)
	case tensor.Uint8:
		return evalMaxPool[uint8](e, o, in[0], tensor.Data[uint8](in[0]), nil)
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) {
			x, err := realData[float32](in[0])
			if err != nil {
				return nil, err
			}
			return evalMaxPool(e, o, in[0], x, realOutput[float32])
		},
		func() ([]*tensor.Tensor, error) {
			return evalMaxPool(e, o, in[0], tensor.Data[float64](in[0]), realOutput[float64])
		})
}

// evalCodes is the maximum of 8-bit integers, without indices.
func (o *MaxPool) evalCodes(e *graph.Env, x *tensor.Tensor) ([]*tensor.Tensor, error) {
	p, err := o.resolved(e, x)
	if err != nil {
		return nil, err
	}
	defer p.Done()
	y := e.New(x.DType, p.V.y...)
	kernel.MaxPoolCodes(e.Workers(), p.V.s, x.Bytes(), x.DType == tensor.Int8, y.Bytes())
	return e.One(y), nil
}

// evalFloats is the maximum of float32 values, without indices.
func (o *MaxPool) evalFloats(e *graph.Env, x *tensor.Tensor) ([]*tensor.Tensor, error) {
	p, err := o.resolved(e, x)
	if err != nil {
		return nil, err
	}
	defer p.Done()
	y := e.New(x.DType, p.V.y...)
	kernel.MaxPoolF32(e.Workers(), p.V.s, tensor.Data[float32](x), tensor.Data[float32](y))
	return e.One(y), nil
}

// resolvedPool is a pooling of inputs of a shape.
type resolvedPool struct {
	x, y tensor.Shape
	s    *kernel.PoolShape
}

// resolved returns the pooling for x, to be ended by Done.
func (o *MaxPool) resolved(e *graph.Env, x *tensor.Tensor) (*graph.Kept[resolvedPool], error) {
	p := graph.Keep[resolvedPool](e)
	if p.V.s != nil && p.V.x.Equal(x.Shape) {
		return p, nil
	}
	g, shape, err := newPool(&o.Window, o.CeilMode, channelsSecondOf(x.Shape, o.ChannelsLast))
	if err != nil {
		p.Done()
		return nil, err
	}
	p.V = resolvedPool{x.Shape.Clone(), channelsBackOf(shape, o.ChannelsLast), g.poolShape(shape[0], shape[1], o.ChannelsLast)}
	return p, nil
}

// poolShape is the geometry as the kernels take it.
func (g *geometry) poolShape(batch, channels int, channelsLast bool) *kernel.PoolShape {
	return &kernel.PoolShape{
		Batch: batch, Channels: channels, In: g.in, Out: g.out, Kernel: g.kernel, Stride: g.stride, Dilation: g.dilation, Pad: g.padBegin,
		ChannelsLast: channelsLast,
	}
}

func evalMaxPool[T float32 | float64 | int8 | uint8](e *graph.Env, o *MaxPool, t *tensor.Tensor, x []T,
	output func(*graph.Env, tensor.DType, []int) ([]T, func() *tensor.Tensor),
) ([]*tensor.Tensor, error) {
	g, shape, err := newPool(&o.Window, o.CeilMode, t.Shape)
	if err != nil {
		return nil, err
	}
	var y []T
	var done func() *tensor.Tensor
	if output != nil {
		y, done = output(e, t.DType, shape)
	} else {
		whole := e.New(t.DType, shape...)
		y, done = tensor.Data[T](whole), func() *tensor.Tensor { return whole }
	}
	var where []int64
	var indices *tensor.Tensor
	if !o.OmitIndices {
		indices = e.New(tensor.Int64, shape...)
		where = tensor.Data[int64](indices)
	}
	size, outSize := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	g.planes(e, shape[0]*shape[1], func(_, in, out int) {
		dst := y[out : out+outSize]
		if where == nil {
			maxPlane(&g, x[in:in+size], dst)
			return
		}
		found := where[out : out+outSize]
		argmaxPlane(&g, x[in:in+size], dst, found)
		for i, v := range found {
			if o.StorageOrder == 1 && v >= 0 {
				// Within the image the first spatial axis counts fastest.
				d, h, w := int(v)/(g.in[1]*g.in[2]), int(v)/g.in[2]%g.in[1], int(v)%g.in[2]
				v = int64(d + g.in[0]*(h+g.in[1]*w))
			}
			found[i] = int64(in) + v
		}
	})
	if indices == nil {
		return []*tensor.Tensor{done()}, nil
	}
	return []*tensor.Tensor{done(), indices}, nil
}

// maxPlane sets dst to the maximum of each window of one image. NaN loses against any number.
func maxPlane[T float32 | float64 | int8 | uint8](g *geometry, src, dst []T) {
	o := 0
	for qd := range g.out[0] {
		d0, d1, ds := g.taps(0, qd)
		for qh := range g.out[1] {
			h0, h1, hs := g.taps(1, qh)
			for qw := range g.out[2] {
				w0, w1, ws := g.taps(2, qw)
				best := lowest[T]()
				for d := d0; d < d1; d++ {
					for h := h0; h < h1; h++ {
						line := ((ds+d*g.dilation[0])*g.in[1]+hs+h*g.dilation[1])*g.in[2] + ws
						for w := w0; w < w1; w++ {
							if v := src[line+w*g.dilation[2]]; v > best {
								best = v
							}
						}
					}
				}
				dst[o] = best
				o++
			}
		}
	}
}

// argmaxPlane is maxPlane that also finds where in the image each maximum lies: the first one, -1 in an empty window.
func argmaxPlane[T float32 | float64 | int8 | uint8](g *geometry, src, dst []T, where []int64) {
	o := 0
	for qd := range g.out[0] {
		d0, d1, ds := g.taps(0, qd)
		for qh := range g.out[1] {
			h0, h1, hs := g.taps(1, qh)
			for qw := range g.out[2] {
				w0, w1, ws := g.taps(2, qw)
				best, at := lowest[T](), -1
				for d := d0; d < d1; d++ {
					for h := h0; h < h1; h++ {
						line := ((ds+d*g.dilation[0])*g.in[1]+hs+h*g.dilation[1])*g.in[2] + ws
						for w := w0; w < w1; w++ {
							i := line + w*g.dilation[2]
							if v := src[i]; v > best || at < 0 {
								best, at = max(v, best), i
							}
						}
					}
				}
				dst[o], where[o] = best, int64(at)
				o++
			}
		}
	}
}

// AveragePool is the ONNX operator AveragePool.
type AveragePool struct {
	Window
	CeilMode        bool `attr:"ceil_mode,0"`
	CountIncludePad bool `attr:"count_include_pad,0"`
}

func (*AveragePool) Kind() string { return "AveragePool" }

func (o *AveragePool) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	return one(inferPool(&o.Window, o.CeilMode, in[0]))
}

func (o *AveragePool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalPooling(e, &o.Window, o.CeilMode, in,
		func(g *geometry, src, dst []float32) { averagePlane(g, o.CountIncludePad, src, dst) },
		func(g *geometry, src, dst []float64) { averagePlane(g, o.CountIncludePad, src, dst) })
}

// evalPooling pools plane by plane.
func evalPooling(e *graph.Env, win *Window, ceil bool, in []*tensor.Tensor, f32 func(g *geometry, src, dst []float32), f64 func(g *geometry, src, dst []float64)) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalPool(e, win, ceil, in[0], f32)) },
		func() ([]*tensor.Tensor, error) { return one(evalPool(e, win, ceil, in[0], f64)) })
}

func evalPool[T float32 | float64](e *graph.Env, win *Window, ceil bool, t *tensor.Tensor, f func(g *geometry, src, dst []T)) (*tensor.Tensor, error) {
	g, shape, err := newPool(win, ceil, t.Shape)
	if err != nil {
		return nil, err
	}
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, t.DType, shape)
	size, outSize := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	g.planes(e, shape[0]*shape[1], func(_, in, out int) { f(&g, x[in:in+size], y[out:out+outSize]) })
	return done(), nil
}

// inside returns how many taps of an output position lie within the padded input, which a rounded-up window may leave.
func (g *geometry) inside(axis, q int) int {
	start := q*g.stride[axis] - g.padBegin[axis]
	room := g.in[axis] + g.padEnd[axis] - start
	if room <= 0 {
		return 0
	}
	return min(g.kernel[axis], (room+g.dilation[axis]-1)/g.dilation[axis])
}

// averagePlane sets dst to the mean of each window of one image: over the taps on the image, or with pads over all taps that
// lie on the image or its pads, which count as zeros. A window without taps gives 0.
func averagePlane[T float32 | float64](g *geometry, pads bool, src, dst []T) {
	o := 0
	for qd := range g.out[0] {
		d0, d1, ds := g.taps(0, qd)
		for qh := range g.out[1] {
			h0, h1, hs := g.taps(1, qh)
			for qw := range g.out[2] {
				w0, w1, ws := g.taps(2, qw)
				var sum T
				for d := d0; d < d1; d++ {
					for h := h0; h < h1; h++ {
						line := ((ds+d*g.dilation[0])*g.in[1]+hs+h*g.dilation[1])*g.in[2] + ws
						for w := w0; w < w1; w++ {
							sum += src[line+w*g.dilation[2]]
						}
					}
				}
				count := (d1 - d0) * (h1 - h0) * (w1 - w0)
				if pads {
					count = g.inside(0, qd) * g.inside(1, qh) * g.inside(2, qw)
				}
				dst[o] = 0
				if count > 0 {
					dst[o] = sum / T(count)
				}
				o++
			}
		}
	}
}

// LpPool is the ONNX operator LpPool: the p-norm of each window.
type LpPool struct {
	Window
	CeilMode bool `attr:"ceil_mode,0"`
	P        int  `attr:"p,2"`
}

func (*LpPool) Kind() string { return "LpPool" }

func (o *LpPool) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if o.P < 1 {
		return nil, fmt.Errorf("p: want at least 1, got %d", o.P)
	}
	return one(inferPool(&o.Window, o.CeilMode, in[0]))
}

func (o *LpPool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalPooling(e, &o.Window, o.CeilMode, in,
		func(g *geometry, src, dst []float32) { normPlane(g, o.P, src, dst) },
		func(g *geometry, src, dst []float64) { normPlane(g, o.P, src, dst) })
}

func normPlane[T float32 | float64](g *geometry, p int, src, dst []T) {
	o := 0
	for qd := range g.out[0] {
		d0, d1, ds := g.taps(0, qd)
		for qh := range g.out[1] {
			h0, h1, hs := g.taps(1, qh)
			for qw := range g.out[2] {
				w0, w1, ws := g.taps(2, qw)
				sum := 0.0
				for d := d0; d < d1; d++ {
					for h := h0; h < h1; h++ {
						line := ((ds+d*g.dilation[0])*g.in[1]+hs+h*g.dilation[1])*g.in[2] + ws
						for w := w0; w < w1; w++ {
							sum += absPower(float64(src[line+w*g.dilation[2]]), p)
						}
					}
				}
				dst[o] = T(root(sum, p))
				o++
			}
		}
	}
}

// absPower is |x|^p, root its inverse.
func absPower(x float64, p int) float64 {
	switch p {
	case 1:
		return math.Abs(x)
	case 2:
		return x * x
	}
	return math.Pow(math.Abs(x), float64(p))
}

func root(x float64, p int) float64 {
	switch p {
	case 1:
		return x
	case 2:
		return math.Sqrt(x)
	}
	return math.Pow(x, 1/float64(p))
}
