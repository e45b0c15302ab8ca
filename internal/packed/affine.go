package packed

import (
	"fmt"

	"github.com/neurotrain/neuroquant/tensor"
)

// Affine is a matrix of unsigned whole numbers of 1 to 8 bits, the codes, with a scale and a zero point for each row and group of
// columns: the value of a code q is scale*(q-zero). Layouts of files differ in how they order the bits; this one is row after row.
type Affine struct {
	Bits, Rows, Cols int
	Group            int // columns that share a scale and a zero point; the last group may be smaller
	// Codes hold each row in ceil(Cols*Bits/8) bytes, code i in the bits from i*Bits of the row on, the lowest of a byte first.
	Codes     []byte
	Scales    []float32    // rows x groups
	ScaleType tensor.DType // what the scales are stored as, which each can be without loss
	Zeros     []byte       // rows x groups; nil: the middle code 2^(Bits-1) everywhere
	Index     []int32      // the group of each column; nil: column/Group
}

// NewAffine packs codes, one a byte, rows x cols of them. Scales, zeros and index are kept. It is an error if the sizes do not fit or
// a code, zero point or group is out of range.
func NewAffine(bits, rows, cols, group int, codes []byte, scales []float32, scaleType tensor.DType, zeros []byte, index []int32) (*Affine, error) {
	a := &Affine{Bits: bits, Rows: rows, Cols: cols, Group: group, Scales: scales, ScaleType: scaleType, Zeros: zeros, Index: index}
	if len(codes) != rows*cols {
		return nil, fmt.Errorf("%d codes; want %d x %d", len(codes), rows, cols)
	}
	if bits < 1 || bits > 8 || rows < 0 || cols < 0 {
		return nil, fmt.Errorf("%d x %d codes of %d bits; want 1 to 8", rows, cols, bits)
	}
	a.Codes = make([]byte, rows*a.stride())
	for r := range rows {
		if !packRow(a.Codes[r*a.stride():(r+1)*a.stride()], codes[r*cols:(r+1)*cols], bits) {
			return nil, fmt.Errorf("row %d has codes above %d", r, 1<<bits-1)
		}
	}
	return a, a.Check()
}

// Check reports sizes, zero points and groups that do not fit, as they may come from files.
func (a *Affine) Check() error {
	if a.Bits < 1 || a.Bits > 8 || a.Rows < 0 || a.Cols < 0 || a.Group < 1 {
		return fmt.Errorf("%d x %d codes of %d bits in groups of %d; want 1 to 8 bits and groups of at least 1", a.Rows, a.Cols, a.Bits, a.Group)
	}
	if want := a.Rows * a.stride(); len(a.Codes) != want {
		return fmt.Errorf("%d bytes of codes; want %d", len(a.Codes), want)
	}
	n := a.Rows * a.Groups()
	if len(a.Scales) != n || a.Zeros != nil && len(a.Zeros) != n {
		return fmt.Errorf("%d scales and %d zero points; want %d", len(a.Scales), len(a.Zeros), n)
	}
	for i, z := range a.Zeros {
		if int(z) >= 1<<a.Bits {
			return fmt.Errorf("zero point %d is %d; want at most %d", i, z, 1<<a.Bits-1)
		}
	}
	if a.Index != nil && len(a.Index) != a.Cols {
		return fmt.Errorf("groups of %d columns; want %d", len(a.Index), a.Cols)
	}
	for c, g := range a.Index {
		if g < 0 || int(g) >= a.Groups() {
			return fmt.Errorf("column %d is of group %d; there are %d", c, g, a.Groups())
		}
	}
	return nil
}

// stride is the bytes of a row.
func (a *Affine) stride() int { return (a.Cols*a.Bits + 7) / 8 }

// Groups returns the number of groups of a row.
func (a *Affine) Groups() int { return (a.Cols + a.Group - 1) / a.Group }

// Zero returns the zero point of a row and group.
func (a *Affine) Zero(row, group int) byte {
	if a.Zeros == nil {
		return 1 << (a.Bits - 1)
	}
	return a.Zeros[row*a.Groups()+group]
}

