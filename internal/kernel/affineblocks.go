package kernel

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// fileBlock is the columns of a block that PackAffineBlocks reads.
const fileBlock = 32

// affineFile is a matrix as a file has it, which is packed once.
type affineFile struct {
	where []Storage
	once  sync.Once
	reads atomic.Int32 // for products with up to readRows rows of activations

	data []byte     // blocks of 32 columns, see PackAffineBlocks
	row  int        // bytes of a row of them
	rows AffineRows // or what reads the matrix
}

// AffineRows reads a matrix of codes in groups. It is used by several goroutines.
type AffineRows interface {
	// Read gives some groups of a row: as many as there is room for, from a group on whose number is a multiple of 16.
	Read(row, group int, into AffineRow)
	// Largest returns the largest magnitude of the scales and mins of a row, or a number above it.
	Largest(row int) float32
}

// CanPackAffineRows reports whether PackAffineRows packs the shape.
func CanPackAffineRows(s AffineShape) bool {
	return CanPackAffine(s) && s.Group > 0 && s.Cols%s.Group == 0 && s.Group == affineFormOf(s.Bits, s.Group).block()
}

// PackAffineRows is PackAffine for a matrix that is read from where it lies until it is packed, which is done for the first product with few rows of
// activations, for the first with many, beside which packing costs little, and when it has been read several times. It panics where
// CanPackAffineRows says no.
func PackAffineRows(s AffineShape, rows AffineRows, where ...Storage) *PackedAffine {
	if !CanPackAffineRows(s) {
		panic(fmt.Sprintf("kernel: no packed form of %+v", s))
	}
	m := newAffine(s)
	m.file.Store(&affineFile{rows: rows, where: where})
	return m
}

const (
	readRows  = 64 // the greatest number of rows of activations beside which packing a matrix costs much
	mostReads = 2  // for products with so many, before it is packed
)

// better reports whether the matrix is better packed for a product with that many rows of activations.
func (f *affineFile) better(tokens int) bool {
	if tokens > readRows {
		return f.rows != nil
	}
	return f.reads.Add(1) > mostReads
}

// CanPackAffineBlocks reports whether PackAffineBlocks packs the shape.
func CanPackAffineBlocks(s AffineShape) bool {
	codes := s.Bits == 4 || s.Bits == 8 && s.Offset == 128
	return codes && s.Group == fileBlock && s.Cols%fileBlock == 0 && !s.Mins && CanPackAffine(s)
}

// PackAffineBlocks is PackAffine for a matrix that lies in data, row after row, in blocks of 32 columns: the scale, a 16-bit float, then the
// codes. Those of 8 bits are bytes with a sign, 128 less than what they are to the shape; of 4 bits, byte j holds the code of column j in its
// low and that of column j+16 in its high half. So it is in the types Q8_0, Q4_0 and IQ4_NL of ggml. Products with many rows of activations
// read data, which stays as it is and where it is; the matrix is packed for the first product with few, and when others have read it several
// times. PackAffineBlocks panics where CanPackAffineBlocks says no, and where data has another length.
func PackAffineBlocks(s AffineShape, data []byte, where ...Storage) *PackedAffine {
	row := s.Cols / fileBlock * (2 + fileBlock*s.Bits/8)
	if !CanPackAffineBlocks(s) || len(data) != s.Rows*row {
		panic(fmt.Sprintf("kernel: %d bytes of blocks for %+v", len(data), s))
	}
	m := newAffine(s)
	for i := range m.factor {
		m.factor[i] = 1
	}
	m.file.Store(&affineFile{data: data, row: row, where: where})
	return m
}

// pack packs a matrix that is not yet.
func (m *PackedAffine) pack(p *Pool) {
	file := m.file.Load()
	if file == nil {
		return
	}
	file.once.Do(func() {
		m.allocate(file.where)
		p.For(m.strips(), 1, func(lo, hi int) {
			var room *stripRoom
			if file.rows != nil {
				room = m.borrowStrip()
				defer room.release()
			}
			for i := lo; i < hi; i++ {
				if file.rows == nil {
					m.packBlocks(i, file, i, 0, affineRows*file.row, true)
					continue
				}
				factor := m.factor[i*affineRows:][:affineRows]
				file.factors(m, i, factor)
				m.packRows(i, file, i, 0, room, factor, m.Rows)
			}
		})
		m.file.Store(nil)
	})
}

// factors sets factor to what the scales of the rows of strip i of a matrix that is read are divided by.
func (f *affineFile) factors(m *PackedAffine, i int, factor []float32) {
	for r := range factor {
		factor[r] = 1
		if row := i*affineRows + r; row < m.Rows {
			factor[r] = rowFactor(f.rows.Largest(row))
		}
	}
}

// packRows packs into strip i what is read of strip j of a file of some rows, as many groups as m has, from group g on.
func (m *PackedAffine) packRows(i int, file *affineFile, j, g int, room *stripRoom, factor []float32, rows int) {
	room.read(m, min(affineRows, rows-j*affineRows), func(r int, into AffineRow) { file.rows.Read(j*affineRows+r, g, into) })
	m.packStrip(i, room, factor)
}

// packBlocks packs into strip i the blocks of strip j of a file, as many as there are groups, from group g on. The blocks that lie ahead bytes
// after them are brought near; with stream the codes are not.
func (m *PackedAffine) packBlocks(i int, file *affineFile, j, g, ahead int, stream bool) {
	size := 2 + 4*m.form.bits()
	src := file.data[min(j*affineRows*file.row, len(file.data)):]
	if short := affineRows*file.row - len(src); short > 0 { // rows that are not there have scales of zero
		room := Borrow[byte](affineRows * file.row)
		defer room.Release()
		clear(room.Data[copy(room.Data, src):])
		src = room.Data
	}
	src = src[g*size:]
	scales, _, codes := m.group(i, 0)
	needLen("blocks", len(src), (affineRows-1)*file.row+m.groups*size)
	needLen("affine codes", len(codes), (m.groups-1)*m.groupBytes+m.form.blockBytes())
	if packBlocks(m.form, m.groups, src, file.row, ahead, (*byte)(unsafe.Pointer(&scales[0])), &codes[0], m.groupBytes, stream) {
		return
	}
	for b := range m.groups {
		scales, _, codes := m.group(i, b)
		packBlocksGeneric(m.form, src[b*size:], file.row, scales, codes[:m.form.blockBytes()])
	}
}

// packBlocksGeneric packs the block at the front of each of 16 rows.
func packBlocksGeneric(f affineForm, src []byte, row int, scales []uint16, dst []byte) {
	var panel [affineRows * fileBlock]byte
	for r := range affineRows {
		block := src[r*row:]
		scales[r] = binary.LittleEndian.Uint16(block)
		for c := range fileBlock {
			code := block[2+c%(4*f.bits())]
			switch {
			case f.bits() == 8:
				code ^= 0x80
			case c < fileBlock/2:
				code &= 15
			default:
				code >>= 4
			}
			panel[c/4*64+4*r+c%4] = code
		}
	}
	packAffineBlock(f, dst, panel[:])
}
