package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// saturate is sat(rne(v)) of a value with the zero point added.
func saturate(v float32, signed bool) byte {
	lo, hi := 0.0, 255.0
	if signed {
		lo, hi = -128, 127
	}
	if v != v {
		return byte(int32(lo))
	}
	return byte(int32(min(max(math.RoundToEven(float64(v)), lo), hi)))
}

// exactFMA is x*y + z, rounded once.
func exactFMA(x, y, z float32) float32 {
	wide := func(v float32) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(float64(v)) }
	sum := wide(x)
	sum.Mul(sum, wide(y)).Add(sum, wide(z))
	f, _ := sum.Float32()
	return f
}

func TestFMA(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	number := func() float32 { // of few bits, so that sums lie half way between numbers
		return float32(int32(r.Uint32())>>(8+r.IntN(24))) * float32(math.Exp2(float64(r.IntN(60)-30)))
	}
	for range 200000 {
		x, y, z := number(), number(), number()
		if got, want := fma(x, y, z), exactFMA(x, y, z); got != want {
			t.Fatalf("%v*%v + %v is %v, want %v", x, y, z, got, want)
		}
	}
}

func randomCode(r *rand.Rand, signed bool, scale float32) *Code {
	return &Code{scale * (0.5 + r.Float32()), widen(byte(r.Uint32()), signed), signed}
}

