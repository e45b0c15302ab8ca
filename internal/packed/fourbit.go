package packed

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// The 4-bit types of bitsandbytes (Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", and its sources).

// FourBitType is one of the two codes.
type FourBitType struct {
	Name  string // "nf4" or "fp4"
	Table *kernel.CodeTable
	// Products that round are made with values of 8 bits: bytes[code]/scale is Table.Values[code] within 1/250.
	bytes [16]int8
	scale float32
}

// newFourBitType finds the scale of the bytes that has the least sum of squared differences.
func newFourBitType(name string, table *kernel.CodeTable) *FourBitType {
	t := &FourBitType{Name: name, Table: table}
	least := math.Inf(1)
	for scale := 96.0; scale < 127.25; scale += 1.0 / 16 {
		sum := 0.0
		for _, v := range table.Values {
			d := math.Round(float64(v)*scale)/scale - float64(v)
			sum += d * d
		}
		if sum < least {
			least, t.scale = sum, float32(scale)
		}
	}
	for i, v := range table.Values {
		t.bytes[i] = int8(math.Round(float64(v) * float64(t.scale)))
	}
	return t
}

// NF4 has values at the quantiles of the normal distribution; FP4 is a float of a sign, two bits of exponent and one of mantissa.
var (
	NF4 = newFourBitType("nf4", kernel.NewCodeTable(
		[16]float32{
			-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
			0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
		},
		[]float32{
			-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984, -0.13791173323988914, -0.045525018125772476,
			0.03979014977812767, 0.1202552504837513, 0.2035212516784668, 0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
		},
		[]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	))
	FP4 = newFourBitType("fp4", newFP4())
)

// newFP4 has bounds in the middle of two values in float32, as bitsandbytes for CPUs: what equals one has the lower code.
func newFP4() *kernel.CodeTable {
	var values [16]float32
	for c, v := range []float32{0, 0.0625, 8, 12, 4, 6, 2, 3} {
		values[c], values[c|8] = v/12, -v/12
	}
	order := []byte{11, 10, 13, 12, 15, 14, 9, 0, 1, 6, 7, 4, 5, 2, 3} // by value
	bounds := make([]float32, len(order)-1)
	for i := range bounds {
		bounds[i] = (values[order[i]] + values[order[i+1]]) / 2
	}
	return kernel.NewCodeTable(values, bounds, order)
}

// encode rounds whole blocks. FP4 has two zeros, the second of which bitsandbytes for CPUs gives what is above 0.
func (t *FourBitType) encode(block int, codes []byte, scales, x []float32) {
	t.Table.Encode(block, codes, scales, x)
	if t != FP4 {
		return
	}
	for i, v := range x {
		if high := byte(4 * (1 - i%2)); v > 0 && codes[i/2]>>high&15 == 0 && v*(1/max(scales[i/block], 1e-38)) > 0 {
			codes[i/2] |= 8 << high
		}
	}
}

