package calibrate

import (
	"math"
	"slices"
)

// histogramBins is the length of a histogram: half on each side of zero.
const histogramBins = 8192

// Histogram counts values in bins whose width is a power of two, on a grid through zero; zeros are counted apart. When a larger
// value comes, neighbours are joined and the width doubles. So the counts do not depend on the order of the values, and those of
// several runs, or machines, add up exactly.
type Histogram struct {
	Zeros int64
	// Exp is the logarithm of the bin width; Bins[i] counts values in [(i-n/2)*2^Exp, (i-n/2+1)*2^Exp). Nil while all are zero.
	Exp  int
	Bins []int64
}

// add counts finite values of a magnitude of at most most.
func (h *Histogram) add(x []float32, most float32) {
	h.cover(float64(most))
	if h.Bins == nil {
		h.Zeros += int64(len(x))
		return
	}
	inv := float32(math.Ldexp(1, -h.Exp)) // a power of two: the product is exact
	zeros := 0
	for _, v := range x {
		if v == 0 {
			zeros++
			continue
		}
		f := v * inv
		i := int(f)
		if f < float32(i) { // towards minus infinity
			i--
		}
		h.Bins[i+histogramBins/2]++
	}
	h.Zeros += int64(zeros)
}

// cover widens the bins until values up to most, in magnitude, have one.
func (h *Histogram) cover(most float64) {
	if most == 0 {
		return
	}
	_, e := math.Frexp(most) // most < 2^e
	exp := e - 12            // half the bins are 2^12
	exp = max(exp, minExp)
	if h.Bins == nil {
		h.Bins, h.Exp = make([]int64, histogramBins), exp
		return
	}
	for h.Exp < exp {
		h.coarsen()
	}
}

// The inverse of the bin width stays a float32, and no value needs wider bins than the largest exponent gives.
const minExp, maxExp = -126, 128 - 12

// coarsen doubles the bin width.
func (h *Histogram) coarsen() {
	const half = histogramBins / 2
	joined := make([]int64, histogramBins)
	for i, n := range h.Bins {
		if n != 0 {
			joined[(i-half)>>1+half] += n
		}
	}
	h.Bins = joined
	h.Exp++
}

// merge adds the counts of o, which stays as it is.
func (h *Histogram) merge(o *Histogram) {
	h.Zeros += o.Zeros
	if o.Bins == nil {
		return
	}
	other := Histogram{Exp: o.Exp, Bins: slices.Clone(o.Bins)}
	if h.Bins == nil {
		h.Bins, h.Exp = other.Bins, other.Exp
		return
	}
	for h.Exp < other.Exp {
		h.coarsen()
	}
	for other.Exp < h.Exp {
		other.coarsen()
	}
	for i, n := range other.Bins {
		h.Bins[i] += n
	}
}

// count returns the number of values.
func (h *Histogram) count() int64 {
	n := h.Zeros
	for _, k := range h.Bins {
		n += k
	}
	return n
}

// reach returns the edges between which the values lie.
func (h *Histogram) reach() (lo, hi float64) {
	for i, n := range h.Bins {
		if n > 0 {
			lo, hi = min(lo, h.edge(i)), max(hi, h.edge(i+1))
		}
	}
	return lo, hi
}

// width returns the bin width.
func (h *Histogram) width() float64 { return math.Ldexp(1, h.Exp) }

// edge returns the lower edge of bin i.
func (h *Histogram) edge(i int) float64 { return float64(i-histogramBins/2) * h.width() }
