package kernel

import (
	"fmt"
	"runtime"
	"unsafe"
)

// vectorRows is the greatest number of rows of activations for which codes are unpacked once a row.
const vectorRows = 3

// AffineProduct is a product of rows of activations x with a matrix: Dst[t*Ldd+r], for each row t of x and each row r of the matrix, becomes the
// sum over c of x[t*ldx+c] times the weight of row r and column c.
type AffineProduct struct {
	M   *PackedAffine
	Dst []float32
	Ldd int
}

// MostProducts is how many products with the same activations are made together.
const MostProducts = 4

// Multiply is one [AffineProduct].
func (m *PackedAffine) Multiply(p *Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	j := affineJob{tokens: tokens, x: x, ldx: ldx, count: 1}
	j.products[0] = AffineProduct{m, dst, ldd}
	j.multiply(p)
	runtime.KeepAlive(m)
}

// SharesActivations reports whether products of the same x with both matrices can be made together: with the same rounding of x.
func (m *PackedAffine) SharesActivations(n *PackedAffine) bool {
	return m.Cols == n.Cols && m.blocks() == n.blocks() && m.form.block() == n.form.block() && m.Offset == n.Offset &&
		affineBias(m.form.wide()) == affineBias(n.form.wide())
}

// MultiplyAffine makes up to MostProducts products with the same activations, which are rounded once. The matrices share their rounding (see
// SharesActivations).
func MultiplyAffine(p *Pool, tokens int, x []float32, ldx int, products []AffineProduct) {
	j := affineJob{tokens: tokens, x: x, ldx: ldx, count: len(products)}
	if len(products) == 0 || len(products) > MostProducts {
		panic(fmt.Sprintf("kernel: %d products together", len(products)))
	}
	for i, q := range products {
		if !q.M.SharesActivations(products[0].M) {
			panic("kernel: the products do not share their activations")
		}
		j.products[i] = q
	}
	j.multiply(p)
	runtime.KeepAlive(products)
}

// affineJob is products with the same activations.
type affineJob struct {
	activations
	tokens   int
	x        []float32
	ldx      int
	products [MostProducts]AffineProduct
	count    int

	offset      int32 // see blockInfo
	part, parts int   // rows of activations of a task, and how many such there are
}

var affineJobs Jobs[affineJob]

func (j *affineJob) multiply(p *Pool) {
	m := j.products[0].M
	need("affine x", len(j.x), j.tokens, m.Cols, j.ldx)
	for _, q := range j.products[:j.count] {
		need("affine dst", len(q.Dst), j.tokens, q.M.Rows, q.Ldd)
	}
	switch {
	case j.tokens == 0:
	case j.tokens <= vectorRows:
		j.vectors(p)
	default:
		j.tiles(p)
	}
}

// activations is rows of activations in 8 bits.
type activations struct {
	codes []byte // wide apart
	info  []blockInfo
	wide  int  // bytes of the codes of a row
	words bool // codes are in words (see wordActivations)
}

// codeBytes is the size of a code.
func (a *activations) codeBytes() int {
	if a.words {
		return 2
	}
	return 1
}

// quantize rounds the rows lo to hi of x; those from tokens on are zero.
func (j *affineJob) quantize(lo, hi int) {
	m := j.products[0].M
	block, blocks := m.form.block(), m.blocks()
	whole, rest := m.Cols/block, m.Cols%block
	for t := lo; t < hi; t++ {
		all, info := j.codes[t*j.wide:(t+1)*j.wide], j.info[t*blocks:(t+1)*blocks]
		if t >= j.tokens {
			clear(all)
			clear(info)
			continue
		}
		codes := all[len(all)-blocks*block:]
		row := j.x[t*j.ldx : t*j.ldx+m.Cols]
		quantizeBlocks(block, whole, codes, info, row, j.offset)
		if done := whole; done < blocks {
			clear(codes[done*block:])
			clear(info[done:])
			if rest > 0 {
				var last [32]float32
				copy(last[:], row[done*block:])
				quantizeBlocks(block, 1, codes[done*block:], info[done:], last[:block], j.offset)
			}
		}
		if j.words { // in place: a run's words end before the next run's bytes
			wordsOfCodes(all, codes)
		}
	}
}

// borrow makes room for rows of activations.
func (j *affineJob) borrow(rows int) *buffer {
	m := j.products[0].M
	blocks := m.blocks()
	j.wide = blocks * m.form.block() * j.codeBytes()
	size := (rows*j.wide + 63) &^ 63
	buf := borrow(size + rows*blocks*int(unsafe.Sizeof(blockInfo{})))
	j.codes = buf.bytes()[:rows*j.wide]
	j.info = unsafe.Slice((*blockInfo)(unsafe.Pointer(&buf.bytes()[size])), rows*blocks)
	return buf
}

