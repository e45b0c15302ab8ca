package kernel

import (
	"math"
	"unsafe"
)

// BF16Operand is what a bfloat16 product takes: bfloat16 bits, or float32 values, which are rounded to bfloat16
// (to nearest, ties to even) while they are packed.
type BF16Operand interface{ ~uint16 | ~float32 }

// GemmBF16 computes C = alpha*op(A)*op(B) + beta*C as GemmF32 does, of operands in bfloat16 with sums in float32.
//
// Products of two bfloat16 are exact in float32; additions are rounded to nearest even, in an order
// that depends on the shape and the instruction set, never on the number of threads. As the instruction
// VDPBF16PS does it, subnormal operands, products and sums may count as zero. With N the part of sum |a*b| whose
// operands are normal and S the rest, each element is within
// (k+2)*2^-24*(|alpha|*N + |beta*c|) + |alpha|*(S + k*2^-125) of the exact value for the rounded operands.
func GemmBF16[A, B BF16Operand](p *Pool, transA, transB bool, m, n, k int, alpha float32, a []A, lda int, b []B, ldb int, beta float32, c []float32, ldc int) {
	checkGemm(transA, transB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc)
	switch {
	case m == 0 || n == 0:
	case k == 0 || alpha == 0:
		scaleC(m, n, beta, c, ldc)
	default:
		right := halfOperand(b, ldb, transB, k)
		productBF16(transA, m, n, k, alpha, a, lda, beta, c, ldc).run(p, right.packRight)
	}
}

// PackedBF16 is a bfloat16 matrix in the order in which the kernels read their right operand. It is
// read-only after PackBF16 and may be used by several goroutines.
type PackedBF16 struct {
	panels[uint32]
	depth int // rows of the matrix; a word holds two
}

// PackBF16 packs op(B), a k x n matrix, for GemmBF16Packed. b is not referenced afterwards.
func PackBF16[B BF16Operand](transB bool, k, n int, b []B, ldb int) *PackedBF16 {
	checkGemm(false, transB, 0, n, k, 0, k, len(b), ldb, 0, n)
	q := &PackedBF16{panels[uint32]{k: (k + 1) / 2, cols: splitColumns(n)}, k}
	q.data = make([]uint32, q.k*q.cols.padded())
	right := halfOperand(b, ldb, transB, k)
	q.fill(Shared(), right.packRight)
	return q
}

// GemmBF16Packed computes C = alpha*op(A)*B + beta*C as GemmBF16 does, with B packed before.
func GemmBF16Packed[A BF16Operand](p *Pool, transA bool, m int, alpha float32, a []A, lda int, b *PackedBF16, beta float32, c []float32, ldc int) {
	n, k := b.cols.n, b.depth
	checkGemm(transA, false, m, n, k, len(a), lda, k*n, n, len(c), ldc)
	if m == 0 || n == 0 {
		return
	}
	if k == 0 || alpha == 0 {
		scaleC(m, n, beta, c, ldc)
		return
	}
	productBF16(transA, m, n, k, alpha, a, lda, beta, c, ldc).multiply(p, &b.panels, 0, 0)
}

func productBF16[A BF16Operand](transA bool, m, n, k int, alpha float32, a []A, lda int, beta float32, c []float32, ldc int) *blocked[uint32] {
	mr := tileRowsBF16()
	left := halfOperand(a, lda, !transA, k)
	return &blocked[uint32]{
		m: m, k: (k + 1) / 2, cols: splitColumns(n), mr: mr, ops: 2,
		packA: func(dst []uint32, i0, i1, k0, k1 int) {
			for i := i0; i < i1; i += mr {
				rows := min(mr, i1-i)
				height := panelRows(rows, mr)
				left.pack(dst, height, i, rows, i1-i, k0, k1)
				dst = dst[height*(k1-k0):]
			}
		},
		tile: func(height, width, k int, a, b, ahead []uint32, row, col, rows, n int, add bool) {
			factor := beta
			if add {
				factor = 1
			}
			tileBF16(height, width, k, a, b, width, c[row*ldc+col:], ldc, rows, n, alpha, factor, factor != 0, ahead)
		},
	}
}

// halfMatrix is an operand of a bfloat16 product. along tells that its rows as stored run along k.
type halfMatrix struct {
	bits   []uint16  // one of these two
	values []float32 //
	ld, k  int
	along  bool

	binary16 bool // bits are of binary16 and rounded to bfloat16; only with along
}

func halfOperand[T BF16Operand](x []T, ld int, along bool, k int) *halfMatrix {
	h := &halfMatrix{ld: ld, k: k, along: along}
	switch {
	case len(x) == 0:
	case sizeOf[T]() == 2:
		h.bits = unsafe.Slice((*uint16)(unsafe.Pointer(&x[0])), len(x))
	default:
		h.values = unsafe.Slice((*float32)(unsafe.Pointer(&x[0])), len(x))
	}
	return h
}

