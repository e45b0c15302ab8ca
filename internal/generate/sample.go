package generate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how the next token is chosen. The steps are applied in this order, each to what the one before left: repetition
// penalty, temperature, top-k, top-p, min-p. The zero value takes the most probable token.
type Sampling struct {
	Temperature       float64 // logits are divided by it; 0: the most probable token
	TopK              int     // so many most probable tokens; 0: all
	TopP              float64 // the fewest most probable tokens that have this probability together; 0 or 1: all
	MinP              float64 // tokens of at least this share of the highest probability; 0: all
	RepetitionPenalty float64 // of tokens that were there (Keskar et al., arXiv:1909.05858); 0 or 1: none
	Seed              uint64
}

// Check tells whether the numbers make sense.
func (s Sampling) Check() error {
	var errs []error
	check := func(ok bool, name, want string, v any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: want %s, got %v", name, want, v))
		}
	}
	check(s.Temperature >= 0 && s.Temperature <= 1e6, "temperature", "0 or more", s.Temperature)
	check(s.TopK >= 0, "top-k", "0 or more", s.TopK)
	check(s.TopP >= 0 && s.TopP <= 1, "top-p", "a number from 0 to 1", s.TopP)
	check(s.MinP >= 0 && s.MinP <= 1, "min-p", "a number from 0 to 1", s.MinP)
	check(s.RepetitionPenalty >= 0 && s.RepetitionPenalty <= 1e6, "repetition-penalty", "a positive number", s.RepetitionPenalty)
	return errors.Join(errs...)
}

// Sampler chooses the tokens of one sequence.
type Sampler struct {
	Sampling
	random *rand.Rand
	seen   map[int]bool
	order  []int
	prob   []float64
}

// NewSampler returns the sampler of a sequence; each of a batch draws numbers of its own.
func NewSampler(s Sampling, sequence int) *Sampler {
	return &Sampler{Sampling: s, random: rand.New(rand.NewPCG(s.Seed, uint64(sequence))), seen: map[int]bool{}}
}

// Saw notes tokens that are in the sequence already.
func (s *Sampler) Saw(ids ...int) {
	for _, id := range ids {
		s.seen[id] = true
	}
}

// ErrNotANumber is in the chain of the error for logits that cannot be compared.
var ErrNotANumber = errors.New("the model computed values that are not numbers; its weights may be damaged, or too large for its element types")

// Next chooses a token and notes it. It changes logits.
func (s *Sampler) Next(logits []float32) (int, error) {
	if p := s.RepetitionPenalty; p != 0 && p != 1 {
		for id := range s.seen {
			if v := logits[id]; v > 0 {
				logits[id] = v / float32(p)
			} else {
				logits[id] = v * float32(p)
			}
		}
	}
	best := 0
	for i, v := range logits {
		if v != v {
			return 0, ErrNotANumber
		}
		if v > logits[best] {
			best = i
		}
	}
	if math.IsInf(float64(logits[best]), 0) {
		return 0, ErrNotANumber
	}
	if s.Temperature > 0 {
		best = s.draw(logits)
	}
	s.seen[best] = true
	return best, nil
}

// draw chooses at random.
func (s *Sampler) draw(logits []float32) int {
	s.order = s.order[:0]
	for i := range logits {
		s.order = append(s.order, i)
	}
	// The most probable first, of equal ones the lowest number, so that the choice does not depend on the way of sorting.
	slices.SortFunc(s.order, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return a - b
	})
	if s.TopK > 0 {
		s.order = s.order[:min(s.TopK, len(s.order))]
	}
	s.prob = s.prob[:0]
	total := 0.0
	for _, id := range s.order {
		p := math.Exp(float64(logits[id]-logits[s.order[0]]) / s.Temperature)
		s.prob = append(s.prob, p)
		total += p
	}
	n := len(s.prob)
	if s.TopP > 0 && s.TopP < 1 {
		sum := 0.0
		for i, p := range s.prob {
			if sum += p; sum >= s.TopP*total {
				n = i + 1
				break
			}
		}
	}
	for n > 1 && s.MinP > 0 && s.prob[n-1] < s.MinP*s.prob[0] {
		n--
	}
	left := 0.0
	for _, p := range s.prob[:n] {
		left += p
	}
	at := s.random.Float64() * left
	for i, p := range s.prob[:n] {
		if at -= p; at < 0 {
			return s.order[i]
		}
	}
	return s.order[n-1]
}
