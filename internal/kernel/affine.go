package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"unsafe"
)

// AffineShape describes a matrix of codes in groups: the weight of row r and column c, which is in the group g = c/Group of its row, is
//
//	scale[r][g]*(code - Offset) + min[r][g]
//
// with codes of 0 to 2^Bits-1.
type AffineShape struct {
	Rows, Cols int
	Bits       int // 1 to 8
	Group      int // columns that share a scale; below 1 or beyond Cols: the whole row
	Offset     int
	Mins       bool // whether there are mins
}

// AffineRow receives a row of a matrix of codes in groups.
type AffineRow struct {
	Codes       []byte    // one a column
	Scale, Mins []float32 // one a group; Mins is nil where the shape has none
}

// PackedAffine is a matrix of codes in groups in the order in which the kernels read it. It is read-only and may be used by several
// goroutines.
//
// Sixteen rows make a strip, four strips a unit, which is read as one stream: for each group the scales of the unit's rows, then their mins,
// then block after block the codes of the four strips. A block has 32 columns, or 16 where the groups need it. For 8 bits it holds
// for each four columns the four codes of each row. For fewer, a line of 64 bytes holds the low four bits of eight columns: of the
// first four in the low halves of its bytes; lines with the rest of the bits follow: of 5 bits, bit s of a byte belongs to its s-th
// four columns, of 6, bits 2s and 2s+1. Scales and mins are 16-bit floats, after division by a power of two of the row that brings
// the largest near the upper end of their range.
//
// Activations are rounded to 8 bits in the same blocks, each with a scale of its own, so that a product is within
// sum over blocks of (largest |x| of the block)/254 * sum |w| of the exact one, apart from rounding of floats.
type PackedAffine struct {
	AffineShape
	form                  affineForm
	units, groups, inner  int // inner is the number of blocks of a group
	header                int // bytes of the scales and mins of a group
	groupBytes, unitBytes int
	data                  []byte
	factor                []float32
}

// affineForm is an index of the forms of codes that there are kernels for.
type affineForm int

const (
	affine4x32 affineForm = iota
	affine4x16
	affine5x32
	affine6x16
	affine8x32
	affine8x16
	affineFormCount
)

// bits is the width of codes as stored, block the columns of a block.
func (f affineForm) bits() int  { return [...]int{4, 4, 5, 6, 8, 8}[f] }
func (f affineForm) block() int { return [...]int{32, 16, 32, 16, 32, 16}[f] }

// blockBytes is the size of the codes of a block of a strip, planeAt the place of the high bits in them.
func (f affineForm) blockBytes() int { return 2 * f.block() * f.bits() }
func (f affineForm) planeAt() int    { return 8 * f.block() }

func affineFormOf(bits, group int) affineForm {
	small := group%32 != 0
	switch {
	case bits <= 4 && small:
		return affine4x16
	case bits <= 4:
		return affine4x32
	case bits == 5 && !small:
		return affine5x32
	case bits <= 6:
		return affine6x16
	case small:
		return affine8x16
	}
	return affine8x32
}

// blockInfo is what goes with a block of activations; the layout is known to the assembly.
type blockInfo struct {
	start int32   // the sum of the block's codes times what the offset asks for
	scale float32 // what a code of the block stands for
	sum   float32 // the sum of the block's codes times scale
	_     int32
}

const (
	affineRows  = 16 // of a strip
	unitStrips  = 4
	headerBytes = 2 * unitStrips * affineRows // of the scales of a group
)

// CanPackAffine reports whether there is a packed form of the shape: groups are whole rows or multiples of 16 columns.
func CanPackAffine(s AffineShape) bool {
	return s.Rows > 0 && s.Cols > 0 && s.Bits >= 1 && s.Bits <= 8 && s.Offset >= 0 && s.Offset <= 255 && (s.Group < 1 || s.Group >= s.Cols || s.Group%16 == 0)
}

