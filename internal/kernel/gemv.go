package kernel

// Products with few rows read B once and are bound by memory, so B is not packed for them.

// directGemmF32 multiplies up to directRowsMax rows by a B that is not transposed, where it lies.
// Few rows are read at a time, so that each comes in long pieces and few pages are open.
func directGemmF32(p *Pool, transA bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	mr := tileRowsF32()
	panels := splitColumns(n)
	count := panels.panels()
	buf := borrow(4 * (m + mr) * k)
	defer buf.release()
	packed := buf.f32()
	for k0 := 0; k0 < k; k0 += directDepth {
		kernelF32().packA(packed[paddedRows(m, mr)*k0:], transA, a, lda, 0, m, k0, min(k0+directDepth, k))
	}
	if m*n*k < 2*minTask {
		p = nil
	}
	group := max(4, min(24, count/(2*p.Threads())))
	direct.For(p, (count+group-1)/group, 1, directArgs{m, n, k, mr, group, packed, b, ldb, alpha, beta, c, ldc}, (*directArgs).groups)
}

// directDepth is how many rows of B are read at a time.
const directDepth = 16

var direct Jobs[directArgs]

type directArgs struct {
	m, n, k, mr int
	group       int // panels of a task
	packed, b   []float32
	ldb         int
	alpha, beta float32
	c           []float32
	ldc         int
}

func (a *directArgs) groups(lo, hi int) {
	cols := splitColumns(a.n)
	last := min(hi*a.group, cols.panels())
	edge := borrow(4 * directDepth * panelWidth)
	defer edge.release()
	for k0 := 0; k0 < a.k; k0 += directDepth {
		k1 := min(k0+directDepth, a.k)
		for i := lo * a.group; i < last; i++ {
			col, width := cols.panel(i)
			valid := min(width, a.n-col)
			src, ld := a.b[k0*a.ldb+col:], a.ldb
			if valid < width { // the kernels read whole vectors
				packRows(edge.f32(), width, src, a.ldb, k1-k0, valid)
				src, ld = edge.f32(), width
			}
			rowPanelsF32(a.mr, width, k1-k0, a.packed[paddedRows(a.m, a.mr)*k0:], src, ld, a.c[col:], a.ldc, a.m, valid, a.alpha, a.beta, k0 > 0)
		}
	}
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
	if m*n*k < 2*minTask {
		p = nil
	}
	dots.For(p, (n+dotGroup-1)/dotGroup, max(1, minTask/(m*k*dotGroup+1)), dotArgs{m, n, k, alpha, a, lda, b, ldb, beta, c, ldc}, (*dotArgs).groups)
}

// dotGroup is how many rows of B are multiplied at once.
const dotGroup = 4

var dots Jobs[dotArgs]

type dotArgs struct {
	m, n, k int
	alpha   float32
	a       []float32
	lda     int
	b       []float32
	ldb     int
	beta    float32
	c       []float32
	ldc     int
}

func (d *dotArgs) groups(lo, hi int) {
	var s [dotGroup]float32
	for q := lo; q < hi; q++ {
		j := q * dotGroup
		for i := range d.m {
			if q < d.n/dotGroup {
				dot4F32(d.k, d.a[i*d.lda:], d.b[j*d.ldb:], d.ldb, &s)
			} else { // fewer than four rows are left: each alone, four times the same
				var one [dotGroup]float32
				for t := j; t < d.n; t++ {
					dot4F32(d.k, d.a[i*d.lda:], d.b[t*d.ldb:], 0, &one)
					s[t-j] = one[0]
				}
			}
			row := d.c[i*d.ldc+j : i*d.ldc+min(j+dotGroup, d.n)]
			for t := range row {
				v := d.alpha * s[t]
				if d.beta != 0 {
					v += d.beta * row[t]
				}
				row[t] = v
			}
		}
	}
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
