package kernel

// GemmF32 computes C = alpha*op(A)*op(B) + beta*C, where op(X) is X or, with transA or transB, its
// transpose. op(A) is m x k, op(B) is k x n, C is m x n:
//
//	for i in [0,m), j in [0,n): c[i*ldc+j] = beta*c[i*ldc+j] + alpha*sum over l of opA[i][l]*opB[l][j]
//
// With beta 0 the former content of C is not read (NaN there does not spread). k may be 0. C must
// not overlap A or B. The order of summation depends on the shape and the instruction set, never on
// the number of threads; each element is within (k+2)*2^-24*(|alpha|*sum|a*b| + |beta*c|) of the exact value.
func GemmF32(p *Pool, transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	checkGemm(transA, transB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc)
	switch {
	case m == 0 || n == 0:
	case k == 0 || alpha == 0:
		scaleC(m, n, beta, c, ldc)
	case n == 1 && m > 1:
		gemvF32(p, transA, transB, m, k, alpha, a, lda, b, ldb, beta, c, ldc)
	case m <= dotRowsMax && transB:
		dotGemmF32(p, transA, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	case m <= directRowsMax && !transB:
		directGemmF32(p, transA, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	case isSmallF32(transA, m, n, k, beta):
		smallGemmF32(p, transB, m, n, k, alpha, a, lda, b, ldb, c, ldc)
	default:
		f := kernelF32()
		f.product(transA, m, n, k, alpha, a, lda, beta, c, ldc).run(p, f.right(transB, b, ldb))
	}
}

// GemmF32Packed computes C = alpha*op(A)*B + beta*C as GemmF32 does, with B packed before. op(A) is
// m x k and C m x n for the k and n of b.Size().
func GemmF32Packed(p *Pool, transA bool, m int, alpha float32, a []float32, lda int, b *PackedF32, beta float32, c []float32, ldc int) {
	n, k := b.cols.n, b.k
	checkGemm(transA, false, m, n, k, len(a), lda, k*n, n, len(c), ldc)
	if m == 0 || n == 0 {
		return
	}
	if k == 0 || alpha == 0 {
		scaleC(m, n, beta, c, ldc)
		return
	}
	g := packedProducts.take()
	g.set(transA, m, n, k, alpha, a, lda, beta, c, ldc)
	defer g.done()
	g.multiply(p, &b.panels, 0, 0)
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

// scaleC multiplies C by beta; beta 0 clears it.
func scaleC[T float32 | float64](m, n int, beta T, c []T, ldc int) {
	for i := range m {
		row := c[i*ldc : i*ldc+n]
		for j := range row {
			if beta == 0 {
				row[j] = 0
			} else {
				row[j] *= beta
			}
		}
	}
}

const (
	dotRowsMax    = 4 // up to so many rows a transposed B is read as dot products
	directRowsMax = 8 // up to so many rows B is read where it lies
)

// PackedF32 is a float32 matrix in the order in which the GEMM kernels read their right operand.
// It is read-only after PackB and may be used by several goroutines.
type PackedF32 struct{ panels[float32] }

// PackB packs op(B), a k x n matrix, for GemmF32Packed. b is not referenced afterwards.
func PackB(transB bool, k, n int, b []float32, ldb int, where ...Storage) *PackedF32 {
	return PackBParts(transB, k, n, b, ldb, nil, where...)
}

// PackBParts is PackB, and calls read, unless that is nil, whenever it has done with another part of b: of whole rows if transB is set
// or ldb is n.
func PackBParts(transB bool, k, n int, b []float32, ldb int, read func(), where ...Storage) *PackedF32 {
	checkGemm(false, transB, 0, n, k, 0, k, len(b), ldb, 0, n)
	q := &PackedF32{panels[float32]{k: k, cols: splitColumns(n)}}
	q.data = store[float32](q, k*q.cols.padded(), where)
	q.fillParts(Shared(), kernelF32().right(transB, b, ldb), transB, read)
	return q
}

// Size returns the number of rows (k) and columns (n) of the packed matrix.
func (b *PackedF32) Size() (k, n int) { return b.k, b.cols.n }

// Bytes returns the memory that the packed matrix holds.
func (b *PackedF32) Bytes() int { return 4 * len(b.data) }

// floatKernel is what blocked products of one floating-point type are made of.
type floatKernel[T float32 | float64] struct {
	mr, lanes int
	// tile is tileF32 or tileF64.
	tile func(height, width, k int, a, b []T, ldb int, c []T, ldc, rows, n int, alpha, beta T, load bool, ahead []T)
	// left is packLeft, columns packColumns.
	left    func(dst []T, mr int, src []T, ld, rows, k int)
	columns func(dst []T, width int, src []T, ld, k, n int)
}

func kernelF32() floatKernel[float32] {
	return floatKernel[float32]{
		mr: tileRowsF32(), lanes: 16, tile: tileF32,
		left: func(dst []float32, mr int, src []float32, ld, rows, k int) {
			packLeft(words(dst), mr, words(src), ld, rows, k)
		},
		columns: func(dst []float32, width int, src []float32, ld, k, n int) {
			packColumns(words(dst), width, words(src), ld, k, n)
		},
	}
}

func (f floatKernel[T]) right(transB bool, b []T, ldb int) packRight[T] {
	if transB {
		return func(dst []T, width, k0, k1, col, n int) { f.columns(dst, width, b[col*ldb+k0:], ldb, k1-k0, n) }
	}
	return func(dst []T, width, k0, k1, col, n int) { packRows(dst, width, b[k0*ldb+col:], ldb, k1-k0, n) }
}

// packA packs rows [i0, i1) of depths [k0, k1) of op(A).
func (f floatKernel[T]) packA(dst []T, transA bool, a []T, lda, i0, i1, k0, k1 int) {
	if transA {
		packLeftTransposed(dst, f.mr, a[k0*lda+i0:], lda, i1-i0, k1-k0)
	} else {
		f.left(dst, f.mr, a[i0*lda+k0:], lda, i1-i0, k1-k0)
	}
}

// product is C = alpha*op(A)*B + beta*C.
func (f floatKernel[T]) product(transA bool, m, n, k int, alpha T, a []T, lda int, beta T, c []T, ldc int) *blocked[T] {
	return &blocked[T]{
		m: m, k: k, cols: splitLanes(n, f.lanes, 3), mr: f.mr, ops: 1,
		packA: func(dst []T, i0, i1, k0, k1 int) { f.packA(dst, transA, a, lda, i0, i1, k0, k1) },
		tile: func(height, width, k int, a, b, ahead []T, row, col, rows, n int, add bool) {
			factor := beta
			if add {
				factor = 1
			}
			f.tile(height, width, k, a, b, width, c[row*ldc+col:], ldc, rows, n, alpha, factor, factor != 0, ahead)
		},
	}
}

// rowPanelsF32 multiplies all row panels of a packed block of A by one panel of B, whose rows lie ldb apart.
func rowPanelsF32(mr, width, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, add bool) {
	load := add || beta != 0
	if add {
		beta = 1
	}
	for i := 0; i < rows; i += mr {
		valid := min(mr, rows-i)
		tileF32(panelRows(valid, mr), width, k, a[i*k:], b, ldb, c[i*ldc:], ldc, valid, n, alpha, beta, load, nil)
	}
}

// tileGeneric is the definition of the floating-point micro-kernels; rows of a panel lie height apart in
// a, those of b ldb apart. See the generated declarations for the formula.
func tileGeneric[T float32 | float64](height, k int, a, b []T, ldb int, c []T, ldc, rows, n int, alpha, beta T, load bool) {
	for i := range rows {
		for j := 0; j < n; j += 8 {
			var s0, s1, s2, s3, s4, s5, s6, s7 T
			for l := range k {
				v := a[l*height+i]
				w := b[l*ldb+j : l*ldb+j+8 : l*ldb+j+8]
				s0 += v * w[0]
				s1 += v * w[1]
				s2 += v * w[2]
				s3 += v * w[3]
				s4 += v * w[4]
				s5 += v * w[5]
				s6 += v * w[6]
				s7 += v * w[7]
			}
			storeSums([8]T{s0, s1, s2, s3, s4, s5, s6, s7}, c[i*ldc+j:i*ldc+min(j+8, n)], alpha, beta, load)
		}
	}
}

// storeSums ends a row of a tile: c = alpha*sums, plus beta*c if load.
func storeSums[T float32 | float64](sums [8]T, c []T, alpha, beta T, load bool) {
	for t := range c {
		v := alpha * sums[t]
		if load {
			v += beta * c[t]
		}
		c[t] = v
	}
}
