package data

import (
	"fmt"
	"image"
	"image/color"
)

// raster is an 8-bit image: rows of pixels with their channels interleaved.
type raster struct {
	width, height int
	channels      int // 1 gray, 3 red, green, blue
	pix           []uint8
}

func newRaster(width, height, channels int) raster {
	return raster{width, height, channels, make([]uint8, width*height*channels)}
}

// row returns the pixels of one row.
func (r raster) row(y int) []uint8 {
	stride := r.width * r.channels
	return r.pix[y*stride : (y+1)*stride : (y+1)*stride]
}

// gray weighs the channels as ITU-R 601-2 luma in 16-bit fixed point, as Pillow's convert("L") does.
func (r raster) gray() raster {
	if r.channels == 1 {
		return r
	}
	out := newRaster(r.width, r.height, 1)
	for i := range out.pix {
		p := r.pix[3*i : 3*i+3]
		out.pix[i] = uint8((uint32(p[0])*19595 + uint32(p[1])*38470 + uint32(p[2])*7471 + 0x8000) >> 16)
	}
	return out
}

// rgb repeats the gray channel three times.
func (r raster) rgb() raster {
	if r.channels == 3 {
		return r
	}
	out := newRaster(r.width, r.height, 3)
	for i, v := range r.pix {
		p := out.pix[3*i : 3*i+3]
		p[0], p[1], p[2] = v, v, v
	}
	return out
}

// crop cuts the centered width x height window; where the image is smaller it is padded by black. Rounding follows
// torchvision's center_crop.
func (r raster) crop(width, height int) raster {
	if width == r.width && height == r.height {
		return r
	}
	out := newRaster(width, height, r.channels)
	sx, dx, w := cropAxis(r.width, width)
	sy, dy, h := cropAxis(r.height, height)
	c := r.channels
	for y := range h {
		copy(out.row(dy + y)[dx*c:(dx+w)*c], r.row(sy + y)[sx*c:])
	}
	return out
}

// cropAxis returns where to read from, where to write to, and how much.
func cropAxis(have, want int) (src, dst, n int) {
	if want > have {
		return 0, (want - have) / 2, have
	}
	// Python's round: half to even.
	d := have - want
	src = d / 2
	if d%2 == 1 && src%2 == 1 {
		src++
	}
	return src, 0, want
}

// toRaster converts what the standard decoders return. Transparency is dropped, not blended, and 16-bit channels keep their
// high byte, as Pillow's convert("RGB") does.
func toRaster(img image.Image) (raster, error) {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	switch m := img.(type) {
	case *image.Gray:
		out := newRaster(w, h, 1)
		for y := range h {
			copy(out.row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):])
		}
		return out, nil
	case *image.Gray16:
		out := newRaster(w, h, 1)
		for y := range h {
			src := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
			for x, row := 0, out.row(y); x < w; x++ {
				row[x] = src[2*x]
			}
		}
		return out, nil
	case *image.NRGBA:
		return fromRGBA(w, h, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, 1), nil
	case *image.NRGBA64:
		return fromRGBA(w, h, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, 2), nil
	case *image.RGBA:
		if m.Opaque() {
			return fromRGBA(w, h, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 4, 1), nil
		}
	case *image.RGBA64:
		if m.Opaque() {
			return fromRGBA(w, h, m.Pix[m.PixOffset(b.Min.X, b.Min.Y):], m.Stride, 8, 2), nil
		}
	case *image.YCbCr, *image.NYCbCrA:
		return raster{}, fmt.Errorf("%T is converted by its format", img)
	case *image.Paletted:
		return fromPalette(m), nil
	}
	out := newRaster(w, h, 3)
	for y := range h {
		row := out.row(y)
		for x := range w {
			c := color.NRGBAModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			row[3*x], row[3*x+1], row[3*x+2] = c.R, c.G, c.B
		}
	}
	return out, nil
}

// fromRGBA takes the first three channels of pixels of size bytes, their channels step bytes apart.
func fromRGBA(w, h int, pix []uint8, stride, size, step int) raster {
	out := newRaster(w, h, 3)
	for y := range h {
		row, src := out.row(y), pix[y*stride:]
		for x := range w {
			p := src[x*size:]
			row[3*x], row[3*x+1], row[3*x+2] = p[0], p[step], p[2*step]
		}
	}
	return out
}

func fromPalette(m *image.Paletted) raster {
	b := m.Bounds()
	out := newRaster(b.Dx(), b.Dy(), 3)
	var table [256][3]uint8
	for i, c := range m.Palette {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		table[i&255] = [3]uint8{n.R, n.G, n.B}
	}
	for y := range b.Dy() {
		row, src := out.row(y), m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
		for x := range b.Dx() {
			copy(row[3*x:3*x+3], table[src[x]][:])
		}
	}
	return out
}
