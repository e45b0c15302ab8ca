package quantize

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/saturate"
	"github.com/neurotrain/neuroquant/tensor"
)

// ReduceRanges lists what is done about CPUs that add two products of codes in 16 bits (see package saturate): nothing, larger
// scales for the channels that could overflow, or 7 bits for all weights.
var ReduceRanges = []string{"none", "needed", "all"}

// reduceWhy is what they add to the reason of a decision.
var reduceWhy = map[string]string{
	"needed": "; larger weight scales where sums of two products would overflow 16 bits",
	"all":    "; 7-bit weights, so that no sum of two products overflows 16 bits",
}

// reducedMost is the largest code of 7-bit weights: two of them and any activations fit 16 bits.
const reducedMost = saturate.Limit / 2

func checkReduceRange(mode string) error {
	if mode != "" && !slices.Contains(ReduceRanges, mode) {
		return fmt.Errorf("reduce range: want one of %s, got %q", strings.Join(ReduceRanges, ", "), mode)
	}
	return nil
}

// reduce rounds channels of a signed symmetric weight again, with scales so much larger that no sum of two products overflows:
// as little as that takes, or down to 7 bits for all channels if mode is "all". w is the weight that c holds the codes of and
// m reads c.data. Where there is one scale, the channel that needs most decides.
func (c *codes) reduce(w []float32, m *saturate.Matrix, mode string) {
	groups := m.Channels / len(c.scale) // channels that share a scale
	kernel.Shared().For(len(c.scale), max(1, 1<<16/max(1, groups*m.Depth)), func(lo, hi int) {
		for g := lo; g < hi; g++ {
			each := func(f func(ch int)) {
				for ch := g * groups; ch < (g+1)*groups; ch++ {
					f(ch)
				}
			}
			first := c.scale[g]
			round := func(factor float64) {
				s := float32(float64(first) * factor)
				c.scale[g] = s
				each(func(ch int) {
					for k := range m.Depth {
						at := m.Offset(ch, k)
						m.Codes[at] = int8(min(max(math.RoundToEven(float64(w[at]/s)), -127), 127))
					}
				})
			}
			if mode == "all" {
				round(127.0 / reducedMost)
				continue
			}
			reach := func() (most int) {
				each(func(ch int) { most = max(most, m.Reach(ch)) })
				return most
			}
			r := reach()
			if r <= saturate.Limit {
				continue
			}
			// The codes are rounded, so the factor that the reach asks for may be a little too small; 7 bits always do.
			for factor := float64(r) / (saturate.Limit + 1); r > saturate.Limit; factor += 1.0 / 512 {
				round(min(factor, 127.0/reducedMost))
				r = reach()
			}
		}
	})
}

// reduceRange applies the recipe's ReduceRange to the codes of a layer's weight w. Depthwise convolutions, which runtimes
// compute with other instructions, need nothing.
func (l placedLayer) reduceRange(c *codes, w []float32, mode string) {
	if len(w) > 0 && (mode == "all" || mode == "needed" && !l.depthwise(c)) {
		c.reduce(w, l.matrix(c), mode)
	}
}

func (l placedLayer) depthwise(c *codes) bool {
	conv, ok := l.node.Op.(*op.Conv)
	return ok && c.shape[1] == 1 && c.shape[0] == conv.Group
}

// matrix returns the codes of a layer's weight as its product reads them, in the same memory.
func (l placedLayer) matrix(c *codes) *saturate.Matrix {
	codes := tensor.Data[int8](bytesTensor(tensor.Int8, c.shape, c.data))
	switch {
	case l.node.Op.Kind() == "Conv":
		return saturate.Conv(codes, c.shape)
	case len(c.shape) == 1: // a vector that a MatMul multiplies by
		return saturate.Rows(codes, tensor.Shape{1, len(codes)})
	case l.channel == 0:
		return saturate.Rows(codes, c.shape)
	}
	return saturate.Columns(codes, c.shape)
}
