package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachConvOutput calls one for each output element of s with its channel and index in y, and a function that
// gives the index in x of each term of its sum, or -1 in the padding: the definition of ONNX Conv.
func eachConvOutput(s *ConvShape, one func(o, at int, input func(term int) int)) {
	out := s.Out()
	plane, kernel, in := product(out), product(s.Kernel), product(s.In)
	perIn, perOut := s.InC/s.Group, s.OutC/s.Group
	pos := make([]int, len(out))
	for bo := range s.Batch * s.OutC {
		b, o := bo/s.OutC, bo%s.OutC
		for q := range plane {
			for rest, d := q, len(out)-1; d >= 0; d-- {
				pos[d] = rest % out[d]
				rest /= out[d]
			}
			one(o, bo*plane+q, func(term int) int {
				c, rest := term/kernel, term%kernel
				index, step := 0, 1
				for d := len(out) - 1; d >= 0; d-- {
					i := pos[d]*axisOr(s.Stride, d, 1) + rest%s.Kernel[d]*axisOr(s.Dilation, d, 1) - axisOr(s.PadBegin, d, 0)
					rest /= s.Kernel[d]
					if i < 0 || i >= s.In[d] {
						return -1
					}
					index += i * step
					step *= s.In[d]
				}
				return (b*s.InC+o/perOut*perIn+c)*in + index
			})
		}
	}
}

func convShapes() []ConvShape {
	shapes := []ConvShape{
		{Batch: 2, InC: 3, OutC: 16, Group: 1, In: []int{9, 11}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}},
		{Batch: 1, InC: 16, OutC: 33, Group: 1, In: []int{8, 8}, Kernel: []int{1, 1}},
		{Batch: 1, InC: 5, OutC: 7, Group: 1, In: []int{10, 13}, Kernel: []int{3, 2}, Stride: []int{2, 3}, Dilation: []int{1, 2}, PadBegin: []int{0, 2}, PadEnd: []int{1, 0}},
		{Batch: 2, InC: 8, OutC: 12, Group: 4, In: []int{7, 6}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}, Activation: Activation{Kind: ActivationReLU}},
		{Batch: 2, InC: 6, OutC: 6, Group: 6, In: []int{12, 20}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}, Activation: Activation{Kind: ActivationClip, Lo: -0.5, Hi: 0.75}},
		{Batch: 1, InC: 4, OutC: 8, Group: 4, In: []int{9, 9}, Kernel: []int{5, 3}, Stride: []int{2, 2}, PadBegin: []int{2, 1}, PadEnd: []int{2, 0}},
		{Batch: 2, InC: 4, OutC: 5, Group: 1, In: []int{70}, Kernel: []int{7}, PadBegin: []int{6}, Stride: []int{1}},
		{Batch: 1, InC: 3, OutC: 3, Group: 3, In: []int{100}, Kernel: []int{300}, PadBegin: []int{200}, PadEnd: []int{100}, Stride: []int{3}},
		{Batch: 1, InC: 2, OutC: 9, Group: 1, In: []int{5, 6, 7}, Kernel: []int{2, 3, 3}, Stride: []int{1, 2, 2}, PadBegin: []int{1, 0, 1}, PadEnd: []int{0, 1, 1}},
		{Batch: 1, InC: 4, OutC: 4, Group: 4, In: []int{4, 5, 6}, Kernel: []int{2, 2, 3}, PadBegin: []int{1, 1, 1}, PadEnd: []int{1, 1, 1}, Dilation: []int{2, 1, 1}},
		{Batch: 1, InC: 64, OutC: 70, Group: 1, In: []int{14, 14}, Kernel: []int{3, 3}, PadBegin: []int{1, 1}, PadEnd: []int{1, 1}},
		{Batch: 1, InC: 2, OutC: 2, Group: 1, In: []int{2, 2}, Kernel: []int{3, 3}}, // no output
		{Batch: 3, InC: 1, OutC: 1, Group: 1, In: []int{1, 1}, Kernel: []int{1, 1}, PadBegin: []int{2, 3}, PadEnd: []int{1, 1}, Stride: []int{5, 4}},
		{Batch: 1, InC: 1, OutC: 4, Group: 1, In: []int{28, 28}, Kernel: []int{5, 5}},
	}
	r := rand.New(rand.NewPCG(11, 12))
	for range 30 {
		group := 1 + r.IntN(3)
		s := ConvShape{Batch: 1 + r.IntN(2), InC: group * (1 + r.IntN(6)), OutC: group * (1 + r.IntN(12)), Group: group}
		for range 1 + r.IntN(3) {
			s.In = append(s.In, 1+r.IntN(12))
			s.Kernel = append(s.Kernel, 1+r.IntN(3))
			s.Stride = append(s.Stride, 1+r.IntN(3))
			s.Dilation = append(s.Dilation, 1+r.IntN(2))
			s.PadBegin = append(s.PadBegin, r.IntN(3))
			s.PadEnd = append(s.PadEnd, r.IntN(3))
		}
		shapes = append(shapes, s)
	}
	return shapes
}

