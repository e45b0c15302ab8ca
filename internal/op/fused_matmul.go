package op

import (
	"fmt"
	"runtime"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// MatMulWeight is a constant matrix [K, N] packed for float32 products, or the transpose of an encoded one. Several operators may
// share one.
type MatMulWeight struct {
	k, n    int
	packed  *kernel.PackedF32
	encoded packed.Multiplier // instead of packed
	rows    tensor.Packed     // what encoded multiplies by, if gradients go through it
}

// NewMatMulWeight packs a float32 matrix: [K, N], or with trans [N, K]. An encoded one is taken with trans only.
// read, which may be nil, is called whenever the memory of another part of t has been read for the last time.
func NewMatMulWeight(t *tensor.Tensor, trans bool, read func()) (*MatMulWeight, error) {
	if t.Rank() != 2 || t.DType != tensor.Float32 {
		return nil, fmt.Errorf("weight: want a float32 matrix, got %v", t)
	}
	if t.Packed != nil && trans {
		n, k := t.Shape[0], t.Shape[1]
		return &MatMulWeight{k: k, n: n, encoded: packed.Prepare(kernel.Shared(), t.Packed, n, k)}, nil
	}
	v, err := t.Floats()
	if err != nil {
		return nil, fmt.Errorf("weight: %w", err)
	}
	k, n := t.Shape[0], t.Shape[1]
	ldb := max(n, 1)
	if trans {
		k, n = n, k
	}
	return &MatMulWeight{k: k, n: n, packed: kernel.PackBParts(trans, k, n, v, ldb, read, kernel.Lasting)}, nil
}

// NewFrozenWeight takes an encoded float32 matrix [N, K] that training goes through and does not change.
func NewFrozenWeight(t *tensor.Tensor) (*MatMulWeight, error) {
	if t.Packed == nil {
		return nil, fmt.Errorf("weight: want an encoded matrix, got %v", t)
	}
	w, err := NewMatMulWeight(t, true, nil)
	if err == nil {
		w.rows = t.Packed
	}
	return w, err
}

// InPlace reports whether the weight is read where it lies, and not a copy of it.
func (w *MatMulWeight) InPlace() bool { return w.encoded != nil && w.encoded.Bytes() == 0 }

// Rounded returns a node's operator that may round x to bfloat16 where the weight is stored in 16 bits and that is faster; o itself where there
// is nothing to gain.
func (o *PackedMatMul) Rounded() *PackedMatMul {
	r, ok := o.weight.encoded.(packed.Rounder)
	if !ok {
		return o
	}
	c, w := *o, *o.weight
	w.encoded = r.Rounded()
	c.weight = &w
	return &c
}

// multiply sets y to the product of rows rows of x with the weight, times alpha unless the weight is encoded.
func (w *MatMulWeight) multiply(e *graph.Env, rows int, alpha float32, x, y []float32) {
	if w.encoded == nil {
		kernel.GemmF32Packed(e.Workers(), false, rows, alpha, x, max(w.k, 1), w.packed, 0, y, max(w.n, 1))
		return
	}
	w.encoded.Multiply(e.Workers(), rows, x, max(w.k, 1), y, max(w.n, 1))
}

// PackedMatMul is a lowered MatMul or Gemm with a constant right operand: activation(Alpha*x*W + bias + residual) for x float32
// [..., K] and W [K, N]; the residual is an optional second input, broadcast where its shape differs. It has no ONNX form and
// is never saved.
type PackedMatMul struct {
	weight *MatMulWeight
	alpha  float32
	rowEnd
}

// rowEnd is what follows a product with a constant matrix.
type rowEnd struct {
	bias       []float32
	residual   bool // the last input is added before the activation
	activation Activation
}

func (o *rowEnd) suffix() string {
	if o.residual {
		return "Add" + o.activation.name
	}
	return o.activation.name
}

// infer returns the output type for the types of x and, if there is one, the residual.
func (o *rowEnd) infer(x graph.Type, residual []graph.Type, k, n int) (graph.Type, error) {
	t, err := inferRows(x, k, n)
	if err != nil || len(residual) == 0 {
		return t, err
	}
	return withResidual(t, residual[0])
}

// split takes the residual, which may be nil, off the inputs.
func (o *rowEnd) split(in []*tensor.Tensor) (x []*tensor.Tensor, residual *tensor.Tensor) {
	if !o.residual || len(in) == 0 {
		return in, nil
	}
	return in[:len(in)-1], in[len(in)-1]
}

// NewPackedMatMul returns the operator. bias, which may be nil, has N values or one; a factor beta of Gemm is applied to it
// beforehand.
func NewPackedMatMul(w *MatMulWeight, alpha float32, bias *tensor.Tensor, residual bool, a Activation) (*PackedMatMul, error) {
	b, err := biasFloats(bias, w.n)
	if err != nil {
		return nil, err
	}
	return &PackedMatMul{w, alpha, rowEnd{b, residual, a}}, nil
}

func (o *PackedMatMul) Kind() string { return "PackedMatMul" + o.suffix() }

func (o *PackedMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	in, residual := splitTypes(in, o.residual)
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := wantFloat32(0, in[0].DType); err != nil {
		return nil, err
	}
	return one(o.infer(in[0], residual, o.weight.k, o.weight.n))
}

func (o *PackedMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, residual := o.split(in)
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := wantFloat32(0, in[0].DType); err != nil {
		return nil, err
	}
	k, n := o.weight.k, o.weight.n
	rows, shape, err := leadingRows(e, in[0].Shape, k, n)
	if err != nil {
		return nil, err
	}
	t := e.New(tensor.Float32, shape...)
	y := tensor.Data[float32](t)
	o.weight.multiply(e, rows, o.alpha, tensor.Data[float32](in[0]), y)
	runtime.KeepAlive(o) // and with it the packed weights
	return e.Single(o.end(e, t, residual))
}

// end does what follows the product y.
func (o *PackedMatMul) end(e *graph.Env, y *tensor.Tensor, residual *tensor.Tensor) (*tensor.Tensor, error) {
	if o.alpha != 1 && o.weight.encoded != nil {
		data := tensor.Data[float32](y)
		kernel.Scale(data, data, o.alpha)
	}
	return o.activation.finish(e, y, o.weight.n, o.bias, residual)
}

// QuantMatMulWeight is a constant 8-bit matrix [K, N] packed for integer products, with its scale per tensor or per column.
// Several operators may share one.
type QuantMatMulWeight struct {
	packed *kernel.PackedInt8
	scale  []float32
}

// NewQuantMatMulWeight packs an int8 or uint8 matrix: [K, N], or with trans [N, K]. scale and zero (nil: 0) have one value or N.
func NewQuantMatMulWeight(t *tensor.Tensor, trans bool, scale, zero *tensor.Tensor) (*QuantMatMulWeight, error) {
	if t.Rank() != 2 {
		return nil, fmt.Errorf("weight: want a matrix, got %v", t)
	}
	k, n := t.Shape[0], t.Shape[1]
	ldb := max(n, 1)
	if trans {
		k, n = n, k
	}
	p, err := newQuantParam("weight", t, scale, zero, n)
	if err != nil {
		return nil, err
	}
	return &QuantMatMulWeight{kernel.PackInt8(k, n, t.Bytes(), ldb, p.signed, trans, p.zero, kernel.Lasting), p.scale}, nil
}

// dynamicParams are the parameters of codes as the product takes them.
type dynamicParams struct {
	zero  [1]int32
	scale [1]float32
}

// DynamicQuantMatMul is a lowered dynamically quantized product with a constant 8-bit weight, bit for bit equal to the chain
// DynamicQuantizeLinear, MatMulInteger, Cast, Mul by Mul(x scale, weight scale), Add of the bias, activation.
//
// It takes x float32 [..., K], which it quantizes as a whole; or, where other nodes share the quantized tensor, what
// DynamicQuantizeLinear returned: codes uint8 [..., K], scale and zero point; with codes quantized in another way these may be
// int8. It has no ONNX form and is never saved.
type DynamicQuantMatMul struct {
	weight *QuantMatMulWeight
	rowEnd
}

// NewDynamicQuantMatMul returns the operator. bias, which may be nil, has N values or one.
func NewDynamicQuantMatMul(w *QuantMatMulWeight, bias *tensor.Tensor, residual bool, a Activation) (*DynamicQuantMatMul, error) {
	_, n := w.packed.Size()
	b, err := biasFloats(bias, n)
	if err != nil {
		return nil, err
	}
	return &DynamicQuantMatMul{w, rowEnd{b, residual, a}}, nil
}

func (o *DynamicQuantMatMul) Kind() string { return "DynamicQuantMatMul" + o.suffix() }

func (o *DynamicQuantMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	in, residual := splitTypes(in, o.residual)
	if err := wantDynamic(in); err != nil {
		return nil, err
	}
	k, n := o.weight.packed.Size()
	return one(o.infer(in[0], residual, k, n))
}

// wantDynamic checks the inputs of a dynamically quantized operator: x, or codes, scale and zero point.
func wantDynamic(in []graph.Type) error {
	if len(in) != 1 && len(in) != 3 {
		return fmt.Errorf("want x, or codes, scale and zero point, got %d inputs", len(in))
	}
	if len(in) == 1 {
		return wantFloat32(0, in[0].DType)
	}
	return bytes8.check(0, in[0].DType)
}

// dynamicCodes returns the codes and their parameters of the inputs of a dynamically quantized operator, and the memory in which they
// lie, to be released.
func dynamicCodes(e *graph.Env, in []*tensor.Tensor) (codes []byte, c Codes, memory kernel.Scratch[byte], err error) {
	x := in[0]
	if len(in) == 1 {
		if err := wantFloat32(0, x.DType); err != nil {
			return nil, c, memory, err
		}
		s := kernel.Borrow[byte](x.Len())
		c.DType = tensor.Uint8
		c.Scale, c.Zero = dynamicQuantize(e, s.Data, tensor.Data[float32](x))
		return s.Data, c, s, nil
	}
	if !bytes8.has(x.DType) || in[1].DType != tensor.Float32 || in[1].Len() != 1 || in[2].DType != x.DType || in[2].Len() != 1 {
		return nil, c, memory, fmt.Errorf("want 8-bit codes, a float32 scale and a zero point of their type, got %v, %v and %v", x, in[1], in[2])
	}
	c = Codes{DType: x.DType, Scale: tensor.Item[float32](in[1])}
	c.Zero = valueOf(in[2].Bytes()[0], c.signed())
	return x.Bytes(), c, memory, nil
}

func (o *DynamicQuantMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, residual := o.split(in)
	in, err := args(in, len(in), 3)
	if err != nil {
		return nil, err
	}
	if len(in) != 1 && len(in) != 3 {
		return nil, fmt.Errorf("want x, or codes, scale and zero point, got %d inputs", len(in))
	}
	k, n := o.weight.packed.Size()
	rows, shape, err := leadingRows(e, in[0].Shape, k, n)
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
	var added []float32
	if residual != nil && residual.DType == tensor.Float32 && residual.Shape.Equal(t.Shape) {
		added, residual = tensor.Data[float32](residual), nil
	}
	kept := graph.Keep[dynamicParams](e)
	defer kept.Done()
	zero, scale := &kept.V.zero, &kept.V.scale
	zero[0], scale[0] = c.Zero, c.Scale
	kernel.GemmInt8F32(e.Workers(), rows, n, k, codes, max(k, 1), c.signed(), zero[:], scale[:], o.weight.packed, o.weight.scale, o.bias, added, y, max(n, 1))
	runtime.KeepAlive(o)
	return e.Single(o.activation.finish(e, t, n, nil, residual))
}
