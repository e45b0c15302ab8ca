package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// solveCase is a tile with a factor U, whose diagonal is near 1, and a grid.
func solveCase(r *rand.Rand, cols, ldu int, exact bool) (w, u, p []float32, g *Grid) {
	w = make([]float32, cols*SolveLanes)
	u, p = make([]float32, cols*ldu), make([]float32, cols*ldu)
	g = &Grid{Most: 15}
	draw := func(span float64) float32 {
		v := r.NormFloat64() * span
		if exact {
			v = math.Round(v*4) / 4
		}
		return float32(v)
	}
	for i := range w {
		w[i] = draw(2)
	}
	for i := range cols {
		for j := i; j < cols; j++ {
			u[i*ldu+j], p[i*ldu+j] = draw(0.3), draw(0.1)
		}
		u[i*ldu+i], p[i*ldu+i] = 2, 0
		if !exact {
			u[i*ldu+i] = 0.5 + r.Float32()
		}
	}
	for l := range SolveLanes {
		g.Scale[l], g.Zero[l] = 0.5, float32(l%16)
		if !exact {
			g.Scale[l] = 0.1 + r.Float32()
		}
	}
	return w, u, p, g
}

// TestSolveColumnsExact has numbers whose products and sums are exact, so that all implementations give the same.
func TestSolveColumnsExact(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 5))
		for cols := range 6 {
			for from := 0; from <= cols; from++ {
				for to := from; to <= cols; to++ {
					for _, drift := range []bool{false, true} {
						ldu := cols + r.IntN(3)
						w0, u, p, g := solveCase(r, cols, ldu, true)
						if !drift {
							p = nil
						}
						w, checkW := guarded[float32](len(w0), r.IntN(16))
						copy(w, w0)
						codes, checkCodes := guarded[byte]((to-from)*SolveLanes, r.IntN(64))
						errs, checkErrs := guarded[float32]((to-from)*SolveLanes, r.IntN(16))
						SolveColumns(w, cols, from, to, u, ldu, p, g, codes, errs)
						for _, check := range []func() error{checkW, checkCodes, checkErrs} {
							if err := check(); err != nil {
								t.Fatalf("%d columns, %d to %d: %v", cols, from, to, err)
							}
						}
						for l := range SolveLanes {
							want := make([]float64, cols)
							for c := range want {
								want[c] = float64(w0[c*SolveLanes+l])
							}
							for c := from; c < to; c++ {
								s, z := float64(g.Scale[l]), float64(g.Zero[l])
								x := want[c]
								q := math.Min(math.Max(math.RoundToEven(x/s)+z, 0), 15)
								want[c] = s * (q - z)
								e := (x - want[c]) / 2
								for j := c + 1; j < cols; j++ {
									want[j] -= e * float64(u[c*ldu+j])
									if drift {
										want[j] += x * float64(p[c*ldu+j])
									}
								}
								at := (c-from)*SolveLanes + l
								if float64(codes[at]) != q || float64(errs[at]) != e {
									t.Fatalf("%d columns, %d to %d, column %d, lane %d: code %v, error %v; want %v, %v", cols, from, to, c, l, codes[at], errs[at], q, e)
								}
							}
							for c := range want {
								if float64(w[c*SolveLanes+l]) != want[c] {
									t.Fatalf("%d columns, %d to %d, column %d, lane %d: %v, want %v", cols, from, to, c, l, w[c*SolveLanes+l], want[c])
								}
							}
						}
					}
				}
			}
		}
	})
}

