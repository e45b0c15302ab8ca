package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

var specialF32 = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 300, -300, 127.5, -128.5, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
	math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, 65504, 65519.99, 65520, 0x1p-14, 0x1p-24, 0x1p-25, 0x1.8p-25, 88.7, 89, -87.3, -104, 1e10,
}

// vectorInput is random numbers with special values strewn in.
func vectorInput(r *rand.Rand, n int, special bool) []float32 {
	s, _ := guarded[float32](n, r.IntN(16))
	for i := range s {
		s[i] = float32(r.NormFloat64() * math.Exp(r.NormFloat64()*2))
		if special && r.IntN(4) == 0 {
			s[i] = specialF32[r.IntN(len(specialF32))]
		}
	}
	return s
}

// equalOrNaN treats zeros of either sign as equal, and NaNs of any payload.
func equalOrNaN(a, b float32) bool { return a == b || a != a && b != b }

func TestExactVectorFunctions(t *testing.T) {
	const s, u = 0.37, -1.25
	clip := func(v, lo, hi float32) float32 {
		if v < lo {
			v = lo
		}
		if v > hi {
			v = hi
		}
		return v
	}
	inf := float32(math.Inf(1))
	cases := []struct {
		name string
		run  func(dst, a, b []float32)
		want func(a, b float32) float32
	}{
		{"Add", Add, func(a, b float32) float32 { return a + b }},
		{"Sub", Sub, func(a, b float32) float32 { return a - b }},
		{"Mul", Mul, func(a, b float32) float32 { return a * b }},
		{"Div", Div, func(a, b float32) float32 { return a / b }},
		{"Max", Max, func(a, b float32) float32 {
			if a > b {
				return a
			}
			return b
		}},
		{"AddScalar", func(dst, a, _ []float32) { AddScalar(dst, a, u) }, func(a, _ float32) float32 { return a + u }},
		{"Scale", func(dst, a, _ []float32) { Scale(dst, a, s) }, func(a, _ float32) float32 { return a * s }},
		{"ScaleShift", func(dst, a, _ []float32) { ScaleShift(dst, a, s, u) }, func(a, _ float32) float32 { return float32(a*s) + u }},
		{"ReLU", func(dst, a, _ []float32) { ReLU(dst, a) }, func(a, _ float32) float32 { return clip(a, 0, inf) }},
		{"Clip", func(dst, a, _ []float32) { Clip(dst, a, u, s) }, func(a, _ float32) float32 { return clip(a, u, s) }},
		{"Clip crossed", func(dst, a, _ []float32) { Clip(dst, a, s, u) }, func(a, _ float32) float32 { return clip(a, s, u) }},
	}
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, c := range cases {
			for n := range 131 {
				a, b := vectorInput(r, n, true), vectorInput(r, n, true)
				dst, check := guarded[float32](n, r.IntN(16))
				c.run(dst, a, b)
				if err := check(); err != nil {
					t.Fatalf("%s, length %d: %v", c.name, n, err)
				}
				for i := range dst {
					if want := c.want(a[i], b[i]); !equalOrNaN(dst[i], want) {
						t.Fatalf("%s(%v, %v) = %v, want %v", c.name, a[i], b[i], dst[i], want)
					}
				}
				c.run(a, a, b) // in place
				for i := range dst {
					if !equalOrNaN(dst[i], a[i]) {
						t.Fatalf("%s in place: %v, want %v", c.name, a[i], dst[i])
					}
				}
			}
		}
	})
}

