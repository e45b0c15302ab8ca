package quantize

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neurotrain/neuroquant/tensor"
)

// channelOf returns the index along axis of element i, 0 for axis -1.
func channelOf(shape tensor.Shape, axis, i int) int {
	if axis < 0 {
		return 0
	}
	return i / shape[axis+1:].Len() % shape[axis]
}

// reference is the definition in float64: the range of each channel, widened to hold 0, mapped to codes; ties to even.
func reference(shape tensor.Shape, w []float32, axis int, signed, centred bool) (codes []int, scale []float64, zero []int) {
	channels := 1
	if axis >= 0 {
		channels = shape[axis]
	}
	least, most := make([]float64, channels), make([]float64, channels)
	for i, v := range w {
		c := channelOf(shape, axis, i)
		least[c], most[c] = math.Min(least[c], float64(v)), math.Max(most[c], float64(v))
	}
	for c := range channels {
		s, z := math.Max(most[c], -least[c])/127, 0
		if centred && !signed {
			z = 128
		} else if !signed {
			s = (most[c] - least[c]) / 255
			z = int(math.RoundToEven(-least[c] / s))
		}
		if s == 0 {
			s = 1
			if !signed && !centred {
				z = 0
			}
		}
		scale, zero = append(scale, s), append(zero, z)
	}
	for i, v := range w {
		c := channelOf(shape, axis, i)
		q := int(math.RoundToEven(float64(v)/scale[c])) + zero[c]
		if signed {
			q = min(max(q, -127), 127)
		} else {
			q = min(max(q, 0), 255)
		}
		codes = append(codes, q)
	}
	return codes, scale, zero
}

func (c *codes) at(i int) int {
	if c.dtype == tensor.Int8 {
		return int(int8(c.data[i]))
	}
	return int(c.data[i])
}

func (c *codes) zeroAt(i int) int {
	if c.zero == nil {
		return 0
	}
	return int(c.zero[i])
}

// TestWeightAgainstDefinition quantizes along every axis in every form. Where the float64 quotient is nearer to a tie than
// float32 can tell, the neighbouring code is right as well.
func TestWeightAgainstDefinition(t *testing.T) {
	b := newNet(t, 11)
	for _, shape := range []tensor.Shape{{7}, {6, 9}, {4, 3, 5}, {3, 4, 2, 3}, {1, 1}} {
		w := b.values(shape...)
		v := tensor.Data[float32](w)
		if len(shape) > 1 {
			for i := range v {
				if channelOf(shape, 0, i) == 1 {
					v[i] = 0 // a channel without values
				}
			}
		}
		for axis := -1; axis < len(shape); axis++ {
			for _, form := range [][2]bool{{true, false}, {false, false}, {false, true}} {
				name := fmt.Sprintf("%v axis %d signed %v centred %v", shape, axis, form[0], form[1])
				c, err := quantizeWeight("w", w, axis, form[0], form[1])
				if err != nil {
					t.Fatal(err)
				}
				codes, scale, zero := reference(shape, v, axis, form[0], form[1])
				if len(c.scale) != len(scale) {
					t.Fatalf("%s: %d scales, want %d", name, len(c.scale), len(scale))
				}
				for i := range scale {
					if math.Abs(float64(c.scale[i])-scale[i]) > 1e-7*scale[i] || c.zeroAt(i) != zero[i] {
						t.Errorf("%s: channel %d: scale %v, zero point %d; want %v, %d", name, i, c.scale[i], c.zeroAt(i), scale[i], zero[i])
					}
				}
				for i, want := range codes {
					got := c.at(i)
					exact := float64(v[i]) / scale[channelOf(shape, axis, i)]
					tie := math.Abs(exact-math.Floor(exact)-0.5) < 1e-4
					if got != want && !(tie && got-want < 2 && want-got < 2) {
						t.Errorf("%s: code %d is %d, want %d (%v)", name, i, got, want, exact)
					}
				}
			}
		}
	}
}

