package packed

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Multiplier is an encoded matrix in the form in which this machine multiplies by it. It is safe for use by several goroutines.
type Multiplier interface {
	// Multiply sets dst[t*ldd+r], for each row t of x, to the product of x[t*ldx:] with row r of the matrix.
	Multiply(p *kernel.Pool, tokens int, x []float32, ldx int, dst []float32, ldd int)
	// Bytes is the memory that the form takes beside the matrix.
	Bytes() int
}

// Prepare returns a multiplier for a matrix of the given size. Codes on an even scale are reordered once and multiplied as whole numbers,
// with the other operand rounded to 8 bits in blocks (see [kernel.PackedAffine]); 16-bit floats are multiplied where they lie; what has
// no kernel of its own is decoded to float32 by rows.
func Prepare(p *kernel.Pool, m tensor.Packed, rows, cols int) Multiplier {
	switch m := m.(type) {
	case *Affine:
		if r := m.prepare(p); r != nil {
			return r
		}
	case *Blocks:
		if r := m.prepare(p); r != nil {
			return r
		}
	case *FourBit:
		return &fourBitMultiplier{decoder{m, rows, cols}, m}
	case *RowInt8:
		if m.Rows > 0 && m.Cols > 0 {
			return m.prepare()
		}
	case *Narrow:
		if w := m.Halves(); w != nil {
			return &narrowMultiplier{m: m, rows: rows}
		}
	}
	return &decoder{m, rows, cols}
}

// decoder multiplies by any matrix: rows are decoded a block at a time.
type decoder struct {
	m          tensor.Packed
	rows, cols int
}

func (d *decoder) Bytes() int { return 0 }

// decodedRows are together when they are multiplied by.
const decodedRows = 48

func (d *decoder) Multiply(p *kernel.Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	decodedProducts.For(p, (d.rows+decodedRows-1)/decodedRows, 1, product[decoder]{d, tokens, x, ldx, dst, ldd}, decodedProduct)
}

// product is what the loops of a [Multiplier] of type M work on.
type product[M any] struct {
	m      *M
	tokens int
	x      []float32
	ldx    int
	dst    []float32
	ldd    int
}

var decodedProducts kernel.Jobs[product[decoder]]

func decodedProduct(j *product[decoder], lo, hi int) {
	d := j.m
	room := kernel.Borrow[float32](decodedRows * d.cols)
	defer room.Release()
	for u := lo; u < hi; u++ {
		first := u * decodedRows
		n := min(decodedRows, d.rows-first)
		for r := range n {
			d.m.Row(room.Data[r*d.cols:(r+1)*d.cols], first+r)
		}
		kernel.GemmF32(nil, false, true, j.tokens, n, d.cols, 1, j.x, j.ldx, room.Data, max(d.cols, 1), 0, j.dst[first:], j.ldd)
	}
}

// Rounder is a multiplier that is exact, apart from the rounding of float32, and can be made one that rounds where that is faster: by 16-bit
// floats it rounds the other operand to bfloat16; by NF4 and FP4 it rounds that to 8 bits in blocks, and the values of the codes too.
type Rounder interface {
	Multiplier
	// Rounded returns such a multiplier by the same matrix.
	Rounded() Multiplier
}

// fourBitMultiplier multiplies by the decoded values.
type fourBitMultiplier struct {
	decoder
	m *FourBit
}

// Rounded implements [Rounder].
func (f *fourBitMultiplier) Rounded() Multiplier {
	if r := f.m.prepare(kernel.Shared()); r != nil {
		return r
	}
	return f
}

type narrowMultiplier struct {
	m       *Narrow
	rows    int
	rounded bool
}

// Rounded implements [Rounder].
func (n *narrowMultiplier) Rounded() Multiplier { return &narrowMultiplier{n.m, n.rows, true} }

func (n *narrowMultiplier) Bytes() int { return 0 }

func (n *narrowMultiplier) Multiply(p *kernel.Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	one := [...]kernel.NarrowProduct{{Rows: n.rows, W: n.m.Halves(), Dst: dst, Ldd: ldd}}
	kernel.MultiplyNarrow(p, n.m.DType == tensor.BFloat16, n.rounded, n.m.Cols, tokens, x, ldx, one[:])
}

// prepare packs the codes for the kernels, with the columns of a group brought together. It returns nil where groups do not fit.
func (a *Affine) prepare(p *kernel.Pool) Multiplier {
	s := kernel.AffineShape{Rows: a.Rows, Cols: a.Cols, Bits: a.Bits, Group: a.Group, Offset: 1 << (a.Bits - 1)}
	if a.Zeros != nil {
		s.Offset = int(a.Zero(0, 0))
		s.Mins = slices.ContainsFunc(a.Zeros, func(z byte) bool { return int(z) != s.Offset })
		if s.Mins {
			s.Offset = 1 << (a.Bits - 1)
		}
	}
	var order []int32
	if a.Index != nil {
		if order = a.order(); order == nil {
			return nil
		}
	}
	if a.Rows == 0 || !kernel.CanPackAffine(s) {
		return nil
	}
	groups := a.Groups()
	k := kernel.PackAffine(p, s, func(row int, into kernel.AffineRow) {
		if order == nil {
			a.RowCodes(into.Codes, row)
		} else {
			room := kernel.Borrow[byte](a.Cols)
			a.RowCodes(room.Data, row)
			for i, c := range order {
				into.Codes[i] = room.Data[c]
			}
			room.Release()
		}
		copy(into.Scale, a.Scales[row*groups:])
		for g := range into.Mins {
			into.Mins[g] = into.Scale[g] * float32(s.Offset-int(a.Zero(row, g)))
		}
	}, kernel.Lasting)
	if order == nil {
		return k
	}
	return &reordered{k, order}
}

// order lists the columns group after group, or returns nil if the groups are not all of one size.
func (a *Affine) order() []int32 {
	order := make([]int32, a.Cols)
	next := make([]int, a.Groups())
	for g := range next {
		next[g] = g * a.Group
	}
	for c, g := range a.Index {
		at := next[g]
		if at >= min((int(g)+1)*a.Group, a.Cols) {
			return nil
		}
		order[at] = int32(c)
		next[g]++
	}
	return order
}

// reordered multiplies by a matrix whose columns stand in another order.
type reordered struct {
	m     *kernel.PackedAffine
	order []int32
}

func (r *reordered) Bytes() int { return r.m.Bytes() + 4*len(r.order) }

func (r *reordered) Multiply(p *kernel.Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	cols := len(r.order)
	room := kernel.Borrow[float32](tokens * cols)
	defer room.Release()
	reorderings.For(p, tokens, 16, product[reordered]{r, tokens, x, ldx, room.Data, cols}, reorder)
	r.m.Multiply(p, tokens, room.Data, cols, dst, ldd)
}

var reorderings kernel.Jobs[product[reordered]]

// reorder brings the columns of tokens [lo, hi) into the order of the matrix.
func reorder(j *product[reordered], lo, hi int) {
	for t := lo; t < hi; t++ {
		to, from := j.dst[t*j.ldd:(t+1)*j.ldd], j.x[t*j.ldx:t*j.ldx+j.ldd]
		for i, c := range j.m.order {
			to[i] = from[c]
		}
	}
}
