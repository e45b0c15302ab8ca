package kernel

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkSyrk adds the Hessian of 2,048 tokens of a layer of 4,096 inputs: n*(n+1)*k operations.
func BenchmarkSyrk(b *testing.B) {
	const n, k = 4096, 2048
	a, c := benchmarkValues(k*n), make([]float32, n*n)
	onThreads(b, func(b *testing.B, p *Pool) {
		flops(b, p, PeakF32, float64(n)*(n+1)*k, func() { SyrkF32(p, false, true, n, k, 1, a, n, 0, c, n) })
	})
}

// BenchmarkCholesky factors a matrix of order 4,096: n^3/3 operations. The copy that each factorization overwrites counts as its own.
func BenchmarkCholesky(b *testing.B) {
	const n = 4096
	a, c := benchmarkValues(n*n), make([]float32, n*n)
	for i := range n { // diagonally dominant, so positive definite
		a[i*n+i] = 2 * n
	}
	onThreads(b, func(b *testing.B, p *Pool) {
		flops(b, p, PeakF32, float64(n)*n*n/3, func() {
			copy(c, a)
			if err := CholeskyF32(p, false, n, c, n); err != nil {
				b.Fatal(err)
			}
		})
	})
}

func benchmarkValues(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	v := make([]float32, n)
	for i := range v {
		v[i] = 2*r.Float32() - 1
	}
	return v
}
