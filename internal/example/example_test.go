package example

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// The digests were taken once; they hold on every platform, so that the models can be trained again on the same data.
func TestDataIsTheSameEverywhere(t *testing.T) {
	for name, c := range map[string]struct {
		make   func(seed uint64, n int) (*tensor.Tensor, []int)
		digest string
	}{
		"images":    {Images, "51b3946836f2f11180776a30c3351ff1884efd3da5c697dff084dc189b672cbb"},
		"sequences": {Sequences, "fd9e55d59cef30037dcd05d946cdbc7e5ad8bc211e88ba032ba61724a483d8d4"},
	} {
		x, labels := c.make(7, 64)
		h := sha256.New()
		h.Write(x.Bytes())
		for _, l := range labels {
			h.Write([]byte{byte(l)})
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != c.digest {
			t.Errorf("%s: digest %s, want %s", name, got, c.digest)
		}
		first, firstLabels := c.make(7, 5)
		if !slices.Equal(first.Bytes(), x.Bytes()[:len(first.Bytes())]) || !slices.Equal(firstLabels, labels[:5]) {
			t.Errorf("%s: the first samples depend on how many are asked for", name)
		}
	}
}

func TestEveryClassOccurs(t *testing.T) {
	for _, m := range Models() {
		x, labels := m.Test(500)
		if !x.Shape[1:].Equal(m.Shape) || x.DType != m.DType {
			t.Errorf("%s: samples are %v, want %v of shape %v", m.Name, x, m.DType, m.Shape)
		}
		count := make([]int, len(m.Classes))
		for _, l := range labels {
			count[l]++
		}
		for class, n := range count {
			if n < 25 {
				t.Errorf("%s: class %q occurs %d times in 500 samples", m.Name, m.Classes[class], n)
			}
		}
	}
}

func TestPixelsStayInRange(t *testing.T) {
	x, _ := Images(1, 50)
	for i, v := range tensor.Data[float32](x) {
		if v < -1 || v > 1 {
			t.Fatalf("element %d is %v", i, v)
		}
	}
}

// Undisturbed sequences follow the rule of their grammar.
func TestDerive(t *testing.T) {
	rules := map[int]func(s []int) bool{
		doubled: func(s []int) bool { return slices.Equal(s[:Tokens/2], s[Tokens/2:]) },
		mirror: func(s []int) bool {
			r := slices.Clone(s)
			slices.Reverse(r)
			return slices.Equal(r, s)
		},
		periodic: func(s []int) bool {
			for p := 3; p <= 7; p++ {
				if slices.Equal(s[p:], s[:Tokens-p]) {
					return true
				}
			}
			return false
		},
		sorted: slices.IsSorted[[]int],
		brackets: func(s []int) bool {
			var open []int
			for _, id := range s {
				if id%2 == 0 {
					open = append(open, id)
					continue
				}
				if len(open) == 0 || open[len(open)-1] != id-1 {
					return false
				}
				open = open[:len(open)-1]
			}
			return len(open) == 0
		},
		walk: func(s []int) bool {
			for i := 1; i < Tokens; i++ {
				if d := (s[i] - s[i-1] + Vocabulary) % Vocabulary; d != 1 && d != Vocabulary-1 {
					return false
				}
			}
			return true
		},
		alternating: func(s []int) bool {
			for i := 1; i < Tokens; i++ {
				if s[i]%2 == s[i-1]%2 {
					return false
				}
			}
			return true
		},
	}
	for grammar, follows := range rules {
		for sample := range 200 {
			var seq [Tokens]int
			derive(&seq, grammar, newRandom(3, sample))
			for _, id := range seq {
				if id < 0 || id >= Vocabulary {
					t.Fatalf("%s: token %d", Grammars[grammar], id)
				}
			}
			if !follows(seq[:]) {
				t.Fatalf("%s: %v does not follow the grammar", Grammars[grammar], seq)
			}
		}
	}
}

// Points of known place; a shape's outline may be given in either direction.
func TestContains(t *testing.T) {
	for _, c := range []struct {
		shape, u, v int
		want        bool
	}{
		{disk, 900, 0, true},
		{disk, 0, -970, false},
		{ring, 0, 0, false},
		{ring, 0, 800, true},
		{crescent, -800, 0, true},
		{crescent, 400, 0, false},
		{halfDisk, 0, 500, true},
		{halfDisk, 0, -500, false},
		{triangle, 0, 900, true},
		{triangle, 500, 500, false},
		{square, 700, 700, true},
		{square, 0, 800, false},
		{hexagon, 900, 0, true},
		{hexagon, 0, 950, false},
		{star, 0, 800, true},
		{star, 0, -800, false},
		{cross, 0, 900, true},
		{cross, 500, 500, false},
		{arrow, 900, 0, true},
		{arrow, -500, 500, false},
	} {
		if got := contains(c.shape, c.u, c.v); got != c.want {
			t.Errorf("%s contains (%d, %d): %v", Shapes[c.shape], c.u, c.v, got)
		}
	}
}
