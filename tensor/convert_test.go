package tensor

import (
	"encoding/json"
	"math"
	"math/big"
	"os"
	"slices"
	"testing"
)

// binary returns the value of a float with the given field widths, by definition of IEEE 754.
func binary(bits uint64, expBits, manBits int) float64 {
	sign := 1.0
	if bits>>(expBits+manBits)&1 == 1 {
		sign = -1
	}
	exp, man := int(bits>>manBits)&(1<<expBits-1), float64(bits&(1<<manBits-1))
	bias := 1<<(expBits-1) - 1
	switch {
	case exp == 1<<expBits-1 && man != 0:
		return math.NaN()
	case exp == 1<<expBits-1:
		return sign * math.Inf(1)
	case exp == 0:
		return sign * math.Ldexp(man, 1-bias-manBits)
	}
	return sign * math.Ldexp(man+float64(int(1)<<manBits), exp-bias-manBits)
}

func sameFloat(a, b float64) bool {
	return a == b && math.Signbit(a) == math.Signbit(b) || a != a && b != b
}

// check16 tests decoding of every pattern of a 16-bit type, and encoding at and on both sides of every rounding boundary.
func check16(t *testing.T, expBits, manBits int, decode func(uint16) float32, encode func(float32) uint16) {
	for i := range 1 << 16 {
		code := uint16(i)
		want := binary(uint64(code), expBits, manBits)
		got := decode(code)
		if !sameFloat(float64(got), want) {
			t.Fatalf("%#04x: want %v, got %v", code, want, got)
		}
		if back := encode(got); back != code && want == want {
			t.Fatalf("%#04x: back as %#04x", code, back)
		}
		if want != want {
			if v := decode(encode(got)); v == v {
				t.Fatalf("%#04x: NaN became %v", code, v)
			}
			continue
		}
		if math.IsInf(want, 0) {
			continue
		}
		// The boundary to the next pattern away from zero; after the largest it is half a step on, where infinity begins.
		next := binary(uint64(code)+1, expBits, manBits)
		if math.IsInf(next, 0) {
			next = 2*want - binary(uint64(code)-1, expBits, manBits)
		}
		boundary := (want + next) / 2
		f := float32(boundary)
		if float64(f) != boundary {
			t.Fatalf("%#04x: the boundary %v is no float32", code, boundary)
		}
		inward, outward := math.Nextafter32(f, 0), math.Nextafter32(f, float32(math.Copysign(math.Inf(1), want)))
		even := code + code&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{{inward, code}, {f, even}, {outward, code + 1}} {
			if got := encode(c.x); got != c.want {
				t.Fatalf("%v after %#04x: want %#04x, got %#04x", c.x, code, c.want, got)
			}
		}
	}
}

func TestHalf(t *testing.T) {
	check16(t, 5, 10, func(c uint16) float32 { return Half(c).Float32() }, func(f float32) uint16 { return uint16(ToHalf(f)) })
	for f, want := range map[float32]Half{65519.996: 0x7bff, 65520: 0x7c00, -1e30: 0xfc00, 1e-30: 0, -1e-30: 0x8000} {
		if got := ToHalf(f); got != want {
			t.Errorf("%v: want %#04x, got %#04x", f, want, got)
		}
	}
}

func TestBF16(t *testing.T) {
	check16(t, 8, 7, func(c uint16) float32 { return BF16(c).Float32() }, func(f float32) uint16 { return uint16(ToBF16(f)) })
	if got := ToBF16(math.Float32frombits(0x7f800001)).Float32(); got == got {
		t.Errorf("a NaN with only low bits became %v", got)
	}
	if got := ToBF16(math.MaxFloat32); got != 0x7f80 {
		t.Errorf("the largest float32: want infinity, got %#04x", got)
	}
}

