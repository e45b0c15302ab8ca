// Package analyze compares two models, usually a float one and its quantized form: sizes, speed, accuracy, and the error
// layer by layer.
package analyze

import (
	"math"
	"sort"

	"github.com/neurotrain/neuroquant/tensor"
)

// Error says how far values are from their reference.
type Error struct {
	// SQNR is the energy of the reference over the energy of the error, in dB; nil where there is no error, 0 where the error
	// cannot be weighed: the reference has no energy, or finite values became NaN or infinite.
	SQNR *float64 `json:"sqnr_db"`
	// Cosine is the cosine between both as vectors; 1 where both are zero, 0 where one is or is not finite.
	Cosine float64 `json:"cosine"`
	// MaxDiff is the largest absolute difference, RMS the root of the mean square one.
	MaxDiff float64 `json:"max_diff"`
	RMS     float64 `json:"rms"`
	// Values is the number of values compared; NonFinite those left out because one of the two is NaN or infinite and the
	// other is not the same.
	Values    int `json:"values"`
	NonFinite int `json:"non_finite,omitempty"`
}

// errorSum accumulates an [Error] over batches.
type errorSum struct {
	ref2, got2, dot, err2, most float64
	n, bad                      int
}

func (s *errorSum) add(ref, got []float32) {
	for i, r := range ref {
		x, y := float64(r), float64(got[i])
		if d := x - y; d-d != 0 { // NaN or infinite
			if x != y && !(math.IsNaN(x) && math.IsNaN(y)) {
				s.bad++
			}
			continue
		}
		s.n++
		s.ref2 += x * x
		s.got2 += y * y
		s.dot += x * y
		d := math.Abs(x - y)
		s.err2 += d * d
		s.most = max(s.most, d)
	}
}

func (s *errorSum) result() Error {
	e := Error{Cosine: 1, MaxDiff: s.most, Values: s.n, NonFinite: s.bad}
	if s.n > 0 {
		e.RMS = math.Sqrt(s.err2 / float64(s.n))
	}
	switch db := 0.0; {
	case s.bad > 0 || s.err2 > 0 && s.ref2 == 0:
		e.SQNR = &db
	case s.err2 > 0:
		db = 10 * math.Log10(s.ref2/s.err2)
		e.SQNR = &db
	}
	switch {
	case s.bad > 0:
		e.Cosine = 0
	case s.ref2 > 0 && s.got2 > 0:
		e.Cosine = s.dot / math.Sqrt(s.ref2*s.got2)
	case s.ref2 != s.got2:
		e.Cosine = 0
	}
	return e
}

// Scores are a classifier's results on labelled samples.
type Scores struct {
	Samples int     `json:"samples"`
	Top1    float64 `json:"top1"` // fractions
	Top5    float64 `json:"top5"`
	Loss    float64 `json:"loss"` // mean cross entropy, in nats
	// NonFinite counts samples with a score that is NaN or infinite. They count as wrong where the label's own is NaN, and
	// a loss that is not finite counts as that of probability 1e-30.
	NonFinite int `json:"non_finite,omitempty"`
}

type scoreSum struct {
	n, top1, top5, bad int
	loss               float64
}

// leastProbability bounds the loss of one sample.
const leastProbability = 1e-30

// add scores rows of class scores. Rows that are probabilities are taken as such, all others as logits (which log
// probabilities are a case of). Of equal scores the first ranks higher; a NaN ranks above what it is compared with.
func (s *scoreSum) add(rows []float32, classes int, labels []int) {
	for i, label := range labels {
		row := rows[i*classes : (i+1)*classes]
		s.n++
		rank, finite := 0, true
		for j, v := range row {
			if below := v < row[label] || v == row[label] && j > label; !below && j != label {
				rank++
			}
			finite = finite && v-v == 0
		}
		if !finite {
			s.bad++
		}
		if rank == 0 {
			s.top1++
		}
		if rank < 5 {
			s.top5++
		}
		loss := crossEntropy(row, label)
		if loss-loss != 0 {
			loss = -math.Log(leastProbability)
		}
		s.loss += loss
	}
}

func (s *scoreSum) result() Scores {
	r := Scores{Samples: s.n, NonFinite: s.bad}
	if s.n > 0 {
		n := float64(s.n)
		r.Top1, r.Top5, r.Loss = float64(s.top1)/n, float64(s.top5)/n, s.loss/n
	}
	return r
}

func crossEntropy(row []float32, label int) float64 {
	sum, most, negative := 0.0, math.Inf(-1), false
	for _, v := range row {
		sum += float64(v)
		most = max(most, float64(v))
		negative = negative || v < 0
	}
	if !negative && math.Abs(sum-1) < 1e-3 {
		return -math.Log(max(float64(row[label]), leastProbability))
	}
	z := 0.0
	for _, v := range row {
		z += math.Exp(float64(v) - most)
	}
	return math.Log(z) + most - float64(row[label])
}

func argmax(row []float32) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}

// Timing is a distribution of run times in milliseconds.
type Timing struct {
	Median float64 `json:"median_ms"`
	P10    float64 `json:"p10_ms"`
	P90    float64 `json:"p90_ms"`
}

func timing(ms []float64) Timing {
	s := append([]float64(nil), ms...)
	sort.Float64s(s)
	at := func(p float64) float64 {
		x := p * float64(len(s)-1)
		i := int(x)
		if i+1 >= len(s) {
			return s[i]
		}
		return s[i] + (x-float64(i))*(s[i+1]-s[i])
	}
	return Timing{Median: at(0.5), P10: at(0.1), P90: at(0.9)}
}

// floats returns a dense numeric tensor as float32, or nil for anything else.
func floats(t *tensor.Tensor) []float32 {
	if t == nil || t.Elems() != nil || t.DType == tensor.String {
		return nil
	}
	f, err := t.Floats()
	if err != nil {
		return nil
	}
	return f
}
