package quantize

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Calibrators lists the ways to turn statistics into a range, the default first.
var Calibrators = []string{"mse", "minmax", "moving_average", "percentile", "entropy"}

// Calibrator turns the statistics of a value into the range that its codes cover.
type Calibrator struct {
	Method     string
	Percentile float64 // of values inside the range, such as 99.999; for the method percentile
	Levels     int     // codes that the range is divided into; for the method mse
	Symmetric  bool    // codes are symmetric around zero; for the method mse
}

// Check reports an unknown method or a percentile that is none.
func (c Calibrator) Check() error {
	if !slices.Contains(Calibrators, c.Method) {
		return fmt.Errorf("want one of %s, got %q", strings.Join(Calibrators, ", "), c.Method)
	}
	if c.Method == "percentile" && (c.Percentile <= 50 || c.Percentile > 100) {
		return fmt.Errorf("percentile: want more than 50 and at most 100, got %v", c.Percentile)
	}
	return nil
}

// Range returns the range for a value. It never reaches beyond what was seen; it is empty for a value that was always zero.
func (c Calibrator) Range(s *Stats) (lo, hi float32) {
	if s.Count == 0 || s.Bins == nil {
		return s.Min, s.Max
	}
	l, h := float64(s.Min), float64(s.Max)
	switch c.Method {
	case "moving_average":
		l, h = s.SumMin/float64(s.Calls), s.SumMax/float64(s.Calls)
	case "percentile":
		l, h = s.percentile(c.Percentile)
	case "entropy":
		l, h = s.entropy()
	case "mse":
		l, h = s.leastSquares(c.Levels, c.Symmetric)
	}
	return float32(max(l, float64(s.Min))), float32(min(h, float64(s.Max)))
}

// percentile cuts (100-p)/2 percent of the values off each side.
func (s *Stats) percentile(p float64) (lo, hi float64) {
	cut := (100 - p) / 200
	total := float64(s.Count)
	lo, hi = s.edge(0), s.edge(histogramBins)
	sum, low := 0.0, false
	for i, n := range s.Bins {
		sum += float64(n)
		if !low && sum/total >= cut && n > 0 {
			lo, low = s.edge(i), true
		}
		if sum/total >= 1-cut {
			hi = s.edge(i + 1)
			break
		}
	}
	return lo, hi
}

// The entropy calibrator follows Migacz, "8-bit Inference with TensorRT" (2017), in the two-sided form of ONNX Runtime's tool:
// the clipping window around zero whose histogram loses least, by Kullback-Leibler divergence, when it is reduced to 128 levels.
const (
	entropyBins   = 2048
	entropyLevels = 128
)

func (s *Stats) entropy() (lo, hi float64) {
	// The grid may reach up to twice beyond the data: 2048 bins over the data keep the resolution that the method supposes.
	most := max(-float64(s.Min), float64(s.Max))
	n := entropyBins
	hist := make([]float64, n)
	for i, c := range s.Bins {
		if c == 0 {
			continue
		}
		x := (s.edge(i) + s.edge(i+1)) / 2
		hist[min(max(int((x/most+1)/2*float64(n)), 0), n-1)] += float64(c)
	}
	width := 2 * most / float64(n)
	zero := n / 2
	best, bestAt := math.Inf(1), zero
	for i := entropyLevels / 2; i <= zero; i++ {
		from, to := zero-i, min(zero+i+1, n)
		if d := divergence(hist, from, to); d < best {
			best, bestAt = d, i
		}
	}
	return -float64(bestAt) * width, float64(min(bestAt+1, zero)) * width
}

// divergence is that of hist[from:to], outliers added to its ends, from its reduction to entropyLevels levels.
func divergence(hist []float64, from, to int) float64 {
	window := hist[from:to]
	p := append([]float64(nil), window...)
	for _, v := range hist[:from] {
		p[0] += v
	}
	for _, v := range hist[to:] {
		p[len(p)-1] += v
	}
	q := make([]float64, len(window))
	per := len(window) / entropyLevels
	for k := range entropyLevels {
		a, b := k*per, (k+1)*per
		if k == entropyLevels-1 {
			b = len(window)
		}
		sum, filled := 0.0, 0
		for i := a; i < b; i++ {
			sum += window[i]
			if p[i] != 0 {
				filled++
			}
		}
		for i := a; i < b && filled > 0; i++ {
			if p[i] != 0 {
				q[i] = sum / float64(filled)
			}
		}
	}
	if !smooth(p) || !smooth(q) {
		return math.Inf(1)
	}
	sp, sq := 0.0, 0.0
	for i := range p {
		sp += p[i]
		sq += q[i]
	}
	d := 0.0
	for i := range p {
		if p[i] > 0 {
			d += p[i] / sp * math.Log(p[i]/sp/(q[i]/sq))
		}
	}
	return d
}

// smooth takes a little from full bins and gives it to empty ones, so that no ratio is infinite.
func smooth(p []float64) bool {
	const eps = 1e-4
	zeros, full := 0, 0
	for _, v := range p {
		if v == 0 {
			zeros++
		} else {
			full++
		}
	}
	if full == 0 {
		return false
	}
	take := eps * float64(zeros) / float64(full)
	if take >= 1 {
		return false
	}
	for i, v := range p {
		if v == 0 {
			p[i] = eps
		} else {
			p[i] = v - take
		}
	}
	return true
}

// leastSquares searches the range that loses least in the mean square: values inside lose a twelfth of the squared step,
// values outside what is clipped. Running sums over the bins make a candidate cost two look-ups.
func (s *Stats) leastSquares(levels int, symmetric bool) (lo, hi float64) {
	n := len(s.Bins)
	// below[i] holds count, sum and sum of squares of the bins before i, taken at their centres.
	type moments struct{ c, x, xx float64 }
	below := make([]moments, n+1)
	for i, k := range s.Bins {
		c := float64(k)
		x := (s.edge(i) + s.edge(i+1)) / 2
		below[i+1] = moments{below[i].c + c, below[i].x + c*x, below[i].xx + c*x*x}
	}
	all := below[n]
	bin := func(v float64) int { return min(max(int(math.Floor(v/s.width()))+n/2, 0), n) }
	loss := func(lo, hi float64) float64 {
		a, b := below[bin(lo)], below[min(bin(hi)+1, n)]
		under := a.xx - 2*lo*a.x + lo*lo*a.c
		over := all.xx - b.xx - 2*hi*(all.x-b.x) + hi*hi*(all.c-b.c)
		step := (hi - lo) / float64(levels-1)
		return under + over + (b.c-a.c)*step*step/12
	}
	const steps = 64
	least, most := min(float64(s.Min), 0), max(float64(s.Max), 0)
	if symmetric {
		amax := max(-least, most)
		best, at := math.Inf(1), amax
		for i := 1; i <= 4*steps; i++ {
			a := amax * float64(i) / (4 * steps)
			if l := loss(-a, a); l < best {
				best, at = l, a
			}
		}
		return -at, at
	}
	best := math.Inf(1)
	lo, hi = least, most
	for i := 1; i <= steps; i++ {
		for j := 1; j <= steps; j++ {
			a, b := least*float64(i)/steps, most*float64(j)/steps
			if l := loss(a, b); b > a && l < best {
				best, lo, hi = l, a, b
			}
		}
	}
	return lo, hi
}
