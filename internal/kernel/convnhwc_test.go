package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// channelsLast brings [batch, channels, plane] to [batch, plane, channels].
func channelsLast[T any](x []T, batch, channels, plane int) []T {
	y := make([]T, len(x))
	for b := range batch {
		for c := range channels {
			for i := range plane {
				y[(b*plane+i)*channels+c] = x[(b*channels+c)*plane+i]
			}
		}
	}
	return y
}

func nhwcShapes() []ConvShape {
	shapes := convShapes()
	r := rand.New(rand.NewPCG(21, 22))
	for _, channels := range []int{2, 15, 16, 48, 63, 64, 65, 130, 384, 1000} { // depthwise
		k := 3 + 2*r.IntN(2)
		shapes = append(shapes, ConvShape{
			Batch: 1 + r.IntN(2), InC: channels, OutC: channels, Group: channels, In: []int{4 + r.IntN(4), 5 + r.IntN(12)}, Kernel: []int{k, k},
			Stride: []int{1 + r.IntN(2), 1 + r.IntN(2)}, PadBegin: []int{k / 2, k / 2}, PadEnd: []int{k / 2, r.IntN(2)}, Dilation: []int{1, 1 + r.IntN(2)},
			Activation: Activation{Kind: ActivationClip, Lo: -1, Hi: 2},
		})
	}
	for i, channels := range []int{20, 64, 100, 128} { // windows that slide
		k := [][]int{{3, 3}, {2, 3}, {3, 1}, {3, 3}}[i]
		shapes = append(shapes, ConvShape{
			Batch: 2, InC: channels, OutC: channels, Group: channels, In: []int{5 + i, 9 + 3*i}, Kernel: k, Stride: []int{1 + i/2, 1 + i%2}, Dilation: []int{1 + i%2, 1},
			PadBegin: []int{1, 1}, PadEnd: []int{1, 1}, Activation: Activation{Kind: ActivationClip, Lo: -1, Hi: 2},
		})
	}
	for _, outC := range []int{1, 16, 33, 64, 96} { // products
		shapes = append(shapes, ConvShape{
			Batch: 1 + r.IntN(3), InC: 4 * (1 + r.IntN(6)), OutC: outC, Group: 1, In: []int{3 + r.IntN(5), 3 + r.IntN(9)}, Kernel: []int{1 + r.IntN(3), 1 + r.IntN(3)},
			Stride: []int{1 + r.IntN(2), 1 + r.IntN(2)},
		})
	}
	return append(shapes, ConvShape{Batch: 1, InC: 3, OutC: 20, Group: 1, In: []int{23, 21}, Kernel: []int{7, 7}, Stride: []int{2, 2}, PadBegin: []int{3, 3}, PadEnd: []int{3, 3}})
}

func TestConvNHWC(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(1, 2))
		for i, s := range nhwcShapes() {
			terms := s.InC / s.Group * product(s.Kernel)
			in, out := product(s.In), product(s.Out())
			x, w := randomBytes(r, make([]byte, s.Batch*s.InC*in)), randomBytes(r, make([]byte, s.OutC*terms))
			xSigned, wSigned := r.IntN(2) == 1, r.IntN(4) != 0
			if i%4 == 1 { // the largest sums
				for j := range x {
					x[j] = []byte{0, 127, 128, 255}[r.IntN(4)]
				}
				for j := range w {
					w[j] = []byte{127, 128}[r.IntN(2)]
				}
			}
			xzp := widen(byte(r.Uint32()), xSigned)
			wzp := make([]int32, []int{0, 1, s.OutC}[i%3])
			for j := range wzp {
				wzp[j] = widen(byte(r.Uint32()), wSigned)
			}
			wScale, bias := randomF32(r, make([]float32, []int{1, s.OutC}[i%2])), randomF32(r, make([]float32, s.OutC*(i/2%2)))
			const xScale = 0.37
			q := randomRequant(r, s.OutC, terms)
			addend := make([]int32, s.OutC*(i%2))
			for o := range addend {
				addend[o] = r.Int32N(20000) - 10000
			}
			packed := PackConvNHWC(&s, w, wSigned, wzp)
			last, _ := guarded[byte](len(x), r.IntN(64))
			copy(last, channelsLast(x, s.Batch, s.InC, in))
			lo, hi := s.Activation.bounds()
			for _, p := range ps {
				what := fmt.Sprintf("%+v x signed %v w signed %v zero points %d threads %d", s, xSigned, wSigned, len(wzp), p.Threads())
				y, check := guarded[int32](s.Batch*s.OutC*out, r.IntN(16))
				f, checkF := guarded[float32](len(y), r.IntN(16))
				codes, checkCodes := guarded[byte](len(y), r.IntN(64))
				ConvInt8NHWC(p, &s, last, xSigned, xzp, packed, y)
				ConvInt8NHWCF32(p, &s, last, xSigned, xzp, xScale, packed, wScale, bias, f)
				ConvInt8NHWCRequant(p, &s, last, xSigned, xzp, packed, addend, q, nil, codes)
				for _, f := range []func() error{check, checkF, checkCodes} {
					if err := f(); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
				}
				eachConvOutput(&s, func(o, index int, input func(int) int) {
					var sum int32
					for term := range terms {
						if in := input(term); in >= 0 {
							sum += (widen(w[o*terms+term], wSigned) - at(wzp, o)) * (widen(x[in], xSigned) - xzp)
						}
					}
					b, position := index/out/s.OutC, index%out
					index = (b*out+position)*s.OutC + o
					want := float32(float32(sum) * float32(xScale*at(wScale, o)))
					if len(bias) > 0 {
						want += bias[o]
					}
					want = min(max(want, lo), hi)
					code := q.code(sum+valueAt(addend, o), o)
					if y[index] != sum || f[index] != want || codes[index] != code {
						t.Fatalf("%s: output %d of channel %d is %d, %v, %d, want %d, %v, %d (%+v)", what, position, o, y[index], f[index], codes[index], sum, want, code, *q)
					}
				})
			}
		}
	})
}

