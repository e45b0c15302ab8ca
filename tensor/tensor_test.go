package tensor

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: want a panic", what)
		}
	}()
	f()
}

func TestDTypeNames(t *testing.T) {
	n := 0
	for d := DType(0); d < 255; d++ {
		if !d.Valid() {
			if !strings.HasPrefix(d.String(), "dtype(") {
				t.Errorf("%d has the name %v", uint8(d), d)
			}
			continue
		}
		n++
		if got, err := ParseDType(d.String()); err != nil || got != d {
			t.Errorf("%v parses as %v, %v", d, got, err)
		}
	}
	if n != 28 {
		t.Errorf("want 28 types, got %d", n)
	}
	if _, err := ParseDType("float"); err == nil {
		t.Error("float: want an error")
	}
}

func TestDTypeWidths(t *testing.T) {
	for _, c := range []struct {
		d             DType
		size, of3     int
		isInt, signed bool
		lo, hi        int64
	}{
		{Int2, 0, 1, true, true, -2, 1},
		{Uint2, 0, 1, true, false, 0, 3},
		{Int4, 0, 2, true, true, -8, 7},
		{Uint4, 0, 2, true, false, 0, 15},
		{Int8, 1, 3, true, true, -128, 127},
		{Uint8, 1, 3, true, false, 0, 255},
		{Int16, 2, 6, true, true, -32768, 32767},
		{Uint16, 2, 6, true, false, 0, 65535},
		{Int32, 4, 12, true, true, math.MinInt32, math.MaxInt32},
		{Uint32, 4, 12, true, false, 0, math.MaxUint32},
		{Float4E2M1, 0, 2, false, false, 0, 0},
		{Complex128, 16, 48, false, false, 0, 0},
		{BFloat16, 2, 6, false, false, 0, 0},
		{Float8E8M0, 1, 3, false, false, 0, 0},
		{Bool, 1, 3, false, false, 0, 0},
	} {
		if c.d.Size() != c.size || c.d.ByteLen(3) != c.of3 || c.d.IsInt() != c.isInt || c.d.IsSigned() != c.signed {
			t.Errorf("%v: size %d, 3 take %d, int %v, signed %v", c.d, c.d.Size(), c.d.ByteLen(3), c.d.IsInt(), c.d.IsSigned())
		}
		if c.isInt {
			if lo, hi := c.d.IntRange(); lo != c.lo || hi != c.hi {
				t.Errorf("%v: range %d to %d", c.d, lo, hi)
			}
		}
	}
	for _, d := range []DType{Float16, BFloat16, Float32, Float64, Float8E4M3FN, Float8E8M0, Float4E2M1} {
		if !d.IsFloat() || d.IsInt() {
			t.Errorf("%v is a float", d)
		}
	}
	if Float4E2M1.IsFloat8() || Bool.IsFloat() || Bool.IsInt() || String.IsFloat() {
		t.Error("wrong class")
	}
}

func TestBroadcast(t *testing.T) {
	for _, c := range []struct{ a, b, want Shape }{
		{Shape{}, Shape{}, Shape{}},
		{Shape{3}, Shape{}, Shape{3}},
		{Shape{2, 1, 4}, Shape{3, 1}, Shape{2, 3, 4}},
		{Shape{1}, Shape{0}, Shape{0}},
		{Shape{0, 1}, Shape{1, 5}, Shape{0, 5}},
		{Shape{2}, Shape{3}, nil},
		{Shape{0}, Shape{2}, nil},
		{Shape{2, 3}, Shape{3, 2}, nil},
	} {
		for _, p := range [][2]Shape{{c.a, c.b}, {c.b, c.a}} {
			got, err := Broadcast(p[0], p[1])
			if (err != nil) != (c.want == nil) || err == nil && !got.Equal(c.want) {
				t.Errorf("%v with %v: want %v, got %v (%v)", p[0], p[1], c.want, got, err)
			}
		}
	}
}

func TestCheckedLen(t *testing.T) {
	for _, c := range []struct {
		s  Shape
		n  int
		ok bool
	}{
		{Shape{}, 1, true},
		{Shape{2, 3}, 6, true},
		{Shape{0, 1 << 40}, 0, true},
		{Shape{0, math.MaxInt}, 0, false},
		{Shape{math.MaxInt, math.MaxInt, 0}, 0, false},
		{Shape{-1}, 0, false},
		{Shape{0, -1}, 0, false},
		{Shape{math.MaxInt}, 0, false},
		{Shape{1 << 31, 1 << 31}, 0, false},
		{Shape{1 << 32, 1 << 32}, 0, false},
		{Shape{1 << 27, 1 << 27}, 1 << 54, true},
	} {
		if n, ok := c.s.CheckedLen(); ok != c.ok || n != c.n {
			t.Errorf("%v: %d, %v", []int(c.s), n, ok)
		}
	}
	mustPanic(t, "Len", func() { Shape{math.MaxInt, 2}.Len() })
	// The length in bits of what CheckedLen allows must not wrap round.
	for d := range dtypes {
		n, _ := Shape{math.MaxInt / 256}.CheckedLen()
		if d.Bits() > 0 && d.ByteLen(n) <= 0 {
			t.Errorf("%v: %d elements take %d bytes", d, n, d.ByteLen(n))
		}
	}
}

