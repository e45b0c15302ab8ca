package kernel

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func randomOf[T float32 | float64](r *rand.Rand, n int) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(r.NormFloat64())
	}
	return x
}

func epsilon[T float32 | float64]() float64 {
	if sizeOf[T]() == 4 {
		return 0x1p-24
	}
	return 0x1p-53
}

func equalBits[T float32 | float64](a, b []T) error {
	for i := range a {
		if a[i] != b[i] && (a[i] == a[i] || b[i] == b[i]) {
			return fmt.Errorf("element %d: %v and %v", i, a[i], b[i])
		}
	}
	return nil
}

// onBoth runs a generic test for float32 and float64 under every cap.
func onBoth(t *testing.T, f32, f64 func(t *testing.T)) {
	onEach(t, func(t *testing.T) {
		t.Run("f32", f32)
		t.Run("f64", f64)
	})
}

func TestSyrk(t *testing.T) {
	onBoth(t, func(t *testing.T) { checkSyrk(t, linearF32) }, func(t *testing.T) { checkSyrk(t, linearF64) })
}

func checkSyrk[T float32 | float64](t *testing.T, l linear[T]) {
	r := rand.New(rand.NewPCG(1, 2))
	ps := pools(t)
	sizes := [][2]int{{1, 1}, {7, 3}, {8, 0}, {9, 40}, {47, 5}, {48, 17}, {49, 400}, {97, 33}, {130, 9}, {200, 390}}
	for i, d := range sizes {
		n, k := d[0], d[1]
		for v := range 4 {
			upper, trans := v&1 != 0, v&2 != 0
			lda := k + 2
			if trans {
				lda = n + 2
			}
			a, start := randomOf[T](r, (max(n, k)+1)*lda), randomOf[T](r, n*(n+3))
			alpha, beta := T(1), T(i%3)
			if i%2 == 1 {
				alpha = -0.5
			}
			var first []T
			for _, p := range ps {
				c := append([]T(nil), start...)
				l.syrk(p, upper, trans, n, k, alpha, a, lda, beta, c, n+3)
				if first == nil {
					first = c
				} else if err := equalBits(c, first); err != nil {
					t.Fatalf("%v: threads %d: %v", d, p.Threads(), err)
				}
			}
			rows := wide(a, trans, lda, n, k)
			for x := range n * (n + 3) {
				i, j := x/(n+3), x%(n+3)
				if j >= n || upper && j < i || !upper && j > i {
					if first[x] != start[x] {
						t.Fatalf("%v upper %v: (%d,%d) was overwritten", d, upper, i, j)
					}
					continue
				}
				sum, size := dotOf(rows[i*k:(i+1)*k], rows[j*k:(j+1)*k])
				sum = sum*float64(alpha) + float64(beta)*float64(start[x])
				size = size*math.Abs(float64(alpha)) + math.Abs(float64(beta)*float64(start[x]))
				if d := math.Abs(float64(first[x]) - sum); !(d <= float64(2*k+4)*epsilon[T]()*size+1e-37) {
					t.Fatalf("%dx%d upper %v trans %v: (%d,%d) = %v, want %v", n, k, upper, trans, i, j, first[x], sum)
				}
			}
		}
	}
}

func TestSyrkF32F64(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, d := range [][2]int{{1, 5}, {30, 1000}, {49, 3100}, {97, 77}} {
			n, k := d[0], d[1]
			a := randomOf[float32](r, n*k)
			for v := range 4 {
				upper, trans := v&1 != 0, v&2 != 0
				lda := k
				if trans {
					lda = n
				}
				start := randomOf[float64](r, n*n)
				var first []float64
				for _, p := range pools(t) {
					c := append([]float64(nil), start...)
					SyrkF32F64(p, upper, trans, n, k, 2, a, lda, c, n)
					if first == nil {
						first = c
					} else if err := equalBits(c, first); err != nil {
						t.Fatal(err)
					}
				}
				rows := wide(a, trans, lda, n, k)
				for x := range first {
					i, j := x/n, x%n
					if upper && j < i || !upper && j > i {
						if first[x] != start[x] {
							t.Fatalf("%v upper %v: (%d,%d) was overwritten", d, upper, i, j)
						}
						continue
					}
					sum, size := dotOf(rows[i*k:(i+1)*k], rows[j*k:(j+1)*k])
					sum, size = 2*sum+start[x], 2*size+math.Abs(start[x])
					if d := math.Abs(first[x] - sum); !(d <= 770*0x1p-24*size) {
						t.Fatalf("%dx%d upper %v trans %v: (%d,%d) = %v, want %v", n, k, upper, trans, i, j, first[x], sum)
					}
				}
			}
		}
	})
}

