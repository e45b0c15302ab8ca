package kernel

import (
	"fmt"
	"math"
	"sort"
)

// CodeTable is a code of 4 bits for values in [-1, 1].
type CodeTable struct {
	Values [16]float32 // by code

	// For encoding, [-1, 1] is cut into bins; each has at most one bound between two codes. codes holds the code below the bound in the
	// low bits and the one above it, or the same, four bits higher.
	bounds [tableBins]float32
	codes  [tableBins]uint32
}

const tableBins = 32

// bin is the bin of a value in [-1, 1]. It need not be exact near the edges of bins, as long as no bound is near.
func bin(v float32) int { return int(float32(v*15.999) + 16) }

// NewCodeTable returns the table with the given values and, in ascending order, bounds: order lists the codes between them, and a value
// that equals a bound has the code below it. It panics if two bounds are too close for the bins.
func NewCodeTable(values [16]float32, bounds []float32, order []byte) *CodeTable {
	t := &CodeTable{Values: values}
	for i := range t.bounds {
		const slack = 1e-4
		lo, hi := (float32(i)-16)/15.999-slack, (float32(i)-15)/15.999+slack
		first := sort.Search(len(bounds), func(k int) bool { return bounds[k] >= lo })
		last := sort.Search(len(bounds), func(k int) bool { return bounds[k] > hi })
		t.bounds[i] = float32(math.Inf(1))
		t.codes[i] = uint32(order[first]) * 0x11
		switch last - first {
		case 0:
		case 1:
			t.bounds[i] = bounds[first]
			t.codes[i] = uint32(order[first]) | uint32(order[last])<<4
		default:
			panic(fmt.Sprintf("kernel: bounds %v are in one bin", bounds[first:last]))
		}
	}
	return t
}

// Encode rounds blocks of values: absmax[b] is the largest magnitude of block b, and the code of a value x is that of x*(1/absmax[b]), with
// an absmax of at least 1e-38. Two codes make a byte, the first in its high half; block is a multiple of 2 and len(x) one of block. A block
// with infinities or NaN has an absmax that says so, and codes that mean nothing.
func (t *CodeTable) Encode(block int, dst []byte, absmax, x []float32) {
	if block < 2 || block%2 != 0 || len(x)%block != 0 {
		panic(fmt.Sprintf("kernel: %d values in blocks of %d", len(x), block))
	}
	needLen("codes", len(dst), len(x)/2)
	needLen("absmax", len(absmax), len(x)/block)
	if len(x) > 0 && !encodeTable(t, block, dst, absmax, x) {
		encodeTableGeneric(t, block, dst, absmax, x)
	}
}

func encodeTableGeneric(t *CodeTable, block int, dst []byte, absmax, x []float32) {
	for b := range len(x) / block {
		part := x[b*block : (b+1)*block]
		var bits uint32
		for _, v := range part {
			bits = max(bits, math.Float32bits(v)&0x7fffffff)
		}
		absmax[b] = math.Float32frombits(bits)
		inverse := 1 / max(absmax[b], 1e-38)
		code := func(v float32) byte {
			v *= inverse
			if !(v >= -1 && v <= 1) { // by rounding, or not a number
				v = min(max(v, -1), 1)
				if v != v {
					return 0
				}
			}
			i := bin(v)
			if v > t.bounds[i] {
				return byte(t.codes[i] >> 4)
			}
			return byte(t.codes[i] & 15)
		}
		for i := 0; i < block; i += 2 {
			dst[(b*block+i)/2] = code(part[i])<<4 | code(part[i+1])
		}
	}
}
