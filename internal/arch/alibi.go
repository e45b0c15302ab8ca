package arch

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Slopes are those of ALiBi (Press et al., arXiv:2108.12409) for a number of heads.
func Slopes(heads int) []float64 {
	power := 1
	for 2*power <= heads {
		power *= 2
	}
	out := make([]float64, heads)
	for i := range out {
		if i < power {
			out[i] = math.Pow(2, -8*float64(i+1)/float64(power))
		} else {
			out[i] = math.Pow(2, -4*float64(2*(i-power)+1)/float64(power))
		}
	}
	return out
}

// penalty is slope times the position of a key, [1, heads, 1, tokens]: what a query's own position would add is the same for all
// keys, which the softmax does not see.
func (n *net) penalty(slopes []float64) *graph.Value {
	if slopes == nil {
		return nil
	}
	if n.alibi != nil {
		return n.alibi
	}
	n.Root(func() {
		n.at("alibi", func() {
			f := make([]float32, len(slopes))
			for i, s := range slopes {
				f[i] = float32(s)
			}
			n.alibi = n.Node("Mul", nil, n.Param("slopes", tensor.Of(tensor.Shape{1, len(f), 1, 1}, f)), n.Node("Cast", map[string]any{"to": int(tensor.Float32)}, n.row()))
		})
	})
	return n.alibi
}
