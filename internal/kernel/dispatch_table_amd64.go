//go:build !purego

package kernel

import "github.com/neurotrain/neuroquant/internal/impl"

var useTableAVX512 bool

func init() { impl.Register("table", impl.AVX512, &useTableAVX512) }

// encodeTable reports whether it did the work of encodeTableGeneric.
func encodeTable(t *CodeTable, block int, dst []byte, absmax, x []float32) bool {
	if !useTableAVX512 || block%16 != 0 {
		return false
	}
	encodeTableAVX512(len(x)/block, block/16, &dst[0], &absmax[0], &x[0], &t.bounds[0], &t.codes[0])
	return true
}
