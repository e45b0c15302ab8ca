package op

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

func decodeBytes(t *testing.T, format string, file []byte) *tensor.Tensor {
	t.Helper()
	out, err := (&ImageDecoder{PixelFormat: format}).Eval(&graph.Env{}, []*tensor.Tensor{tensor.Vector(file...)})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func TestImageDecoderLosslessFormats(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	var rgb []byte
	for i := range 6 {
		c := color.NRGBA{uint8(40 * i), uint8(255 - 30*i), uint8(7 * i), 255}
		img.SetNRGBA(i%3, i/3, c)
		rgb = append(rgb, c.R, c.G, c.B)
	}
	var files [3]bytes.Buffer
	if err := png.Encode(&files[0], img); err != nil {
		t.Fatal(err)
	}
	if err := bmp.Encode(&files[1], img); err != nil {
		t.Fatal(err)
	}
	if err := tiff.Encode(&files[2], img, nil); err != nil {
		t.Fatal(err)
	}
	list := [][]byte{files[0].Bytes(), files[1].Bytes(), files[2].Bytes(), append([]byte("P6 #c\n3 2\n255\n"), rgb...)}
	for i, f := range list {
		x := decodeBytes(t, "RGB", f)
		if !x.Shape.Equal(tensor.Shape{2, 3, 3}) || !slices.Equal(x.Bytes(), rgb) {
			t.Errorf("file %d: want %v, got %v %v", i, rgb, x, x.Bytes())
		}
		b := decodeBytes(t, "BGR", f).Bytes()
		if b[0] != rgb[2] || b[1] != rgb[1] || b[2] != rgb[0] {
			t.Errorf("file %d: BGR: got %v", i, b[:3])
		}
	}
	// Pillow's conversion of (40, 225, 7) to grey is 145.
	if g := decodeBytes(t, "Grayscale", list[0]); !g.Shape.Equal(tensor.Shape{2, 3, 1}) || g.Bytes()[1] != 145 {
		t.Errorf("grey: got %v %v", g, g.Bytes())
	}
}

func TestImageDecoderBadInput(t *testing.T) {
	for _, file := range []string{"", "P", "not an image", "\xff\xd8\xff\xe0", "\x89PNG\r\n\x1a\n", "BM", "RIFF\x00\x00\x00\x00WEBPVP8 ", "II*\x00\xff\xff\xff\xff"} {
		if x := decodeBytes(t, "RGB", []byte(file)); !x.Shape.Equal(tensor.Shape{0, 0, 3}) {
			t.Errorf("%q: got %v", file, x)
		}
	}
	_, err := (&ImageDecoder{PixelFormat: "RGB"}).Eval(&graph.Env{}, []*tensor.Tensor{tensor.Vector([]byte("\x00\x00\x00\x0cjP  \r\n\x87\n")...)})
	if err == nil || !strings.Contains(err.Error(), "JPEG 2000") {
		t.Errorf("JPEG 2000: got %v", err)
	}
	if _, err := (&ImageDecoder{PixelFormat: "CMYK"}).Infer([]graph.Type{graph.Unranked(tensor.Uint8)}); err == nil {
		t.Error("CMYK: want an error")
	}
}
