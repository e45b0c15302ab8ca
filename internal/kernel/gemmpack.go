package kernel

// panelWidth is the number of columns of a full panel of a packed right operand: three AVX-512
// registers. Narrower panels, at the right edge, are 16 or 32 wide, padded with zeros.
const panelWidth = 48

// columns splits the n columns of a right operand into panels.
type columns struct {
	n, full int    // full panels come first,
	rest    [2]int // then panels of these widths; 0 for none
}

func splitColumns(n int) columns {
	c := columns{n: n, full: n / panelWidth}
	switch r := n % panelWidth; {
	case r == 0:
	case r <= 16 && c.full > 0: // 48+16 does less well than 32+32
		c.full--
		c.rest = [2]int{32, 32}
	default:
		c.rest[0] = (r + 15) &^ 15
	}
	return c
}

func (c *columns) panels() int {
	n := c.full
	for _, w := range c.rest {
		if w > 0 {
			n++
		}
	}
	return n
}

// padded is the sum of the widths of the panels.
func (c *columns) padded() int { return c.full*panelWidth + c.rest[0] + c.rest[1] }

// panel returns the first column and the width of panel i.
func (c *columns) panel(i int) (col, width int) {
	switch i -= c.full; {
	case i < 0:
		return (i + c.full) * panelWidth, panelWidth
	case i == 0:
		return c.full * panelWidth, c.rest[0]
	}
	return c.full*panelWidth + c.rest[0], c.rest[1]
}

// blockK is the largest depth of a block: a panel of B of that depth (72 KiB) and a row panel of A
// stay in the second- and first-level cache while they are used.
const blockK = 384

// depth splits k into blocks of about equal size.
func depth(k int) (blocks, size int) {
	blocks = max(1, (k+blockK-1)/blockK)
	return blocks, (k + blocks - 1) / blocks
}

// PackedF32 is a float32 matrix in the order in which the GEMM kernels read their right operand.
// It is read-only after PackB and may be used by several goroutines.
//
// data holds block after block of k; in a block panel after panel; in a panel row after row.
type PackedF32 struct {
	k    int
	cols columns
	data []float32
}

// PackB packs op(B), a k x n matrix, for GemmF32Packed. b is not referenced afterwards.
func PackB(transB bool, k, n int, b []float32, ldb int) *PackedF32 {
	checkGemm(false, transB, 0, n, k, 0, k, len(b), ldb, 0, n)
	q := &PackedF32{k: k, cols: splitColumns(n)}
	q.data = make([]float32, k*q.cols.padded())
	q.fill(Shared(), transB, b, ldb)
	return q
}

// Size returns the number of rows (k) and columns (n) of the packed matrix.
func (b *PackedF32) Size() (k, n int) { return b.k, b.cols.n }

// Bytes returns the memory that the packed matrix holds.
func (b *PackedF32) Bytes() int { return 4 * len(b.data) }

// block returns the depth range of block kb and, for panel i in it, the packed words.
func (b *PackedF32) block(kb int) (k0, k1 int) {
	_, size := depth(b.k)
	return kb * size, min((kb+1)*size, b.k)
}

func (b *PackedF32) panel(k0, k1, i int) (data []float32, col, width int) {
	col, width = b.cols.panel(i)
	start := k0*b.cols.padded() + col*(k1-k0)
	return b.data[start : start+width*(k1-k0)], col, width
}

func (b *PackedF32) fill(p *Pool, transB bool, src []float32, ld int) {
	blocks, _ := depth(b.k)
	panels := b.cols.panels()
	if b.k*b.cols.n < 1<<14 {
		p = nil
	}
	// Of rows as they lie, several panels are filled together, so that a row is read in long pieces.
	together := 8
	if transB {
		together = 1
	}
	groups := (panels + together - 1) / together
	p.For(blocks*groups, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			k0, k1 := b.block(t / groups)
			first := t % groups * together
			last := min(first+together, panels)
			if transB {
				dst, col, width := b.panel(k0, k1, first)
				packTransposed(words(dst), width, words(src)[col*ld+k0:], ld, min(width, b.cols.n-col), k1-k0, 0)
				continue
			}
			for deep := k0; deep < k1; deep += 16 { // short enough that the lines read stay cached
				for i := first; i < last; i++ {
					dst, col, width := b.panel(k0, k1, i)
					packRows(dst[(deep-k0)*width:], width, src[deep*ld+col:], ld, min(16, k1-deep), min(width, b.cols.n-col))
				}
			}
		}
	})
}

// packRows copies rows of n elements, ld apart, to rows of width elements padded with zeros.
func packRows[T any](dst []T, width int, src []T, ld, rows, n int) {
	for l := range rows {
		row := dst[l*width : (l+1)*width]
		copy(row, src[l*ld:l*ld+n])
		clear(row[n:])
	}
}

// packTransposed sets dst[l*width+i] = src[i*ld+l]^flip for i < rows, l < k, and 0 for i in
// [rows, width).
func packTransposed(dst []uint32, width int, src []uint32, ld, rows, k int, flip uint32) {
	need("packTransposed src", len(src), rows, k, ld)
	need("packTransposed dst", len(dst), k, width, width)
	i := transposeStrips(dst, width, src, ld, rows, k, flip)
	for ; i < rows; i++ {
		for l, v := range src[i*ld : i*ld+k] {
			dst[l*width+i] = v ^ flip
		}
	}
	for ; i < width; i++ {
		for l := range k {
			dst[l*width+i] = 0
		}
	}
}

// packA packs rows i0 to i1 and depths k0 to k1 of op(A) into row panels of up to mr rows, each as
// k1-k0 columns of panel height, and returns the words used. The last panel has the height that
// panelRows gives; rows beyond the matrix are zero.
func packA(dst []float32, mr int, transA bool, a []float32, lda, i0, i1, k0, k1 int) int {
	used, k := 0, k1-k0
	for i := i0; i < i1; i += mr {
		rows := min(mr, i1-i)
		height := panelRows(rows, mr)
		panel := dst[used : used+height*k]
		switch {
		case transA:
			packRows(panel, height, a[k0*lda+i:], lda, k, rows)
		case height == 6 && i+8 <= i1 && transposeStrips(words(dst[used:]), height, words(a)[i*lda+k0:], lda, 8, k, 0) > 0:
			// Eight rows went in where six belong: each packed column overwrote the excess of the one
			// before it, and the next panel overwrites that of the last.
		default:
			packTransposed(words(panel), height, words(a)[i*lda+k0:], lda, rows, k, 0)
		}
		used += len(panel)
	}
	return used
}

// panelRows returns the height of the tile used for a panel of rows rows: mr, 4, 2 or 1.
func panelRows(rows, mr int) int {
	switch {
	case rows > 4:
		return mr
	case rows > 2:
		return 4
	}
	return rows
}
