package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// layerShapes are the matrices of a decoder layer, rows and columns, of two widespread models.
var layerShapes = []struct {
	name     string
	layers   int // enough to be read from memory
	matrices [][2]int
}{
	{"1b", 3, [][2]int{{2048, 2048}, {512, 2048}, {512, 2048}, {2048, 2048}, {8192, 2048}, {8192, 2048}, {2048, 8192}}},
	{"0.5b", 8, [][2]int{{896, 896}, {128, 896}, {128, 896}, {896, 896}, {4864, 896}, {4864, 896}, {896, 4864}}},
}

// benchmarkLayers multiplies rows of activations by all matrices of some layers: one token and the bandwidth it takes, 512 and
// the operations.
func benchmarkLayers(b *testing.B, peak Peak, pack func(r *rand.Rand, rows, cols int) (bytes int, multiply func(p *Pool, tokens int, x, dst []float32))) {
	for _, shape := range layerShapes {
		r := rand.New(rand.NewPCG(7, 9))
		var multiply []func(p *Pool, tokens int, x, dst []float32)
		bytes, weights := 0, 0
		for range shape.layers {
			for _, d := range shape.matrices {
				n, f := pack(r, d[0], d[1])
				multiply = append(multiply, f)
				bytes += n
				weights += d[0] * d[1]
			}
		}
		const tokens = 512
		x, dst := randomF32(r, make([]float32, tokens*8192)), make([]float32, tokens*8192)
		run := func(p *Pool, tokens, count int) {
			for _, f := range multiply[:count] {
				f(p, tokens, x, dst)
			}
		}
		b.Run(shape.name+"/decode", func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				limit := func(d time.Duration, clock func() time.Duration) float64 { return measureRead(p, bytes, 5*d, clock) }
				measured(b, p, "GB/s", float64(bytes), limit, func() { run(p, 1, len(multiply)) })
			})
		})
		b.Run(shape.name+"/prefill", func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				one := len(multiply) / shape.layers
				flops(b, p, peak, 2*tokens*float64(weights/shape.layers), func() { run(p, tokens, one) })
			})
		})
	}
}

func BenchmarkAffine(b *testing.B) {
	random := randomBytes(rand.New(rand.NewPCG(1, 1)), make([]byte, 1<<20))
	for _, bits := range []int{4, 5, 6, 8} {
		b.Run(fmt.Sprintf("int%d", bits), func(b *testing.B) {
			benchmarkLayers(b, PeakInt8, func(r *rand.Rand, rows, cols int) (int, func(*Pool, int, []float32, []float32)) {
				m := PackAffine(Shared(), AffineShape{Rows: rows, Cols: cols, Bits: bits, Group: 32, Offset: 1 << (bits - 1)}, func(row int, into AffineRow) {
					copy(into.Codes, random[row*4096%(len(random)-8192):])
					for i := range into.Codes {
						into.Codes[i] &= byte(1<<bits - 1)
					}
					for i := range into.Scale {
						into.Scale[i] = 0.01
					}
				}, Lasting)
				return m.Bytes(), func(p *Pool, tokens int, x, dst []float32) { m.Multiply(p, tokens, x, cols, dst, rows) }
			})
		})
	}
}
