package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// QuantizeLinear is the ONNX operator QuantizeLinear, y = sat(rne(x/scale) + zero point), for every integer type of 2 to 16 bits and
// every float of 4 and 8 bits; and the operator of the same name in the domain com.microsoft, which allows all of
// them at any operator set. x and scale are float32, float16, bfloat16 or int32.
//
// The quotient is computed in float32, as ONNX Runtime does for all types, unless Precision asks for rounding to a 16-bit type.
type QuantizeLinear struct {
	Axis        int  `attr:"axis,1"`
	BlockSize   int  `attr:"block_size,0"`
	OutputDType int  `attr:"output_dtype,0"` // 0: the type of the zero point, or uint8
	Precision   int  `attr:"precision,0"`    // element type of the quotient; 0: float32
	Saturate    bool `attr:"saturate,1"`     // for float8

	// Contrib makes this the operator of the domain com.microsoft.
	Contrib bool
}

func (o *QuantizeLinear) Kind() string {
	if o.Contrib {
		return "com.microsoft.QuantizeLinear"
	}
	return "QuantizeLinear"
}

// output returns the element type of y from that of the zero point; Invalid if there is none.
func (o *QuantizeLinear) output(zero tensor.DType) (tensor.DType, error) {
	d := tensor.DType(o.OutputDType)
	switch {
	case o.OutputDType != int(d):
		return 0, fmt.Errorf("output_dtype: %d is not an element type", o.OutputDType)
	case d == tensor.Invalid && zero == tensor.Invalid:
		d = tensor.Uint8
	case d == tensor.Invalid:
		d = zero
	case zero != tensor.Invalid && zero != d:
		return 0, fmt.Errorf("output_dtype %v differs from zero point %v", d, zero)
	}
	if !(smallInts | smallFloats).has(d) {
		return 0, fmt.Errorf("cannot quantize to %v", d)
	}
	return d, nil
}

func (o *QuantizeLinear) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 3); err != nil {
		return nil, err
	}
	if err := (scaleTypes | dtypes(tensor.Int32)).check(0, in[0].DType); err != nil {
		return nil, err
	}
	if len(in) == 3 && in[2].DType == tensor.Invalid && o.OutputDType == 0 {
		return []graph.Type{retyped(in[0], tensor.Invalid)}, nil
	}
	d, err := o.output(arg(in, 2).DType)
	return one(retyped(in[0], d), err)
}

func (o *QuantizeLinear) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	x, scale, zero := in[0], in[1], arg(in, 2)
	if err := (scaleTypes | dtypes(tensor.Int32)).check(0, x.DType); err != nil {
		return nil, err
	}
	var zeroType tensor.DType
	if zero != nil {
		zeroType = zero.DType
	}
	d, err := o.output(zeroType)
	if err != nil {
		return nil, err
	}
	if codes, ok := o.whole(e, x, scale, zero, d); ok {
		return e.One(codes), nil
	}
	g, err := newScales(x.Shape, scale.Shape, o.Axis, o.BlockSize)
	if err != nil {
		return nil, err
	}
	q := quantizer{e: e, scales: g, quotient: func(x, s float32) float32 { return x / s }}
	if q.x, err = x.Floats(); err != nil {
		return nil, err
	}
	if q.scale, err = scale.Floats(); err != nil {
		return nil, fmt.Errorf("scale: %w", err)
	}
	switch tensor.DType(o.Precision) {
	case tensor.Invalid, tensor.Float32:
	case tensor.Float16:
		q.quotient = func(x, s float32) float32 {
			return tensor.ToHalf(tensor.ToHalf(x).Float32() / tensor.ToHalf(s).Float32()).Float32()
		}
	case tensor.BFloat16:
		q.quotient = func(x, s float32) float32 {
			return tensor.ToBF16(tensor.ToBF16(x).Float32() / tensor.ToBF16(s).Float32()).Float32()
		}
	default:
		return nil, fmt.Errorf("precision: %v is not one of %v", tensor.DType(o.Precision), scaleTypes)
	}
	q.plain = o.Precision == 0 || tensor.DType(o.Precision) == tensor.Float32
	y := e.New(d, x.Shape...)
	if smallFloats.has(d) {
		return []*tensor.Tensor{y}, q.floats(y, zero, o.Saturate)
	}
	if q.zero, err = zeroPoints(zero, g.count); err != nil {
		return nil, err
	}
	q.ints(y)
	return []*tensor.Tensor{y}, nil
}

// whole quantizes float32 values to 8 bits with one scale; false if that is not what is asked for.
func (o *QuantizeLinear) whole(e *graph.Env, x, scale, zero *tensor.Tensor, d tensor.DType) (*tensor.Tensor, bool) {
	if x.DType != tensor.Float32 || scale.DType != tensor.Float32 || scale.Len() != 1 || len(scale.Shape) > 1 || o.BlockSize != 0 || !bytes8.has(d) ||
		o.Precision != 0 && tensor.DType(o.Precision) != tensor.Float32 || zero != nil && (zero.DType != d || zero.Len() != 1) {
		return nil, false
	}
	a := quantizeArgs{x: tensor.Data[float32](x), scale: tensor.Item[float32](scale), signed: d == tensor.Int8}
	if zero != nil {
		a.zero = valueOf(zero.Bytes()[0], a.signed)
	}
	y := e.New(d, x.Shape...)
	a.dst = y.Bytes()
	quantizing.For(e.Workers(), len(a.x), elementGrain, a, (*quantizeArgs).codes)
	return y, true
}