// triangle returns a well-conditioned triangular matrix with noise in the other triangle.
func triangle[T float32 | float64](r *rand.Rand, n, ld int) []T {
	a := randomOf[T](r, n*ld)
	for i := range a {
		a[i] /= T(n)
	}
	for i := range n {
		a[i*ld+i] = T(1 + r.Float64())
	}
	return a
}

// entry is an element of the operand that t makes of a.
func entry[T float32 | float64](t Triangle, a []T, ld, i, j int) float64 {
	if t.Transposed {
		i, j = j, i
	}
	switch {
	case i == j && t.UnitDiagonal:
		return 1
	case t.Upper && j < i || !t.Upper && j > i:
		return 0
	}
	return float64(a[i*ld+j])
}

func TestTrsm(t *testing.T) {
	onBoth(t, func(t *testing.T) { checkTrsm(t, linearF32) }, func(t *testing.T) { checkTrsm(t, linearF64) })
}

func checkTrsm[T float32 | float64](t *testing.T, l linear[T]) {
	r := rand.New(rand.NewPCG(5, 6))
	ps := pools(t)
	for _, d := range [][2]int{{1, 1}, {3, 5}, {15, 16}, {16, 17}, {17, 9}, {33, 64}, {65, 3}, {100, 30}, {20, 300}} {
		for v := range 16 {
			tri := Triangle{v&1 != 0, v&2 != 0, v&4 != 0}
			right := v&8 != 0
			order, systems := d[0], d[1]
			m, n := order, systems
			if right {
				m, n = systems, order
			}
			lda, ldb := order+1, n+2
			a, b := triangle[T](r, order, lda), randomOf[T](r, m*ldb)
			var first []T
			for _, p := range ps {
				x := append([]T(nil), b...)
				l.trsm(p, right, tri, m, n, 2, a, lda, x, ldb)
				if first == nil {
					first = x
				} else if err := equalBits(x, first); err != nil {
					t.Fatalf("%v: threads %d: %v", d, p.Threads(), err)
				}
			}
			for x := range first {
				i, j := x/ldb, x%ldb
				if j >= n {
					if first[x] != b[x] {
						t.Fatalf("%v: gap (%d,%d) was overwritten", d, i, j)
					}
					continue
				}
				var sum float64
				size := math.Abs(2 * float64(b[x]))
				for q := range order {
					var v float64
					if right {
						v = entry(tri, a, lda, q, j) * float64(first[i*ldb+q])
					} else {
						v = entry(tri, a, lda, i, q) * float64(first[q*ldb+j])
					}
					sum += v
					size += math.Abs(v)
				}
				if d := math.Abs(sum - 2*float64(b[x])); !(d <= float64(order+8)*epsilon[T]()*size) {
					t.Fatalf("order %d, %d systems, right %v, %+v: row (%d,%d) gives %v, want %v", order, systems, right, tri, i, j, sum, 2*b[x])
				}
			}
		}
	}
}

func TestInvertTriangle(t *testing.T) {
	onBoth(t, func(t *testing.T) { checkInvert(t, linearF32) }, func(t *testing.T) { checkInvert(t, linearF64) })
}

