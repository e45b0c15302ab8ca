package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func widen(v byte, signed bool) int32 {
	if signed {
		return int32(int8(v))
	}
	return int32(v)
}

// valueAt is v[i], or 0 of an empty v.
func valueAt[T int32 | float32](v []T, i int) T {
	if len(v) == 0 {
		return 0
	}
	return v[i]
}

// checkGemmInt8Case checks a product of random or extreme bytes of any signs and zero points, with
// guard zones and the gaps between the rows of C watched.
func checkGemmInt8Case(t *testing.T, r *rand.Rand, ps []*Pool, m, n, k int, extreme bool) {
	t.Helper()
	aSigned, bSigned, transB := r.IntN(2) == 1, r.IntN(2) == 1, r.IntN(2) == 1
	lda := k + r.IntN(5)
	a, _ := guarded[byte](max(0, (m-1)*lda+k), r.IntN(64))
	randomBytes(r, a)
	rowsB, colsB := k, n
	if transB {
		rowsB, colsB = n, k
	}
	ldb := colsB + r.IntN(5)
	b, _ := guarded[byte](max(0, (rowsB-1)*ldb+colsB), r.IntN(64))
	randomBytes(r, b)
	if extreme { // the values whose pairwise sums leave int16
		for i := range a {
			a[i] = []byte{0, 127, 128, 255}[r.IntN(4)]
		}
		for i := range b {
			b[i] = []byte{127, 128, 255}[r.IntN(3)]
		}
	}
	zeros := func(n int, signed bool) []int32 {
		z := make([]int32, []int{0, 1, n}[r.IntN(3)])
		for i := range z {
			z[i] = widen(byte(r.Uint32()), signed)
		}
		return z
	}
	azp, bzp := zeros(m, aSigned), zeros(n, bSigned)
	packed := PackInt8(k, n, b, ldb, bSigned, transB, bzp)
	aScale, bScale, bias := randomF32(r, make([]float32, []int{1, max(m, 1)}[r.IntN(2)])), randomF32(r, make([]float32, []int{1, max(n, 1)}[r.IntN(2)])), randomF32(r, make([]float32, n*r.IntN(2)))
	if m == 0 {
		aScale = aScale[:1]
	}
	if n == 0 {
		bScale = bScale[:1]
	}
	ldc := n + r.IntN(4)
	residual := randomF32(r, make([]float32, max(0, (m-1)*ldc+n)*r.IntN(2)))
	bAt := make([]int32, n*k) // column after column, less the zero points
	for j := range n {
		for l := range k {
			x := l*ldb + j
			if transB {
				x = j*ldb + l
			}
			bAt[j*k+l] = widen(b[x], bSigned) - at(bzp, j)
		}
	}
	want, wantF := make([]int32, max(0, (m-1)*ldc+n)), make([]float32, max(0, (m-1)*ldc+n))
	for x := range want {
		want[x], wantF[x] = -7, -7
	}
	row := make([]int32, k)
	for i := range m {
		for l := range row {
			row[l] = widen(a[i*lda+l], aSigned) - at(azp, i)
		}
		for j := range n {
			var sum int32
			for l, v := range bAt[j*k : (j+1)*k] {
				sum += row[l] * v
			}
			want[i*ldc+j] = sum
			f := float32(sum) * (at(aScale, i) * at(bScale, j))
			if len(bias) > 0 {
				f = float32(f) + bias[j]
			}
			if len(residual) > 0 {
				f = float32(f) + residual[i*ldc+j]
			}
			wantF[i*ldc+j] = f
		}
	}
	q := randomRequant(r, n, k)
	addend := make([]int32, n*r.IntN(2))
	for j := range addend {
		addend[j] = r.Int32N(20000) - 10000
	}
	oneZero := azp
	if len(azp) > 1 {
		oneZero = azp[:1]
	}
	for _, p := range ps {
		what := fmt.Sprintf("%dx%dx%d A signed %v zero %d, B signed %v zero %d transposed %v, threads %d", m, n, k, aSigned, len(azp), bSigned, len(bzp), transB, p.Threads())
		c, checkC := guarded[int32](len(want), r.IntN(16))
		f, checkF := guarded[float32](len(want), r.IntN(16))
		for i := range c {
			c[i], f[i] = -7, -7
		}
		GemmInt8(p, m, n, k, a, lda, aSigned, azp, packed, c, ldc)
		GemmInt8F32(p, m, n, k, a, lda, aSigned, azp, aScale, packed, bScale, bias, residual, f, ldc)
		if err := checkC(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := checkF(); err != nil {
			t.Fatalf("%s: float32: %v", what, err)
		}
		codes, checkCodes := guarded[byte](len(want), r.IntN(64))
		GemmInt8Requant(p, m, n, k, a, lda, aSigned, at(oneZero, 0), packed, addend, q, codes, ldc)
		if err := checkCodes(); err != nil {
			t.Fatalf("%s: codes: %v", what, err)
		}
		for x := range codes {
			i, j := x/ldc, x%ldc
			if j >= n {
				if codes[x] != 0xa5 {
					t.Fatalf("%s: codes: gap element %d was overwritten", what, x)
				}
				continue
			}
			sum := want[x]
			if d := at(azp, i) - at(oneZero, 0); d != 0 { // the codes have one zero point for all rows
				for _, v := range bAt[j*k : (j+1)*k] {
					sum += d * v
				}
			}
			if code := q.code(sum+valueAt(addend, j), j); codes[x] != code {
				t.Fatalf("%s: code %d is %d, want %d (%+v)", what, x, codes[x], code, *q)
			}
		}
		for x := range c {
			if c[x] != want[x] || f[x] != wantF[x] {
				t.Fatalf("%s: element %d is %d and %v, want %d and %v", what, x, c[x], f[x], want[x], wantF[x])
			}
		}
	}
}

func TestGemmInt8(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(1, 2))
		for size := range 131 {
			for s := range 3 {
				dims := [3]int{1 + r.IntN(20), 1 + r.IntN(60), 1 + r.IntN(60)}
				dims[s] = size
				checkGemmInt8Case(t, r, ps[:2], dims[0], dims[1], dims[2], size%3 == 0)
			}
		}
		for _, d := range [][3]int{{200, 100, 70}, {49, 300, 129}, {1, 700, 300}, {3, 97, 1000}, {9, 49, 3000}, {20, 33, 6000}} {
			for i := range 3 {
				checkGemmInt8Case(t, r, ps, d[0], d[1], d[2], i == 1)
			}
		}
	})
}

// The sum of the largest products leaves int32 and wraps alike everywhere.
func TestGemmInt8Wraps(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const k = 33100 // 255*255*k > 2^31
		a, b := make([]byte, k), make([]byte, k)
		for i := range a {
			a[i], b[i] = 255, 255
		}
		c := []int32{0}
		GemmInt8(nil, 1, 1, k, a, k, false, nil, PackInt8(k, 1, b, 1, false, false, nil), c, 1)
		product := int64(255 * 255 * k)
		if want := int32(product); c[0] != want {
			t.Errorf("sum is %d, want %d", c[0], want)
		}
	})
}

func BenchmarkGemmInt8(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, d := range gemmShapes {
		m, n, k := d.m, d.n, d.k
		x, y, c := randomBytes(r, make([]byte, m*k)), randomBytes(r, make([]byte, k*n)), make([]float32, m*n)
		packed := PackInt8(k, n, y, n, true, false, nil)
		work := 2 * float64(m) * float64(n) * float64(k)
		b.Run(d.name, func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakInt8, work, func() {
					GemmInt8F32(p, m, n, k, x, k, false, []int32{128}, []float32{1}, packed, []float32{1}, nil, nil, c, n)
				})
			})
		})
	}
}
