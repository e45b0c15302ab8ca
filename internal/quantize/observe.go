package quantize

import (
	"fmt"
	"math"
)

// histogramBins is the length of a value's histogram: half on each side of zero.
const histogramBins = 8192

// Stats summarizes what a value was during calibration, in memory that does not grow with the data. Bins have a width that is a
// power of two and lie on a grid through zero; when a larger value comes, neighbours are joined. So the result does not depend
// on the order of the samples, and statistics of several runs, or machines, merge exactly.
type Stats struct {
	Min   float32 `json:"min"`
	Max   float32 `json:"max"`
	Count int64   `json:"count"` // values seen
	// NonFinite counts NaN and infinite values, which are left out.
	NonFinite int64 `json:"non_finite,omitempty"`
	// SumMin and SumMax add up the extremes of each call, Calls of them: their means are the moving-average range.
	SumMin float64 `json:"sum_min"`
	SumMax float64 `json:"sum_max"`
	Calls  int64   `json:"calls"`
	// Exp is the logarithm of the bin width; Bins[i] counts values in [(i-n/2)*2^Exp, (i-n/2+1)*2^Exp). Nil while all are zero.
	Exp  int     `json:"exp"`
	Bins []int64 `json:"bins,omitempty"`
	// Zeros counts exact zeros seen before there was a bin width.
	Zeros int64 `json:"zeros,omitempty"`
}

// Add counts the values of one call.
func (s *Stats) Add(x []float32) {
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	finite := 0
	for _, v := range x {
		if v-v != 0 {
			s.NonFinite++
			continue
		}
		finite++
		lo, hi = min(lo, v), max(hi, v)
	}
	if finite == 0 {
		return
	}
	if s.Count == 0 {
		s.Min, s.Max = lo, hi
	}
	s.Min, s.Max = min(s.Min, lo), max(s.Max, hi)
	s.Count += int64(finite)
	s.SumMin += float64(lo)
	s.SumMax += float64(hi)
	s.Calls++
	s.cover(max(-float64(lo), float64(hi)))
	if s.Bins == nil {
		s.Zeros += int64(finite)
		return
	}
	inv := float32(math.Ldexp(1, -s.Exp)) // a power of two: the product is exact
	for _, v := range x {
		if v-v != 0 {
			continue
		}
		f := v * inv
		i := int(f)
		if f < float32(i) { // towards minus infinity
			i--
		}
		s.Bins[i+histogramBins/2]++
	}
}

// cover widens the bins until values up to most, in magnitude, have one.
func (s *Stats) cover(most float64) {
	if most == 0 {
		return
	}
	_, e := math.Frexp(most) // most < 2^e
	exp := e - 12            // half the bins are 2^12
	exp = max(exp, -126)     // the inverse stays a float32
	if s.Bins == nil {
		s.Bins = make([]int64, histogramBins)
		s.Exp = exp
		s.Bins[histogramBins/2] = s.Zeros
		s.Zeros = 0
		return
	}
	for s.Exp < exp {
		s.coarsen()
	}
}

// coarsen doubles the bin width.
func (s *Stats) coarsen() {
	const half = histogramBins / 2
	joined := make([]int64, histogramBins)
	for i, n := range s.Bins {
		if n != 0 {
			joined[(i-half)>>1+half] += n
		}
	}
	s.Bins = joined
	s.Exp++
}

// Merge adds what o saw.
func (s *Stats) Merge(o *Stats) error {
	if o.Bins != nil && len(o.Bins) != histogramBins {
		return fmt.Errorf("statistics have %d bins, want %d", len(o.Bins), histogramBins)
	}
	if o.Count > 0 {
		if s.Count == 0 {
			s.Min, s.Max = o.Min, o.Max
		}
		s.Min, s.Max = min(s.Min, o.Min), max(s.Max, o.Max)
	}
	s.Count += o.Count
	s.NonFinite += o.NonFinite
	s.SumMin += o.SumMin
	s.SumMax += o.SumMax
	s.Calls += o.Calls
	if o.Bins == nil {
		if s.Bins != nil {
			s.Bins[histogramBins/2] += o.Zeros
		} else {
			s.Zeros += o.Zeros
		}
		return nil
	}
	other := *o
	other.Bins = append([]int64(nil), o.Bins...)
	if s.Bins == nil {
		s.Bins, s.Exp = make([]int64, histogramBins), other.Exp
		s.Bins[histogramBins/2] = s.Zeros
		s.Zeros = 0
	}
	for s.Exp < other.Exp {
		s.coarsen()
	}
	for other.Exp < s.Exp {
		other.coarsen()
	}
	for i, n := range other.Bins {
		s.Bins[i] += n
	}
	return nil
}

// width returns the bin width.
func (s *Stats) width() float64 { return math.Ldexp(1, s.Exp) }

// edge returns the lower edge of bin i.
func (s *Stats) edge(i int) float64 { return float64(i-histogramBins/2) * s.width() }
