package picture

import "image"

// plane is a chroma plane of an image.
type plane struct {
	pix           []uint8
	stride        int
	width, height int
}

// row returns a row, the nearest one beyond the edges.
func (p plane) row(y int) []uint8 {
	y = min(max(y, 0), p.height-1)
	return p.pix[y*p.stride:][:p.width]
}

// chroma returns the two planes and how many luma columns and rows share a sample.
func chroma(m *image.YCbCr) (cb, cr plane, across, down int) {
	across, down = 1, 1
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		across = 2
	case image.YCbCrSubsampleRatio420:
		across, down = 2, 2
	case image.YCbCrSubsampleRatio440:
		down = 2
	case image.YCbCrSubsampleRatio411:
		across = 4
	case image.YCbCrSubsampleRatio410:
		across, down = 4, 2
	}
	b := m.Bounds()
	at := m.COffset(b.Min.X, b.Min.Y)
	w, h := (b.Dx()+across-1)/across, (b.Dy()+down-1)/down
	return plane{m.Cb[at:], m.CStride, w, h}, plane{m.Cr[at:], m.CStride, w, h}, across, down
}

// fromJFIF converts full-range YCbCr (JFIF, ITU-R 601) to RGB with the chroma upsampling and the 16-bit fixed-point arithmetic
// of libjpeg, so that a JPEG has the pixels that Pillow, OpenCV and torchvision see, not those of nearest-neighbour chroma.
func fromJFIF(m *image.YCbCr) Image {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	out := New(w, h, 3)
	cb, cr, across, down := chroma(m)
	up := newUpsampler(cb.width, across, down)
	rowB, rowR := make([]uint8, cb.width*across), make([]uint8, cb.width*across)
	for y := range h {
		up.row(rowB, cb, y)
		up.row(rowR, cr, y)
		luma := m.Y[m.YOffset(b.Min.X, b.Min.Y+y):][:w]
		dst := out.Row(y)
		for x, l := range luma {
			yy, u, v := int32(l), int32(rowB[x])-128, int32(rowR[x])-128
			// 1.402, 0.344136, 0.714136 and 1.772 times 2^16.
			p := dst[3*x : 3*x+3]
			p[0] = clamp(yy + (91881*v+1<<15)>>16)
			p[1] = clamp(yy + (-22554*u-46802*v+1<<15)>>16)
			p[2] = clamp(yy + (116130*u+1<<15)>>16)
		}
	}
	return out
}

func clamp(v int32) uint8 { return uint8(min(max(v, 0), 255)) }

// upsampler widens one chroma row at a time. Halved directions are interpolated with weights 3/4 and 1/4 of the nearest and the
// next sample ("fancy upsampling"); planes of at most two columns and other ratios are replicated, as libjpeg does.
type upsampler struct {
	across, down int
	fancy        bool
	sums         []int32 // of the two nearest rows, times 4
}

func newUpsampler(width, across, down int) *upsampler {
	return &upsampler{
		across: across, down: down,
		fancy: across <= 2 && down <= 2 && (across == 1 || width > 2),
		sums:  make([]int32, width),
	}
}

// row writes the chroma samples of luma row y.
func (u *upsampler) row(dst []uint8, p plane, y int) {
	near := p.row(y / u.down)
	if !u.fancy || u.across == 1 && u.down == 1 {
		for x := range dst {
			dst[x] = near[x/u.across]
		}
		return
	}
	if u.down == 1 {
		widen(dst, near)
		return
	}
	next := p.row(y/2 - 1 + y%2*2)
	if u.across == 1 {
		bias := int32(1 + y%2)
		for x := range dst {
			dst[x] = uint8((3*int32(near[x]) + int32(next[x]) + bias) >> 2)
		}
		return
	}
	s := u.sums
	for x := range s {
		s[x] = 3*int32(near[x]) + int32(next[x])
	}
	last := len(s) - 1
	for x, v := range s {
		left, right := s[max(x-1, 0)], s[min(x+1, last)]
		dst[2*x] = uint8((3*v + left + 8) >> 4)
		dst[2*x+1] = uint8((3*v + right + 7) >> 4)
	}
}

// widen doubles a row; the outermost samples stay as they are.
func widen(dst, src []uint8) {
	last := len(src) - 1
	for x, c := range src {
		v, left, right := 3*int32(c), int32(src[max(x-1, 0)]), int32(src[min(x+1, last)])
		dst[2*x] = uint8((v + left + 1) >> 2)
		dst[2*x+1] = uint8((v + right + 2) >> 2)
	}
}

// fromVP8 converts the studio-range YCbCr of lossy WebP (RFC 6386; luma 16 to 235) to RGB with libwebp's chroma interpolation
// and 14-bit arithmetic. Go's YCbCr type would take the values for full range and wash the colours out.
func fromVP8(m *image.YCbCr) Image {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	out := New(w, h, 3)
	cb, cr, _, _ := chroma(m)
	rowB, rowR := make([]uint8, 2*cb.width), make([]uint8, 2*cb.width)
	for y := range h {
		next := y/2 - 1 + y%2*2
		interpolateVP8(rowB, cb.row(y/2), cb.row(next), w)
		interpolateVP8(rowR, cr.row(y/2), cr.row(next), w)
		luma := m.Y[m.YOffset(b.Min.X, b.Min.Y+y):][:w]
		dst := out.Row(y)
		for x, l := range luma {
			yy, u, v := int32(l)*19077>>8, int32(rowB[x]), int32(rowR[x])
			p := dst[3*x : 3*x+3]
			p[0] = clamp((yy + v*26149>>8 - 14234) >> 6)
			p[1] = clamp((yy - u*6419>>8 - v*13320>>8 + 8708) >> 6)
			p[2] = clamp((yy + u*33050>>8 - 17685) >> 6)
		}
	}
	return out
}

// interpolateVP8 weighs the four nearest chroma samples 9:3:3:1 with libwebp's intermediate rounding.
func interpolateVP8(dst, near, far []uint8, width int) {
	last := len(near) - 1
	dst[0] = uint8((3*int32(near[0]) + int32(far[0]) + 2) >> 2)
	for x := 1; x <= last; x++ {
		a, b := int32(near[x-1]), int32(near[x])
		c, d := int32(far[x-1]), int32(far[x])
		sum := a + b + c + d + 8
		dst[2*x-1] = uint8(((sum+2*(b+c))>>3 + a) >> 1)
		dst[2*x] = uint8(((sum+2*(a+d))>>3 + b) >> 1)
	}
	if width%2 == 0 {
		dst[2*last+1] = uint8((3*int32(near[last]) + int32(far[last]) + 2) >> 2)
	}
}