func TestSmallFloatsAgainstMLDtypes(t *testing.T) {
	raw, err := os.ReadFile("testdata/small_floats.json")
	if err != nil {
		t.Fatal(err)
	}
	var tables []struct {
		Type             string
		Values, X        []uint32
		Plain, Saturated []int
	}
	if err := json.Unmarshal(raw, &tables); err != nil {
		t.Fatal(err)
	}
	if len(tables) != 6 {
		t.Fatalf("want 6 types, got %d", len(tables))
	}
	for _, c := range tables {
		d, err := ParseDType(c.Type)
		if err != nil {
			t.Fatal(err)
		}
		same := func(code uint8, want int) bool {
			v := DecodeSmall(d, code)
			w := math.Float32frombits(c.Values[want])
			return code == uint8(want) || v != v && w != w // all NaN codes are alike
		}
		for code, bits := range c.Values {
			want := math.Float32frombits(bits)
			if got := DecodeSmall(d, uint8(code)); !sameFloat(float64(got), float64(want)) {
				t.Errorf("%v %#02x: want %v, got %v", d, code, want, got)
			}
		}
		for i, bits := range c.X {
			x := math.Float32frombits(bits)
			if got := EncodeSmall(d, x, false); !same(got, c.Plain[i]) {
				t.Errorf("%v of %v: want %#02x, got %#02x", d, x, c.Plain[i], got)
			}
			if got := EncodeSmall(d, x, true); !same(got, c.Saturated[i]) {
				t.Errorf("%v of %v, saturated: want %#02x, got %#02x", d, x, c.Saturated[i], got)
			}
		}
		if v := DecodeSmall(d, EncodeSmall(d, float32(math.NaN()), true)); v == v && d != Float4E2M1 {
			t.Errorf("%v: NaN became %v", d, v)
		}
	}
}

// The special values of a scale type follow the table of ONNX's Cast operator.
func TestE8M0SpecialValues(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		x        float32
		saturate bool
		want     uint8
	}{
		{0, true, 0},
		{0, false, 0xff},
		{inf, true, 0xfe},
		{inf, false, 0xff},
		{math.MaxFloat32, true, 0xfe},
		{math.MaxFloat32, false, 0xff},
		{math.SmallestNonzeroFloat32, true, 0},
		{-4, true, 129},
		{float32(math.NaN()), true, 0xff},
	} {
		if got := EncodeSmall(Float8E8M0, c.x, c.saturate); got != c.want {
			t.Errorf("%v, saturate %v: want %#02x, got %#02x", c.x, c.saturate, c.want, got)
		}
	}
}

func TestPackFirstElementInLowBits(t *testing.T) {
	for _, c := range []struct {
		d              DType
		packed, values []byte
	}{
		{Uint4, []byte{0x21, 0x0f}, []byte{1, 2, 15}},
		{Int4, []byte{0x8f, 0x07}, []byte{0xff, 0xf8, 7}},
		{Float4E2M1, []byte{0xa5}, []byte{5, 10}},
		{Uint2, []byte{0b11_10_01_00, 0b01}, []byte{0, 1, 2, 3, 1}},
		{Int2, []byte{0b11_10_01_00}, []byte{0, 1, 0xfe, 0xff}},
	} {
		if got := Unpack(c.d, c.packed, len(c.values)); !slices.Equal(got, c.values) {
			t.Errorf("Unpack %v: want %v, got %v", c.d, c.values, got)
		}
		if got := Pack(c.d, c.values); !slices.Equal(got, c.packed) {
			t.Errorf("Pack %v: want %x, got %x", c.d, c.packed, got)
		}
	}
	for _, d := range []DType{Uint4, Int4, Float4E2M1, Uint2, Int2} {
		for n := range 18 {
			codes := make([]byte, n)
			for i := range codes {
				codes[i] = byte(i*7 + 3)
			}
			p := Pack(d, codes)
			if len(p) != d.ByteLen(n) {
				t.Fatalf("%v x %d: %d bytes", d, n, len(p))
			}
			u := Unpack(d, p, n)
			if !slices.Equal(Pack(d, u), p) {
				t.Fatalf("%v x %d: not the inverse", d, n)
			}
			for i := range u {
				if (u[i]^codes[i])&(1<<d.Bits()-1) != 0 {
					t.Fatalf("%v x %d: element %d: %#x became %#x", d, n, i, codes[i], u[i])
				}
			}
		}
	}
}

// numeric lists the types that hold real numbers.
func numeric() []DType {
	var out []DType
	for d := Float32; d <= Int2; d++ {
		if d != String && d != Complex64 && d != Complex128 {
			out = append(out, d)
		}
	}
	return out
}

func TestFromFloat64sAndBack(t *testing.T) {
	for _, d := range numeric() {
		in := []float64{0, 1, 0, 1, 1}
		if d == Float8E8M0 {
			in = []float64{1, 2, 4, 0.5, 1}
		}
		x, err := FromFloat64s(d, Shape{5}, in)
		if err != nil {
			t.Fatalf("%v: %v", d, err)
		}
		back, err := x.Float64s()
		if err != nil || !slices.Equal(back, in) {
			t.Errorf("%v: want %v, got %v (%v)", d, in, back, err)
		}
		f, err := x.Floats()
		if err != nil {
			t.Errorf("%v: Floats: %v", d, err)
		}
		for i, v := range f {
			if float64(v) != in[i] {
				t.Errorf("%v: Floats: want %v, got %v", d, in, f)
				break
			}
		}
		n, err := x.Ints()
		if d.IsInt() || d == Bool {
			if err != nil || !slices.Equal(n, []int64{0, 1, 0, 1, 1}) {
				t.Errorf("%v: Ints: %v, %v", d, n, err)
			}
		} else if err == nil {
			t.Errorf("%v: Ints: want an error", d)
		}
	}
	for _, d := range []DType{String, Complex64, Sequence} {
		if _, err := FromFloat64s(d, Shape{0}, nil); err == nil {
			t.Errorf("%v: want an error", d)
		}
	}
	if _, err := FromFloat64s(Float32, Shape{2, 2}, make([]float64, 3)); err == nil {
		t.Error("3 values for 4 elements: want an error")
	}
}

