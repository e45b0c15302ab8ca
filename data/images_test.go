package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
	"github.com/neurotrain/neuroquant/tensor"
)

type imageCases struct {
	Resized []struct {
		Width, Height, Channels int
		Filter                  string
		To                      [2]int
		SHA256                  string
		Pixels                  []byte
	}
	Pipeline []struct {
		Width, Height int
		Values        []byte // float32
	}
}

func pillow(t *testing.T) imageCases {
	t.Helper()
	raw, err := os.ReadFile("testdata/images.json")
	if err != nil {
		t.Fatal(err)
	}
	var c imageCases
	if err := json.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// noise is the generator of testdata/make_images.py.
func noise(width, height, channels int) picture.Image {
	r := picture.New(width, height, channels)
	s := uint32(12345)
	for i := range r.Pix {
		s = (s*1103515245 + 12345) & 0x7fffffff
		r.Pix[i] = uint8(s >> 16)
	}
	return r
}

func TestResizeEqualsPillow(t *testing.T) {
	for _, c := range pillow(t).Resized {
		t.Run(fmt.Sprintf("%s %dx%dx%d to %v", c.Filter, c.Width, c.Height, c.Channels, c.To), func(t *testing.T) {
			f, err := findFilter(c.Filter)
			if err != nil {
				t.Fatal(err)
			}
			out := resize(noise(c.Width, c.Height, c.Channels), c.To[0], c.To[1], f)
			sum := sha256.Sum256(out.Pix)
			if hex.EncodeToString(sum[:]) == c.SHA256 {
				return
			}
			for i, v := range c.Pixels {
				if out.Pix[i] != v {
					t.Errorf("byte %d: got %d, want %d", i, out.Pix[i], v)
				}
			}
			t.Error("pixels differ")
		})
	}
}

// distance returns the mean and the largest difference of two images in grey levels.
func distance(a, b []uint8) (mean float64, largest int) {
	sum := 0
	for i := range a {
		d := int(a[i]) - int(b[i])
		d = max(d, -d)
		sum += d
		largest = max(largest, d)
	}
	return float64(sum) / float64(len(a)), largest
}

func TestPipelineAgainstPillow(t *testing.T) {
	for _, c := range pillow(t).Pipeline {
		tr := Transform{Size: Size{Height: 17}, Crop: Size{15, 14}, Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}}
		k, err := tr.compile(3, true)
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.geometry(noise(c.Width, c.Height, 3))
		if err != nil {
			t.Fatal(err)
		}
		got := tensor.New(tensor.Float32, 1, 3, 15, 14)
		k.store(got, 0, r)
		if !bytes.Equal(got.Bytes(), c.Values) {
			t.Errorf("%dx%d: values differ from Pillow's and numpy's", c.Width, c.Height)
		}
	}
}

func TestTransformLayouts(t *testing.T) {
	// One 2x1 image: pixel 0 is (10, 20, 30), pixel 1 is (40, 50, 60).
	pixels := tensor.Of(tensor.Shape{1, 1, 2, 3}, []uint8{10, 20, 30, 40, 50, 60})
	for _, c := range []struct {
		t     Transform
		shape tensor.Shape
		want  []float64
	}{
		{Transform{Scale: 1}, tensor.Shape{1, 3, 1, 2}, []float64{10, 40, 20, 50, 30, 60}},
		{Transform{Scale: 1, Layout: "nhwc"}, tensor.Shape{1, 1, 2, 3}, []float64{10, 20, 30, 40, 50, 60}},
		{Transform{Scale: 1, Channels: "bgr"}, tensor.Shape{1, 3, 1, 2}, []float64{30, 60, 20, 50, 10, 40}},
		{
			Transform{Scale: 1, Channels: "bgr", Mean: []float64{1, 2, 3}, Std: []float64{2}},
			tensor.Shape{1, 3, 1, 2},
			[]float64{14.5, 29.5, 9, 24, 3.5, 18.5},
		},
		{Transform{DType: tensor.Uint8, Layout: "nhwc", Channels: "bgr"}, tensor.Shape{1, 1, 2, 3}, []float64{30, 20, 10, 60, 50, 40}},
		{Transform{Scale: 1, Channels: "gray"}, tensor.Shape{1, 1, 1, 2}, []float64{18, 48}},
		{Transform{Scale: 1, Crop: Size{Height: 3}}, tensor.Shape{1, 3, 3, 3}, []float64{
			0, 0, 0, 10, 40, 0, 0, 0, 0, 0, 0, 0, 20, 50, 0, 0, 0, 0, 0, 0, 0, 30, 60, 0, 0, 0, 0,
		}},
		{Transform{DType: tensor.Float16, Scale: 1}, tensor.Shape{1, 3, 1, 2}, []float64{10, 40, 20, 50, 30, 60}},
	} {
		col, err := memoryColumn("", pixels)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newArraySet("test", []column{col}, &Options{Transform: c.t})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Read(t.Context(), []int{0})
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.Inputs[0].Float64s()
		if err != nil || !b.Inputs[0].Shape.Equal(c.shape) || !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v %v, want %v %v", c.t, b.Inputs[0], got, c.shape, c.want)
		}
		if f := s.Fields()[0]; !f.Shape.Equal(c.shape[1:]) || f.DType != b.Inputs[0].DType {
			t.Errorf("%+v: announced %v", c.t, f)
		}
	}
}

func TestTransformCheckReportsAll(t *testing.T) {
	bad := Transform{Size: Size{Height: -1}, Crop: Size{Height: 1 << 20}, Filter: "cubic", Channels: "hsv", Layout: "nwhc", Mean: []float64{1, 2}, Std: []float64{0}, DType: tensor.Int64}
	err := bad.Check()
	for _, want := range []string{"size: ", "crop: ", "filter: want one of bilinear", `channels: want rgb, bgr or gray, got "hsv"`, "layout: ", "mean: want 1 value or one per channel (3), got 2", "std: ", "element type: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
	for _, s := range []string{"", "x", "0", "12x", "12x0", "-3", "1x2x3", "99999"} {
		if z, err := ParseSize(s); err == nil {
			t.Errorf("size %q is read as %v", s, z)
		}
	}
	for _, s := range []string{"224", "240x320"} {
		if z, err := ParseSize(s); err != nil || z.String() != s {
			t.Errorf("size %q: got %v, %v", s, z, err)
		}
	}
}
