package data

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
	"github.com/neurotrain/neuroquant/tensor"
)

// Size is a height and width in pixels.
type Size struct{ Height, Width int }

// ParseSize reads "224" (Width stays 0) or "240x320" (height first).
func ParseSize(s string) (Size, error) {
	h, w, both := strings.Cut(s, "x")
	var z Size
	var err error
	if z.Height, err = strconv.Atoi(h); err == nil && both {
		z.Width, err = strconv.Atoi(w)
	}
	if err != nil || z.Height < 1 || both && z.Width < 1 || z.Height > maxSide || z.Width > maxSide {
		return Size{}, fmt.Errorf("size: want a number of pixels such as 224, or height x width such as 240x320, got %q", s)
	}
	return z, nil
}

// String is the inverse of [ParseSize]; "" for the zero value.
func (z Size) String() string {
	switch {
	case z == Size{}:
		return ""
	case z.Width == 0:
		return strconv.Itoa(z.Height)
	}
	return fmt.Sprintf("%dx%d", z.Height, z.Width)
}

// maxSide bounds a side of an image after resizing.
const maxSide = 1 << 15

// Transform turns an 8-bit image into a model's input: resize, center crop, channel order, scale, mean and standard deviation,
// layout. The zero value gives values in [0, 1], red first, channels first.
type Transform struct {
	// Size is what the image is resized to. With Width 0 the shorter side becomes Height and the proportions stay, as
	// torchvision's Resize(n) does. Zero: no resizing.
	Size Size
	// Crop is the window cut from the middle after resizing; Width 0 makes it square. Zero: no cropping.
	Crop Size
	// Filter is bilinear (default), bicubic, box, lanczos or nearest, each equal to Pillow's.
	Filter string
	// Scale multiplies the pixel values; 0 stands for 1/255.
	Scale float64
	// Mean is subtracted and Std divided by after scaling: one value per channel, in output order, or one for all.
	Mean, Std []float64
	// Layout is nchw (default) or nhwc.
	Layout string
	// Channels is rgb, bgr or gray. The default is rgb for image files, and for arrays what they hold.
	Channels string
	// DType is the element type of the result: Float32 (default), Float16, BFloat16, Float64, or Uint8 for plain pixel values.
	DType tensor.DType
}

// isZero reports whether nothing is asked for.
func (t *Transform) isZero() bool {
	return t.Size == Size{} && t.Crop == Size{} && t.Filter == "" && t.Scale == 0 && len(t.Mean) == 0 && len(t.Std) == 0 &&
		t.Layout == "" && t.Channels == "" && t.DType == tensor.Invalid
}

// Check reports all mistakes in the options at once.
func (t *Transform) Check() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, z := range []struct {
		name string
		size Size
	}{{"size", t.Size}, {"crop", t.Crop}} {
		s := z.size
		if s != (Size{}) && (s.Height < 1 || s.Width < 0 || s.Height > maxSide || s.Width > maxSide) {
			add("%s: want 1 to %d pixels, got %dx%d", z.name, maxSide, s.Height, s.Width)
		}
	}
	if _, err := findFilter(t.Filter); err != nil {
		errs = append(errs, err)
	}
	channels := 3
	switch t.Channels {
	case "", "rgb", "bgr":
	case "gray":
		channels = 1
	default:
		add("channels: want rgb, bgr or gray, got %q", t.Channels)
	}
	if t.Layout != "" && t.Layout != "nchw" && t.Layout != "nhwc" {
		add("layout: want nchw or nhwc, got %q", t.Layout)
	}
	for _, s := range []struct {
		name   string
		values []float64
	}{{"mean", t.Mean}, {"std", t.Std}} {
		if n := len(s.values); n > 1 && (n != channels) {
			add("%s: want 1 value or one per channel (%d), got %d", s.name, channels, n)
		}
	}
	for _, v := range t.Std {
		if !(v > 0) {
			add("std: want values above 0, got %v", v)
			break
		}
	}
	switch t.DType {
	case tensor.Invalid, tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Float64:
	case tensor.Uint8:
		if t.Scale != 0 || len(t.Mean)+len(t.Std) > 0 {
			add("scale, mean and std: not with uint8 pixel values")
		}
	default:
		add("element type: want float32, float16, bfloat16, float64 or uint8, got %v", t.DType)
	}
	return errors.Join(errs...)
}

