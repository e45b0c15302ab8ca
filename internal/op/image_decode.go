package op

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ImageDecoder is the ONNX operator ImageDecoder: a file as bytes [n] becomes pixels [height, width, channels] of uint8. JPEG,
// PNG, BMP, TIFF, WebP, GIF (its first frame) and PBM, PGM and PPM are known. What is not an image, or a damaged one, gives a
// result without elements, as the specification says; JPEG 2000 is an error.
type ImageDecoder struct {
	PixelFormat string `attr:"pixel_format,RGB"` // RGB, BGR or Grayscale
}

func (*ImageDecoder) Kind() string { return "ImageDecoder" }

func (o *ImageDecoder) channels() (int, error) {
	switch o.PixelFormat {
	case "RGB", "BGR":
		return 3, nil
	case "Grayscale":
		return 1, nil
	}
	return 0, fmt.Errorf("pixel_format: want RGB, BGR or Grayscale, got %q", o.PixelFormat)
}

// Infer knows the number of channels.
func (o *ImageDecoder) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := dtypes(tensor.Uint8).check(0, in[0].DType); err != nil {
		return nil, err
	}
	c, err := o.channels()
	return []graph.Type{graph.Ranked(tensor.Uint8, graph.Unknown, graph.Unknown, graph.Known(c))}, err
}

// maxPixels bounds the images that are decoded.
const maxPixels = 1 << 28

// Eval decodes the image.
func (o *ImageDecoder) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := dtypes(tensor.Uint8).check(0, in[0].DType); err != nil {
		return nil, err
	}
	channels, err := o.channels()
	if err != nil {
		return nil, err
	}
	rgb, width, height, err := decodeImage(in[0].Bytes())
	if errors.Is(err, errDamagedImage) {
		return []*tensor.Tensor{e.New(tensor.Uint8, 0, 0, channels)}, nil
	}
	if err != nil {
		return nil, err
	}
	out := e.New(tensor.Uint8, height, width, channels)
	dst := out.Bytes()
	switch o.PixelFormat {
	case "RGB":
		copy(dst, rgb)
	case "BGR":
		for i := 0; i < len(rgb); i += 3 {
			dst[i], dst[i+1], dst[i+2] = rgb[i+2], rgb[i+1], rgb[i]
		}
	default: // ITU-R BT.601 luma in 16-bit fixed point
		for i := range dst {
			r, g, b := uint32(rgb[3*i]), uint32(rgb[3*i+1]), uint32(rgb[3*i+2])
			dst[i] = uint8((r*19595 + g*38470 + b*7471 + 1<<15) >> 16)
		}
	}
	return []*tensor.Tensor{out}, nil
}

var errDamagedImage = errors.New("not an image, or a damaged one")

// imageFormats lists the known formats by the bytes that a file begins with; '?' is any byte.
var imageFormats = []struct {
	magic  string
	decode func([]byte) (image.Image, error)
	config func([]byte) (image.Config, error)
}{
	{"\xff\xd8", reader(jpeg.Decode), reader(jpeg.DecodeConfig)},
	{"\x89PNG", reader(png.Decode), reader(png.DecodeConfig)},
	{"BM", reader(bmp.Decode), reader(bmp.DecodeConfig)},
	{"II*\x00", reader(tiff.Decode), reader(tiff.DecodeConfig)},
	{"MM\x00*", reader(tiff.Decode), reader(tiff.DecodeConfig)},
	{"RIFF????WEBP", reader(webp.Decode), reader(webp.DecodeConfig)},
	{"GIF8", reader(gif.Decode), reader(gif.DecodeConfig)},
}

// decodeImage returns interleaved RGB pixels.
func decodeImage(file []byte) (rgb []byte, width, height int, err error) {
	if bytes.HasPrefix(file, []byte("\x00\x00\x00\x0cjP  ")) || bytes.HasPrefix(file, []byte("\xff\x4f\xff\x51")) {
		return nil, 0, 0, errors.New("JPEG 2000 images are not supported")
	}
	if len(file) > 2 && file[0] == 'P' && file[1] >= '1' && file[1] <= '6' {
		return decodePNM(file)
	}
	for _, f := range imageFormats {
		if !hasMagic(file, f.magic) {
			continue
		}
		c, err := f.config(file)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("%w: %v", errDamagedImage, err)
		}
		if c.Width <= 0 || c.Height <= 0 || c.Width > maxPixels/c.Height {
			return nil, 0, 0, fmt.Errorf("an image of %d x %d pixels is too large", c.Width, c.Height)
		}
		img, err := f.decode(file)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("%w: %v", errDamagedImage, err)
		}
		b := img.Bounds()
		return rgbPixels(img, f.magic[0] == 'R'), b.Dx(), b.Dy(), nil
	}
	return nil, 0, 0, errDamagedImage
}

func hasMagic(file []byte, magic string) bool {
	if len(file) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != file[i] {
			return false
		}
	}
	return true
}

// rgbPixels returns interleaved RGB pixels, alpha dropped. Chroma at half resolution is interpolated; lossy WebP has a colour
// matrix of its own.
func rgbPixels(img image.Image, webpColors bool) []byte {
	b := img.Bounds()
	width, height := b.Dx(), b.Dy()
	out := make([]byte, 3*width*height)
	switch m := img.(type) {
	case *image.YCbCr:
		if webpColors {
			webpToRGB(out, m)
		} else {
			jpegToRGB(out, m)
		}
		return out
	case *image.NYCbCrA:
		webpToRGB(out, &m.YCbCr)
		return out
	case *image.NRGBA:
		for y := range height {
			row := m.Pix[y*m.Stride:]
			for x := range width {
				copy(out[3*(y*width+x):][:3], row[4*x:])
			}
		}
		return out
	case *image.Gray:
		for y := range height {
			row := m.Pix[y*m.Stride:]
			for x := range width {
				o := out[3*(y*width+x):]
				o[0], o[1], o[2] = row[x], row[x], row[x]
			}
		}
		return out
	}
	for y := range height {
		for x := range width {
			// Colours with alpha are stored multiplied by it.
			r, g, bl, a := img.At(b.Min.X+x, b.Min.Y+y).RGBA()
			o := out[3*(y*width+x):]
			if a != 0 && a != 0xffff {
				r, g, bl = r*0xffff/a, g*0xffff/a, bl*0xffff/a
			}
			o[0], o[1], o[2] = uint8(r>>8), uint8(g>>8), uint8(bl>>8)
		}
	}
	return out
}