func TestConvF32(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(1, 2))
		for i, s := range convShapes() {
			terms := s.InC / s.Group * product(s.Kernel)
			x, _ := guarded[float32](s.Batch*s.InC*product(s.In), r.IntN(16))
			w, _ := guarded[float32](s.OutC*terms, r.IntN(16))
			randomF32(r, x)
			randomF32(r, w)
			bias := randomF32(r, make([]float32, s.OutC*(i%2)))
			var first []float32
			for _, p := range ps {
				y, check := guarded[float32](s.Batch*s.OutC*product(s.Out()), r.IntN(16))
				ConvF32(p, &s, x, w, bias, y)
				if err := check(); err != nil {
					t.Fatalf("%+v: %v", s, err)
				}
				if first == nil {
					first = y
				}
				if err := sameBits(first, y); err != nil {
					t.Fatalf("%+v: depends on the threads: %v", s, err)
				}
			}
			lo, hi := s.Activation.bounds()
			eachConvOutput(&s, func(o, at int, input func(int) int) {
				var sum, size float64
				for term := range terms {
					if in := input(term); in >= 0 {
						v := float64(x[in]) * float64(w[o*terms+term])
						sum += v
						size += math.Abs(v)
					}
				}
				if len(bias) > 0 {
					sum += float64(bias[o])
					size += math.Abs(float64(bias[o]))
				}
				sum = min(max(sum, float64(lo)), float64(hi))
				if d := math.Abs(sum - float64(first[at])); !(d <= float64(terms+2)*0x1p-24*size) {
					t.Fatalf("%+v: y[%d] = %v, want %v", s, at, first[at], sum)
				}
			})
		}
	})
}

func TestConvInt8(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(3, 4))
		for i, s := range convShapes() {
			terms := s.InC / s.Group * product(s.Kernel)
			x := randomBytes(r, make([]byte, s.Batch*s.InC*product(s.In)))
			w := randomBytes(r, make([]byte, s.OutC*terms))
			if i%3 == 0 { // the largest differences
				for i := range w {
					w[i] = 255 * byte(r.IntN(2))
				}
			}
			xSigned, wSigned := i&1 != 0, i&2 != 0
			xzp := widen(byte(r.Uint32()), xSigned)
			wzp := make([]int32, []int{0, 1, s.OutC}[i%3])
			for i := range wzp {
				wzp[i] = widen(byte(r.Uint32()), wSigned)
			}
			wScale := randomF32(r, make([]float32, []int{1, s.OutC}[i%2]))
			bias := randomF32(r, make([]float32, s.OutC*(i/2%2)))
			const xScale = 0.37
			q := randomRequant(r, s.OutC, terms)
			addend := make([]int32, s.OutC*(i%2))
			for o := range addend {
				addend[o] = r.Int32N(20000) - 10000
			}
			packed := PackConvInt8(&s, w, wSigned, wzp)
			n := s.Batch * s.OutC * product(s.Out())
			lo, hi := s.Activation.bounds()
			for _, p := range ps {
				y, check := guarded[int32](n, r.IntN(16))
				f, checkF := guarded[float32](n, r.IntN(16))
				ConvInt8(p, &s, x, xSigned, xzp, packed, y)
				ConvInt8F32(p, &s, x, xSigned, xzp, xScale, packed, wScale, bias, f)
				codes, checkCodes := guarded[byte](n, r.IntN(64))
				ConvInt8Requant(p, &s, x, xSigned, xzp, packed, addend, q, codes)
				for _, err := range []error{check(), checkF(), checkCodes()} {
					if err != nil {
						t.Fatalf("%+v: %v", s, err)
					}
				}
				eachConvOutput(&s, func(o, index int, input func(int) int) {
					var sum int32
					for term := range terms {
						if in := input(term); in >= 0 {
							sum += (widen(w[o*terms+term], wSigned) - at(wzp, o)) * (widen(x[in], xSigned) - xzp)
						}
					}
					if y[index] != sum {
						t.Fatalf("%+v: threads %d: y[%d] = %d, want %d", s, p.Threads(), index, y[index], sum)
					}
					if code := q.code(sum+valueAt(addend, o), o); codes[index] != code {
						t.Fatalf("%+v: threads %d: code %d is %d, want %d (%+v)", s, p.Threads(), index, codes[index], code, *q)
					}
					want := float32(float32(sum) * float32(xScale*at(wScale, o)))
					if len(bias) > 0 {
						want += bias[o]
					}
					if want = min(max(want, lo), hi); f[index] != want {
						t.Fatalf("%+v: threads %d: float32 y[%d] = %v, want %v", s, p.Threads(), index, f[index], want)
					}
				})
			}
		}
	})
}

