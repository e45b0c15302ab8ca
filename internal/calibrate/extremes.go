package calibrate

import (
	"cmp"
	"math"
	"slices"
)

// Extremes summarizes what the largest, or the smallest, values of single samples were. The smallest are kept as the largest of
// the negated values.
type Extremes struct {
	// Counts is a histogram over classes of floating-point numbers, of one sixty-fourth of an octave each.
	Counts map[int32]int64
	// Top are the samples with the largest values, the largest first.
	Top []Sample
}

// Sample is the extreme of one sample.
type Sample struct {
	ID    string
	Value float32
}

// topSamples is how many samples are remembered by name: a group of strange ones, and one more to compare them with.
const topSamples = 5

// classBits are dropped from a float32 to give its class: 6 bits of mantissa stay.
const classBits = 17

// class numbers the class of a value, in the order of values.
func class(v float32) int32 {
	if v < 0 {
		return -int32(math.Float32bits(-v)>>classBits) - 1
	}
	return int32(math.Float32bits(v+0) >> classBits)
}

// classValue returns the middle of a class.
func classValue(c int32) float64 {
	if c < 0 {
		return -classValue(-c - 1)
	}
	lo, hi := math.Float32frombits(uint32(c)<<classBits), math.Float32frombits(uint32(c+1)<<classBits)
	return (float64(lo) + min(float64(hi), math.MaxFloat32)) / 2
}

// maxClass is that of the largest finite value.
var maxClass = class(math.MaxFloat32)

func (e *Extremes) add(id string, v float32) {
	if e.Counts == nil {
		e.Counts = map[int32]int64{}
	}
	e.Counts[class(v)]++
	e.top(Sample{id, v})
}

// top keeps s if it is among the largest.
func (e *Extremes) top(s Sample) {
	i, _ := slices.BinarySearchFunc(e.Top, s, compareSamples)
	if i == topSamples {
		return
	}
	e.Top = slices.Insert(e.Top, i, s)
	if len(e.Top) > topSamples {
		e.Top = e.Top[:topSamples]
	}
}

// compareSamples puts larger values first, and equal ones in the order of their names.
func compareSamples(a, b Sample) int {
	return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.ID, b.ID))
}

func (e *Extremes) merge(o *Extremes) {
	if e.Counts == nil && o.Counts != nil {
		e.Counts = map[int32]int64{}
	}
	for c, n := range o.Counts {
		e.Counts[c] += n
	}
	for _, s := range o.Top {
		e.top(s)
	}
}

// samples returns how many samples were added.
func (e *Extremes) samples() int64 {
	var n int64
	for _, k := range e.Counts {
		n += k
	}
	return n
}

// expected returns the largest value that m of the samples, drawn at random, have on average.
func (e *Extremes) expected(m int) float64 {
	classes := make([]int32, 0, len(e.Counts))
	for c := range e.Counts {
		classes = append(classes, c)
	}
	slices.Sort(classes)
	n := e.samples()
	m = int(min(int64(m), n))
	// The chance that all m lie among the first k of n is k!/(k-m)! * (n-m)!/n!.
	within := func(k int64) float64 {
		if k < int64(m) {
			return 0
		}
		a, _ := math.Lgamma(float64(k + 1))
		b, _ := math.Lgamma(float64(k - int64(m) + 1))
		c, _ := math.Lgamma(float64(n - int64(m) + 1))
		d, _ := math.Lgamma(float64(n + 1))
		return math.Exp(a - b + c - d)
	}
	var below int64
	sum, before := 0.0, 0.0
	for _, c := range classes {
		below += e.Counts[c]
		p := within(below)
		sum += (p - before) * classValue(c)
		before = p
	}
	return sum
}
