package op

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// fusedConv is what the lowered convolutions share: the attributes of the convolution, the shape of its constant weight, and
// what follows the sum.
type fusedConv struct {
	window     Window
	group      int
	weight     tensor.Shape
	bias       []float32
	activation Activation
	residual   bool                             // the last input is added before the activation
	last       bool                             // images are [batch, spatial..., channels]
	resolved   *[2]atomic.Pointer[resolvedConv] // without and with the activation, for the last input
}

// resolvedConv is a convolution of inputs of a shape.
type resolvedConv struct {
	x, y tensor.Shape
	s    *kernel.ConvShape
}

// ChannelsLast is a lowered operator that may compute on images [batch, spatial..., channels].
type ChannelsLast interface {
	graph.Op
	// ImageRank is the rank of the images that it takes and gives in that order, which is that of all its inputs and outputs but
	// scalars; 0 if its images are [batch, channels, spatial...].
	ImageRank() int
}

// ImageRank implements [ChannelsLast].
func (c *fusedConv) ImageRank() int {
	if c.last {
		return len(c.weight)
	}
	return 0
}

// newFusedConv checks a constant weight and returns the shape to pack it with.
func newFusedConv(win Window, group int, w, bias *tensor.Tensor, residual bool, a Activation) (fusedConv, *kernel.ConvShape, error) {
	c := fusedConv{window: win, group: group, weight: w.Shape, activation: a, residual: residual, resolved: new([2]atomic.Pointer[resolvedConv])}
	if w.Rank() < 3 || group < 1 {
		return c, nil, fmt.Errorf("weight: want at least 3 dimensions and at least 1 group, got %v and %d", w, group)
	}
	// The packing depends on kernel, strides and dilations; an input just as large as the kernel stands in for the real one.
	x := append(tensor.Shape{1, w.Shape[1] * group}, w.Shape[2:]...)
	for i := range win.Dilations {
		if i < len(x)-2 {
			x[2+i] = win.Dilations[i]*(w.Shape[2+i]-1) + 1
		}
	}
	s, _, err := newConvShape(&win, group, x, w.Shape)
	if err != nil {
		return c, nil, err
	}
	c.last = kernel.PrefersChannelsLast(s)
	c.bias, err = biasFloats(bias, w.Shape[0])
	return c, s, err
}

func (c *fusedConv) suffix() string {
	if c.residual {
		return "Add" + c.activation.name
	}
	return c.activation.name
}

// infer returns the output type for the types of x and, if there is one, the residual.
func (c *fusedConv) infer(x graph.Type, residual []graph.Type) (graph.Type, error) {
	t, err := inferConv(tensor.Float32, &c.window, c.group, channelsSecond(x, c.last), graph.Shaped(tensor.Float32, c.weight))
	t = channelsBack(t, c.last)
	if err != nil || len(residual) == 0 {
		return t, err
	}
	return withResidual(t, residual[0])
}

// splitTypes takes the type of the residual, if there is one, off the types of inputs.
func splitTypes(in []graph.Type, residual bool) (x, last []graph.Type) {
	if !residual || len(in) == 0 {
		return in, nil
	}
	return in[:len(in)-1], in[len(in)-1:]
}

// Overwrites implements [graph.Overwriting]: the sum with a residual may take its place.
func (c *fusedConv) Overwrites() int {
	if c.residual && c.last {
		return 1
	}
	return -1
}

// split takes the residual, which may be nil, off the inputs.
func (c *fusedConv) split(in []*tensor.Tensor) (x []*tensor.Tensor, residual *tensor.Tensor) {
	if !c.residual {
		return in, nil
	}
	return in[:len(in)-1], in[len(in)-1]
}

// finish adds the residual and applies the activation where the kernel has not.
func (c *fusedConv) finish(e *graph.Env, s *kernel.ConvShape, y, residual *tensor.Tensor) ([]*tensor.Tensor, error) {
	a := c.activation
	if s.Activation.Kind != kernel.NoActivation {
		a = Activation{}
	}
	if residual == nil || residual.Shape.Equal(y.Shape) {
		var other []float32
		if residual != nil {
			other = tensor.Data[float32](residual)
		}
		a.addEpilogue(e, tensor.Data[float32](y), other)
		return e.One(y), nil
	}
	return e.Single(a.finish(e, y, y.Len(), nil, residual))
}