// sizeFor returns the size after resizing and after cropping an image of the given size.
func (t *Transform) sizeFor(width, height int) (resized, final Size, err error) {
	resized = Size{height, width}
	if t.Size != (Size{}) {
		resized = t.Size
		if resized.Width == 0 {
			// torchvision: the longer side is truncated.
			short := t.Size.Height
			if width <= height {
				resized = Size{int(float64(short) * float64(height) / float64(width)), short}
			} else {
				resized = Size{short, int(float64(short) * float64(width) / float64(height))}
			}
		}
	}
	if max(resized.Height, resized.Width) > 4*maxSide || resized.Height*resized.Width > picture.MaxPixels {
		return Size{}, Size{}, fmt.Errorf("%dx%d resized to %v is too large", height, width, resized)
	}
	final = resized
	if t.Crop != (Size{}) {
		final = t.Crop
		if final.Width == 0 {
			final.Width = final.Height
		}
	}
	return resized, final, nil
}

// compiled is a transform prepared for images of one number of channels.
type compiled struct {
	Transform
	filter   filter
	channels int // of the result
	table    [][256]float32
}

// compile prepares the transform for images with the given number of channels; files says whether they are image files, which
// are colour images unless told otherwise.
func (t *Transform) compile(channels int, files bool) (*compiled, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	c := &compiled{Transform: *t}
	c.filter, _ = findFilter(t.Filter)
	switch {
	case t.Channels == "gray" || t.Channels == "" && !files && channels == 1:
		c.channels = 1
	default:
		c.channels = 3
	}
	for _, s := range [][]float64{t.Mean, t.Std} {
		if len(s) > 1 && len(s) != c.channels {
			return nil, fmt.Errorf("mean and std: the images have %d channel(s), got %d values", c.channels, len(s))
		}
	}
	c.table = make([][256]float32, c.channels)
	for ch := range c.table {
		mean, std := pick(t.Mean, ch, 0), pick(t.Std, ch, 1)
		for v := range 256 {
			// float32 steps, as torchvision's ToTensor and Normalize round.
			x := float32(v) / 255
			if t.Scale != 0 && t.Scale != 1.0/255 {
				x = float32(float64(v) * t.Scale)
			}
			c.table[ch][v] = float32(x-float32(mean)) / float32(std)
		}
	}
	return c, nil
}

// pick returns the value of a channel.
func pick(s []float64, ch int, none float64) float64 {
	switch len(s) {
	case 0:
		return none
	case 1:
		return s[0]
	}
	return s[ch]
}

// dtype returns the element type of the result.
func (c *compiled) dtype() tensor.DType {
	if c.DType == tensor.Invalid {
		return tensor.Float32
	}
	return c.DType
}

// shape returns the shape of a sample of the given size.
func (c *compiled) shape(z Size) tensor.Shape {
	if c.Layout == "nhwc" {
		return tensor.Shape{z.Height, z.Width, c.channels}
	}
	return tensor.Shape{c.channels, z.Height, z.Width}
}

// geometry resizes, crops and sets the channels.
func (c *compiled) geometry(r picture.Image) (picture.Image, error) {
	resized, final, err := c.sizeFor(r.Width, r.Height)
	if err != nil {
		return picture.Image{}, err
	}
	if c.channels == 1 {
		r = r.Gray()
	} else {
		r = r.RGB()
	}
	return crop(resize(r, resized.Width, resized.Height, c.filter), final.Width, final.Height), nil
}

// store writes the pixels of a transformed image as sample i of t, whose type is float32 or uint8.
func (c *compiled) store(t *tensor.Tensor, i int, r picture.Image) {
	n := len(r.Pix)
	if t.DType == tensor.Uint8 {
		spread(tensor.Data[uint8](t)[i*n:(i+1)*n], r.Pix, c, func(_ int, v uint8) uint8 { return v })
		return
	}
	spread(tensor.Data[float32](t)[i*n:(i+1)*n], r.Pix, c, func(ch int, v uint8) float32 { return c.table[ch][v] })
}

// spread lays interleaved pixels out in the transform's layout and channel order.
func spread[T any](dst []T, pix []uint8, c *compiled, value func(ch int, v uint8) T) {
	plane := len(pix) / c.channels
	for ch := range c.channels {
		from := ch
		if c.Channels == "bgr" {
			from = c.channels - 1 - ch
		}
		at, step := ch*plane, 1
		if c.Layout == "nhwc" {
			at, step = ch, c.channels
		}
		for i := from; i < len(pix); i += c.channels {
			dst[at] = value(ch, pix[i])
			at += step
		}
	}
}

// finish converts a float32 batch to the wanted element type.
func (c *compiled) finish(t *tensor.Tensor) (*tensor.Tensor, error) {
	if t.DType == c.dtype() {
		return t, nil
	}
	v, err := t.Float64s()
	if err != nil {
		return nil, err
	}
	return tensor.FromFloat64s(c.dtype(), t.Shape, v)
}

// storage returns the element type that [compiled.store] fills before [compiled.finish].
func (c *compiled) storage() tensor.DType {
	if c.DType == tensor.Uint8 {
		return tensor.Uint8
	}
	return tensor.Float32
}
