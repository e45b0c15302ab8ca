package calibrate

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// normal returns n values of a normal distribution; the first is replaced by outlier, if that is not zero.
func normal(seed uint64, n int, outlier float32) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	if outlier != 0 {
		x[0] = outlier
	}
	return x
}

// stats adds samples one by one, named by their numbers from first on.
func stats(first int, samples ...[]float32) *Stats {
	s := &Stats{}
	for i, x := range samples {
		s.Add(x, []string{fmt.Sprint(first + i)}, 1)
		s.AddChannels(x, []int{1, 2, len(x) / 2}, 1)
		other := make([]float32, len(x))
		for j := range other {
			other[j] = float32(j%7) / 4
		}
		s.AddFelt(x, other, 0, float32(math.Inf(1)))
	}
	return s
}

func TestStatsDoNotDependOnOrderAndMerge(t *testing.T) {
	a, b, c := normal(1, 5000, 0), normal(2, 3000, 700), []float32{0, 0, 1e-20, -3, float32(math.NaN()), float32(math.Inf(1))}
	whole := stats(0, a, b, c)
	merged := stats(0, a)
	merged.Merge(stats(1, b, c))
	backwards := stats(1, b, c)
	backwards.Merge(stats(0, a))
	fromNothing := &Stats{}
	fromNothing.Merge(whole)
	for name, got := range map[string]*Stats{"merged": merged, "merged the other way": backwards, "merged into nothing": fromNothing} {
		if d := cmp.Diff(whole, got); d != "" {
			t.Errorf("%s gives other statistics:\n%s", name, d)
		}
	}
	if whole.Count != 8004 || whole.NonFinite != 2 || whole.Broken != "2" || whole.Max != 700 || whole.All.Zeros != 2 {
		t.Errorf("count %d, not finite %d in %q, max %v, zeros %d", whole.Count, whole.NonFinite, whole.Broken, whole.Max, whole.All.Zeros)
	}
	if n := whole.All.count(); n != whole.Count {
		t.Errorf("bins hold %d of %d values", n, whole.Count)
	}
	for i, n := range whole.All.bins() {
		if n > 0 && (whole.All.edge(i) > 700 || whole.All.edge(i+1) < float64(whole.Min)) {
			t.Errorf("bin %d [%v, %v) lies outside the data", i, whole.All.edge(i), whole.All.edge(i+1))
		}
	}
	if s := whole.High.Top; len(s) != 3 || s[0] != (Sample{"1", 700}) {
		t.Errorf("largest samples: %v", s)
	}
}

// Samples run together are seen as they are alone.
func TestRowsAreSamples(t *testing.T) {
	x, ids := normal(7, 600, 0), []string{"a", "b", "c"}
	alone, together := &Stats{}, &Stats{}
	together.Add(x, ids, 3)
	for i, id := range ids {
		alone.Add(x[i*200:(i+1)*200], []string{id}, 1)
	}
	if d := cmp.Diff(alone, together); d != "" {
		t.Error(d)
	}
	if n := together.High.samples(); n != 3 {
		t.Errorf("%d samples", n)
	}
}

func TestBinsAgainstDefinition(t *testing.T) {
	x := normal(3, 4000, 0)
	s := stats(0, x)
	want := make([]int64, histogramBins)
	for _, v := range x {
		want[int(math.Floor(float64(v)/s.All.width()))+histogramBins/2]++
	}
	if !slices.Equal(s.All.bins(), want) {
		t.Error("bins differ from floor(x/width)")
	}
}

// Bins hold 32 bits of their counts; the rest is carried through whatever happens to a histogram.
func TestCountsBeyond32Bits(t *testing.T) {
	const many = 1<<32 - 2
	h := &Histogram{}
	h.add([]float32{1.5, -1.5, 0.75}, 1.5)
	for i := range h.Counts {
		if h.at(i) > 0 {
			h.set(i, many)
		}
	}
	check := func(what string, total int64) {
		t.Helper()
		w := h.wire()
		back := w.histogram()
		if d := cmp.Diff(*h, back, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: stored otherwise:\n%s", what, d)
		}
		if n := h.count(); n != total {
			t.Errorf("%s: %d values, want %d", what, n, total)
		}
	}
	check("set", 3*many)
	h.add([]float32{1.5, 1.5, 1.5, -1.5}, 1.5)
	check("counted", 3*many+4)
	twice := *h
	twice.Counts, twice.Overflow = slices.Clone(h.Counts), maps.Clone(h.Overflow)
	h.merge(&twice)
	check("merged", 6*many+8)
	h.add([]float32{3e4}, 3e4) // joins all others in the two bins at zero
	check("widened", 6*many+9)
	if lo, hi := h.at(histogramBins/2-1), h.at(histogramBins/2); lo != 2*many+2 || hi != 4*many+6 {
		t.Errorf("%d values below zero and %d above", lo, hi)
	}
}

