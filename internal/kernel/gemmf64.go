package kernel

// GemmF64 is GemmF32 in float64; each element is within (k+2)*2^-53*(|alpha|*sum|a*b| + |beta*c|) of the exact value.
func GemmF64(p *Pool, transA, transB bool, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	checkGemm(transA, transB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc)
	switch {
	case m == 0 || n == 0:
	case k == 0 || alpha == 0:
		scaleC(m, n, beta, c, ldc)
	default:
		f := kernelF64()
		f.product(transA, m, n, k, alpha, a, lda, beta, c, ldc).run(p, f.right(transB, b, ldb))
	}
}

func kernelF64() floatKernel[float64] {
	return floatKernel[float64]{
		mr: tileRowsF64(), lanes: 8, tile: tileF64,
		left: func(dst []float64, mr int, src []float64, ld, rows, k int) {
			packLeft(words64(dst), mr, words64(src), ld, rows, k)
		},
		columns: func(dst []float64, width int, src []float64, ld, k, n int) {
			packColumns(words64(dst), width, words64(src), ld, k, n)
		},
	}
}