// Scheme implements [tensor.Packed].
func (a *Affine) Scheme() tensor.Scheme {
	group := a.Group
	if a.Groups() <= 1 {
		group = 0
	}
	return tensor.Scheme{Code: "int", Bits: a.Bits, Group: group, Symmetric: a.Zeros == nil, Reordered: a.Index != nil}
}

// ByteLen implements [tensor.Packed]; scales count as what they are stored as.
func (a *Affine) ByteLen() int {
	return len(a.Codes) + a.ScaleType.ByteLen(len(a.Scales)) + (len(a.Zeros)*a.Bits+7)/8 + 4*len(a.Index)
}

// RowCodes sets dst to the codes of a row, one a byte.
func (a *Affine) RowCodes(dst []byte, row int) {
	unpackRow(dst[:a.Cols], a.Codes[row*a.stride():(row+1)*a.stride()], a.Bits)
}

// Row implements [tensor.Packed].
func (a *Affine) Row(dst []float32, row int) {
	dst = dst[:a.Cols]
	src, bits, mask := a.Codes[row*a.stride():(row+1)*a.stride()], a.Bits, uint(1)<<a.Bits-1
	code := func(c int) float32 {
		at := c * bits
		v := uint(src[at/8]) >> (at % 8)
		if at%8+bits > 8 {
			v |= uint(src[at/8+1]) << (8 - at%8)
		}
		return float32(v & mask)
	}
	first := row * a.Groups()
	if a.Index != nil {
		for c := range dst {
			g := int(a.Index[c])
			dst[c] = a.Scales[first+g] * (code(c) - float32(a.Zero(row, g)))
		}
		return
	}
	for g := range a.Groups() {
		scale, zero := a.Scales[first+g], float32(a.Zero(row, g))
		for c := g * a.Group; c < min((g+1)*a.Group, a.Cols); c++ {
			dst[c] = scale * (code(c) - zero)
		}
	}
}

// packRow packs codes of a number of bits into zeroed bytes. It reports whether they all fit.
func packRow(dst, codes []byte, bits int) bool {
	ok := true
	for c, q := range codes {
		ok = ok && int(q) < 1<<bits
		at := c * bits
		dst[at/8] |= q << (at % 8)
		if at%8+bits > 8 {
			dst[at/8+1] |= q >> (8 - at%8)
		}
	}
	return ok
}

func unpackRow(codes, src []byte, bits int) {
	mask := byte(1<<bits - 1)
	if bits == 4 {
		for c := range codes {
			codes[c] = src[c/2] >> (4 * (c % 2)) & 15
		}
		return
	}
	for c := range codes {
		at := c * bits
		v := src[at/8] >> (at % 8)
		if at%8+bits > 8 {
			v |= src[at/8+1] << (8 - at%8)
		}
		codes[c] = v & mask
	}
}

// Coded is a source whose tensor is a matrix of codes, which formats store in layouts of their own.
type Coded interface {
	tensor.Source
	Affine() (*Affine, error)
}

// Formed is a source of codes that knows what they are like before it has them: Form is the matrix without the contents of its codes, scales,
// zero points and index; the last two are nil or not as they will be.
type Formed interface {
	Coded
	Form() *Affine
}

// Working is a source of codes that says what it takes to make them beside the codes: of the heap, and of mapped files.
type Working interface {
	Working() (heap, mapped int)
}

// FormOf returns what is known of the codes of a source, all of it where the source tells nothing before.
func FormOf(c Coded) (*Affine, error) {
	if f, ok := c.(Formed); ok {
		return f.Form(), nil
	}
	return c.Affine()
}

// Source returns the matrix as a source of float32 values.
func (a *Affine) Source() tensor.Source { return affineSource{a} }

type affineSource struct{ a *Affine }

func (s affineSource) Shape() tensor.Shape      { return tensor.Shape{s.a.Rows, s.a.Cols} }
func (s affineSource) DType() tensor.DType      { return tensor.Float32 }
func (s affineSource) Affine() (*Affine, error) { return s.a, nil }
func (s affineSource) Load() (*tensor.Tensor, error) {
	return tensor.NewPacked(tensor.Float32, s.Shape(), s.a), nil
}

// GroupScales are the scales of all groups, rows x groups.
func (a *Affine) GroupScales() []float32 { return a.Scales }