// Every pair of codes.
func TestAddMulCodes(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		a, b, dst := make([]byte, 1<<16), make([]byte, 1<<16), make([]byte, 1<<16)
		for i := range a {
			a[i], b[i] = byte(i), byte(i>>8)
		}
		for round := range 6 {
			signed := round%2 == 1
			qa, qb, qc := randomCode(r, signed, 0.1), randomCode(r, signed, 0.1), randomCode(r, signed, 0.15)
			AddCodes(dst, qc, a, qa, b, qb)
			ra, rb := qa.Scale/qc.Scale, qb.Scale/qc.Scale
			fixed := float32(qc.Zero) - exactFMA(ra, float32(qa.Zero), rb*float32(qb.Zero))
			for i := range dst {
				v := exactFMA(float32(widen(a[i], signed)), ra, exactFMA(float32(widen(b[i], signed)), rb, fixed))
				if want := saturate(v, signed); dst[i] != want {
					t.Fatalf("add %+v %+v %+v: %d and %d give %d, want %d", *qa, *qb, *qc, a[i], b[i], dst[i], want)
				}
			}
			qc.Scale *= 5
			MulCodes(dst, qc, a, qa, b, qb)
			m := float32(qa.Scale*qb.Scale) / qc.Scale
			for i := range dst {
				product := (widen(a[i], signed) - qa.Zero) * (widen(b[i], signed) - qb.Zero)
				if want := saturate(float32(float32(product)*m)+float32(qc.Zero), signed); dst[i] != want {
					t.Fatalf("multiply %+v %+v %+v: %d and %d give %d, want %d", *qa, *qb, *qc, a[i], b[i], dst[i], want)
				}
			}
		}
		for n := range 131 { // lengths, alignments and guard zones
			x, checkX := guarded[byte](n, r.IntN(64))
			y, checkY := guarded[byte](n, r.IntN(64))
			src := randomBytes(r, make([]byte, n))
			qa, qc := randomCode(r, true, 1), randomCode(r, true, 1)
			AddCodes(x, qc, src, qa, src, qa)
			MulCodes(y, qc, src, qa, src, qa)
			for i, v := range src {
				one, two := []byte{0}, []byte{0}
				AddCodes(one, qc, []byte{v}, qa, []byte{v}, qa)
				MulCodes(two, qc, []byte{v}, qa, []byte{v}, qa)
				if x[i] != one[0] || y[i] != two[0] {
					t.Fatalf("length %d: element %d depends on its place", n, i)
				}
			}
			if err := checkX(); err != nil {
				t.Fatal(err)
			}
			if err := checkY(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestLookup(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		var table [256]byte
		randomBytes(r, table[:])
		for n := range 300 {
			dst, check := guarded[byte](n, r.IntN(64))
			src := randomBytes(r, make([]byte, n))
			Lookup(dst, src, &table)
			for i, b := range src {
				if dst[i] != table[b] {
					t.Fatalf("length %d: element %d is %d, want %d", n, i, dst[i], table[b])
				}
			}
			if err := check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPoolCodes(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)[:2]
		r := rand.New(rand.NewPCG(5, 6))
		for i := range 60 {
			s := PoolShape{Batch: 1 + r.IntN(2), Channels: []int{1, 3, 16, 31, 64, 65, 130}[r.IntN(7)], ChannelsLast: i%2 == 1}
			var padEnd []int
			for range 1 + r.IntN(3) {
				s.In = append(s.In, 1+r.IntN(9))
				s.Out = append(s.Out, 1+r.IntN(5)) // some windows lie outside
				s.Kernel = append(s.Kernel, 1+r.IntN(3))
				s.Stride = append(s.Stride, 1+r.IntN(2))
				s.Dilation = append(s.Dilation, 1+r.IntN(2))
				s.Pad = append(s.Pad, r.IntN(2))
				padEnd = append(padEnd, r.IntN(2))
			}
			in, out := product(s.In), product(s.Out)
			signed, countPad := r.IntN(2) == 1, r.IntN(2) == 1
			x, _ := guarded[byte](s.Batch*s.Channels*in, r.IntN(64))
			randomBytes(r, x)
			qx, qy := randomCode(r, signed, 0.1), randomCode(r, signed, 0.1)
			at := func(b, c, i, n int) int {
				if s.ChannelsLast {
					return (b*n+i)*s.Channels + c
				}
				return (b*s.Channels+c)*n + i
			}
			for _, p := range ps {
				largest, checkMax := guarded[byte](s.Batch*s.Channels*out, r.IntN(64))
				mean, checkMean := guarded[byte](len(largest), r.IntN(64))
				global, checkGlobal := guarded[byte](s.Batch*s.Channels, r.IntN(64))
				MaxPoolCodes(p, &s, x, signed, largest)
				AveragePoolCodes(p, &s, x, qx, countPad, padEnd, mean, qy)
				GlobalAveragePoolCodes(p, s.Batch, s.Channels, in, s.ChannelsLast, x, qx, global, qy)
				for _, f := range []func() error{checkMax, checkMean, checkGlobal} {
					if err := f(); err != nil {
						t.Fatalf("%+v: %v", s, err)
					}
				}
				for b := range s.Batch {
					for c := range s.Channels {
						total := int32(0)
						for q := range in {
							total += widen(x[at(b, c, q, in)], signed) - qx.Zero
						}
						m := qx.Scale / float32(float32(in)*qy.Scale)
						v := float32(math.RoundToEven(float64(float32(float32(total)*m)))) + float32(qy.Zero)
						if want, got := saturate(v, signed), global[b*s.Channels+c]; got != want {
							t.Fatalf("%+v: global average of channel %d is %d, want %d", s, c, got, want)
						}
						for o := range out {
							sum, count, padded, most := int32(0), 0, 0, int32(-128)
							if !signed {
								most = 0
							}
							for k := range product(s.Kernel) {
								index, size, rest, tap := 0, 1, o, k
								inside, insidePadded := true, true
								for d := len(s.In) - 1; d >= 0; d-- {
									pos := rest%s.Out[d]*s.Stride[d] + tap%s.Kernel[d]*s.Dilation[d] - s.Pad[d]
									rest, tap = rest/s.Out[d], tap/s.Kernel[d]
									inside = inside && pos >= 0 && pos < s.In[d]
									insidePadded = insidePadded && pos < s.In[d]+padEnd[d]
									index += pos * size
									size *= s.In[d]
								}
								if inside {
									q := widen(x[at(b, c, index, in)], signed)
									sum += q - qx.Zero
									most = max(most, q)
									count++
								}
								if insidePadded {
									padded++
								}
							}
							if countPad {
								count = padded
							}
							want := saturate(float32(qy.Zero), signed)
							if count > 0 {
								want = saturate(float32(float32(float32(sum)*qx.Scale)/float32(count))/qy.Scale+float32(qy.Zero), signed)
							}
							y := at(b, c, o, out)
							if largest[y] != byte(most) || mean[y] != want {
								t.Fatalf("%+v count %v %d: output %d of channel %d is %d and %d, want %d and %d", s, countPad, count, o, c, largest[y], mean[y], byte(most), want)
							}
						}
					}
				}
			}
		}
	})
}

func BenchmarkCodes(b *testing.B) {
	const n = 802816 // 56 x 56 x 256
	r := rand.New(rand.NewPCG(7, 8))
	x, y, dst := randomBytes(r, make([]byte, n)), randomBytes(r, make([]byte, n)), make([]byte, n)
	q := &Code{Scale: 0.1, Zero: 3}
	var table [256]byte
	pool := PoolShape{Batch: 1, Channels: 64, In: []int{112, 112}, Out: []int{56, 56}, Kernel: []int{3, 3}, Stride: []int{2, 2}, Pad: []int{1, 1}}
	last := pool
	last.ChannelsLast = true
	for _, c := range []struct {
		name  string
		bytes float64
		run   func(p *Pool)
	}{
		{"AddCodes/56x56x256", 3 * n, func(*Pool) { AddCodes(dst, q, x, q, y, q) }},
		{"MulCodes/56x56x256", 3 * n, func(*Pool) { MulCodes(dst, q, x, q, y, q) }},
		{"Lookup/56x56x256", 2 * n, func(*Pool) { Lookup(dst, x, &table) }},
		{"MaxPool3x3s2/112x112x64/nchw", n * 5 / 4, func(p *Pool) { MaxPoolCodes(p, &pool, x, false, dst) }},
		{"MaxPool3x3s2/112x112x64/nhwc", n * 5 / 4, func(p *Pool) { MaxPoolCodes(p, &last, x, false, dst) }},
		{"GlobalAverage/7x7x2048/nhwc", 49 * 2048, func(p *Pool) { GlobalAveragePoolCodes(p, 1, 2048, 49, true, x, q, dst, q) }},
	} {
		b.Run(c.name, func(b *testing.B) { streamed(b, nil, c.bytes, func() { c.run(nil) }) })
	}
}
