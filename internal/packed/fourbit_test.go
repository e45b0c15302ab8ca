package packed

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// hexed is bytes in hexadecimal.
type hexed []byte

func (h *hexed) UnmarshalJSON(text []byte) error {
	var s string
	err := json.Unmarshal(text, &s)
	if err == nil {
		*h, err = hex.DecodeString(s)
	}
	return err
}

func (h hexed) floats(t *testing.T) []float32 {
	t.Helper()
	v, err := tensor.FromBytes(tensor.Float32, tensor.Shape{len(h) / 4}, h)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Data[float32](v)
}

// peerMaterial is what testdata/fourbit.py wrote.
type peerMaterial struct {
	Dynamic, NF4, FP4 hexed
	FourBit           []struct {
		Kind                                  string
		Double                                bool
		Rows, Cols, Block                     int
		Weight, Codes, Values, Absmax, Nested hexed
		Offset                                float64
	}
	Int8 []struct {
		Rows, Cols            int
		Weight, Codes, Scales hexed
	}
}

func readMaterial(t *testing.T) *peerMaterial {
	t.Helper()
	f, err := os.Open("testdata/fourbit.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	m := new(peerMaterial)
	if err := json.NewDecoder(z).Decode(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// halvesRow gives the rows of a matrix of float16.
func halvesRow(t *testing.T, data []byte, rows, cols int) func(dst []float32, row int) {
	t.Helper()
	w, err := tensor.FromBytes(tensor.Float16, tensor.Shape{rows, cols}, data)
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNarrow(w)
	if err != nil {
		t.Fatal(err)
	}
	return n.Packed.Row
}

func TestFourBitAgainstBitsAndBytes(t *testing.T) {
	m := readMaterial(t)
	if !slices.Equal(DynamicMap(), m.Dynamic.floats(t)) {
		t.Error("the dynamic map differs")
	}
	for _, k := range []struct {
		of   *FourBitType
		want hexed
	}{{NF4, m.NF4}, {FP4, m.FP4}} {
		if !slices.Equal(k.of.Table.Values[:], k.want.floats(t)) {
			t.Errorf("the values of %s differ", k.of.Name)
		}
	}
	for _, c := range m.FourBit {
		what := fmt.Sprintf("%s %dx%d in blocks of %d, double %v", c.Kind, c.Rows, c.Cols, c.Block, c.Double)
		kind, err := ParseFourBit(c.Kind)
		if err != nil {
			t.Fatal(err)
		}
		f, err := NewFourBit(nil, kind, c.Rows, c.Cols, c.Block, c.Double, halvesRow(t, c.Weight, c.Rows, c.Cols))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		if len(f.Codes) != len(c.Codes) {
			t.Fatalf("%s: %d bytes of codes, want %d", what, len(f.Codes), len(c.Codes))
		}
		for i := range f.Codes {
			for _, shift := range []int{0, 4} {
				got, want := f.Codes[i]>>shift&15, c.Codes[i]>>shift&15
				if kind.Table.Values[got] != kind.Table.Values[want] { // FP4 has two codes for 0
					t.Fatalf("%s: byte %d is %#x, want %#x", what, i, f.Codes[i], c.Codes[i])
				}
			}
		}
		scales := c.Absmax
		if c.Double {
			if math.Abs(c.Offset-float64(f.Nested.Offset)) > 1e-7*c.Offset {
				t.Errorf("%s: offset %v, want %v", what, f.Nested.Offset, c.Offset)
			}
			wrong := 0
			for i, q := range f.Nested.Codes {
				if q != c.Absmax[i] {
					wrong++
				}
			}
			// The mean is summed in another order, which moves a scale over a bound now and then.
			if wrong > 1+len(f.Nested.Codes)/200 {
				t.Errorf("%s: %d of %d codes of scales differ", what, wrong, len(f.Nested.Codes))
			}
			scales = c.Nested
		}
		got := f.Scales
		if c.Double {
			got = f.Nested.Max
		}
		for i, v := range scales.floats(t) {
			if math.Abs(float64(v-got[i])) > 1e-6*math.Abs(float64(v)) || !c.Double && v != got[i] && v > 1e-30 {
				t.Fatalf("%s: scale %d is %v, want %v", what, i, got[i], v)
			}
		}
		row := make([]float32, c.Cols)
		for i, v := range c.Values.floats(t) {
			if i%c.Cols == 0 {
				f.Row(row, i/c.Cols)
			}
			if d := math.Abs(float64(row[i%c.Cols] - v)); d > 0x1p-10*math.Abs(float64(v))+1e-7 {
				t.Fatalf("%s: value %d is %v, want %v", what, i, row[i%c.Cols], v)
			}
		}
		checkMultiplier(t, what, f, c.Rows, c.Cols)
	}
}

func TestRowInt8AgainstBitsAndBytes(t *testing.T) {
	for _, c := range readMaterial(t).Int8 {
		m, err := NewLLMInt8(nil, c.Rows, c.Cols, 6, halvesRow(t, c.Weight, c.Rows, c.Cols))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Max, c.Scales.floats(t)) || !slices.Equal(m.Codes, []byte(c.Codes)) {
			t.Errorf("%d x %d: codes or scales differ", c.Rows, c.Cols)
		}
	}
}

// Columns with outliers are exact, and the others as good as without them.
func TestRowInt8Outliers(t *testing.T) {
	p := kernel.NewPool(2)
	defer p.Close()
	r := rand.New(rand.NewPCG(5, 6))
	const rows, cols = 40, 200
	w := make([]float32, rows*cols)
	for i := range w {
		w[i] = float32(r.NormFloat64() * 0.05)
	}
	m, err := NewLLMInt8(p, rows, cols, 6, func(dst []float32, row int) { copy(dst, w[row*cols:]) })
	if err != nil {
		t.Fatal(err)
	}
	k := Prepare(p, m, rows, cols)
	for _, tokens := range []int{1, 7} {
		x, dst := make([]float32, tokens*cols), make([]float32, tokens*rows)
		for i := range x {
			x[i] = float32(r.NormFloat64())
			if i%cols%50 == 3 {
				x[i] *= 80
			}
		}
		k.Multiply(p, tokens, x, cols, dst, rows)
		row := make([]float32, cols)
		var errs, size float64
		for o := range rows {
			m.Row(row, o)
			for tk := range tokens {
				sum := 0.0
				for c, v := range row {
					sum += float64(v) * float64(x[tk*cols+c])
				}
				d := sum - float64(dst[tk*rows+o])
				errs += d * d
				size += sum * sum
			}
		}
		if !(errs < 1e-6*size) {
			t.Errorf("%d rows: relative error %v", tokens, math.Sqrt(errs/size))
		}
	}
	nan := make([]float32, cols)
	nan[5] = float32(math.NaN())
	dst := make([]float32, rows)
	k.Multiply(nil, 1, nan, cols, dst, rows)
	if dst[0] == dst[0] {
		t.Error("not a number was lost")
	}
}

func TestNotFinite(t *testing.T) {
	bad := func(dst []float32, row int) {
		clear(dst)
		if row == 3 {
			dst[7] = float32(math.Inf(-1))
		}
	}
	if _, err := NewFourBit(nil, NF4, 5, 64, 64, true, bad); err == nil {
		t.Error("FourBit took infinity")
	}
	if _, err := NewLLMInt8(nil, 5, 64, 6, bad); err == nil {
		t.Error("RowInt8 took infinity")
	}
}

func BenchmarkNewFourBit(b *testing.B) {
	const rows, cols = 2048, 2048
	w := tensor.New(tensor.Float16, rows, cols)
	for i := range w.Bytes() {
		w.Bytes()[i] = byte(i*7) & 0x3b
	}
	n, err := NewNarrow(w)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(2 * rows * cols)
	for b.Loop() {
		if _, err := NewFourBit(kernel.Shared(), NF4, rows, cols, 64, true, n.Packed.Row); err != nil {
			b.Fatal(err)
		}
	}
}
