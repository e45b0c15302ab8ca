package kernel

// Blocked products: both operands are brought into panels that the micro-kernels read in order, and
// multiplied block by block so that each block is used from the cache (Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008). A word is what a micro-kernel multiplies in one lane
// and step: a float32, a float64, or two bfloat16 of neighbouring k.

// panelWidth is the number of columns of a full panel of a packed right operand of 32-bit words: three AVX-512
// registers, 192 bytes. Narrower panels, at the right edge, are 16 or 32 wide, padded with zeros.
const panelWidth = 48

// columns splits the n columns of a right operand into panels of up to vecs vectors of lanes words.
type columns struct {
	n, lanes, vecs, full int    // full panels come first,
	rest                 [2]int // then panels of these widths; 0 for none
}

func splitColumns(n int) columns { return splitLanes(n, panelWidth/3, 3) }

func splitLanes(n, lanes, vecs int) columns {
	c := columns{n: n, lanes: lanes, vecs: vecs, full: n / (vecs * lanes)}
	switch r := n % (vecs * lanes); {
	case r == 0:
	case r <= lanes && c.full > 0 && vecs == 3: // three vectors and one do less well than two and two
		c.full--
		c.rest = [2]int{2 * lanes, 2 * lanes}
	default:
		c.rest[0] = (r + lanes - 1) / lanes * lanes
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
func (c *columns) padded() int { return c.full*c.vecs*c.lanes + c.rest[0] + c.rest[1] }

// panel returns the first column and the width of panel i.
func (c *columns) panel(i int) (col, width int) {
	switch i -= c.full; {
	case i < 0:
		return (i + c.full) * c.vecs * c.lanes, c.vecs * c.lanes
	case i == 0:
		return c.full * c.vecs * c.lanes, c.rest[0]
	}
	return c.full*c.vecs*c.lanes + c.rest[0], c.rest[1]
}

// blockK is the largest depth of a block: a panel of B of that depth (144 KiB) and a row panel of A (24 KiB)
// stay in the second- and first-level cache while they are used. C is read and written once for each block.
const blockK = 768

// depth splits k into blocks of about equal size.
func depth(k int) (blocks, size int) {
	blocks = max(1, (k+blockK-1)/blockK)
	return blocks, (k + blocks - 1) / blocks
}

// panels is a packed right operand: block after block of k; in a block panel after panel; in a panel
// row after row.
type panels[W any] struct {
	k    int
	cols columns
	data []W
}

// packRight brings columns [col, col+n) of depths [k0, k1) of a right operand into consecutive panels of three
// vectors, or into one narrower panel of the given width, of which n columns are valid.
type packRight[W any] func(dst []W, width, k0, k1, col, n int)

// block returns the depth range of block kb.
func (b *panels[W]) block(kb int) (k0, k1 int) {
	_, size := depth(b.k)
	return kb * size, min((kb+1)*size, b.k)
}

// panel returns the packed words of panel i of a block.
func (b *panels[W]) panel(k0, k1, i int) (data []W, col, width int) {
	col, width = b.cols.panel(i)
	start := k0*b.cols.padded() + col*(k1-k0)
	return b.data[start : start+width*(k1-k0)], col, width
}

// fill packs the whole operand.
func (b *panels[W]) fill(p *Pool, pack packRight[W]) { b.fillParts(p, pack, false, nil) }

// fillParts packs the whole operand. If read is not nil, it does so part by part: all columns of a block of the depth or, with deep, a group
// of panels in all their depth; and calls read after each.
func (b *panels[W]) fillParts(p *Pool, pack packRight[W], deep bool, read func()) {
	const together = 8 // panels, so that rows that lie along n are read in long pieces
	blocks, _ := depth(b.k)
	count := b.cols.panels()
	if b.k*b.cols.n < 1<<14 {
		p = nil
	}
	groups := (count + together - 1) / together
	part := func(block, group int) {
		k0, k1 := b.block(block)
		first := group * together
		col, _ := b.cols.panel(first)
		packPanels(&b.cols, pack, b.data[k0*b.cols.padded()+col*(k1-k0):], k0, k1, first, min(first+together, count))
	}
	switch {
	case read == nil:
		p.For(blocks*groups, 1, func(lo, hi int) {
			for t := lo; t < hi; t++ {
				part(t/groups, t%groups)
			}
		})
	case deep:
		for g := range groups {
			p.For(blocks, 1, func(lo, hi int) {
				for block := lo; block < hi; block++ {
					part(block, g)
				}
			})
			read()
		}
	default:
		for block := range blocks {
			p.For(groups, 1, func(lo, hi int) {
				for g := lo; g < hi; g++ {
					part(block, g)
				}
			})
			read()
		}
	}
}

// packPanels packs panels [first, last) of depths [k0, k1) one behind the other; full ones in one go.
func packPanels[W any](cols *columns, pack packRight[W], dst []W, k0, k1, first, last int) {
	for i := first; i < last; {
		col, width := cols.panel(i)
		many := 1
		if i < cols.full {
			many = min(last, cols.full) - i
		}
		words := many * width * (k1 - k0)
		pack(dst[:words], width, k0, k1, col, min(many*width, cols.n-col))
		dst = dst[words:]
		i += many
	}
}

// blocked is the product C = A*B, C += A*B and their kin over words of type W, with what is peculiar to an operand
// left to functions.
type blocked[W any] struct {
	m    int // rows of A
	k    int // depth of both, in words
	cols columns
	mr   int // rows of the micro-kernel
	ops  int // multiply-adds of a word
	// packA packs rows [i0, i1) of depths [k0, k1) into row panels of up to mr rows.
	packA func(dst []W, i0, i1, k0, k1 int)
	// tile multiplies a row panel by a panel, both of depth k, and stores rows x n results at C's (row, col): the
	// first time, then with add set for the deeper blocks.
	// Of ahead, which later tiles read, the first part may be brought near (see aheadOf).
	tile func(height, width, k int, a, b, ahead []W, row, col, rows, n int, add bool)
	// outside, if given, tells of blocks of C that are not wanted.
	outside func(row, col, rows, n int) bool

	tasks multiplication[W] // of multiply
	body  func(lo, hi int)  // multiplyTasks
}

// multiplication is what the tasks of a product share: depths from k0 on, by columns from col0 on, rows and parts to a task.
type multiplication[W any] struct {
	b                     *panels[W]
	k0, col0, rows, parts int
}

const (
	minTask = 1 << 17 // multiply-adds that are worth a thread's attention
	rowsMax = 192     // rows of a task
)

// blockRows is how many rows of A are packed at a time at the depth of a block: 432 KiB, which leave room for two panels of B in
// the second-level cache.
func blockRows[W any](depth int) int {
	const step = rowsMax / 4
	return max(2*step, min(rowsMax, 432<<10/(depth*sizeOf[W]())/step*step))
}

// Of a right operand that is not packed before, at most packWords words are packed at a time, in slices of at most
// sliceK rows. Tests make both small.
var packWords, sliceK = 4 << 20, 2 * blockK

// run multiplies by a right operand that is packed on the way.
func (g *blocked[W]) run(p *Pool, pack packRight[W]) {
	if g.m <= rowsMax {
		g.runNarrow(p, pack)
		return
	}
	stepK := min(g.k, sliceK)
	full := 3 * g.cols.lanes
	stepN := min(g.cols.n, packWords/stepK/full*full)
	buf := borrow(sizeOf[W]() * stepK * (stepN + full))
	defer buf.release()
	for k0 := 0; k0 < g.k; k0 += stepK {
		for j := 0; j < g.cols.n; j += stepN {
			b := panels[W]{k: min(stepK, g.k-k0), cols: splitLanes(min(stepN, g.cols.n-j), g.cols.lanes, 3)}
			b.data = view[W](buf)[:b.k*b.cols.padded()]
			b.fill(p, func(dst []W, width, d0, d1, col, n int) { pack(dst, width, k0+d0, k0+d1, j+col, n) })
			g.multiply(p, &b, k0, j)
		}
	}
}

// runNarrow multiplies an A of few rows: it is packed whole, and each panel of B by the thread that uses it at once.
func (g *blocked[W]) runNarrow(p *Pool, pack packRight[W]) {
	height := paddedRows(g.m, g.mr)
	buf := borrow(sizeOf[W]() * height * g.k)
	defer buf.release()
	packed := view[W](buf)[:height*g.k]
	blocks, size := depth(g.k)
	count := g.cols.panels()
	b := panels[W]{k: g.k, cols: g.cols}
	if work := g.m * g.cols.n * g.k * g.ops; work < 2*minTask {
		p = nil
	}
	one := p
	if g.m*g.k < 1<<14 {
		one = nil
	}
	one.For(blocks, 1, func(lo, hi int) {
		for kb := lo; kb < hi; kb++ {
			k0, k1 := b.block(kb)
			g.packA(packed[height*k0:height*k1], 0, g.m, k0, k1)
		}
	})
	group := max(1, min(8, count/(4*p.Threads())))
	p.For((count+group-1)/group, 1, func(lo, hi int) {
		full := 3 * g.cols.lanes
		buf := borrow(sizeOf[W]() * size * full * group)
		defer buf.release()
		right := view[W](buf)
		for kb := range blocks {
			k0, k1 := b.block(kb)
			for t := lo; t < hi; t++ {
				first, last := t*group, min((t+1)*group, count)
				packPanels(&g.cols, pack, right, k0, k1, first, last)
				base, _ := g.cols.panel(first)
				for i := first; i < last; i++ {
					col, width := g.cols.panel(i)
					from := (col - base) * (k1 - k0)
					g.rowPanels(packed[height*k0:], right[from:from+width*(k1-k0)], nil, k1-k0, width, 0, g.m, col, min(width, g.cols.n-col), kb > 0)
				}
			}
		}
	})
}

// rowSplit cuts m rows and count panels of columns into tasks for a pool: blocks of rowsPerTask rows, at most most,
// times parts of the panels. There are enough tasks that the last ones to end leave little idle; each part packs its
// rows again, so that there are not more.
func rowSplit(p *Pool, m, most, count, work int) (rowsPerTask, parts int) {
	const least, step = 48, 24 // multiples of the heights of tiles
	threads := p.Threads()
	want := min(8*threads, work/minTask)
	if threads == 1 || want <= 1 {
		return most, 1
	}
	for rowsPerTask = most; ; rowsPerTask = max(least, rowsPerTask/2/step*step) {
		rowTasks := (m + rowsPerTask - 1) / rowsPerTask
		parts = min(max(1, count/4), (want+rowTasks-1)/rowTasks)
		if rowTasks*parts >= min(want, 4*threads) {
			return rowsPerTask, parts
		}
		if rowsPerTask <= least {
			return rowsPerTask, min(count, (want+rowTasks-1)/rowTasks)
		}
	}
}

// multiply multiplies depths [k0, k0+b.k) by the packed columns from col0 on. Each task owns a block of rows of C
// times a range of panels and goes through the blocks of k in order, so that the order of summation is fixed.
func (g *blocked[W]) multiply(p *Pool, b *panels[W], k0, col0 int) {
	t := multiplication[W]{b: b, k0: k0, col0: col0}
	_, size := depth(b.k)
	t.rows, t.parts = rowSplit(p, g.m, blockRows[W](size), b.cols.panels(), g.m*b.cols.n*b.k*g.ops)
	rowTasks := (g.m + t.rows - 1) / t.rows
	if rowTasks*t.parts == 1 {
		p = nil
	}
	g.tasks = t
	if g.body == nil {
		g.body = g.multiplyTasks
	}
	p.For(rowTasks*t.parts, 1, g.body)
}

func (g *blocked[W]) multiplyTasks(lo, hi int) {
	b, k0, col0, parts := g.tasks.b, g.tasks.k0, g.tasks.col0, g.tasks.parts
	blocks, size := depth(b.k)
	count := b.cols.panels()
	buf := borrow(sizeOf[W]() * (min(g.tasks.rows, g.m) + 2*g.mr) * size)
	defer buf.release()
	packed := view[W](buf)
	for t := lo; t < hi; t++ {
		i0 := t / parts * g.tasks.rows
		i1 := min(i0+g.tasks.rows, g.m)
		first, last := t%parts*count/parts, (t%parts+1)*count/parts
		if g.outside != nil {
			from, _ := b.cols.panel(first)
			to, width := b.cols.panel(last - 1)
			if g.outside(i0, col0+from, i1-i0, to+width-from) {
				continue
			}
		}
		for kb := range blocks {
			d0, d1 := b.block(kb)
			g.packA(packed, i0, i1, k0+d0, k0+d1)
			for i := first; i < last; i++ {
				data, col, width := b.panel(d0, d1, i)
				next := b.data[(d0*b.cols.padded()+(col+width)*(d1-d0))%len(b.data):]
				g.rowPanels(packed, data, next, d1-d0, width, i0, i1, col0+col, min(width, b.cols.n-col), k0+kb > 0)
			}
		}
	}
}

// rowPanels multiplies all row panels of a packed block of A, rows [i0, i1) of C, by one panel of B. Meanwhile the next panel,
// if given, is brought near.
func (g *blocked[W]) rowPanels(a, b, next []W, k, width, i0, i1, col, n int, add bool) {
	next = next[:min(len(next), len(b))]
	for i := i0; i < i1; i += g.mr {
		rows := min(g.mr, i1-i)
		if g.outside != nil && g.outside(i, col, rows, n) {
			continue
		}
		g.tile(panelRows(rows, g.mr), width, k, a[(i-i0)*k:], b, next, i, col, rows, n, add)
		next = aheadOf(next, k)
	}
}

// aheadOf is what a tile of depth k leaves of what it is to bring near: it takes a twelfth of a full panel, so that the row panels
// of any task but a small one suffice, and none asks for much at once.
func aheadOf[W any](x []W, k int) []W { return x[min(len(x), 16/sizeOf[W]()*k):] }

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

// paddedRows is the sum of the heights of the row panels of rows rows.
func paddedRows(rows, mr int) int {
	n := rows / mr * mr
	if n < rows {
		n += panelRows(rows-n, mr)
	}
	return n
}
