package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestConvF32NHWC(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(5, 6))
		shapes := append(nhwcShapes(), ConvShape{ // deeper than the weights of a strip in one go
			Batch: 1, InC: 700, OutC: 70, Group: 1, In: []int{3, 9}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1},
			Activation: Activation{Kind: ActivationReLU},
		})
		for i, channels := range [][2]int{{32, 48}, {32, 48}, {32, 48}, {80, 64}, {176, 160}} { // Winograd, both tiles
			for _, side := range [][2]int{{1, 1}, {2, 5}, {13, 20}, {7, 8}, {3, 4}}[i : i+1] {
				shapes = append(shapes, ConvShape{
					Batch: 2, InC: channels[0], OutC: channels[1], Group: 1, In: []int{side[0] + 1, side[1] + 2}, Kernel: []int{3, 3}, PadBegin: []int{1, 0}, PadEnd: []int{0, 1},
					Activation: Activation{Kind: ActivationReLU},
				})
			}
		}
		for i, s := range shapes {
			terms := s.InC / s.Group * product(s.Kernel)
			in, out := product(s.In), product(s.Out())
			x, w := randomF32(r, make([]float32, s.Batch*s.InC*in)), randomF32(r, make([]float32, s.OutC*terms))
			bias, residual := randomF32(r, make([]float32, s.OutC*(i%2))), randomF32(r, make([]float32, s.Batch*s.OutC*out*(i/2%2)))
			packed := PackConvF32NHWC(&s, w)
			last, _ := guarded[float32](len(x), r.IntN(16))
			copy(last, channelsLast(x, s.Batch, s.InC, in))
			lo, hi := s.Activation.bounds()
			var first []float32
			for _, p := range ps {
				what := fmt.Sprintf("%+v bias %d residual %d threads %d", s, len(bias), len(residual), p.Threads())
				y, check := guarded[float32](s.Batch*s.OutC*out, r.IntN(16))
				ConvF32NHWC(p, &s, last, packed, bias, residual, y)
				if err := check(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if first == nil {
					first = slices.Clone(y)
				} else if !slices.Equal(first, y) {
					t.Fatalf("%s: differs from another number of threads", what)
				}
			}
			largest, off := 0.0, 0.0
			eachConvOutput(&s, func(o, index int, input func(int) int) {
				at := (index/out/s.OutC*out+index%out)*s.OutC + o
				sum, size := 0.0, 0.0
				add := func(v float64) { sum, size = sum+v, size+math.Abs(v) }
				for term := range terms {
					if from := input(term); from >= 0 {
						add(float64(w[o*terms+term]) * float64(x[from]))
					}
				}
				add(float64(valueAt(bias, o)))
				add(float64(valueAt(residual, at)))
				want := min(max(sum, float64(lo)), float64(hi))
				got := float64(first[at])
				largest, off = max(largest, size), max(off, math.Abs(got-want))
				if !(packed.winograd && winogradPays(&s)) && math.Abs(got-want) > float64(terms+3)*0x1p-24*size {
					t.Fatalf("%+v: output %d of channel %d is %v, want %v", s, index%out, o, got, want)
				}
			})
			if packed.winograd && winogradPays(&s) {
				t.Logf("%v, %d channels: off by %.1f*2^-24 of the largest sum", s.In, s.InC, off/largest*0x1p24)
				if !(off <= 100*0x1p-24*largest) {
					t.Fatalf("%+v: off by %v, largest sum %v", s, off, largest)
				}
			}
		}
	})
}

// What is not a number stays so through a strip, with and without a residual, and stays in its row and column.
func TestConvF32NHWCNaN(t *testing.T) {
	onEach(t, func(t *testing.T) {
		s := ConvShape{Batch: 1, InC: 5, OutC: 50, Group: 1, In: []int{11}, Kernel: []int{1}, Activation: Activation{Kind: ActivationReLU}}
		x, w, residual := make([]float32, 55), make([]float32, 250), make([]float32, 550)
		nan := float32(math.NaN())
		x[3*5+2] = nan
		residual[7*50+49] = nan
		y := make([]float32, len(residual))
		ConvF32NHWC(nil, &s, x, PackConvF32NHWC(&s, w), nil, residual, y)
		for i, v := range y {
			if want := i/50 == 3 || i == 7*50+49; want != (v != v) {
				t.Fatalf("output %d is %v", i, v)
			}
		}
	})
}

// Codes that a convolution adds to its own are those of AddCodes behind it.
func TestConvNHWCAdds(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(8, 9))
		for _, s := range nhwcShapes() {
			terms := s.InC / s.Group * product(s.Kernel)
			x, w := randomBytes(r, make([]byte, s.Batch*s.InC*product(s.In))), randomBytes(r, make([]byte, s.OutC*terms))
			q := randomRequant(r, s.OutC, terms)
			packed := PackConvNHWC(&s, w, true, nil)
			want := make([]byte, s.Batch*s.OutC*product(s.Out()))
			other := randomBytes(r, make([]byte, len(want)))
			ConvInt8NHWCRequant(nil, &s, x, false, 100, packed, nil, q, nil, want)
			code := func() Code {
				return Code{Scale: 0.01 + r.Float32(), Zero: int32(int8(r.Uint32())) + 128*int32(1-btoi(q.Signed)), Signed: q.Signed}
			}
			add := &AddedCodes{Codes: other, Conv: code(), Code: code(), Sum: code()}
			add.Conv.Zero, add.Second = q.Zero, r.IntN(2) == 0
			if add.Second {
				AddCodes(want, &add.Sum, other, &add.Code, want, &add.Conv)
			} else {
				AddCodes(want, &add.Sum, want, &add.Conv, other, &add.Code)
			}
			for _, p := range pools(t) {
				got, check := guarded[byte](len(want), r.IntN(64))
				ConvInt8NHWCRequant(p, &s, x, false, 100, packed, nil, q, add, got)
				if err := check(); err != nil {
					t.Fatalf("%+v: %v", s, err)
				}
				if i := slices.Compare(got, want); i != 0 {
					t.Fatalf("%+v threads %d: codes differ", s, p.Threads())
				}
			}
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