func TestReductions(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for n := range 300 {
			a, b := vectorInput(r, n, false), vectorInput(r, n, false)
			var sum, sumSize, dot, dotSize float64
			lo, hi := math.Inf(1), math.Inf(-1)
			for i := range a {
				x, y := float64(a[i]), float64(b[i])
				sum += x
				sumSize += math.Abs(x)
				dot += x * y
				dotSize += math.Abs(x * y)
				lo, hi = min(lo, x), max(hi, x)
			}
			if got := Sum(a); math.Abs(float64(got)-sum) > float64(n)*0x1p-24*sumSize {
				t.Fatalf("Sum of %d is %v, want %v", n, got, sum)
			}
			if got := Dot(a, b); math.Abs(float64(got)-dot) > float64(n)*0x1p-24*dotSize {
				t.Fatalf("Dot of %d is %v, want %v", n, got, dot)
			}
			if l, h := MinMax(a); float64(l) != lo || float64(h) != hi {
				t.Fatalf("MinMax of %d is %v, %v, want %v, %v", n, l, h, lo, hi)
			}
			for i := range a { // all but one NaN
				was := a[i]
				for j := range a {
					if j != i {
						a[j] = float32(math.NaN())
					}
				}
				a[i] = was
				if l, h := MinMax(a); was == was && (l != was || h != was) {
					t.Fatalf("MinMax of %d NaN and %v at %d is %v, %v", n, was, i, l, h)
				}
				break
			}
			y, check := guarded[float32](n, r.IntN(16))
			copy(y, b)
			x := vectorInput(r, n, false)
			AXPY(-1.5, x, y)
			if err := check(); err != nil {
				t.Fatalf("AXPY of %d: %v", n, err)
			}
			for i := range y {
				p := -1.5 * float64(x[i])
				if d := math.Abs(float64(y[i]) - (p + float64(b[i]))); d > 0x1p-23*(math.Abs(p)+math.Abs(float64(b[i]))) {
					t.Fatalf("AXPY element %d is %v, want %v", i, y[i], p+float64(b[i]))
				}
			}
		}
		if l, h := MinMax([]float32{float32(math.NaN())}); !math.IsInf(float64(l), 1) || !math.IsInf(float64(h), -1) {
			t.Errorf("MinMax of NaN is %v, %v", l, h)
		}
	})
}

func TestQuantizeVectors(t *testing.T) {
	// ONNX Runtime's results for scale 1.
	x := []float32{0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 300, -300, 127.5, -128.5, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	cases := []struct {
		signed bool
		zp     int32
		want   []int
	}{
		{false, 128, []int{128, 130, 130, 128, 126, 126, 255, 0, 255, 0, 0, 255, 0}},
		{true, 0, []int{0, 2, 2, 0, -2, -2, 127, -128, 127, -128, -128, 127, -128}},
		{false, 3, []int{3, 5, 5, 3, 1, 1, 255, 0, 131, 0, 0, 255, 0}},
	}
	onEach(t, func(t *testing.T) {
		for _, c := range cases {
			for pad := range 20 { // put each value into the vector part and into the rest
				in := append(make([]float32, pad), x...)
				dst := make([]byte, len(in))
				if c.signed {
					QuantizeS8(dst, in, 1, c.zp)
				} else {
					QuantizeU8(dst, in, 1, c.zp)
				}
				for i, want := range c.want {
					if dst[pad+i] != byte(want) {
						t.Errorf("signed %v zero %d: %v gives %d, want %d", c.signed, c.zp, x[i], dst[pad+i], byte(want))
					}
				}
			}
		}
	})
}

func TestQuantizeLengths(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for n := range 131 {
			x := vectorInput(r, n, true)
			scale := float32(math.Exp(r.NormFloat64()))
			if n%20 == 0 {
				scale = 0
			}
			signed := n%2 == 1
			lo, hi := int32(0), int32(255)
			quantizer, dequantizer := QuantizeU8, DequantizeU8
			if signed {
				lo, hi = -128, 127
				quantizer, dequantizer = QuantizeS8, DequantizeS8
			}
			zp := lo + int32(r.IntN(256))
			q, check := guarded[byte](n, r.IntN(64))
			quantizer(q, x, scale, zp)
			f, checkF := guarded[float32](n, r.IntN(16))
			dequantizer(f, q, scale, zp)
			for _, err := range []error{check(), checkF()} {
				if err != nil {
					t.Fatalf("length %d: %v", n, err)
				}
			}
			for i := range x {
				want := lo
				if v := math.RoundToEven(float64(x[i]/scale)) + float64(zp); v >= float64(lo) {
					want = int32(min(v, float64(hi)))
				}
				if q[i] != byte(want) {
					t.Fatalf("%v/%v+%d gives %d, want %d", x[i], scale, zp, q[i], byte(want))
				}
				if back := float32(widen(q[i], signed)-zp) * scale; f[i] != back {
					t.Fatalf("code %d dequantizes to %v, want %v", q[i], f[i], back)
				}
			}
		}
	})
}

