package kernel

import (
	"encoding/binary"
	"fmt"
	"sync"
	"unsafe"
)

// fileBlock is the columns of a block that PackAffineBlocks reads.
const fileBlock = 32

// affineBlocks is a matrix in blocks as files have them, which is packed once.
type affineBlocks struct {
	data  []byte
	row   int // bytes of a row
	where []Storage
	once  sync.Once
}

// CanPackAffineBlocks reports whether PackAffineBlocks packs the shape.
func CanPackAffineBlocks(s AffineShape) bool {
	codes := s.Bits == 4 || s.Bits == 8 && s.Offset == 128
	return codes && s.Group == fileBlock && s.Cols%fileBlock == 0 && !s.Mins && CanPackAffine(s)
}

// PackAffineBlocks is PackAffine for a matrix that lies in data, row after row, in blocks of 32 columns: the scale, a 16-bit float, then the
// codes. Those of 8 bits are bytes with a sign, 128 less than what they are to the shape; of 4 bits, byte j holds the code of column j in its
// low and that of column j+16 in its high half. So it is in the types Q8_0, Q4_0 and IQ4_NL of ggml. Products with many rows of activations
// read data, which stays as it is and where it is; the matrix is packed when the first product with few is made. PackAffineBlocks panics
// where CanPackAffineBlocks says no, and where data has another length.
func PackAffineBlocks(s AffineShape, data []byte, where ...Storage) *PackedAffine {
	row := s.Cols / fileBlock * (2 + fileBlock*s.Bits/8)
	if !CanPackAffineBlocks(s) || len(data) != s.Rows*row {
		panic(fmt.Sprintf("kernel: %d bytes of blocks for %+v", len(data), s))
	}
	m := newAffine(s)
	for i := range m.factor {
		m.factor[i] = 1
	}
	m.file.Store(&affineBlocks{data: data, row: row, where: where})
	return m
}

// pack packs a matrix that is still in blocks.
func (m *PackedAffine) pack(p *Pool) {
	file := m.file.Load()
	if file == nil {
		return
	}
	file.once.Do(func() {
		m.allocate(file.where)
		p.For(m.strips(), 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				m.packBlocks(i, file, i, 0, affineRows*file.row, true)
			}
		})
		m.file.Store(nil)
	})
}

// packBlocks packs into strip i the blocks of strip j of a file, as many as there are groups, from group g on. The blocks that lie ahead bytes
// after them are brought near; with stream the codes are not.
func (m *PackedAffine) packBlocks(i int, file *affineBlocks, j, g, ahead int, stream bool) {
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