// unitRows is the rows of a unit.
const unitRows = unitStrips * affineRows

// vectors multiplies few rows of activations; the matrices are read once from memory.
func (j *affineJob) vectors(p *Pool) {
	m := j.products[0].M
	buf := j.borrow(j.tokens)
	defer buf.release()
	j.offset = int32(affineBias(m.form.wide()) - m.Offset)
	j.quantize(0, j.tokens)
	units, bytes := 0, 0
	for _, q := range j.products[:j.count] {
		units += q.M.units
		bytes += q.M.Bytes()
		q.M.pack(p)
	}
	if bytes < 64<<10 {
		p = nil
	}
	affineJobs.For(p, units, max(1, min(4, units/(8*p.Threads()))), *j, (*affineJob).units)
}

// units multiplies by the units from lo to hi, counted through all matrices.
func (j *affineJob) units(lo, hi int) {
	out := borrow(4 * unitRows)
	defer out.release()
	for _, q := range j.products[:j.count] {
		m := q.M
		for u := max(lo, 0); u < min(hi, m.units); u++ {
			for t := range j.tokens {
				row := q.Dst[t*q.Ldd+u*unitRows : t*q.Ldd+min((u+1)*unitRows, m.Rows)]
				sums := row
				if len(row) < unitRows {
					sums = out.f32()
				}
				vectorAffine(m.form, &m.table, m.groups, m.inner, m.header, m.data[u*m.unitBytes:(u+1)*m.unitBytes], j.codes[t*j.wide:(t+1)*j.wide],
					j.info[t*m.blocks():(t+1)*m.blocks()], m.factor[u*unitRows:(u+1)*unitRows], sums)
				if len(row) < unitRows {
					copy(row, sums)
				}
			}
		}
		lo, hi = lo-m.units, hi-m.units
	}
}

const (
	tileRowsAffine = 4 // rows of activations that tiles take together
	panelStrips    = 3
	deepColumns    = 512 // columns whose unpacked codes stay in the first cache
)

// panels is how many panels of strips tiles take the matrix in.
func (m *PackedAffine) panels() int { return (m.strips() + panelStrips - 1) / panelStrips }

// tiles multiplies many rows of activations: codes are unpacked once for a panel of strips and a run of columns.
func (j *affineJob) tiles(p *Pool) {
	m := j.products[0].M
	padded := (j.tokens + tileRowsAffine - 1) / tileRowsAffine * tileRowsAffine
	j.words = wordActivations(m.form.wide())
	buf := j.borrow(padded)
	defer buf.release()
	j.offset = int32(-m.Offset)
	affineJobs.For(p, padded, 4, *j, (*affineJob).quantize)
	panels := 0
	for _, q := range j.products[:j.count] {
		panels += q.M.panels()
		if f := q.M.file.Load(); f != nil && f.better(j.tokens) {
			q.M.pack(p)
		}
	}
	j.part = padded
	for j.part > 512 || j.part > 64 && panels*(padded/j.part) < 4*p.Threads() {
		j.part = (j.part/2 + tileRowsAffine - 1) / tileRowsAffine * tileRowsAffine
	}
	j.parts = (padded + j.part - 1) / j.part
	affineJobs.For(p, panels*j.parts, 1, *j, (*affineJob).panelTasks)
}

// panelTasks does the tasks from lo to hi, counted through all matrices: a panel of strips with a part of the activations.
func (j *affineJob) panelTasks(lo, hi int) {
	for i := range j.count {
		n := j.products[i].M.panels() * j.parts
		if from, to := max(lo, 0), min(hi, n); from < to {
			j.panelsOf(&j.products[i], from, to)
		}
		lo, hi = lo-n, hi-n
	}
}

