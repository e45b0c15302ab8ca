package kernel

import "math"

// FitLanes is the number of groups that are fitted at once. Value i of group g is at index i*FitLanes+g: groups lie side by side, so
// that one vector instruction does the same step of all of them, and each sum is taken in the order that a loop over one group has.
const FitLanes = 16

// fitEpsilon is the magnitude below which a group counts as zero.
const fitEpsilon = 1e-15

// AffineSearch says how [FitAffine] looks for a scale and a minimum.
type AffineSearch struct {
	Max      float32   // largest code
	Steps    []float32 // ranges of codes to try after Max itself
	Absolute bool      // errors count by magnitude, not squared
}

// FitAffine finds scale and low of each group such that x is near scale*code - low with codes from 0 to s.Max, low not negative; errors
// are weighted by w. It tries the rounding that each range of codes gives, fits scale and low to the codes by least squares, and keeps
// the best. The codes of group g of value i are at [i*FitLanes+g]. x, w and codes hold n values a group. The arithmetic is that of
// make_qkx2_quants in ggml-quants.c (github.com/ggml-org/ggml), bit for bit.
func FitAffine(s *AffineSearch, n int, scale, low *[FitLanes]float32, codes []uint8, x, w []float32) {
	x, w, codes = x[:n*FitLanes], w[:n*FitLanes], codes[:n*FitLanes]
	if n == 0 || fitAffineVector(s, n, scale, low, codes, x, w) {
		return
	}
	for g := range FitLanes {
		scale[g], low[g] = fitAffine(s, n, g, codes, x, w)
	}
}

func fitAffine(s *AffineSearch, n, g int, codes []uint8, x, w []float32) (scale, low float32) {
	least, most := x[g], x[g]
	sumW := w[g]
	sumX := sumW * x[g]
	for i := g + FitLanes; i < n*FitLanes; i += FitLanes {
		if x[i] < least {
			least = x[i]
		}
		if x[i] > most {
			most = x[i]
		}
		sumW += w[i]
		sumX += float32(w[i] * x[i])
	}
	if least > 0 {
		least = 0
	}
	// What gives the codes of the best fit; they are written last.
	factor, origin := s.Max/(most-least), least
	write := func() {
		for i := g; i < n*FitLanes; i += FitLanes {
			codes[i] = uint8(min(max(Nearest(float32(factor*(x[i]-origin))), 0), int(s.Max)))
		}
	}
	if most <= least {
		for i := g; i < n*FitLanes; i += FitLanes {
			codes[i] = 0
		}
		return 0, -least
	}
	distance := func(d float32) float32 {
		if s.Absolute {
			return float32(math.Abs(float64(d)))
		}
		return float32(d * d)
	}
	scale = 1 / factor
	best := float32(0)
	for i := g; i < n*FitLanes; i += FitLanes {
		l := float32(min(max(Nearest(float32(factor*(x[i]-least))), 0), int(s.Max)))
		best += float32(w[i] * distance(float32(scale*l)+least-x[i]))
	}
	for _, step := range s.Steps {
		f := step / (most - least)
		var sumL, sumL2, sumXL float32
		for i := g; i < n*FitLanes; i += FitLanes {
			l := float32(min(max(Nearest(float32(f*(x[i]-least))), 0), int(s.Max)))
			wl := float32(w[i] * l)
			sumL += wl
			sumL2 += float32(wl * l)
			sumXL += float32(wl * x[i])
		}
		det := float32(sumW*sumL2) - float32(sumL*sumL)
		if !(det > 0) {
			continue
		}
		sc := (float32(sumW*sumXL) - float32(sumX*sumL)) / det
		lo := (float32(sumL2*sumX) - float32(sumL*sumXL)) / det
		if lo > 0 {
			lo = 0
			sc = sumXL / sumL2
		}
		e := float32(0)
		for i := g; i < n*FitLanes; i += FitLanes {
			l := float32(min(max(Nearest(float32(f*(x[i]-least))), 0), int(s.Max)))
			e += float32(w[i] * distance(float32(sc*l)+lo-x[i]))
		}
		if e < best {
			best, scale = e, sc
			factor, origin = f, least
			least = lo
		}
	}
	write()
	return scale, -least
}

// SymmetricSearch says how [FitSymmetric] looks for a scale.
type SymmetricSearch struct {
	Max   float32   // codes are from -Max to Max-1
	Steps []float32 // what the value of the largest magnitude may be in units of the scale, the one to begin with first
}

// FitSymmetric finds the scale of each group such that x is near scale*(code-s.Max) with codes from 0 to 2*s.Max-1; errors are weighted
// by w, which is nil for the squares of x. A group of nothing but zeros has scale 0 and codes 0. The arithmetic is that of
// make_qx_quants in ggml-quants.c, bit for bit.
func FitSymmetric(s *SymmetricSearch, n int, scale *[FitLanes]float32, codes []uint8, x, w []float32) {
	x, codes = x[:n*FitLanes], codes[:n*FitLanes]
	if n == 0 || fitSymmetricVector(s, n, scale, codes, x, w) {
		return
	}
	for g := range FitLanes {
		scale[g] = FitSymmetricOne(s, n, g, FitLanes, codes, x, w)
	}
}