func TestDepthwiseF32NHWC(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(3, 4))
		for i, s := range nhwcShapes() {
			if !s.depthwise() || s.OutC != s.InC {
				continue
			}
			taps, in, out := product(s.Kernel), product(s.In), product(s.Out())
			x, w, bias := randomF32(r, make([]float32, s.Batch*s.InC*in)), randomF32(r, make([]float32, s.OutC*taps)), randomF32(r, make([]float32, s.OutC*(i%2)))
			last := channelsLast(x, s.Batch, s.InC, in)
			packed := PackDepthwiseF32(&s, w)
			lo, hi := s.Activation.bounds()
			var first []float32
			for _, p := range ps {
				y, check := guarded[float32](s.Batch*s.OutC*out, r.IntN(16))
				DepthwiseF32NHWC(p, &s, last, packed, bias, y)
				if err := check(); err != nil {
					t.Fatalf("%+v: %v", s, err)
				}
				if first == nil {
					first = y
				} else if err := sameBits(first, y); err != nil {
					t.Fatalf("%+v: depends on the threads: %v", s, err)
				}
			}
			eachConvOutput(&s, func(o, index int, input func(int) int) {
				var sum, size float64
				if len(bias) > 0 {
					sum, size = float64(bias[o]), math.Abs(float64(bias[o]))
				}
				for tap := range taps {
					if in := input(tap); in >= 0 {
						v := float64(x[in]) * float64(w[o*taps+tap])
						sum += v
						size += math.Abs(v)
					}
				}
				got := float64(first[(index/out/s.OutC*out+index%out)*s.OutC+o])
				if want := min(max(sum, float64(lo)), float64(hi)); math.Abs(got-want) > float64(taps+2)*0x1p-24*size {
					t.Fatalf("%+v: output %d of channel %d is %v, want %v", s, index%out, o, got, want)
				}
			})
		}
	})
}

func BenchmarkConvNHWC(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, s := range benchmarkShapes() {
		terms := s.InC / s.Group * product(s.Kernel)
		x, w := randomBytes(r, make([]byte, s.InC*product(s.In))), randomBytes(r, make([]byte, s.OutC*terms))
		y := make([]byte, s.OutC*product(s.Out()))
		work := 2 * float64(len(y)) * float64(terms)
		packed := PackConvNHWC(&s, w, true, nil)
		q := &Requant{Scale: []float32{1e-3}, Zero: 3}
		b.Run("int8/"+shapeName(&s), func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakInt8, work, func() { ConvInt8NHWCRequant(p, &s, x, false, 128, packed, nil, q, nil, y) })
			})
		})
		if s.depthwise() {
			x, w, y := randomF32(r, make([]float32, len(x))), randomF32(r, make([]float32, len(w))), make([]float32, len(y))
			packed := PackDepthwiseF32(&s, w)
			b.Run("f32/"+shapeName(&s), func(b *testing.B) {
				onThreads(b, func(b *testing.B, p *Pool) {
					flops(b, p, PeakF32, work, func() { DepthwiseF32NHWC(p, &s, x, packed, nil, y) })
				})
			})
		}
	}
}
