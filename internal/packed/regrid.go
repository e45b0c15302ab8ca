package packed

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Grid is what a file can hold of a matrix of codes.
type Grid struct {
	Bits, Group int // Group 0: whole rows
	Symmetric   bool
	LeastZero   int          // the least zero point
	ScaleType   tensor.DType // what scales are stored as
}

// Regrid returns the matrix in another grid with the same values, each equal as a float. The error says where there are no such codes:
// where levels do not fit, scales of one group differ, or a scale is no number of the type.
func (a *Affine) Regrid(g Grid) (*Affine, error) {
	group := g.Group
	if group == 0 || group > a.Cols {
		group = a.Cols
	}
	if a.Index != nil && group != a.Group {
		return nil, fmt.Errorf("columns in an order of their own have groups of %d; want %d", a.Group, group)
	}
	r := &regridded{a: a, g: g, row: make([]byte, a.Cols), source: make([]int, a.Cols), target: make([]int, a.Cols)}
	for c := range a.Cols {
		r.source[c], r.target[c] = c/a.Group, c/group
		if a.Index != nil {
			r.source[c] = int(a.Index[c])
			r.target[c] = r.source[c]
		}
	}
	groups := (a.Cols + group - 1) / group
	r.codes = make([]byte, a.Rows*a.Cols)
	r.groups = make([]levels, groups)
	scales := make([]float32, 0, a.Rows*groups)
	var zeros []byte
	for row := range a.Rows {
		if err := r.levels(row); err != nil {
			return nil, fmt.Errorf("row %d: %w", row, err)
		}
		for i := range r.groups {
			zero, err := r.groups[i].zero(g)
			if err != nil {
				return nil, fmt.Errorf("row %d, group %d: %w", row, i, err)
			}
			r.groups[i].shift = zero
			scales = append(scales, r.groups[i].scale)
			if !g.Symmetric {
				zeros = append(zeros, byte(zero))
			}
		}
		r.put(row)
	}
	if at := inexact(scales, g.ScaleType); at >= 0 {
		return nil, fmt.Errorf("row %d, group %d: a scale of %v is no %v", at/groups, at%groups, scales[at], g.ScaleType)
	}
	return NewAffine(g.Bits, a.Rows, a.Cols, group, r.codes, scales, g.ScaleType, zeros, a.Index)
}

// levels are what codes less zero points of a group are, and what they are multiplied by.
type levels struct {
	scale       float32
	set         bool // scale is that of a level that is not 0
	low, high   int
	near, shift int // the zero point that there was, and the one that is chosen
}

// regridded is the state of [Affine.Regrid].
type regridded struct {
	a              *Affine
	g              Grid
	row, codes     []byte
	source, target []int // groups of columns
	groups         []levels
}

// level is a code less its zero point; one that a scale of 0 makes nothing of is 0.
func (r *regridded) level(row, c int) int {
	if r.a.Scales[row*r.a.Groups()+r.source[c]] == 0 {
		return 0
	}
	return int(r.row[c]) - int(r.a.Zero(row, r.source[c]))
}

// levels gathers the levels of a row by target groups.
func (r *regridded) levels(row int) error {
	r.a.RowCodes(r.row, row)
	seen := make([]bool, len(r.groups))
	for c, t := range r.target {
		scale, v := r.a.Scales[row*r.a.Groups()+r.source[c]], r.level(row, c)
		x := &r.groups[t]
		if !seen[t] {
			seen[t], *x = true, levels{scale: scale, near: int(r.a.Zero(row, r.source[c]))}
		}
		if v == 0 {
			continue
		}
		if x.set && x.scale != scale {
			return fmt.Errorf("scales of %v and %v in one group", x.scale, scale)
		}
		x.scale, x.set = scale, true
		x.low, x.high = min(x.low, v), max(x.high, v)
	}
	return nil
}

// zero chooses the zero point.
func (x *levels) zero(g Grid) (int, error) {
	most, middle := 1<<g.Bits-1, 1<<(g.Bits-1)
	lo, hi := max(g.LeastZero, -x.low), min(most, most-x.high)
	if g.Symmetric {
		if middle < -x.low || middle > most-x.high {
			return 0, fmt.Errorf("levels of %d to %d; %d bits without zero points hold %d to %d", x.low, x.high, g.Bits, -middle, middle-1)
		}
		return middle, nil
	}
	if lo > hi {
		return 0, fmt.Errorf("levels of %d to %d, which %d bits with zero points of at least %d do not hold", x.low, x.high, g.Bits, g.LeastZero)
	}
	return min(max(x.near, lo), hi), nil
}

// put sets the codes of a row.
func (r *regridded) put(row int) {
	for c, t := range r.target {
		r.codes[row*r.a.Cols+c] = byte(r.level(row, c) + r.groups[t].shift)
	}
}

