//go:build !amd64 || purego

package kernel

func useRunsInt8() bool { return false }

func runsWidened() bool { return false }

func widenImage(dst, src []byte) {}

func runsInt8(height, width, words int, src []byte, starts, offs []int, b []byte, c []int32) {}

func tapsInt8(rows, n int, src []byte, step int, offs []int, w []int32, ldw int, c []int32) {
	tapsInt8Generic(rows, n, src, step, offs, w, ldw, c)
}

func tapsF32(rows, n int, src []float32, step int, offs, woffs []int, w, start []float32, lo, hi float32, dst []float32, ldd int) {
	tapsF32Generic(rows, n, src, step, offs, woffs, w, start, lo, hi, dst, ldd)
}

func useDepthwiseBlocks() bool { return false }

func depthwiseBlock(rows, n int, src []byte, step int, offs []int, w []byte, start []int32, scale []float32, lo, hi float32, zp int32, dst []byte, ldd int) {
}

func useStrips() bool { return false }

func strip(count, n, width, words int, src []byte, rows, offs []int, reach int, b []byte, start []int32, scale []float32, end *codesEnd, dst, other []byte, ldd int) {
	checkStrip(count, n, width, words, src, rows, offs, reach, b, start, scale, dst, other, ldd)
	stripGeneric(count, n, width, words, src, rows, offs, b, start, scale, end, dst, other, ldd)
}

func (a *stripF32) run() {
	a.check()
	a.generic()
}

func stripFloats(count, n, width, words int, src []byte, rows, offs []int, reach int, b []byte, start []int32, scale, bias []float32, lo, hi float32, dst, other []float32, ldd int) {
	checkStrip(count, n, width, words, src, rows, offs, reach, b, start, scale, nil, nil, ldd)
	stripFloatsGeneric(count, n, width, words, src, rows, offs, b, start, scale, bias, lo, hi, dst, other, ldd)
}

func depthwiseSlide(stride, count, n int, src []byte, pixel, row int, w []byte, start []int32, scale []float32, end *codesEnd, dst []byte, ldd int) {
}

func useSmallF32() bool { return false }
