// Package calibrate finds out what values a model computes on samples and which ranges its codes should cover.
//
// [Run] collects [Stats] of values while a model runs, in memory that does not depend on the number of samples; a [File] keeps
// them, and files of several runs or machines merge to exactly that of one run over all samples. A [Calibrator] turns statistics
// into ranges, so that the method is chosen after the model has run.
package calibrate

import (
	"math"
	"slices"
)

// Stats summarizes what a value was during calibration.
type Stats struct {
	Min, Max  float32
	Count     int64 // finite values seen
	NonFinite int64 // NaN and infinite values, which are left out
	// All counts every value. Felt, if not nil, counts them as far as they are felt behind a clamp, see [Stats.AddFelt].
	All  Histogram
	Felt *Histogram
	// High and Low are the extremes of single samples; Low holds negated values.
	High, Low Extremes
	// Channels are the extremes by channel; nil where the value has none.
	Channels *Channels
	// Broken names a sample with values that are not finite.
	Broken string
}

// Channels are the extremes of a value along one axis.
type Channels struct {
	Axis     int
	Min, Max []float32
}

// Add counts the values of a call of the samples ids. rows is how many samples lie along the first dimension of x; 1 if they
// cannot be told apart.
func (s *Stats) Add(x []float32, ids []string, rows int) {
	if len(x) == 0 || rows < 1 || len(x)%rows != 0 {
		return
	}
	per := len(x) / rows
	for r := range rows {
		id := ""
		if r < len(ids) {
			id = ids[r]
		}
		s.addSample(x[r*per:(r+1)*per], id)
	}
}

func (s *Stats) addSample(x []float32, id string) {
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	finite := true
	for _, v := range x {
		finite = finite && v-v == 0
		lo, hi = min(lo, v), max(hi, v)
	}
	if !finite {
		if x = s.leaveOut(x, id); len(x) == 0 {
			return
		}
		lo, hi = slices.Min(x), slices.Max(x)
	}
	if s.Count == 0 {
		s.Min, s.Max = lo, hi
	}
	s.Min, s.Max = min(s.Min, lo), max(s.Max, hi)
	s.Count += int64(len(x))
	s.High.add(id, hi)
	s.Low.add(id, -lo)
	s.All.add(x, max(-lo, hi))
}

// leaveOut counts values that are not finite and returns the others.
func (s *Stats) leaveOut(x []float32, id string) []float32 {
	var kept []float32
	for _, v := range x {
		if v-v == 0 {
			kept = append(kept, v)
		}
	}
	if s.NonFinite == 0 || id < s.Broken {
		s.Broken = id
	}
	s.NonFinite += int64(len(x) - len(kept))
	return kept
}

// AddFelt counts a value x that is only added to other and then clamped to [lo, hi]. What the clamp swallows could be anything
// beyond the point where it begins without a difference, so it is counted at that point or, if zero is beyond it, as zero.
func (s *Stats) AddFelt(x, other []float32, lo, hi float32) {
	if s.Felt == nil {
		s.Felt = &Histogram{}
	}
	const piece = 1 << 12
	var buf [piece]float32
	for from := 0; from < len(x); from += piece {
		n, most := 0, float32(0)
		for i := from; i < min(from+piece, len(x)); i++ {
			v, o := x[i], other[i]
			if v-v != 0 || o-o != 0 {
				continue
			}
			if v <= lo-o {
				v = min(lo-o, 0)
			} else if v >= hi-o {
				v = max(hi-o, 0)
			}
			buf[n] = v
			most = max(most, v, -v)
			n++
		}
		s.Felt.add(buf[:n], most)
	}
}

// AddChannels notes the extremes of each channel of x along an axis. A value whose number of channels changes has none.
func (s *Stats) AddChannels(x []float32, shape []int, axis int) {
	if s.Channels == nil {
		s.Channels = &Channels{Axis: axis}
		for range shape[axis] {
			s.Channels.Min = append(s.Channels.Min, float32(math.Inf(1)))
			s.Channels.Max = append(s.Channels.Max, float32(math.Inf(-1)))
		}
	}
	c := s.Channels
	if len(c.Min) != shape[axis] || c.Axis != axis {
		c.Min, c.Max = nil, nil
		return
	}
	inner := 1
	for _, d := range shape[axis+1:] {
		inner *= d
	}
	if inner == 1 { // channels last
		for i, v := range x {
			if v-v == 0 {
				j := i % len(c.Min)
				c.Min[j], c.Max[j] = min(c.Min[j], v), max(c.Max[j], v)
			}
		}
		return
	}
	for i := 0; i+inner <= len(x); i += inner {
		j := i / inner % len(c.Min)
		lo, hi := c.Min[j], c.Max[j]
		for _, v := range x[i : i+inner] {
			if v-v == 0 {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
		c.Min[j], c.Max[j] = lo, hi
	}
}

// Merge adds what o saw of the same value.
func (s *Stats) Merge(o *Stats) {
	if o.Count > 0 {
		if s.Count == 0 {
			s.Min, s.Max = o.Min, o.Max
		}
		s.Min, s.Max = min(s.Min, o.Min), max(s.Max, o.Max)
	}
	s.Count += o.Count
	if o.NonFinite > 0 && (s.NonFinite == 0 || o.Broken < s.Broken) {
		s.Broken = o.Broken
	}
	s.NonFinite += o.NonFinite
	s.All.merge(&o.All)
	if o.Felt != nil {
		if s.Felt == nil {
			s.Felt = &Histogram{}
		}
		s.Felt.merge(o.Felt)
	}
	s.High.merge(&o.High)
	s.Low.merge(&o.Low)
	if o.Channels != nil {
		s.mergeChannels(o.Channels)
	}
}

func (s *Stats) mergeChannels(o *Channels) {
	c := s.Channels
	if c == nil {
		s.Channels = &Channels{o.Axis, slices.Clone(o.Min), slices.Clone(o.Max)}
		return
	}
	if c.Axis != o.Axis || len(c.Min) != len(o.Min) {
		c.Min, c.Max = nil, nil
		return
	}
	for i := range c.Min {
		c.Min[i], c.Max[i] = min(c.Min[i], o.Min[i]), max(c.Max[i], o.Max[i])
	}
}