// inexact returns the place of the first value that an element type does not hold, -1 for none.
func inexact(v []float32, d tensor.DType) int {
	if d == tensor.Float32 {
		return -1
	}
	halves, back := make([]uint16, len(v)), make([]float32, len(v))
	if d == tensor.BFloat16 {
		kernel.F32ToBF16(halves, v)
		kernel.BF16ToF32(back, halves)
	} else {
		kernel.F32ToF16(halves, v)
		kernel.F16ToF32(back, halves)
	}
	for i := range v {
		if v[i] != back[i] {
			return i
		}
	}
	return -1
}

// blockCodes are the block types of ggml that are codes with a scale: what is taken off them.
var blockCodes = []struct {
	kind         Kind
	bits, offset int
}{{Q4_0, 4, 8}, {Q5_0, 5, 16}, {Q8_0, 8, 128}}

// AsBlocks returns the matrix in the smallest block type of ggml that holds the same values. The error says why none does.
func (a *Affine) AsBlocks() (*Blocks, error) {
	switch {
	case a.Index != nil:
		return nil, fmt.Errorf("columns in an order of their own, which ggml has no index for")
	case a.Cols%32 != 0 || a.Group%32 != 0 && a.Group < a.Cols:
		return nil, fmt.Errorf("%d inputs in groups of %d; blocks of ggml have 32", a.Cols, a.Group)
	}
	var last error
	for _, k := range blockCodes {
		b, err := a.Regrid(Grid{Bits: k.bits, Group: 32, Symmetric: true, ScaleType: tensor.Float16})
		if err != nil {
			last = err
			continue
		}
		return b.blocks(k.kind), nil
	}
	return nil, last
}

// blocks writes symmetric codes in groups of 32 as blocks.
func (a *Affine) blocks(k Kind) *Blocks {
	size, n := k.BlockBytes(), a.Cols/32
	b := &Blocks{Kind: k, Rows: a.Rows, Cols: a.Cols, Data: make([]byte, a.Rows*n*size)}
	row := make([]byte, a.Cols)
	for r := range a.Rows {
		a.RowCodes(row, r)
		for i := range n {
			dst, codes := b.Data[(r*n+i)*size:], row[32*i:32*i+32]
			putHalf(dst, a.Scales[r*n+i])
			switch k {
			case Q4_0:
				nibbles(dst[2:], codes)
			case Q5_0:
				fifths(dst[6:], dst[2:], codes)
			default:
				for j, c := range codes {
					dst[2+j] = c - 128
				}
			}
		}
	}
	return b
}

// Affine returns the same values as a matrix of codes, for block types whose blocks are codes with one scale, and those with minima that
// are whole steps below 0.
func (b *Blocks) Affine() (*Affine, error) {
	var bits, offset int
	var mins bool
	switch b.Kind {
	case Q4_0:
		bits, offset = 4, 8
	case Q5_0:
		bits, offset = 5, 16
	case Q8_0:
		bits, offset = 8, 128
	case Q4_1:
		bits, mins = 4, true
	case Q5_1:
		bits, mins = 5, true
	default:
		return nil, fmt.Errorf("blocks of %v are no codes with one scale", b.Kind)
	}
	size, n := b.Kind.BlockBytes(), b.Cols/32
	codes, scales := make([]byte, b.Rows*b.Cols), make([]float32, b.Rows*n)
	var zeros []byte
	for i := range scales {
		src, dst := b.Data[i*size:(i+1)*size], codes[32*i:32*i+32]
		scales[i] = half(src)
		data := src[2:]
		if mins {
			zero, low := 0.0, half(src[2:])
			if low != 0 {
				zero = math.Round(-float64(low) / float64(scales[i]))
			}
			if !(zero >= 0 && zero < float64(int(1)<<bits)) || float32(zero)*scales[i] != -low {
				return nil, fmt.Errorf("row %d: a minimum of %v is no whole number of steps of %v", i/n, low, scales[i])
			}
			zeros = append(zeros, byte(zero))
			data = src[4:]
		}
		switch bits {
		case 4:
			for j := range 16 {
				dst[j], dst[j+16] = data[j]&15, data[j]>>4
			}
		case 5:
			for j := range 16 {
				word := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
				x, y := fifth(data[4+j], word, j)
				dst[j], dst[j+16] = byte(x), byte(y)
			}
		default:
			for j := range dst {
				dst[j] = data[j] + byte(offset)
			}
		}
	}
	return NewAffine(bits, b.Rows, b.Cols, 32, codes, scales, tensor.Float16, zeros, nil)
}

// Affine returns the weights, not the rounding of activations, as a matrix of codes.
func (m *RowInt8) Affine() (*Affine, error) {
	codes := make([]byte, len(m.Codes))
	for i, c := range m.Codes {
		codes[i] = c + 128
	}
	return NewAffine(8, m.Rows, m.Cols, max(m.Cols, 1), codes, m.Scales, m.ScaleType, nil, nil)
}
