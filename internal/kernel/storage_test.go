package kernel

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// TestLastingWeights multiplies by weights on the heap and outside of it, with the collector at work.
func TestLastingWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	const m, n, k = 5, 170, 300
	for range 3 {
		a, b := vectorInput(r, m*k, false), vectorInput(r, k*n, false)
		packed, lasting := PackB(false, k, n, b, n), PackB(false, k, n, b, n, Lasting)
		want, got := make([]float32, m*n), make([]float32, m*n)
		GemmF32Packed(nil, false, m, 1, a, k, packed, 0, want, n)
		runtime.GC()
		GemmF32Packed(nil, false, m, 1, a, k, lasting, 0, got, n)
		runtime.KeepAlive(lasting)
		if !slices.Equal(got, want) {
			t.Fatal("float32 products differ")
		}

		codes, weights := randomBytes(r, make([]byte, m*k)), randomBytes(r, make([]byte, k*n*2))
		integer := PackInt8(k, 2*n, weights, 2*n, true, false, nil)
		sums, again := make([]int32, 2*m*n), make([]int32, 2*m*n)
		GemmInt8(nil, m, 2*n, k, codes, k, false, nil, integer, sums, 2*n)
		outside := PackInt8(k, 2*n, weights, 2*n, true, false, nil, Lasting)
		GemmInt8(nil, m, 2*n, k, codes, k, false, nil, outside, again, 2*n)
		runtime.KeepAlive(outside)
		if !slices.Equal(again, sums) {
			t.Fatal("integer products differ")
		}

		s := ConvShape{Batch: 1, InC: 64, OutC: 130, Group: 2, In: []int{9, 7}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}}
		x, w := vectorInput(r, s.InC*63, false), vectorInput(r, s.OutC*32*9, false)
		conv := PackConvF32(&s, w)
		if !slices.Equal(conv.unpacked(&s), w) {
			t.Fatal("weights of a convolution are not unpacked as they were packed")
		}
		y, z := make([]float32, s.OutC*63), make([]float32, s.OutC*63)
		ConvF32Packed(nil, &s, x, conv, nil, y)
		kept := PackConvF32(&s, w, Lasting)
		ConvF32Packed(nil, &s, x, kept, nil, z)
		runtime.KeepAlive(kept)
		if !slices.Equal(y, z) {
			t.Fatal("convolutions differ")
		}
	}
	runtime.GC() // gives back what is unreachable now
}