func TestWeightTies(t *testing.T) {
	// Scale 1: the largest is 127 (signed) or the range is 255.
	for _, c := range []struct {
		signed bool
		w      []float32
		want   []int
		zero   int
	}{
		{true, []float32{127, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5}, []int{127, 0, 2, 2, 0, -2, -126}, 0},
		{false, []float32{-100, 155, 0.5, 1.5, -0.5, -1.5}, []int{0, 255, 100, 102, 100, 98}, 100},
		{false, []float32{255, 0.5, 254.5}, []int{255, 0, 254}, 0},
		{false, []float32{-255, -0.5}, []int{0, 255}, 255},
	} {
		q, err := quantizeWeight("w", tensor.Vector(c.w...), -1, c.signed, false)
		if err != nil {
			t.Fatal(err)
		}
		if q.scale[0] != 1 || q.zeroAt(0) != c.zero {
			t.Errorf("%v: scale %v, zero point %d", c.w, q.scale[0], q.zeroAt(0))
		}
		for i, want := range c.want {
			if q.at(i) != want {
				t.Errorf("%v: code %d is %d, want %d", c.w, i, q.at(i), want)
			}
		}
	}
}

// TestWeightTinyRange: a range whose scale would be no normal float32 becomes zero, whatever its sign.
func TestWeightTinyRange(t *testing.T) {
	for _, v := range []float32{0, 1e-44, -1e-40, 1.4e-37} {
		for _, form := range [][2]bool{{true, false}, {false, false}, {false, true}} {
			c, err := quantizeWeight("w", tensor.Vector(v, v/2, 0), -1, form[0], form[1])
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if c.at(i) != c.zeroAt(0) || c.scale[0] != 1 {
					t.Errorf("%v %v: code %d, zero point %d, scale %v", v, form, c.at(i), c.zeroAt(0), c.scale[0])
				}
			}
		}
	}
}

// TestWeightProperties: what decodes is within half a step of what was encoded, the sign form is symmetric, 0 is exact, and the
// bytes do not depend on how the channels are divided among threads.
func TestWeightProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		shape := tensor.Shape(rapid.SliceOfN(rapid.IntRange(1, 6), 1, 4).Draw(r, "shape"))
		axis := rapid.IntRange(-1, len(shape)-1).Draw(r, "axis")
		signed, centred := rapid.Bool().Draw(r, "signed"), rapid.Bool().Draw(r, "centred")
		size := math.Pow(10, rapid.Float64Range(-30, 30).Draw(r, "exponent"))
		v := make([]float32, shape.Len())
		for i := range v {
			v[i] = float32(rapid.Float64Range(-size, size).Draw(r, "value"))
		}
		w := tensor.Of(shape, v)
		c, err := quantizeWeight("w", w, axis, signed, centred)
		if err != nil {
			r.Fatal(err)
		}
		for i, x := range v {
			k := channelOf(shape, axis, i)
			step := float64(c.scale[k])
			back := step * float64(c.at(i)-c.zeroAt(k))
			if d := math.Abs(back - float64(x)); d > step*(0.5+1e-4) {
				r.Fatalf("%v decodes as %v, %v steps off", x, back, d/step)
			}
			if x == 0 && back != 0 {
				r.Fatalf("0 decodes as %v", back)
			}
		}
		if !signed {
			return
		}
		neg := make([]float32, len(v))
		for i, x := range v {
			neg[i] = -x
		}
		m, err := quantizeWeight("w", tensor.Of(shape, neg), axis, true, false)
		if err != nil {
			r.Fatal(err)
		}
		for i := range v {
			if m.at(i) != -c.at(i) {
				r.Fatalf("%v has code %d, %v has %d", v[i], c.at(i), neg[i], m.at(i))
			}
		}
	})
}

// TestWeightChannelsAreIndependent: a channel gets the same codes alone and among others, so no division of work shows.
func TestWeightChannelsAreIndependent(t *testing.T) {
	const channels, cols = 300, 700
	w := newNet(t, 12).values(channels, cols)
	v := tensor.Data[float32](w)
	all, err := quantizeWeight("w", w, 0, false, false)
	if err != nil {
		t.Fatal(err)
	}
	for c := range channels {
		one, err := quantizeWeight("w", tensor.Vector(v[c*cols:(c+1)*cols]...), -1, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one.data, all.data[c*cols:(c+1)*cols]) || one.scale[0] != all.scale[c] || one.zero[0] != all.zero[c] {
			t.Fatalf("channel %d differs", c)
		}
	}
}

