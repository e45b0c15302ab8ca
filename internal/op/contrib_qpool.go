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

// channelsSecondOf and channelsBackOf do the same to shapes.
func channelsSecondOf(s tensor.Shape, last bool) tensor.Shape {
	if n := len(s); last && n > 2 {
		return append(tensor.Shape{s[0], s[n-1]}, s[1:n-1]...)
	}
	return s
}

func channelsBackOf(s tensor.Shape, last bool) tensor.Shape {
	if last && len(s) > 2 {
		return append(append(tensor.Shape{s[0]}, s[2:]...), s[1])
	}
	return s
}

// poolOperand returns the codes that are pooled and the parameters of them and of the result.
func poolOperand(in []*tensor.Tensor, required int) (x *tensor.Tensor, px, py quantParam, err error) {
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
	return x, px, py, nil
}

// codeOf returns the parameters of the codes of the first input where they are what they are as a rule, a float32 scale and a zero
// point of the codes' type.
func codeOf(in []*tensor.Tensor, scale, zero int) (c kernel.Code, ok bool) {
	x, s, z := arg(in, 0), arg(in, scale), arg(in, zero)
	if x == nil || s == nil || z == nil || x.Packed != nil || !bytes8.has(x.DType) || s.DType != tensor.Float32 || s.Packed != nil || s.Len() != 1 || z.DType != x.DType || z.Len() != 1 {
		return c, false
	}
	c.Scale, c.Signed = tensor.Item[float32](s), x.DType == tensor.Int8
	c.Zero = valueOf(z.Bytes()[0], c.Signed)
	return c, true
}

// code is the parameters of a whole operand as kernels take them.
func (p *quantParam) code() *kernel.Code {
	return &kernel.Code{Scale: p.scale[0], Zero: p.zeroAt(), Signed: p.signed}
}

func (o *QLinearAveragePool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, px, py, err := poolOperand(in, 4)
	if err != nil {
		return nil, err
	}
	g, shape, err := newPool(&o.Window, o.CeilMode, channelsSecondOf(x.Shape, o.ChannelsLast))
	if err != nil {
		return nil, err
	}
	y := e.New(x.DType, channelsBackOf(shape, o.ChannelsLast)...)
	kernel.AveragePoolCodes(e.Workers(), g.poolShape(shape[0], shape[1], o.ChannelsLast), x.Bytes(), px.code(), o.CountIncludePad, g.padEnd, y.Bytes(), py.code())
	return []*tensor.Tensor{y}, nil
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
	qx, simple := codeOf(in, 1, 2)
	qy, both := codeOf(in, 3, 4)
	if !simple || !both || in[0].Rank() < 3 {
		x, px, py, err := poolOperand(in, 5)
		if err != nil {
			return nil, err
		}
		in, qx, qy = []*tensor.Tensor{x}, *px.code(), *py.code()
	}
	x := in[0]
	batch, axis := x.Shape[0], 1
	if o.ChannelsLast {
		axis = x.Rank() - 1
	}
	channels := x.Shape[axis]
	size := 1
	shape := e.Ints(x.Rank())
	for i, n := range x.Shape {
		shape[i] = n
		if i > 0 && i != axis {
			size *= n
			shape[i] = 1
		}
	}
	if size == 0 {
		return nil, fmt.Errorf("no spatial elements in %v", x)
	}
	y := e.New(x.DType, shape...)
	kernel.GlobalAveragePoolCodes(e.Workers(), batch, channels, size, o.ChannelsLast, x.Bytes(), &qx, y.Bytes(), &qy)
	return e.One(y), nil
}
