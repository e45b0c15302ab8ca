//go:build !purego

package kernel

import "github.com/neurotrain/neuroquant/internal/impl"

var (
	useGemmF32AVX512 bool
	useGemmF32AVX2   bool
	useTransposeAVX2 bool
)

func init() {
	impl.Register("gemmF32", impl.AVX512, &useGemmF32AVX512)
	impl.Register("gemmF32", impl.AVX2, &useGemmF32AVX2)
	impl.Register("transpose", impl.AVX2, &useTransposeAVX2)
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
	tileF32Generic(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
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

// transposeStrips does the first part of packTransposed, a multiple of eight rows, and returns how
// many it did.
func transposeStrips(dst []uint32, width int, src []uint32, ld, rows, k int, flip uint32) int {
	if !useTransposeAVX2 || k < 8 {
		return 0
	}
	k8 := k &^ 7
	i := 0
	for ; i+8 <= rows; i += 8 {
		transpose8x32AVX2(k8/8, &src[i*ld], ld, &dst[i], width, flip)
		for l := k8; l < k; l++ {
			for r := i; r < i+8; r++ {
				dst[l*width+r] = src[r*ld+l] ^ flip
			}
		}
	}
	return i
}
