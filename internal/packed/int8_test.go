package packed

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestRowInt8Product holds products with 8-bit weights against their definition: each token is rounded with a scale of its own, its largest
// magnitude by 127, half to even; codes are multiplied and summed as integers, and the sum has both scales.
func TestRowInt8Product(t *testing.T) {
	p := kernel.NewPool(2)
	defer p.Close()
	r := rand.New(rand.NewPCG(8, 8))
	for _, c := range []struct{ tokens, rows, cols int }{{1, 1, 1}, {1, 40, 200}, {3, 65, 31}, {17, 33, 128}} {
		w, x := make([]float32, c.rows*c.cols), make([]float32, c.tokens*c.cols)
		for i := range w {
			w[i] = float32(r.NormFloat64() * 0.05)
		}
		for i := range x {
			x[i] = float32(r.NormFloat64() * math.Exp2(float64(8*(i/c.cols)-16))) // tokens of very different size
		}
		clear(x[(c.tokens-1)*c.cols/2 : (c.tokens-1)*c.cols/2+(c.tokens-1)/2]) // some zeros
		m, err := NewRowInt8(p, c.rows, c.cols, tensor.BFloat16, func(dst []float32, row int) { copy(dst, w[row*c.cols:]) })
		if err != nil {
			t.Fatal(err)
		}
		for _, isa := range impl.Caps() {
			restore := impl.Cap(isa)
			dst := make([]float32, c.tokens*c.rows)
			Prepare(p, m, c.rows, c.cols).Multiply(p, c.tokens, x, c.cols, dst, c.rows)
			restore()
			for token := range c.tokens {
				row := x[token*c.cols : (token+1)*c.cols]
				largest := float32(0)
				for _, v := range row {
					largest = max(largest, v, -v)
				}
				for out := range c.rows {
					sum := 0
					for i, v := range row {
						sum += int(math.RoundToEven(float64(v*(1/largest*127)))) * int(int8(m.Codes[out*c.cols+i]))
					}
					want := float64(sum) * float64(largest) / 127 * float64(m.Scales[out])
					if got := float64(dst[token*c.rows+out]); math.Abs(got-want) > 1e-6*math.Abs(want) {
						t.Fatalf("%s, %+v: output %d of token %d is %v, want %v", isa, c, out, token, got, want)
					}
				}
			}
		}
	}
	if _, err := NewRowInt8(p, 1, 2, tensor.Float16, func(dst []float32, _ int) { dst[0], dst[1] = 1, float32(math.Inf(1)) }); err == nil {
		t.Error("a weight that is not finite is taken")
	}
}
