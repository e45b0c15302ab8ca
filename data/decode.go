package data

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"path"
	"slices"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/webp"
)

// maxPixels bounds an image before it is decoded.
const maxPixels = 1 << 27

// imageSuffixes are the file names that count as images.
var imageSuffixes = []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"}

func isImageName(name string) bool {
	return slices.Contains(imageSuffixes, strings.ToLower(path.Ext(name)))
}

// imageConfig returns the size of an encoded image, and the number of channels, from its header.
func imageConfig(file []byte) (width, height int, err error) {
	f, err := imageFormat(file)
	if err != nil {
		return 0, 0, err
	}
	cfg, err := f.config(file)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", f.name, err)
	}
	if cfg.Width < 1 || cfg.Height < 1 || cfg.Width > maxPixels/cfg.Height {
		return 0, 0, fmt.Errorf("%s: %d x %d pixels are not accepted (at most %d in all)", f.name, cfg.Width, cfg.Height, maxPixels)
	}
	return cfg.Width, cfg.Height, nil
}

// decodeImage decodes an image file by its content, whatever its name. Orientation tags are not applied, as Pillow's open and
// torchvision's loaders do not.
func decodeImage(file []byte) (raster, error) {
	if _, _, err := imageConfig(file); err != nil {
		return raster{}, err
	}
	f, _ := imageFormat(file)
	r, err := f.decode(file)
	if err != nil {
		return raster{}, fmt.Errorf("%s: %w", f.name, err)
	}
	return r, nil
}

type format struct {
	name   string
	is     func(file []byte) bool
	config func(file []byte) (image.Config, error)
	decode func(file []byte) (raster, error)
}

func prefix(p string) func([]byte) bool {
	return func(file []byte) bool { return bytes.HasPrefix(file, []byte(p)) }
}

var formats = []format{
	{"jpeg", prefix("\xff\xd8\xff"),
		func(f []byte) (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(f)) }, decodeJPEG},
	{"png", prefix("\x89PNG\r\n\x1a\n"),
		func(f []byte) (image.Config, error) { return png.DecodeConfig(bytes.NewReader(f)) },
		func(f []byte) (raster, error) { return rasterOf(png.Decode(bytes.NewReader(f))) }},
	{"bmp", prefix("BM"),
		func(f []byte) (image.Config, error) { return bmp.DecodeConfig(bytes.NewReader(f)) },
		func(f []byte) (raster, error) { return rasterOf(bmp.Decode(bytes.NewReader(f))) }},
	{"webp", func(f []byte) bool { return len(f) >= 12 && string(f[:4]) == "RIFF" && string(f[8:12]) == "WEBP" },
		func(f []byte) (image.Config, error) { return webp.DecodeConfig(bytes.NewReader(f)) }, decodeWebP},
	{"gif", prefix("GIF8"),
		func(f []byte) (image.Config, error) { return gif.DecodeConfig(bytes.NewReader(f)) },
		func(f []byte) (raster, error) { return rasterOf(gif.Decode(bytes.NewReader(f))) }},
}

func imageFormat(file []byte) (*format, error) {
	if len(file) == 0 {
		return nil, errors.New("the file is empty")
	}
	for i := range formats {
		if formats[i].is(file) {
			return &formats[i], nil
		}
	}
	return nil, fmt.Errorf("want a JPEG, PNG, BMP, WebP or GIF image, found a file that starts with %.8q", file)
}

func rasterOf(img image.Image, err error) (raster, error) {
	if err != nil {
		return raster{}, err
	}
	return toRaster(img)
}

func decodeJPEG(file []byte) (raster, error) {
	img, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		return raster{}, err
	}
	if m, ok := img.(*image.YCbCr); ok {
		return fromJFIF(m), nil
	}
	return toRaster(img)
}

func decodeWebP(file []byte) (raster, error) {
	img, err := webp.Decode(bytes.NewReader(file))
	if err != nil {
		return raster{}, err
	}
	switch m := img.(type) {
	case *image.YCbCr:
		return fromVP8(m), nil
	case *image.NYCbCrA:
		return fromVP8(&m.YCbCr), nil
	}
	return toRaster(img)
}
