package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// evenTable has bounds between even values of which some are left out, and codes in no order.
func evenTable() (*CodeTable, []float32, []byte) {
	bounds := []float32{-0.9, -0.8, -0.61, -0.5, -0.3399, -0.2, -0.07, 0.0398, 0.12, 0.2035, 0.34, 0.45, 0.57, 0.7, 0.9001}
	order := []byte{3, 2, 1, 0, 15, 14, 13, 12, 4, 5, 6, 7, 8, 9, 10, 11}
	var values [16]float32
	for i, c := range order {
		values[c] = float32(i)/7.5 - 1
	}
	return NewCodeTable(values, bounds, order), bounds, order
}

func TestCodeTable(t *testing.T) {
	table, bounds, order := evenTable()
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 9))
		for _, block := range []int{2, 10, 16, 32, 64, 4096} {
			for _, blocks := range []int{0, 1, 2, 5} {
				x := randomF32(r, make([]float32, block*blocks))
				for i := range x {
					switch {
					case i/block == 1:
						x[i] = 0
					case i/block == 2: // the bounds themselves, and their neighbours
						b := bounds[r.IntN(len(bounds))]
						x[i] = []float32{b, math.Nextafter32(b, 2), math.Nextafter32(b, -2), 1, -1}[r.IntN(5)]
						x[i/block*block] = 1
					}
				}
				dst, check := guarded[byte](len(x)/2, r.IntN(16))
				absmax, checkMax := guarded[float32](blocks, 0)
				table.Encode(block, dst, absmax, x)
				for _, f := range []func() error{check, checkMax} {
					if err := f(); err != nil {
						t.Fatal(err)
					}
				}
				for i, v := range x {
					largest := float32(0)
					for _, w := range x[i/block*block : (i/block+1)*block] {
						largest = max(largest, abs32(w))
					}
					if absmax[i/block] != largest {
						t.Fatalf("blocks of %d: absmax %v, want %v", block, absmax[i/block], largest)
					}
					v *= 1 / max(largest, 1e-38)
					above := 0
					for above < len(bounds) && v > bounds[above] {
						above++
					}
					if got := dst[i/2] >> (4 * (1 - i%2)) & 15; got != order[above] {
						t.Fatalf("blocks of %d: %v has code %d, want %d", block, v, got, order[above])
					}
				}
			}
		}
	})
}

func BenchmarkCodeTable(b *testing.B) {
	table, _, _ := evenTable()
	x := randomF32(rand.New(rand.NewPCG(1, 2)), make([]float32, 1<<14))
	dst, absmax := make([]byte, len(x)/2), make([]float32, len(x)/64)
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		table.Encode(64, dst, absmax, x)
	}
}
