package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// gradShapes are convolutions whose gradients are compared with their definitions.
var gradShapes = []ConvShape{
	{Batch: 3, InC: 16, OutC: 16, Group: 1, In: []int{9, 7}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}},
	{Batch: 2, InC: 3, OutC: 20, Group: 1, In: []int{8, 9}, Kernel: []int{3, 2}, Stride: []int{2, 2}, PadBegin: []int{1, 0}, PadEnd: []int{1, 1}},
	{Batch: 18, InC: 32, OutC: 48, Group: 1, In: []int{5, 5}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}},
	{Batch: 2, InC: 8, OutC: 12, Group: 2, In: []int{7}, Kernel: []int{3}, Dilation: []int{2}, PadBegin: []int{2}, PadEnd: []int{2}},
	{Batch: 2, InC: 32, OutC: 32, Group: 1, In: []int{8, 8}, Kernel: []int{1, 1}, Stride: []int{2, 2}},
	{Batch: 3, InC: 10, OutC: 10, Group: 10, In: []int{6, 7}, Kernel: []int{3, 3}, Stride: []int{1, 2}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}},
}

func TestConvGradients(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for i := range gradShapes {
			s := gradShapes[i]
			in, out, terms := product(s.In), s.outs(), s.InC/s.Group*product(s.Kernel)
			x, w, dy := randomF32(r, make([]float32, s.Batch*s.InC*in)), randomF32(r, make([]float32, s.OutC*terms)), randomF32(r, make([]float32, s.Batch*s.OutC*out))
			wantW, wantX := make([]float64, len(w)), make([]float64, len(x))
			eachConvOutput(&s, func(o, index int, input func(int) int) {
				for term := range terms {
					if at := input(term); at >= 0 {
						wantW[o*terms+term] += float64(dy[index]) * float64(x[at])
						wantX[at] += float64(dy[index]) * float64(w[o*terms+term])
					}
				}
			})
			lastX, lastDY := channelsLast(x, s.Batch, s.InC, in), channelsLast(dy, s.Batch, s.OutC, out)
			for _, p := range pools(t) {
				dw := make([]float32, len(w))
				if s.depthwise() {
					DepthwiseWeightGradF32NHWC(p, &s, lastX, lastDY, dw)
				} else {
					ConvWeightGradF32NHWC(p, new(ConvGradPlans), &s, lastX, lastDY, dw)
				}
				closeTo(t, "weights", dw, wantW)
				g, ok := s.InputGradShape()
				if !ok {
					t.Fatalf("%+v has no input gradient", s)
				}
				turned, spread := make([]float32, len(w)), lastDY
				TurnConvWeights(&s, turned, w)
				if product(g.In) != out {
					spread = make([]float32, s.Batch*s.OutC*product(g.In))
					stride := make([]int, len(s.In))
					for i := range stride {
						stride[i] = axisOr(s.Stride, i, 1)
					}
					SpreadNHWC(p, s.Batch, s.OutC, s.Out(), stride, lastDY, spread)
				}
				dx := make([]float32, len(x))
				packed := PackConvF32NHWC(g, make([]float32, len(w)))
				packed.Repack(g, turned)
				ConvF32NHWC(p, g, spread, packed, nil, nil, dx)
				want := make([]float64, len(x))
				for b := range s.Batch {
					for c := range s.InC {
						for q := range in {
							want[(b*in+q)*s.InC+c] = wantX[(b*s.InC+c)*in+q]
						}
					}
				}
				closeTo(t, "input", dx, want)
			}
		}
	})
}

func closeTo(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	scale := 0.0
	for _, v := range want {
		scale = max(scale, math.Abs(v))
	}
	for i, v := range want {
		if !(math.Abs(float64(got[i])-v) <= 1e-5*scale) {
			t.Fatalf("%s %d: %v, want %v", what, i, got[i], v)
		}
	}
}

func TestChannelLoops(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, channels := range []int{1, 3, 16, 700} {
			const rows = 301
			x, y := randomF32(r, make([]float32, rows*channels)), randomF32(r, make([]float32, rows*channels))
			a, b, c := randomF32(r, make([]float32, channels)), randomF32(r, make([]float32, channels)), randomF32(r, make([]float32, channels))
			wantSum, wantProduct := make([]float64, channels), make([]float64, channels)
			affine, blend := make([]float64, len(x)), make([]float64, len(x))
			for i, v := range x {
				k := i % channels
				wantSum[k] += float64(y[i])
				wantProduct[k] += (float64(v) - float64(a[k])) * float64(y[i])
				affine[i] = float64(v)*float64(a[k]) + float64(b[k])
				blend[i] = float64(v)*float64(a[k]) + float64(y[i])*float64(b[k]) + float64(c[k])
			}
			for _, p := range pools(t) {
				sum, products := make([]float64, channels), make([]float64, channels)
				ChannelSums(p, rows, channels, x, y, a, sum, products)
				got := make([]float32, 2*channels)
				for i := range sum {
					got[i], got[channels+i] = float32(sum[i]), float32(products[i])
				}
				closeTo(t, "sums", got, append(append([]float64{}, wantSum...), wantProduct...))
				dst := make([]float32, len(x))
				ChannelAffine(p, rows, channels, dst, x, a, b)
				closeTo(t, "affine", dst, affine)
				ChannelBlend(p, rows, channels, dst, x, a, y, b, c)
				closeTo(t, "blend", dst, blend)
			}
		}
	})
}

func TestMaskPositive(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		special := []float32{0, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, 1e-40, 5, float32(math.Inf(1))}
		for n := range 131 {
			d, y := vectorInput(r, n, true), make([]float32, n)
			for i := range y {
				y[i] = special[r.IntN(len(special))]
			}
			got, check := guarded[float32](n, r.IntN(16))
			MaskPositive(got, d, y)
			if err := check(); err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				want := uint32(0)
				if y[i] > 0 {
					want = math.Float32bits(d[i])
				}
				if math.Float32bits(v) != want {
					t.Errorf("%d of %d: %v of %v where %v", i, n, v, d[i], y[i])
				}
			}
		}
	})
}
