package calibrate

import "math"

// histogramBins is the length of a histogram: half on each side of zero.
const histogramBins = 8192

// Histogram counts values in bins whose width is a power of two, on a grid through zero; zeros are counted apart. When a larger
// value comes, neighbours are joined and the width doubles. So the counts do not depend on the order of the values, and those of
// several runs, or machines, add up exactly.
type Histogram struct {
	Zeros int64
	// Exp is the logarithm of the bin width; bin i holds values in [(i-n/2)*2^Exp, (i-n/2+1)*2^Exp).
	Exp int
	// Counts are those of the bins modulo 2^32, nil while all values are zero; Overflow says how often a bin has run over.
	Counts   []uint32
	Overflow map[int]int64
}

// empty reports whether all values were zero.
func (h *Histogram) empty() bool { return h.Counts == nil }

// at returns the count of bin i.
func (h *Histogram) at(i int) int64 { return int64(h.Counts[i]) + h.Overflow[i]<<32 }

// set replaces the count of bin i.
func (h *Histogram) set(i int, n int64) {
	h.Counts[i] = uint32(n)
	if n>>32 == 0 {
		delete(h.Overflow, i)
		return
	}
	if h.Overflow == nil {
		h.Overflow = map[int]int64{}
	}
	h.Overflow[i] = n >> 32
}

// bins returns the counts of all bins, none while the histogram is empty.
func (h *Histogram) bins() []int64 {
	out := make([]int64, len(h.Counts))
	for i, n := range h.Counts {
		out[i] = int64(n)
	}
	for i, n := range h.Overflow {
		out[i] += n << 32
	}
	return out
}

// add counts finite values of a magnitude of at most most.
func (h *Histogram) add(x []float32, most float32) {
	h.cover(float64(most))
	if h.empty() {
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
		i += histogramBins / 2
		if h.Counts[i]++; h.Counts[i] == 0 {
			h.set(i, (h.Overflow[i]+1)<<32)
		}
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
	if h.empty() {
		h.Counts, h.Exp = make([]uint32, histogramBins), exp
		return
	}
	for h.Exp < exp {
		h.coarsen()
	}
}

// The inverse of the bin width stays a float32, and no value needs wider bins than the largest exponent gives.
const minExp, maxExp = -126, 128 - 12

// coarsen doubles the bin width, from zero outwards.
func (h *Histogram) coarsen() {
	const half = histogramBins / 2
	for i := range half {
		up, down := int64(0), int64(0)
		if i < half/2 {
			up, down = h.at(half+2*i)+h.at(half+2*i+1), h.at(half-1-2*i)+h.at(half-2-2*i)
		}
		h.set(half+i, up)
		h.set(half-1-i, down)
	}
	h.Exp++
}

// merge adds the counts of o, which stays as it is.
func (h *Histogram) merge(o *Histogram) {
	h.Zeros += o.Zeros
	if o.empty() {
		return
	}
	if h.empty() {
		h.Counts, h.Exp = make([]uint32, histogramBins), o.Exp
	}
	for h.Exp < o.Exp {
		h.coarsen()
	}
	for i := range o.Counts {
		if n := o.at(i); n > 0 {
			at := (i-histogramBins/2)>>(h.Exp-o.Exp) + histogramBins/2
			h.set(at, h.at(at)+n)
		}
	}
}

// count returns the number of values.
func (h *Histogram) count() int64 {
	n := h.Zeros
	for _, k := range h.bins() {
		n += k
	}
	return n
}

// reach returns the edges between which the values lie.
func (h *Histogram) reach() (lo, hi float64) {
	for i, n := range h.bins() {
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
