package calibrate

import "math"

// Loss is what becomes of a value when codes stand for it, by its histogram.
type Loss struct {
	Signal   float64 // mean square of the value
	Rounding float64 // mean square of what rounding changes
	Clipping float64 // and of what clipping does
	Clipped  float64 // share of the values that are clipped
}

// SQNR is the signal over both losses, in dB; nil where nothing is lost, 0 where there is no signal.
func (l Loss) SQNR() *float64 {
	noise := l.Rounding + l.Clipping
	if noise == 0 {
		return nil
	}
	db := 0.0
	if l.Signal > 0 {
		db = 10 * math.Log10(l.Signal/noise)
	}
	return &db
}

// Loss returns what codes lose that cover [lo, hi] in steps of the given size. Zero has a code; rounding is taken to be off by up to
// half a step, all errors as likely, except that of zero, which is none. What a clamp behind the value swallows is no loss.
func (s *Stats) Loss(lo, hi, step float64) Loss {
	if s.All.empty() {
		return Loss{}
	}
	l := s.loss(&s.All, lo, hi, step)
	if s.Felt != nil && !s.Felt.empty() {
		signal := l.Signal
		l = s.loss(s.Felt, lo, hi, step)
		l.Signal = signal
	}
	return l
}

func (s *Stats) loss(h *Histogram, lo, hi, step float64) Loss {
	total := float64(h.count())
	var l Loss
	inside := 0.0
	for i, n := range h.bins() {
		if n == 0 {
			continue
		}
		x, k := h.edge(i)+h.width()/2, float64(n)
		// The outermost bins reach farther than the values in them.
		x = min(max(x, float64(min(s.Min, 0))), float64(max(s.Max, 0)))
		l.Signal += k * x * x
		switch {
		case x < lo:
			l.Clipping += k * (lo - x) * (lo - x)
			l.Clipped += k
		case x > hi:
			l.Clipping += k * (x - hi) * (x - hi)
			l.Clipped += k
		default:
			inside += k
		}
	}
	l.Signal, l.Clipping, l.Clipped, l.Rounding = l.Signal/total, l.Clipping/total, l.Clipped/total, inside/total*step*step/12
	return l
}

// Holds returns the range, zero in it, that holds this share of the values other than zero, the same share cut off each side.
func (s *Stats) Holds(share float64) (lo, hi float64) {
	h := &s.All
	total := float64(h.count() - h.Zeros)
	if total == 0 {
		return 0, 0
	}
	cut := (1 - share) / 2 * total
	bins, sum := h.bins(), 0.0
	for i, n := range bins {
		if sum += float64(n); sum > cut {
			lo = max(h.edge(i), float64(s.Min))
			break
		}
	}
	sum = 0
	for i := len(bins) - 1; i >= 0; i-- {
		if sum += float64(bins[i]); sum > cut {
			hi = min(h.edge(i+1), float64(s.Max))
			break
		}
	}
	return min(lo, 0), max(hi, 0)
}
