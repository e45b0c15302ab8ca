package kernel

import (
	"fmt"
	"math"
	"sync/atomic"
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
	// Values, if they are there, are what codes of 4 bits stand for: the weight is scale[r][g]*Values[code]. There is no offset then, and there
	// are no mins.
	Values *[16]int8
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
	file                  atomic.Pointer[affineFile] // what the matrix lies in, until it is packed
	factor                []float32
	table                 [16]byte // what codes stand for, 128 more than Values
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
	table4x32 // of which codes stand for bytes of a table
	affineFormCount
)

// bits is the width of codes as stored, block the columns of a block.
func (f affineForm) bits() int  { return [...]int{4, 4, 5, 6, 8, 8, 4}[f] }
func (f affineForm) block() int { return [...]int{32, 16, 32, 16, 32, 16, 32}[f] }

// wide is the width of what is multiplied by.
func (f affineForm) wide() int {
	if f == table4x32 {
		return 8
	}
	return f.bits()
}

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
	if s.Values != nil && (s.Bits != 4 || s.Offset != 0 || s.Mins || s.Group < 1 || s.Group%32 != 0) {
		return false
	}
	return s.Rows > 0 && s.Cols > 0 && s.Bits >= 1 && s.Bits <= 8 && s.Offset >= 0 && s.Offset <= 255 && (s.Group < 1 || s.Group >= s.Cols || s.Group%16 == 0)
}

// PackAffine packs a matrix whose rows the function read gives; rows are asked for in any order and by several goroutines of p. It panics
// where CanPackAffine says no.
func PackAffine(p *Pool, s AffineShape, read func(row int, into AffineRow), where ...Storage) *PackedAffine {
	if !CanPackAffine(s) {
		panic(fmt.Sprintf("kernel: no packed form of %+v", s))
	}
	m := newAffine(s)
	m.allocate(where)
	p.For(m.strips(), 1, func(lo, hi int) {
		room := m.borrowStrip()
		defer room.release()
		for i := lo; i < hi; i++ {
			room.read(m, min(affineRows, s.Rows-i*affineRows), func(r int, into AffineRow) { read(i*affineRows+r, into) })
			m.packStrip(i, room, nil)
		}
	})
	return m
}

// stripRoom is room for the rows of a strip on their way to where they are packed.
type stripRoom struct {
	*buffer
	deep           int       // bytes of a row
	rows, panel    []byte    // codes, a byte each, in rows and in the order of 8-bit codes
	floats, turned []float32 // scales and, after them, mins
	halves         []uint16
}

// borrowStrip makes room for a strip of m.
func (m *PackedAffine) borrowStrip() *stripRoom {
	deep, n := m.blocks()*m.form.block(), affineRows*m.groups
	b := borrow(2*affineRows*deep + 20*n)
	floats := view[float32](b)[affineRows*deep/2:]
	return &stripRoom{
		b, deep, b.bytes()[:affineRows*deep], b.bytes()[affineRows*deep : 2*affineRows*deep], floats[:2*n], floats[2*n : 4*n],
		view[uint16](b)[affineRows*deep+8*n:][:2*n],
	}
}

// read fills the first rows of the strip.
func (s *stripRoom) read(m *PackedAffine, rows int, read func(r int, into AffineRow)) {
	if rows < affineRows || s.deep > m.Cols {
		clear(s.rows)
	}
	clear(s.floats)
	for r := range rows {
		into := AffineRow{Codes: s.rows[r*s.deep:][:m.Cols], Scale: s.floats[r*m.groups:][:m.groups]}
		if m.Mins {
			into.Mins = s.floats[(affineRows+r)*m.groups:][:m.groups]
		}
		read(r, into)
	}
}

// newAffine is a matrix of the shape without its contents.
func newAffine(s AffineShape) *PackedAffine {
	m := &PackedAffine{AffineShape: s}
	if s.Group < 1 || s.Group >= s.Cols {
		m.Group = (s.Cols + 31) / 32 * 32
	}
	m.form = affineFormOf(s.Bits, m.Group)
	if s.Values != nil {
		m.form, m.Offset = table4x32, 128
		for i, v := range s.Values {
			m.table[i] = byte(v) ^ 0x80
		}
	}
	block := m.form.block()
	m.groups, m.inner = (s.Cols+m.Group-1)/m.Group, m.Group/block
	m.units = (s.Rows + unitStrips*affineRows - 1) / (unitStrips * affineRows)
	m.header = headerBytes
	if s.Mins {
		m.header *= 2
	}
	m.groupBytes = m.header + m.inner*unitStrips*m.form.blockBytes()
	m.unitBytes = m.groups * m.groupBytes
	m.factor = make([]float32, m.units*unitStrips*affineRows)
	return m
}