func TestHalfConversions(t *testing.T) {
	// Every half value, and every float32 half way between two of them and its neighbours, checked
	// against float64 arithmetic.
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	decode := func(h uint16) float64 {
		sign, exp, frac := 1-2*float64(h>>15), int(h>>10)&31, float64(h&0x3ff)
		switch {
		case exp == 31 && frac != 0:
			return math.NaN()
		case exp == 31:
			return sign * math.Inf(1)
		case exp == 0:
			return math.Copysign(frac*0x1p-24, sign)
		}
		return sign * (1 + frac/1024) * math.Pow(2, float64(exp-15))
	}
	decodeBF := func(h uint16) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }
	onEach(t, func(t *testing.T) {
		wide, back := make([]float32, 1<<16), make([]uint16, 1<<16)
		check := func(name string, decode func(uint16) float64, to func([]float32, []uint16), from func([]uint16, []float32), nan uint16) {
			to(wide, all)
			from(back, wide)
			for i, h := range all {
				want := decode(h)
				if float64(wide[i]) != want && want == want || want == 0 && math.Signbit(float64(wide[i])) != math.Signbit(want) {
					t.Fatalf("%s: %#04x widens to %v, want %v", name, h, wide[i], want)
				}
				if want != want {
					h |= nan
				}
				if back[i] != h {
					t.Fatalf("%s: %#04x comes back as %#04x", name, h, back[i])
				}
			}
			var mids []float32
			var low []uint16
			for h := uint16(0); decode(h+1) == decode(h+1) && !math.IsInf(decode(h+1), 0); h++ {
				m := float32((decode(h) + decode(h+1)) / 2)
				mids = append(mids, math.Nextafter32(m, 0), m, math.Nextafter32(m, math.MaxFloat32))
				low = append(low, h, h+h&1, h+1)
			}
			got := make([]uint16, len(mids))
			from(got, mids)
			for i := range got {
				if got[i] != low[i] {
					t.Fatalf("%s: %v rounds to %#04x, want %#04x", name, mids[i], got[i], low[i])
				}
			}
		}
		check("binary16", decode, F16ToF32, F32ToF16, 0x200)
		check("bfloat16", decodeBF, BF16ToF32, F32ToBF16, 0x40)
		over := []float32{65519.996, 65520, 1e9, float32(math.Inf(-1)), math.MaxFloat32}
		h := make([]uint16, 5)
		F32ToF16(h, over)
		if h[0] != 0x7bff || h[1] != 0x7c00 || h[2] != 0x7c00 || h[3] != 0xfc00 {
			t.Errorf("binary16 overflow gives %#04x", h)
		}
		F32ToBF16(h, over)
		if h[4] != 0x7f80 {
			t.Errorf("bfloat16 overflow gives %#04x", h[4])
		}
		r := rand.New(rand.NewPCG(7, 8))
		for n := range 131 {
			x := vectorInput(r, n, true)
			q, checkQ := guarded[uint16](n, r.IntN(32))
			f, checkF := guarded[float32](n, r.IntN(16))
			for _, bf := range []bool{false, true} {
				if bf {
					F32ToBF16(q, x)
					BF16ToF32(f, q)
				} else {
					F32ToF16(q, x)
					F16ToF32(f, q)
				}
				for _, err := range []error{checkQ(), checkF()} {
					if err != nil {
						t.Fatalf("length %d: %v", n, err)
					}
				}
				for i := range x {
					want, value := f32ToF16(x[i]), f16ToF32(q[i])
					if bf {
						want, value = f32ToBF16(x[i]), math.Float32frombits(uint32(q[i])<<16)
					}
					if q[i] != want || math.Float32bits(f[i]) != math.Float32bits(value) {
						t.Fatalf("bfloat16 %v: %v gives %#04x and %v, want %#04x and %v", bf, x[i], q[i], f[i], want, value)
					}
				}
			}
		}
	})
}