// quantizer is one evaluation of QuantizeLinear.
type quantizer struct {
	e        *graph.Env
	scales   *scales
	x, scale []float32
	zero     []int32 // nil: zeros
	quotient func(x, scale float32) float32
	plain    bool // quotient is the float32 quotient
}

// ints fills y, a tensor of integers.
func (q *quantizer) ints(y *tensor.Tensor) {
	low, high := y.DType.IntRange()
	lo, hi := int32(low), int32(high)
	switch y.DType {
	case tensor.Uint8:
		quantizeRuns(q, tensor.Data[uint8](y), lo, hi, kernel.QuantizeU8)
	case tensor.Int8:
		// The kernel writes two's complement bytes.
		quantizeRuns(q, y.Bytes(), lo, hi, kernel.QuantizeS8)
	case tensor.Uint16:
		quantizeRuns(q, tensor.Data[uint16](y), lo, hi, nil)
	case tensor.Int16:
		quantizeRuns(q, tensor.Data[int16](y), lo, hi, nil)
	default:
		codes := make([]byte, len(q.x))
		quantizeRuns(q, codes, lo, hi, nil)
		copy(y.Bytes(), tensor.Pack(y.DType, codes))
	}
}

// quantizeRuns fills dst run by run; row is the kernel for runs of one scale, if there is one.
func quantizeRuns[T uint8 | uint16 | int16](q *quantizer, dst []T, lo, hi int32, row func([]byte, []float32, float32, int32)) {
	q.scales.each(q.e, func(start, n, s int, each bool) {
		x, out := q.x[start:start+n], dst[start:start+n]
		if bytes, ok := any(out).([]byte); ok && !each && row != nil && q.plain {
			row(bytes, x, q.scale[s], atOr(q.zero, s))
			return
		}
		if !each {
			scale, zp := q.scale[s], atOr(q.zero, s)
			for i, v := range x {
				out[i] = T(quantizeValue(q.quotient(v, scale), zp, lo, hi))
			}
			return
		}
		for i, v := range x {
			out[i] = T(quantizeValue(q.quotient(v, q.scale[s+i]), atOr(q.zero, s+i), lo, hi))
		}
	})
}

// floats fills y, a tensor of 4-bit or 8-bit floats. A zero point, as a rule 0, is added before rounding.
func (q *quantizer) floats(y, zero *tensor.Tensor, saturate bool) error {
	shift := make([]float32, q.scales.count)
	if zero != nil {
		v, err := zero.Floats()
		if err != nil {
			return fmt.Errorf("zero point: %w", err)
		}
		if len(v) != len(shift) {
			return fmt.Errorf("zero point: want %d values like the scale, got shape %v", len(shift), zero.Shape)
		}
		shift = v
	}
	codes := y.Bytes()
	if y.DType.Bits() < 8 {
		codes = make([]byte, len(q.x))
	}
	q.scales.each(q.e, func(start, n, s int, each bool) {
		for i := range n {
			k := s
			if each {
				k += i
			}
			codes[start+i] = tensor.EncodeSmall(y.DType, q.quotient(q.x[start+i], q.scale[k])+shift[k], saturate)
		}
	})
	if y.DType.Bits() < 8 {
		copy(y.Bytes(), tensor.Pack(y.DType, codes))
	}
	return nil
}

// DequantizeLinear is the ONNX operator DequantizeLinear, y = (x - zero point)*scale, for every type that [QuantizeLinear]
// makes and for int32; and the operator of the same name in the domain com.microsoft. The output has the type of the scale
// or OutputDType; the product is rounded to it once.
type DequantizeLinear struct {
	Axis        int `attr:"axis,1"`
	BlockSize   int `attr:"block_size,0"`
	OutputDType int `attr:"output_dtype,0"`

	// Contrib makes this the operator of the domain com.microsoft.
	Contrib bool
}

func (o *DequantizeLinear) Kind() string {
	if o.Contrib {
		return "com.microsoft.DequantizeLinear"
	}
	return "DequantizeLinear"
}

// output returns the element type of y from that of the scale.
func (o *DequantizeLinear) output(scale tensor.DType) (tensor.DType, error) {
	d := tensor.DType(o.OutputDType)
	if o.OutputDType != int(d) {
		return 0, fmt.Errorf("output_dtype: %d is not an element type", o.OutputDType)
	}
	if d == tensor.Invalid {
		d = scale
	}
	if d != tensor.Invalid && !scaleTypes.has(d) {
		return 0, fmt.Errorf("cannot dequantize to %v", d)
	}
	return d, nil
}

