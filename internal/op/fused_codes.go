package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// QuantizedBinary is a lowered Add, Sub, Mul or Div of two tensors of 8-bit codes, broadcast: both are dequantized, combined,
// clipped where a Relu or Clip was and quantized again, bit for bit as by separate operators, but block by block in cache. An Add or
// Mul of codes of one type that is not clipped further than its codes are is [kernel.AddCodes] or [kernel.MulCodes], which round as ONNX Runtime does. All
// parameters are constant. Its inputs are the codes. It has no ONNX form and is never saved.
type QuantizedBinary struct {
	kind    string
	combine func(dst, a, b []float32)
	a, b, y Codes
	lo, hi  float32 // infinite: not clipped
}

// NewQuantizedBinary returns the operator for o, clipped to [lo, hi], or false if o is not one of the four.
func NewQuantizedBinary(o graph.Op, a, b, y Codes, lo, hi float32) (*QuantizedBinary, bool) {
	q := &QuantizedBinary{kind: "Quantized" + o.Kind(), a: a, b: b, y: y, lo: lo, hi: hi}
	switch o.Kind() {
	case "Add":
		q.combine = kernel.Add
	case "Sub":
		q.combine = kernel.Sub
	case "Mul":
		q.combine = kernel.Mul
	case "Div":
		q.combine = kernel.Div
	default:
		return nil, false
	}
	return q, errors.Join(a.check(), b.check(), y.check()) == nil
}

func (o *QuantizedBinary) Kind() string { return o.kind }

// adds reports whether the operator is [kernel.AddCodes].
func (o *QuantizedBinary) adds() bool { return o.kind == "QuantizedAdd" && o.plain() }

// plain reports whether all codes are of one type and the range of the result's codes clips all that a Relu or Clip does.
func (o *QuantizedBinary) plain() bool {
	lo, hi := o.y.Limits()
	return o.a.DType == o.y.DType && o.b.DType == o.y.DType && o.y.Code(o.lo) == lo && o.y.Code(o.hi) == hi
}

func (o *QuantizedBinary) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	for i, c := range []Codes{o.a, o.b} {
		if err := dtypes(c.DType).check(i, in[i].DType); err != nil {
			return nil, err
		}
	}
	return one(broadcastTypes(o.y.DType, in[0], in[1]))
}

func (o *QuantizedBinary) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if err := errors.Join(dtypes(o.a.DType).check(0, a.DType), dtypes(o.b.DType).check(1, b.DType)); err != nil {
		return nil, err
	}
	pair, err := broadcastPair(e, a, b)
	if err != nil {
		return nil, err
	}
	defer pair.Done()
	y := e.New(o.y.DType, pair.V.shape...)
	limited := !math.IsInf(float64(o.lo), -1) || !math.IsInf(float64(o.hi), 1)
	if o.adds() {
		ka, kb, ky := o.a.kernel(), o.b.kernel(), o.y.kernel()
		zip(e, pair.V.walk, y.Bytes(), a.Bytes(), b.Bytes(), func(dst, a, b []byte) {
			kernel.AddCodes(dst, &ky, a, &ka, b, &kb)
		})
		return []*tensor.Tensor{y}, nil
	}
	if o.kind == "QuantizedMul" && o.plain() {
		ka, kb, ky := o.a.kernel(), o.b.kernel(), o.y.kernel()
		zip(e, pair.V.walk, y.Bytes(), a.Bytes(), b.Bytes(), func(dst, a, b []byte) {
			kernel.MulCodes(dst, &ky, a, &ka, b, &kb)
		})
		return []*tensor.Tensor{y}, nil
	}
	zip(e, pair.V.walk, y.Bytes(), a.Bytes(), b.Bytes(), func(dst, a, b []byte) {
		n := min(block, len(dst))
		scratch := kernel.Borrow[float32](2 * n)
		defer scratch.Release()
		buf := scratch.Data
		for k := 0; k < len(dst); k += block {
			m := min(n, len(dst)-k)
			u, v := buf[:m], buf[n:n+m]
			o.a.dequantize(u, a[k:])
			o.b.dequantize(v, b[k:])
			o.combine(u, u, v)
			if limited {
				kernel.Clip(u, u, o.lo, o.hi)
			}
			o.y.quantize(dst[k:k+m], u)
		}
	})
	return []*tensor.Tensor{y}, nil
}

// CodeTable is a lowered pointwise function of 8-bit codes with constant parameters, tabulated: dequantized, computed and
// quantized for each of the 256 codes beforehand. Its input is the codes. It has no ONNX form and is never saved.
type CodeTable struct {
	kind string
	x, y tensor.DType
	byteTable
}

// NewCodeTable tabulates o, whose input number at is the codes; in holds its other inputs, scalars. Without an operator, o nil,
// it is a change of parameters.
func NewCodeTable(o graph.Op, in []*tensor.Tensor, at int, x, y Codes) (*CodeTable, error) {
	if err := errors.Join(x.check(), y.check()); err != nil {
		return nil, err
	}
	t := &CodeTable{kind: "CodeTable", x: x.DType, y: y.DType}
	var codes [256]byte
	for i := range codes {
		codes[i] = byte(i)
	}
	v := tensor.New(tensor.Float32, len(codes))
	x.dequantize(tensor.Data[float32](v), codes[:])
	if o != nil {
		t.kind += o.Kind()
		in = append([]*tensor.Tensor(nil), in...)
		in[at] = v
		out, err := o.Eval(&graph.Env{}, in)
		if err != nil {
			return nil, err
		}
		if v = out[0]; v.DType != tensor.Float32 || v.Len() != len(codes) {
			return nil, fmt.Errorf("%s is not a pointwise function: it gives %v for %d values", o.Kind(), v, len(codes))
		}
	}
	y.quantize(t.byteTable[:], tensor.Data[float32](v))
	return t, nil
}

func (o *CodeTable) Kind() string { return o.kind }

func (o *CodeTable) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := wantCodes(in, Codes{DType: o.x}); err != nil {
		return nil, err
	}
	return one(retyped(in[0], o.y), nil)
}

func (o *CodeTable) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, err := codeInput(in, Codes{DType: o.x})
	if err != nil {
		return nil, err
	}
	y := e.New(o.y, x.Shape...)
	o.apply(e, y.Bytes(), x.Bytes())
	return []*tensor.Tensor{y}, nil
}
