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

// dotNarrowVectors does whole vectors of columns of dotNarrow and returns how many columns they are.
func dotNarrowVectors(bfloat bool, cols int, x []float32, w []uint16, dst []float32) int {
	lanes := 8
	if useNarrowAVX512 {
		lanes = 16
	}
	k := cols / lanes * lanes
	if k == 0 || len(dst) == 0 {
		return 0
	}
	switch {
	case useNarrowAVX512 && bfloat:
		dotBF16RowsAVX512(len(dst), k, &x[0], &w[0], cols, &dst[0])
	case useNarrowAVX512:
		dotF16RowsAVX512(len(dst), k, &x[0], &w[0], cols, &dst[0])
	case useNarrowAVX2 && bfloat:
		dotBF16RowsAVX2(len(dst), k, &x[0], &w[0], cols, &dst[0])
	case useNarrowAVX2:
		dotF16RowsAVX2(len(dst), k, &x[0], &w[0], cols, &dst[0])
	default:
		return 0
	}
	return k
}
