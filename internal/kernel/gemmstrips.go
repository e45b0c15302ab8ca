package kernel

// stripRowsMin is how many rows of A are worth a strip, which takes seven or eight at a time.
const stripRowsMin = 6

// strips reports whether a product of m rows may go in strips, which read A where it lies: unsigned, in whole words, with one zero
// point and weights without.
func (b *PackedInt8) strips(m int, aSigned bool, whole []int32) bool {
	return useStrips() && m >= stripRowsMin && !aSigned && b.k%4 == 0 && b.k > 0 && b.cols.n > 0 && b.zero == nil && whole != nil
}

// inStrips calls f for every block of rows [i0, i0+count) times panel of columns: rows lists where those of A begin in a[i0*lda:].
func (b *PackedInt8) inStrips(p *Pool, m, lda int, f func(i0, count int, rows []int, data []byte, col, n, width int)) {
	panels := b.cols.panels()
	rowsPerTask, parts := splitStrips(p.Threads(), m, panels, b.k/4)
	for rowsPerTask > 48 && rowsPerTask*b.k > 512<<10 {
		rowsPerTask /= 2
	}
	rowTasks := (m + rowsPerTask - 1) / rowsPerTask
	if rowTasks*parts == 1 {
		p = nil
	}
	p.For(rowTasks*parts, 1, func(lo, hi int) {
		buf := borrow(8 * (rowsPerTask + stripRows))
		defer buf.release()
		rows := view[int](buf)[:rowsPerTask+stripRows]
		for t := lo; t < hi; t++ {
			i0 := t / parts * rowsPerTask
			count := min(rowsPerTask, m-i0)
			for i := range rows {
				rows[i] = min(i, count-1) * lda
			}
			for i := t % parts * panels / parts; i < (t%parts+1)*panels/parts; i++ {
				data, col, width := b.panel(i)
				f(i0, count, rows, data, col, min(width, b.cols.n-col), width)
			}
		}
	})
}

// inFloats is GemmInt8F32 in strips; whole, scale and bias are padded to whole panels.
func (b *PackedInt8) inFloats(p *Pool, m int, a []byte, lda int, whole []int32, scale, bias, residual, c []float32, ldc int) {
	lo, hi := Activation{}.bounds()
	offs := []int{0}
	b.inStrips(p, m, lda, func(i0, count int, rows []int, data []byte, col, n, width int) {
		stripFloats(count, n, width, b.k/4, a[i0*lda:], rows, offs, (count-1)*lda, data, whole[col:], scale[col:], bias[col:], lo, hi, c[i0*ldc+col:], tail(residual, i0*ldc+col), ldc)
	})
}

// inCodes is GemmInt8Requant in strips; whole and scale are padded to whole panels.
func (b *PackedInt8) inCodes(p *Pool, m int, a []byte, lda int, whole []int32, scale []float32, end *codesEnd, c []byte, ldc int) {
	offs := []int{0}
	b.inStrips(p, m, lda, func(i0, count int, rows []int, data []byte, col, n, width int) {
		strip(count, n, width, b.k/4, a[i0*lda:], rows, offs, (count-1)*lda, data, whole[col:], scale[col:], end, c[i0*ldc+col:], nil, ldc)
	})
}

// stripFloatsGeneric is stripGeneric with dst[i*ldd+j] = min(max(float32(s)*scale[j] + bias[j] + other[i*ldd+j], lo), hi), each step
// rounded to float32, without other if that is nil.
func stripFloatsGeneric(count, n, width, words int, src []byte, rows, offs []int, b []byte, start []int32, scale, bias []float32, lo, hi float32, dst, other []float32, ldd int) {
	for i := range count {
		for j := range n {
			s := start[j]
			for r, off := range offs {
				for k, v := range src[rows[i]+off:][:4*words] {
					s += int32(v) * int32(int8(b[((r*words+k/4)*width+j)*4+k%4]))
				}
			}
			v := float32(float32(s)*scale[j]) + bias[j]
			if other != nil {
				v += other[i*ldd+j]
			}
			if v < lo {
				v = lo
			}
			if v > hi {
				v = hi
			}
			dst[i*ldd+j] = v
		}
	}
}

// tail is x[at:], or nil if x is empty.
func tail[T any](x []T, at int) []T {
	if len(x) == 0 {
		return nil
	}
	return x[at:]
}