// resolve returns the shape of the convolution, with the activation if it is wanted and the kernel can apply it, and that of its
// output. Nobody changes them.
func (c *fusedConv) resolve(x *tensor.Tensor, activate bool) (*kernel.ConvShape, tensor.Shape, error) {
	known := &c.resolved[0]
	if activate {
		known = &c.resolved[1]
	}
	if r := known.Load(); r != nil && r.x.Equal(x.Shape) {
		return r.s, r.y, nil
	}
	s, shape, err := newConvShape(&c.window, c.group, channelsSecondOf(x.Shape, c.last), c.weight)
	if err != nil {
		return nil, nil, err
	}
	if activate {
		s.Activation = c.activation.conv
	}
	r := &resolvedConv{x.Shape.Clone(), channelsBackOf(shape, c.last), s}
	known.Store(r)
	return r.s, r.y, nil
}

// PackedConv is a lowered Conv with constant weights: activation(conv(x, W) + bias + residual) for x float32; the residual is
// an optional second input, broadcast where its shape differs. It has no ONNX form and is never saved.
type PackedConv struct {
	fusedConv
	packedSecond *kernel.PackedConvF32
	packedLast   *kernel.PackedConvF32NHWC // nil: images are channels first
}

// NewPackedConv packs the float32 weight [M, C/group, kernel...] of o. bias, which may be nil, has M values or one. Images are in
// the order that suits this machine, see [ChannelsLast], or, if second, [batch, channels, spatial...].
func NewPackedConv(o *Conv, w, bias *tensor.Tensor, residual bool, a Activation, second bool) (*PackedConv, error) {
	if w.DType != tensor.Float32 {
		return nil, fmt.Errorf("weight: want float32, got %v", w)
	}
	c, s, err := newFusedConv(o.Window, o.Group, w, bias, residual, a)
	if err != nil {
		return nil, err
	}
	v, err := w.Floats()
	if err != nil {
		return nil, fmt.Errorf("weight: %w", err)
	}
	c.last = c.last && !second
	if c.last {
		return &PackedConv{c, nil, kernel.PackConvF32NHWC(s, v, kernel.Lasting)}, nil
	}
	return &PackedConv{c, kernel.PackConvF32(s, v, kernel.Lasting), nil}, nil
}

func (o *PackedConv) Kind() string { return "PackedConv" + o.suffix() }

func (o *PackedConv) Infer(in []graph.Type) ([]graph.Type, error) {
	n := 1
	if o.residual {
		n = 2
	}
	if err := want(in, n, n); err != nil {
		return nil, err
	}
	if err := wantFloat32(0, in[0].DType); err != nil {
		return nil, err
	}
	return one(o.infer(in[0], in[1:]))
}

func (o *PackedConv) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	n := 1
	if o.residual {
		n = 2
	}
	in, err := args(in, n, n)
	if err != nil {
		return nil, err
	}
	in, residual := o.split(in)
	x := in[0]
	if err := wantFloat32(0, x.DType); err != nil {
		return nil, err
	}
	if residual != nil {
		if err := wantFloat32(1, residual.DType); err != nil {
			return nil, fmt.Errorf("residual: %w", err)
		}
	}
	s, shape, err := o.resolve(x, residual == nil)
	if err != nil {
		return nil, err
	}
	if o.last && residual != nil && residual.Shape.Equal(shape) {
		if s, _, err = o.resolve(x, true); err != nil {
			return nil, err
		}
		t := e.NewOver(residual)
		kernel.ConvF32NHWC(e.Workers(), s, tensor.Data[float32](x), o.packedLast, o.bias, tensor.Data[float32](residual), tensor.Data[float32](t))
		runtime.KeepAlive(o) // and with it the packed weights
		return o.finish(e, s, t, nil)
	}
	t := e.New(tensor.Float32, shape...)
	y := tensor.Data[float32](t)
	if o.last {
		kernel.ConvF32NHWC(e.Workers(), s, tensor.Data[float32](x), o.packedLast, o.bias, nil, y)
	} else {
		kernel.ConvF32Packed(e.Workers(), s, tensor.Data[float32](x), o.packedSecond, o.bias, y)
	}
	runtime.KeepAlive(o)
	return o.finish(e, s, t, residual)
}

