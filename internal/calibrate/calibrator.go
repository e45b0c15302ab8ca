package calibrate

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Methods lists the ways to turn statistics into a range, the default first.
var Methods = []string{"mse", "minmax", "moving_average", "percentile", "entropy"}

// Calibrator turns the statistics of a value into the range that its codes cover.
type Calibrator struct {
	Method     string
	Percentile float64 // of values inside the range, such as 99.999; for the method percentile
	Levels     int     // codes that the range is divided into; for the methods mse and entropy
	Symmetric  bool    // codes are symmetric around zero; for the method mse
}

// Check reports an unknown method or a percentile that is none.
func (c Calibrator) Check() error {
	if !slices.Contains(Methods, c.Method) {
		return fmt.Errorf("want one of %s, got %q", strings.Join(Methods, ", "), c.Method)
	}
	if c.Method == "percentile" && (c.Percentile <= 50 || c.Percentile > 100) {
		return fmt.Errorf("percentile: want more than 50 and at most 100, got %v", c.Percentile)
	}
	return nil
}

// Range returns the range of a value. It never reaches beyond what was seen; it is empty for a value that was always zero.
func (c Calibrator) Range(s *Stats) (lo, hi float32) {
	if s.Count == 0 || s.All.empty() {
		return s.Min, s.Max
	}
	l, h := float64(s.Min), float64(s.Max)
	switch c.Method {
	case "moving_average":
		l, h = -s.Low.expected(averagedSamples), s.High.expected(averagedSamples)
	case "percentile":
		l, h = s.All.percentile(c.Percentile)
	case "entropy":
		l, h = s.All.entropy(min(l, 0), max(h, 0), max(c.Levels, 2))
	case "mse":
		felt := &s.All
		if s.Felt != nil && !s.Felt.empty() {
			felt = s.Felt
			from, to := felt.reach()
			l, h = max(l, from), min(h, to)
		}
		l, h = felt.leastError(min(l, 0), max(h, 0), c.Levels, c.Symmetric)
	}
	l, h = max(l, float64(s.Min)), min(h, float64(s.Max))
	if !(l <= h) { // statistics that no samples have
		return s.Min, s.Max
	}
	return float32(l), float32(h)
}

// Joint returns the one range of values that share their codes.
func (c Calibrator) Joint(values []*Stats) (lo, hi float32) {
	if c.Method == "moving_average" || len(values) == 1 { // a sample's extreme over several values is not kept
		for i, s := range values {
			l, h := c.Range(s)
			if i == 0 {
				lo, hi = l, h
			}
			lo, hi = min(lo, l), max(hi, h)
		}
		return lo, hi
	}
	var all Stats
	for _, s := range values {
		if s.Felt == nil {
			t := *s
			t.Felt = &t.All
			s = &t
		}
		all.Merge(s)
	}
	return c.Range(&all)
}

// averagedSamples is the batch over which the method moving_average takes extremes before it averages them: its range is the one
// that a random batch of so many samples has on average. So it does not depend on the order of the samples, nor on how many are
// run at once.
const averagedSamples = 32

// percentile cuts (100-p)/2 percent of the values off each side.
func (h *Histogram) percentile(p float64) (lo, hi float64) {
	cut := (100 - p) / 200
	total := float64(h.count())
	lo, hi = h.edge(0), h.edge(histogramBins)
	sum, low := 0.0, false
	for i, n := range h.bins() {
		if i == histogramBins/2 {
			n += h.Zeros
		}
		sum += float64(n)
		if !low && sum/total >= cut && n > 0 {
			lo, low = h.edge(i), true
		}
		if sum/total >= 1-cut {
			hi = h.edge(i + 1)
			break
		}
	}
	return lo, hi
}

// errorPower is the power of errors that leastError sums. Two would suit errors that are independent of each other, as those of
// rounding are. Those of clipping have one sign and come side by side, so that they add up in the sums of what follows; a power
// above two weighs them more, as do Wei et al., "MQBench" (2021), whose value this is.
const errorPower = 2.4

// leastError searches, within [least, most], the range that loses least when values are rounded to levels codes: a value inside
// is off by up to half a step, one outside by what is clipped. Zeros have a code of their own and lose nothing.
func (h *Histogram) leastError(least, most float64, levels int, symmetric bool) (lo, hi float64) {
	const steps = 128
	bins, w := h.bins(), h.width()
	n := len(bins)
	// power[k] is the error of a value in the middle of the k-th bin beyond the range.
	power := make([]float64, n)
	for k := range power {
		power[k] = math.Pow((float64(k)+0.5)*w, errorPower)
	}
	total := float64(h.count() - h.Zeros)
	type end struct{ at, cut, loss float64 } // values cut off there, and what they lose
	ends := func(limit float64, up bool) []end {
		var out []end
		before := -1
		for i := 1; i <= steps; i++ {
			inside := int(math.Ceil(math.Abs(limit)*float64(i)/steps/w - 1e-9)) // bins of this side that the range covers
			if inside == before {
				continue
			}
			before = inside
			e := end{at: math.Copysign(min(float64(inside)*w, math.Abs(limit)), limit)}
			for k := inside; k < n/2; k++ {
				c := float64(0)
				if up {
					c = float64(bins[n/2+k])
				} else {
					c = float64(bins[n/2-1-k])
				}
				e.cut += c
				e.loss += c * power[k-inside]
			}
			out = append(out, e)
		}
		return out
	}
	lows, highs := []end{{}}, []end{{}}
	if least < 0 {
		lows = ends(least, false)
	}
	if most > 0 {
		highs = ends(most, true)
	}
	best := math.Inf(1)
	try := func(a, b end, lo2, hi2 float64) {
		step := (hi2 - lo2) / float64(levels-1)
		loss := a.loss + b.loss + (total-a.cut-b.cut)*math.Pow(step/2, errorPower)/(errorPower+1)
		if loss < best {
			best, lo, hi = loss, lo2, hi2
		}
	}
	if symmetric {
		amax := max(-least, most)
		ls, hs := ends(-amax, false), ends(amax, true)
		for i := range hs {
			try(ls[i], hs[i], -hs[i].at, hs[i].at)
		}
		return lo, hi
	}
	for _, a := range lows {
		for _, b := range highs {
			if b.at > a.at {
				try(a, b, a.at, b.at)
			}
		}
	}
	return lo, hi
}
