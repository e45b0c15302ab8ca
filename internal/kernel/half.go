package kernel

import "math"

// F16ToF32 widens len(dst) IEEE binary16 values given by their bits. A signalling NaN becomes quiet;
// its sign and payload stay.
func F16ToF32[T ~uint16](dst []float32, src []T) {
	src = src[:len(dst)]
	some := someF16ToF32(dst, src)
	for i, h := range src[some:] {
		dst[some+i] = f16ToF32(uint16(h))
	}
}

// F32ToF16 rounds len(dst) values to IEEE binary16 bits, half to even, with subnormals; too large a
// value becomes infinity, and NaN a quiet NaN with its sign and the upper payload bits.
func F32ToF16[T ~uint16](dst []T, src []float32) {
	src = src[:len(dst)]
	some := someF32ToF16(dst, src)
	for i, v := range src[some:] {
		dst[some+i] = T(f32ToF16(v))
	}
}

// BF16ToF32 widens len(dst) bfloat16 values given by their bits.
func BF16ToF32[T ~uint16](dst []float32, src []T) {
	src = src[:len(dst)]
	some := someBF16ToF32(dst, src)
	for i, h := range src[some:] {
		dst[some+i] = bf16ToF32(uint16(h))
	}
}

// F32ToBF16 rounds len(dst) values to bfloat16 bits, half to even; subnormals are kept, and NaN
// becomes a quiet NaN with its sign and the upper payload bits.
func F32ToBF16[T ~uint16](dst []T, src []float32) {
	src = src[:len(dst)]
	some := someF32ToBF16(dst, src)
	for i, v := range src[some:] {
		dst[some+i] = T(f32ToBF16(v))
	}
}

func bf16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

func f16ToF32(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // zero and subnormal: frac * 2^-24, exact in float32
		return math.Float32frombits(math.Float32bits(float32(frac)*0x1p-24) | sign)
	case 0x1f:
		if frac != 0 {
			frac |= 0x200
		}
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

func f32ToF16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign, mag := uint16(bits>>16)&0x8000, bits&0x7fffffff
	switch {
	case mag > 0x7f800000:
		return sign | 0x7e00 | uint16(mag>>13)&0x3ff
	case mag >= 0x477ff000: // 65520, half way between the largest finite value and 2^16
		return sign | 0x7c00
	case mag < 0x38800000: // below 2^-14: the sum aligns the last bit to 2^-24 and rounds half to even
		return sign | uint16(math.Float32bits(math.Float32frombits(mag)+0.5)-0x3f000000)
	}
	return sign | uint16((mag+0xfff+mag>>13&1-112<<23)>>13)
}

func f32ToBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
