package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// GemmInt8 computes the exact product of an m x k byte matrix A and the packed k x n matrix B,
//
//	c[i*ldc+j] = sum over l of (a[i*lda+l]-azp[i]) * (b[l][j]-bzp[j])   in int32
//
// for ONNX MatMulInteger. Elements of A are two's complement if aSigned. azp is empty for 0, one
// value for all rows, or m values. Nothing saturates: where the sum leaves int32 it wraps, in every
// implementation alike. m, n, k must agree with b.Size().
func GemmInt8(p *Pool, m, n, k int, a []byte, lda int, aSigned bool, azp []int32, b *PackedInt8, c []int32, ldc int) {
	checkGemmInt8(m, n, k, len(a), lda, azp, b, len(c), ldc)
	b.multiply(p, m, a, lda, aSigned, azp, nil, nil, destinationOf(c, ldc), func(rows, n, row, col int, acc []int32, terms []finishRow, u, v []int32) {
		finishInt32(rows, n, acc, terms, u, v, c[row*ldc+col:], ldc)
	})
}

// GemmInt8F32 is GemmInt8 followed by what ONNX's dynamically quantized graphs do with its result
// (Cast, Mul by the product of both scales, Add of the bias), each step rounded to float32:
//
//	c[i*ldc+j] = float32(acc)*(aScale[i]*bScale[j]) + bias[j] + residual[i*ldc+j]
//
// aScale has 1 or m values, bScale 1 or n, bias is empty or has n, residual is empty or like c.
func GemmInt8F32(p *Pool, m, n, k int, a []byte, lda int, aSigned bool, azp []int32, aScale []float32, b *PackedInt8, bScale, bias, residual []float32, c []float32, ldc int) {
	checkGemmInt8(m, n, k, len(a), lda, azp, b, len(c), ldc)
	checkBroadcast("GemmInt8F32 A scale", len(aScale), m, false)
	checkBroadcast("GemmInt8F32 B scale", len(bScale), n, false)
	if len(bias) != 0 {
		needLen("GemmInt8F32 bias", len(bias), n)
	}
	if len(residual) != 0 {
		need("GemmInt8F32 residual", len(residual), m, n, ldc)
	}
	buf := borrow(4 * (m + 3*len(b.shift)))
	defer buf.release()
	var whole []int32
	scales := buf.f32()[len(b.shift):]
	switch {
	case len(aScale) == 1 && len(azp) <= 1: // all rows alike: everything goes into the columns
		whole = b.columns(buf.i32(), at(azp, 0), aSigned, nil)
		scales = scales[:n]
		for j := range scales {
			scales[j] = aScale[0] * at(bScale, j)
		}
		if b.strips(m, aSigned, whole) {
			padded := buf.f32()[len(b.shift):][:len(b.shift)]
			clear(padded[n:])
			add := buf.f32()[2*len(b.shift):][:len(b.shift)]
			fillWith(add, negativeZero)
			copy(add, bias)
			b.inFloats(p, m, a, lda, whole, padded, add, residual, c, ldc)
			return
		}
		aScale, bScale = nil, scales
	case len(bScale) == 1: // the common factor goes into the rows
		scales = scales[:len(aScale)]
		for i, s := range aScale {
			scales[i] = s * bScale[0]
		}
		aScale, bScale = scales, nil
	}
	end := floatEnds.take()
	end.scale, end.bias, end.residual, end.c, end.ldc = bScale, bias, residual, c, ldc
	defer end.done()
	b.multiply(p, m, a, lda, aSigned, azp, aScale, whole, destinationOf(c, ldc), end.function())
}

// columns sets dst to what is added to the sums of each packed column where A has one zero point: the zero point
// times the column's shift, and the bias.
func (b *PackedInt8) columns(dst []int32, azp int32, aSigned bool, bias []int32) []int32 {
	if aSigned {
		azp += 128
	}
	dst = dst[:len(b.shift)]
	for j, s := range b.shift {
		dst[j] = azp * s
	}
	for j, v := range bias {
		dst[j] += v
	}
	return dst
}

func checkGemmInt8(m, n, k, lenA, lda int, azp []int32, b *PackedInt8, lenC, ldc int) {
	if b.cols.n != n || b.k != k {
		panic(fmt.Sprintf("kernel: int8 gemm: B is packed as %dx%d, want %dx%d", b.k, b.cols.n, k, n))
	}
	need("int8 gemm A", lenA, m, k, lda)
	need("int8 gemm C", lenC, m, n, ldc)
	checkBroadcast("int8 gemm A zero point", len(azp), m, true)
}

