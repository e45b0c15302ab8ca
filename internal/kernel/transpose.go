package kernel

import "unsafe"

// Transpose sets dst[j*ldd+i] = src[i*lds+j] for i in [0,rows), j in [0,cols), for elements of 1, 2,
// 4, 8 or any other number of bytes. dst and src must not overlap.
func Transpose[T any](dst []T, ldd int, src []T, lds, rows, cols int) {
	need("Transpose src", len(src), rows, cols, lds)
	need("Transpose dst", len(dst), cols, rows, ldd)
	if unsafe.Sizeof(*new(T)) == 4 && rows > 0 && cols > 0 {
		s, d := unsafe.Slice((*uint32)(unsafe.Pointer(&src[0])), len(src)), unsafe.Slice((*uint32)(unsafe.Pointer(&dst[0])), len(dst))
		const strip = 256 // columns whose lines of dst stay cached while the strips of eight rows pass
		done := 0
		for j := 0; j < cols; j += strip {
			done = transposeStrips(d[j*ldd:], ldd, s[j:], lds, rows, min(strip, cols-j))
			for i := done; i < rows; i++ {
				for c, v := range s[i*lds+j : i*lds+min(j+strip, cols)] {
					d[(j+c)*ldd+i] = v
				}
			}
		}
		return
	}
	// Blocks of 32 x 32 keep the lines that the columns touch in the first-level cache.
	const block = 32
	for i0 := 0; i0 < rows; i0 += block {
		i1 := min(i0+block, rows)
		for j0 := 0; j0 < cols; j0 += block {
			j1 := min(j0+block, cols)
			for i := i0; i < i1; i++ {
				for j, v := range src[i*lds+j0 : i*lds+j1] {
					dst[(j0+j)*ldd+i] = v
				}
			}
		}
	}
}
