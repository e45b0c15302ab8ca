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
	lo, hi := Activation{}.bounds()
	if m*n*k < 2*minTask {
		p = nil
	}
	p.For(m, max(16, (m/(2*p.Threads())+7)&^7), func(first, last int) {
		rows := Borrow[int](last - first + stripRows)
		defer rows.Release()
		for i := range rows.Data {
			rows.Data[i] = 4 * lda * min(i, last-first-1)
		}
		s := stripF32{
			count: last - first, k: k, src: unsafe.Slice((*byte)(unsafe.Pointer(&a[first*lda])), 4*((last-first-1)*lda+k)), rows: rows.Data, offs: oneRun,
			reach: 4 * lda * (last - first - 1), start: start.Data, ldd: ldc, lo: lo, hi: hi,
		}
		for i := range cols.panels() {
			col, width := cols.panel(i)
			s.n, s.width, s.ldb, s.dst = min(width, n-col), width, width, c[first*ldc+col:]
			if direct {
				s.b, s.ldb = b[col:], ldb
			} else {
				s.b = packed.Data[col*k : (col+width)*k]
			}
			s.run()
		}
		for i := first; i < last && alpha != 1; i++ {
			Scale(c[i*ldc:i*ldc+n], c[i*ldc:i*ldc+n], alpha)
		}
	})
}

// oneRun are the offsets of a product: its rows are one run.
var oneRun = []int{0}
