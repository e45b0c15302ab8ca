package kernel

import "unsafe"

// finishProduct ends rows x n sums of an integer product that belong at (row, col), see [PackedInt8.multiply].
type finishProduct func(rows, n, row, col int, acc []int32, terms []finishRow, u, v []int32)

var multiplying Jobs[multiplyArgs]

// multiplyArgs are the tasks of [PackedInt8.multiply].
type multiplyArgs struct {
	b                  *PackedInt8
	m                  int
	a                  []byte
	lda                int
	azp                []int32
	aScale             []float32
	shift              []int32
	whole              bool // shift is that
	flip               uint32
	offset             int32
	rowsPerTask, parts int
	to                 destination
	finish             finishProduct
}

// destination is where a product goes: rows of elements of so many bytes, ld of them apart.
type destination struct {
	base     unsafe.Pointer
	size, ld int
}

func destinationOf[T any](c []T, ld int) destination {
	return destination{unsafe.Pointer(unsafe.SliceData(c)), sizeOf[T](), ld}
}

// near brings rows x n elements from (row, col) on near, which are written soon.
func (d *destination) near(rows, n, row, col int) {
	nearRows(rows, n*d.size, unsafe.Add(d.base, (row*d.ld+col)*d.size), d.ld*d.size)
}

func (g *multiplyArgs) tasks(lo, hi int) {
	const mr = 8
	b, k4, panels := g.b, (g.b.k+3)/4, g.b.cols.panels()
	plain := g.whole && b.zero == nil && g.aScale == nil
	rowsMax, wide := min(g.rowsPerTask, g.m)+mr, leftWords()
	words := rowsMax * k4 * wide
	buf := borrow(words*4 + rowsMax*int(unsafe.Sizeof(finishRow{})) + mr*panelWidth*4)
	defer buf.release()
	packed := buf.u32()[:words]
	acc := buf.i32()[words : words+mr*panelWidth]
	terms := unsafe.Slice((*finishRow)(unsafe.Pointer(&buf.i32()[words+mr*panelWidth])), rowsMax)
	for t := lo; t < hi; t++ {
		i0 := t / g.parts * g.rowsPerTask
		i1 := min(i0+g.rowsPerTask, g.m)
		used := k4 * paddedRows(i1-i0, mr)
		packRowsInt8(packed[(wide-1)*used:], mr, g.a, g.lda, i0, i1, b.k, g.flip)
		if wide > 1 {
			widenLeft(packed, packed[used:2*used], false)
		}
		for i := i0; i < i1 && !plain; i++ {
			row := columnsOnly
			if !g.whole {
				row.p = at(g.azp, i) + g.offset
			}
			if g.aScale != nil {
				row.scale = at(g.aScale, i)
			}
			if b.zero != nil {
				row.q = -sumBytes(g.a[i*g.lda:i*g.lda+b.k], g.flip)
			}
			terms[i-i0] = row
		}
		for i := t % g.parts * panels / g.parts; i < (t%g.parts+1)*panels/g.parts; i++ {
			data, col, width := b.panel(i)
			valid := min(width, b.cols.n-col)
			next := b.data[min((col+width)*4*k4, len(b.data)):]
			next = next[:min(len(next), len(data))]
			u, v := g.shift[col:col+width], b.zero
			if v != nil {
				v = v[col : col+width]
			}
			for r := i0; r < i1; r += mr {
				rows := min(mr, i1-r)
				height := panelRows(rows, mr)
				g.to.near(rows, valid, r, col)
				tileInt8(false, height, width, k4, packed[(r-i0)*k4*wide:], data, acc, next)
				next = aheadOf(next, k4)
				own := terms[r-i0:]
				if plain {
					own = nil
				}
				g.finish(rows, valid, r, col, acc, own, u, v)
			}
		}
	}
}

// floatEnds keeps ends of products, so that one allocates nothing.
var floatEnds stock[floatEnd]

// floatEnd is the end of GemmInt8F32.
type floatEnd struct {
	scale, bias, residual, c []float32
	ldc                      int
	f                        finishProduct // finish
}

func (e *floatEnd) function() finishProduct {
	if e.f == nil {
		e.f = e.finish
	}
	return e.f
}

func (e *floatEnd) finish(rows, n, row, col int, acc []int32, terms []finishRow, u, v []int32) {
	var scale, add []float32
	if len(e.scale) != 0 {
		scale = e.scale[col:]
	}
	if len(e.bias) != 0 {
		add = e.bias[col:]
	}
	lo, hi := Activation{}.bounds()
	finishF32(rows, n, acc, terms, u, v, scale, add, lo, hi, e.c[row*e.ldc+col:], e.ldc)
	for i := row; i < row+rows && len(e.residual) != 0; i++ {
		line := e.c[i*e.ldc+col:][:n]
		Add(line, line, e.residual[i*e.ldc+col:][:n])
	}
}

func (e *floatEnd) done() {
	e.scale, e.bias, e.residual, e.c = nil, nil, nil, nil
	floatEnds.give(e)
}
