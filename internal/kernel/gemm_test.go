package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// matrix is a random matrix stored with a leading dimension above its width.
func matrix(r *rand.Rand, rows, cols, ld int) []float32 {
	if rows == 0 || cols == 0 {
		return nil
	}
	s, _ := guarded[float32]((rows-1)*ld+cols, r.IntN(16))
	return randomF32(r, s)
}

// checkGemmF32 compares a product with one in float64, on nil and real pools, with guard zones and the
// gaps between the rows of C watched.
func checkGemmF32(t *testing.T, r *rand.Rand, ps []*Pool, transA, transB, packed bool, m, n, k int, alpha, beta float32) {
	t.Helper()
	rowsA, colsA := m, k
	if transA {
		rowsA, colsA = k, m
	}
	rowsB, colsB := k, n
	if transB {
		rowsB, colsB = n, k
	}
	lda, ldb, ldc := colsA+r.IntN(4), colsB+r.IntN(4), n+r.IntN(4)
	lda, ldb = max(lda, 1), max(ldb, 1)
	a, b := matrix(r, rowsA, lda, lda), matrix(r, rowsB, ldb, ldb)
	if len(a) > 0 {
		a = a[:(rowsA-1)*lda+colsA]
	}
	if len(b) > 0 {
		b = b[:(rowsB-1)*ldb+colsB]
	}
	start := randomF32(r, make([]float32, max(0, (m-1)*ldc+n)))
	if beta == 0 && len(start) > 0 {
		start[0] = float32(math.NaN())
	}
	var first []float32
	for _, p := range ps {
		c, check := guarded[float32](len(start), r.IntN(16))
		copy(c, start)
		if packed {
			GemmF32Packed(p, transA, m, alpha, a, lda, PackB(transB, k, n, b, ldb), beta, c, ldc)
		} else {
			GemmF32(p, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		}
		what := fmt.Sprintf("%dx%dx%d trans %v %v packed %v alpha %v beta %v threads %d", m, n, k, transA, transB, packed, alpha, beta, p.Threads())
		if err := check(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if first == nil {
			first = c
		} else if err := sameBits(first, c); err != nil {
			t.Fatalf("%s: differs from one thread: %v", what, err)
		}
	}
	left, right := wide(a, transA, lda, m, k), wide(b, !transB, ldb, n, k)
	for i := range m {
		for j := range ldc {
			at := i*ldc + j
			if at >= len(first) {
				break
			}
			if j >= n {
				if first[at] != start[at] {
					t.Fatalf("%dx%dx%d: gap element (%d,%d) was overwritten", m, n, k, i, j)
				}
				continue
			}
			sum, size := dotOf(left[i*k:(i+1)*k], right[j*k:(j+1)*k])
			sum *= float64(alpha)
			size *= math.Abs(float64(alpha))
			if beta != 0 {
				sum += float64(beta) * float64(start[at])
				size += math.Abs(float64(beta) * float64(start[at]))
			}
			if d := math.Abs(sum - float64(first[at])); !(d <= float64(k+2)*0x1p-24*size+1e-37) {
				t.Fatalf("%dx%dx%d trans %v %v packed %v: (%d,%d) = %v, want %v", m, n, k, transA, transB, packed, i, j, first[at], sum)
			}
		}
	}
}

func TestGemmF32Sizes(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(1, 2))
		trans := func() bool { return r.IntN(2) == 1 }
		for size := range 131 { // one size sweeps, the others are small
			for s := range 3 {
				dims := [3]int{1 + r.IntN(20), 1 + r.IntN(60), 1 + r.IntN(40)}
				dims[s] = size
				checkGemmF32(t, r, ps, trans(), trans(), trans(), dims[0], dims[1], dims[2], 1, 0)
			}
		}
		for m := range 10 {
			for _, n := range []int{0, 1, 2, 15, 16, 17, 33, 48, 49, 64, 65, 97} {
				for i := range 8 {
					checkGemmF32(t, r, ps[:2], i&1 != 0, i&2 != 0, i&4 != 0, m, n, 1+r.IntN(30), 0.5, 2)
				}
			}
		}
	})
}

func TestGemmF32Blocks(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(3, 4))
		for i, d := range [][3]int{
			{3, 70, 2 * blockK},
			{7, 50, 383},
			{9, 50, 384},
			{9, 50, 385},
			{200, 100, 64},
			{193, 49, 400},
			{1, 500, 300},
			{300, 1, 129},
			{4, 333, 257},
			{5, 97, 130},
			{8, 900, 129},
			{64, 64, sliceK + 1},
		} {
			for v := range 4 {
				if testing.Short() && v != i%4 {
					continue
				}
				checkGemmF32(t, r, ps, v&1 != 0, v&2 != 0, false, d[0], d[1], d[2], 1, float32(i%2))
			}
			checkGemmF32(t, r, ps, i%2 == 1, i%3 == 1, true, d[0], d[1], d[2], -1.5, float32(i%2))
		}
	})
}

