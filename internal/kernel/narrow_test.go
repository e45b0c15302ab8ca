package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestMultiplyNarrow(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(3, 8))
		for i := range 160 {
			rows, cols, tokens := 1+r.IntN(60), i, 1+r.IntN(24)
			switch {
			case i > 150:
				rows, cols = 200+r.IntN(200), 500+r.IntN(600)
			case i > 130:
				rows, cols, tokens = 1, r.IntN(600), 1
			}
			checkNarrow(t, r, ps, i%2 == 0, rows, cols, tokens)
		}
	})
}

func checkNarrow(t *testing.T, r *rand.Rand, ps []*Pool, bfloat bool, rows, cols, tokens int) {
	t.Helper()
	what := fmt.Sprintf("%d x %d times %d, bfloat16 %v", rows, cols, tokens, bfloat)
	w := make([]uint16, rows*cols)
	weights := randomF32(r, make([]float32, rows*cols))
	if bfloat {
		F32ToBF16(w, weights)
		BF16ToF32(weights, w)
	} else {
		F32ToF16(w, weights)
		F16ToF32(weights, w)
	}
	ldx, ldd := max(1, cols)+r.IntN(3), rows+r.IntN(3)
	x := randomF32(r, make([]float32, (tokens-1)*ldx+cols))
	rounded := r.IntN(2) == 0
	bound := float64(cols+8) * 0x1p-24
	if tokens > fewRows() && rounded && nativeBF16() {
		bound = 0x1p-7
	}
	var first []float32
	for _, p := range ps {
		dst, check := guarded[float32]((tokens-1)*ldd+rows, r.IntN(16))
		MultiplyNarrow(p, bfloat, rounded, cols, tokens, x, ldx, []NarrowProduct{{rows, w, dst, ldd}})
		if err := check(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for tk := range tokens {
			for row := range rows {
				v := dst[tk*ldd+row]
				if first != nil && first[tk*ldd+row] != v {
					t.Fatalf("%s: differs from one thread", what)
				}
				var sum, size float64
				for c := range cols {
					p := float64(x[tk*ldx+c]) * float64(weights[row*cols+c])
					sum += p
					size += math.Abs(p)
				}
				if d := math.Abs(sum - float64(v)); !(d <= bound*size) {
					t.Fatalf("%s: row %d of token %d is %v, want %v", what, row, tk, v, sum)
				}
			}
		}
		if first == nil {
			first = dst
		}
	}
}

func BenchmarkNarrow(b *testing.B) {
	random := randomBytes(rand.New(rand.NewPCG(1, 1)), make([]byte, 1<<20))
	for i, name := range []string{"f16", "bf16", "f16-rounded", "bf16-rounded"} {
		bfloat, rounded := i%2 == 1, i > 1
		b.Run(name, func(b *testing.B) {
			peak := PeakF32
			if rounded {
				peak = PeakBF16
			}
			benchmarkLayers(b, peak, func(_ *rand.Rand, rows, cols int) (int, func(*Pool, int, []float32, []float32)) {
				w := make([]uint16, rows*cols)
				for i := range w {
					w[i] = uint16(random[i&(1<<20-1)])<<5 | 0x2000
				}
				return 2 * len(w), func(p *Pool, tokens int, x, dst []float32) {
					MultiplyNarrow(p, bfloat, rounded, cols, tokens, x, cols, []NarrowProduct{{rows, w, dst, rows}})
				}
			})
		})
	}
}
