package train

import (
	"math"
	"sort"
)

// blockSize8 is how many values of an optimizer's state share a scale.
const blockSize8 = 256

// blocks8 are values in 8 bits: codes of a table that is fine near zero, times the largest magnitude of their block. The table is that of
// dynamic tree quantization (Dettmers, "8-Bit Approximations for Parallelism in Deep Learning"): a decimal exponent, given by the leading zeros, and a
// linear fraction in the bits that are left.
type blocks8 struct {
	table  *[256]float32
	bounds *[255]float32
	codes  []uint8
	scale  []float32
}

var table8 = map[bool]*[256]float32{true: dynamicTable(true), false: dynamicTable(false)}

// dynamicTable lists the values of the codes in ascending order.
func dynamicTable(signed bool) *[256]float32 {
	var values []float64
	bits := 7 // for exponent and fraction
	if !signed {
		bits = 8
	}
	const exponents = 7
	for e := range exponents {
		fractions := 1 << (bits - 1 - (exponents - 1 - e))
		if !signed {
			fractions = 1 << (bits - 1 - (exponents - e))
			fractions *= 2
		}
		for f := range fractions {
			lo := 0.1 + 0.9*float64(f)/float64(fractions)
			hi := 0.1 + 0.9*float64(f+1)/float64(fractions)
			v := (lo + hi) / 2 * math.Pow(10, float64(e-exponents+1))
			values = append(values, v)
			if signed {
				values = append(values, -v)
			}
		}
	}
	values = append(values, 0, 1)
	sort.Float64s(values)
	var t [256]float32
	for i := range t { // filled up with ones
		t[i] = float32(values[min(i, len(values)-1)])
	}
	return &t
}

func newBlocks8(n int, signed bool) *blocks8 {
	b := &blocks8{table: table8[signed], codes: make([]uint8, n), scale: make([]float32, (n+blockSize8-1)/blockSize8)}
	b.bounds = new([255]float32)
	for i := range b.bounds {
		b.bounds[i] = (b.table[i] + b.table[i+1]) / 2
	}
	zero := b.code(0)
	for i := range b.codes {
		b.codes[i] = zero
	}
	return b
}

// code returns the code whose value is nearest.
func (b *blocks8) code(v float32) uint8 {
	return uint8(sort.Search(len(b.bounds), func(i int) bool { return v <= b.bounds[i] }))
}

// read decodes the block that begins at value at.
func (b *blocks8) read(dst []float32, at int) {
	s := b.scale[at/blockSize8]
	for i := range dst {
		dst[i] = b.table[b.codes[at+i]] * s
	}
}

// write encodes the block that begins at value at.
func (b *blocks8) write(src []float32, at int) {
	most := float32(0)
	for _, v := range src {
		most = max(most, float32(math.Abs(float64(v))))
	}
	b.scale[at/blockSize8] = most
	if most == 0 {
		most = 1
	}
	for i, v := range src {
		b.codes[at+i] = b.code(v / most)
	}
}
