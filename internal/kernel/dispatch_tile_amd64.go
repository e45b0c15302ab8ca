//go:build !purego

package kernel

import "unsafe"

// tileRowsF32 is the number of rows of the float32 micro-kernel in use.
func tileRowsF32() int {
	if useGemmF32AVX512 {
		return 8
	}
	if useGemmF32AVX2 {
		return 6
	}
	return 4
}

// tileF32 runs the micro-kernel for a panel of the given height (see panelRows) and width on b's
// columns 0 to width. All width columns of k rows of b must be readable. The first part of ahead, which the next tiles
// read, may be brought near (see aheadOf).
func tileF32(height, width, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool, ahead []float32) {
	needLen("tile A", len(a), height*k)
	need("tile B", len(b), k, width, ldb)
	need("tile C", len(c), rows, n, ldc)
	if useGemmF32AVX512 {
		a, b, c, fetch := &a[0], &b[0], &c[0], firstOf(ahead, b)
		switch height<<8 | width {
		case 8<<8 | 48:
			tileF32x8x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load, fetch)
		case 8<<8 | 32:
			tileF32x8x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 8<<8 | 16:
			tileF32x8x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 48:
			tileF32x4x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 32:
			tileF32x4x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 16:
			tileF32x4x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 48:
			tileF32x2x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 32:
			tileF32x2x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 16:
			tileF32x2x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 48:
			tileF32x1x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 32:
			tileF32x1x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 16:
			tileF32x1x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		default:
			panic("kernel: no such tile")
		}
		return
	}
	if useGemmF32AVX2 {
		for j := 0; j < n; j += 16 {
			a, b, c, n := &a[0], &b[j], &c[j], min(16, n-j)
			switch height {
			case 6:
				tileF32x6x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 4:
				tileF32x4x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 2:
				tileF32x2x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 1:
				tileF32x1x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			default:
				panic("kernel: no such tile")
			}
		}
		return
	}
	tileGeneric(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
}

// firstOf is the address of x, or of y where x is empty.
func firstOf[T any](x, y []T) *T {
	if len(x) > 0 {
		return &x[0]
	}
	return &y[0]
}

// dot4F32 sets dst[j] to the dot product of a and the j-th of four rows of b, ldb apart.
func dot4F32(k int, a, b []float32, ldb int, dst *[4]float32) {
	needLen("dot A", len(a), k)
	needLen("dot B", len(b), 3*ldb+k)
	switch {
	case useGemmF32AVX512:
		dot4F32AVX512(k, &a[0], &b[0], ldb, &dst[0])
	case useGemmF32AVX2:
		dot4F32AVX2(k, &a[0], &b[0], ldb, &dst[0])
	default:
		dot4F32Generic(k, a, b, ldb, dst)
	}
}

// tileRowsF64 is the number of rows of the float64 micro-kernel in use.
func tileRowsF64() int {
	if useGemmF64AVX512 {
		return 8
	}
	if useGemmF64AVX2 {
		return 6
	}
	return 4
}

// tileF64 is tileF32 in float64, on panels half as wide.
func tileF64(height, width, k int, a, b []float64, ldb int, c []float64, ldc, rows, n int, alpha, beta float64, load bool, ahead []float64) {
	needLen("tile A", len(a), height*k)
	need("tile B", len(b), k, width, ldb)
	need("tile C", len(c), rows, n, ldc)
	if useGemmF64AVX512 {
		a, b, c, fetch := &a[0], &b[0], &c[0], firstOf(ahead, b)
		switch height<<8 | width {
		case 8<<8 | 24:
			tileF64x8x24AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load, fetch)
		case 8<<8 | 16:
			tileF64x8x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 8<<8 | 8:
			tileF64x8x8AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 24:
			tileF64x4x24AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 16:
			tileF64x4x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 8:
			tileF64x4x8AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 24:
			tileF64x2x24AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 16:
			tileF64x2x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 8:
			tileF64x2x8AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 24:
			tileF64x1x24AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 16:
			tileF64x1x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 8:
			tileF64x1x8AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		default:
			panic("kernel: no such tile")
		}
		return
	}
	if useGemmF64AVX2 {
		for j := 0; j < n; j += 8 {
			a, b, c, n := &a[0], &b[j], &c[j], min(8, n-j)
			switch height {
			case 6:
				tileF64x6x8AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 4:
				tileF64x4x8AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 2:
				tileF64x2x8AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 1:
				tileF64x1x8AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			default:
				panic("kernel: no such tile")
			}
		}
		return
	}
	tileGeneric(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
}

