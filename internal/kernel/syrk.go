package kernel

// SyrkF32 computes one triangle, with the diagonal, of the symmetric C = alpha*op(A)*op(A)^T + beta*C, where op(A),
// n x k, is A or with trans the transpose of the k x n matrix A (so that C = A^T*A). The other triangle is neither
// read nor written. Order of summation and bound are those of GemmF32; C must not overlap A.
func SyrkF32(p *Pool, upper, trans bool, n, k int, alpha float32, a []float32, lda int, beta float32, c []float32, ldc int) {
	checkGemm(trans, !trans, n, n, k, len(a), lda, len(a), lda, len(c), ldc)
	syrk(kernelF32(), p, upper, trans, n, k, alpha, a, lda, beta, c, ldc)
}

// SyrkF64 is SyrkF32 in float64.
func SyrkF64(p *Pool, upper, trans bool, n, k int, alpha float64, a []float64, lda int, beta float64, c []float64, ldc int) {
	checkGemm(trans, !trans, n, n, k, len(a), lda, len(a), lda, len(c), ldc)
	syrk(kernelF64(), p, upper, trans, n, k, alpha, a, lda, beta, c, ldc)
}

// SyrkF32F64 adds alpha*op(A)*op(A)^T to one triangle of a float64 C as SyrkF32 does: products are summed in float32 over
// blocks of at most 768 of k, and the blocks in float64, so that sums over millions of rows keep their precision. Each
// element is within 770*2^-24*|alpha|*sum|a*a| of the exact value, however large k.
func SyrkF32F64(p *Pool, upper, trans bool, n, k int, alpha float64, a []float32, lda int, c []float64, ldc int) {
	checkGemm(trans, !trans, n, n, k, len(a), lda, len(a), lda, len(c), ldc)
	if n == 0 || k == 0 {
		return
	}
	f := kernelF32()
	g := f.product(trans, n, n, k, 1, a, lda, 0, nil, 0)
	g.outside = func(row, col, rows, n int) bool { return beyond(upper, row, col, rows, n) }
	g.tile = func(height, width, k int, a, b, ahead []float32, row, col, rows, cols int, _ bool) {
		buf := borrow(4 * 8 * panelWidth)
		defer buf.release()
		sums := buf.f32()
		f.tile(height, width, k, a, b, width, sums, panelWidth, rows, cols, 1, 0, false, ahead)
		for i := range rows {
			lo, hi := inTriangle(upper, row+i, col, cols)
			at := (row+i)*ldc + col
			addWidened(c[at+lo:at+hi], sums[i*panelWidth+lo:i*panelWidth+hi], alpha)
		}
	}
	g.run(p, f.right(!trans, a, lda))
}

func syrk[T float32 | float64](f floatKernel[T], p *Pool, upper, trans bool, n, k int, alpha T, a []T, lda int, beta T, c []T, ldc int) {
	if n == 0 {
		return
	}
	if k == 0 || alpha == 0 {
		for i := range n {
			lo, hi := inTriangle(upper, i, 0, n)
			scaleC(1, hi-lo, beta, c[i*ldc+lo:i*ldc+hi], hi-lo)
		}
		return
	}
	g := f.product(trans, n, n, k, alpha, a, lda, beta, c, ldc)
	whole := g.tile
	g.outside = func(row, col, rows, n int) bool { return beyond(upper, row, col, rows, n) }
	g.tile = func(height, width, k int, a, b, ahead []T, row, col, rows, cols int, add bool) {
		if lo, hi := inTriangle(upper, row, col, cols); hi-lo == cols {
			if lo, hi = inTriangle(upper, row+rows-1, col, cols); hi-lo == cols {
				whole(height, width, k, a, b, ahead, row, col, rows, cols, add)
				return
			}
		}
		// The tile crosses the diagonal: it is made aside.
		buf := borrow(8 * 8 * panelWidth)
		defer buf.release()
		sums := view[T](buf)
		f.tile(height, width, k, a, b, width, sums, panelWidth, rows, cols, alpha, 0, false, ahead)
		factor := beta
		if add {
			factor = 1
		}
		for i := range rows {
			lo, hi := inTriangle(upper, row+i, col, cols)
			at := (row+i)*ldc + col
			line := c[at+lo : at+hi]
			for j, v := range sums[i*panelWidth+lo : i*panelWidth+hi] {
				if factor != 0 {
					v += factor * line[j]
				}
				line[j] = v
			}
		}
	}
	g.run(p, f.right(!trans, a, lda))
}

// beyond reports whether a block lies wholly outside the triangle.
func beyond(upper bool, row, col, rows, cols int) bool {
	if upper {
		return col+cols <= row
	}
	return col >= row+rows
}

// inTriangle returns the range of the columns col to col+cols of a row, counted from col, that the triangle has.
func inTriangle(upper bool, row, col, cols int) (lo, hi int) {
	if upper {
		return min(max(row-col, 0), cols), cols
	}
	return 0, max(min(row-col+1, cols), 0)
}

// addWidenedGeneric sets dst[i] += alpha*x[i] for len(dst) elements. Implementations may fuse the product and the sum.
func addWidenedGeneric(dst []float64, x []float32, alpha float64) {
	for i, v := range x[:len(dst)] {
		dst[i] += alpha * float64(v)
	}
}