// part returns rows x n elements from (r, c) on of the matrix as stored, and their leading dimension; values are
// rounded into scratch.
func (h *halfMatrix) part(scratch []uint16, r, c, rows, n int) ([]uint16, int) {
	if h.binary16 {
		var row [256]float32
		for i := range rows {
			for at := 0; at < n; at += len(row) {
				part := row[:min(len(row), n-at)]
				F16ToF32(part, h.bits[(r+i)*h.ld+c+at:])
				F32ToBF16(scratch[i*n+at:i*n+at+len(part)], part)
			}
		}
		return scratch, n
	}
	if h.bits != nil {
		return h.bits[r*h.ld+c:], h.ld
	}
	for i := range rows {
		F32ToBF16(scratch[i*n:(i+1)*n], h.values[(r+i)*h.ld+c:])
	}
	return scratch, n
}

func (h *halfMatrix) packRight(dst []uint32, width, k0, k1, col, n int) {
	for j := 0; j < n; j += width {
		h.pack(dst[j*(k1-k0):], width, col+j, min(width, n-j), n-j, k0, k1)
	}
}

// pack packs the words [k0, k1) of count rows of op(A), or columns of op(B), from first on, into a panel of
// the given width: dst[(l-k0)*width+i] holds elements 2l and 2l+1 along k of the i-th, zero beyond count and the end
// of k. room rows or columns exist from first on.
func (h *halfMatrix) pack(dst []uint32, width, first, count, room, k0, k1 int) {
	words := k1 - k0
	elements := min(2*k1, h.k) - 2*k0
	if count < width {
		clear(dst[:width*words])
	}
	if !h.along { // rows of k are woven by twos
		for l := range words {
			e := 2 * (k0 + l)
			r0, line := e*h.ld+first, dst[l*width:l*width+count]
			r1 := r0 + h.ld
			switch {
			case e+1 < h.k && h.bits != nil:
				interleave2(line, h.bits[r0:r0+count], h.bits[r1:r1+count])
			case e+1 < h.k:
				pairBF16(line, h.values[r0:r0+count], h.values[r1:r1+count])
			case h.bits != nil:
				for i, v := range h.bits[r0 : r0+count] {
					line[i] = uint32(v)
				}
			default:
				for i, v := range h.values[r0 : r0+count] {
					line[i] = uint32(f32ToBF16(v))
				}
			}
		}
		return
	}
	var buf *buffer
	var scratch []uint16
	if h.values != nil || h.binary16 {
		buf = borrow(16 * 2 * words)
		defer buf.release()
		scratch = view[uint16](buf)
	}
	whole := elements / 2
	for i := 0; i < count; {
		// Eight rows go in at once. Where fewer belong to the panel each column overwrites the excess of
		// the one before it, and the next panel that of the last column.
		rows, fits := min(8, count-i), count-i >= 8
		if !fits && width == count && room-i >= 8 && len(dst) >= (words-1)*width+i+8 {
			rows, fits = 8, true
		}
		src, ld := h.part(scratch, first+i, 2*k0, rows, elements)
		done := 0
		if fits {
			done = packPairs(dst[i:], width, src, ld, whole)
		}
		valid := min(rows, count-i)
		for r := range valid {
			row := src[r*ld : r*ld+elements]
			for l := done; l < whole; l++ {
				dst[l*width+i+r] = uint32(row[2*l]) | uint32(row[2*l+1])<<16
			}
			if whole < words {
				dst[whole*width+i+r] = uint32(row[2*whole])
			}
		}
		i += valid
	}
}

func interleave2Generic(dst []uint32, r0, r1 []uint16) {
	r0, r1 = r0[:len(dst)], r1[:len(dst)]
	for i := range dst {
		dst[i] = uint32(r0[i]) | uint32(r1[i])<<16
	}
}

func pairBF16Generic(dst []uint32, r0, r1 []float32) {
	r0, r1 = r0[:len(dst)], r1[:len(dst)]
	for i := range dst {
		dst[i] = uint32(f32ToBF16(r0[i])) | uint32(f32ToBF16(r1[i]))<<16
	}
}

// tileBF16Generic is the definition of the bfloat16 micro-kernel: tileGeneric on words of two.
func tileBF16Generic(height, k int, a, b []uint32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool) {
	for i := range rows {
		for j := 0; j < n; j += 8 {
			var sums [8]float32
			for l := range k {
				w := a[l*height+i]
				lo, hi := math.Float32frombits(w<<16), math.Float32frombits(w&0xffff0000)
				for t, v := range b[l*ldb+j : l*ldb+j+8] {
					s := sums[t] + float32(lo*math.Float32frombits(v<<16))
					sums[t] = s + float32(hi*math.Float32frombits(v&0xffff0000))
				}
			}
			storeSums(sums, c[i*ldc+j:i*ldc+min(j+8, n)], alpha, beta, load)
		}
	}
}
