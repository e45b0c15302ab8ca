package kernel

import "math"

// MinMax returns the least and the greatest element of x. NaN elements are skipped; an x without
// any number gives (+Inf, -Inf). Of -0 and +0 either may be returned.
func MinMax(x []float32) (lo, hi float32) {
	if lo, hi, ok := minMaxVector(x); ok {
		return lo, hi
	}
	lo, hi = float32(math.Inf(1)), float32(math.Inf(-1))
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	return lo, hi
}

// QuantizeU8 sets dst[i] = sat(rne(x[i]/scale) + zp), saturated to 0..255, for len(dst) elements:
// ONNX QuantizeLinear as ONNX Runtime computes it. The quotient is a true float32 division, rounded
// half to even before the zero point is added; NaN gives 0. zp must lie in 0..255.
func QuantizeU8(dst []byte, x []float32, scale float32, zp int32) {
	x = x[:len(dst)]
	some := someQuantizeU8(dst, x, scale, float32(0-zp), float32(255-zp), zp)
	for i, v := range x[some:] {
		dst[some+i] = byte(quantize(v, scale, zp, 0, 255))
	}
}

// QuantizeS8 is QuantizeU8 with two's complement results in -128..127, as bytes; NaN gives -128.
// zp must lie in -128..127.
func QuantizeS8(dst []byte, x []float32, scale float32, zp int32) {
	x = x[:len(dst)]
	some := someQuantizeS8(dst, x, scale, float32(-128-zp), float32(127-zp), zp)
	for i, v := range x[some:] {
		dst[some+i] = byte(quantize(v, scale, zp, -128, 127))
	}
}

func quantize(v, scale float32, zp, lo, hi int32) int32 {
	// The clamp comes before the rounding to an integer, so that no conversion overflows.
	q := math.RoundToEven(float64(v / scale))
	switch {
	case !(q >= float64(lo-zp)): // also NaN
		return lo
	case q > float64(hi-zp):
		return hi
	}
	return int32(q) + zp
}

// DequantizeU8 sets dst[i] = float32(src[i]-zp)*scale for len(dst) elements.
func DequantizeU8(dst []float32, src []byte, scale float32, zp int32) {
	src = src[:len(dst)]
	some := someDequantizeU8(dst, src, scale, zp)
	for i, v := range src[some:] {
		dst[some+i] = float32(int32(v)-zp) * scale
	}
}

// DequantizeS8 is DequantizeU8 for two's complement bytes.
func DequantizeS8(dst []float32, src []byte, scale float32, zp int32) {
	src = src[:len(dst)]
	some := someDequantizeS8(dst, src, scale, zp)
	for i, v := range src[some:] {
		dst[some+i] = float32(int32(int8(v))-zp) * scale
	}
}
