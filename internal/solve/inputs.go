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
	sample        []float32 // every stride-th token
	most, stride  int
}

// NewInputs returns an account of no tokens for inputs of the given width, which keeps at most that many tokens, and at least half as
// many where there are.
func NewInputs(width, most int) *Inputs {
	return &Inputs{width: width, sizes: make([]float64, width), most: max(most, 2), stride: 1}
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
		if in.tokens%in.stride == 0 {
			in.sample = append(in.sample, row...)
			if len(in.sample) > in.most*in.width {
				in.thin()
			}
		}
		in.tokens++
	}
}

// thin drops every second token of the sample.
func (in *Inputs) thin() {
	in.stride *= 2
	kept := in.sample[:0]
	for i := 0; i < len(in.sample); i += 2 * in.width {
		kept = append(kept, in.sample[i:i+in.width]...)
	}
	in.sample = kept
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