// checkBroadcast panics unless got is 1 or n, or 0 where that is allowed.
func checkBroadcast(what string, got, n int, empty bool) {
	if got != 1 && got != n && (got != 0 || !empty) {
		panic(fmt.Sprintf("kernel: %s: %d values, want 1 or %d", what, got, n))
	}
}

// at returns v[i] of a vector that may be given as nothing (zeros) or as one value for all.
func at[T int32 | float32](v []T, i int) T {
	switch len(v) {
	case 0:
		return 0
	case 1:
		return v[0]
	}
	return v[i]
}

// from is x[i:], or nil if x is nil.
func from[T any](x []T, i int) []T {
	if x == nil {
		return nil
	}
	return x[i:]
}

// PackedInt8 is an 8-bit matrix in the order in which the integer GEMM kernels read their right
// operand, with its zero points and column sums. It is read-only after PackInt8 and may be used by several
// goroutines.
//
// data holds panel after panel; in a panel, for every four rows of B, the four bytes of each column
// together. Bytes are signed: an unsigned B is shifted by 128, its zero points with it.
type PackedInt8 struct {
	k    int
	cols columns
	data []byte
	// Both per packed column, padding included: the zero point in the signed domain (nil if all
	// are 0), and k*zero point - sum of the column.
	zero, shift []int32
}

// PackInt8 packs op(B), a k x n matrix of bytes (two's complement if signed), for GemmInt8. With
// transB b holds n rows of k elements. bzp is the zero point: empty for 0, one value for all, or n
// values, one per column; each in -128..255. b and bzp are not referenced afterwards.
func PackInt8(k, n int, b []byte, ldb int, signed, transB bool, bzp []int32, where ...Storage) *PackedInt8 {
	q := &PackedInt8{k: k, cols: splitColumns(n)}
	q.data = store[byte](q, q.size(), where)
	q.pack(Shared(), b, ldb, signed, transB, bzp)
	return q
}

// temporaries are packed matrices whose memory is used again.
var temporaries stock[PackedInt8]

// TemporaryInt8 is [PackInt8] on the calling goroutine, for a matrix that is multiplied once: [PackedInt8.Release] ends its use.
func TemporaryInt8(k, n int, b []byte, ldb int, signed, transB bool, bzp []int32) *PackedInt8 {
	q := temporaries.take()
	q.k, q.cols = k, splitColumns(n)
	if size := q.size(); size <= cap(q.data) {
		q.data = q.data[:size]
		clear(q.data)
	} else {
		q.data = make([]byte, size)
	}
	q.pack(nil, b, ldb, signed, transB, bzp)
	return q
}

// Release gives the memory of a matrix of [TemporaryInt8] to the next one. The matrix must not be used afterwards.
func (b *PackedInt8) Release() { temporaries.give(b) }

// size is the length of data.
func (b *PackedInt8) size() int { return (b.k + 3) / 4 * 4 * b.cols.padded() }

// pack fills data, which is all zeros.
func (b *PackedInt8) pack(p *Pool, from []byte, ldb int, signed, transB bool, bzp []int32) {
	k, n := b.k, b.cols.n
	if transB {
		need("PackInt8 B transposed", len(from), n, k, ldb)
	} else {
		need("PackInt8 B", len(from), k, n, ldb)
	}
	checkBroadcast("PackInt8 zero point", len(bzp), n, true)
	padded := b.cols.padded()
	b.shift = zeroed(b.shift, padded)
	flip, offset := byte(0), int32(0)
	if !signed {
		flip, offset = 0x80, 128
	}
	zero := b.zero
	b.zero = nil
	for j := range n {
		if at(bzp, j) != offset {
			b.zero = zeroed(zero, padded)
			break
		}
	}
	if k*n < minTask {
		p = nil
	}
	p.For(b.cols.panels(), 1, func(lo, hi int) {
		var ones *buffer
		if !transB {
			ones = onesRow(k)
			defer ones.release()
		}
		var sums [panelWidth]int32
		for i := lo; i < hi; i++ {
			data, col, width := b.panel(i)
			valid := min(width, n-col)
			if transB {
				packColumnsInt8(data, width, from[col*ldb:], ldb, k, valid, flip, sums[:])
			} else {
				packPanelInt8(data, width, from[col:], ldb, k, valid, flip, ones.u32(), sums[:])
			}
			for j, sum := range sums[:valid] {
				zero := at(bzp, col+j) - offset
				if b.zero != nil {
					b.zero[col+j] = zero
				}
				b.shift[col+j] = int32(k)*zero - sum
			}
		}
	})
}

// zeroed returns n zeros, in the memory of v if that is enough.
func zeroed(v []int32, n int) []int32 {
	if n > cap(v) {
		return make([]int32, n)
	}
	v = v[:n]
	clear(v)
	return v
}