// PackAffine packs a matrix whose rows the function read gives; rows are asked for in any order and by several goroutines of p. It panics
// where CanPackAffine says no.
func PackAffine(p *Pool, s AffineShape, read func(row int, into AffineRow), where ...Storage) *PackedAffine {
	if !CanPackAffine(s) {
		panic(fmt.Sprintf("kernel: no packed form of %+v", s))
	}
	m := &PackedAffine{AffineShape: s}
	if s.Group < 1 || s.Group >= s.Cols {
		m.Group = (s.Cols + 31) / 32 * 32
	}
	m.form = affineFormOf(s.Bits, m.Group)
	block := m.form.block()
	m.groups, m.inner = (s.Cols+m.Group-1)/m.Group, m.Group/block
	m.units = (s.Rows + unitStrips*affineRows - 1) / (unitStrips * affineRows)
	m.header = headerBytes
	if s.Mins {
		m.header *= 2
	}
	m.groupBytes = m.header + m.inner*unitStrips*m.form.blockBytes()
	m.unitBytes = m.groups * m.groupBytes
	m.data = store[byte](m, m.units*m.unitBytes, where)
	m.factor = make([]float32, m.units*unitStrips*affineRows)
	p.For(m.units*unitStrips, 1, func(lo, hi int) {
		deep := m.blocks() * block
		buf := borrow(affineRows*deep*2 + affineRows*m.groups*12)
		defer buf.release()
		rows, panel := buf.bytes()[:affineRows*deep], buf.bytes()[affineRows*deep:2*affineRows*deep]
		floats := view[float32](buf)[affineRows*deep/2:][:2*affineRows*m.groups]
		halves := view[uint16](buf)[affineRows*deep+4*affineRows*m.groups:][:2*affineRows*m.groups]
		if deep > s.Cols {
			clear(rows)
		}
		for i := lo; i < min(hi, m.strips()); i++ {
			if n := s.Rows - i*affineRows; n < affineRows {
				clear(rows)
			}
			clear(floats)
			for r := range min(affineRows, s.Rows-i*affineRows) {
				into := AffineRow{Codes: rows[r*deep:][:s.Cols], Scale: floats[r*m.groups:][:m.groups]}
				if s.Mins {
					into.Mins = floats[(affineRows+r)*m.groups:][:m.groups]
				}
				read(i*affineRows+r, into)
			}
			m.packStrip(i, rows, panel, floats, halves)
		}
	})
	return m
}

// strips is the number of strips that hold rows.
func (m *PackedAffine) strips() int { return (m.Rows + affineRows - 1) / affineRows }

// group is what lies at group g of the unit of strip i: its scales and mins, and from the codes of the strip's first block on.
func (m *PackedAffine) group(i, g int) (scale, mins []uint16, codes []byte) {
	data := m.data[i/unitStrips*m.unitBytes+g*m.groupBytes:]
	halves := unsafe.Slice((*uint16)(unsafe.Pointer(&data[0])), m.header/2)[i%unitStrips*affineRows:]
	if m.Mins {
		mins = halves[headerBytes/2:][:affineRows]
	}
	return halves[:affineRows], mins, data[m.header+i%unitStrips*m.form.blockBytes():]
}

// blocks is the number of blocks of a row.
func (m *PackedAffine) blocks() int { return m.groups * m.inner }

// Bytes returns the memory that the packed matrix holds.
func (m *PackedAffine) Bytes() int { return len(m.data) + 4*len(m.factor) }

// packStrip packs the codes of 16 rows, which go through panel, and their scales and mins.
func (m *PackedAffine) packStrip(i int, rows, panel []byte, floats []float32, halves []uint16) {
	deep := m.blocks() * m.form.block()
	packTransposed(bytesAsWords(panel), affineRows, bytesAsWords(rows), deep/4, affineRows, deep/4)
	scale, mins := floats[:affineRows*m.groups], floats[affineRows*m.groups:]
	for r := range affineRows {
		s, min := scale[r*m.groups:(r+1)*m.groups], mins[r*m.groups:(r+1)*m.groups]
		largest := largestOf(s)
		if m.Mins {
			largest = max(largest, largestOf(min))
		}
		factor := float32(1)
		if largest > 0 && !math.IsInf(float64(largest), 0) && largest == largest {
			_, e := math.Frexp(float64(largest))
			factor = float32(math.Ldexp(1, max(e-14, -126)))
		}
		m.factor[i*affineRows+r] = factor
		if factor != 1 {
			Scale(s, s, 1/factor)
			if m.Mins {
				Scale(min, min, 1/factor)
			}
		}
	}
	F32ToF16(halves, floats)
	hscale, hmins := halves[:affineRows*m.groups], halves[affineRows*m.groups:]
	for g := range m.groups {
		scales, minima, codes := m.group(i, g)
		for r := range scales {
			scales[r] = hscale[r*m.groups+g]
		}
		for r := range minima {
			minima[r] = hmins[r*m.groups+g]
		}
		packAffine(m.form, m.inner, codes, panel[g*m.inner*16*m.form.block():])
	}
}

// largestOf is the largest magnitude; not a number where one is not.
func largestOf(x []float32) float32 {
	lo, hi := MinMax(x)
	return max(-lo, hi)
}

