package picture

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// MaxPixels bounds an image before it is decoded.
const MaxPixels = 1 << 27

var (
	// ErrFormat says that the bytes are no image of a known format, or a damaged one.
	ErrFormat = errors.New("not an image, or a damaged one")
	// ErrUnsupported says that the image is of a known format or size that is not decoded.
	ErrUnsupported = errors.New("not supported")
)

// Error is what is wrong with an image file. It is [ErrFormat] or [ErrUnsupported].
type Error struct {
	Format string // empty where it is unknown
	Err    error
	kind   error
}

func (e *Error) Error() string {
	if e.Format == "" {
		return e.Err.Error()
	}
	return e.Format + ": " + e.Err.Error()
}

func (e *Error) Unwrap() []error { return []error{e.kind, e.Err} }

// A format is known by the bytes that a file begins with; '?' is any byte.
type format struct {
	name   string
	magic  []string
	suffix []string
	config func(file []byte) (image.Config, error)
	decode func(file []byte) (Image, error)
}

var formats = []format{
	{"jpeg", []string{"\xff\xd8"}, []string{".jpg", ".jpeg"}, reader(jpeg.DecodeConfig), decodeJPEG},
	{"png", []string{"\x89PNG\r\n\x1a\n"}, []string{".png"}, reader(png.DecodeConfig), converted(png.Decode)},
	{"bmp", []string{"BM"}, []string{".bmp"}, reader(bmp.DecodeConfig), converted(bmp.Decode)},
	{"webp", []string{"RIFF????WEBP"}, []string{".webp"}, reader(webp.DecodeConfig), decodeWebP},
	{"gif", []string{"GIF8"}, []string{".gif"}, reader(gif.DecodeConfig), decodeGIF},
	{"tiff", []string{"II*\x00", "MM\x00*"}, []string{".tif", ".tiff"}, reader(tiff.DecodeConfig), converted(tiff.Decode)},
	{"pnm", []string{"P1", "P2", "P3", "P4", "P5", "P6"}, []string{".pbm", ".pgm", ".ppm", ".pnm"}, configPNM, decodePNM},
}

// reader makes of a decoder of streams one of bytes.
func reader[T any](f func(io.Reader) (T, error)) func([]byte) (T, error) {
	return func(file []byte) (T, error) { return f(bytes.NewReader(file)) }
}

func converted(f func(io.Reader) (image.Image, error)) func([]byte) (Image, error) {
	return func(file []byte) (Image, error) {
		img, err := f(bytes.NewReader(file))
		if err != nil {
			return Image{}, err
		}
		return convert(img), nil
	}
}

// Suffixes returns the file name suffixes of the known formats.
func Suffixes() []string {
	var s []string
	for _, f := range formats {
		s = append(s, f.suffix...)
	}
	return s
}

// IsName reports whether a file name has the suffix of a known format, in lower or upper case.
func IsName(name string) bool { return slices.Contains(Suffixes(), strings.ToLower(path.Ext(name))) }

// IsImage reports whether a file that begins like this is of a known format; 12 bytes are enough.
func IsImage(head []byte) bool {
	return slices.ContainsFunc(formats, func(f format) bool { return f.is(head) })
}

func (f *format) is(file []byte) bool {
	return slices.ContainsFunc(f.magic, func(magic string) bool {
		if len(file) < len(magic) {
			return false
		}
		for i := range len(magic) {
			if magic[i] != '?' && magic[i] != file[i] {
				return false
			}
		}
		return true
	})
}

func find(file []byte) (*format, error) {
	if len(file) == 0 {
		return nil, &Error{"", errors.New("the file is empty"), ErrFormat}
	}
	for i := range formats {
		if formats[i].is(file) {
			return &formats[i], nil
		}
	}
	if bytes.HasPrefix(file, []byte("\x00\x00\x00\x0cjP  ")) || bytes.HasPrefix(file, []byte("\xff\x4f\xff\x51")) {
		return nil, &Error{"", errors.New("JPEG 2000 images are not supported"), ErrUnsupported}
	}
	return nil, &Error{"", fmt.Errorf("want a JPEG, PNG, BMP, WebP, GIF, TIFF or PNM image, found a file that starts with %.8q", file), ErrFormat}
}

// Size returns the size of an encoded image from its header.
func Size(file []byte) (width, height int, err error) {
	f, err := find(file)
	if err != nil {
		return 0, 0, err
	}
	return f.size(file)
}

func (f *format) size(file []byte) (width, height int, err error) {
	c, err := f.config(file)
	if err != nil {
		return 0, 0, &Error{f.name, err, ErrFormat}
	}
	if c.Width < 1 || c.Height < 1 || c.Width > MaxPixels/c.Height {
		return 0, 0, &Error{f.name, fmt.Errorf("%d x %d pixels are not accepted (at most %d in all)", c.Width, c.Height, MaxPixels), ErrUnsupported}
	}
	return c.Width, c.Height, nil
}

// Decode decodes an image file by its content, whatever its name; of an animation, the first frame. Orientation tags are not
// applied and transparency is dropped, not blended, as by Pillow's open and convert("RGB").
func Decode(file []byte) (Image, error) {
	f, err := find(file)
	if err != nil {
		return Image{}, err
	}
	if _, _, err := f.size(file); err != nil {
		return Image{}, err
	}
	m, err := f.decode(file)
	if err != nil {
		return Image{}, &Error{f.name, err, ErrFormat}
	}
	return m, nil
}

func decodeWebP(file []byte) (Image, error) {
	img, err := webp.Decode(bytes.NewReader(file))
	if err != nil {
		return Image{}, err
	}
	switch m := img.(type) {
	case *image.YCbCr:
		return fromVP8(m), nil
	case *image.NYCbCrA:
		return fromVP8(&m.YCbCr), nil
	}
	return convert(img), nil
}