// ParseFourBit returns the type of a name.
func ParseFourBit(name string) (*FourBitType, error) {
	for _, t := range []*FourBitType{NF4, FP4} {
		if strings.EqualFold(t.Name, name) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("unknown 4-bit type %q; want nf4 or fp4", name)
}

// FourBit is a matrix of 4-bit codes: its rows one after the other are cut into blocks, and a value is that of its code times the block's
// scale, the largest magnitude in it.
type FourBit struct {
	Type       *FourBitType
	Rows, Cols int
	Block      int
	Codes      []byte     // two a byte, the first in the high half
	Scales     []float32  // one a block
	Nested     *NestedMax // what Scales are stored as; nil: as they are
	// DType is the type of the values that were rounded.
	DType tensor.DType
}

// NestedMax is a row of scales in 8-bit codes, in blocks of 256: map[code]*Max[block] + Offset.
type NestedMax struct {
	Codes  []byte
	Max    []float32
	Offset float32
	Map    []float32 // 256 values in ascending order
}

// NestedBlock is the number of scales in a block of a NestedMax.
const NestedBlock = 256

// FourBitBlocks are the legal block sizes.
var FourBitBlocks = []int{32, 64, 128, 256, 512, 1024, 2048, 4096}

// NewFourBit rounds a matrix of which row gives the rows in float32. With double the scales are rounded too. It fails on values that are
// not finite.
func NewFourBit(p *kernel.Pool, t *FourBitType, rows, cols, block int, double bool, row func(dst []float32, row int)) (*FourBit, error) {
	return newFourBit(nil, p, t, rows, cols, block, double, row)
}

// newFourBit is [NewFourBit] with the memory of a matrix that is no longer used, taken where it is enough, or nil.
func newFourBit(old *FourBit, p *kernel.Pool, t *FourBitType, rows, cols, block int, double bool, row func(dst []float32, row int)) (*FourBit, error) {
	n := rows * cols
	blocks := (n + block - 1) / block
	if old == nil {
		old = &FourBit{}
	}
	f := &FourBit{Type: t, Rows: rows, Cols: cols, Block: block, Codes: room(old.Codes, (n+1)/2), Scales: room(old.Scales, blocks)}
	// Whole rows that are whole blocks, some 16 Ki values at a time.
	step := block / gcd(block, max(cols, 1))
	step *= max(1, (1<<14)/max(step*cols, 1))
	p.For((rows+step-1)/step, 1, func(lo, hi int) {
		room := kernel.Borrow[float32](step*cols + block)
		defer room.Release()
		for i := lo; i < hi; i++ {
			first, last := i*step, min((i+1)*step, rows)
			for r := first; r < last; r++ {
				row(room.Data[(r-first)*cols:(r-first+1)*cols], r)
			}
			count := (last - first) * cols
			whole := (count + block - 1) / block * block
			clear(room.Data[count:whole])
			codes, at := f.Codes[first*cols/2:], first*cols/block
			if whole == count {
				t.encode(block, codes[:count/2], f.Scales[at:at+count/block], room.Data[:count])
				continue
			}
			cut := kernel.Borrow[byte](whole / 2) // the last block is not whole
			t.encode(block, cut.Data, f.Scales[at:], room.Data[:whole])
			copy(codes, cut.Data[:(count+1)/2])
			cut.Release()
		}
	})
	for i, s := range f.Scales {
		if s-s != 0 {
			return nil, fmt.Errorf("row %d holds values that are not finite; %w", i*block/cols, kernel.ErrNotFinite)
		}
	}
	if double {
		f.Nested = nest(old.Nested, p, f.Scales)
		f.Nested.values(f.Scales)
	}
	return f, nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Check reports sizes that do not fit, as they may come from files.
func (f *FourBit) Check() error {
	n := f.Rows * f.Cols
	if f.Rows < 0 || f.Cols < 0 || f.Block < 2 || f.Block%2 != 0 {
		return fmt.Errorf("%d x %d values in blocks of %d", f.Rows, f.Cols, f.Block)
	}
	if len(f.Codes) != (n+1)/2 {
		return fmt.Errorf("%d bytes of codes; want %d", len(f.Codes), (n+1)/2)
	}
	if want := (n + f.Block - 1) / f.Block; len(f.Scales) != want {
		return fmt.Errorf("%d scales; want %d", len(f.Scales), want)
	}
	return nil
}

// Scheme implements [tensor.Packed].
func (f *FourBit) Scheme() tensor.Scheme {
	return tensor.Scheme{Code: f.Type.Name, Bits: 4, Group: f.Block, Symmetric: true}
}

// ByteLen implements [tensor.Packed].
func (f *FourBit) ByteLen() int {
	if f.Nested != nil {
		return len(f.Codes) + len(f.Nested.Codes) + 4*len(f.Nested.Max)
	}
	return len(f.Codes) + 4*len(f.Scales)
}

// prepare packs the codes for the kernels, or returns nil where blocks are not parts of rows.
func (f *FourBit) prepare(p *kernel.Pool) Multiplier {
	s := kernel.AffineShape{Rows: f.Rows, Cols: f.Cols, Bits: 4, Group: f.Block, Values: &f.Type.bytes}
	if f.Block < 1 || f.Cols%max(f.Block, 1) != 0 || !kernel.CanPackAffine(s) {
		return nil
	}
	return kernel.PackAffine(p, s, func(row int, into kernel.AffineRow) {
		for i, c := range f.Codes[row*f.Cols/2:][:f.Cols/2] {
			into.Codes[2*i], into.Codes[2*i+1] = c>>4, c&15
		}
		kernel.Scale(into.Scale, f.Scales[row*f.Cols/f.Block:][:len(into.Scale)], 1/f.Type.scale)
	}, kernel.Lasting)
}

// Row implements [tensor.Packed].
func (f *FourBit) Row(dst []float32, row int) {
	at := row * f.Cols
	var values [16]float32
	for left := dst[:f.Cols]; len(left) > 0; {
		b := at / f.Block
		n := min((b+1)*f.Block-at, len(left))
		for c, v := range f.Type.Table.Values {
			values[c] = v * f.Scales[b]
		}
		part := left[:n]
		if at%2 == 0 {
			codes := f.Codes[at/2 : (at+n+1)/2]
			for i := 0; i+1 < n; i += 2 {
				c := codes[i/2]
				part[i], part[i+1] = values[c>>4], values[c&15]
			}
			if n%2 == 1 {
				part[n-1] = values[codes[n/2]>>4]
			}
		} else {
			for i := range part {
				part[i] = values[f.Codes[(at+i)/2]>>(4*(1-(at+i)%2))&15]
			}
		}
		left, at = left[n:], at+n
	}
}

// nest rounds scales: their mean is taken off, and what is left stored in blocks by the nearest value of the dynamic map. old is memory, as for
// [newFourBit].
func nest(old *NestedMax, p *kernel.Pool, scales []float32) *NestedMax {
	if old == nil {
		old = &NestedMax{}
	}
	n := &NestedMax{Codes: room(old.Codes, len(scales)), Max: room(old.Max, (len(scales)+NestedBlock-1)/NestedBlock), Map: DynamicMap()}
	sum := 0.0
	for _, s := range scales {
		sum += float64(s)
	}
	n.Offset = float32(sum / float64(max(len(scales), 1)))
	codes := nestedCodes()
	p.For(len(n.Max), 16, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			part := scales[b*NestedBlock : min((b+1)*NestedBlock, len(scales))]
			largest := float32(0)
			for _, s := range part {
				largest = max(largest, float32(math.Abs(float64(s-n.Offset))))
			}
			n.Max[b] = largest
			inverse := 1 / max(largest, 1e-38)
			for i, s := range part {
				v := min(max((s-n.Offset)*inverse, -1), 1)
				n.Codes[b*NestedBlock+i] = codes[int(math.Floor(float64(float32((v+1)*32767.5)+0.5)))]
			}
		}
	})
	return n
}