// onesRow is a row of k bytes of one as tileInt8 reads it: its product with a panel is the sums of the columns.
func onesRow(k int) *buffer {
	words := (k + 3) / 4 * leftWords()
	buf := borrow(4 * max(words, 1))
	one := uint32(0x01010101)
	if leftWords() > 1 {
		one = 0x00010001
	}
	row := buf.u32()[:words]
	for i := range row {
		row[i] = one
	}
	return buf
}

// packPanelInt8 packs n columns of k rows, ld apart, and sets sums to their sums, with the row of [onesRow].
func packPanelInt8(dst []byte, width int, b []byte, ld, k, n int, flip byte, ones []uint32, sums []int32) {
	whole, k4 := k/4, (k+3)/4
	if whole > 0 {
		words := bytesAsWords(dst)
		for l := range whole {
			rows := b[4*l*ld:]
			interleave4(words[l*width:][:n], rows[:n], rows[ld:][:n], rows[2*ld:][:n], rows[3*ld:][:n], flip)
		}
	}
	for l := 4 * whole; l < k; l++ {
		for j, v := range b[l*ld:][:n] {
			dst[l/4*4*width+4*j+l%4] = v ^ flip
		}
	}
	tileInt8(false, 1, width, k4, ones, dst, sums, nil)
}

// packColumnsInt8 is packPanelInt8 for columns that are stored as n rows of k elements.
func packColumnsInt8(dst []byte, width int, b []byte, ld, k, n int, flip byte, sums []int32) {
	for j := 0; j < n; j += 8 {
		count, first := min(8, n-j), 0
		if k >= 4 {
			first = packStripInt8(bytesAsWords(dst)[j:], width, b[j*ld:], ld, count, k/4, uint32(flip)*0x01010101)
		}
		for t := j; t < j+count; t++ {
			row := b[t*ld : t*ld+k]
			for l := 4 * first; l < k; l++ {
				dst[l/4*4*width+4*t+l%4] = row[l] ^ flip
			}
			sums[t] = sumBytes(row, uint32(flip^0x80)*0x01010101) - 128*int32(k)
		}
	}
}

// bytesAsWords views packed bytes, which start at a multiple of four, as words.
func bytesAsWords(x []byte) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(&x[0])), len(x)/4)
}

// Size returns the number of rows (k) and columns (n) of the packed matrix.
func (b *PackedInt8) Size() (k, n int) { return b.k, b.cols.n }

// Bytes returns the memory that the packed matrix holds.
func (b *PackedInt8) Bytes() int { return len(b.data) + 4*len(b.zero) + 4*len(b.shift) }

func (b *PackedInt8) panel(i int) (data []byte, col, width int) {
	col, width = b.cols.panel(i)
	deep := (b.k + 3) / 4 * 4
	return b.data[col*deep : (col+width)*deep], col, width
}

// finishRow holds what the end of an integer product needs of one row; the layout is known to the
// assembly. See the generated declaration of finishF32AVX512 for the formula.
type finishRow struct {
	add, p, q   int32
	scale, bias float32
}

// negativeZero is the value that changes nothing when added.
var negativeZero = float32(math.Copysign(0, -1))

// multiply computes tiles of A*b and hands each, as raw sums 48 apart with the terms that fold in
// the zero points, to finish, which stores them to what to says. In the domain where A is unsigned and B signed,
//
//	sum (a-za)*(b-zb) = sum a*b + za*(k*zb - sum b) - zb * sum a
//
// If given, whole holds the second term, and what else is to be added to a column. The rows have no terms then
// where B has no zero points either and aScale is nil.
func (b *PackedInt8) multiply(p *Pool, m int, a []byte, lda int, aSigned bool, azp []int32, aScale []float32, whole []int32,
	to destination, finish finishProduct,
) {
	n := b.cols.n
	if m == 0 || n == 0 {
		return
	}
	panels := b.cols.panels()
	rowsPerTask, parts := rowSplit(p, m, rowsMax, panels, m*n*b.k/4)
	for rowsPerTask > 48 && rowsPerTask*b.k > 512<<10 {
		rowsPerTask /= 2
	}
	rowTasks := (m + rowsPerTask - 1) / rowsPerTask
	if rowTasks*parts == 1 {
		p = nil
	}
	flip, offset := uint32(0), int32(0)
	if aSigned {
		flip, offset = 0x80808080, 128
	}
	shift := b.shift
	if whole != nil {
		shift = whole
	}
	multiplying.For(p, rowTasks*parts, 1, multiplyArgs{b, m, a, lda, azp, aScale, shift, whole != nil, flip, offset, rowsPerTask, parts, to, finish}, (*multiplyArgs).tasks)
}

