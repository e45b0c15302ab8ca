//go:build !purego

package kernel

import "unsafe"

// The ends of integer products pick the function that leaves out the terms that are not there: terms may be nil for
// rows that add and scale nothing, u and v may be.

func finishInt32(rows, n int, acc []int32, terms []finishRow, u, v []int32, dst []int32, ldd int) {
	checkFinish(rows, n, len(acc), terms, u, v, len(dst), ldd)
	f := finishInt32AVX512
	switch {
	case useFinishAVX512 && terms == nil:
		f = finishInt32ColumnsAVX512
	case useFinishAVX512 && u == nil && v == nil:
		f = finishInt32RowsAVX512
	case useFinishAVX512:
	case useFinishAVX2 && terms == nil:
		f = finishInt32ColumnsAVX2
	case useFinishAVX2 && u == nil && v == nil:
		f = finishInt32RowsAVX2
	case useFinishAVX2:
		f = finishInt32AVX2
	default:
		finishInt32Generic(rows, n, acc, terms, u, v, dst, ldd)
		return
	}
	f(rows, n, &acc[0], rowsOf(terms), unsafe.SliceData(u), unsafe.SliceData(v), &dst[0], ldd)
}

func finishF32(rows, n int, acc []int32, terms []finishRow, u, v []int32, scale, bias []float32, lo, hi float32, dst []float32, ldd int) {
	checkFinish(rows, n, len(acc), terms, u, v, len(dst), ldd)
	checkFinishColumns(n, scale, bias)
	rowsOnly := u == nil && v == nil && scale == nil && bias == nil
	f := finishF32AVX512
	switch {
	case useFinishAVX512 && terms == nil:
		f = finishF32ColumnsAVX512
	case useFinishAVX512 && rowsOnly:
		f = finishF32RowsAVX512
	case useFinishAVX512:
	case useFinishAVX2 && terms == nil:
		f = finishF32ColumnsAVX2
	case useFinishAVX2 && rowsOnly:
		f = finishF32RowsAVX2
	case useFinishAVX2:
		f = finishF32AVX2
	default:
		finishF32Generic(rows, n, acc, terms, u, v, scale, bias, lo, hi, dst, ldd)
		return
	}
	f(rows, n, &acc[0], rowsOf(terms), unsafe.SliceData(u), unsafe.SliceData(v), unsafe.SliceData(scale), unsafe.SliceData(bias), lo, hi, &dst[0], ldd)
}

func finishCodes(rows, n int, acc []int32, terms []finishRow, u, v []int32, scale []float32, lo, hi float32, zp int32, dst []byte, ldd int) {
	checkFinish(rows, n, len(acc), terms, u, v, len(dst), ldd)
	checkFinishColumns(n, scale, nil)
	rowsOnly := u == nil && v == nil && scale == nil
	whole := n // columns that go in vectors
	f := finishCodesAVX512
	switch {
	case useFinishAVX512 && terms == nil:
		f = finishCodesColumnsAVX512
	case useFinishAVX512 && rowsOnly:
		f = finishCodesRowsAVX512
	case useFinishAVX512:
	case useFinishAVX2 && terms == nil:
		f, whole = finishCodesColumnsAVX2, n&^7
	case useFinishAVX2 && rowsOnly:
		f, whole = finishCodesRowsAVX2, n&^7
	case useFinishAVX2:
		f, whole = finishCodesAVX2, n&^7
	default:
		whole = 0
	}
	if whole > 0 {
		f(rows, whole, &acc[0], rowsOf(terms), unsafe.SliceData(u), unsafe.SliceData(v), unsafe.SliceData(scale), lo, hi, zp, &dst[0], ldd)
	}
	if whole < n {
		finishCodesGeneric(rows, n-whole, acc[whole:], terms, from(u, whole), from(v, whole), from(scale, whole), lo, hi, zp, dst[whole:], ldd)
	}
}

// rowsOf is where the terms of the rows lie.
func rowsOf(terms []finishRow) *int32 { return (*int32)(unsafe.Pointer(unsafe.SliceData(terms))) }

func checkFinish(rows, n, lenAcc int, terms []finishRow, u, v []int32, lenDst, ldd int) {
	padded := (n + 15) &^ 15
	if rows < 1 || n < 1 || padded > panelWidth || terms == nil && v != nil {
		panic("kernel: finish: not a tile")
	}
	need("finish sums", lenAcc, rows, padded, panelWidth)
	if terms != nil {
		needLen("finish rows", len(terms), rows)
	}
	for _, s := range [][]int32{u, v} {
		if s != nil {
			needLen("finish columns", len(s), padded)
		}
	}
	need("finish dst", lenDst, rows, n, ldd)
}

func checkFinishColumns(n int, scale, bias []float32) {
	for _, s := range [][]float32{scale, bias} {
		if s != nil {
			needLen("finish scale or bias", len(s), n)
		}
	}
}
