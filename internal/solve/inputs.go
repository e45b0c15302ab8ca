package solve

import (
	"fmt"
	"math"
)

// Inputs keeps of the inputs of a layer what AWQ looks at: the mean size of each column, and an even sample of tokens. It is the same
// whatever pieces the tokens come in.
type Inputs struct {
	width, tokens int
	sizes         []float64 // sums of absolute values
	sample        []float32 // tokens whose place is at most limit
	kept          []int     // their numbers
	limit         uint64
	most          int
}

// NewInputs returns an account of no tokens for inputs of the given width, which keeps at most that many tokens, and about half as many
// at least where there are.
func NewInputs(width, most int) *Inputs {
	return &Inputs{width: width, sizes: make([]float64, width), most: max(most, 2), limit: math.MaxUint64}
}

// Add takes inputs, one row after the other. It panics if they are no whole rows.
func (in *Inputs) Add(x []float32) {
	if len(x)%max(in.width, 1) != 0 {
		panic(fmt.Sprintf("solve: %d values are no rows of %d", len(x), in.width))
	}
	for ; len(x) > 0; x = x[in.width:] {
		row := x[:in.width]
		for i, v := range row {
			in.sizes[i] += math.Abs(float64(v))
		}
		if place(in.tokens) <= in.limit {
			in.sample, in.kept = append(in.sample, row...), append(in.kept, in.tokens)
			if len(in.kept) > in.most {
				in.thin()
			}
		}
		in.tokens++
	}
}

// place spreads the numbers of tokens over all of uint64, so that those below a limit lie evenly among all tokens and at all positions of
// windows: the multiples of the golden ratio (Knuth, "The Art of Computer Programming", volume 3, section 6.4).
func place(token int) uint64 { return uint64(token) * 0x9E3779B97F4A7C15 }

// thin drops about every second token of the sample.
func (in *Inputs) thin() {
	in.limit /= 2
	sample, kept := in.sample[:0], in.kept[:0]
	for i, token := range in.kept {
		if place(token) <= in.limit {
			sample, kept = append(sample, in.sample[i*in.width:(i+1)*in.width]...), append(kept, token)
		}
	}
	in.sample, in.kept = sample, kept
}

// Sampled returns the number of tokens in the sample.
func (in *Inputs) Sampled() int { return len(in.sample) / max(in.width, 1) }

// means returns the mean absolute value of each column.
func (in *Inputs) means() []float64 {
	m := make([]float64, in.width)
	for i, s := range in.sizes {
		m[i] = s / float64(max(in.tokens, 1))
	}
	return m
}

// Scale divides the inputs by the scales of their columns, which is what a layer sees whose producer was divided by them.
func (in *Inputs) Scale(scales []float32) {
	inverse := make([]float32, in.width)
	for i, s := range scales {
		inverse[i] = 1 / s
		in.sizes[i] /= float64(s)
	}
	for i := range in.sample {
		in.sample[i] *= inverse[i%in.width]
	}
}