func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// packAffineGeneric makes inner blocks of codes of a strip from bytes in the order of 8-bit codes.
func packAffineGeneric(f affineForm, inner int, dst, src []byte) {
	size, panel := f.blockBytes(), 16*f.block()
	for b := range inner {
		packAffineBlock(f, dst[b*unitStrips*size:][:size], src[b*panel:][:panel])
	}
}

func packAffineBlock(f affineForm, dst, src []byte) {
	if f.bits() == 8 {
		copy(dst, src)
		return
	}
	steps := f.block() / 4
	lines, low := view64(dst), view64(src)
	for s := 0; s < steps; s += 2 {
		for j := range 8 {
			const mask = 0x0f0f0f0f0f0f0f0f
			lines[s*4+j] = low[s*8+j]&mask | low[s*8+8+j]&mask<<4
		}
	}
	high := f.bits() - 4
	if high == 0 {
		return
	}
	planes := lines[f.planeAt()/8:]
	clear(planes)
	per := 8 / high // steps a plane
	mask := uint64(1<<high-1) * 0x0101010101010101
	for s := range steps {
		for j := range 8 {
			planes[s/per*8+j] |= low[s*8+j] >> 4 & mask << (s % per * high)
		}
	}
}

// unpackAffineGeneric is the inverse of packAffineBlock for inner blocks of a strip in each of some groups, which are header bytes apart.
func unpackAffineGeneric(f affineForm, groups, inner, header int, dst, src []byte) {
	steps, high := f.block()/4, f.bits()-4
	for b := range groups * inner {
		codes := dst[b*16*f.block():][:16*f.block()]
		line := src[b*unitStrips*f.blockBytes()+b/inner*header:][:f.blockBytes()]
		if f.bits() == 8 {
			copy(codes, line)
			continue
		}
		for s := range steps {
			for j := range 64 {
				c := line[s/2*64+j] >> (s % 2 * 4) & 15
				if high > 0 {
					per := 8 / high
					c |= line[f.planeAt()+s/per*64+j] >> (s % per * high) & byte(1<<high-1) << 4
				}
				codes[s*64+j] = c
			}
		}
	}
}

func view64(x []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&x[0])), len(x)/8)
}

// vectorRows is the greatest number of rows of activations for which codes are unpacked once a row.
const vectorRows = 3

// Multiply sets dst[t*ldd+r], for each row t of activations and each row r of the matrix, to the sum over c of x[t*ldx+c] times the weight
// of row r and column c.
func (m *PackedAffine) Multiply(p *Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	need("affine x", len(x), tokens, m.Cols, ldx)
	need("affine dst", len(dst), tokens, m.Rows, ldd)
	if tokens == 0 {
		return
	}
	if tokens <= vectorRows {
		m.vectors(p, tokens, x, ldx, dst, ldd)
	} else {
		m.tiles(p, tokens, x, ldx, dst, ldd)
	}
	runtime.KeepAlive(m)
}

// activations is rows of activations in 8 bits.
type activations struct {
	codes []byte // deep apart
	info  []blockInfo
	deep  int
}

// quantize rounds the rows lo to hi of x; those from tokens on are zero.
func (a *activations) quantize(m *PackedAffine, lo, hi, tokens int, x []float32, ldx int, offset int32) {
	block := m.form.block()
	whole, rest := m.Cols/block, m.Cols%block
	blocks := a.deep / block
	for t := lo; t < hi; t++ {
		codes, info := a.codes[t*a.deep:(t+1)*a.deep], a.info[t*blocks:(t+1)*blocks]
		if t >= tokens {
			clear(codes)
			clear(info)
			continue
		}
		row := x[t*ldx : t*ldx+m.Cols]
		quantizeBlocks(block, whole, codes, info, row, offset)
		if done := whole; done < blocks {
			clear(codes[done*block:])
			clear(info[done:])
			if rest > 0 {
				var last [32]float32
				copy(last[:], row[done*block:])
				quantizeBlocks(block, 1, codes[done*block:], info[done:], last[:block], offset)
			}
		}
	}
}

// borrowActivations returns room for rows of activations.
func (m *PackedAffine) borrowActivations(rows int) (*activations, *buffer) {
	blocks := m.blocks()
	a := &activations{deep: blocks * m.form.block()}
	size := (rows*a.deep + 63) &^ 63
	buf := borrow(size + rows*blocks*int(unsafe.Sizeof(blockInfo{})))
	a.codes = buf.bytes()[:rows*a.deep]
	a.info = unsafe.Slice((*blockInfo)(unsafe.Pointer(&buf.bytes()[size])), rows*blocks)
	return a, buf
}

