package calibrate

import "math"

// The entropy calibrator follows Migacz, "8-bit Inference with TensorRT" (2017): the clipping window around zero whose histogram
// loses least, by Kullback-Leibler divergence, when it is reduced to the codes that there are. The window ends where the values
// end, so that what has one sign, as behind a Relu, is measured with all codes and not with half of them; zeros, which have a
// code of their own, do not count. entropySteps is the number of windows that are tried.
const entropySteps = 256

// entropy searches windows [-t, t] within [least, most].
func (h *Histogram) entropy(least, most float64, levels int) (lo, hi float64) {
	w, half := h.width(), len(h.Bins)/2
	hist := make([]float64, len(h.Bins))
	for i, c := range h.Bins {
		hist[i] = float64(c)
	}
	reach := max(-least, most)
	bin := func(x float64) int { return int(math.Ceil(x/w - 1e-9)) }
	lo, hi = least, most
	best := math.Inf(1)
	for i := 1; i <= entropySteps; i++ {
		t := reach * float64(i) / entropySteps
		a, b := max(-t, least), min(t, most)
		from, to := half-bin(-a), half+max(bin(b), 1)
		if to-from < levels && i < entropySteps {
			continue
		}
		if d := divergence(hist, from, to, levels); d < best {
			best, lo, hi = d, a, b
		}
	}
	return lo, hi
}

// divergence is that of hist[from:to], outliers added to its ends, from its reduction to levels.
func divergence(hist []float64, from, to, levels int) float64 {
	window := hist[from:to]
	p := append([]float64(nil), window...)
	for _, v := range hist[:from] {
		p[0] += v
	}
	for _, v := range hist[to:] {
		p[len(p)-1] += v
	}
	q := make([]float64, len(window))
	for k := range levels {
		a, b := k*len(window)/levels, (k+1)*len(window)/levels
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