func TestFromBytesRejectsHostileShapes(t *testing.T) {
	for _, s := range []Shape{{1 << 62}, {1 << 61}, {1 << 58}, {1 << 60, 16}, {-1}, {-2, -2}, {3}, {}} {
		for _, d := range []DType{Float32, Float64, Complex128, Int4, Int2, Bool} {
			if x, err := FromBytes(d, s, nil); err == nil {
				t.Errorf("%v %v over no bytes: %v", d, []int(s), x)
			}
		}
	}
	if _, err := FromBytes(String, Shape{0}, nil); err == nil {
		t.Error("strings have no bytes: want an error")
	}
	x, err := FromBytes(Uint4, Shape{3}, []byte{0x21, 0x03})
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := x.Ints(); !slices.Equal(v, []int64{1, 2, 3}) {
		t.Errorf("got %v", v)
	}
	if _, err := FromBytes(Uint4, Shape{3}, make([]byte, 3)); err == nil {
		t.Error("3 bytes for 3 4-bit elements: want an error")
	}
}

func TestShape(t *testing.T) {
	if s := (Shape{2, 3, 4}); !slices.Equal(s.Strides(), []int{12, 4, 1}) || s.String() != "2x3x4" || (Shape{}).String() != "scalar" {
		t.Errorf("%v: %v", s, s.Strides())
	}
	s := Shape{1}
	s.Clone()[0] = 5
	if s[0] != 1 {
		t.Error("Clone shares memory")
	}
	for _, c := range []struct{ axis, rank, want int }{{0, 2, 0}, {1, 2, 1}, {-1, 2, 1}, {-2, 2, 0}} {
		if got, err := Axis(c.axis, c.rank); err != nil || got != c.want {
			t.Errorf("axis %d of %d: %d, %v", c.axis, c.rank, got, err)
		}
	}
	for _, c := range [][2]int{{2, 2}, {-3, 2}, {0, 0}} {
		if _, err := Axis(c[0], c[1]); err == nil {
			t.Errorf("axis %d of %d: want an error", c[0], c[1])
		}
	}
}

func roundTrip[T Elem](t *testing.T, v ...T) {
	t.Helper()
	x := Vector(v...)
	if x.DType != DTypeOf[T]() || x.Len() != len(v) || !slices.Equal(Data[T](x), v) {
		t.Errorf("%v: got %v", v, x)
	}
	y, err := FromBytes(x.DType, x.Shape, x.Bytes())
	if err != nil || !slices.Equal(Data[T](y), v) {
		t.Errorf("%v: from bytes: %v, %v", v, y, err)
	}
	if x.ByteLen() != len(v)*x.DType.Size() {
		t.Errorf("%v takes %d bytes", x, x.ByteLen())
	}
	if c := x.Clone(); len(v) > 0 && (&c.Bytes()[0] == &x.Bytes()[0] || !slices.Equal(Data[T](c), v)) {
		t.Errorf("%v: Clone is wrong", x)
	}
}

func TestElementTypes(t *testing.T) {
	roundTrip[float32](t, 1, -2.5)
	roundTrip[float64](t, 1, -2.5)
	roundTrip[int8](t, 1, -128)
	roundTrip[int16](t, 1, -2)
	roundTrip[int32](t, 1, -2)
	roundTrip[int64](t, 1, math.MinInt64)
	roundTrip[uint8](t, 1, 255)
	roundTrip[uint16](t, 1, 65535)
	roundTrip[uint32](t, 1, math.MaxUint32)
	roundTrip[uint64](t, 1, math.MaxUint64)
	roundTrip(t, true, false)
	roundTrip[complex64](t, 1+2i)
	roundTrip(t, 1+2i)
	roundTrip[Half](t, 0x3c00)
	roundTrip[BF16](t, 0x3f80)
	roundTrip[float32](t)
	if x := Vector(int32(258)); !slices.Equal(x.Bytes(), []byte{2, 1, 0, 0}) {
		t.Errorf("bytes are not little-endian: %v", x.Bytes())
	}
}