// TestSolveColumnsClose compares with float64 arithmetic that takes the codes as they came: a code may differ only where x is near a tie.
func TestSolveColumnsClose(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 5))
		for _, cols := range []int{1, 7, 16, 64, 128, 130} {
			w0, u, p, g := solveCase(r, cols, cols+3, false)
			for i := range u { // errors neither die nor explode
				if i%(cols+4) != 0 {
					u[i] *= 0.3
				}
				p[i] *= 0.1
			}
			w := append([]float32{}, w0...)
			codes, errs := make([]byte, len(w)), make([]float32, len(w))
			SolveColumns(w, cols, 0, cols, u, cols+3, p, g, codes, errs)
			for l := range SolveLanes {
				x := make([]float64, cols)
				for c := range x {
					x[c] = float64(w0[c*SolveLanes+l])
				}
				s, z := float64(g.Scale[l]), float64(g.Zero[l])
				for c := range x {
					at := c*SolveLanes + l
					q := float64(codes[at])
					best := math.Min(math.Max(x[c]/s+z, 0), 15)
					if math.Abs(q-best) > 0.501 {
						t.Fatalf("%d columns, column %d, lane %d: code %v for %v", cols, c, l, q, best)
					}
					v := s * (q - z)
					e := (x[c] - v) / float64(u[c*(cols+3)+c])
					if math.Abs(e-float64(errs[at])) > 1e-3 || math.Abs(v-float64(w[at])) > 1e-4 {
						t.Fatalf("%d columns, column %d, lane %d: error %v and value %v, want %v and %v", cols, c, l, errs[at], w[at], e, v)
					}
					for j := c + 1; j < cols; j++ {
						x[j] += x[c]*float64(p[c*(cols+3)+j]) - e*float64(u[c*(cols+3)+j])
					}
				}
			}
		}
	})
}

func TestGridErrors(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 5))
		for _, norm := range []float32{1, 2, 2.4, 4} {
			for _, cols := range []int{0, 1, 2, 3, 64, 129} {
				w, _, _, g := solveCase(r, cols, cols, false)
				for i := range min(len(w), 3*SolveLanes) {
					switch i % 3 {
					case 0: // no error
						w[i] = g.Scale[i%SolveLanes] * float32(3-int(g.Zero[i%SolveLanes]))
					case 1:
						w[i] = 1e4
					}
				}
				var sums [SolveLanes]float32
				GridErrors(w, cols, g, norm, &sums)
				for l := range SolveLanes {
					want := 0.0
					for c := range cols {
						x := w[c*SolveLanes+l]
						_, v := g.code(l, x)
						want += math.Pow(math.Abs(float64(x-v)), float64(norm))
					}
					if math.Abs(float64(sums[l])-want) > want*float64(cols+16)*0x1p-20+float64(cols)*0x1p-126 {
						t.Fatalf("norm %v, %d columns, lane %d: %v, want %v", norm, cols, l, sums[l], want)
					}
				}
			}
		}
	})
}

func TestRoundToGrid(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(13, 5))
		for n := range 131 {
			x := vectorInput(r, n, true)
			dst, check := guarded[float32](n, r.IntN(16))
			scale, zero := float32(0.37), float32(n%16)
			RoundToGrid(dst, x, scale, zero, 15)
			if err := check(); err != nil {
				t.Fatalf("length %d: %v", n, err)
			}
			RoundToGrid(x[:n/2], x[:n/2], scale, zero, 15)
			for i, v := range dst {
				in := x[i]
				if i < n/2 {
					if in != v {
						t.Fatalf("in place: %v, want %v", in, v)
					}
					continue
				}
				if _, want := gridCode(in, scale, zero, 15); v != want {
					t.Fatalf("RoundToGrid(%v) = %v, want %v", in, v, want)
				}
			}
		}
	})
}

func BenchmarkSolveColumns(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	const cols = 128
	for _, drift := range []bool{false, true} {
		w0, u, p, g := solveCase(r, cols, cols, false)
		for i := range u {
			u[i] *= 0.1
			p[i] *= 0.1
		}
		for i := range cols {
			u[i*cols+i] = 1
		}
		if !drift {
			p = nil
		}
		w, codes, errs := make([]float32, len(w0)), make([]byte, len(w0)), make([]float32, len(w0))
		b.Run(fmt.Sprintf("128x%d/drift=%v", SolveLanes, drift), func(b *testing.B) {
			for range b.N {
				copy(w, w0)
				SolveColumns(w, cols, 0, cols, u, cols, p, g, codes, errs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(w)), "ns/weight")
		})
	}
	for _, norm := range []float32{2, 2.4} {
		w, _, _, g := solveCase(r, cols, cols, false)
		var sums [SolveLanes]float32
		b.Run(fmt.Sprintf("GridErrors/norm=%v", norm), func(b *testing.B) {
			for range b.N {
				GridErrors(w, cols, g, norm, &sums)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(w)), "ns/weight")
		})
	}
}