// DynamicQuantConv is a lowered dynamically quantized convolution with constant 8-bit weights, bit for bit equal to the chain
// DynamicQuantizeLinear, ConvInteger, Cast, Mul by Mul(x scale, weight scale), Add of the bias, Add of the residual,
// activation. Inputs are those of [DynamicQuantMatMul] (x, or codes, scale and zero point), then the residual if there is one.
// It has no ONNX form and is never saved.
type DynamicQuantConv struct {
	fusedConv
	convCodes
	scale []float32
}

// convCodes holds the packed 8-bit weights of a convolution in the one order or the other.
type convCodes struct {
	packedSecond *kernel.PackedConvInt8
	packedLast   *kernel.PackedConvNHWC // nil: images are channels first
}

func packConvCodes(c *fusedConv, s *kernel.ConvShape, w []byte, p quantParam) convCodes {
	if c.last {
		return convCodes{packedLast: kernel.PackConvNHWC(s, w, p.signed, p.zero, kernel.Lasting)}
	}
	return convCodes{packedSecond: kernel.PackConvInt8(s, w, p.signed, p.zero, kernel.Lasting)}
}

// NewDynamicQuantConv packs the int8 or uint8 weight [M, C/group, kernel...] of o. scale and zero (nil: 0) have one value or
// M; bias, which may be nil, M values or one.
func NewDynamicQuantConv(o *ConvInteger, w, scale, zero, bias *tensor.Tensor, residual bool, a Activation) (*DynamicQuantConv, error) {
	c, s, err := newFusedConv(o.Window, o.Group, w, bias, residual, a)
	if err != nil {
		return nil, err
	}
	p, err := newQuantParam("weight", w, scale, zero, s.OutC)
	if err != nil {
		return nil, err
	}
	return &DynamicQuantConv{c, packConvCodes(&c, s, w.Bytes(), p), p.scale}, nil
}

// Overwrites implements [graph.Overwriting]: the residual is added at the end.
func (*DynamicQuantConv) Overwrites() int { return -1 }

func (o *DynamicQuantConv) Kind() string { return "DynamicQuantConv" + o.suffix() }

func (o *DynamicQuantConv) Infer(in []graph.Type) ([]graph.Type, error) {
	in, residual := splitTypes(in, o.residual)
	if err := wantDynamic(in); err != nil {
		return nil, err
	}
	return one(o.infer(in[0], residual))
}

func (o *DynamicQuantConv) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, len(in), 4)
	if err != nil {
		return nil, err
	}
	if n := len(in); o.residual && n != 2 && n != 4 || !o.residual && n != 1 && n != 3 {
		return nil, fmt.Errorf("want x, or codes, scale and zero point, and a residual if there is one, got %d inputs", n)
	}
	in, residual := o.split(in)
	if residual != nil {
		if err := wantFloat32(1, residual.DType); err != nil {
			return nil, fmt.Errorf("residual: %w", err)
		}
	}
	s, shape, err := o.resolve(in[0], residual == nil)
	if err != nil {
		return nil, err
	}
	codes, c, memory, err := dynamicCodes(e, in)
	if err != nil {
		return nil, err
	}
	defer memory.Release()
	t := e.New(tensor.Float32, shape...)
	y := tensor.Data[float32](t)
	if o.last {
		kernel.ConvInt8NHWCF32(e.Workers(), s, codes, c.signed(), c.Zero, c.Scale, o.packedLast, o.scale, o.bias, y)
	} else {
		kernel.ConvInt8F32(e.Workers(), s, codes, c.signed(), c.Zero, c.Scale, o.packedSecond, o.scale, o.bias, y)
	}
	runtime.KeepAlive(o)
	return o.finish(e, s, t, residual)
}
