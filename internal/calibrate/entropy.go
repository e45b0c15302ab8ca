package calibrate

import "math"

// The entropy calibrator follows Migacz, "8-bit Inference with TensorRT" (2017): the clipping window around zero whose histogram
// loses least, by Kullback-Leibler divergence, when it is reduced to the codes that there are. The window ends where the values
// end, so that what has one sign, as behind a Relu, is measured with all codes and not with half of them; zeros, which have a
// code of their own, do not count. entropySteps is the number of windows that are tried.
const entropySteps = 256

// entropy searches windows [-t, t] within [least, most].
func (h *Histogram) entropy(least, most float64, levels int) (lo, hi float64) {
	w, half := h.width(), histogramBins/2
	sums := newEntropySums(h.bins())
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
		if d := sums.divergence(from, to, levels); d < best {
			best, lo, hi = d, a, b
		}
	}
	return lo, hi
}

// entropySums are sums over the first i bins: of counts, of bins that are not empty, and of n*log(n).
type entropySums struct{ count, filled, logs []float64 }

func newEntropySums(bins []int64) *entropySums {
	s := &entropySums{make([]float64, len(bins)+1), make([]float64, len(bins)+1), make([]float64, len(bins)+1)}
	for i, n := range bins {
		s.count[i+1], s.filled[i+1], s.logs[i+1] = s.count[i], s.filled[i], s.logs[i]
		if n > 0 {
			x := float64(n)
			s.count[i+1] += x
			s.filled[i+1]++
			s.logs[i+1] += x * math.Log(x)
		}
	}
	return s
}

// divergence is the Kullback-Leibler divergence of the bins from:to, to whose ends outliers are added, from what they are if
// each of levels spreads its counts, without outliers, evenly over those of its bins that are not empty.
func (s *entropySums) divergence(from, to, levels int) float64 {
	// Next to nothing stands for an end that is empty but for outliers, so that no ratio is infinite.
	const nothing = 1e-4
	all, window := s.count[len(s.count)-1], s.count[to]-s.count[from]
	if window == 0 {
		return math.Inf(1)
	}
	below, above := s.count[from], all-s.count[to]
	d := s.logs[to] - s.logs[from] // of p*log(p)
	end := func(i int, outliers float64) (emptied bool) {
		n := s.count[i+1] - s.count[i]
		d += (n + outliers) * math.Log(max(n+outliers, 1))
		d -= n * math.Log(max(n, 1))
		return n == 0 && outliers > 0
	}
	first, last := end(from, below), end(to-1, above)
	for k := range levels {
		a, b := from+k*(to-from)/levels, from+(k+1)*(to-from)/levels
		if a == b {
			continue
		}
		q, filled, p := s.count[b]-s.count[a], s.filled[b]-s.filled[a], s.count[b]-s.count[a]
		if a == from {
			p += below
			if first {
				filled++
			}
		}
		if b == to {
			p += above
			if last {
				filled++
			}
		}
		if p > 0 {
			d -= p * math.Log(max(q, nothing)/filled)
		}
	}
	return d/all + math.Log(window/all)
}
