package op

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
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
	m, err := picture.Decode(in[0].Bytes())
	if errors.Is(err, picture.ErrFormat) {
		return []*tensor.Tensor{e.New(tensor.Uint8, 0, 0, channels)}, nil
	}
	if err != nil {
		return nil, err
	}
	if channels == 1 {
		m = m.Gray()
	} else {
		m = m.RGB()
	}
	out := e.New(tensor.Uint8, m.Height, m.Width, channels)
	dst := out.Bytes()
	copy(dst, m.Pix)
	if o.PixelFormat == "BGR" {
		for i := 0; i < len(dst); i += 3 {
			dst[i], dst[i+2] = dst[i+2], dst[i]
		}
	}
	return []*tensor.Tensor{out}, nil
}
