package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// QLinearAveragePool is com.microsoft.QLinearAveragePool (X, x_scale, x_zero_point, y_scale, y_zero_point).
type QLinearAveragePool struct {
	Window
	CeilMode        bool `attr:"ceil_mode,0"`
	CountIncludePad bool `attr:"count_include_pad,0"`
	ChannelsLast    bool `attr:"channels_last,0"` // X is [batch, spatial..., channels]
}

func (*QLinearAveragePool) Kind() string { return "com.microsoft.QLinearAveragePool" }

func (o *QLinearAveragePool) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := inferBytes(in, 4, 5, 0); err != nil {
		return nil, err
	}
	x := channelsSecond(in[0], o.ChannelsLast)
	t, err := inferPool(&o.Window, o.CeilMode, x)
	return one(channelsBack(t, o.ChannelsLast), err)
}

// channelsSecond moves the last dimension of a type behind the batch, channelsBack moves it back.
func channelsSecond(t graph.Type, last bool) graph.Type {
	n := len(t.Dims)
	if last && n > 2 {
		t.Dims = append([]graph.Dim{t.Dims[0], t.Dims[n-1]}, t.Dims[1:n-1]...)
	}
	return t
}

func channelsBack(t graph.Type, last bool) graph.Type {
	if last && len(t.Dims) > 2 {
		t.Dims = append(append([]graph.Dim{t.Dims[0]}, t.Dims[2:]...), t.Dims[1])
	}
	return t
}

// swapChannels brings 8-bit [batch, spatial..., channels] to [batch, channels, spatial...], or with back the other way.
func swapChannels(e *graph.Env, t *tensor.Tensor, back bool) *tensor.Tensor {
	n := t.Rank()
	rows, cols := t.Shape[1:n-1].Len(), t.Shape[n-1]
	shape := append(tensor.Shape{t.Shape[0], cols}, t.Shape[1:n-1]...)
	if back {
		rows, cols = t.Shape[1], t.Shape[2:].Len()
		shape = append(append(tensor.Shape{t.Shape[0]}, t.Shape[2:]...), rows)
	}
	y := e.New(t.DType, shape...)
	for b := range t.Shape[0] {
		kernel.Transpose(y.Bytes()[b*rows*cols:], max(rows, 1), t.Bytes()[b*rows*cols:], max(cols, 1), rows, cols)
	}
	return y
}

// poolOperand returns the codes that are pooled, channels before the spatial dimensions, and the parameters of them and of the
// result.
func poolOperand(e *graph.Env, in []*tensor.Tensor, required int, channelsLast bool) (x *tensor.Tensor, px, py quantParam, err error) {
	if in, err = optionalZeros(in, required, 5, 2); err != nil {
		return nil, px, py, err
	}
	x = in[0]
	if px, py, err = quantPair(x, in[1], in[2], in[3], arg(in, 4)); err != nil {
		return nil, px, py, err
	}
	if x.Rank() < 3 {
		return nil, px, py, fmt.Errorf("want at least 3 dimensions, got %v", x)
	}
	if channelsLast {
		x = swapChannels(e, x, false)
	}
	return x, px, py, nil
}

func (o *QLinearAveragePool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, px, py, err := poolOperand(e, in, 4, o.ChannelsLast)
	if err != nil {
		return nil, err
	}
	g, shape, err := newPool(&o.Window, o.CeilMode, x.Shape)
	if err != nil {
		return nil, err
	}
	y := e.New(x.DType, shape...)
	size, outSize := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	src, dst := x.Bytes(), y.Bytes()
	g.planes(e, shape[0]*shape[1], func(_, in, out int) {
		averageBytes(&g, o.CountIncludePad, px, py, src[in:in+size], dst[out:out+outSize])
	})
	if o.ChannelsLast {
		y = swapChannels(e, y, true)
	}
	return []*tensor.Tensor{y}, nil
}

// averageBytes is averagePlane on codes: sums are exact, the mean is scaled in float32 and rounded once, the zero point added
// before, as ONNX Runtime does.
func averageBytes(g *geometry, pads bool, px, py quantParam, src, dst []byte) {
	o := 0
	for qd := range g.out[0] {
		d0, d1, ds := g.taps(0, qd)
		for qh := range g.out[1] {
			h0, h1, hs := g.taps(1, qh)
			for qw := range g.out[2] {
				w0, w1, ws := g.taps(2, qw)
				sum := int32(0)
				for d := d0; d < d1; d++ {
					for h := h0; h < h1; h++ {
						line := ((ds+d*g.dilation[0])*g.in[1]+hs+h*g.dilation[1])*g.in[2] + ws
						for w := w0; w < w1; w++ {
							sum += valueOf(src[line+w*g.dilation[2]], px.signed)
						}
					}
				}
				count := (d1 - d0) * (h1 - h0) * (w1 - w0)
				sum -= int32(count) * px.zeroAt()
				if pads {
					count = g.inside(0, qd) * g.inside(1, qh) * g.inside(2, qw)
				}
				mean := float32(0)
				if count > 0 {
					mean = float32(float32(sum)*px.scale[0]) / float32(count)
				}
				dst[o] = py.round(mean/py.scale[0] + float32(py.zeroAt()))
				o++
			}
		}
	}
}

// QLinearGlobalAveragePool is com.microsoft.QLinearGlobalAveragePool (X, x_scale, x_zero_point, y_scale, y_zero_point).
type QLinearGlobalAveragePool struct {
	ChannelsLast bool `attr:"channels_last,0"`
}

func (*QLinearGlobalAveragePool) Kind() string { return "com.microsoft.QLinearGlobalAveragePool" }

func (o *QLinearGlobalAveragePool) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := inferBytes(in, 5, 5, 0); err != nil {
		return nil, err
	}
	t, err := inferGlobalType(channelsSecond(in[0], o.ChannelsLast))
	return one(channelsBack(t, o.ChannelsLast), err)
}

func (o *QLinearGlobalAveragePool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, px, py, err := poolOperand(e, in, 5, o.ChannelsLast)
	if err != nil {
		return nil, err
	}
	shape := x.Shape.Clone()
	for i := range shape[2:] {
		shape[2+i] = 1
	}
	size := x.Shape[2:].Len()
	if size == 0 {
		return nil, fmt.Errorf("no spatial elements in %v", x)
	}
	y := e.New(x.DType, shape...)
	m := px.scale[0] / float32(float32(size)*py.scale[0])
	e.For(y.Len(), max(1, elementGrain/size), func(lo, hi int) {
		for p := lo; p < hi; p++ {
			sum := int32(0)
			for _, b := range x.Bytes()[p*size : (p+1)*size] {
				sum += valueOf(b, px.signed)
			}
			acc := [1]int32{sum - int32(size)*px.zeroAt()}
			requantize(y.Bytes()[p:p+1], acc[:], 0, m, py.zeroAt(), py.signed)
		}
	})
	if o.ChannelsLast {
		y = swapChannels(e, y, true)
	}
	return []*tensor.Tensor{y}, nil
}
