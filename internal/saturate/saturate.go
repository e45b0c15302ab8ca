// Package saturate finds products of 8-bit codes whose sums of pairs leave 16 bits.
//
// CPUs with AVX2 or AVX-512 but without VNNI multiply unsigned 8-bit activations by signed 8-bit weights with the instruction
// VPMADDUBSW, which adds the products of two neighbours in 16 bits with saturation: 255*127*2 does not fit. Runtimes that use it,
// such as ONNX Runtime, then compute other values than on CPUs with VNNI. This program's own kernels widen before they add.
package saturate

import (
	"math"

	"github.com/neurotrain/neuroquant/tensor"
)

// Limit is the largest sum of the magnitudes of two weights of one sign that no activations make overflow: 255*128 fits 16
// bits on both sides, 255*129 on neither.
const Limit = 128

// Matrix is a signed weight as products read it: a row of Depth codes for every output channel.
type Matrix struct {
	Codes           []int8
	Channels, Depth int
	at              func(channel, k int) int
}

// Conv reads the weight of a convolution, [M, C/group, kernel...], in the order in which integer convolutions walk it: kernel
// position by kernel position, the input channels of each together.
func Conv(codes []int8, shape tensor.Shape) *Matrix {
	perGroup, taps := shape[1], shape[2:].Len()
	depth := perGroup * taps
	return &Matrix{codes, shape[0], depth, func(channel, k int) int { return channel*depth + k%perGroup*taps + k/perGroup }}
}

// Columns reads a weight [..., K, N], whose columns are the output channels, those of one matrix after those of the other.
func Columns(codes []int8, shape tensor.Shape) *Matrix {
	rank := len(shape)
	k, n := shape[rank-2], shape[rank-1]
	return &Matrix{codes, shape[:rank-2].Len() * n, k, func(channel, i int) int { return channel/n*(k*n) + i*n + channel%n }}
}

// Rows reads a weight [N, K], whose rows are the output channels.
func Rows(codes []int8, shape tensor.Shape) *Matrix {
	k := shape[1]
	return &Matrix{codes, shape[0], k, func(channel, i int) int { return channel*k + i }}
}

// At returns the code of a channel at depth k.
func (m *Matrix) At(channel, k int) int8 { return m.Codes[m.at(channel, k)] }

// Offset returns where in Codes the code of a channel at depth k lies.
func (m *Matrix) Offset(channel, k int) int { return m.at(channel, k) }

// Pair is two weights whose products are added in 16 bits: those at depths K and K+1.
type Pair struct {
	K    int
	A, B int8
}

// Reach returns the largest sum of magnitudes of one sign.
func (p Pair) Reach() int {
	a, b := int(p.A), int(p.B)
	return max(max(a, 0)+max(b, 0), max(-a, 0)+max(-b, 0))
}

// Worst returns the sum of both products that is farthest from zero, over all unsigned 8-bit activations.
func (p Pair) Worst() int {
	a, b := int(p.A), int(p.B)
	most, least := 255*(max(a, 0)+max(b, 0)), 255*(min(a, 0)+min(b, 0))
	if -least > most {
		return least
	}
	return most
}

// Risky returns the pairs of a channel that some activations make overflow. The last code of an odd depth has no partner.
func (m *Matrix) Risky(channel int) []Pair {
	var out []Pair
	for k := 0; k+1 < m.Depth; k += 2 {
		if p := (Pair{k, m.At(channel, k), m.At(channel, k+1)}); p.Reach() > Limit {
			out = append(out, p)
		}
	}
	return out
}

// Reach returns the largest reach of a channel's pairs.
func (m *Matrix) Reach(channel int) int {
	most := 0
	for k := 0; k+1 < m.Depth; k += 2 {
		most = max(most, Pair{k, m.At(channel, k), m.At(channel, k+1)}.Reach())
	}
	return most
}

// Excess returns by how much the sum of a pair of products with two activations is changed when it is saturated to 16 bits,
// and the sum itself.
func (p Pair) Excess(x0, x1 uint8) (excess, sum int32) {
	sum = int32(x0)*int32(p.A) + int32(x1)*int32(p.B)
	return min(max(sum, math.MinInt16), math.MaxInt16) - sum, sum
}