func checkInvert[T float32 | float64](t *testing.T, l linear[T]) {
	r := rand.New(rand.NewPCG(7, 8))
	ps := pools(t)
	for _, n := range []int{1, 2, 16, 17, 40, 130} {
		for v := range 4 {
			tri := Triangle{Upper: v&1 != 0, UnitDiagonal: v&2 != 0}
			lda := n + 3
			a := triangle[T](r, n, lda)
			var first []T
			for _, p := range ps {
				x := append([]T(nil), a...)
				if err := l.invert(p, tri, n, x, lda); err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = x
				} else if err := equalBits(x, first); err != nil {
					t.Fatalf("%v: threads %d: %v", n, p.Threads(), err)
				}
			}
			for i := range n {
				for j := range lda {
					if j >= n || tri.Upper && j < i || !tri.Upper && j > i || i == j && tri.UnitDiagonal {
						if first[i*lda+j] != a[i*lda+j] {
							t.Fatalf("order %d %+v: (%d,%d) was overwritten", n, tri, i, j)
						}
						continue
					}
					var sum, size float64
					for q := range n {
						v := entry(tri, a, lda, i, q) * entry(tri, first, lda, q, j)
						sum += v
						size += math.Abs(v)
					}
					want := 0.0
					if i == j {
						want = 1
					}
					if d := math.Abs(sum - want); !(d <= 4*float64(n+8)*epsilon[T]()*(size+1)) {
						t.Fatalf("order %d %+v: product with the inverse at (%d,%d) is %v", n, tri, i, j, sum)
					}
				}
			}
		}
	}
	var pivot *PivotError
	a := triangle[T](r, 40, 40)
	a[33*40+33] = 0
	if err := l.invert(nil, Triangle{}, 40, a, 40); !errors.As(err, &pivot) || pivot.Index != 33 {
		t.Errorf("zero on the diagonal: %v", err)
	}
}

// positiveDefinite returns B*B^T/n + I.
func positiveDefinite[T float32 | float64](r *rand.Rand, n, ld int) []T {
	b := randomOf[float64](r, n*n)
	c := make([]float64, n*n)
	GemmF64(nil, false, true, n, n, n, 1/float64(n), b, n, b, n, 0, c, n)
	a := randomOf[T](r, n*ld)
	for i := range n {
		for j := range n {
			a[i*ld+j] = T(c[i*n+j])
		}
		a[i*ld+i]++
	}
	return a
}

func TestCholesky(t *testing.T) {
	onBoth(t, func(t *testing.T) { checkCholesky(t, linearF32) }, func(t *testing.T) { checkCholesky(t, linearF64) })
}

func checkCholesky[T float32 | float64](t *testing.T, l linear[T]) {
	r := rand.New(rand.NewPCG(9, 10))
	ps := pools(t)
	for _, n := range []int{1, 17, 64, 65, 130, 200} {
		for _, upper := range []bool{false, true} {
			lda := n + 3
			a := positiveDefinite[T](r, n, lda)
			var first []T
			for _, p := range ps {
				x := append([]T(nil), a...)
				if err := l.cholesky(p, upper, n, x, lda, 0); err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = x
				} else if err := equalBits(x, first); err != nil {
					t.Fatalf("%v: threads %d: %v", n, p.Threads(), err)
				}
			}
			tri := Triangle{Upper: upper}
			for i := range n {
				for j := range lda {
					if j >= n || upper && j < i || !upper && j > i {
						if first[i*lda+j] != a[i*lda+j] {
							t.Fatalf("order %d upper %v: (%d,%d) was overwritten", n, upper, i, j)
						}
						continue
					}
					var sum float64
					for q := range n {
						if upper {
							sum += entry(tri, first, lda, q, i) * entry(tri, first, lda, q, j)
						} else {
							sum += entry(tri, first, lda, i, q) * entry(tri, first, lda, j, q)
						}
					}
					if d := math.Abs(sum - float64(a[i*lda+j])); !(d <= float64(n+8)*epsilon[T]()*math.Sqrt(float64(a[i*lda+i])*float64(a[j*lda+j]))) {
						t.Fatalf("order %d upper %v: the factor gives %v at (%d,%d), want %v", n, upper, sum, i, j, a[i*lda+j])
					}
				}
			}
		}
	}
	for _, at := range []int{0, 5, 64, 100, 149} {
		const n = 150
		a := positiveDefinite[T](r, n, n)
		for i := range n { // row and column at are zero, so that the pivot is 0
			a[i*n+at], a[at*n+i] = 0, 0
		}
		var pivot *PivotError
		if err := l.cholesky(nil, at%2 == 0, n, a, n, 0); !errors.As(err, &pivot) || pivot.Index != at || pivot.Value != 0 {
			t.Errorf("pivot %d is zero: %v", at, err)
		}
		a = positiveDefinite[T](r, n, n)
		a[at*n+at] = T(math.NaN())
		if err := l.cholesky(nil, false, n, a, n, 0); !errors.As(err, &pivot) || pivot.Index != at || pivot.Value == pivot.Value {
			t.Errorf("pivot %d is NaN: %v", at, err)
		}
	}
}

