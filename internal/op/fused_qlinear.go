package op

import (
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Codes is how 8-bit codes stand for real numbers: x = Scale*(code - Zero).
type Codes struct {
	DType tensor.DType // Int8 or Uint8
	Scale float32
	Zero  int32
}

func (c Codes) signed() bool { return c.DType == tensor.Int8 }

// Limits returns the least and the largest code of the type.
func (c Codes) Limits() (lo, hi int32) {
	if c.signed() {
		return -128, 127
	}
	return 0, 255
}

// Code returns the code of a real number, as QuantizeLinear rounds and saturates it.
func (c Codes) Code(v float32) int32 {
	var b [1]byte
	c.quantize(b[:], []float32{v})
	return valueOf(b[0], c.signed())
}

func (c Codes) quantize(dst []byte, x []float32) {
	if c.signed() {
		kernel.QuantizeS8(dst, x, c.Scale, c.Zero)
	} else {
		kernel.QuantizeU8(dst, x, c.Scale, c.Zero)
	}
}

func (c Codes) dequantize(dst []float32, x []byte) {
	if c.signed() {
		kernel.DequantizeS8(dst, x, c.Scale, c.Zero)
	} else {
		kernel.DequantizeU8(dst, x, c.Scale, c.Zero)
	}
}

// kernel is c as kernels take it.
func (c Codes) kernel() kernel.Code {
	return kernel.Code{Scale: c.Scale, Zero: c.Zero, Signed: c.signed()}
}

// check reports what integer operators cannot use.
func (c Codes) check() error {
	lo, hi := c.Limits()
	if !bytes8.has(c.DType) || !(c.Scale > 0) || c.Zero < lo || c.Zero > hi {
		return fmt.Errorf("codes %v with scale %g and zero point %d cannot be computed on", c.DType, c.Scale, c.Zero)
	}
	return nil
}

// QuantResult is what an integer product does with its sums: y = min(max(sat(rne(float32(acc+bias)*m) + Zero), Lo), Hi). The
// limits are codes; those of a Relu or Clip before the rounding, which rounding does not move, or those of the type.
type QuantResult struct {
	Codes
	Lo, Hi int32
}

// requantizing is the end of an integer product with constant weights.
type requantizing struct {
	kernel.Requant
	dtype tensor.DType
	bias  []int32 // nil: zeros
}

// newRequantizing prepares the end of a product of n channels of codes x (the scale times a factor alpha) and weights of the
// given scales.
func newRequantizing(y QuantResult, x Codes, alpha float32, scale []float32, bias []int32, n int) (requantizing, error) {
	if err := errors.Join(x.check(), y.check()); err != nil {
		return requantizing{}, err
	}
	if lo, hi := y.Codes.Limits(); y.Lo < lo || y.Hi > hi || y.Lo >= y.Hi {
		return requantizing{}, fmt.Errorf("limits %d and %d are not those of a range of %v", y.Lo, y.Hi, y.DType)
	}
	if bias != nil && len(bias) != n {
		return requantizing{}, fmt.Errorf("bias: want %d values, got %d", n, len(bias))
	}
	m := multipliers(float32(alpha*x.Scale), scale, y.Scale, n)
	for _, v := range m {
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			return requantizing{}, fmt.Errorf("scales %g, %v and %g are too far apart", x.Scale, scale, y.Scale)
		}
	}
	return requantizing{kernel.Requant{
		Scale: m, Zero: y.Zero, Signed: y.signed(), Min: y.Lo, Max: y.Hi,
	}, y.DType, bias}, nil
}

// PackedQLinearConv is a lowered [QLinearConv] with constant weights and parameters, equal to it bit for bit but that its
// result is limited where a Relu or Clip was; x and y may differ in type. Its inputs are x and, if the codes are added to others
// afterwards (see [PackedQLinearConv.WithAdd]), those. It has no ONNX form and is never saved.
type PackedQLinearConv struct {
	fusedConv
	convCodes
	x     Codes
	end   requantizing
	y     Codes
	added *QuantizedBinary // nil: none
	first bool             // the codes of the convolution are the first operand of added
}

// WithAdd returns the convolution followed by an addition of codes, one operand of which are its own; false if it has no such form.
// first says whether those are the first one.
func (o *PackedQLinearConv) WithAdd(a *QuantizedBinary, first bool) (*PackedQLinearConv, bool) {
	if !o.last || o.added != nil || !a.adds() || o.y.DType != a.y.DType {
		return nil, false
	}
	p := *o
	p.added, p.first, p.residual = a, first, true
	return &p, true
}

// NewPackedQLinearConv packs the int8 or uint8 weight [M, C/group, kernel...] of o. scale and zero (nil: 0) have one value or
// M; bias, which may be nil, has M values of scale x.Scale*scale.
func NewPackedQLinearConv(o *Conv, w, scale, zero *tensor.Tensor, bias []int32, x Codes, y QuantResult) (*PackedQLinearConv, error) {
	c, s, err := newFusedConv(o.Window, o.Group, w, nil, false, Activation{})
	if err != nil {
		return nil, err
	}
	p, err := newQuantParam("weight", w, scale, zero, s.OutC)
	if err != nil {
		return nil, err
	}
	end, err := newRequantizing(y, x, 1, p.scale, bias, s.OutC)
	if err != nil {
		return nil, err
	}
	return &PackedQLinearConv{c, packConvCodes(&c, s, w.Bytes(), p), x, end, y.Codes, nil, false}, nil
}