func (o *DequantizeLinear) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 3); err != nil {
		return nil, err
	}
	if err := (smallInts | smallFloats | dtypes(tensor.Int32)).check(0, in[0].DType); err != nil {
		return nil, err
	}
	d, err := o.output(in[1].DType)
	return one(retyped(in[0], d), err)
}

func (o *DequantizeLinear) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	x, scale, zero := in[0], in[1], arg(in, 2)
	if err := (smallInts | smallFloats | dtypes(tensor.Int32)).check(0, x.DType); err != nil {
		return nil, err
	}
	if zero != nil && zero.DType != x.DType {
		return nil, fmt.Errorf("zero point: element type %v differs from %v", zero.DType, x.DType)
	}
	d, err := o.output(scale.DType)
	if err != nil {
		return nil, err
	}
	g, err := newScales(x.Shape, scale.Shape, o.Axis, o.BlockSize)
	if err != nil {
		return nil, err
	}
	s, err := scale.Floats()
	if err != nil {
		return nil, fmt.Errorf("scale: %w", err)
	}
	y, done := realOutput[float32](e, d, x.Shape)
	if smallFloats.has(x.DType) {
		if err := dequantizeFloats(e, g, y, x, zero, s); err != nil {
			return nil, err
		}
		return []*tensor.Tensor{done()}, nil
	}
	zp, err := zeroPoints(zero, g.count)
	if err != nil {
		return nil, err
	}
	dequantizeInts(e, g, y, x, zp, s)
	return []*tensor.Tensor{done()}, nil
}

// dequantizeInts sets y = (x - zero)*scale.
func dequantizeInts(e *graph.Env, g *scales, y []float32, x *tensor.Tensor, zero []int32, scale []float32) {
	g.each(e, func(start, n, s int, each bool) {
		dst := y[start : start+n]
		if !each {
			switch x.DType {
			case tensor.Uint8:
				kernel.DequantizeU8(dst, x.Bytes()[start:start+n], scale[s], atOr(zero, s))
				return
			case tensor.Int8:
				kernel.DequantizeS8(dst, x.Bytes()[start:start+n], scale[s], atOr(zero, s))
				return
			}
		}
		var buf [block]int32
		for k := 0; k < n; k += block {
			codes := buf[:min(block, n-k)]
			readCodes(codes, x, start+k)
			if !each {
				zp, f := atOr(zero, s), scale[s]
				for i, c := range codes {
					dst[k+i] = float32(c-zp) * f
				}
				continue
			}
			for i, c := range codes {
				dst[k+i] = float32(c-atOr(zero, s+k+i)) * scale[s+k+i]
			}
		}
	})
}

// readCodes widens len(dst) elements from start on of a tensor of integers of at most 32 bits.
func readCodes(dst []int32, t *tensor.Tensor, start int) {
	switch t.DType {
	case tensor.Uint8:
		widenCodes(dst, tensor.Data[uint8](t)[start:])
	case tensor.Int8:
		widenCodes(dst, tensor.Data[int8](t)[start:])
	case tensor.Uint16:
		widenCodes(dst, tensor.Data[uint16](t)[start:])
	case tensor.Int16:
		widenCodes(dst, tensor.Data[int16](t)[start:])
	case tensor.Int32:
		copy(dst, tensor.Data[int32](t)[start:])
	default:
		bits := t.DType.Bits()
		per, data := 8/bits, t.Bytes()
		left := uint(32 - bits)
		signed := t.DType.IsSigned()
		for i := range dst {
			at := start + i
			c := uint32(data[at/per]>>(at%per*bits)) << left
			if signed {
				dst[i] = int32(c) >> left
			} else {
				dst[i] = int32(c >> left)
			}
		}
	}
}

func widenCodes[T uint8 | int8 | uint16 | int16](dst []int32, src []T) {
	for i := range dst {
		dst[i] = int32(src[i])
	}
}

// dequantizeFloats is dequantizeInts for 4-bit and 8-bit floats.
func dequantizeFloats(e *graph.Env, g *scales, y []float32, x, zero *tensor.Tensor, scale []float32) error {
	var values [256]float32
	for c := range 1 << x.DType.Bits() {
		values[c] = tensor.DecodeSmall(x.DType, uint8(c))
	}
	shift := make([]float32, g.count)
	if zero != nil {
		v, err := zero.Floats()
		if err != nil {
			return fmt.Errorf("zero point: %w", err)
		}
		if len(v) != len(shift) {
			return fmt.Errorf("zero point: want %d values like the scale, got shape %v", len(shift), zero.Shape)
		}
		shift = v
	}
	codes := x.Bytes()
	if x.DType.Bits() < 8 {
		codes = tensor.Unpack(x.DType, codes, x.Len())
	}
	g.each(e, func(start, n, s int, each bool) {
		for i := range n {
			k := s
			if each {
				k += i
			}
			y[start+i] = (values[codes[start+i]] - shift[k]) * scale[k]
		}
	})
	return nil
}
