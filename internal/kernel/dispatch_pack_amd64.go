//go:build !purego

package kernel

import "unsafe"

// packPairs sets dst[l*width+r] to the elements 2l and 2l+1 of row r of eight, ld apart, for the first l < whole;
// it returns how many l it did.
func packPairs(dst []uint32, width int, src []uint16, ld, whole int) int {
	if !useTransposeAVX2 || whole < 8 {
		return 0
	}
	whole &^= 7
	need("packPairs source", len(src), 8, 2*whole, ld)
	needLen("packPairs destination", len(dst), (whole-1)*width+8)
	transpose8x32AVX2(whole/8, (*byte)(unsafe.Pointer(&src[0])), 2*ld, &dst[0], width, 0)
	return whole
}

// interleave2 sets each word of dst to one element of each of two rows.
func interleave2(dst []uint32, r0, r1 []uint16) {
	n := 0
	if useTransposeAVX2 && len(dst) >= 16 {
		n = len(dst) &^ 15
		needLen("interleave2", min(len(r0), len(r1)), n)
		interleave2AVX2(n/16, &r0[0], &r1[0], &dst[0])
	}
	interleave2Generic(dst[n:], r0[n:], r1[n:])
}

// pairBF16 sets each word of dst to one element of each of two rows, rounded to bfloat16.
func pairBF16(dst []uint32, r0, r1 []float32) {
	n := 0
	needLen("pairBF16", min(len(r0), len(r1)), len(dst))
	switch {
	case useConvertAVX512 && len(dst) >= 16:
		n = len(dst) &^ 15
		pairBF16AVX512(n/16, &dst[0], &r0[0], &r1[0])
	case useConvertAVX2 && len(dst) >= 8:
		n = len(dst) &^ 7
		pairBF16AVX2(n/8, &dst[0], &r0[0], &r1[0])
	}
	pairBF16Generic(dst[n:], r0[n:], r1[n:])
}

// transposeStrips does the first part of packTransposed, a multiple of eight or four rows, and returns how
// many it did.
func transposeStrips[W uint32 | uint64](dst []W, width int, src []W, ld, rows, k int) int {
	size := sizeOf[W]()
	step := 32 / size
	if !useTransposeAVX2 || k < step {
		return 0
	}
	whole := k / step * step
	i := 0
	for ; i+step <= rows; i += step {
		if size == 4 {
			transpose8x32AVX2(whole/8, (*byte)(unsafe.Pointer(&src[i*ld])), 4*ld, (*uint32)(unsafe.Pointer(&dst[i])), width, 0)
		} else {
			transpose4x64AVX2(whole/4, (*uint64)(unsafe.Pointer(&src[i*ld])), ld, (*uint64)(unsafe.Pointer(&dst[i])), width)
		}
		for l := whole; l < k; l++ {
			for r := i; r < i+step; r++ {
				dst[l*width+r] = src[r*ld+l]
			}
		}
	}
	return i
}

func useByteStrips() bool { return useTransposeAVX2 }

// transposeByteStrip transposes eight rows of cols bytes, a multiple of 16.
func transposeByteStrip(dst []byte, ldd int, src []byte, lds, cols int) {
	need("transposeByteStrip source", len(src), 8, cols, lds)
	need("transposeByteStrip destination", len(dst), cols, 8, ldd)
	transposeBytesAVX2(cols/16, &src[0], lds, &dst[0], ldd)
}

// copyPanels packs k rows of many panels of 192 bytes side by side; it reports whether it did.
func copyPanels[W any](dst, src []W, ld, k, many int) bool {
	size := sizeOf[W]()
	width := panelBytes / size
	if !useTransposeAVX2 || k == 0 {
		return false
	}
	need("copyPanels source", len(src), k, many*width, ld)
	needLen("copyPanels destination", len(dst), k*many*width)
	from, to := (*byte)(unsafe.Pointer(&src[0])), (*byte)(unsafe.Pointer(&dst[0]))
	if useGemmF32AVX512 {
		copyPanelsAVX512(k, many, from, ld*size, to, k*panelBytes)
	} else {
		copyPanelsAVX2(k, many, from, ld*size, to, k*panelBytes)
	}
	return true
}

// packStripInt8 sets dst[l*height+r] to word l of row r of a, the bits of flip inverted, for eight rows
// and the first l < whole; it returns how many l it did, 0 if there are not eight rows.
func packStripInt8(dst []uint32, height int, a []byte, lda, rows, whole int, flip uint32) int {
	if !useTransposeAVX2 || rows != 8 || whole < 8 {
		return 0
	}
	need("packStripInt8", len(a), rows, 4*whole, lda)
	transpose8x32AVX2(whole/8, &a[0], lda, &dst[0], height, flip)
	return whole &^ 7
}

func sumBytes(x []byte, flip uint32) int32 {
	n := 0
	var sum int64
	if useTransposeAVX2 && len(x) >= 32 {
		n = len(x) &^ 31
		sum = sumBytesAVX2(n/32, &x[0], flip)
	}
	return int32(sum) + sumBytesGeneric(x[n:], flip)
}

// copyColumns packs the first of n columns of k rows, ld apart, into panels of width columns, each as k rows one behind the other,
// where a row of a panel is one vector or two; it returns how many columns it did.
func copyColumns[W any](dst, src []W, ld, k, width, n int) int {
	size := sizeOf[W]()
	panels := n / width
	if !useTransposeAVX2 || k == 0 || panels == 0 || width*size%32 != 0 || width*size > 64 {
		return 0
	}
	need("copyColumns source", len(src), k, panels*width, ld)
	needLen("copyColumns destination", len(dst), panels*k*width)
	const together = 8 // panels, whose lines may all belong to one set of the first-level cache
	for p := 0; p < panels; p += together {
		copyColumnsAVX2(k, min(together, panels-p), (*byte)(unsafe.Pointer(&src[p*width])), ld*size, (*byte)(unsafe.Pointer(&dst[p*k*width])), k*width*size, width*size)
	}
	return panels * width
}