// tileRowsBF16 is the number of rows of the bfloat16 micro-kernel in use.
func tileRowsBF16() int {
	if useGemmBF16 || useGemmBF16Wider512 {
		return 8
	}
	return 4
}

// tileBF16 is tileF32 on words of two bfloat16; see tileBF16Generic.
func tileBF16(height, width, k int, a, b []uint32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool, ahead []uint32) {
	needLen("tile A", len(a), height*k)
	need("tile B", len(b), k, width, ldb)
	need("tile C", len(c), rows, n, ldc)
	switch {
	case useGemmBF16:
		a, b, c, fetch := &a[0], &b[0], &c[0], firstOf(ahead, b)
		switch height<<8 | width {
		case 8<<8 | 48:
			tileBF16x8x48AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load, fetch)
		case 8<<8 | 32:
			tileBF16x8x32AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 8<<8 | 16:
			tileBF16x8x16AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 48:
			tileBF16x4x48AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 32:
			tileBF16x4x32AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 16:
			tileBF16x4x16AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 48:
			tileBF16x2x48AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 32:
			tileBF16x2x32AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 16:
			tileBF16x2x16AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 48:
			tileBF16x1x48AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 32:
			tileBF16x1x32AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 16:
			tileBF16x1x16AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		default:
			panic("kernel: no such tile")
		}
	case useGemmBF16Wider512:
		a, b, c, fetch := &a[0], &b[0], &c[0], firstOf(ahead, b)
		switch height<<8 | width {
		case 8<<8 | 48:
			tileBF16Widerx8x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load, fetch)
		case 8<<8 | 32:
			tileBF16Widerx8x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 8<<8 | 16:
			tileBF16Widerx8x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 48:
			tileBF16Widerx4x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 32:
			tileBF16Widerx4x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 4<<8 | 16:
			tileBF16Widerx4x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 48:
			tileBF16Widerx2x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 32:
			tileBF16Widerx2x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 2<<8 | 16:
			tileBF16Widerx2x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 48:
			tileBF16Widerx1x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 32:
			tileBF16Widerx1x32AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		case 1<<8 | 16:
			tileBF16Widerx1x16AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
		default:
			panic("kernel: no such tile")
		}
	case useGemmBF16Wider2:
		for j := 0; j < n; j += 16 {
			a, b, c, n := &a[0], &b[j], &c[j], min(16, n-j)
			switch height {
			case 4:
				tileBF16Widerx4x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 2:
				tileBF16Widerx2x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			case 1:
				tileBF16Widerx1x16AVX2(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
			default:
				panic("kernel: no such tile")
			}
		}
	default:
		tileBF16Generic(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
	}
}

// leftWords is how many words of a tileInt8 takes for four bytes of a row: two if it wants them widened to 16 bits (see widenLeft).
func leftWords() int {
	if useGemmInt8AVX2 && !useGemmInt8AVXVNNI && !useGemmInt8VNNI {
		return 2
	}
	return 1
}

// widenLeft sets the 16-bit elements of dst, twice as many words, to the bytes of src. src may be the second half of dst.
func widenLeft(dst, src []uint32, signed bool) {
	needLen("widenLeft", len(dst), 2*len(src))
	n := len(src) &^ 3
	if n > 0 {
		from, to := (*byte)(unsafe.Pointer(&src[0])), (*uint16)(unsafe.Pointer(&dst[0]))
		if signed {
			widenBytesSAVX2(n/4, from, to)
		} else {
			widenBytesUAVX2(n/4, from, to)
		}
	}
	for i := n; i < len(src); i++ {
		v := src[i]
		for t := range 2 {
			x, y := v>>(16*t)&0xff, v>>(16*t+8)&0xff
			if signed {
				x, y = uint32(uint16(int8(x))), uint32(uint16(int8(y)))
			}
			dst[2*i+t] = x | y<<16
		}
	}
}

