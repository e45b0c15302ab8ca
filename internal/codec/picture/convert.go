package picture

import (
	"image"
	"image/color"
)

// convert takes what the decoders return. Transparency is dropped, not blended, and 16-bit channels keep their high byte, as
// Pillow's convert("RGB") does. YCbCr is converted by its format.
func convert(img image.Image) Image {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	switch m := img.(type) {
	case *image.Gray:
		return fromSamples(w, h, 1, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 1, 1)
	case *image.Gray16:
		return fromSamples(w, h, 1, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 2, 2)
	case *image.NRGBA:
		return fromSamples(w, h, 3, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, 1)
	case *image.NRGBA64:
		return fromSamples(w, h, 3, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, 2)
	case *image.RGBA:
		if m.Opaque() {
			return fromSamples(w, h, 3, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, 1)
		}
	case *image.RGBA64:
		if m.Opaque() {
			return fromSamples(w, h, 3, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, 2)
		}
	case *image.CMYK:
		return fromCMYK(m)
	case *image.Paletted:
		return fromPalette(m)
	}
	out := New(w, h, 3)
	for y := range h {
		row := out.Row(y)
		for x := range w {
			c := color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			row[3*x], row[3*x+1], row[3*x+2] = c.R, c.G, c.B
		}
	}
	return out
}

// fromSamples takes the first channels of pixels of size bytes, their channels step bytes apart.
func fromSamples(w, h, channels int, pix []uint8, stride, size, step int) Image {
	out := New(w, h, channels)
	for y := range h {
		row, src := out.Row(y), pix[y*stride:]
		if size == channels {
			copy(row, src)
			continue
		}
		for x := range w {
			for c := range channels {
				row[channels*x+c] = src[x*size+c*step]
			}
		}
	}
	return out
}

// fromCMYK multiplies by the missing black in the fixed point of Pillow's convert.
func fromCMYK(m *image.CMYK) Image {
	b := m.Bounds()
	out := New(b.Dx(), b.Dy(), 3)
	for y := range b.Dy() {
		row, src := out.Row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
		for x := range b.Dx() {
			light := 255 - int32(src[4*x+3])
			for c := range 3 {
				ink := int32(src[4*x+c])*light + 128
				row[3*x+c] = uint8(light - (ink+ink>>8)>>8)
			}
		}
	}
	return out
}

func fromPalette(m *image.Paletted) Image {
	b := m.Bounds()
	out := New(b.Dx(), b.Dy(), 3)
	var table [256][3]uint8
	for i, c := range m.Palette {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		table[i&255] = [3]uint8{n.R, n.G, n.B}
	}
	for y := range b.Dy() {
		row, src := out.Row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
		for x := range b.Dx() {
			copy(row[3*x:3*x+3], table[src[x]][:])
		}
	}
	return out
}