// U from the inverse factor satisfies U^T*U*A = I.
func TestInverseFactor(t *testing.T) {
	onBoth(t, func(t *testing.T) { checkInverseFactor(t, linearF32) }, func(t *testing.T) { checkInverseFactor(t, linearF64) })
}

func checkInverseFactor[T float32 | float64](t *testing.T, l linear[T]) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, n := range []int{1, 2, 15, 70, 129} {
		lda := n + 1
		a := positiveDefinite[T](r, n, lda)
		u := append([]T(nil), a...)
		if err := l.inverseFactor(NewPool(1), n, u, lda); err != nil {
			t.Fatal(err)
		}
		inverse := make([]float64, n*n)
		for i := range n {
			if !(u[i*lda+i] > 0) {
				t.Fatalf("order %d: diagonal element %d is %v", n, i, u[i*lda+i])
			}
			for j := range n {
				if j < i && u[i*lda+j] != 0 {
					t.Fatalf("order %d: (%d,%d) is %v, want 0", n, i, j, u[i*lda+j])
				}
				for q := range min(i, j) + 1 {
					inverse[i*n+j] += float64(u[q*lda+i]) * float64(u[q*lda+j])
				}
			}
		}
		for i := range n {
			for j := range n {
				var sum float64
				for q := range n {
					sum += inverse[i*n+q] * float64(a[max(q, j)*lda+min(q, j)])
				}
				if i == j {
					sum--
				}
				if math.Abs(sum) > 20*float64(n+8)*epsilon[T]() {
					t.Fatalf("order %d: U^T*U*A at (%d,%d) is off by %v", n, i, j, sum)
				}
			}
		}
	}
}

func BenchmarkLinear(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{1024, 4096} {
		x, c := randomF32(r, make([]float32, n*n)), make([]float32, n*n)
		cube := float64(n) * float64(n) * float64(n)
		spd := make([]float32, n*n)
		SyrkF32(Shared(), false, false, n, n, 1/float32(n), x, n, 0, spd, n)
		for i := range n {
			spd[i*n+i]++
		}
		size := fmt.Sprintf("/%d", n)
		b.Run("SyrkF32"+size, func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakF32, cube, func() { SyrkF32(p, false, true, n, n, 1, x, n, 0, c, n) })
			})
		})
		b.Run("CholeskyF32"+size, func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakF32, cube/3, func() {
					copy(c, spd)
					if err := CholeskyF32(p, false, n, c, n); err != nil {
						b.Fatal(err)
					}
				})
			})
		})
		b.Run("InvertTriangleF32"+size, func(b *testing.B) {
			copy(c, spd)
			if err := CholeskyF32(Shared(), false, n, c, n); err != nil {
				b.Fatal(err)
			}
			l := append([]float32(nil), c...)
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakF32, cube/3, func() {
					copy(c, l)
					if err := InvertTriangleF32(p, Triangle{}, n, c, n); err != nil {
						b.Fatal(err)
					}
				})
			})
		})
		d, e := randomOf[float64](r, n*n), make([]float64, n*n)
		if n == 1024 {
			b.Run("GemmF64"+size, func(b *testing.B) {
				onThreads(b, func(b *testing.B, p *Pool) {
					flops(b, p, PeakF64, 2*cube, func() { GemmF64(p, false, false, n, n, n, 1, d, n, d, n, 0, e, n) })
				})
			})
		}
	}
}
