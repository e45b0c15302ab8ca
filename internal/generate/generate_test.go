package generate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
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

// TestDrawnTokensAreThoseOfAFullOrder draws from logits with ties, with every way of leaving tokens out.
func TestDrawnTokensAreThoseOfAFullOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []Sampling{
		{}, {TopK: 1}, {TopK: 40}, {TopK: 5000}, {TopP: 0.4}, {TopP: 0.999}, {MinP: 0.05}, {MinP: 1}, {TopK: 20, TopP: 0.9, MinP: 0.01},
	} {
		for _, c.Temperature = range []float64{0.1, 1, 3} {
			a, b := NewSampler(c, 0), NewSampler(c, 0)
			for range 40 {
				logits := make([]float32, 1000)
				for i := range logits {
					logits[i] = float32(random.IntN(60)) / 4
				}
				if got, want := a.draw(logits), drawSorted(b, logits); got != want {
					t.Fatalf("%+v: token %d, want %d", c, got, want)
				}
			}
		}
	}
}

// drawSorted is draw with all tokens in order and all of their probabilities, step by step.
func drawSorted(s *Sampler, logits []float32) int {
	var order []int
	var prob []float64
	for i := range logits {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	if s.TopK > 0 {
		order = order[:min(s.TopK, len(order))]
	}
	total := 0.0
	for _, id := range order {
		p := math.Exp(float64(logits[id]-logits[order[0]]) / s.Temperature)
		prob = append(prob, p)
		total += p
	}
	n := len(prob)
	if s.TopP > 0 && s.TopP < 1 {
		sum := 0.0
		for i, p := range prob {
			if sum += p; sum >= s.TopP*total {
				n = i + 1
				break
			}
		}
	}
	for n > 1 && s.MinP > 0 && prob[n-1] < s.MinP*prob[0] {
		n--
	}
	left := 0.0
	for _, p := range prob[:n] {
		left += p
	}
	at := s.random.Float64() * left
	for i, p := range prob[:n] {
		if at -= p; at < 0 {
			return order[i]
		}
	}
	return order[n-1]
}

func BenchmarkDraw(b *testing.B) {
	logits := make([]float32, 150_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range logits {
		logits[i] = float32(random.NormFloat64() * 3)
	}
	for _, c := range []Sampling{{Temperature: 1}, {Temperature: 0.8, TopP: 0.95}, {Temperature: 0.8, TopK: 40}} {
		s := NewSampler(c, 0)
		b.Run(fmt.Sprintf("T=%v,k=%d,p=%v", c.Temperature, c.TopK, c.TopP), func(b *testing.B) {
			for b.Loop() {
				s.draw(logits)
			}
		})
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
