package generate

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestSamplingKeepsWhatItSays(t *testing.T) {
	logits := func() []float32 { return []float32{1, 3, 2, -1, 3, 0} }
	for _, c := range []struct {
		s    Sampling
		saw  []int
		want []int // tokens that may come, and do
	}{
		{Sampling{}, nil, []int{1}},
		{Sampling{RepetitionPenalty: 2}, []int{1}, []int{4}},
		{Sampling{RepetitionPenalty: 4}, []int{1, 4, 2}, []int{0}},
		{Sampling{Temperature: 1, TopK: 1}, nil, []int{1}},
		{Sampling{Temperature: 1, TopK: 3}, nil, []int{1, 2, 4}},
		{Sampling{Temperature: 2}, nil, []int{0, 1, 2, 3, 4, 5}},
		{Sampling{Temperature: 1, TopP: 0.3}, nil, []int{1}},
		{Sampling{Temperature: 1, TopP: 0.6}, nil, []int{1, 4}},
		{Sampling{Temperature: 1, MinP: 0.3}, nil, []int{1, 2, 4}},
		{Sampling{Temperature: 0.05}, nil, []int{1, 4}},
	} {
		var got []int
		s := NewSampler(c.s, 0)
		for range 500 {
			s.seen = map[int]bool{}
			s.Saw(c.saw...)
			id, err := s.Next(logits())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(got, id) {
				got = append(got, id)
			}
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%+v after %v: want tokens %v, got %v", c.s, c.saw, c.want, got)
		}
	}
}

// TestDrawnTokensHaveTheirProbabilities counts draws: each count is within five standard deviations of what is expected.
func TestDrawnTokensHaveTheirProbabilities(t *testing.T) {
	const n = 20000
	p := []float64{0.5, 0.25, 0.125, 0.125}
	count := make([]int, 4)
	s := NewSampler(Sampling{Temperature: 0.5, Seed: 3}, 1)
	for range n {
		var l []float32
		for _, v := range p {
			l = append(l, float32(math.Log(v)/2))
		}
		id, err := s.Next(l)
		if err != nil {
			t.Fatal(err)
		}
		count[id]++
	}
	for i, v := range p {
		if d := math.Abs(float64(count[i]) - n*v); d > 5*math.Sqrt(n*v*(1-v)) {
			t.Errorf("token %d of probability %v came %d times of %d", i, v, count[i], n)
		}
	}
}

func TestSeedsAndSequences(t *testing.T) {
	draw := func(seed uint64, sequence int) (out []int) {
		s := NewSampler(Sampling{Temperature: 1, Seed: seed}, sequence)
		for range 50 {
			id, err := s.Next(make([]float32, 1000))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, id)
		}
		return out
	}
	if a := draw(1, 0); !slices.Equal(a, draw(1, 0)) || slices.Equal(a, draw(2, 0)) || slices.Equal(a, draw(1, 1)) {
		t.Error("draws do not follow seed and sequence alone")
	}
}

func TestLogitsThatAreNoNumbers(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, l := range [][]float32{{0, nan}, {nan, 0}, {-inf, -inf}, {inf, 0}} {
		if _, err := NewSampler(Sampling{}, 0).Next(l); !errors.Is(err, ErrNotANumber) {
			t.Errorf("%v: %v", l, err)
		}
	}
	for _, s := range []Sampling{{Temperature: -1}, {TopK: -1}, {TopP: 2}, {MinP: -0.5}, {RepetitionPenalty: -1}, {Temperature: math.NaN()}} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