// vectors multiplies few rows of activations; the matrix is read once from memory.
func (m *PackedAffine) vectors(p *Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	a, buf := m.borrowActivations(tokens)
	defer buf.release()
	a.quantize(m, 0, tokens, tokens, x, ldx, int32(affineBias(m.form.bits())-m.Offset))
	const together = unitStrips * affineRows
	if len(m.data) < 64<<10 {
		p = nil
	}
	p.For(m.units, max(1, min(4, m.units/(8*p.Threads()))), func(lo, hi int) {
		out := borrow(4 * together)
		defer out.release()
		for u := lo; u < hi; u++ {
			for t := range tokens {
				row := dst[t*ldd+u*together : t*ldd+min((u+1)*together, m.Rows)]
				sums := row
				if len(row) < together {
					sums = out.f32()
				}
				vectorAffine(m.form, m.groups, m.inner, m.header, m.data[u*m.unitBytes:(u+1)*m.unitBytes], a.codes[t*a.deep:(t+1)*a.deep],
					a.info[t*m.blocks():(t+1)*m.blocks()], m.factor[u*together:(u+1)*together], sums)
				if len(row) < together {
					copy(row, sums)
				}
			}
		}
	})
}

const (
	tileRowsAffine = 4 // rows of activations that tiles take together
	panelStrips    = 3
	deepColumns    = 512 // columns whose unpacked codes stay in the first cache
)

// tiles multiplies many rows of activations: codes are unpacked once for a panel of strips and a run of columns.
func (m *PackedAffine) tiles(p *Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	padded := (tokens + tileRowsAffine - 1) / tileRowsAffine * tileRowsAffine
	a, buf := m.borrowActivations(padded)
	defer buf.release()
	bias := affineBias(8)
	p.For(padded, 4, func(lo, hi int) { a.quantize(m, lo, hi, tokens, x, ldx, int32(bias-m.Offset)) })
	panels := (m.strips() + panelStrips - 1) / panelStrips
	part := padded
	for part > 512 || part > 64 && panels*(padded/part) < 4*p.Threads() {
		part = (part/2 + tileRowsAffine - 1) / tileRowsAffine * tileRowsAffine
	}
	parts := (padded + part - 1) / part
	// Runs of columns: whole groups, or pieces of one.
	block := m.form.block()
	groups, pieces, blocks := max(1, deepColumns/(m.inner*block)), 1, m.inner
	if m.inner*block > deepColumns {
		blocks = deepColumns / block
		pieces = (m.inner + blocks - 1) / blocks
	}
	deep := groups * blocks
	p.For(panels*parts, 1, func(lo, hi int) {
		size := panelStrips * 16 * deep * block
		scratch := borrow(size + 4*(part*panelWidth+2*deep*panelWidth))
		defer scratch.release()
		run := affineRun{m: m, a: a, codes: scratch.bytes()[:size]}
		floats := scratch.f32()[size/4:]
		run.scale, run.mins = floats[:deep*panelWidth], floats[deep*panelWidth:2*deep*panelWidth]
		c := floats[2*deep*panelWidth:][:part*panelWidth]
		for i := lo; i < hi; i++ {
			first := i / parts * panelStrips
			count := min(panelStrips, m.strips()-first)
			t0 := i % parts * part
			t1 := min(t0+part, padded)
			clear(c[:(t1-t0)*panelWidth])
			run.first, run.count = first, count
			for g := 0; g < m.groups; g += groups {
				run.g, run.groups = g, min(groups, m.groups-g)
				for piece := range pieces {
					run.b = piece * blocks
					run.inner = min(blocks, m.inner-run.b)
					run.add(t0, t1, c)
				}
			}
			n := min(count*affineRows, m.Rows-first*affineRows)
			for t := t0; t < min(t1, tokens); t++ {
				copy(dst[t*ldd+first*affineRows:][:n], c[(t-t0)*panelWidth:][:n])
			}
		}
	})
}

