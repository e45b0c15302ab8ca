package tensor

import (
	"fmt"
	"math"
)

// Float32 returns the value of a half.
func (h Half) Float32() float32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h>>10) & 0x1f
	man := uint32(h) & 0x3ff
	switch exp {
	case 0:
		f := float32(man) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

// ToHalf rounds to the nearest half, ties to even; values beyond 65504 become infinite.
func ToHalf(f float32) Half {
	b := math.Float32bits(f)
	sign := Half(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | Half(b>>13)&0x3ff
	case b >= 0x477ff000: // rounds up to 65536 or more
		return sign | 0x7c00
	case b >= 0x38800000: // normal
		b += 0xfff + b>>13&1
		return sign | Half((b-0x38000000)>>13)
	}
	// Adding 0.5 aligns the mantissa so that the float32 addition itself rounds to a multiple of 2^-24.
	return sign | Half(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
}

// Float32 returns the value of a bfloat16.
func (b BF16) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }

// ToBF16 rounds to the nearest bfloat16, ties to even.
func ToBF16(f float32) BF16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return BF16(b>>16) | 0x40
	}
	return BF16((b + 0x7fff + b>>16&1) >> 16)
}

// smallFloat describes a float of at most 8 bits.
type smallFloat struct {
	expBits, manBits, bias int
	finite                 bool // FN: no infinities, only all-ones is NaN
	unsignedZero           bool // FNUZ: NaN is 0x80, no negative zero
}

var smallFloats = map[DType]smallFloat{
	Float8E4M3FN:   {4, 3, 7, true, false},
	Float8E4M3FNUZ: {4, 3, 8, true, true},
	Float8E5M2:     {5, 2, 15, false, false},
	Float8E5M2FNUZ: {5, 2, 16, true, true},
	Float4E2M1:     {2, 1, 1, true, false},
}

// smallValues holds the value of every code of the small float types.
var smallValues = func() (v [Float8E8M0 + 1]*[256]float32) {
	for _, d := range []DType{Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ, Float4E2M1, Float8E8M0} {
		v[d] = new([256]float32)
		for code := range 1 << d.Bits() {
			v[d][code] = decodeSmall(d, uint8(code))
		}
	}
	return v
}()

// DecodeSmall returns the value of an 8-bit or 4-bit float code (OCP FP8 and MX specifications; ONNX element types 17 to 24).
// It panics if d is of another type.
func DecodeSmall(d DType, code uint8) float32 { return smallValues[d][code] }

func decodeSmall(d DType, code uint8) float32 {
	if d == Float8E8M0 {
		if code == 0xff {
			return float32(math.NaN())
		}
		return float32(math.Ldexp(1, int(code)-127))
	}
	f := smallFloats[d]
	width := 1 + f.expBits + f.manBits
	sign := code >> (width - 1) & 1
	exp := int(code>>f.manBits) & (1<<f.expBits - 1)
	man := int(code) & (1<<f.manBits - 1)
	switch {
	case f.unsignedZero && code == 0x80:
		return float32(math.NaN())
	case d == Float8E4M3FN && code&0x7f == 0x7f:
		return float32(math.NaN())
	case d == Float8E5M2 && exp == 31:
		if man != 0 {
			return float32(math.NaN())
		}
		return float32(math.Inf(1 - 2*int(sign)))
	}
	var v float64
	if exp == 0 {
		v = math.Ldexp(float64(man), 1-f.bias-f.manBits)
	} else {
		v = math.Ldexp(float64(man|1<<f.manBits), exp-f.bias-f.manBits)
	}
	if sign == 1 {
		v = math.Copysign(v, -1)
	}
	return float32(v)
}

