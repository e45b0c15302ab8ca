package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// halvesOf rounds x and returns the bits and what they stand for.
func halvesOf(x []float32) ([]uint16, []float32) {
	bits, values := make([]uint16, len(x)), make([]float32, len(x))
	F32ToBF16(bits, x)
	BF16ToF32(values, bits)
	return bits, values
}

// checkGemmBF16 compares a product with one in float64 of the rounded operands.
func checkGemmBF16(t *testing.T, r *rand.Rand, ps []*Pool, m, n, k int, alpha, beta float32) {
	t.Helper()
	transA, transB, packed, rounded := r.IntN(2) == 1, r.IntN(2) == 1, r.IntN(2) == 1, r.IntN(2) == 1
	rowsA, colsA, rowsB, colsB := m, k, k, n
	if transA {
		rowsA, colsA = k, m
	}
	if transB {
		rowsB, colsB = n, k
	}
	lda, ldb, ldc := max(1, colsA+r.IntN(4)), max(1, colsB+r.IntN(4)), n+r.IntN(4)
	a := randomF32(r, make([]float32, max(0, (rowsA-1)*lda+colsA)))
	b := randomF32(r, make([]float32, max(0, (rowsB-1)*ldb+colsB)))
	aBits, aValues := halvesOf(a)
	bBits, bValues := halvesOf(b)
	start := randomF32(r, make([]float32, max(0, (m-1)*ldc+n)))
	if beta == 0 && len(start) > 0 {
		start[0] = float32(math.NaN())
	}
	what := fmt.Sprintf("%dx%dx%d trans %v %v packed %v from bfloat16 %v alpha %v beta %v", m, n, k, transA, transB, packed, rounded, alpha, beta)
	var first []float32
	for _, p := range ps {
		c, check := guarded[float32](len(start), r.IntN(16))
		copy(c, start)
		switch {
		case packed && rounded:
			GemmBF16Packed(p, transA, m, alpha, aBits, lda, PackBF16(transB, k, n, bBits, ldb), beta, c, ldc)
		case packed:
			GemmBF16Packed(p, transA, m, alpha, a, lda, PackBF16(transB, k, n, b, ldb), beta, c, ldc)
		case rounded:
			GemmBF16(p, transA, transB, m, n, k, alpha, a, lda, bBits, ldb, beta, c, ldc)
		default:
			GemmBF16(p, transA, transB, m, n, k, alpha, aBits, lda, b, ldb, beta, c, ldc)
		}
		if err := check(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if first == nil {
			first = c
		} else if err := sameBits(first, c); err != nil {
			t.Fatalf("%s: differs from one thread: %v", what, err)
		}
	}
	left, right := wide(aValues, transA, lda, m, k), wide(bValues, !transB, ldb, n, k)
	for x := range first {
		i, j := x/ldc, x%ldc
		if j >= n {
			if first[x] != start[x] {
				t.Fatalf("%s: gap element (%d,%d) was overwritten", what, i, j)
			}
			continue
		}
		sum, size := dotOf(left[i*k:(i+1)*k], right[j*k:(j+1)*k])
		sum, size = sum*float64(alpha), size*math.Abs(float64(alpha))
		if beta != 0 {
			sum += float64(beta) * float64(start[x])
			size += math.Abs(float64(beta) * float64(start[x]))
		}
		if d := math.Abs(sum - float64(first[x])); !(d <= float64(k+2)*0x1p-24*size+1e-36) {
			t.Fatalf("%s: (%d,%d) = %v, want %v", what, i, j, first[x], sum)
		}
	}
}

func TestGemmBF16(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(1, 2))
		for size := range 131 {
			for s := range 3 {
				dims := [3]int{1 + r.IntN(20), 1 + r.IntN(60), 1 + r.IntN(40)}
				dims[s] = size
				checkGemmBF16(t, r, ps[:2], dims[0], dims[1], dims[2], 1, float32(size%2))
			}
		}
		for i, d := range [][3]int{{200, 100, 64}, {193, 49, 100}, {1, 500, 300}, {9, 50, 2*blockK - 1}, {9, 50, 2 * blockK}, {9, 50, 2*blockK + 1}, {33, 130, 161}} {
			checkGemmBF16(t, r, ps, d[0], d[1], d[2], -1.5, float32(i%2))
			checkGemmBF16(t, r, ps, d[0], d[1], d[2], 1, 0)
		}
	})
}

func TestGemmBF16SpecialValues(t *testing.T) {
	onEach(t, func(t *testing.T) {
		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		for _, m := range []int{1, 5, 9} {
			const n, k = 20, 11
			a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
			for i := range a {
				a[i] = 1
			}
			b[3*n+2], b[4*n+5], b[5*n+5] = nan, inf, -inf
			b[6*n+19], b[10*n+7] = inf, -inf
			b[2*n+1], b[9*n+1] = 0x1p-130, 2 // a subnormal beside a number
			b[8*n+3] = math.MaxFloat32       // rounds to infinity
			GemmBF16(nil, false, false, m, n, k, 1, a, k, b, n, 0, c, n)
			for x, v := range c {
				want := map[int]float32{2: nan, 5: nan, 19: inf, 7: -inf, 1: 2, 3: inf}[x%n]
				if v != want && (v == v || want == want) {
					t.Fatalf("m %d: column %d is %v, want %v", m, x%n, v, want)
				}
			}
		}
	})
}

func BenchmarkGemmBF16(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, d := range gemmShapes {
		m, n, k := d.m, d.n, d.k
		x, y, c := randomF32(r, make([]float32, m*k)), randomF32(r, make([]float32, k*n)), make([]float32, m*n)
		bits, _ := halvesOf(x)
		packed := PackBF16(false, k, n, y, n)
		work := 2 * float64(m) * float64(n) * float64(k)
		for _, layout := range []string{"f32", "bf16-packed"} {
			b.Run(d.name+"/"+layout, func(b *testing.B) {
				onThreads(b, func(b *testing.B, p *Pool) {
					flops(b, p, PeakBF16, work, func() {
						if layout == "f32" {
							GemmBF16(p, false, false, m, n, k, 1, x, k, y, n, 0, c, n)
						} else {
							GemmBF16Packed(p, false, m, 1, bits, k, packed, 0, c, n)
						}
					})
				})
			})
		}
	}
}