// packRowsInt8 packs rows i0 to i1 of A into row panels of up to mr rows: for every four columns,
// the four bytes of each row together, with the bits of flip inverted; zeros beyond row i1 and column k.
func packRowsInt8(dst []uint32, mr int, a []byte, lda, i0, i1, k int, flip uint32) {
	used, whole, k4 := 0, k/4, (k+3)/4
	for i := i0; i < i1; i += mr {
		rows := min(mr, i1-i)
		height := panelRows(rows, mr)
		panel := dst[used : used+height*k4]
		if rows < height {
			clear(panel)
		}
		first := packStripInt8(panel, height, a[i*lda:], lda, rows, whole, flip)
		for r := range rows {
			row := a[(i+r)*lda : (i+r)*lda+k]
			for l := first; l < whole; l++ {
				panel[l*height+r] = binary.LittleEndian.Uint32(row[l*4:]) ^ flip
			}
			if whole < k4 {
				var last [4]byte
				copy(last[:], row[whole*4:])
				mask := uint32(1)<<(8*(k%4)) - 1
				panel[whole*height+r] = (binary.LittleEndian.Uint32(last[:]) ^ flip) & mask
			}
		}
		used += len(panel)
	}
}

// sumBytesGeneric is the sum of the bytes of x as unsigned numbers, the bits of flip inverted first.
func sumBytesGeneric(x []byte, flip uint32) int32 {
	var sum int32
	for _, v := range x {
		sum += int32(v ^ byte(flip))
	}
	return sum
}

// tileInt8Generic is the definition of the integer micro-kernel: for panels of height rows and width
// columns, c[i*48+j] is the sum over l < k4 and t < 4 of a's byte t of word l*height+i times b's byte
// 4*(l*width+j)+t. With aSigned a's bytes are signed and b's unsigned, otherwise the other way round.
func tileInt8Generic(aSigned bool, height, width, k4 int, a []uint32, b []byte, c []int32) {
	for i := range height {
		row := c[i*panelWidth : i*panelWidth+width]
		clear(row)
		for l := range k4 {
			w := a[l*height+i]
			a0, a1, a2, a3 := int32(byte(w)), int32(byte(w>>8)), int32(byte(w>>16)), int32(w>>24)
			if aSigned {
				a0, a1, a2, a3 = int32(int8(a0)), int32(int8(a1)), int32(int8(a2)), int32(int8(a3))
			}
			line := b[l*width*4 : (l+1)*width*4]
			for j := range row {
				q := line[j*4 : j*4+4 : j*4+4]
				if aSigned {
					row[j] += a0*int32(q[0]) + a1*int32(q[1]) + a2*int32(q[2]) + a3*int32(q[3])
				} else {
					row[j] += a0*int32(int8(q[0])) + a1*int32(int8(q[1])) + a2*int32(int8(q[2])) + a3*int32(int8(q[3]))
				}
			}
		}
	}
}

func finishInt32Generic(rows, n int, acc []int32, terms []finishRow, u, v []int32, dst []int32, ldd int) {
	for i := range rows {
		r := rowTerms(terms, i)
		for j := range n {
			dst[i*ldd+j] = r.sum(acc[i*panelWidth+j], at0(u, j), at0(v, j))
		}
	}
}

func finishF32Generic(rows, n int, acc []int32, terms []finishRow, u, v []int32, scale, bias []float32, lo, hi float32, dst []float32, ldd int) {
	for i := range rows {
		r := rowTerms(terms, i)
		for j := range n {
			s := r.scale
			if scale != nil {
				s *= scale[j]
			}
			f := float32(r.sum(acc[i*panelWidth+j], at0(u, j), at0(v, j))) * s
			if bias != nil {
				f = float32(f) + bias[j]
			}
			f = float32(f) + r.bias
			if f < lo {
				f = lo
			}
			if f > hi {
				f = hi
			}
			dst[i*ldd+j] = f
		}
	}
}

// columnsOnly is what the absence of terms stands for.
var columnsOnly = finishRow{p: 1, scale: 1, bias: negativeZero}

// rowTerms returns the terms of row i; nil stands for columnsOnly.
func rowTerms(terms []finishRow, i int) *finishRow {
	if terms == nil {
		return &columnsOnly
	}
	return &terms[i]
}

func (r *finishRow) sum(acc, u, v int32) int32 { return acc + r.add + r.p*u + r.q*v }

// at0 returns v[i], or 0 if v is nil.
func at0(v []int32, i int) int32 {
	if v == nil {
		return 0
	}
	return v[i]
}
