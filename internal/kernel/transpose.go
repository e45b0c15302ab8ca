package kernel

import "unsafe"

// Transpose sets dst[j*ldd+i] = src[i*lds+j] for i in [0,rows), j in [0,cols), for elements of 1, 2,
// 4, 8 or any other number of bytes. dst and src must not overlap.
func Transpose[T any](dst []T, ldd int, src []T, lds, rows, cols int) {
	need("Transpose src", len(src), rows, cols, lds)
	need("Transpose dst", len(dst), cols, rows, ldd)
	if rows == 3 && ldd == 3 { // an image of three colours
		weave3(dst, src, src[lds:], src[2*lds:], cols)
		return
	}
	if rows > 0 && cols > 0 {
		switch unsafe.Sizeof(*new(T)) {
		case 1:
			transposeOctets(viewAs[byte](dst), ldd, viewAs[byte](src), lds, rows, cols)
			return
		case 4:
			transposeWords(viewAs[uint32](dst), ldd, viewAs[uint32](src), lds, rows, cols)
			return
		case 8:
			transposeWords(viewAs[uint64](dst), ldd, viewAs[uint64](src), lds, rows, cols)
			return
		}
	}
	transposeBlocks(dst, ldd, src, lds, rows, cols)
}

// weave3 sets dst to n elements of a, b and c in turn.
func weave3[T any](dst, a, b, c []T, n int) {
	dst, a, b, c = dst[:3*n], a[:n], b[:n], c[:n]
	for i, v := range a {
		d := dst[3*i : 3*i+3 : 3*i+3]
		d[0], d[1], d[2] = v, b[i], c[i]
	}
}

// transposeBlocks goes by blocks of 32 x 32, which keep the lines that the columns touch in the first-level cache.
func transposeBlocks[T any](dst []T, ldd int, src []T, lds, rows, cols int) {
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

// transposeOctets does strips of eight rows in vectors, and what is left by blocks.
func transposeOctets(dst []byte, ldd int, src []byte, lds, rows, cols int) {
	const strip = 512 // columns whose lines of dst stay cached while the strips of rows pass
	i, j := rows&^7, cols&^15
	if i == 0 || j == 0 || !useByteStrips() {
		transposeBlocks(dst, ldd, src, lds, rows, cols)
		return
	}
	for c := 0; c < j; c += strip {
		for r := 0; r < i; r += 8 {
			transposeByteStrip(dst[c*ldd+r:], ldd, src[r*lds+c:], lds, min(strip, j-c))
		}
	}
	if i < rows {
		transposeBlocks(dst[i:], ldd, src[i*lds:], lds, rows-i, cols)
	}
	if j < cols {
		transposeBlocks(dst[j*ldd:], ldd, src[j:], lds, i, cols-j)
	}
}

func transposeWords[W uint32 | uint64](dst []W, ldd int, src []W, lds, rows, cols int) {
	const strip = 256 // columns whose lines of dst stay cached while the strips of rows pass
	for j := 0; j < cols; j += strip {
		done := transposeStrips(dst[j*ldd:], ldd, src[j:], lds, rows, min(strip, cols-j))
		for i := done; i < rows; i++ {
			for c, v := range src[i*lds+j : i*lds+min(j+strip, cols)] {
				dst[(j+c)*ldd+i] = v
			}
		}
	}
}

// viewAs is a slice that is not empty as words of another type of the same size.
func viewAs[W, T any](x []T) []W {
	return unsafe.Slice((*W)(unsafe.Pointer(&x[0])), len(x))
}
