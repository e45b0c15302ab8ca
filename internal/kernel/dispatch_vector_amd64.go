//go:build !purego

package kernel

import (
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/impl"
)

var (
	useVectorAVX512, useVectorAVX2         bool
	useConvertAVX512, useConvertAVX2       bool
	useElementaryAVX512, useElementaryAVX2 bool
)

func init() {
	impl.Register("vector", impl.AVX512, &useVectorAVX512)
	impl.Register("vector", impl.AVX2, &useVectorAVX2)
	impl.Register("convert", impl.AVX512, &useConvertAVX512)
	impl.Register("convert", impl.AVX2, &useConvertAVX2)
	impl.Register("elementary", impl.AVX512, &useElementaryAVX512)
	impl.Register("elementary", impl.AVX2, &useElementaryAVX2)
}

// Each function here reports whether it did the work of the exported function that calls it, with
// slices of equal length; the functions named some report how many elements they did, which is a whole
// number of vectors.

func addVector(dst, a, b []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		addAVX512(len(dst), &dst[0], &a[0], &b[0])
	case useVectorAVX2:
		addAVX2(len(dst), &dst[0], &a[0], &b[0])
	default:
		return false
	}
	return true
}

func subVector(dst, a, b []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		subAVX512(len(dst), &dst[0], &a[0], &b[0])
	case useVectorAVX2:
		subAVX2(len(dst), &dst[0], &a[0], &b[0])
	default:
		return false
	}
	return true
}

func mulVector(dst, a, b []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		mulAVX512(len(dst), &dst[0], &a[0], &b[0])
	case useVectorAVX2:
		mulAVX2(len(dst), &dst[0], &a[0], &b[0])
	default:
		return false
	}
	return true
}

func divVector(dst, a, b []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		divAVX512(len(dst), &dst[0], &a[0], &b[0])
	case useVectorAVX2:
		divAVX2(len(dst), &dst[0], &a[0], &b[0])
	default:
		return false
	}
	return true
}

func maxVector(dst, a, b []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		maxAVX512(len(dst), &dst[0], &a[0], &b[0])
	case useVectorAVX2:
		maxAVX2(len(dst), &dst[0], &a[0], &b[0])
	default:
		return false
	}
	return true
}

func maskPositiveVector(dst, a, b []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		maskPositiveAVX512(len(dst), &dst[0], &a[0], &b[0])
	case useVectorAVX2:
		maskPositiveAVX2(len(dst), &dst[0], &a[0], &b[0])
	default:
		return false
	}
	return true
}

func scaleShiftVector(dst, x []float32, s, t float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		scaleShiftAVX512(len(dst), &dst[0], &x[0], s, t)
	case useVectorAVX2:
		scaleShiftAVX2(len(dst), &dst[0], &x[0], s, t)
	default:
		return false
	}
	return true
}

func clipVector(dst, x []float32, lo, hi float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		clipAVX512(len(dst), &dst[0], &x[0], lo, hi)
	case useVectorAVX2:
		clipAVX2(len(dst), &dst[0], &x[0], lo, hi)
	default:
		return false
	}
	return true
}

func axpyVector(alpha float32, x, dst []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useVectorAVX512:
		axpyAVX512(len(dst), &dst[0], &x[0], alpha)
	case useVectorAVX2:
		axpyAVX2(len(dst), &dst[0], &x[0], alpha)
	default:
		return false
	}
	return true
}

