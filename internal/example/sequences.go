package example

import (
	"slices"

	"github.com/neurotrain/neuroquant/tensor"
)

// Tokens is the length of an example sequence and Vocabulary the number of token ids.
const (
	Tokens     = 32
	Vocabulary = 16
)

// Grammars names the classes of [Sequences] in label order.
var Grammars = []string{
	unruled: "random", doubled: "copy", mirror: "mirror", periodic: "periodic",
	sorted: "sorted", brackets: "brackets", walk: "walk", alternating: "alternating",
}

const (
	unruled = iota
	doubled
	mirror
	periodic
	sorted
	brackets
	walk
	alternating
)

// Sequences generates n sequences of token ids, each by one of a few small grammars and then disturbed: a share of the
// tokens, different in every sequence, is replaced by random ones. It returns int64 [n, Tokens] and the n labels, indices
// of [Grammars]. A seed means the same values everywhere, whatever n is.
func Sequences(seed uint64, n int) (*tensor.Tensor, []int) {
	ids := make([]int64, n*Tokens)
	labels := make([]int, n)
	var seq [Tokens]int
	for i := range labels {
		r := newRandom(seed, i)
		labels[i] = r.below(len(Grammars))
		derive(&seq, labels[i], r)
		disturbance := r.below(25) // percent
		for j, id := range seq {
			if r.below(100) < disturbance {
				id = r.below(Vocabulary)
			}
			ids[i*Tokens+j] = int64(id)
		}
	}
	return tensor.Of(tensor.Shape{n, Tokens}, ids), labels
}

// derive fills seq with a sequence of the grammar with the given label.
func derive(seq *[Tokens]int, grammar int, r *random) {
	for j := range seq {
		seq[j] = r.below(Vocabulary)
	}
	switch grammar {
	case doubled: // the second half repeats the first
		copy(seq[Tokens/2:], seq[:Tokens/2])
	case mirror: // the second half is the first one backwards
		for j := range Tokens / 2 {
			seq[Tokens-1-j] = seq[j]
		}
	case periodic: // a short block over and over
		period := r.between(3, 7)
		for j := period; j < Tokens; j++ {
			seq[j] = seq[j-period]
		}
	case sorted: // never falling, from any start to any end
		first := r.below(Vocabulary)
		last := r.between(first, Vocabulary-1)
		for j := range seq {
			seq[j] = r.between(first, last)
		}
		slices.Sort(seq[:])
	case brackets: // even ids open, the next odd id closes, nested and balanced
		var open []int
		for j := range seq {
			left := Tokens - j
			if len(open) == 0 || len(open) < left && r.below(2) == 0 {
				open = append(open, r.below(Vocabulary/2))
				seq[j] = 2 * open[len(open)-1]
				continue
			}
			seq[j] = 2*open[len(open)-1] + 1
			open = open[:len(open)-1]
		}
	case walk: // one up or one down at each step, around the corner
		for j := 1; j < Tokens; j++ {
			seq[j] = (seq[j-1] + 2*r.below(2) - 1 + Vocabulary) % Vocabulary
		}
	case alternating: // even and odd ids by turns
		start := r.below(2)
		for j := range seq {
			seq[j] = seq[j]&^1 | (start+j)%2
		}
	}
}