// EncodeSmall rounds to the nearest code of an 8-bit or 4-bit float, ties to even. With saturate, values beyond the range
// (infinities included) become the largest finite one; without, they become infinite or NaN as the ONNX Cast operator says.
// Of a float8e8m0, a power of two without sign, the magnitude counts, and ties go up; zero becomes the least power with saturate
// and NaN without.
func EncodeSmall(d DType, v float32, saturate bool) uint8 {
	if d == Float8E8M0 {
		return encodeE8M0(v, saturate)
	}
	f := smallFloats[d]
	width := 1 + f.expBits + f.manBits
	signBit := uint8(1) << (width - 1)
	var sign uint8
	if math.Signbit(float64(v)) {
		sign = signBit
	}
	nan := uint8(0x7f) | sign
	if f.unsignedZero {
		nan = 0x80
	}
	if v != v {
		if d == Float4E2M1 {
			return 0
		}
		return nan
	}
	maxCode := uint8(1)<<(width-1) - 1 // largest magnitude
	switch d {
	case Float8E4M3FN:
		maxCode = 0x7e
	case Float8E5M2:
		maxCode = 0x7b
	}
	a := math.Abs(float64(v))
	largest := float64(DecodeSmall(d, maxCode))
	// Round the magnitude in units of the last place of its binade.
	_, e := math.Frexp(a)
	e = max(e-1, 1-f.bias)
	r := a
	if a != 0 && !math.IsInf(a, 0) {
		r = math.Ldexp(math.RoundToEven(math.Ldexp(a, f.manBits-e)), e-f.manBits)
	}
	if r > largest {
		switch {
		case saturate || d == Float4E2M1:
			return sign | maxCode
		case d == Float8E5M2:
			return sign | 0x7c
		}
		return nan
	}
	if r == 0 {
		if f.unsignedZero {
			return 0
		}
		return sign
	}
	_, e = math.Frexp(r)
	e = max(e-1, 1-f.bias)
	m := int(math.Ldexp(r, f.manBits-e))
	if m < 1<<f.manBits {
		return sign | uint8(m)
	}
	return sign | uint8((e+f.bias)<<f.manBits+m-1<<f.manBits)
}

func encodeE8M0(v float32, saturate bool) uint8 {
	a := math.Abs(float64(v))
	switch {
	case v != v:
		return 0xff
	case math.IsInf(a, 0):
		if saturate {
			return 0xfe
		}
		return 0xff
	case a == 0:
		if saturate {
			return 0
		}
		return 0xff
	}
	m, e := math.Frexp(a) // a = m * 2^e, m in [0.5, 1)
	if m >= 0.75 {
		e++ // round half up: a is nearer to the next power of two
	}
	code := e - 1 + 127
	if code > 0xfe {
		if saturate {
			return 0xfe
		}
		return 0xff
	}
	return uint8(max(code, 0))
}

// Unpack expands sub-byte codes (packed, lowest bits first) to one code per byte: the raw bits for unsigned and float4
// types, sign-extended for signed ones. n is the number of elements.
func Unpack(d DType, packed []byte, n int) []byte {
	bits := d.Bits()
	per := 8 / bits
	mask := byte(1<<bits - 1)
	out := make([]byte, n)
	for i := range out {
		c := packed[i/per] >> (i % per * bits) & mask
		if d.IsSigned() {
			c = byte(int8(c<<(8-bits)) >> (8 - bits))
		}
		out[i] = c
	}
	return out
}

// Pack is the inverse of [Unpack]; unused bits of the last byte are zero.
func Pack(d DType, codes []byte) []byte {
	bits := d.Bits()
	per := 8 / bits
	mask := byte(1<<bits - 1)
	out := make([]byte, d.ByteLen(len(codes)))
	for i, c := range codes {
		out[i/per] |= c & mask << (i % per * bits)
	}
	return out
}