// ulps is the distance of got from want in units of the last place of a float32 near want.
func ulps(got float32, want float64) float64 {
	switch w := float32(want); {
	case want != want:
		if got != got {
			return 0
		}
		return math.Inf(1)
	case math.IsInf(float64(w), 0) || math.IsInf(float64(got), 0):
		if got == w {
			return 0
		}
		return math.Inf(1)
	default:
		_, e := math.Frexp(max(math.Abs(want), 0x1p-126))
		return math.Abs(float64(got)-want) / math.Ldexp(1, e-24)
	}
}

func TestElementaryFunctions(t *testing.T) {
	cases := []struct {
		name     string
		run      func(dst, x []float32)
		want     func(x float64) float64
		ulps     float64
		absolute float64
	}{
		{"Exp", Exp, math.Exp, 2, 0x1p-126},
		{"Sigmoid", Sigmoid, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, 4, 0x1p-126},
		{"SiLU", SiLU, func(x float64) float64 { return x / (1 + math.Exp(-x)) }, 6, 1e-36},
		{"Tanh", Tanh, math.Tanh, 4, 0},
		{"Erf", Erf, math.Erf, 4, 0},
		{"Gelu", Gelu, func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }, 4, 1e-6},
		{"GeluTanh", GeluTanh, func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}, 4, 1e-6},
	}
	var xs []float32
	for e := -30; e < 8; e++ { // both signs, evenly over each binade
		for i := range 2000 {
			v := float32(math.Ldexp(1+float64(i)/2000, e))
			xs = append(xs, v, -v)
		}
	}
	for i := range 20000 {
		xs = append(xs, -20+float32(i)/500, -110+float32(i)/100)
	}
	xs = append(xs, specialF32...)
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, c := range cases {
			dst := make([]float32, len(xs))
			c.run(dst, xs)
			worst, where := 0.0, float32(0)
			for i, x := range xs {
				want := c.want(float64(x))
				if math.Abs(float64(dst[i])-want) <= c.absolute {
					continue
				}
				if u := ulps(dst[i], want); u > worst {
					worst, where = u, x
				}
			}
			if worst > c.ulps {
				one := []float32{where}
				c.run(one, one)
				t.Errorf("%s is off by %.3g ulp at %v: %v, want %v", c.name, worst, where, one[0], c.want(float64(where)))
			}
			t.Logf("%s: worst %.2f ulp at %v", c.name, worst, where)
			for n := range 131 { // an element's result does not depend on its place
				x := vectorInput(r, n, true)
				got, check := guarded[float32](n, r.IntN(16))
				c.run(got, x)
				if err := check(); err != nil {
					t.Fatalf("%s, length %d: %v", c.name, n, err)
				}
				if n > 0 {
					one := []float32{x[n-1]}
					c.run(one, one)
					if math.Float32bits(one[0]) != math.Float32bits(got[n-1]) && one[0] == one[0] {
						t.Fatalf("%s(%v) is %v alone and %v at the end of %d", c.name, x[n-1], one[0], got[n-1], n)
					}
				}
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 10))
		for n := range 131 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(r.NormFloat64() * 10)
			}
			got, check := guarded[float32](n, r.IntN(16))
			Softmax(got, x)
			if err := check(); err != nil {
				t.Fatal(err)
			}
			var top, sum float64
			for i, v := range x {
				if i == 0 || float64(v) > top {
					top = float64(v)
				}
			}
			for _, v := range x {
				sum += math.Exp(float64(v) - top)
			}
			for i, v := range x {
				if want := math.Exp(float64(v)-top) / sum; math.Abs(float64(got[i])-want) > (top-float64(v)+float64(n)+8)*0x1p-23*want+1e-37 {
					t.Fatalf("length %d: element %d is %v, want %v", n, i, got[i], want)
				}
			}
		}
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		for _, x := range [][]float32{{1, nan, 2}, {1, inf, 2}, {-inf, -inf}, {nan}} {
			Softmax(x, x)
			if x[0] == x[0] && x[len(x)-1] == x[len(x)-1] && x[len(x)/2] == x[len(x)/2] {
				t.Errorf("a row without a softmax gives %v", x)
			}
		}
		masked := []float32{-inf, 3, -inf}
		Softmax(masked, masked)
		if masked[0] != 0 || masked[1] != 1 || masked[2] != 0 {
			t.Errorf("a masked row gives %v", masked)
		}
		rows := randomF32(r, make([]float32, 50*33))
		want := make([]float32, len(rows))
		for i := range 50 {
			Softmax(want[i*33:(i+1)*33], rows[i*33:(i+1)*33])
		}
		for _, p := range pools(t) {
			got := make([]float32, len(rows))
			SoftmaxRows(p, got, rows, 50, 33)
			if err := sameBits(got, want); err != nil {
				t.Error(err)
			}
		}
	})
}

