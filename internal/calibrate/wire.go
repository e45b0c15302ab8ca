package calibrate

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// wireStats is [Stats] as they are stored.
type wireStats struct {
	Min       float32       `json:"min"`
	Max       float32       `json:"max"`
	Count     int64         `json:"count"`
	NonFinite int64         `json:"non_finite,omitempty"`
	Broken    string        `json:"broken,omitempty"`
	All       wireHistogram `json:"all"`
	// Felt is stored where it differs from All by nature.
	Felt     *wireHistogram `json:"felt,omitempty"`
	High     wireExtremes   `json:"high"`
	Low      wireExtremes   `json:"low"`
	Channels *wireChannels  `json:"channels,omitempty"`
}

// wireHistogram holds the bins between the first and the last that are not empty.
type wireHistogram struct {
	Zeros int64   `json:"zeros,omitempty"`
	Exp   int     `json:"exp,omitempty"`
	First int     `json:"first,omitempty"`
	Bins  []int64 `json:"bins,omitempty"`
}

type wireExtremes struct {
	Counts [][2]int64   `json:"counts,omitempty"` // class and count, by rising class
	Top    []wireSample `json:"top,omitempty"`
}

type wireSample struct {
	ID    string  `json:"id"`
	Value float32 `json:"value"`
}

// wireChannels has null for channels without finite values.
type wireChannels struct {
	Axis int        `json:"axis"`
	Min  []*float32 `json:"min"`
	Max  []*float32 `json:"max"`
}

func (s *Stats) wire() *wireStats {
	w := &wireStats{
		Min: s.Min, Max: s.Max, Count: s.Count, NonFinite: s.NonFinite, Broken: s.Broken,
		All: s.All.wire(), High: s.High.wire(), Low: s.Low.wire(),
	}
	if s.Felt != nil {
		f := s.Felt.wire()
		w.Felt = &f
	}
	if c := s.Channels; c != nil {
		w.Channels = &wireChannels{c.Axis, finite(c.Min), finite(c.Max)}
	}
	return w
}

func (h *Histogram) wire() wireHistogram {
	w := wireHistogram{Zeros: h.Zeros}
	from, to := 0, len(h.Counts)
	for from < to && h.at(from) == 0 {
		from++
	}
	for to > from && h.at(to-1) == 0 {
		to--
	}
	if from == to {
		return w
	}
	w.Exp, w.First, w.Bins = h.Exp, from, slices.Clone(h.bins()[from:to])
	return w
}

func (e *Extremes) wire() wireExtremes {
	var w wireExtremes
	for _, c := range slices.Sorted(maps.Keys(e.Counts)) {
		w.Counts = append(w.Counts, [2]int64{int64(c), e.Counts[c]})
	}
	for _, s := range e.Top {
		w.Top = append(w.Top, wireSample(s))
	}
	return w
}

func finite(x []float32) []*float32 {
	out := make([]*float32, len(x))
	for i, v := range x {
		if v-v == 0 {
			out[i] = &v
		}
	}
	return out
}

// stats returns what a checked value holds.
func (w *wireStats) stats() *Stats {
	s := &Stats{
		Min: w.Min, Max: w.Max, Count: w.Count, NonFinite: w.NonFinite, Broken: w.Broken,
		All: w.All.histogram(), High: w.High.extremes(), Low: w.Low.extremes(),
	}
	if w.Felt != nil {
		f := w.Felt.histogram()
		s.Felt = &f
	}
	if c := w.Channels; c != nil {
		s.Channels = &Channels{c.Axis, or(c.Min, float32(math.Inf(1))), or(c.Max, float32(math.Inf(-1)))}
	}
	return s
}

func (w wireHistogram) histogram() Histogram {
	h := Histogram{Zeros: w.Zeros}
	if w.Bins != nil {
		h.Exp, h.Counts = w.Exp, make([]uint32, histogramBins)
		for i, n := range w.Bins {
			h.set(w.First+i, n)
		}
	}
	return h
}

func (w wireExtremes) extremes() Extremes {
	var e Extremes
	for _, c := range w.Counts {
		if e.Counts == nil {
			e.Counts = map[int32]int64{}
		}
		e.Counts[int32(c[0])] = c[1]
	}
	for _, s := range w.Top {
		e.Top = append(e.Top, Sample(s))
	}
	return e
}