// FitSymmetricOne is [FitSymmetric] for one group, whose values are at from, from+stride and so on.
func FitSymmetricOne(s *SymmetricSearch, n, from, stride int, codes []uint8, x, w []float32) (scale float32) {
	end := from + n*stride
	largest := farthest(n, from, stride, x)
	if float32(math.Abs(float64(largest))) < fitEpsilon {
		for i := from; i < end; i += stride {
			codes[i] = 0
		}
		return 0
	}
	best := float32(0)
	factor := s.Steps[0] / largest
	for k, step := range s.Steps {
		f := step / largest
		var sumLX, sumL2 float32
		for i := from; i < end; i += stride {
			l := float32(min(max(Nearest(float32(f*x[i])), -int(s.Max)), int(s.Max)-1))
			weight := float32(x[i] * x[i])
			if w != nil {
				weight = w[i]
			}
			sumLX += float32(float32(weight*x[i]) * l)
			sumL2 += float32(float32(weight*l) * l)
		}
		switch {
		case k == 0:
			if sumL2 != 0 {
				scale = sumLX / sumL2
			}
			best = scale * sumLX
		case sumL2 > 0 && float32(sumLX*sumLX) > float32(best*sumL2):
			scale, factor = sumLX/sumL2, f
			best = scale * sumLX
		}
	}
	for i := from; i < end; i += stride {
		codes[i] = uint8(min(max(Nearest(float32(factor*x[i])), -int(s.Max)), int(s.Max)-1) + int(s.Max))
	}
	return scale
}

// farthest returns the first value of the largest magnitude; 0 if all are 0.
func farthest(n, from, stride int, x []float32) float32 {
	var largest, magnitude float32
	for i := from; i < from+n*stride; i += stride {
		if a := float32(math.Abs(float64(x[i]))); a > magnitude {
			largest, magnitude = x[i], a
		}
	}
	return largest
}

// FitSweeps finds the scale of each group such that x is near scale*(code-half) with codes from 0 to 2*half-1, errors weighted by the
// squares of x: from the codes that the value of the largest magnitude gives, up to five sweeps change one code at a time where that
// helps. The arithmetic is that of make_q3_quants in ggml-quants.c, bit for bit.
func FitSweeps(half float32, n int, scale *[FitLanes]float32, codes []uint8, x []float32) {
	x, codes = x[:n*FitLanes], codes[:n*FitLanes]
	for g := range FitLanes {
		scale[g] = fitSweeps(half, n, g, codes, x)
	}
}

func fitSweeps(half float32, n, g int, codes []uint8, x []float32) float32 {
	largest := farthest(n, g, FitLanes, x)
	if float32(math.Abs(float64(largest))) < fitEpsilon {
		for i := g; i < n*FitLanes; i += FitLanes {
			codes[i] = 0
		}
		return 0
	}
	h := int(half)
	factor := -half / largest
	var sumLX, sumL2 float32
	for i := g; i < n*FitLanes; i += FitLanes {
		c := min(max(Nearest(float32(factor*x[i])), -h), h-1)
		codes[i] = uint8(c + h)
		w, l := float32(x[i]*x[i]), float32(c)
		sumLX += float32(float32(w*x[i]) * l)
		sumL2 += float32(float32(w*l) * l)
	}
	for range 5 {
		changed := false
		for i := g; i < n*FitLanes; i += FitLanes {
			w, l := float32(x[i]*x[i]), float32(int(codes[i])-h)
			lx := sumLX - float32(float32(w*x[i])*l)
			if !(lx > 0) {
				continue
			}
			l2 := sumL2 - float32(float32(w*l)*l)
			c := min(max(Nearest(float32(x[i]*l2)/lx), -h), h-1)
			if c+h == int(codes[i]) {
				continue
			}
			l = float32(c)
			lx += float32(float32(w*x[i]) * l)
			l2 += float32(float32(w*l) * l)
			if l2 > 0 && float32(float32(lx*lx)*sumL2) > float32(float32(sumLX*sumLX)*l2) {
				codes[i], sumLX, sumL2, changed = uint8(c+h), lx, l2, true
			}
		}
		if !changed {
			break
		}
	}
	if sumL2 > 0 {
		return sumLX / sumL2
	}
	return 0
}

// Nearest rounds to the nearest integer, ties to even. It is meant for magnitudes up to 2^22; what it gives for others is defined, but
// of no use: the low bits of x + 1.5*2^23.
func Nearest(x float32) int {
	return int(math.Float32bits(x+12582912)&0x7fffff) - 0x400000
}
