package generate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
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
	heap   []int // tokens that are not in order yet
	order  []int // the most probable ones
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
	best, most := 0, float32(math.Inf(-1))
	for i, v := range logits {
		if v <= most { // false of what is not a number
			continue
		}
		if v != v {
			return 0, ErrNotANumber
		}
		best, most = i, v
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

// draw chooses at random, the most probable tokens first in order. No more of them are put in order than are looked at: a vocabulary has
// some 100,000.
func (s *Sampler) draw(logits []float32) int {
	s.rank(logits)
	n := len(logits)
	if s.TopK > 0 {
		n = min(n, s.TopK)
	}
	nucleus := s.TopP > 0 && s.TopP < 1
	total := 0.0
	switch {
	case s.TopK > 0:
		for i := range n {
			total += s.weight(logits, i)
		}
	default:
		top := logits[s.heap[0]]
		for _, v := range logits {
			total += math.Exp(float64(v-top) / s.Temperature)
		}
	}
	left := total
	if nucleus || s.MinP > 0 {
		most := n
		for n, left = 0, 0; n < most && (n == 0 || s.weight(logits, n) >= s.MinP) && !(nucleus && left >= s.TopP*total); n++ {
			left += s.weight(logits, n)
		}
	}
	at := s.random.Float64() * left
	for i := range n {
		if at -= s.weight(logits, i); at < 0 {
			return s.order[i]
		}
	}
	return s.order[n-1]
}

// weight returns the probability of the token at place i of the order, as a multiple of that of the first.
func (s *Sampler) weight(logits []float32, i int) float64 {
	for len(s.order) <= i {
		s.order = append(s.order, s.pop(logits))
	}
	return math.Exp(float64(logits[s.order[i]]-logits[s.order[0]]) / s.Temperature)
}

// rank makes a heap of all tokens.
func (s *Sampler) rank(logits []float32) {
	s.order, s.heap = s.order[:0], s.heap[:0]
	for i := range logits {
		s.heap = append(s.heap, i)
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.sink(logits, i)
	}
}

// pop takes the most probable token, of equal ones the lowest, from the heap.
func (s *Sampler) pop(logits []float32) int {
	first, last := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[last]
	s.heap = s.heap[:last]
	s.sink(logits, 0)
	return first
}

func (s *Sampler) sink(logits []float32, i int) {
	before := func(a, b int) bool { return logits[a] > logits[b] || logits[a] == logits[b] && a < b }
	for h := s.heap; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && before(h[child+1], h[child]) {
			child++
		}
		if before(h[i], h[child]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