// allocate makes room for the packed codes.
func (m *PackedAffine) allocate(where []Storage) { m.data = store[byte](m, m.units*m.unitBytes, where) }

// strips is the number of strips that hold rows.
func (m *PackedAffine) strips() int { return (m.Rows + affineRows - 1) / affineRows }

// group is what there is from group g of strip i on: its scales and mins, and the codes from its first block on.
func (m *PackedAffine) group(i, g int) (scale, mins []uint16, codes []byte) {
	data := m.data[i/unitStrips*m.unitBytes+g*m.groupBytes : (i/unitStrips+1)*m.unitBytes]
	halves := unsafe.Slice((*uint16)(unsafe.Pointer(&data[0])), len(data)/2)[i%unitStrips*affineRows:]
	if m.Mins {
		mins = halves[headerBytes/2:]
	}
	return halves, mins, data[m.header+i%unitStrips*m.form.blockBytes():]
}

// blocks is the number of blocks of a row.
func (m *PackedAffine) blocks() int { return m.groups * m.inner }

// Bytes returns the memory that the packed matrix holds, or will.
func (m *PackedAffine) Bytes() int { return m.units*m.unitBytes + 4*len(m.factor) }

// packStrip packs strip i, which was read into room. The scales and mins of its rows are divided by factor; without one by what is then in m.factor.
func (m *PackedAffine) packStrip(i int, room *stripRoom, factor []float32) {
	packTransposed(bytesAsWords(room.panel), affineRows, bytesAsWords(room.rows), room.deep/4, affineRows, room.deep/4)
	scale, mins := room.floats[:affineRows*m.groups], room.floats[affineRows*m.groups:]
	whole := factor == nil
	if whole {
		factor = m.factor[i*affineRows:][:affineRows]
	}
	for r := range affineRows {
		s, min := scale[r*m.groups:(r+1)*m.groups], mins[r*m.groups:(r+1)*m.groups]
		if whole {
			largest := largestOf(s)
			if m.Mins {
				largest = max(largest, largestOf(min))
			}
			factor[r] = rowFactor(largest)
		}
		if factor[r] != 1 {
			Scale(s, s, 1/factor[r])
			if m.Mins {
				Scale(min, min, 1/factor[r])
			}
		}
	}
	n, halves := affineRows*m.groups, room.halves
	packTransposed(words(room.turned), affineRows, words(scale), m.groups, affineRows, m.groups)
	if m.Mins {
		packTransposed(words(room.turned[n:]), affineRows, words(mins), m.groups, affineRows, m.groups)
		F32ToF16(halves, room.turned)
	} else {
		F32ToF16(halves[:n], room.turned[:n])
	}
	for g := range m.groups {
		scales, minima, codes := m.group(i, g)
		copy(scales, halves[g*affineRows:(g+1)*affineRows])
		if m.Mins {
			copy(minima, halves[n+g*affineRows:][:affineRows])
		}
		packAffine(m.form, m.inner, codes, room.panel[g*m.inner*16*m.form.block():])
	}
}

// rowFactor is what the scales and mins of a row are divided by, whose largest magnitude is given, or a number above it.
func rowFactor(largest float32) float32 {
	if largest > 0 && !math.IsInf(float64(largest), 0) && largest == largest {
		_, e := math.Frexp(float64(largest))
		return float32(math.Ldexp(1, max(e-14, -126)))
	}
	return 1
}

// largestOf is the largest magnitude; not a number where one is not.
func largestOf(x []float32) float32 {
	lo, hi := MinMax(x)
	return max(-lo, hi)
}

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
// Those of table4x32 become bytes of the table.
func unpackAffineGeneric(f affineForm, table *[16]byte, groups, inner, header int, dst, src []byte) {
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
				if f == table4x32 {
					c = table[c]
				}
				codes[s*64+j] = c
			}
		}
	}
}

func view64(x []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(&x[0])), len(x)/8)
}