// softmaxVector is for rows that are not empty.
func softmaxVector(dst, x []float32) bool {
	switch {
	case useElementaryAVX512:
		softmaxAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		softmaxAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func expVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		expAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		expAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func sigmoidVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		sigmoidAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		sigmoidAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func siluVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		siluAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		siluAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func tanhVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		tanhAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		tanhAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func erfVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		erfAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		erfAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func geluVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		geluAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		geluAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func geluTanhVector(dst, x []float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useElementaryAVX512:
		geluTanhAVX512(len(dst), &dst[0], &x[0])
	case useElementaryAVX2:
		geluTanhAVX2(len(dst), &dst[0], &x[0])
	default:
		return false
	}
	return true
}

func dotVector(a, b []float32) (s float32, ok bool) {
	switch {
	case len(a) == 0:
		return 0, false
	case useVectorAVX512:
		s = dotAVX512(len(a), &a[0], &b[0])
	case useVectorAVX2:
		s = dotAVX2(len(a), &a[0], &b[0])
	default:
		return 0, false
	}
	return s, true
}

func sumVector(x []float32) (s float32, ok bool) {
	switch {
	case len(x) == 0:
		return 0, false
	case useVectorAVX512:
		s = sumAVX512(len(x), &x[0])
	case useVectorAVX2:
		s = sumAVX2(len(x), &x[0])
	default:
		return 0, false
	}
	return s, true
}

func minMaxVector(x []float32) (lo, hi float32, ok bool) {
	switch {
	case len(x) == 0:
		return 0, 0, false
	case useVectorAVX512:
		lo, hi = minMaxAVX512(len(x), &x[0])
	case useVectorAVX2:
		lo, hi = minMaxAVX2(len(x), &x[0])
	default:
		return 0, 0, false
	}
	return lo, hi, true
}

func someQuantizeU8(dst []byte, x []float32, scale, lo, hi float32, zp int32) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		quantizeU8AVX512(n/16, &dst[0], &x[0], scale, lo, hi, zp)
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		quantizeU8AVX2(n/8, &dst[0], &x[0], scale, lo, hi, zp)
		return n &^ 7
	}
	return 0
}

func someDequantizeU8(dst []float32, src []byte, scale float32, zp int32) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		dequantizeU8AVX512(n/16, &dst[0], &src[0], scale, zp)
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		dequantizeU8AVX2(n/8, &dst[0], &src[0], scale, zp)
		return n &^ 7
	}
	return 0
}

func someQuantizeS8(dst []byte, x []float32, scale, lo, hi float32, zp int32) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		quantizeS8AVX512(n/16, &dst[0], &x[0], scale, lo, hi, zp)
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		quantizeS8AVX2(n/8, &dst[0], &x[0], scale, lo, hi, zp)
		return n &^ 7
	}
	return 0
}

func someDequantizeS8(dst []float32, src []byte, scale float32, zp int32) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		dequantizeS8AVX512(n/16, &dst[0], &src[0], scale, zp)
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		dequantizeS8AVX2(n/8, &dst[0], &src[0], scale, zp)
		return n &^ 7
	}
	return 0
}

func someF16ToF32[T ~uint16](dst []float32, src []T) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		f16ToF32AVX512(n/16, &dst[0], (*uint16)(unsafe.Pointer(&src[0])))
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		f16ToF32AVX2(n/8, &dst[0], (*uint16)(unsafe.Pointer(&src[0])))
		return n &^ 7
	}
	return 0
}

func someF32ToF16[T ~uint16](dst []T, src []float32) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		f32ToF16AVX512(n/16, (*uint16)(unsafe.Pointer(&dst[0])), &src[0])
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		f32ToF16AVX2(n/8, (*uint16)(unsafe.Pointer(&dst[0])), &src[0])
		return n &^ 7
	}
	return 0
}

func someBF16ToF32[T ~uint16](dst []float32, src []T) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		bf16ToF32AVX512(n/16, &dst[0], (*uint16)(unsafe.Pointer(&src[0])))
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		bf16ToF32AVX2(n/8, &dst[0], (*uint16)(unsafe.Pointer(&src[0])))
		return n &^ 7
	}
	return 0
}

func someF32ToBF16[T ~uint16](dst []T, src []float32) int {
	switch n := len(dst); {
	case useConvertAVX512 && n >= 16:
		f32ToBF16AVX512(n/16, (*uint16)(unsafe.Pointer(&dst[0])), &src[0])
		return n &^ 15
	case useConvertAVX2 && n >= 8:
		f32ToBF16AVX2(n/8, (*uint16)(unsafe.Pointer(&dst[0])), &src[0])
		return n &^ 7
	}
	return 0
}

func axpyF64(alpha float64, x, y []float64) {
	x = x[:len(y)]
	switch {
	case len(y) == 0:
	case useVectorAVX512:
		axpyF64AVX512(len(y), &y[0], &x[0], alpha)
	case useVectorAVX2:
		axpyF64AVX2(len(y), &y[0], &x[0], alpha)
	default:
		axpyF64Generic(alpha, x, y)
	}
}

func addWidened(dst []float64, x []float32, alpha float64) {
	x = x[:len(dst)]
	switch {
	case len(dst) == 0:
	case useVectorAVX512:
		addWidenedAVX512(len(dst), &dst[0], &x[0], alpha)
	case useVectorAVX2:
		addWidenedAVX2(len(dst), &dst[0], &x[0], alpha)
	default:
		addWidenedGeneric(dst, x, alpha)
	}
}