func TestFromFloat64sSaturates(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, d := range numeric() {
		if !d.IsInt() {
			continue
		}
		lo, hi := new(big.Int), new(big.Int).Lsh(big.NewInt(1), uint(d.Bits()))
		if d.IsSigned() {
			hi.Rsh(hi, 1)
			lo.Neg(hi)
		}
		hi.Sub(hi, big.NewInt(1))
		limit := math.Ldexp(1, d.Bits()) // beyond both ends
		in := []float64{limit, -limit, inf, -inf, nan, 1.5, 0.5, math.Ldexp(1, d.Bits()-1)}
		x, err := FromFloat64s(d, Shape{len(in)}, in)
		if err != nil {
			t.Fatal(err)
		}
		get := func(i int) *big.Int {
			if d == Uint64 {
				return new(big.Int).SetUint64(Data[uint64](x)[i])
			}
			v, err := x.Ints()
			if err != nil {
				t.Fatal(err)
			}
			return big.NewInt(v[i])
		}
		one := big.NewInt(min(2, hi.Int64()))
		if d == Uint64 {
			one = big.NewInt(2)
		}
		last := hi
		if !d.IsSigned() {
			last = new(big.Int).Lsh(big.NewInt(1), uint(d.Bits()-1))
		}
		for i, want := range []*big.Int{hi, lo, hi, lo, lo, one, new(big.Int), last} {
			if got := get(i); got.Cmp(want) != 0 {
				t.Errorf("%v of %v: want %v, got %v", d, in[i], want, got)
			}
		}
	}
}

// A float64 just above a boundary of a narrow type lies on it once it is a float32; it must be rounded once only.
func TestFromFloat64sRoundsOnce(t *testing.T) {
	for _, c := range []struct {
		d       DType
		x, want float64
	}{
		{Float16, 1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-10},
		{Float16, 1 + 0x1p-11, 1},
		{Float16, -(1 + 0x1p-11 + 0x1p-40), -(1 + 0x1p-10)},
		{Float16, 1 + 3*0x1p-11 - 0x1p-40, 1 + 0x1p-10},
		{Float16, 0x1p-25 + 0x1p-60, 0x1p-24},
		{Float16, 1e300, math.Inf(1)},
		{BFloat16, 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-7},
		{BFloat16, 1e300, math.Inf(1)},
		{BFloat16, -1e-300, math.Copysign(0, -1)},
		{Float8E4M3FN, 1 + 0x1p-4 + 0x1p-40, 1 + 0x1p-3},
		{Float8E5M2, 1e300, 57344},
		{Float4E2M1, 1.25 + 0x1p-40, 1.5},
	} {
		x, err := FromFloat64s(c.d, Shape{1}, []float64{c.x})
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := x.Float64s(); !sameFloat(v[0], c.want) {
			t.Errorf("%v of %v: want %v, got %v", c.d, c.x, c.want, v[0])
		}
	}
	for _, x := range []float64{0, math.Copysign(0, -1), 1, math.Inf(-1), math.MaxFloat32} {
		if got := float64(roundToOdd(x)); !sameFloat(got, x) {
			t.Errorf("roundToOdd of the float32 %v: got %v", x, got)
		}
	}
}

func TestFloatsOfWideIntegersRoundOnce(t *testing.T) {
	v := int64(1<<54 + 1<<30 + 1) // as float64 it would be a tie between two float32
	f, err := Vector(v).Floats()
	if err != nil || f[0] != 1<<54+1<<31 {
		t.Errorf("want %v, got %v (%v)", float32(1<<54+1<<31), f[0], err)
	}
}

func TestIntsOfLargeUint64(t *testing.T) {
	if v, err := Vector[uint64](0, math.MaxInt64).Ints(); err != nil || v[1] != math.MaxInt64 {
		t.Errorf("got %v, %v", v, err)
	}
	if _, err := Vector[uint64](1 << 63).Ints(); err == nil {
		t.Error("2^63: want an error")
	}
}
