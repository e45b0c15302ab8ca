package kernel

// Products with few rows read B once and are bound by memory, so B is not packed for them.

// directGemmF32 multiplies up to directRowsMax rows by a B that is not transposed, where it lies.
// Few rows are read at a time, so that each comes in long pieces and few pages are open.
func directGemmF32(p *Pool, transA bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	const deep = 16
	mr := tileRowsF32()
	cols := splitColumns(n)
	panels := cols.panels()
	buf := borrow(4 * (m + mr) * k)
	defer buf.release()
	packed := buf.f32()
	used := make([]int, 0, 32)
	for k0, at := 0, 0; k0 < k; k0 += deep {
		used = append(used, at)
		k1 := min(k0+deep, k)
		kernelF32().packA(packed[at:], transA, a, lda, 0, m, k0, k1)
		at += paddedRows(m, mr) * (k1 - k0)
	}
	if m*n*k < 2*minTask {
		p = nil
	}
	group := max(4, min(24, panels/(2*p.Threads()))) // panels a task
	p.For((panels+group-1)/group, 1, func(lo, hi int) {
		last := min(hi*group, panels)
		edge := borrow(4 * deep * panelWidth)
		defer edge.release()
		for kb, at := range used {
			k0, k1 := kb*deep, min((kb+1)*deep, k)
			for i := lo * group; i < last; i++ {
				col, width := cols.panel(i)
				valid := min(width, n-col)
				src, ld := b[k0*ldb+col:], ldb
				if valid < width { // the kernels read whole vectors
					packRows(edge.f32(), width, src, ldb, k1-k0, valid)
					src, ld = edge.f32(), width
				}
				rowPanelsF32(mr, width, k1-k0, packed[at:], src, ld, c[col:], ldc, m, valid, alpha, beta, kb > 0)
			}
		}
	})
}

// dotGemmF32 multiplies few rows by a transposed B as dot products along k.
func dotGemmF32(p *Pool, transA bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if transA {
		buf := borrow(4 * m * k)
		defer buf.release()
		rows := buf.f32()[:m*k]
		Transpose(rows, k, a, lda, k, m)
		a, lda = rows, k
	}
	const group = 4
	if m*n*k < 2*minTask {
		p = nil
	}
	quads := n / group
	p.For((n+group-1)/group, max(1, minTask/(m*k*group+1)), func(lo, hi int) {
		var s [group]float32
		for q := lo; q < hi; q++ {
			j := q * group
			for i := range m {
				if q < quads {
					dot4F32(k, a[i*lda:], b[j*ldb:], ldb, &s)
				} else { // fewer than four rows are left: each alone, four times the same
					var one [group]float32
					for t := j; t < n; t++ {
						dot4F32(k, a[i*lda:], b[t*ldb:], 0, &one)
						s[t-j] = one[0]
					}
				}
				row := c[i*ldc+j : i*ldc+min(j+group, n)]
				for t := range row {
					v := alpha * s[t]
					if beta != 0 {
						v += beta * row[t]
					}
					row[t] = v
				}
			}
		}
	})
}

func dot4F32Generic(k int, a, b []float32, ldb int, dst *[4]float32) {
	for j := range dst {
		var s float32
		for l, v := range a[:k] {
			s += v * b[j*ldb+l]
		}
		dst[j] = s
	}
}

// gemvF32 computes a product with a single column: the transposed problem, a row times op(A)^T.
func gemvF32(p *Pool, transA, transB bool, m, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	buf := borrow(4 * (k + m))
	defer buf.release()
	x := buf.f32()[:k]
	if transB {
		copy(x, b[:k])
	} else {
		for l := range x {
			x[l] = b[l*ldb]
		}
	}
	y, ldy := c, m
	if ldc != 1 {
		y = buf.f32()[k : k+m]
		for i := range y {
			y[i] = c[i*ldc]
		}
	}
	// Transposed, A is the right operand: its rows are columns unless it was transposed already.
	GemmF32(p, false, !transA, 1, m, k, alpha, x, k, a, lda, beta, y, ldy)
	if ldc != 1 {
		for i, v := range y {
			c[i*ldc] = v
		}
	}
}