// panelsOf does tasks of one matrix.
func (j *affineJob) panelsOf(q *AffineProduct, lo, hi int) {
	m, padded := q.M, len(j.codes)/j.wide
	// Runs of columns: whole groups, or pieces of one.
	block := m.form.block()
	groups, pieces, blocks := max(1, deepColumns/(m.inner*block)), 1, m.inner
	if m.inner*block > deepColumns {
		blocks = deepColumns / block
		pieces = (m.inner + blocks - 1) / blocks
	}
	deep := groups * blocks
	size := panelStrips * 16 * deep * block
	run := affineRun{m: m, j: j, file: m.file.Load()}
	unit := 0
	if run.file != nil {
		unit = groups * m.groupBytes
	}
	scratch := borrow(unit + size + 4*(j.part*panelWidth+2*deep*panelWidth))
	defer scratch.release()
	run.unit, run.codes = scratch.bytes()[:unit], scratch.bytes()[unit:unit+size]
	floats := scratch.f32()[(unit+size)/4:]
	run.scale, run.mins = floats[:deep*panelWidth], floats[deep*panelWidth:2*deep*panelWidth]
	c := floats[2*deep*panelWidth:][:j.part*panelWidth]
	for i := lo; i < hi; i++ {
		first := i / j.parts * panelStrips
		count := min(panelStrips, m.strips()-first)
		t0 := i % j.parts * j.part
		t1 := min(t0+j.part, padded)
		clear(c[:(t1-t0)*panelWidth])
		run.first, run.count = first, count
		if run.file != nil && run.file.rows != nil {
			for s := range count {
				run.file.factors(m, first+s, run.factor[s*affineRows:][:affineRows])
			}
		}
		for g := 0; g < m.groups; g += groups {
			run.g, run.groups = g, min(groups, m.groups-g)
			for piece := range pieces {
				run.b = piece * blocks
				run.inner = min(blocks, m.inner-run.b)
				run.add(t0, t1, c)
			}
		}
		n := min(count*affineRows, m.Rows-first*affineRows)
		for t := t0; t < min(t1, j.tokens); t++ {
			copy(q.Dst[t*q.Ldd+first*affineRows:][:n], c[(t-t0)*panelWidth:][:n])
		}
	}
}

// affineRun is the product of a run of columns of some strips: inner blocks from b on in each of some groups from g on.
type affineRun struct {
	m            *PackedAffine
	j            *affineJob
	first, count int // strips
	g, groups    int
	b, inner     int

	file   *affineFile                       // what the matrix lies in, if it is not packed
	unit   []byte                            // the strips, packed from that
	factor [panelStrips * affineRows]float32 // of their rows, where they are read

	codes       []byte
	scale, mins []float32
}

// stripCodes is codes of up to panelStrips strips, a byte each: those of a block lie step bytes after those of the block before.
type stripCodes struct {
	strips [panelStrips][]byte
	step   int
}

// add adds the products with the rows t0 to t1 of activations to c, whose rows are panelWidth apart.
func (r *affineRun) add(t0, t1 int, c []float32) {
	m := r.m
	block := m.form.block()
	blocks := r.groups * r.inner
	ldw := blocks * 16 * block
	gap := m.groupBytes - r.inner*unitStrips*m.form.blockBytes()
	mins := r.mins
	if !m.Mins {
		mins = nil
	}
	// Codes of 8 bits whose blocks are evenly apart are read where they lie.
	size := m.form.blockBytes()
	w, direct := stripCodes{step: 16 * block}, m.form.bits() == 8 && (m.inner == 1 || r.groups == 1)
	if direct {
		w.step = unitStrips * size
		if m.inner == 1 {
			w.step = m.groupBytes
		}
	}
	ldd := r.count * affineRows
	from, first, group := m, r.first, r.g
	if r.file != nil {
		from, first, group = &PackedAffine{
			AffineShape: AffineShape{Cols: r.groups * r.m.Group, Mins: m.Mins},
			form:        m.form, groups: r.groups, inner: 1, header: m.header, groupBytes: m.groupBytes, unitBytes: len(r.unit), data: r.unit,
		}, 0, 0
		var room *stripRoom
		if r.file.rows != nil {
			room = from.borrowStrip()
			defer room.release()
		}
		for s := range r.count {
			if room == nil {
				from.packBlocks(s, r.file, r.first+s, r.g, r.groups*(2+4*m.form.bits()), false)
			} else {
				from.packRows(s, r.file, r.first+s, r.g, room, r.factor[s*affineRows:][:affineRows], m.Rows)
			}
		}
	}
	for s := range r.count {
		scales, minima, codes := from.group(first+s, group)
		codes = codes[r.b*unitStrips*size:]
		if direct {
			w.strips[s] = codes
		} else {
			w.strips[s] = r.codes[s*ldw : (s+1)*ldw]
			unpackAffine(m.form, &m.table, r.groups, r.inner, gap, w.strips[s], codes)
		}
		factor := r.factor[s*affineRows:][:affineRows]
		if r.file == nil || r.file.rows == nil {
			factor = m.factor[(r.first+s)*affineRows:][:affineRows]
		}
		affineScales(r.groups, r.inner, scales, m.groupBytes, factor, r.scale[s*affineRows:], ldd)
		if mins != nil {
			affineScales(r.groups, r.inner, minima, m.groupBytes, factor, mins[s*affineRows:], ldd)
		}
	}
	b, ldi := r.g*m.inner+r.b, m.blocks()
	for t := t0; t < t1; t += tileRowsAffine {
		tileAffine(m.form, r.count, blocks, &w, r.scale, mins, r.j.codes[t*r.j.wide+b*block*r.j.codeBytes():], r.j.wide, r.j.info[t*ldi+b:], ldi, c[(t-t0)*panelWidth:])
	}
}
