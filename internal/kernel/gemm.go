package kernel

// GemmF32 computes C = alpha*op(A)*op(B) + beta*C, where op(X) is X or, with transA or transB, its
// transpose. op(A) is m x k, op(B) is k x n, C is m x n:
//
//	for i in [0,m), j in [0,n): c[i*ldc+j] = beta*c[i*ldc+j] + alpha*sum over l of opA[i][l]*opB[l][j]
//
// With beta 0 the former content of C is not read (NaN there does not spread). k may be 0. C must
// not overlap A or B. The order of summation depends on the shape and the instruction set, never on
// the number of threads; each element is within (k+2)*2^-24*(|alpha|*sum|a*b| + |beta*c|) of the exact value.
//
// The matrices are packed into panels that the micro-kernels read in order, and multiplied block by
// block so that each block is used from the cache (Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008).
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
	default:
		packedGemmF32(p, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
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
	b.multiply(p, transA, m, alpha, a, lda, beta, c, ldc)
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
	// Of a product that is not packed before, at most packWords words of B are packed at a time, in
	// slices of at most sliceK rows.
	packWords = 4 << 20
	sliceK    = 8 * blockK

	dotRowsMax    = 4 // up to so many rows a transposed B is read as dot products
	directRowsMax = 8 // up to so many rows B is read where it lies

	minTask = 1 << 17 // multiply-adds that are worth a thread's attention
)

func packedGemmF32(p *Pool, transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	stepK := min(k, sliceK)
	stepN := min(n, packWords/stepK/panelWidth*panelWidth)
	buf := borrow(4 * stepK * (stepN + panelWidth))
	defer buf.release()
	for k0 := 0; k0 < k; k0 += stepK {
		slice := PackedF32{k: min(stepK, k-k0)}
		aSlice, bSlice := a[k0:], b[k0:]
		if transA {
			aSlice = a[k0*lda:]
		}
		if !transB {
			bSlice = b[k0*ldb:]
		}
		for j := 0; j < n; j += stepN {
			slice.cols = splitColumns(min(stepN, n-j))
			slice.data = buf.f32()[:slice.k*slice.cols.padded()]
			if transB {
				slice.fill(p, true, bSlice[j*ldb:], ldb)
			} else {
				slice.fill(p, false, bSlice[j:], ldb)
			}
			slice.multiply(p, transA, m, alpha, aSlice, lda, beta, c[j:], ldc)
		}
		beta = 1
	}
}

// rowSplit cuts m rows and panels of columns into tasks for a pool: blocks of rowsPerTask rows
// times parts of the panels. Rows are cut first, because each part packs its rows again.
func rowSplit(p *Pool, m, panels, work int) (rowsPerTask, parts int) {
	const most = 192 // rows: with the depth of a block about 300 KiB, for the second-level cache
	threads := p.Threads()
	want := min(4*threads, work/minTask)
	if threads == 1 || want <= 1 {
		return most, 1
	}
	rowsPerTask = most
	for rowsPerTask > 48 && (m+rowsPerTask-1)/rowsPerTask < want {
		rowsPerTask /= 2
	}
	rowTasks := (m + rowsPerTask - 1) / rowsPerTask
	return rowsPerTask, min(panels, (want+rowTasks-1)/rowTasks)
}

// multiply computes C = alpha*op(A)*b + beta*C. Each task owns a block of rows of C times a range of
// panels and goes through the blocks of k in order, so that the order of summation is fixed.
func (b *PackedF32) multiply(p *Pool, transA bool, m int, alpha float32, a []float32, lda int, beta float32, c []float32, ldc int) {
	blocks, size := depth(b.k)
	panels := b.cols.panels()
	mr := tileRowsF32()
	rowsPerTask, parts := rowSplit(p, m, panels, m*b.cols.n*b.k)
	rowTasks := (m + rowsPerTask - 1) / rowsPerTask
	if rowTasks*parts == 1 {
		p = nil
	}
	p.For(rowTasks*parts, 1, func(lo, hi int) {
		buf := borrow(4 * (min(rowsPerTask, m) + mr) * size)
		defer buf.release()
		packed := buf.f32()
		for t := lo; t < hi; t++ {
			i0 := t / parts * rowsPerTask
			i1 := min(i0+rowsPerTask, m)
			first, last := t%parts*panels/parts, (t%parts+1)*panels/parts
			for kb := range blocks {
				k0, k1 := b.block(kb)
				packA(packed, mr, transA, a, lda, i0, i1, k0, k1)
				for i := first; i < last; i++ {
					data, col, width := b.panel(k0, k1, i)
					rowPanels(mr, width, k1-k0, packed, data, width, c[i0*ldc+col:], ldc, i1-i0, min(width, b.cols.n-col), alpha, beta, kb > 0)
				}
			}
		}
	})
}

// rowPanels multiplies all row panels of a packed block of A by one panel of B.
func rowPanels(mr, width, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, add bool) {
	load := add || beta != 0
	if add {
		beta = 1
	}
	for i := 0; i < rows; i += mr {
		valid := min(mr, rows-i)
		tileF32(panelRows(valid, mr), width, k, a[i*k:], b, ldb, c[i*ldc:], ldc, valid, n, alpha, beta, load)
	}
}

// tileF32Generic is the definition of the float32 micro-kernel; rows of a panel lie height apart in
// a, those of b ldb apart. See the generated declarations for the formula.
func tileF32Generic(height, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool) {
	for i := 0; i < rows; i++ {
		for j := 0; j < n; j += 8 {
			var s0, s1, s2, s3, s4, s5, s6, s7 float32
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
			sums := [8]float32{s0, s1, s2, s3, s4, s5, s6, s7}
			row := c[i*ldc+j : i*ldc+min(j+8, n)]
			for t := range row {
				v := alpha * sums[t]
				if load {
					v += beta * row[t]
				}
				row[t] = v
			}
		}
	}
}
