//go:build !purego

package kernel

import (
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/impl"
)

var (
	useGemmF32AVX512 bool
	useGemmF32AVX2   bool
	useGemmF64AVX512 bool
	useGemmF64AVX2   bool
	useTransposeAVX2 bool
	useGemmInt8VNNI  bool
	useGemmInt8AVX2  bool
	useFinishAVX512  bool
	useFinishAVX2    bool
	useGemmBF16      bool

	useGemmBF16Wider512 bool
	useGemmBF16Wider2   bool

	useConvAVX512 bool
	useConvAVX2   bool
)

func init() {
	impl.Register("gemmF32", impl.AVX512, &useGemmF32AVX512)
	impl.Register("gemmF32", impl.AVX2, &useGemmF32AVX2)
	impl.Register("gemmF64", impl.AVX512, &useGemmF64AVX512)
	impl.Register("gemmF64", impl.AVX2, &useGemmF64AVX2)
	impl.Register("transpose", impl.AVX2, &useTransposeAVX2)
	impl.Register("gemmInt8", impl.AVX512VNNI, &useGemmInt8VNNI)
	impl.Register("gemmInt8", impl.AVX2, &useGemmInt8AVX2)
	impl.Register("gemmInt8Finish", impl.AVX512, &useFinishAVX512)
	impl.Register("gemmInt8Finish", impl.AVX2, &useFinishAVX2)
	impl.Register("gemmBF16", impl.AVX512BF16, &useGemmBF16)
	impl.Register("gemmBF16", impl.AVX512, &useGemmBF16Wider512)
	impl.Register("gemmBF16", impl.AVX2, &useGemmBF16Wider2)
	impl.Register("conv", impl.AVX512, &useConvAVX512)
	impl.Register("conv", impl.AVX2, &useConvAVX2)
}

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
// columns 0 to width. All width columns of k rows of b must be readable.
func tileF32(height, width, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool) {
	needLen("tile A", len(a), height*k)
	need("tile B", len(b), k, width, ldb)
	need("tile C", len(c), rows, n, ldc)
	if useGemmF32AVX512 {
		a, b, c := &a[0], &b[0], &c[0]
		switch height<<8 | width {
		case 8<<8 | 48:
			tileF32x8x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
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
func tileF64(height, width, k int, a, b []float64, ldb int, c []float64, ldc, rows, n int, alpha, beta float64, load bool) {
	needLen("tile A", len(a), height*k)
	need("tile B", len(b), k, width, ldb)
	need("tile C", len(c), rows, n, ldc)
	if useGemmF64AVX512 {
		a, b, c := &a[0], &b[0], &c[0]
		switch height<<8 | width {
		case 8<<8 | 24:
			tileF64x8x24AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
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
func tileBF16(height, width, k int, a, b []uint32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool) {
	needLen("tile A", len(a), height*k)
	need("tile B", len(b), k, width, ldb)
	need("tile C", len(c), rows, n, ldc)
	switch {
	case useGemmBF16:
		a, b, c := &a[0], &b[0], &c[0]
		switch height<<8 | width {
		case 8<<8 | 48:
			tileBF16x8x48AVX512BF16(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
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
		a, b, c := &a[0], &b[0], &c[0]
		switch height<<8 | width {
		case 8<<8 | 48:
			tileBF16Widerx8x48AVX512(k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
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

// tileInt8 runs the integer micro-kernel; see tileInt8Generic.
func tileInt8(aSigned bool, height, width, k4 int, a []uint32, b []byte, c []int32) {
	needLen("tile A", len(a), height*k4)
	needLen("tile B", len(b), width*4*k4)
	needLen("tile C", len(c), height*panelWidth)
	switch {
	case k4 == 0:
		clear(c[:height*panelWidth])
	case useGemmInt8VNNI:
		if aSigned {
			tileInt8SU(height, width, k4, (*byte)(unsafe.Pointer(&a[0])), &b[0], &c[0])
		} else {
			tileInt8US(height, width, k4, (*byte)(unsafe.Pointer(&a[0])), &b[0], &c[0])
		}
	case useGemmInt8AVX2:
		for i := 0; i < height; i += 2 {
			rows := (*byte)(unsafe.Pointer(&a[i]))
			for j := 0; j < width; j += 16 {
				switch {
				case height == 1 && aSigned:
					tileInt8SU1x16AVX2(k4, rows, 4*height, &b[4*j], 4*width, &c[i*panelWidth+j])
				case height == 1:
					tileInt8US1x16AVX2(k4, rows, 4*height, &b[4*j], 4*width, &c[i*panelWidth+j])
				case aSigned:
					tileInt8SU2x16AVX2(k4, rows, 4*height, &b[4*j], 4*width, &c[i*panelWidth+j])
				default:
					tileInt8US2x16AVX2(k4, rows, 4*height, &b[4*j], 4*width, &c[i*panelWidth+j])
				}
			}
		}
	default:
		tileInt8Generic(aSigned, height, width, k4, a, b, c)
	}
}

func tileInt8US(height, width, k4 int, a, b *byte, c *int32) {
	switch height<<8 | width {
	case 8<<8 | 48:
		tileInt8US8x48AVX512VNNI(k4, a, 4*8, b, 4*48, c)
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

func tileInt8SU(height, width, k4 int, a, b *byte, c *int32) {
	switch height<<8 | width {
	case 8<<8 | 48:
		tileInt8SU8x48AVX512VNNI(k4, a, 4*8, b, 4*48, c)
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

// from is x[i:], or nil if x is nil.
func from[T any](x []T, i int) []T {
	if x == nil {
		return nil
	}
	return x[i:]
}

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

// gather sets dst[l*ldd+j] = src[offs[l]+j] for j < n <= 48. Up to room elements of a row may be overwritten, the
// excess with anything.
func gather(src []uint32, offs []int, dst []uint32, ldd, n, room int) {
	if len(offs) == 0 {
		return
	}
	lowest, highest := offs[0], offs[0]
	for _, o := range offs {
		lowest, highest = min(lowest, o), max(highest, o)
	}
	if lowest < 0 {
		panic("kernel: gather: negative offset")
	}
	needLen("gather source", len(src), highest+n)
	need("gather destination", len(dst), len(offs), n, ldd)
	switch {
	case useConvAVX512:
		gatherAVX512(len(offs), &src[0], &offs[0], &dst[0], ldd, n)
	case useConvAVX2:
		for j := 0; j < n; j += 8 {
			whole := room-j >= 8 && len(dst) >= (len(offs)-1)*ldd+j+8
			gather8AVX2(len(offs), &src[j], &offs[0], &dst[j], ldd, min(8, n-j), whole)
		}
	default:
		gatherGeneric(src, offs, dst, ldd, n)
	}
}

// epilogue adds bias[i] to n elements of each row of y and clips them.
func epilogue(rows, n int, y []float32, ldy int, bias []float32, lo, hi float32) {
	need("epilogue y", len(y), rows, n, ldy)
	needLen("epilogue bias", len(bias), rows)
	if rows == 0 || n == 0 {
		return
	}
	switch {
	case useConvAVX512:
		epilogueAVX512(rows, n, &y[0], ldy, &bias[0], lo, hi)
	case useConvAVX2:
		epilogueAVX2(rows, n, &y[0], ldy, &bias[0], lo, hi)
	default:
		epilogueGeneric(rows, n, y, ldy, bias, lo, hi)
	}
}

// taps sets dst[i*ldd+j] to the clipped sum of bias and w[t]*src[i*lds+offs[t]+j] over t.
func taps(rows, n int, src []float32, lds int, offs []int, w []float32, bias, lo, hi float32, dst []float32, ldd int) {
	if rows == 0 || n == 0 {
		return
	}
	highest := 0
	for _, o := range offs {
		highest = max(highest, o)
	}
	needLen("taps source", len(src), (rows-1)*lds+highest+n)
	needLen("taps weights", len(w), len(offs))
	need("taps destination", len(dst), rows, n, ldd)
	switch {
	case useConvAVX512:
		tapsAVX512(rows, n, &src[0], lds, len(offs), &offs[0], &w[0], bias, lo, hi, &dst[0], ldd)
	case useConvAVX2:
		tapsAVX2(rows, n, &src[0], lds, len(offs), &offs[0], &w[0], bias, lo, hi, &dst[0], ldd)
	default:
		tapsGeneric(rows, n, src, lds, offs, w, bias, lo, hi, dst, ldd)
	}
}

// interleave4 sets each word of dst to one byte of each of four rows, the bits of flip inverted.
func interleave4(dst []uint32, r0, r1, r2, r3 []byte, flip byte) {
	n := 0
	if useTransposeAVX2 && len(dst) >= 32 {
		n = len(dst) &^ 31
		needLen("interleave4", min(len(r0), len(r1), len(r2), len(r3)), n)
		interleave4AVX2(n/32, &r0[0], &r1[0], &r2[0], &r3[0], (*byte)(unsafe.Pointer(&dst[0])), uint32(flip)*0x01010101)
	}
	interleave4Generic(dst[n:], r0[n:], r1[n:], r2[n:], r3[n:], flip)
}

// everyOther sets dst[i] = src[2*i].
func everyOther(dst, src []uint32) {
	n := 0
	if useTransposeAVX2 {
		if n = min(len(dst), len(src)/2) &^ 7; n > 0 {
			everyOtherAVX2(n/8, &src[0], &dst[0])
		}
	}
	everyOtherGeneric(dst[n:], src[2*n:])
}
