package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestMaxPoolF32(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)[:2]
		r := rand.New(rand.NewPCG(15, 16))
		for i := range 120 {
			s := PoolShape{Batch: 1 + r.IntN(2), Channels: []int{1, 3, 16, 33}[r.IntN(4)], ChannelsLast: i%3 == 2}
			for range 1 + r.IntN(3) {
				s.In = append(s.In, 1+r.IntN(40/(1+len(s.In)*3)))
				s.Out = append(s.Out, 1+r.IntN(20/(1+len(s.In)))) // some windows lie outside
				s.Kernel = append(s.Kernel, 1+r.IntN(4))
				s.Stride = append(s.Stride, 1+r.IntN(3))
				s.Dilation = append(s.Dilation, 1+r.IntN(2))
				s.Pad = append(s.Pad, r.IntN(3))
			}
			if i%5 == 0 {
				s.Stride, s.Dilation, s.Pad = nil, nil, nil
			}
			in, out := product(s.In), product(s.Out)
			x := vectorInput(r, s.Batch*s.Channels*in, i%2 == 0)
			for _, p := range ps {
				y, check := guarded[float32](s.Batch*s.Channels*out, r.IntN(16))
				MaxPoolF32(p, &s, x, y)
				if err := check(); err != nil {
					t.Fatalf("%+v: %v", s, err)
				}
				at := func(plane, i, n int) int {
					if s.ChannelsLast {
						return (plane/s.Channels*n+i)*s.Channels + plane%s.Channels
					}
					return plane*n + i
				}
				for plane := range s.Batch * s.Channels {
					for o := range out {
						want := float32(-math.MaxFloat32)
						for k := range product(s.Kernel) {
							index, size, rest, tap, inside := 0, 1, o, k, true
							for d := len(s.In) - 1; d >= 0; d-- {
								pos := rest%s.Out[d]*axisOr(s.Stride, d, 1) + tap%s.Kernel[d]*axisOr(s.Dilation, d, 1) - axisOr(s.Pad, d, 0)
								rest, tap = rest/s.Out[d], tap/s.Kernel[d]
								inside = inside && pos >= 0 && pos < s.In[d]
								index += pos * size
								size *= s.In[d]
							}
							if inside && x[at(plane, index, in)] > want {
								want = x[at(plane, index, in)]
							}
						}
						if got := y[at(plane, o, out)]; got != want {
							t.Fatalf("%+v: output %d of plane %d is %v, want %v", s, o, plane, got, want)
						}
					}
				}
			}
		}
	})
}

func BenchmarkMaxPool(b *testing.B) {
	for _, last := range []bool{false, true} {
		s := PoolShape{Batch: 1, Channels: 64, In: []int{112, 112}, Out: []int{56, 56}, Kernel: []int{3, 3}, Stride: []int{2, 2}, Pad: []int{1, 1}, ChannelsLast: last}
		x, y := make([]float32, 64*112*112), make([]float32, 64*56*56)
		b.Run(fmt.Sprintf("64x112x112/3x3s2/last=%v", last), func(b *testing.B) {
			b.SetBytes(int64(4 * len(x)))
			for b.Loop() {
				MaxPoolF32(nil, &s, x, y)
			}
		})
	}
}
