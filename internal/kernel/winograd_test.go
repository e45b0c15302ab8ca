package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// near reports the first element that is further than off from what is wanted; of what is not a number, that it is one.
func near(got, want []float32, off float64) (int, bool) {
	for i, v := range got {
		if !(math.Abs(float64(v)-float64(want[i])) <= off) && !(v != v && want[i] != want[i]) && v != want[i] {
			return i, false
		}
	}
	return 0, true
}

// Transforms and products equal their definitions but for rounding.
func TestWinogradSteps(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		const skew = 5
		for n := 16; n <= 128; n += 16 {
			src, _ := guarded[float32](8*(n+3)+n, r.IntN(16))
			randomF32(r, src)
			got, check := guarded[float32](35*(n+skew)+n, r.IntN(16))
			want := append([]float32(nil), got...)
			winogradFilter(n, src, n+3, got, n+skew)
			winogradFilterGeneric(n, src, n+3, want, n+skew)
			if i, ok := near(got, want, 1e-5); !ok || check() != nil {
				t.Fatalf("filter of %d: point %d, channel %d is %v, want %v; %v", n, i/(n+skew), i%(n+skew), got[i], want[i], check())
			}
			src, _ = guarded[float32](5*7*(n+3)+n, r.IntN(16))
			randomF32(r, src)
			src[r.IntN(n)] = float32(math.NaN())
			winogradInput(n, src, 6*(n+3), n+3, got, n+skew)
			winogradInputGeneric(n, src, 6*(n+3), n+3, want, n+skew)
			if i, ok := near(got, want, 1e-4); !ok || check() != nil {
				t.Fatalf("input of %d: point %d, channel %d is %v, want %v; %v", n, i/(n+skew), i%(n+skew), got[i], want[i], check())
			}
			bias, other := randomF32(r, make([]float32, n)), randomF32(r, make([]float32, 3*5*(n+3)+n))
			for height := 1; height <= 4; height++ {
				for width := 1; width <= 4; width++ {
					for _, add := range [][]float32{nil, other} {
						size := ((height-1)*4+width-1)*(n+3) + n
						y, check := guarded[float32](size, r.IntN(16))
						expected := append([]float32(nil), y...)
						winogradOutput(n, want, n+skew, bias, y, add, 4*(n+3), n+3, height, width, -20, 30)
						winogradOutputGeneric(n, want, n+skew, bias, expected, add, 4*(n+3), n+3, height, width, -20, 30)
						if i, ok := near(y, expected, 1e-3); !ok || check() != nil {
							t.Fatalf("%dx%d outputs of %d: pixel %d, channel %d is %v, want %v; %v", height, width, n, i/(n+3), i%(n+3), y[i], expected[i], check())
						}
					}
				}
			}
		}
		for rows := 1; rows <= 33; rows++ {
			for _, width := range []int{16, 32} {
				k := 4 * (1 + r.IntN(5))
				a := winogradProduct{rows: rows, width: width, k: k, aPoint: rows*k + skew, bPoint: k*width + skew, cPoint: rows*width + skew}
				a.a, a.b = randomF32(r, make([]float32, 35*a.aPoint+rows*k)), randomF32(r, make([]float32, 35*a.bPoint+k*width))
				got, check := guarded[float32](35*a.cPoint+rows*width, r.IntN(16))
				randomF32(r, got)
				want := append([]float32(nil), got...)
				for range 2 {
					a.c = got
					a.run()
					a.c = want
					a.generic()
					if i, ok := near(got, want, 1e-4); !ok || check() != nil {
						t.Fatalf("%+v: point %d, row %d, column %d is %v, want %v; %v", a, i/a.cPoint, i%a.cPoint/width, i%a.cPoint%width, got[i], want[i], check())
					}
					a.more = true
				}
			}
		}
	})
}