func TestWeightNotFinite(t *testing.T) {
	v := make([]float32, 24)
	v[17], v[20] = float32(math.Inf(-1)), float32(math.NaN())
	_, err := quantizeWeight("conv1.weight", tensor.Of(tensor.Shape{2, 3, 4}, v), 0, true, false)
	const want = `weight "conv1.weight": 2 of 24 values are not finite (the first is -Inf at [1 1 1])`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestCodesReordered checks the forms that layers cut out of codes against indices.
func TestCodesReordered(t *testing.T) {
	c := newCodes(tensor.Shape{2, 3, 4}, -1, false)
	c.scale, c.zero = []float32{1, 2, 3, 4, 5, 6, 7, 8}, []int32{1, 2, 3, 4, 5, 6, 7, 8} // per direction and column
	for i := range 24 {
		c.data = append(c.data, byte(i))
	}
	f := c.transposed()
	if !f.shape.Equal(tensor.Shape{2, 4, 3}) || !slices.Equal(f.data[:5], []byte{0, 4, 8, 1, 5}) || f.data[12] != 12 || f.data[13] != 16 {
		t.Errorf("transposed: %v %v", f.shape, f.data)
	}
	if c.transposed() != f {
		t.Error("transposing twice makes two copies")
	}
	d := c.direction(1)
	if !d.shape.Equal(tensor.Shape{3, 4}) || d.data[0] != 12 || !slices.Equal(d.scale, []float32{5, 6, 7, 8}) || !slices.Equal(d.zero, []int32{5, 6, 7, 8}) {
		t.Errorf("direction: %+v", d)
	}
	k := d.columns(1, 3)
	if !k.shape.Equal(tensor.Shape{3, 2}) || !slices.Equal(k.data, []byte{13, 14, 17, 18, 21, 22}) || !slices.Equal(k.scale, []float32{6, 7}) || !slices.Equal(k.zero, []int32{6, 7}) {
		t.Errorf("columns: %+v", k)
	}
	if s := k.scaled(0.5); !slices.Equal(s.scale, []float32{3, 3.5}) || k.scale[0] != 6 || s.source() != k.source() {
		t.Errorf("scaled: %+v", s)
	}
}

// Codes of 4 bits are packed two in a byte, and fitted scales keep the length of the weight and lose less of its direction.
func TestFourBitWeights(t *testing.T) {
	const rows, cols = 6, 201
	w := normal(9, rows*cols, 12)
	var plain [rows]float64
	for _, fit := range []bool{false, true} {
		c, err := roundWeight("w", tensor.Of(tensor.Shape{rows, cols}, w), 0, weightForm{signed: true, four: true, fit: fit})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := c.source().Load()
		if err != nil {
			t.Fatal(err)
		}
		if stored.DType != tensor.Int4 || len(stored.Bytes()) != (rows*cols+1)/2 || c.stored() != tensor.Int4 {
			t.Errorf("stored as %v in %d bytes", stored.DType, len(stored.Bytes()))
		}
		q, err := stored.Ints()
		if err != nil {
			t.Fatal(err)
		}
		for r := range rows {
			var ww, wv, vv, most float64
			for i := r * cols; i < (r+1)*cols; i++ {
				x, v := float64(w[i]), float64(q[i])*float64(c.scale[r])
				ww, wv, vv = ww+x*x, wv+x*v, vv+v*v
				most = max(most, math.Abs(x))
				if q[i] < -7 || q[i] > 7 {
					t.Fatalf("code %d", q[i])
				}
			}
			cos := wv / math.Sqrt(ww*vv)
			switch {
			case !fit && math.Abs(float64(c.scale[r])-most/7) > 1e-6:
				t.Errorf("row %d: scale %v for values up to %v", r, c.scale[r], most)
			case fit && math.Abs(wv/ww-1) > 1e-5:
				t.Errorf("row %d: codes hold %v of its length", r, wv/ww)
			case !fit:
				plain[r] = cos
			case cos < plain[r] || r == 0 && cos < plain[r]+0.005: // the first row has the outlier
				t.Errorf("row %d: cosine %v, of the plain codes %v", r, cos, plain[r])
			}
		}
	}
}