func TestChannelsAgainstDefinition(t *testing.T) {
	shape := []int{2, 3, 5}
	x := normal(8, 30, 0)
	for axis := range shape {
		s := &Stats{}
		s.AddChannels(x, shape, axis)
		for c := range shape[axis] {
			lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
			for i, v := range x {
				if [3]int{i / 15, i / 5 % 3, i % 5}[axis] == c {
					lo, hi = min(lo, v), max(hi, v)
				}
			}
			if s.Channels.Min[c] != lo || s.Channels.Max[c] != hi {
				t.Errorf("axis %d, channel %d: [%v, %v], want [%v, %v]", axis, c, s.Channels.Min[c], s.Channels.Max[c], lo, hi)
			}
		}
		s.AddChannels(x[:10], []int{1, 2, 5}, axis)
		if want := shape[axis] == []int{1, 2, 5}[axis]; want != (len(s.Channels.Min) > 0) {
			t.Errorf("axis %d: another number of channels leaves %v", axis, s.Channels)
		}
	}
}

// What a clamp behind the sum swallows is counted so that no range which holds the counted value changes the clamped sum.
func TestFeltValues(t *testing.T) {
	const lo, hi = 0, 6
	for _, c := range []struct{ x, other, want float32 }{
		{2, 1, 2},     // passes
		{-5, 3, -3},   // below the clamp from -3 on
		{-1, 4, -1},   // passes
		{-4, -1, 0},   // swallowed with any x up to 1
		{9, 2, 4},     // above the clamp from 4 on
		{9, 7, 0},     // swallowed with any x from -1 on
		{-0.5, 0, 0},  // swallowed with any x up to 0
		{0.5, 0, 0.5}, // passes
	} {
		s := &Stats{}
		s.AddFelt([]float32{c.x}, []float32{c.other}, lo, hi)
		want := &Histogram{}
		want.add([]float32{c.want}, max(c.want, -c.want))
		if d := cmp.Diff(want, s.Felt); d != "" {
			t.Errorf("%v + %v: counted otherwise than %v:\n%s", c.x, c.other, c.want, d)
		}
		clamped := func(x float32) float32 { return min(max(x+c.other, lo), hi) }
		if clamped(c.want) != clamped(c.x) {
			t.Errorf("%v + %v is counted as %v, which is clamped to %v, not %v", c.x, c.other, c.want, clamped(c.want), clamped(c.x))
		}
	}
}

// The expected extreme of m samples is the mean over all choices of m.
func TestExpectedExtremes(t *testing.T) {
	x := []float32{1, 2, 2, 5, 9, -3, 4}
	var e Extremes
	for i, v := range x {
		e.add(fmt.Sprint(i), v)
	}
	for m := 1; m <= len(x); m++ {
		sum, n := 0.0, 0
		for set := range 1 << len(x) {
			most, size := math.Inf(-1), 0
			for i, v := range x {
				if set>>i&1 == 1 {
					most = max(most, float64(v))
					size++
				}
			}
			if size == m {
				sum += most
				n++
			}
		}
		want := sum / float64(n)
		if got := e.expected(m); math.Abs(got-want) > 0.02*math.Abs(want)+0.02 {
			t.Errorf("%d samples: %v, want %v", m, got, want)
		}
	}
	if got := e.expected(100); math.Abs(got-9) > 0.1 {
		t.Errorf("more samples than there are: %v", got)
	}
}

func TestClassesKeepOrder(t *testing.T) {
	for _, v := range []float32{0, 1e-40, 1e-20, 0.3, 1, 1.5, 700, math.MaxFloat32} {
		for _, x := range []float32{v, -v} {
			if got := classValue(class(x)); math.Abs(got-float64(x)) > 0.01*math.Abs(float64(x))+1e-38 {
				t.Errorf("%v stands for %v", got, x)
			}
		}
		if v > 0 && !(class(-v) < class(0) && class(0) <= class(v) && class(v) < class(2*v)) {
			t.Errorf("classes of %v are out of order", v)
		}
	}
}
