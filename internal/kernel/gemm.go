package kernel

// GemmF32 computes C = alpha*op(A)*op(B) + beta*C, where op(X) is X or, with transA or transB, its
// transpose. op(A) is m x k, op(B) is k x n, C is m x n:
//
//	for i in [0,m), j in [0,n): c[i*ldc+j] = beta*c[i*ldc+j] + alpha*sum over l of opA[i][l]*opB[l][j]
//
// With beta 0 the former content of C is not read (NaN there does not spread). k may be 0. C must
// not overlap A or B. The order of summation depends on the shape and the instruction set, never on
// the number of threads; each element is within (k+2)*2^-24*sum|alpha*a*b| of the exact value.
func GemmF32(p *Pool, transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	checkGemm(transA, transB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc)
	gemmSimple(p, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
}

// GemmF64 is GemmF32 in float64.
func GemmF64(p *Pool, transA, transB bool, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	checkGemm(transA, transB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc)
	gemmSimple(p, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
}

func checkGemm(transA, transB bool, m, n, k, lenA, lda, lenB, ldb, lenC, ldc int) {
	if transA {
		need("gemm A transposed", lenA, k, m, lda)
	} else {
		need("gemm A", lenA, m, k, lda)
	}
	if transB {
		need("gemm B transposed", lenB, n, k, ldb)
	} else {
		need("gemm B", lenB, k, n, ldb)
	}
	need("gemm C", lenC, m, n, ldc)
}

func gemmSimple[T float32 | float64](p *Pool, transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int) {
	if n == 0 {
		return
	}
	p.For(m, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := c[i*ldc : i*ldc+n]
			for j := range row {
				if beta == 0 {
					row[j] = 0
				} else {
					row[j] *= beta
				}
			}
			for l := range k {
				var v T
				if transA {
					v = alpha * a[l*lda+i]
				} else {
					v = alpha * a[i*lda+l]
				}
				if transB {
					for j := range row {
						row[j] += v * b[j*ldb+l]
					}
				} else {
					for j, w := range b[l*ldb : l*ldb+n] {
						row[j] += v * w
					}
				}
			}
		}
	})
}

// PackedF32 is a float32 matrix in the order in which the GEMM kernels read their right operand.
// It is read-only after PackB and may be used by several goroutines.
type PackedF32 struct {
	k, n int
	data []float32
}

// PackB packs op(B), a k x n matrix, for GemmF32Packed. b is not referenced afterwards.
func PackB(transB bool, k, n int, b []float32, ldb int) *PackedF32 {
	checkGemm(false, transB, 0, n, k, 0, k, len(b), ldb, 0, n)
	data := make([]float32, k*n)
	for l := range k {
		for j := range n {
			if transB {
				data[l*n+j] = b[j*ldb+l]
			} else {
				data[l*n+j] = b[l*ldb+j]
			}
		}
	}
	return &PackedF32{k, n, data}
}

// Size returns the number of rows (k) and columns (n) of the packed matrix.
func (b *PackedF32) Size() (k, n int) { return b.k, b.n }

// Bytes returns the memory that the packed matrix holds.
func (b *PackedF32) Bytes() int { return 4 * len(b.data) }

// GemmF32Packed computes C = alpha*op(A)*B + beta*C as GemmF32 does, with B packed before. op(A) is
// m x k and C m x n for the k and n of b.Size().
func GemmF32Packed(p *Pool, transA bool, m int, alpha float32, a []float32, lda int, b *PackedF32, beta float32, c []float32, ldc int) {
	GemmF32(p, transA, false, m, b.n, b.k, alpha, a, lda, b.data, b.n, beta, c, ldc)
}
