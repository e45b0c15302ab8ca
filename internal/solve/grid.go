package solve

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

const lanes = kernel.SolveLanes

// The search for a range that loses least looks at shares of the whole one, from 1 down in hundredths.
const (
	gridSteps   = 100
	gridSmaller = 80
)

// fit sets g to the grid for the columns of a tile: the whole range of each row, with 0 in it, or the part of it that loses least by the norm.
func (o *GPTQOptions) fit(g *kernel.Grid, w []float32) {
	var lo, hi [lanes]float32
	for c := 0; c < len(w); c += lanes {
		col := w[c : c+lanes : c+lanes]
		for l, v := range col {
			if v < lo[l] {
				lo[l] = v
			}
			if v > hi[l] {
				hi[l] = v
			}
		}
	}
	for l := range lanes {
		if lo[l] == 0 && hi[l] == 0 {
			lo[l], hi[l] = -1, 1
		}
		if o.Symmetric {
			hi[l] = max(hi[l], -lo[l])
			lo[l] = -hi[l]
		}
	}
	o.ranged(g, &lo, &hi, 1)
	if o.Norm == 0 {
		return
	}
	var least, sums [lanes]float32
	kernel.GridErrors(w, len(w)/lanes, g, float32(o.Norm), &least)
	best := *g
	for i := 1; i < gridSmaller; i++ {
		o.ranged(g, &lo, &hi, float32(1-float64(i)/gridSteps))
		kernel.GridErrors(w, len(w)/lanes, g, float32(o.Norm), &sums)
		for l, s := range sums {
			if s < least[l] {
				least[l], best.Scale[l], best.Zero[l] = s, g.Scale[l], g.Zero[l]
			}
		}
	}
	*g = best
}

// ranged sets g to the grids over share*lo to share*hi, with scales as they will be stored.
func (o *GPTQOptions) ranged(g *kernel.Grid, lo, hi *[lanes]float32, share float32) {
	g.Most = float32(int(1)<<o.Bits - 1)
	for l := range lanes {
		g.Scale[l] = (share*hi[l] - share*lo[l]) / g.Most
	}
	storable(g.Scale[:], o.ScaleType)
	for l := range lanes {
		if o.Symmetric {
			g.Zero[l] = (g.Most + 1) / 2
			continue
		}
		z := float32(math.RoundToEven(float64(-share * lo[l] / g.Scale[l])))
		g.Zero[l] = min(max(z, float32(o.LeastZero)), g.Most)
	}
}

// storable rounds at most as many scales as a tile has rows to the type of the file, and those that would be 0 to the least number that it has.
func storable(scales []float32, t tensor.DType) {
	var bits [lanes]uint16
	least := float32(math.SmallestNonzeroFloat32)
	switch t {
	case tensor.Float16:
		kernel.F32ToF16(bits[:len(scales)], scales)
		kernel.F16ToF32(scales, bits[:len(scales)])
		least = 0x1p-24
	case tensor.BFloat16:
		kernel.F32ToBF16(bits[:len(scales)], scales)
		kernel.BF16ToF32(scales, bits[:len(scales)])
	}
	for i, s := range scales {
		scales[i] = max(s, least)
	}
}
