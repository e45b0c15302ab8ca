package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// byteTable is a function of one 8-bit operand: the result code for each of the 256 stored bytes.
type byteTable [256]byte

// valueOf returns the integer that a stored byte stands for.
func valueOf(b byte, signed bool) int32 {
	if signed {
		return int32(int8(b))
	}
	return int32(b)
}

// newByteTable tabulates quantize(f(dequantize(code))).
func newByteTable(from, to quantParam, f func(float32) float32) *byteTable {
	var t byteTable
	for b := range t {
		x := float32(valueOf(byte(b), from.signed)-from.zeroAt()) * from.scale[0]
		t[b] = to.quantize(f(x))
	}
	return &t
}

// quantize returns the stored byte of a real value.
func (p *quantParam) quantize(v float32) byte {
	lo, hi := p.limits()
	return byte(quantizeValue(v/p.scale[0], p.zeroAt(), lo, hi))
}

// limits returns the least and the largest code.
func (p *quantParam) limits() (lo, hi int32) {
	if p.signed {
		return -128, 127
	}
	return 0, 255
}

// apply sets dst[i] = t[src[i]].
func (t *byteTable) apply(e *graph.Env, dst, src []byte) {
	eachRow(e, dst, src, func(dst, x []byte) { kernel.Lookup(dst, x, (*[256]byte)(t)) })
}

// inferBytes checks that an input is of 8 bits and returns its element type.
func inferBytes(in []graph.Type, required, most int, at ...int) (tensor.DType, error) {
	if err := want(in, required, most); err != nil {
		return 0, err
	}
	d := tensor.Invalid
	for _, i := range at {
		if err := bytes8.check(i, in[i].DType); err != nil {
			return 0, err
		}
		if d == tensor.Invalid {
			d = in[i].DType
		}
	}
	return d, nil
}

// QLinearAdd is com.microsoft.QLinearAdd: the sum of two quantized tensors, broadcast, in float32 as ONNX Runtime orders it:
//
//	C = sat(rne(A*(sa/sc) + (zc - (za*(sa/sc) + zb*(sb/sc))) + B*(sb/sc)))
type QLinearAdd struct{}

func (*QLinearAdd) Kind() string { return "com.microsoft.QLinearAdd" }

func (*QLinearAdd) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearBinary(in) }

func (*QLinearAdd) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearBinary(e, in, func(pa, pb, pc quantParam) func(dst, a, b []byte) {
		qa, qb, qc := pa.code(), pb.code(), pc.code()
		return func(dst, a, b []byte) { kernel.AddCodes(dst, qc, a, qa, b, qb) }
	})
}

// QLinearMul is com.microsoft.QLinearMul: the product of two quantized tensors, broadcast,
//
//	C = sat(rne((A-za)*(B-zb)*(sa*sb/sc) + zc))
type QLinearMul struct{}

func (*QLinearMul) Kind() string { return "com.microsoft.QLinearMul" }

func (*QLinearMul) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearBinary(in) }

func (*QLinearMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearBinary(e, in, func(pa, pb, pc quantParam) func(dst, a, b []byte) {
		qa, qb, qc := pa.code(), pb.code(), pc.code()
		return func(dst, a, b []byte) { kernel.MulCodes(dst, qc, a, qa, b, qb) }
	})
}

func inferQLinearBinary(in []graph.Type) ([]graph.Type, error) {
	d, err := inferBytes(in, 7, 8, 0, 3)
	if err != nil {
		return nil, err
	}
	return one(broadcastTypes(d, in[0], in[3]))
}

// evalQLinearBinary evaluates (A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point).
func evalQLinearBinary(e *graph.Env, in []*tensor.Tensor, rows func(pa, pb, pc quantParam) func(dst, a, b []byte)) ([]*tensor.Tensor, error) {
	in, err := optionalZeros(in, 7, 8, 2, 5)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[3]
	if err := sameElems(a, b); err != nil {
		return nil, err
	}
	pa, err := newQuantParam("A", a, in[1], in[2], 1)
	if err != nil {
		return nil, err
	}
	pb, err := newQuantParam("B", b, in[4], in[5], 1)
	if err != nil {
		return nil, err
	}
	pc, err := newQuantParam("C", a, in[6], arg(in, 7), 1)
	if err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(a, b)
	if err != nil {
		return nil, err
	}
	y := e.New(a.DType, shape...)
	zip(e, newBroadcast(shape, a.Shape, b.Shape), y.Bytes(), a.Bytes(), b.Bytes(), rows(pa, pb, pc))
	return []*tensor.Tensor{y}, nil
}

// optionalZeros is [args] for operators whose optional zero points stand before required inputs: those positions may be nil.
func optionalZeros(in []*tensor.Tensor, required, most int, optional ...int) ([]*tensor.Tensor, error) {
	given := append([]*tensor.Tensor{}, in...)
	for _, i := range optional {
		if i < len(given) && given[i] == nil {
			given[i] = &tensor.Tensor{}
		}
	}
	if err := want(given, required, most); err != nil {
		return nil, err
	}
	return dense(in)
}

// QLinearSigmoid is com.microsoft.QLinearSigmoid (X, X_scale, X_zero_point, Y_scale, Y_zero_point).
type QLinearSigmoid struct{}

func (*QLinearSigmoid) Kind() string { return "com.microsoft.QLinearSigmoid" }

func (*QLinearSigmoid) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearUnary(in) }

func (*QLinearSigmoid) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearUnary(e, in, func(v float32) float32 { return float32(1 / (1 + math.Exp(-float64(v)))) })
}

// QLinearLeakyRelu is com.microsoft.QLinearLeakyRelu (X, X_scale, X_zero_point, Y_scale, Y_zero_point).
type QLinearLeakyRelu struct {
	Alpha float32 `attr:"alpha,0.01"`
}

func (*QLinearLeakyRelu) Kind() string { return "com.microsoft.QLinearLeakyRelu" }

func (*QLinearLeakyRelu) Infer(in []graph.Type) ([]graph.Type, error) { return inferQLinearUnary(in) }

func (o *QLinearLeakyRelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalQLinearUnary(e, in, func(v float32) float32 {
		if v < 0 {
			return v * o.Alpha
		}
		return v
	})
}

func inferQLinearUnary(in []graph.Type) ([]graph.Type, error) {
	d, err := inferBytes(in, 4, 5, 0)
	return one(retyped(arg(in, 0), d), err)
}

func evalQLinearUnary(e *graph.Env, in []*tensor.Tensor, f func(float32) float32) ([]*tensor.Tensor, error) {
	in, err := optionalZeros(in, 4, 5, 2)
	if err != nil {
		return nil, err
	}
	px, py, err := quantPair(in[0], in[1], in[2], in[3], arg(in, 4))
	if err != nil {
		return nil, err
	}
	y := e.New(in[0].DType, in[0].Shape...)
	newByteTable(px, py, f).apply(e, y.Bytes(), in[0].Bytes())
	return []*tensor.Tensor{y}, nil
}

// quantPair reads the parameters of an input and of an output of the same element type.
func quantPair(x, xScale, xZero, yScale, yZero *tensor.Tensor) (px, py quantParam, err error) {
	if px, err = newQuantParam("X", x, xScale, xZero, 1); err != nil {
		return
	}
	py, err = newQuantParam("Y", x, yScale, yZero, 1)
	return
}