// Floats returns the elements as float32. A dense Float32 tensor is returned without a copy; everything else is converted:
// integers and float64 are rounded, packed matrices decoded.
func (t *Tensor) Floats() ([]float32, error) {
	if t.Packed != nil {
		out := make([]float32, t.Len())
		if len(out) > 0 {
			cols := t.Shape[len(t.Shape)-1]
			for r := range len(out) / max(cols, 1) {
				t.Packed.Row(out[r*cols:(r+1)*cols], r)
			}
		}
		return out, nil
	}
	switch t.DType {
	case Float32:
		return Data[float32](t), nil
	case Float16:
		return convert(t, func(h Half) float32 { return h.Float32() }), nil
	case BFloat16:
		return convert(t, func(b BF16) float32 { return b.Float32() }), nil
	case Int64: // by way of float64 these two would be rounded twice
		return convert(t, func(v int64) float32 { return float32(v) }), nil
	case Uint64:
		return convert(t, func(v uint64) float32 { return float32(v) }), nil
	}
	f64, err := t.Float64s()
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(f64))
	for i, v := range f64 {
		out[i] = float32(v)
	}
	return out, nil
}

// Float64s returns a copy of the elements as float64. 64-bit integers beyond 2^53 are rounded.
func (t *Tensor) Float64s() ([]float64, error) {
	if t.Packed != nil {
		f, err := t.Floats()
		if err != nil {
			return nil, err
		}
		out := make([]float64, len(f))
		for i, v := range f {
			out[i] = float64(v)
		}
		return out, nil
	}
	switch t.DType {
	case Float32:
		return convert(t, func(v float32) float64 { return float64(v) }), nil
	case Float64:
		return convert(t, func(v float64) float64 { return v }), nil
	case Float16:
		return convert(t, func(v Half) float64 { return float64(v.Float32()) }), nil
	case BFloat16:
		return convert(t, func(v BF16) float64 { return float64(v.Float32()) }), nil
	case Int8:
		return convert(t, func(v int8) float64 { return float64(v) }), nil
	case Int16:
		return convert(t, func(v int16) float64 { return float64(v) }), nil
	case Int32:
		return convert(t, func(v int32) float64 { return float64(v) }), nil
	case Int64:
		return convert(t, func(v int64) float64 { return float64(v) }), nil
	case Uint8:
		return convert(t, func(v uint8) float64 { return float64(v) }), nil
	case Uint16:
		return convert(t, func(v uint16) float64 { return float64(v) }), nil
	case Uint32:
		return convert(t, func(v uint32) float64 { return float64(v) }), nil
	case Uint64:
		return convert(t, func(v uint64) float64 { return float64(v) }), nil
	case Bool:
		return convert(t, func(v uint8) float64 { return float64(v) }), nil
	case Int4, Int2:
		c := Unpack(t.DType, t.data, t.Len())
		out := make([]float64, len(c))
		for i, v := range c {
			out[i] = float64(int8(v))
		}
		return out, nil
	case Uint4, Uint2:
		c := Unpack(t.DType, t.data, t.Len())
		out := make([]float64, len(c))
		for i, v := range c {
			out[i] = float64(v)
		}
		return out, nil
	case Float4E2M1:
		c := Unpack(t.DType, t.data, t.Len())
		out := make([]float64, len(c))
		for i, v := range c {
			out[i] = float64(DecodeSmall(t.DType, v))
		}
		return out, nil
	}
	if t.DType.IsFloat8() {
		return convert(t, func(v uint8) float64 { return float64(DecodeSmall(t.DType, v)) }), nil
	}
	return nil, fmt.Errorf("%v has no numeric values", t.DType)
}

// Ints returns the elements of an integer or bool tensor as int64; a dense Int64 tensor without a copy. Unsigned values that an
// int64 cannot hold are an error.
func (t *Tensor) Ints() ([]int64, error) {
	switch t.DType {
	case Int64:
		return Data[int64](t), nil
	case Uint64:
		for _, v := range Data[uint64](t) {
			if v > math.MaxInt64 {
				return nil, fmt.Errorf("%d does not fit an int64", v)
			}
		}
		return convert(t, func(v uint64) int64 { return int64(v) }), nil
	}
	if !t.DType.IsInt() && t.DType != Bool {
		return nil, fmt.Errorf("want integers, got %v", t.DType)
	}
	f, err := t.Float64s() // exact: at most 32 bits
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(f))
	for i, v := range f {
		out[i] = int64(v)
	}
	return out, nil
}