// Of large operands slices are packed at a time.
func TestGemmF32Slices(t *testing.T) {
	words, slice := packWords, sliceK
	defer func() { packWords, sliceK = words, slice }()
	packWords, sliceK = 60*blockK, blockK
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for v := range 4 {
			checkGemmF32(t, r, pools(t), v&1 != 0, v&2 != 0, false, rowsMax+1+v, 101+v, blockK+17, 0.5, float32(v%3))
		}
	})
}

func TestGemmF32SpecialValues(t *testing.T) {
	onEach(t, func(t *testing.T) {
		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		for _, m := range []int{1, 5, 9} {
			const n, k = 20, 10
			a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
			for i := range a {
				a[i] = 1
			}
			b[3*n+2], b[4*n+5], b[5*n+5] = nan, inf, -inf
			b[6*n+19] = inf
			GemmF32(nil, false, false, m, n, k, 1, a, k, b, n, 0, c, n)
			for i := range m {
				for j, v := range c[i*n : (i+1)*n] {
					switch j {
					case 2, 5:
						if v == v {
							t.Fatalf("m %d: column %d is %v, want NaN", m, j, v)
						}
					case 19:
						if v != inf {
							t.Fatalf("m %d: column %d is %v, want +Inf", m, j, v)
						}
					default:
						if v != 0 {
							t.Fatalf("m %d: column %d is %v, want 0", m, j, v)
						}
					}
				}
			}
		}
	})
}

func TestGemmF64(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	ps := pools(t)
	for i, d := range [][3]int{{1, 1, 1}, {5, 9, 17}, {16, 8, 128}, {17, 7, 129}, {40, 33, 300}, {3, 4, 0}, {0, 4, 3}} {
		m, n, k := d[0], d[1], d[2]
		for v := range 4 {
			transA, transB := v&1 != 0, v&2 != 0
			a, b, start := make([]float64, m*k), make([]float64, k*n), make([]float64, m*n)
			for _, s := range [][]float64{a, b, start} {
				for i := range s {
					s[i] = r.NormFloat64()
				}
			}
			lda, ldb := max(k, 1), max(n, 1)
			if transA {
				lda = max(m, 1)
			}
			if transB {
				ldb = max(k, 1)
			}
			var first []float64
			for _, p := range ps {
				c := append([]float64(nil), start...)
				GemmF64(p, transA, transB, m, n, k, 2, a, lda, b, ldb, float64(i%3), c, max(n, 1))
				if first == nil {
					first = c
				}
				for x := range c {
					if c[x] != first[x] {
						t.Fatalf("%v: element %d depends on the threads", d, x)
					}
				}
			}
			for x := range m * n {
				want := float64(i%3) * start[x]
				for l := range k {
					va, vb := a[min(x/n*lda+l, len(a)-1)], b[min(l*ldb+x%n, len(b)-1)]
					if transA {
						va = a[l*lda+x/n]
					}
					if transB {
						vb = b[x%n*ldb+l]
					}
					want += 2 * va * vb
				}
				if math.Abs(first[x]-want) > 1e-11 {
					t.Fatalf("%v trans %v %v: element %d is %v, want %v", d, transA, transB, x, first[x], want)
				}
			}
		}
	}
}

// gemmShapes are products that users meet: squares, BERT-base layers at 128 tokens, a convolution as a product, decoding one token, a small batch.
var gemmShapes = []struct {
	name    string
	m, n, k int
}{
	{"1024x1024x1024", 1024, 1024, 1024},
	{"2048x2048x2048", 2048, 2048, 2048},
	{"bert-qkv-128x768x768", 128, 768, 768},
	{"bert-up-128x3072x768", 128, 3072, 768},
	{"bert-down-128x768x3072", 128, 768, 3072},
	{"resnet-3x3-64x3136x576", 64, 3136, 576},
	{"decode-1x4096x4096", 1, 4096, 4096},
	{"batch-16x4096x4096", 16, 4096, 4096},
}

func BenchmarkGemmF32(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, d := range gemmShapes {
		m, n, k := d.m, d.n, d.k
		x, y, c := randomF32(r, make([]float32, m*k)), randomF32(r, make([]float32, k*n)), make([]float32, m*n)
		packed := PackB(false, k, n, y, n)
		work := 2 * float64(m) * float64(n) * float64(k)
		for _, layout := range []string{"nn", "nt", "packed"} {
			b.Run(d.name+"/"+layout, func(b *testing.B) {
				onThreads(b, func(b *testing.B, p *Pool) {
					flops(b, p, PeakF32, work, func() {
						switch layout {
						case "nn":
							GemmF32(p, false, false, m, n, k, 1, x, k, y, n, 0, c, n)
						case "nt":
							GemmF32(p, false, true, m, n, k, 1, x, k, y, k, 0, c, n)
						default:
							GemmF32Packed(p, false, m, 1, x, k, packed, 0, c, n)
						}
					})
				})
			})
		}
	}
}
