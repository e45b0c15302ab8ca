package packed

import (
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// W8A8 names matrices of 8 bits whose products round activations to 8 bits by tokens.
const W8A8 = "w8a8"

// RowInt8 is a matrix of 8-bit codes with a scale for each row: the value of a code q is q*Scales[row]. In products the other operand is
// rounded to 8 bits by rows, too.
//
// LLM.int8() (Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale") is such a matrix whose scales are the
// largest magnitudes of the rows by 127, and whose columns with outliers, values of the other operand of at least Threshold, are
// multiplied in float32.
type RowInt8 struct {
	Rows, Cols int
	Codes      []byte // int8, row after row
	Scales     []float32
	ScaleType  tensor.DType // what the scales are stored as, which each can be without loss; of LLM.int8() Max is stored
	Max        []float32    // the largest magnitudes of the rows, of LLM.int8(); else nil
	Threshold  float32      // 0: no column is treated apart
}

// NewLLMInt8 rounds a matrix of which row gives the rows, after they were rounded to float16. It fails on values that are not finite there.
func NewLLMInt8(p *kernel.Pool, rows, cols int, threshold float32, row func(dst []float32, row int)) (*RowInt8, error) {
	return newLLMInt8(nil, p, rows, cols, threshold, row)
}

// newLLMInt8 is [NewLLMInt8] with memory for the codes, taken if it is enough.
func newLLMInt8(codes []byte, p *kernel.Pool, rows, cols int, threshold float32, row func(dst []float32, row int)) (*RowInt8, error) {
	m := &RowInt8{Rows: rows, Cols: cols, Codes: room(codes, rows*cols), Scales: make([]float32, rows), ScaleType: tensor.Float32, Max: make([]float32, rows), Threshold: threshold}
	p.For(rows, 8, func(lo, hi int) {
		room := kernel.Borrow[float32](cols)
		halves := kernel.Borrow[uint16](cols)
		defer room.Release()
		defer halves.Release()
		for r := lo; r < hi; r++ {
			row(room.Data, r)
			kernel.F32ToF16(halves.Data, room.Data)
			kernel.F16ToF32(room.Data, halves.Data)
			m.Max[r] = roundRow(m.Codes[r*cols:(r+1)*cols], room.Data)
		}
	})
	for r, s := range m.Max {
		if s-s != 0 {
			return nil, fmt.Errorf("row %d holds values that are not finite in float16; %w", r, kernel.ErrNotFinite)
		}
		m.Scales[r] = s / 127
	}
	return m, nil
}

// NewRowInt8 rounds a matrix of which row gives the rows to codes of -127 to 127 with scales of an element type, those that are stored. It
// fails on rows whose values, or scales in that type, are not finite.
func NewRowInt8(p *kernel.Pool, rows, cols int, scales tensor.DType, row func(dst []float32, row int)) (*RowInt8, error) {
	return newRowInt8(nil, p, rows, cols, scales, row)
}

// newRowInt8 is [NewRowInt8] with memory for the codes, taken if it is enough.
func newRowInt8(codes []byte, p *kernel.Pool, rows, cols int, scales tensor.DType, row func(dst []float32, row int)) (*RowInt8, error) {
	m := &RowInt8{Rows: rows, Cols: cols, Codes: room(codes, rows*cols), ScaleType: scales}
	values := make([]float32, cols)
	wide := make([]float64, rows)
	for r := range rows {
		row(values, r)
		if err := kernel.CheckFinite(values); err != nil {
			return nil, fmt.Errorf("row %d: %w", r, err)
		}
		lo, hi := kernel.MinMax(values)
		wide[r] = float64(max(-lo, hi) / 127)
	}
	stored, err := tensor.FromFloat64s(scales, tensor.Shape{rows}, wide)
	if err != nil {
		return nil, err
	}
	rounded, err := stored.Floats()
	if err != nil {
		return nil, err
	}
	m.Scales = slices.Clone(rounded)
	for r, s := range m.Scales {
		if s-s != 0 {
			return nil, fmt.Errorf("row %d has a scale of %v, which %v cannot hold", r, wide[r], scales)
		}
		if s == 0 && wide[r] > 0 {
			m.Scales[r] = float32(smallest(scales))
		}
	}
	p.For(rows, 8, func(lo, hi int) {
		room := kernel.Borrow[float32](cols)
		defer room.Release()
		for r := lo; r < hi; r++ {
			row(room.Data, r)
			s := m.Scales[r]
			if s == 0 {
				clear(m.Codes[r*cols : (r+1)*cols])
				continue
			}
			for i, v := range room.Data {
				m.Codes[r*cols+i] = byte(int8(max(-127, min(127, math.RoundToEven(float64(v/s))))))
			}
		}
	})
	return m, nil
}

// smallest is the least positive number of an element type.
func smallest(d tensor.DType) float64 {
	if d == tensor.Float16 {
		return 0x1p-24
	}
	return 0x1p-126
}

// roundRow rounds values to codes of 8 bits, half to even, and returns their largest magnitude, which has code 127; not a number where
// one of them is not finite.
func roundRow(codes []byte, x []float32) float32 {
	lo, hi := kernel.MinMax(x)
	largest := max(-lo, hi)
	scale := float32(1/largest) * 127 // as PyTorch divides a number by a tensor
	if !(largest > 0) || math.IsInf(float64(scale), 1) {
		scale = 0
	}
	for i, v := range x {
		if v-v != 0 {
			return v - v
		}
		codes[i] = byte(int8(math.RoundToEven(float64(v * scale))))
	}
	return largest
}

// Check reports sizes that do not fit, as they may come from files.
func (m *RowInt8) Check() error {
	if m.Rows < 0 || m.Cols < 0 || len(m.Codes) != m.Rows*m.Cols || len(m.Scales) != m.Rows || m.Max != nil && len(m.Max) != m.Rows {
		return fmt.Errorf("%d codes and %d scales; want %d x %d and %d", len(m.Codes), len(m.Scales), m.Rows, m.Cols, m.Rows)
	}
	return nil
}

// Scheme implements [tensor.Packed].
func (m *RowInt8) Scheme() tensor.Scheme {
	if m.Max != nil {
		return tensor.Scheme{Code: "llm.int8", Bits: 8, Symmetric: true}
	}
	return tensor.Scheme{Code: W8A8, Bits: 8, Symmetric: true}
}

// ByteLen implements [tensor.Packed].
func (m *RowInt8) ByteLen() int { return len(m.Codes) + m.ScaleType.ByteLen(len(m.Scales)) }

// Row implements [tensor.Packed].
func (m *RowInt8) Row(dst []float32, row int) {
	scale := m.Scales[row]
	for i, c := range m.Codes[row*m.Cols : (row+1)*m.Cols] {
		dst[i] = scale * float32(int8(c))
	}
}

// rowInt8Multiplier multiplies by a RowInt8 that is packed for integer products.
type rowInt8Multiplier struct {
	*RowInt8
	packed *kernel.PackedInt8
}

func (m *RowInt8) prepare() *rowInt8Multiplier {
	r := &rowInt8Multiplier{RowInt8: m}
	r.packed = kernel.PackInt8(m.Cols, m.Rows, m.Codes, max(m.Cols, 1), true, true, nil, kernel.Lasting)
	return r
}

// Bytes implements [Multiplier].
func (r *rowInt8Multiplier) Bytes() int { return r.packed.Bytes() }

// Multiply implements [Multiplier].
func (r *rowInt8Multiplier) Multiply(p *kernel.Pool, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	cols := r.Cols
	codes := kernel.Borrow[byte](tokens * cols)
	scales := kernel.Borrow[float32](tokens)
	defer codes.Release()
	defer scales.Release()
	apart := r.outliers(tokens, x, ldx)
	int8Roundings.For(p, tokens, 4, int8Rounding{r, x, ldx, apart, codes.Data, scales.Data}, roundInt8)
	kernel.GemmInt8F32(p, tokens, r.Rows, cols, codes.Data, max(cols, 1), true, nil, scales.Data, r.packed, r.Scales, nil, nil, dst, ldd)
	if len(apart) > 0 {
		r.addOutliers(p, apart, tokens, x, ldx, dst, ldd)
	}
}

// int8Rounding is what roundInt8 works on.
type int8Rounding struct {
	m      *rowInt8Multiplier
	x      []float32
	ldx    int
	apart  []int // columns that are left out
	codes  []byte
	scales []float32
}

var int8Roundings kernel.Jobs[int8Rounding]

// roundInt8 rounds rows [lo, hi) of x.
func roundInt8(j *int8Rounding, lo, hi int) {
	cols, threshold := j.m.Cols, j.m.Threshold
	row := kernel.Borrow[float32](cols)
	defer row.Release()
	for t := lo; t < hi; t++ {
		copy(row.Data, j.x[t*j.ldx:t*j.ldx+cols])
		for _, c := range j.apart { // other rows' values of these columns count for the scale
			if v := row.Data[c]; v >= threshold || v <= -threshold {
				row.Data[c] = 0
			}
		}
		to := j.codes[t*cols : (t+1)*cols]
		j.scales[t] = roundRow(to, row.Data) / 127
		for _, c := range j.apart {
			to[c] = 0
		}
	}
}

// outliers lists the columns in which a row of x has a value of at least the threshold.
func (r *rowInt8Multiplier) outliers(tokens int, x []float32, ldx int) []int {
	if r.Threshold <= 0 {
		return nil
	}
	var list []int
	for t := range tokens {
		row := x[t*ldx : t*ldx+r.Cols]
		if lo, hi := kernel.MinMax(row); hi < r.Threshold && lo > -r.Threshold {
			continue
		}
		for c, v := range row {
			if v >= r.Threshold || v <= -r.Threshold {
				list = append(list, c)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// addOutliers adds the product of some columns, in float32.
func (r *rowInt8Multiplier) addOutliers(p *kernel.Pool, apart []int, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	n := len(apart)
	xs, ws := kernel.Borrow[float32](tokens*n), kernel.Borrow[float32](r.Rows*n)
	defer xs.Release()
	defer ws.Release()
	for t := range tokens {
		for i, c := range apart {
			xs.Data[t*n+i] = x[t*ldx+c]
		}
	}
	for row, s := range r.Scales {
		for i, c := range apart {
			ws.Data[row*n+i] = s * float32(int8(r.Codes[row*r.Cols+c]))
		}
	}
	kernel.GemmF32(p, false, true, tokens, r.Rows, n, 1, xs.Data, n, ws.Data, n, 1, dst, ldd)
}

// GroupScales are the scales of the rows.
func (m *RowInt8) GroupScales() []float32 { return m.Scales }