// Weights packed under one choice of kernels work under another.
func TestConvF32PackedElsewhere(t *testing.T) {
	s := ConvShape{Batch: 1, InC: 4, OutC: 11, Group: 1, In: []int{6, 6}, Kernel: []int{3, 3}}
	r := rand.New(rand.NewPCG(5, 6))
	x, w := randomF32(r, make([]float32, 4*36)), randomF32(r, make([]float32, 11*36))
	packed := PackConvF32(&s, w)
	onEach(t, func(t *testing.T) {
		got, want := make([]float32, 11*16), make([]float32, 11*16)
		ConvF32Packed(nil, &s, x, packed, nil, got)
		ConvF32(nil, &s, x, w, nil, want)
		if err := sameBits(got, want); err != nil {
			t.Error(err)
		}
	})
}

func benchmarkShapes() []ConvShape {
	same := func(c, o, size, k, stride, group int) ConvShape {
		p := k / 2
		return ConvShape{Batch: 1, InC: c, OutC: o, Group: group, In: []int{size, size}, Kernel: []int{k, k}, Stride: []int{stride, stride}, PadBegin: []int{p, p}, PadEnd: []int{p, p}}
	}
	return []ConvShape{same(3, 64, 224, 7, 2, 1), same(64, 64, 56, 3, 1, 1), same(256, 256, 14, 3, 1, 1), same(512, 512, 7, 3, 1, 1), same(256, 64, 56, 1, 1, 1), same(16, 16, 32, 3, 1, 1), same(144, 144, 56, 3, 1, 144), same(144, 144, 56, 3, 2, 144)}
}

func shapeName(s *ConvShape) string {
	return fmt.Sprintf("%dto%d/%dx%d/k%d/s%d/g%d", s.InC, s.OutC, s.In[0], s.In[1], s.Kernel[0], s.Stride[0], s.Group)
}

func BenchmarkConv(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, s := range benchmarkShapes() {
		terms := s.InC / s.Group * product(s.Kernel)
		x, w := randomF32(r, make([]float32, s.InC*product(s.In))), randomF32(r, make([]float32, s.OutC*terms))
		y := make([]float32, s.OutC*product(s.Out()))
		work := 2 * float64(len(y)) * float64(terms)
		label := shapeName(&s)
		packed := PackConvF32(&s, w)
		b.Run("f32/"+label, func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakF32, work, func() { ConvF32Packed(p, &s, x, packed, nil, y) })
			})
		})
		xb, wb := randomBytes(r, make([]byte, len(x))), randomBytes(r, make([]byte, len(w)))
		packed8 := PackConvInt8(&s, wb, true, nil)
		b.Run("int8/"+label, func(b *testing.B) {
			onThreads(b, func(b *testing.B, p *Pool) {
				flops(b, p, PeakInt8, work, func() { ConvInt8F32(p, &s, xb, false, 128, 1, packed8, []float32{1}, nil, y) })
			})
		})
	}
}
