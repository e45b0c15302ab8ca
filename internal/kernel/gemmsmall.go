package kernel

import "unsafe"

// Small products, as those of the heads of attention, are strips that read A where it lies, and B too where it can be read in whole
// vectors; a transposed B is brought into panels first.

// smallDepth, smallColumns and smallProduct are the largest depth, number of columns and size of a small product: B stays in the first-level cache.
const (
	smallDepth   = 256
	smallColumns = 512
	smallProduct = 1 << 21 // multiply-adds
)

// isSmallF32 reports whether GemmF32 is done in strips.
func isSmallF32(transA bool, m, n, k int, beta float32) bool {
	return useSmallF32() && !transA && beta == 0 && m >= stripRowsMin && k <= smallDepth && n <= smallColumns && m*n*k <= smallProduct
}

// smallGemmF32 is GemmF32 for what isSmallF32 accepts.
func smallGemmF32(p *Pool, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, c []float32, ldc int) {
	cols := splitColumns(n)
	direct := !transB && n%16 == 0
	var packed Scratch[float32]
	if !direct {
		packed = Borrow[float32](cols.padded() * k)
		defer packed.Release()
		for i := range cols.panels() {
			col, width := cols.panel(i)
			panel, valid := packed.Data[col*k:(col+width)*k], min(width, n-col)
			if transB {
				packTransposed(words(panel), width, words(b[col*ldb:]), ldb, valid, k)
				continue
			}
			for l := range k {
				line := panel[l*width : (l+1)*width]
				clear(line[copy(line, b[l*ldb+col:][:valid]):])
			}
		}
	}
	start := Borrow[float32](panelWidth)
	defer start.Release()
	clear(start.Data)
	if m*n*k < 2*minTask {
		p = nil
	}
	small.For(p, m, max(16, (m/(2*p.Threads())+7)&^7), smallArgs{n, k, alpha, a, lda, b, ldb, c, ldc, packed.Data, start.Data}, (*smallArgs).rows)
}

var small Jobs[smallArgs]

type smallArgs struct {
	n, k          int
	alpha         float32
	a             []float32
	lda           int
	b             []float32
	ldb           int
	c             []float32
	ldc           int
	packed, start []float32 // packed is nil where b is read as it is
}

func (s *smallArgs) rows(first, last int) {
	cols := splitColumns(s.n)
	lo, hi := Activation{}.bounds()
	rows := Borrow[int](last - first + stripRows)
	defer rows.Release()
	for i := range rows.Data {
		rows.Data[i] = 4 * s.lda * min(i, last-first-1)
	}
	t := stripF32{
		count: last - first, k: s.k, src: unsafe.Slice((*byte)(unsafe.Pointer(&s.a[first*s.lda])), 4*((last-first-1)*s.lda+s.k)), rows: rows.Data, offs: oneRun,
		reach: 4 * s.lda * (last - first - 1), start: s.start, ldd: s.ldc, lo: lo, hi: hi,
	}
	for i := range cols.panels() {
		col, width := cols.panel(i)
		t.n, t.width, t.ldb, t.dst = min(width, s.n-col), width, width, s.c[first*s.ldc+col:]
		if s.packed == nil {
			t.b, t.ldb = s.b[col:], s.ldb
		} else {
			t.b = s.packed[col*s.k : (col+width)*s.k]
		}
		t.run()
	}
	for i := first; i < last && s.alpha != 1; i++ {
		Scale(s.c[i*s.ldc:i*s.ldc+s.n], s.c[i*s.ldc:i*s.ldc+s.n], s.alpha)
	}
}

// oneRun are the offsets of a product: its rows are one run.
var oneRun = []int{0}
