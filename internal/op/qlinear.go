package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// roundSmall rounds half to even a value of magnitude below 2^22: adding 1.5*2^23 leaves no room for a fraction.
func roundSmall(v float32) int32 {
	const magic = 3 << 22
	return int32(float32(v+magic) - magic)
}

// requantizeColumns sets dst[i] = sat(rne(float32(acc[i]+bias[i])*m[i]) + zp) in uint8, or in two's complement int8 if signed:
// how ONNX Runtime narrows a row of the sums of an integer product. bias, which may be nil, wraps like the sum.
func requantizeColumns(dst []byte, acc, bias []int32, m []float32, zp int32, signed bool) {
	lo, hi := float32(-zp), float32(255-zp)
	if signed {
		lo, hi = float32(-128-zp), float32(127-zp)
	}
	acc, m = acc[:len(dst)], m[:len(dst)]
	for i, a := range acc {
		if bias != nil {
			a += bias[i]
		}
		v := float32(float32(a) * m[i])
		if !(v > lo) {
			v = lo
		} else if v > hi {
			v = hi
		}
		dst[i] = byte(roundSmall(v) + zp)
	}
}

// quantParam is the scale and zero point of a quantized operand: one value each for the whole, or one per channel.
type quantParam struct {
	scale  []float32
	zero   []int32 // nil: zeros
	signed bool
}

// newQuantParam reads a scale and an optional zero point of an 8-bit tensor. most is the number of channels; 1 allows only
// per-tensor parameters. A parameter given once per channel makes the other be spread.
func newQuantParam(name string, t, scale, zero *tensor.Tensor, most int) (quantParam, error) {
	p := quantParam{signed: t.DType == tensor.Int8}
	if !bytes8.has(t.DType) {
		return p, fmt.Errorf("%s: want int8 or uint8, got %v", name, t)
	}
	if scale == nil {
		return p, fmt.Errorf("%s: the scale is missing", name)
	}
	s, err := scale.Floats()
	if err != nil {
		return p, fmt.Errorf("%s scale: %w", name, err)
	}
	if len(s) != 1 && len(s) != most {
		return p, fmt.Errorf("%s scale: want 1 or %d values, got shape %v", name, most, scale.Shape)
	}
	p.scale = s
	if zero != nil {
		if zero.DType != t.DType {
			return p, fmt.Errorf("%s zero point: element type %v differs from %v", name, zero.DType, t.DType)
		}
		if n := zero.Len(); n != 1 && n != most {
			return p, fmt.Errorf("%s zero point: want 1 or %d values, got shape %v", name, most, zero.Shape)
		}
		if p.zero, err = zeroPoints(zero, zero.Len()); err != nil {
			return p, fmt.Errorf("%s: %w", name, err)
		}
	}
	return p, nil
}

// zeroAt returns the zero point of the whole operand.
func (p *quantParam) zeroAt() int32 {
	if p.zero == nil {
		return 0
	}
	return p.zero[0]
}

// multipliers returns a*b[i]/y for each of n channels, in the float32 rounding of ONNX Runtime: the product first.
func multipliers(a float32, b []float32, y float32, n int) []float32 {
	m := make([]float32, n)
	for i := range m {
		s := b[0]
		if len(b) > 1 {
			s = b[i]
		}
		m[i] = float32(a*s) / y
	}
	return m
}

// QLinearConv is the ONNX operator QLinearConv: an integer convolution with an int32 bias of scale x_scale*w_scale, requantized to y_scale
// and y_zero_point. Weights may have one scale and zero point a channel.
type QLinearConv struct {
	Window
	Group int `attr:"group,1"`
}

func (*QLinearConv) Kind() string { return "QLinearConv" }

func (o *QLinearConv) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 8, 9); err != nil {
		return nil, err
	}
	for _, i := range []int{0, 3, 7} {
		if err := bytes8.check(i, in[i].DType); err != nil {
			return nil, err
		}
	}
	return one(inferConv(in[7].DType, &o.Window, o.Group, in[0], in[3]))
}

func (o *QLinearConv) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 8, 9)
	if err != nil {
		return nil, err
	}
	x, w, b := in[0], in[3], arg(in, 8)
	s, shape, err := newConvShape(&o.Window, o.Group, x.Shape, w.Shape)
	if err != nil {
		return nil, err
	}
	px, err := newQuantParam("x", x, in[1], in[2], 1)
	if err != nil {
		return nil, err
	}
	pw, err := newQuantParam("w", w, in[4], in[5], s.OutC)
	if err != nil {
		return nil, err
	}
	py, err := newQuantParam("y", in[7], in[6], in[7], 1)
	if err != nil {
		return nil, err
	}
	bias, err := bias32(b, s.OutC)
	if err != nil {
		return nil, err
	}
	m := multipliers(px.scale[0], pw.scale, py.scale[0], s.OutC)
	y := e.New(in[7].DType, shape...)
	packed := kernel.PackConvInt8(s, w.Bytes(), pw.signed, pw.zero)
	requant := kernel.Requant{Scale: m, Zero: py.zeroAt(), Signed: py.signed}
	kernel.ConvInt8Requant(e.Workers(), s, x.Bytes(), px.signed, px.zeroAt(), packed, bias, &requant, y.Bytes())
	return []*tensor.Tensor{y}, nil
}

