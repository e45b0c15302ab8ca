//go:build !purego

package kernel

import "unsafe"

// winogradInput is winogradInputGeneric for a multiple of 16 channels; work has room for (m+2)^2 vectors.
func winogradInput(m, channels int, src []float32, row, pixel int, dst []float32, point int, work []float32) {
	n := m + 2
	needLen("Winograd input", len(src), (n-1)*(row+pixel)+channels)
	needLen("Winograd points", len(dst), (n*n-1)*point+channels)
	checkWinograd(m, channels, len(work), n*n)
	switch {
	case useStripsAVX512 && m == 2:
		winogradInput2AVX512(channels, &src[0], row, pixel, &dst[0], point, &work[0])
	case useStripsAVX512:
		winogradInput4AVX512(channels, &src[0], row, pixel, &dst[0], point, &work[0])
	case useStripsAVX2 && m == 2:
		winogradInput2AVX2(channels, &src[0], row, pixel, &dst[0], point, &work[0])
	case useStripsAVX2:
		winogradInput4AVX2(channels, &src[0], row, pixel, &dst[0], point, &work[0])
	default:
		winogradInputGeneric(m, channels, src, row, pixel, dst, point)
	}
}

// winogradOutput is winogradOutputGeneric for a multiple of 16 channels; work has room for m*(m+2) vectors.
func winogradOutput(m, channels int, src []float32, point int, bias, dst, other []float32, row, pixel int, lo, hi float32, work []float32) {
	n := m + 2
	needLen("Winograd points", len(src), (n*n-1)*point+channels)
	needLen("Winograd bias", len(bias), channels)
	needLen("Winograd output", len(dst), (m-1)*(row+pixel)+channels)
	if other != nil {
		needLen("Winograd residual", len(other), (m-1)*(row+pixel)+channels)
	}
	checkWinograd(m, channels, len(work), n*m)
	f := winogradOutput4AVX512
	switch {
	case useStripsAVX512 && m == 2:
		f = winogradOutput2AVX512
	case useStripsAVX512:
	case useStripsAVX2 && m == 2:
		f = winogradOutput2AVX2
	case useStripsAVX2:
		f = winogradOutput4AVX2
	default:
		winogradOutputGeneric(m, channels, src, point, bias, dst, other, row, pixel, lo, hi)
		return
	}
	f(channels, &src[0], point, &bias[0], &dst[0], unsafe.SliceData(other), row, pixel, lo, hi, &work[0])
}

func checkWinograd(m, channels, work, vectors int) {
	if m != 2 && m != 4 || channels < 1 || channels%16 != 0 {
		panic("kernel: Winograd transform: not a tile")
	}
	needLen("Winograd scratch", work, 16*vectors)
}