func (o *PackedQLinearConv) Kind() string { return "PackedQLinearConv" + o.suffix() }

func (o *PackedQLinearConv) Infer(in []graph.Type) ([]graph.Type, error) {
	in, added := splitTypes(in, o.residual)
	if err := wantCodes(in, o.x); err != nil {
		return nil, err
	}
	t, err := o.infer(in[0], nil)
	t.DType = o.end.dtype
	if len(added) == 0 || err != nil {
		return one(t, err)
	}
	if err := dtypes(o.y.DType).check(1, added[0].DType); err != nil {
		return nil, err
	}
	return one(broadcastTypes(t.DType, t, added[0]))
}

// wantCodes checks the only input of an operator on codes x.
func wantCodes(in []graph.Type, x Codes) error {
	if err := want(in, 1, 1); err != nil {
		return err
	}
	return dtypes(x.DType).check(0, in[0].DType)
}

// codeInput is wantCodes for values.
func codeInput(in []*tensor.Tensor, x Codes) (*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return in[0], dtypes(x.DType).check(0, in[0].DType)
}

func (o *PackedQLinearConv) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if o.residual && len(in) != 2 {
		return nil, fmt.Errorf("want codes and those to add, got %d inputs", len(in))
	}
	in, other := o.split(in)
	x, err := codeInput(in, o.x)
	if err != nil {
		return nil, err
	}
	s, shape, err := o.resolve(x, true)
	if err != nil {
		return nil, err
	}
	var t *tensor.Tensor
	var added kernel.AddedCodes
	var add *kernel.AddedCodes
	if other != nil {
		if err := dtypes(o.y.DType).check(1, other.DType); err != nil {
			return nil, err
		}
		if !other.Shape.Equal(shape) {
			return o.addBroadcast(e, x, other)
		}
		added = o.add(other)
		add = &added
		t = e.NewOver(other)
	} else {
		t = e.New(o.end.dtype, shape...)
	}
	if o.last {
		kernel.ConvInt8NHWCRequant(e.Workers(), s, x.Bytes(), o.x.signed(), o.x.Zero, o.packedLast, o.end.bias, &o.end.Requant, add, t.Bytes())
	} else {
		kernel.ConvInt8Requant(e.Workers(), s, x.Bytes(), o.x.signed(), o.x.Zero, o.packedSecond, o.end.bias, &o.end.Requant, t.Bytes())
	}
	runtime.KeepAlive(o) // and with it the packed weights
	return e.One(t), nil
}

// addBroadcast computes the convolution and the addition apart.
func (o *PackedQLinearConv) addBroadcast(e *graph.Env, x, other *tensor.Tensor) ([]*tensor.Tensor, error) {
	alone := *o
	alone.added, alone.residual = nil, false
	y, err := alone.Eval(e, []*tensor.Tensor{x})
	if err != nil {
		return nil, err
	}
	if o.first {
		return o.added.Eval(e, []*tensor.Tensor{y[0], other})
	}
	return o.added.Eval(e, []*tensor.Tensor{other, y[0]})
}

// add is the addition of other codes.
func (o *PackedQLinearConv) add(other *tensor.Tensor) kernel.AddedCodes {
	added := o.added.b
	if !o.first {
		added = o.added.a
	}
	return kernel.AddedCodes{Codes: other.Bytes(), Conv: o.y.kernel(), Code: added.kernel(), Sum: o.added.y.kernel(), Second: !o.first}
}

// PackedQLinearMatMul is a lowered [QLinearMatMul], or [QGemm] with a result in 8 bits, with a constant right operand and
// constant parameters, equal to it bit for bit but that its result is limited where a Relu or Clip was. Its only input is the
// codes [..., K]. It has no ONNX form and is never saved.
type PackedQLinearMatMul struct {
	weight *QuantMatMulWeight
	x      Codes
	end    requantizing
}

// NewPackedQLinearMatMul returns the operator; the product is multiplied by alpha. bias, which may be nil, has N values of scale
// alpha*x.Scale times that of the weight.
func NewPackedQLinearMatMul(w *QuantMatMulWeight, alpha float32, bias []int32, x Codes, y QuantResult) (*PackedQLinearMatMul, error) {
	_, n := w.packed.Size()
	end, err := newRequantizing(y, x, alpha, w.scale, bias, n)
	if err != nil {
		return nil, err
	}
	return &PackedQLinearMatMul{w, x, end}, nil
}

func (*PackedQLinearMatMul) Kind() string { return "PackedQLinearMatMul" }

func (o *PackedQLinearMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := wantCodes(in, o.x); err != nil {
		return nil, err
	}
	k, n := o.weight.packed.Size()
	t, err := inferRows(in[0], k, n)
	t.DType = o.end.dtype
	return one(t, err)
}

func (o *PackedQLinearMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, err := codeInput(in, o.x)
	if err != nil {
		return nil, err
	}
	k, n := o.weight.packed.Size()
	rows, shape, err := leadingRows(e, x.Shape, k, n)
	if err != nil {
		return nil, err
	}
	t := e.New(o.end.dtype, shape...)
	kernel.GemmInt8Requant(e.Workers(), rows, n, k, x.Bytes(), max(k, 1), o.x.signed(), o.x.Zero, o.weight.packed, o.end.bias, &o.end.Requant, t.Bytes(), max(n, 1))
	runtime.KeepAlive(o)
	return e.One(t), nil
}