// affineRun is the product of a run of columns of some strips: inner blocks from b on in each of some groups from g on.
type affineRun struct {
	m            *PackedAffine
	a            *activations
	first, count int // strips
	g, groups    int
	b, inner     int

	codes       []byte
	scale, mins []float32
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
	for s := range r.count {
		_, _, codes := m.group(r.first+s, r.g)
		unpackAffine(m.form, r.groups, r.inner, gap, r.codes[s*ldw:(s+1)*ldw], codes[r.b*unitStrips*m.form.blockBytes():])
		factor := m.factor[(r.first+s)*affineRows:][:affineRows]
		widen := func(dst []float32, halves []uint16) {
			F16ToF32(dst, halves)
			Mul(dst, dst, factor)
		}
		for g := range r.groups {
			scales, minima, _ := m.group(r.first+s, r.g+g)
			for i := range r.inner {
				at := ((g*r.inner+i)*r.count + s) * affineRows
				if i > 0 {
					copy(r.scale[at:at+affineRows], r.scale[at-r.count*affineRows:])
				} else {
					widen(r.scale[at:at+affineRows], scales)
				}
				if mins != nil {
					widen(mins[at:at+affineRows], minima)
				}
			}
		}
	}
	b, ldi := r.g*m.inner+r.b, m.blocks()
	for t := t0; t < t1; t += tileRowsAffine {
		tileAffine(block, r.count, blocks, r.codes[:r.count*ldw], ldw, r.scale, mins, r.a.codes[t*r.a.deep+b*block:], r.a.deep, r.a.info[t*ldi+b:], ldi, c[(t-t0)*panelWidth:])
	}
}

// quantizeBlocksGeneric rounds blocks of activations: a code of a block stands for scale, its largest magnitude divided by 127, and is
// x*(127/largest) rounded half to even; it is 0 in a block whose largest magnitude is below 2^-100. start is offset times the sum of
// the codes. Infinity and NaN make the scale so.
func quantizeBlocksGeneric(block, blocks int, codes []byte, info []blockInfo, x []float32, offset int32) {
	for b := range blocks {
		var bits uint32
		for _, v := range x[b*block : (b+1)*block] {
			bits = max(bits, math.Float32bits(v)&0x7fffffff)
		}
		largest := math.Float32frombits(bits)
		inverse := float32(0)
		if largest >= 0x1p-100 {
			inverse = 127 / largest
		}
		sum := int32(0)
		for i, v := range x[b*block : (b+1)*block] {
			c := int32(0)
			if r := math.RoundToEven(float64(v * inverse)); r >= -128 && r <= 127 {
				c = int32(r)
			}
			codes[b*block+i] = byte(c)
			sum += c
		}
		scale := largest / 127
		info[b] = blockInfo{start: sum * offset, scale: scale, sum: float32(sum) * scale}
	}
}

// dotBlock is the sum of the products of a row's codes in a block, as bytes in the order of 8-bit codes, with activations.
func dotBlock(block, row int, codes, x []byte) int32 {
	var sum int32
	for c := range block {
		sum += int32(codes[c/4*64+4*row+c%4]) * int32(int8(x[c]))
	}
	return sum
}

// vectorAffineGeneric is the definition of the product of a unit with one row of activations.
func vectorAffineGeneric(f affineForm, groups, inner, header int, unit, x []byte, info []blockInfo, factor, dst []float32) {
	block := f.block()
	size := header + inner*unitStrips*f.blockBytes()
	codes := make([]byte, groups*inner*16*block)
	for s := range unitStrips {
		unpackAffineGeneric(f, groups, inner, header, codes, unit[header+s*f.blockBytes():])
		for r := range affineRows {
			var sum float32
			for b := range groups * inner {
				i, at := &info[b], b/inner*size+2*(s*affineRows+r)
				v := i.scale * float32(i.start+dotBlock(block, r, codes[b*16*block:], x[b*block:]))
				sum += f16ToF32(binary.LittleEndian.Uint16(unit[at:])) * v
				if header > headerBytes {
					sum += f16ToF32(binary.LittleEndian.Uint16(unit[at+headerBytes:])) * i.sum
				}
			}
			dst[s*affineRows+r] = factor[s*affineRows+r] * sum
		}
	}
}

// tileAffineGeneric is the definition of the product of strips of unpacked codes with tileRowsAffine rows of activations.
func tileAffineGeneric(block, strips, blocks int, w []byte, ldw int, scale, mins []float32, x []byte, ldx int, info []blockInfo, ldi int, c []float32) {
	for t := range tileRowsAffine {
		for s := range strips {
			for r := range affineRows {
				sum := c[t*panelWidth+s*affineRows+r]
				for b := range blocks {
					i := &info[t*ldi+b]
					v := i.start + dotBlock(block, r, w[s*ldw+b*16*block:], x[t*ldx+b*block:])
					sum += scale[(b*strips+s)*affineRows+r] * (i.scale * float32(v))
				}
				for b := 0; b < blocks && mins != nil; b++ {
					sum += mins[(b*strips+s)*affineRows+r] * info[t*ldi+b].sum
				}
				c[t*panelWidth+s*affineRows+r] = sum
			}
		}
	}
}