func convert[S Elem, D any](t *Tensor, f func(S) D) []D {
	src := Data[S](t.as(DTypeOf[S]()))
	out := make([]D, len(src))
	for i, v := range src {
		out[i] = f(v)
	}
	return out
}

// as relabels 8-bit storage; it is used where the bytes are decoded by hand.
func (t *Tensor) as(d DType) *Tensor {
	if t.DType == d {
		return t
	}
	c := *t
	c.DType = d
	return &c
}

// FromFloat64s returns a tensor of type d with the values converted: floats round to nearest even (small floats saturate),
// integers round to nearest even and saturate, NaN becoming the least value.
func FromFloat64s(d DType, shape Shape, v []float64) (*Tensor, error) {
	t := New(d, shape...)
	if t.Len() != len(v) {
		return nil, fmt.Errorf("shape %v has %d elements, found %d values", shape, t.Len(), len(v))
	}
	switch {
	case d == Float32:
		fill(t, v, func(x float64) float32 { return float32(x) })
	case d == Float64:
		fill(t, v, func(x float64) float64 { return x })
	case d == Float16:
		fill(t, v, func(x float64) Half { return ToHalf(roundToOdd(x)) })
	case d == BFloat16:
		fill(t, v, func(x float64) BF16 { return ToBF16(roundToOdd(x)) })
	case d.IsFloat8():
		for i, x := range v {
			t.data[i] = EncodeSmall(d, roundToOdd(x), true)
		}
	case d == Float4E2M1:
		codes := make([]byte, len(v))
		for i, x := range v {
			codes[i] = EncodeSmall(d, roundToOdd(x), true)
		}
		copy(t.data, Pack(d, codes))
	case d == Bool:
		for i, x := range v {
			if x != 0 {
				t.data[i] = 1
			}
		}
	case d == Int64:
		fill(t, v, func(x float64) int64 {
			if x >= 1<<63 { // the largest int64 is no float64
				return math.MaxInt64
			}
			return int64(saturate(x, math.MinInt64, math.Nextafter(1<<63, 0)))
		})
	case d == Uint64:
		fill(t, v, func(x float64) uint64 {
			if x >= 1<<64 {
				return math.MaxUint64
			}
			return uint64(saturate(x, 0, math.Nextafter(1<<64, 0)))
		})
	case d.IsInt():
		lo, hi := d.IntRange()
		q := func(x float64) int64 { return int64(saturate(x, float64(lo), float64(hi))) }
		switch d.Bits() {
		case 32:
			fill(t, v, func(x float64) int32 { return int32(q(x)) })
		case 16:
			fill(t, v, func(x float64) int16 { return int16(q(x)) })
		case 8:
			fill(t, v, func(x float64) int8 { return int8(q(x)) })
		default:
			codes := make([]byte, len(v))
			for i, x := range v {
				codes[i] = byte(q(x))
			}
			copy(t.data, Pack(d, codes))
		}
	default:
		return nil, fmt.Errorf("%v has no numeric values", d)
	}
	return t, nil
}

// roundToOdd truncates x to a float32 and sets the last bit if something was cut off. Rounding the result to a type of at most
// 22 bits is then the same as rounding x itself, where two roundings to nearest are not (Boldo and Melquiond, 2008).
func roundToOdd(x float64) float32 {
	f := float32(x)
	if v := float64(f); v != x && v == v {
		b := math.Float32bits(f)
		if math.Abs(v) > math.Abs(x) {
			b--
		}
		f = math.Float32frombits(b | 1)
	}
	return f
}

func saturate(x, lo, hi float64) float64 {
	if x != x {
		return lo
	}
	return min(max(math.RoundToEven(x), lo), hi)
}

func fill[D Elem](t *Tensor, v []float64, f func(float64) D) {
	dst := Data[D](t.as(DTypeOf[D]()))
	for i, x := range v {
		dst[i] = f(x)
	}
}
