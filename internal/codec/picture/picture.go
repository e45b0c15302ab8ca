// Package picture decodes image files to 8-bit pixels as the reference decoders do: libjpeg-turbo for JPEG, libwebp for WebP,
// Pillow's conversions for the rest. Networks are trained on those pixels; nearest-neighbour chroma or another colour matrix
// would be another input.
package picture

// Image is an 8-bit image: rows of pixels with their channels interleaved.
type Image struct {
	Width, Height int
	Channels      int // 1 gray, 3 red, green, blue
	Pix           []uint8
}

// New returns a black image.
func New(width, height, channels int) Image {
	return Image{width, height, channels, make([]uint8, width*height*channels)}
}

// Row returns the pixels of one row.
func (m Image) Row(y int) []uint8 {
	stride := m.Width * m.Channels
	return m.Pix[y*stride : (y+1)*stride : (y+1)*stride]
}

// Gray weighs the channels as ITU-R 601-2 luma in 16-bit fixed point, as Pillow's convert("L") does.
func (m Image) Gray() Image {
	if m.Channels == 1 {
		return m
	}
	out := New(m.Width, m.Height, 1)
	for i := range out.Pix {
		p := m.Pix[3*i : 3*i+3]
		out.Pix[i] = uint8((uint32(p[0])*19595 + uint32(p[1])*38470 + uint32(p[2])*7471 + 0x8000) >> 16)
	}
	return out
}

// RGB repeats the gray channel three times.
func (m Image) RGB() Image {
	if m.Channels == 3 {
		return m
	}
	out := New(m.Width, m.Height, 3)
	for i, v := range m.Pix {
		p := out.Pix[3*i : 3*i+3]
		p[0], p[1], p[2] = v, v, v
	}
	return out
}
