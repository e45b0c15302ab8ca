package calibrate

import "math"

// The entropy calibrator follows Migacz, "8-bit Inference with TensorRT" (2017), in the two-sided form of ONNX Runtime's tool:
// the clipping window around zero whose histogram loses least, by Kullback-Leibler divergence, when it is reduced to 128 levels.
const (
	entropyBins   = 2048
	entropyLevels = 128
)

// entropy searches the window in [-most, most].
func (h *Histogram) entropy(most float64) (lo, hi float64) {
	// The grid may reach up to twice beyond the data: 2048 bins over the data keep the resolution that the method supposes.
	n := entropyBins
	hist := make([]float64, n)
	for i, c := range h.Bins {
		if c == 0 {
			continue
		}
		x := (h.edge(i) + h.edge(i+1)) / 2
		hist[min(max(int((x/most+1)/2*float64(n)), 0), n-1)] += float64(c)
	}
	zero := n / 2
	hist[zero] += float64(h.Zeros)
	width := 2 * most / float64(n)
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
