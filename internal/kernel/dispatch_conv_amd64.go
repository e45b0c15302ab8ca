//go:build !purego

package kernel

import "unsafe"

// gather sets dst[l*ldd+j] = src[offs[l]+j] for j < n <= 48. Up to room elements of a row may be overwritten, the
// excess with anything.
func gather(src []uint32, offs []int, dst []uint32, ldd, n, room int) {
	if len(offs) == 0 {
		return
	}
	lowest, highest := offs[0], offs[0]
	for _, o := range offs {
		lowest, highest = min(lowest, o), max(highest, o)
	}
	if lowest < 0 {
		panic("kernel: gather: negative offset")
	}
	needLen("gather source", len(src), highest+n)
	need("gather destination", len(dst), len(offs), n, ldd)
	switch {
	case useConvAVX512:
		gatherAVX512(len(offs), &src[0], &offs[0], &dst[0], ldd, n)
	case useConvAVX2:
		for j := 0; j < n; j += 8 {
			whole := room-j >= 8 && len(dst) >= (len(offs)-1)*ldd+j+8
			gather8AVX2(len(offs), &src[j], &offs[0], &dst[j], ldd, min(8, n-j), whole)
		}
	default:
		gatherGeneric(src, offs, dst, ldd, n)
	}
}

// epilogue adds bias[i] to n elements of each row of y and clips them.
func epilogue(rows, n int, y []float32, ldy int, bias []float32, lo, hi float32) {
	need("epilogue y", len(y), rows, n, ldy)
	needLen("epilogue bias", len(bias), rows)
	if rows == 0 || n == 0 {
		return
	}
	switch {
	case useConvAVX512:
		epilogueAVX512(rows, n, &y[0], ldy, &bias[0], lo, hi)
	case useConvAVX2:
		epilogueAVX2(rows, n, &y[0], ldy, &bias[0], lo, hi)
	default:
		epilogueGeneric(rows, n, y, ldy, bias, lo, hi)
	}
}

// taps sets dst[i*ldd+j] to the clipped sum of bias and w[t]*src[i*lds+offs[t]+j] over t.
func taps(rows, n int, src []float32, lds int, offs []int, w []float32, bias, lo, hi float32, dst []float32, ldd int) {
	if rows == 0 || n == 0 {
		return
	}
	highest := 0
	for _, o := range offs {
		highest = max(highest, o)
	}
	needLen("taps source", len(src), (rows-1)*lds+highest+n)
	needLen("taps weights", len(w), len(offs))
	need("taps destination", len(dst), rows, n, ldd)
	switch {
	case useConvAVX512:
		tapsAVX512(rows, n, &src[0], lds, len(offs), &offs[0], &w[0], bias, lo, hi, &dst[0], ldd)
	case useConvAVX2:
		tapsAVX2(rows, n, &src[0], lds, len(offs), &offs[0], &w[0], bias, lo, hi, &dst[0], ldd)
	default:
		tapsGeneric(rows, n, src, lds, offs, w, bias, lo, hi, dst, ldd)
	}
}

// interleave4 sets each word of dst to one byte of each of four rows, the bits of flip inverted.
func interleave4(dst []uint32, r0, r1, r2, r3 []byte, flip byte) {
	n := 0
	if useTransposeAVX2 && len(dst) >= 32 {
		n = len(dst) &^ 31
		needLen("interleave4", min(len(r0), len(r1), len(r2), len(r3)), n)
		word := uint32(flip) * 0x01010101
		interleave4AVX2(n/32, &r0[0], &r1[0], &r2[0], &r3[0], (*byte)(unsafe.Pointer(&dst[0])), word)
		if last := len(dst) - 32; n < len(dst) { // some once more
			needLen("interleave4", min(len(r0), len(r1), len(r2), len(r3)), len(dst))
			interleave4AVX2(1, &r0[last], &r1[last], &r2[last], &r3[last], (*byte)(unsafe.Pointer(&dst[last])), word)
			return
		}
	}
	interleave4Generic(dst[n:], r0[n:], r1[n:], r2[n:], r3[n:], flip)
}

// everyOther sets dst[i] = src[2*i].
func everyOther(dst, src []uint32) {
	n := 0
	if useTransposeAVX2 {
		if n = min(len(dst), len(src)/2) &^ 7; n > 0 {
			everyOtherAVX2(n/8, &src[0], &dst[0])
		}
	}
	everyOtherGeneric(dst[n:], src[2*n:])
}
