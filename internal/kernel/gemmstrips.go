package kernel

// stripRowsMin is how many rows of A are worth a strip, which takes seven or eight at a time.
const stripRowsMin = 6

// strips reports whether a product of m rows may go in strips, which read A where it lies: unsigned, in whole words, with one zero
// point and weights without.
func (b *PackedInt8) strips(m int, aSigned bool, whole []int32) bool {
	return useStrips() && m >= stripRowsMin && !aSigned && b.k%4 == 0 && b.k > 0 && b.cols.n > 0 && b.zero == nil && whole != nil
}

var productStrips Jobs[productArgs]

// productArgs are the strips of a product: codes, or floats where bias is given. What belongs to columns is padded to whole panels.
type productArgs struct {
	b           *PackedInt8
	m           int
	a           []byte
	lda         int
	whole       []int32
	scale, bias []float32
	residual    []float32
	floats      []float32
	end         codesEnd
	codes       []byte
	ldc         int
	rows, parts int // of a task
}

// inStrips computes every block of rows times panel of columns.
func (b *PackedInt8) inStrips(p *Pool, a productArgs) {
	a.b = b
	a.rows, a.parts = splitStrips(p.Threads(), a.m, b.cols.panels(), b.k/4)
	for a.rows > 48 && a.rows*b.k > 512<<10 {
		a.rows /= 2
	}
	rowTasks := (a.m + a.rows - 1) / a.rows
	if rowTasks*a.parts == 1 {
		p = nil
	}
	productStrips.For(p, rowTasks*a.parts, 1, a, (*productArgs).tasks)
}

func (a *productArgs) tasks(lo, hi int) {
	b, panels := a.b, a.b.cols.panels()
	least, most := Activation{}.bounds()
	buf := borrow(8 * (a.rows + stripRows))
	defer buf.release()
	rows := view[int](buf)[:a.rows+stripRows]
	for t := lo; t < hi; t++ {
		i0 := t / a.parts * a.rows
		count := min(a.rows, a.m-i0)
		for i := range rows {
			rows[i] = min(i, count-1) * a.lda
		}
		for i := t % a.parts * panels / a.parts; i < (t%a.parts+1)*panels/a.parts; i++ {
			data, col, width := b.panel(i)
			n, at, reach := min(width, b.cols.n-col), i0*a.ldc+col, (count-1)*a.lda
			if a.bias != nil {
				stripFloats(count, n, width, b.k/4, a.a[i0*a.lda:], rows, oneRun, reach, data, a.whole[col:], a.scale[col:], a.bias[col:], least, most,
					a.floats[at:], tail(a.residual, at), a.ldc)
			} else {
				strip(count, n, width, b.k/4, a.a[i0*a.lda:], rows, oneRun, reach, data, a.whole[col:], a.scale[col:], &a.end, a.codes[at:], nil, a.ldc)
			}
		}
	}
}

// inFloats is GemmInt8F32 in strips; whole, scale and bias are padded to whole panels.
func (b *PackedInt8) inFloats(p *Pool, m int, a []byte, lda int, whole []int32, scale, bias, residual, c []float32, ldc int) {
	b.inStrips(p, productArgs{m: m, a: a, lda: lda, whole: whole, scale: scale, bias: bias, residual: residual, floats: c, ldc: ldc})
}

// inCodes is GemmInt8Requant in strips; whole and scale are padded to whole panels.
func (b *PackedInt8) inCodes(p *Pool, m int, a []byte, lda int, whole []int32, scale []float32, end codesEnd, c []byte, ldc int) {
	b.inStrips(p, productArgs{m: m, a: a, lda: lda, whole: whole, scale: scale, end: end, codes: c, ldc: ldc})
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