// tileInt8 runs the integer micro-kernel; see tileInt8Generic. Rows of a take leftWords words. The first part of ahead, which the
// next tiles read, may be brought near (see aheadOf).
func tileInt8(aSigned bool, height, width, k4 int, a []uint32, b []byte, c []int32, ahead []byte) {
	needLen("tile A", len(a), height*k4*leftWords())
	needLen("tile B", len(b), width*4*k4)
	needLen("tile C", len(c), height*panelWidth)
	switch {
	case k4 == 0:
		clear(c[:height*panelWidth])
	case useGemmInt8VNNI:
		if aSigned {
			tileInt8SU(height, width, k4, (*byte)(unsafe.Pointer(&a[0])), &b[0], &c[0], firstOf(ahead, b))
		} else {
			tileInt8US(height, width, k4, (*byte)(unsafe.Pointer(&a[0])), &b[0], &c[0], firstOf(ahead, b))
		}
	case useGemmInt8AVXVNNI:
		tileInt8Ymm(&tilesAVXVNNI, aSigned, height, width, k4, a, b, c)
	case useGemmInt8AVX2:
		for i := 0; i < height; {
			f, rows, cols := tile16(aSigned, height-i)
			for j := 0; j < width; j += cols {
				f(k4, (*byte)(unsafe.Pointer(&a[2*i])), 8*height, &b[4*j], 4*width, &c[i*panelWidth+j])
			}
			i += rows
		}
	default:
		tileInt8Generic(aSigned, height, width, k4, a, b, c)
	}
}

// tile16 is the micro-kernel in 16 bits for a number of rows, and how many rows and columns it takes.
func tile16(aSigned bool, left int) (f func(k4 int, a *byte, lda int, b *byte, ldb int, c *int32), rows, cols int) {
	switch {
	case left >= 6 && aSigned:
		return tileInt8SU6x8AVX2, 6, 8
	case left >= 6:
		return tileInt8US6x8AVX2, 6, 8
	case left >= 4 && aSigned:
		return tileInt8SU4x8AVX2, 4, 8
	case left >= 4:
		return tileInt8US4x8AVX2, 4, 8
	case left >= 2 && aSigned:
		return tileInt8SU2x16AVX2, 2, 16
	case left >= 2:
		return tileInt8US2x16AVX2, 2, 16
	case aSigned:
		return tileInt8SU1x16AVX2, 1, 16
	}
	return tileInt8US1x16AVX2, 1, 16
}

// nearRows brings the given bytes of some rows near, ld bytes apart.
func nearRows(rows, bytes int, from unsafe.Pointer, ld int) {
	prefetchRows(rows, (bytes+63)/64, (*byte)(from), ld)
}

// ymmTiles are micro-kernels of 4, 2 and 1 rows and 16 columns, and of 4 rows and 24 columns, for an A without and with signs.
type ymmTiles [2][4]func(k4 int, a *byte, lda int, b *byte, ldb int, c *int32)

var (
	tilesAVXVNNI = ymmTiles{
		{tileInt8US4x16AVXVNNI, tileInt8US2x16AVXVNNI, tileInt8US1x16AVXVNNI, tileInt8US4x24AVXVNNI},
		{tileInt8SU4x16AVXVNNI, tileInt8SU2x16AVXVNNI, tileInt8SU1x16AVXVNNI, tileInt8SU4x24AVXVNNI},
	}
	// The same functions in another encoding of one instruction: tests run them where the CPU has no AVX-VNNI.
	tilesAVX512VL = ymmTiles{
		{tileInt8US4x16AVX512VLVNNI, tileInt8US2x16AVX512VLVNNI, tileInt8US1x16AVX512VLVNNI, tileInt8US4x24AVX512VLVNNI},
		{tileInt8SU4x16AVX512VLVNNI, tileInt8SU2x16AVX512VLVNNI, tileInt8SU1x16AVX512VLVNNI, tileInt8SU4x24AVX512VLVNNI},
	}
)