// bias32 checks an optional int32 bias of n values.
func bias32(t *tensor.Tensor, n int) ([]int32, error) {
	if t == nil {
		return nil, nil
	}
	if t.DType != tensor.Int32 {
		return nil, fmt.Errorf("bias: want int32, got %v", t)
	}
	return tensor.Data[int32](t), biasOf(t, n)
}

// QLinearMatMul is the ONNX operator QLinearMatMul: MatMulInteger requantized to y_scale and y_zero_point. a may have one
// scale and zero point a row, b one a column. Operands of 8-bit floats are multiplied in float32.
type QLinearMatMul struct{}

func (*QLinearMatMul) Kind() string { return "QLinearMatMul" }

func (*QLinearMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 8, 8); err != nil {
		return nil, err
	}
	for _, i := range []int{0, 3, 7} {
		if err := (bytes8 | float8s).check(i, in[i].DType); err != nil {
			return nil, err
		}
	}
	return one(inferMatMul(in[7].DType, in[0], in[3]))
}

func (*QLinearMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 8, 8)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[3]
	if float8s.has(a.DType) {
		return qlinearMatMulFloat8(e, in)
	}
	p, err := newProduct(a.Shape, b.Shape, false, false)
	if err != nil {
		return nil, err
	}
	py, err := newQuantParam("y", in[7], in[6], in[7], 1)
	if err != nil {
		return nil, err
	}
	prod, err := newIntegerProduct(e, p, a, in[2], b, in[5])
	if err != nil {
		return nil, err
	}
	sa, err := alongRows(in[1], a, p.rows())
	if err != nil {
		return nil, fmt.Errorf("a scale: %w", err)
	}
	sb, err := alongColumns(in[4], b, p.columns())
	if err != nil {
		return nil, fmt.Errorf("b scale: %w", err)
	}
	y := e.New(in[7].DType, p.out...)
	dst := y.Bytes()
	var common []float32 // the multipliers where they are the same in all products
	if len(sa) == 1 && len(sb) <= p.n {
		common = multipliers(sa[0], sb, py.scale[0], p.n)
	}
	prod.each(e, func(out, i, j int, b *kernel.PackedInt8) {
		to := dst[out*p.m*p.n : (out+1)*p.m*p.n]
		if len(sa) == 1 && len(prod.azp) <= 1 {
			end := kernel.Requant{Scale: common, Zero: py.zeroAt(), Signed: py.signed}
			if common == nil {
				end.Scale = multipliers(sa[0], columnsOf(sb, j, p.n), py.scale[0], p.n)
			}
			zero := int32(0)
			if len(prod.azp) == 1 {
				zero = prod.azp[0]
			}
			kernel.GemmInt8Requant(e.Workers(), p.m, p.n, p.k, prod.left(i), max(p.k, 1), prod.signed, zero, b, nil, &end, to, max(p.n, 1))
			return
		}
		acc := make([]int32, p.m*p.n)
		prod.multiply(e, i, b, acc)
		m := common
		for r := range p.m {
			if s := sa[min(i*p.m+r, len(sa)-1)]; m == nil || len(sa) > 1 {
				m = multipliers(s, columnsOf(sb, j, p.n), py.scale[0], p.n)
			}
			requantizeColumns(to[r*p.n:(r+1)*p.n], acc[r*p.n:], nil, m, py.zeroAt(), py.signed)
		}
	})
	return []*tensor.Tensor{y}, nil
}

// qlinearMatMulFloat8 dequantizes, multiplies and quantizes.
func qlinearMatMulFloat8(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	var wide [2]*tensor.Tensor
	for i := range wide {
		d := &DequantizeLinear{Axis: -1, OutputDType: int(tensor.Float32)}
		t, err := d.Eval(e, in[3*i:3*i+3])
		if err != nil {
			return nil, err
		}
		wide[i] = t[0]
	}
	t, err := evalMatMul(e, wide[0], wide[1], false, false, 1)
	if err != nil {
		return nil, err
	}
	return (&QuantizeLinear{Axis: -1, Saturate: true}).Eval(e, []*tensor.Tensor{t, in[6], in[7]})
}