func TestDataChecksTheType(t *testing.T) {
	x := Vector[float32](1)
	mustPanic(t, "int32 of float32", func() { Data[int32](x) })
	mustPanic(t, "uint8 of float32", func() { Data[uint8](x) })
	mustPanic(t, "bool of uint8", func() { Data[bool](Vector[uint8](1)) })
	mustPanic(t, "uint8 of strings", func() { Data[uint8](Strings(Shape{1}, []string{"a"})) })
	mustPanic(t, "data of packed", func() { Data[float32](NewPacked(Float32, Shape{1, 2}, rows{})) })
	mustPanic(t, "Of with a wrong length", func() { Of(Shape{3}, []float32{1}) })
	mustPanic(t, "Strings with a wrong length", func() { Strings(Shape{3}, nil) })
	mustPanic(t, "Reshape", func() { x.Reshape(2) })
	for _, d := range []DType{Uint8, Float8E5M2, Int4, Bool, Int8} {
		if got := Data[uint8](New(d, 4)); len(got) != d.ByteLen(4) {
			t.Errorf("%v as uint8: %d", d, len(got))
		}
	}
}

func TestReshapeSharesData(t *testing.T) {
	x := Vector[float32](1, 2, 3, 4, 5, 6)
	y := x.Reshape(2, 3)
	Data[float32](x)[5] = 9
	if !y.Shape.Equal(Shape{2, 3}) || Data[float32](y)[5] != 9 || !x.Shape.Equal(Shape{6}) {
		t.Errorf("got %v and %v", x, y)
	}
}

func TestContainers(t *testing.T) {
	a, b := Vector[float32](1), Strings(Shape{2}, []string{"x", "yz"})
	s := NewSequence(a, b)
	if s.DType != Sequence || !s.Shape.Equal(Shape{2}) || len(s.Elems()) != 2 || s.ByteLen() != 4+3 {
		t.Errorf("got %v of %d bytes", s, s.ByteLen())
	}
	c := s.Clone()
	Data[float32](c.Elems()[0])[0] = 5
	c.Elems()[1].Text()[0] = "changed"
	if Item[float32](a) != 1 || b.Text()[0] != "x" {
		t.Error("Clone shares elements")
	}
	if o := NewOptional(nil); o.DType != Optional || o.Len() != 0 || len(o.Elems()) != 0 {
		t.Errorf("empty optional: %v", o)
	}
	if o := NewOptional(a); o.Len() != 1 || o.Elems()[0] != a {
		t.Errorf("optional: %v", o)
	}
	if _, err := s.Floats(); err == nil {
		t.Error("numbers of a sequence: want an error")
	}
	if n := New(String, 2); len(n.Text()) != 2 || n.Bytes() != nil {
		t.Errorf("New of strings: %v", n)
	}
}

// rows is a packed matrix whose element is its row and column number.
type rows struct{}

func (rows) Scheme() Scheme { return Scheme{Code: "int", Bits: 4, Group: 2} }
func (rows) ByteLen() int   { return 3 }
func (rows) Row(dst []float32, row int) {
	for i := range dst {
		dst[i] = float32(10*row + i)
	}
}

func TestPackedMatrix(t *testing.T) {
	x := NewPacked(Float32, Shape{2, 1, 3}, rows{})
	f, err := x.Floats()
	if err != nil || !slices.Equal(f, []float32{0, 1, 2, 10, 11, 12}) {
		t.Errorf("got %v, %v", f, err)
	}
	d, err := x.Float64s()
	if err != nil || !slices.Equal(d, []float64{0, 1, 2, 10, 11, 12}) {
		t.Errorf("got %v, %v", d, err)
	}
	if x.ByteLen() != 3 || x.String() != "float32[2x1x3] (int4 group 2 asym)" {
		t.Errorf("%v of %d bytes", x, x.ByteLen())
	}
	if f, err := NewPacked(Float32, Shape{2, 0}, rows{}).Floats(); err != nil || len(f) != 0 {
		t.Errorf("empty: %v, %v", f, err)
	}
	if c := x.Clone(); c.Packed == nil || !c.Shape.Equal(x.Shape) {
		t.Errorf("Clone: %v", c)
	}
}

func TestSchemeNames(t *testing.T) {
	for want, s := range map[string]Scheme{
		"float16":                       {Code: "float16"},
		"int8 per-channel sym":          {Code: "int", Bits: 8, Symmetric: true},
		"int8 per-tensor asym":          {Code: "int", Bits: 8, Group: -1},
		"int4 group 128 asym act-order": {Code: "int", Bits: 4, Group: 128, Reordered: true},
		"nf4 group 64":                  {Code: "nf4", Bits: 4, Group: 64},
		"nf4":                           {Code: "nf4", Bits: 4},
	} {
		if got := s.String(); got != want {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

func TestSourceInMemory(t *testing.T) {
	x := Vector[int64](1, 2)
	s := InMemory(x)
	got, err := s.Load()
	if err != nil || got != x || !s.Shape().Equal(x.Shape) || s.DType() != Int64 {
		t.Errorf("got %v, %v", got, err)
	}
	if (*Tensor)(nil).String() != "none" || x.String() != "int64[2]" {
		t.Errorf("%v", x)
	}
}
