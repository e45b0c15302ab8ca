//go:build !purego

package kernel

import "github.com/neurotrain/neuroquant/internal/impl"

var useNarrowAVX512, useNarrowAVX2 bool

func init() {
	impl.Register("narrow", impl.AVX512, &useNarrowAVX512)
	impl.Register("narrow", impl.AVX2, &useNarrowAVX2)
}

// nativeBF16 reports whether there are instructions for products of bfloat16.
func nativeBF16() bool { return useGemmBF16 }

// nativeFew reports whether the products of few rows of x read the matrix once.
func nativeFew() bool { return useNarrowAVX512 }

// dotsNarrow multiplies groups of rows of a matrix with rows of x; see the generator.
type dotsNarrow func(groups, k int, a *float32, lda int, b *uint16, ldb int, dst *float32, ldd int)

// dotNarrowVectors does whole vectors of columns of dotNarrow and returns how many columns they are.
func dotNarrowVectors(bfloat bool, cols, tokens int, x []float32, ldx int, w []uint16, rows int, dst []float32, ldd int) int {
	lanes := 8
	var four, one dotsNarrow // four rows of the matrix with four rows of x, and one with one
	switch {
	case useNarrowAVX512 && bfloat:
		lanes, four, one = 16, dotBF16Rows4x4AVX512, dotBF16Rows1x1AVX512
	case useNarrowAVX512:
		lanes, four, one = 16, dotF16Rows4x4AVX512, dotF16Rows1x1AVX512
	case useNarrowAVX2 && bfloat:
		one = dotBF16Rows1x1AVX2
	case useNarrowAVX2:
		one = dotF16Rows1x1AVX2
	default:
		return 0
	}
	k := cols / lanes * lanes
	if k == 0 || rows == 0 {
		return 0
	}
	t, groups := 0, rows/4
	for ; four != nil && t+4 <= tokens; t += 4 {
		if groups > 0 {
			four(groups, k, &x[t*ldx], ldx, &w[0], cols, &dst[t*ldd], ldd)
		}
		for s := t; s < t+4 && 4*groups < rows; s++ {
			one(rows-4*groups, k, &x[s*ldx], ldx, &w[4*groups*cols], cols, &dst[s*ldd+4*groups], ldd)
		}
	}
	for ; t < tokens; t++ {
		one(rows, k, &x[t*ldx], ldx, &w[0], cols, &dst[t*ldd], ldd)
	}
	return k
}
