//go:build !purego

package kernel

import "github.com/neurotrain/neuroquant/internal/impl"

var useFitAVX512, useFitAVX2 bool

func init() {
	impl.Register("fit", impl.AVX512, &useFitAVX512)
	impl.Register("fit", impl.AVX2, &useFitAVX2)
}

// fitValues is the most values a group can have for the assembly, whose room is limited.
const fitValues = 32

// fitBits are those of 1.5*2^23: the bits of a code's bound are these plus the bound.
const fitBits = 0x4b400000

// fitState is what a search keeps between its steps, one value a group, and room for the codes; the assembly knows the layout. Its
// parts are FitLanes values each.
type fitState [(8 + 2*fitValues) * FitLanes]float32

// part returns a part of the state: of the affine search 0 is the least value and 5 the scale, of the symmetric one 0 is the largest
// magnitude and 5 the scale.
func (st *fitState) part(i int) *[FitLanes]float32 {
	return (*[FitLanes]float32)(st[i*FitLanes:])
}

func fitAffineVector(s *AffineSearch, n int, scale, low *[FitLanes]float32, codes []uint8, x, w []float32) bool {
	if n > fitValues || len(s.Steps) == 0 || !useFitAVX512 && !useFitAVX2 {
		return false
	}
	var st fitState
	top := uint32(fitBits + int(s.Max))
	switch steps := &s.Steps[0]; {
	case useFitAVX512 && s.Absolute:
		fitAffineAbsoluteAVX512(&st[0], n, &x[0], &w[0], steps, len(s.Steps), s.Max, fitBits, top, &codes[0])
	case useFitAVX512:
		fitAffineAVX512(&st[0], n, &x[0], &w[0], steps, len(s.Steps), s.Max, fitBits, top, &codes[0])
	case s.Absolute:
		fitAffineAbsoluteAVX2(&st[0], n, &x[0], &w[0], steps, len(s.Steps), s.Max, fitBits, top, &codes[0])
		fitAffineAbsoluteAVX2(&st[8], n, &x[8], &w[8], steps, len(s.Steps), s.Max, fitBits, top, &codes[8])
	default:
		fitAffineAVX2(&st[0], n, &x[0], &w[0], steps, len(s.Steps), s.Max, fitBits, top, &codes[0])
		fitAffineAVX2(&st[8], n, &x[8], &w[8], steps, len(s.Steps), s.Max, fitBits, top, &codes[8])
	}
	*scale = *st.part(5)
	for g, v := range st.part(0) {
		low[g] = -v
	}
	return true
}

func fitSymmetricVector(s *SymmetricSearch, n int, scale *[FitLanes]float32, codes []uint8, x, w []float32) bool {
	if n > fitValues || len(s.Steps) == 0 || !useFitAVX512 && !useFitAVX2 {
		return false
	}
	var st fitState
	bottom, top := uint32(fitBits-int(s.Max)), uint32(fitBits+int(s.Max)-1)
	var w0, w8 *float32
	if w != nil {
		w0, w8 = &w[0], &w[8]
	}
	if useFitAVX512 {
		fitSymmetricAVX512(&st[0], n, &x[0], w0, &s.Steps[0], len(s.Steps), bottom, top, &codes[0])
	} else {
		fitSymmetricAVX2(&st[0], n, &x[0], w0, &s.Steps[0], len(s.Steps), bottom, top, &codes[0])
		fitSymmetricAVX2(&st[8], n, &x[8], w8, &s.Steps[0], len(s.Steps), bottom, top, &codes[8])
	}
	*scale = *st.part(5)
	for g, m := range st.part(0) {
		if m < fitEpsilon {
			scale[g] = 0
			for i := range n {
				codes[i*FitLanes+g] = 0
			}
		}
	}
	return true
}

func someDeviations(n int, w, x []float32) int {
	switch {
	case n == 0:
	case useFitAVX512:
		fitDeviationsAVX512(n, &w[0], &x[0], float32(n))
		return FitLanes
	case useFitAVX2:
		fitDeviationsAVX2(n, &w[0], &x[0], float32(n))
		fitDeviationsAVX2(n, &w[8], &x[8], float32(n))
		return FitLanes
	}
	return 0
}

func someRequantize(codes []uint8, x []float32, d, m float32, least, most int) int {
	lo, hi := uint32(fitBits+least), uint32(fitBits+most)
	switch n := len(codes); {
	case useFitAVX512 && n >= 16:
		requantizeAVX512(n/16, &codes[0], &x[0], d, m, lo, hi)
		return n &^ 15
	case useFitAVX2 && n >= 8:
		requantizeAVX2(n/8, &codes[0], &x[0], d, m, lo, hi)
		return n &^ 7
	}
	return 0
}

func largestCodesVector(codes []uint8, scales, x []float32, half float32) bool {
	switch n := len(x) / 32; {
	case n == 0:
		return false
	case useFitAVX512:
		largestCodesAVX512(n, &codes[0], &scales[0], &x[0], -half, half+0.5, int32(2*half)-1)
	case useFitAVX2:
		largestCodesAVX2(n, &codes[0], &scales[0], &x[0], -half, half+0.5, int32(2*half)-1)
	default:
		return false
	}
	return true
}

func rangeCodesVector(codes []uint8, scales, lows, x []float32, most float32) bool {
	switch n := len(x) / 32; {
	case n == 0:
		return false
	case useFitAVX512:
		rangeCodesAVX512(n, &codes[0], &scales[0], &lows[0], &x[0], most, int32(most))
	case useFitAVX2:
		rangeCodesAVX2(n, &codes[0], &scales[0], &lows[0], &x[0], most, int32(most))
	default:
		return false
	}
	return true
}

func roundedCodesVector(codes []uint8, scales, x []float32) bool {
	switch n := len(x) / 32; {
	case n == 0:
		return false
	case useFitAVX512:
		roundedCodesAVX512(n, &codes[0], &scales[0], &x[0])
	case useFitAVX2:
		roundedCodesAVX2(n, &codes[0], &scales[0], &x[0])
	default:
		return false
	}
	return true
}

func someLargestBits(x []float32) (bits uint32, n int) {
	switch n = len(x); {
	case useFitAVX512 && n >= 32:
		n &^= 31
		return largestBitsAVX512(n/32, &x[0]), n
	case useFitAVX2 && n >= 16:
		n &^= 15
		return largestBitsAVX2(n/16, &x[0]), n
	}
	return 0, 0
}
