//go:build !amd64 || purego

package kernel

import "unsafe"

func tileRowsF32() int { return 4 }

func tileF32(height, width, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool, _ []float32) {
	tileGeneric(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
}

func dot4F32(k int, a, b []float32, ldb int, dst *[4]float32) {
	dot4F32Generic(k, a, b, ldb, dst)
}

func tileRowsF64() int { return 4 }

func tileF64(height, width, k int, a, b []float64, ldb int, c []float64, ldc, rows, n int, alpha, beta float64, load bool, _ []float64) {
	tileGeneric(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
}

func transposeStrips[W uint32 | uint64](dst []W, width int, src []W, ld, rows, k int) int { return 0 }

func copyPanels[W any](dst, src []W, ld, k, many int) bool { return false }

func nearRows(rows, bytes int, from unsafe.Pointer, ld int) {}

func leftWords() int { return 1 }

func widenLeft(dst, src []uint32, signed bool) {}

func tileInt8(aSigned bool, height, width, k4 int, a []uint32, b []byte, c []int32, _ []byte) {
	tileInt8Generic(aSigned, height, width, k4, a, b, c)
}

func finishInt32(rows, n int, acc []int32, terms []finishRow, u, v []int32, dst []int32, ldd int) {
	finishInt32Generic(rows, n, acc, terms, u, v, dst, ldd)
}

func finishF32(rows, n int, acc []int32, terms []finishRow, u, v []int32, scale, bias []float32, lo, hi float32, dst []float32, ldd int) {
	finishF32Generic(rows, n, acc, terms, u, v, scale, bias, lo, hi, dst, ldd)
}

func packStripInt8(dst []uint32, height int, a []byte, lda, rows, whole int, flip uint32) int {
	return 0
}

func sumBytes(x []byte, flip uint32) int32 { return sumBytesGeneric(x, flip) }

func gather(src []uint32, offs []int, dst []uint32, ldd, n, room int) {
	gatherGeneric(src, offs, dst, ldd, n)
}

func epilogue(rows, n int, y []float32, ldy int, bias []float32, lo, hi float32) {
	epilogueGeneric(rows, n, y, ldy, bias, lo, hi)
}

func taps(rows, n int, src []float32, lds int, offs []int, w []float32, bias, lo, hi float32, dst []float32, ldd int) {
	tapsGeneric(rows, n, src, lds, offs, w, bias, lo, hi, dst, ldd)
}

func interleave4(dst []uint32, r0, r1, r2, r3 []byte, flip byte) {
	interleave4Generic(dst, r0, r1, r2, r3, flip)
}

func everyOther(dst, src []uint32) { everyOtherGeneric(dst, src) }

func tileRowsBF16() int { return 4 }

func tileBF16(height, width, k int, a, b []uint32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool, _ []uint32) {
	tileBF16Generic(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
}

func packPairs(dst []uint32, width int, src []uint16, ld, whole int) int { return 0 }

func interleave2(dst []uint32, r0, r1 []uint16) { interleave2Generic(dst, r0, r1) }

func pairBF16(dst []uint32, r0, r1 []float32) { pairBF16Generic(dst, r0, r1) }

func finishCodes(rows, n int, acc []int32, terms []finishRow, u, v []int32, scale []float32, lo, hi float32, zp int32, dst []byte, ldd int) {
	finishCodesGeneric(rows, n, acc, terms, u, v, scale, lo, hi, zp, dst, ldd)
}

func useByteStrips() bool { return false }

func transposeByteStrip(dst []byte, ldd int, src []byte, lds, cols int) {}

func copyColumns[W any](dst, src []W, ld, k, width, n int) int { return 0 }