// tileInt8Ymm runs the integer micro-kernel by tiles of at most 4 x 24.
func tileInt8Ymm(tiles *ymmTiles, aSigned bool, height, width, k4 int, a []uint32, b []byte, c []int32) {
	of := &tiles[0]
	if aSigned {
		of = &tiles[1]
	}
	f, step, cols := of[0], 4, 16
	switch {
	case height == 1:
		f, step = of[2], 1
	case height == 2:
		f, step = of[1], 2
	case width == panelWidth:
		f, cols = of[3], 24
	}
	for i := 0; i < height; i += step {
		rows := (*byte)(unsafe.Pointer(&a[i]))
		for j := 0; j < width; j += cols {
			f(k4, rows, 4*height, &b[4*j], 4*width, &c[i*panelWidth+j])
		}
	}
}

func tileInt8US(height, width, k4 int, a, b *byte, c *int32, ahead *byte) {
	switch height<<8 | width {
	case 8<<8 | 48:
		tileInt8US8x48AVX512VNNI(k4, a, 4*8, b, 4*48, c, ahead)
	case 8<<8 | 32:
		tileInt8US8x32AVX512VNNI(k4, a, 4*8, b, 4*32, c)
	case 8<<8 | 16:
		tileInt8US8x16AVX512VNNI(k4, a, 4*8, b, 4*16, c)
	case 4<<8 | 48:
		tileInt8US4x48AVX512VNNI(k4, a, 4*4, b, 4*48, c)
	case 4<<8 | 32:
		tileInt8US4x32AVX512VNNI(k4, a, 4*4, b, 4*32, c)
	case 4<<8 | 16:
		tileInt8US4x16AVX512VNNI(k4, a, 4*4, b, 4*16, c)
	case 2<<8 | 48:
		tileInt8US2x48AVX512VNNI(k4, a, 4*2, b, 4*48, c)
	case 2<<8 | 32:
		tileInt8US2x32AVX512VNNI(k4, a, 4*2, b, 4*32, c)
	case 2<<8 | 16:
		tileInt8US2x16AVX512VNNI(k4, a, 4*2, b, 4*16, c)
	case 1<<8 | 48:
		tileInt8US1x48AVX512VNNI(k4, a, 4*1, b, 4*48, c)
	case 1<<8 | 32:
		tileInt8US1x32AVX512VNNI(k4, a, 4*1, b, 4*32, c)
	case 1<<8 | 16:
		tileInt8US1x16AVX512VNNI(k4, a, 4*1, b, 4*16, c)
	default:
		panic("kernel: no such tile")
	}
}

func tileInt8SU(height, width, k4 int, a, b *byte, c *int32, ahead *byte) {
	switch height<<8 | width {
	case 8<<8 | 48:
		tileInt8SU8x48AVX512VNNI(k4, a, 4*8, b, 4*48, c, ahead)
	case 8<<8 | 32:
		tileInt8SU8x32AVX512VNNI(k4, a, 4*8, b, 4*32, c)
	case 8<<8 | 16:
		tileInt8SU8x16AVX512VNNI(k4, a, 4*8, b, 4*16, c)
	case 4<<8 | 48:
		tileInt8SU4x48AVX512VNNI(k4, a, 4*4, b, 4*48, c)
	case 4<<8 | 32:
		tileInt8SU4x32AVX512VNNI(k4, a, 4*4, b, 4*32, c)
	case 4<<8 | 16:
		tileInt8SU4x16AVX512VNNI(k4, a, 4*4, b, 4*16, c)
	case 2<<8 | 48:
		tileInt8SU2x48AVX512VNNI(k4, a, 4*2, b, 4*48, c)
	case 2<<8 | 32:
		tileInt8SU2x32AVX512VNNI(k4, a, 4*2, b, 4*32, c)
	case 2<<8 | 16:
		tileInt8SU2x16AVX512VNNI(k4, a, 4*2, b, 4*16, c)
	case 1<<8 | 48:
		tileInt8SU1x48AVX512VNNI(k4, a, 4*1, b, 4*48, c)
	case 1<<8 | 32:
		tileInt8SU1x32AVX512VNNI(k4, a, 4*1, b, 4*32, c)
	case 1<<8 | 16:
		tileInt8SU1x16AVX512VNNI(k4, a, 4*1, b, 4*16, c)
	default:
		panic("kernel: no such tile")
	}
}