func or(x []*float32, none float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = none
		if v != nil {
			out[i] = *v
		}
	}
	return out
}

// mostCount bounds all counts, so that those of many files can be added.
const mostCount = 1 << 56

// check reports what cannot be.
func (w *wireStats) check() error {
	if w == nil {
		return errors.New("there are no statistics")
	}
	if w.Min > w.Max || w.Count < 0 || w.NonFinite < 0 || w.Count > mostCount || w.NonFinite > mostCount {
		return fmt.Errorf("%d values from %v to %v and %d that are not finite", w.Count, w.Min, w.Max, w.NonFinite)
	}
	n, err := w.All.check(max(-w.Min, w.Max))
	if err != nil {
		return err
	}
	if n != w.Count {
		return fmt.Errorf("the histogram counts %d of %d values", n, w.Count)
	}
	if w.Felt != nil {
		if _, err := w.Felt.check(max(-w.Min, w.Max)); err != nil {
			return fmt.Errorf("felt: %w", err)
		}
	}
	for _, e := range []struct {
		name string
		wireExtremes
		most float32
	}{{"high", w.High, w.Max}, {"low", w.Low, -w.Min}} {
		if err := e.check(e.most, w.Count > 0); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if c := w.Channels; c != nil && (len(c.Min) != len(c.Max) || c.Axis < 0) {
		return fmt.Errorf("channels along axis %d: %d smallest and %d largest values", c.Axis, len(c.Min), len(c.Max))
	}
	return nil
}

// check returns the sum of the counts; no value is larger than most.
func (w wireHistogram) check(most float32) (int64, error) {
	n := w.Zeros
	if n < 0 || n > mostCount {
		return 0, fmt.Errorf("%d zeros", n)
	}
	if len(w.Bins) == 0 {
		if w.Bins != nil {
			return 0, errors.New("a histogram without bins")
		}
		return n, nil
	}
	if w.First < 0 || w.First >= histogramBins || len(w.Bins) > histogramBins-w.First {
		return 0, fmt.Errorf("%d bins from %d on; there are %d", len(w.Bins), w.First, histogramBins)
	}
	if w.Exp < minExp || w.Exp > maxExp {
		return 0, fmt.Errorf("bins of a width of 2 to the power of %d", w.Exp)
	}
	for _, k := range w.Bins {
		if k < 0 || k > mostCount || n+k > mostCount {
			return 0, fmt.Errorf("a bin of %d values", k)
		}
		n += k
	}
	h := Histogram{Exp: w.Exp}
	last := w.First + len(w.Bins) - 1
	if w.Bins[0] == 0 || w.Bins[len(w.Bins)-1] == 0 || h.edge(last) > float64(most) || -h.edge(w.First+1) > float64(most) {
		return 0, fmt.Errorf("bins from %v to %v for values up to %v", h.edge(w.First), h.edge(last+1), most)
	}
	return n, nil
}

// check reports whether these can be the extremes of samples of which the largest is most, if there are any.
func (w wireExtremes) check(most float32, any bool) error {
	sum := int64(0)
	for i, c := range w.Counts {
		if c[1] < 1 || c[1] > mostCount || sum+c[1] > mostCount {
			return fmt.Errorf("%d samples", c[1])
		}
		sum += c[1]
		if c[0] < -int64(maxClass)-1 || c[0] > int64(maxClass) || i > 0 && c[0] <= w.Counts[i-1][0] {
			return fmt.Errorf("class %d", c[0])
		}
	}
	if len(w.Top) != int(min(sum, topSamples)) {
		return fmt.Errorf("%d samples by name of %d", len(w.Top), sum)
	}
	if any != (sum > 0) || any && (w.Top[0].Value != most || w.Counts[len(w.Counts)-1][0] != int64(class(most))) {
		return fmt.Errorf("%d samples, of which none has the extreme %v", sum, most)
	}
	for i, s := range w.Top {
		if i > 0 && compareSamples(Sample(w.Top[i-1]), Sample(s)) > 0 {
			return fmt.Errorf("sample %q with %v", s.ID, s.Value)
		}
	}
	return nil
}