// nestedCodes are the codes of 65,536 steps from -1 to 1, among which bitsandbytes for CPUs looks scales up.
var nestedCodes = sync.OnceValue(func() []byte {
	values := DynamicMap()
	bounds := make([]float64, len(values)-1)
	for i := range bounds {
		bounds[i] = (float64(values[i]) + float64(values[i+1])) / 2
	}
	codes := make([]byte, 1<<16)
	for step := range codes {
		nearest := float64(step)/32767.5 - 1
		codes[step] = byte(sort.Search(len(bounds), func(k int) bool { return bounds[k] >= nearest }))
	}
	return codes
})

// values sets out, as many as there are codes, to the scales that they stand for.
func (n *NestedMax) values(out []float32) {
	for i, c := range n.Codes {
		out[i] = float32(n.Map[c]*n.Max[i/NestedBlock]) + n.Offset
	}
}

// Resolve returns the scales that nested ones stand for, after checking their sizes, as they may come from files.
func (n *NestedMax) Resolve() ([]float32, error) {
	if want := (len(n.Codes) + NestedBlock - 1) / NestedBlock; len(n.Max) != want || len(n.Map) != 256 {
		return nil, fmt.Errorf("%d scales in codes with %d scales of their own and a map of %d values; want %d and 256", len(n.Codes), len(n.Max), len(n.Map), want)
	}
	scales := make([]float32, len(n.Codes))
	n.values(scales)
	return scales, nil
}

// DynamicMap returns the 256 values of bitsandbytes' signed dynamic 8-bit type: for each power of ten from 10^-6 to 1 twice as many steps
// as for the one below, with both signs, and 0 and 1.
func DynamicMap() []float32 {
	out := []float32{0, 1}
	for i := range 7 {
		n := 1<<i + 1 // bounds of the steps, evenly from 0.1 to 1
		const first float32 = 0.1
		step := float64((1 - first) / float32(n-1))
		at := func(k int) float32 { // rounded once, as with a fused multiply-add
			if k < n/2 {
				return float32(float64(first) + step*float64(k))
			}
			return float32(1 - step*float64(n-1-k))
		}
		power := float32(math.Pow(10, float64(i-6)))
		for k := range n - 1 {
			v := power * ((at(k) + at(k+1)) / 2)
			out = append(out, v, -v)
		}
	}
	sort.Slice(out, func(a, b int) bool { return out[a] < out[b] })
	return out
}

// GroupScales are the scales of the blocks.
func (f *FourBit) GroupScales() []float32 { return f.Scales }