func checkTranspose[T comparable](t *testing.T, r *rand.Rand, make func() T) {
	t.Helper()
	for range 300 {
		rows, cols := r.IntN(131), r.IntN(131)
		if r.IntN(10) == 0 {
			cols = 250 + r.IntN(20)
		}
		lds, ldd := cols+r.IntN(3), rows+r.IntN(3)
		src, _ := guarded[T](max(0, rows*lds), r.IntN(8))
		for i := range src {
			src[i] = make()
		}
		dst, check := guarded[T](max(0, (cols-1)*ldd+rows), r.IntN(8))
		Transpose(dst, ldd, src, lds, rows, cols)
		if err := check(); err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			for j := range cols {
				if dst[j*ldd+i] != src[i*lds+j] {
					t.Fatalf("%dx%d: (%d,%d) is wrong", rows, cols, i, j)
				}
			}
		}
	}
}

func TestTranspose(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		checkTranspose(t, r, func() byte { return byte(r.Uint32()) })
		checkTranspose(t, r, func() uint16 { return uint16(r.Uint32()) })
		checkTranspose(t, r, func() float32 { return r.Float32() })
		checkTranspose(t, r, func() float64 { return r.Float64() })
		checkTranspose(t, r, func() [3]byte { return [3]byte{byte(r.Uint32())} })
	})
}

func BenchmarkVector(b *testing.B) {
	x := randomF32(rand.New(rand.NewPCG(1, 2)), make([]float32, 64*768)) // activations of BERT-base at 64 tokens
	n := float64(len(x))
	y, z, q := make([]float32, len(x)), make([]float32, len(x)), make([]byte, len(x))
	for _, c := range []struct {
		name  string
		bytes float64
		run   func()
	}{
		{"Add", 12 * n, func() { Add(y, x, z) }},
		{"Exp", 8 * n, func() { Exp(y, x) }},
		{"Gelu", 8 * n, func() { Gelu(y, x) }},
		{"Softmax-128", 8 * n, func() {
			for i := 0; i < len(x); i += 128 {
				Softmax(y[i:i+128], x[i:i+128])
			}
		}},
		{"MinMax", 4 * n, func() { MinMax(x) }},
		{"QuantizeU8", 5 * n, func() { QuantizeU8(q, x, 0.1, 3) }},
		{"DequantizeU8", 5 * n, func() { DequantizeU8(y, q, 0.1, 3) }},
		{"Transpose-64x768", 8 * n, func() { Transpose(y, 64, x, 768, 64, 768) }},
	} {
		b.Run(c.name, func(b *testing.B) { streamed(b, nil, c.bytes, c.run) })
	}
}
