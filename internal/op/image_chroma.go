package op

import (
	"bytes"
	"image"
	"io"
)

// reader makes of a decoder of streams one of bytes.
func reader[T any](f func(io.Reader) (T, error)) func([]byte) (T, error) {
	return func(b []byte) (T, error) { return f(bytes.NewReader(b)) }
}

// jpegToRGB converts as JFIF says, in 16-bit fixed point. Chroma is upsampled with the triangle filter that the ImageDecoder
// specification describes: a pixel takes 3/4 from the nearer and 1/4 from the farther sample along each halved axis, halves
// rounded down and up by turns. Like libjpeg, a plane of at most two columns is repeated instead.
func jpegToRGB(out []byte, m *image.YCbCr) {
	width, height := m.Rect.Dx(), m.Rect.Dy()
	cb, cr := make([]byte, width), make([]byte, width)
	for y := range height {
		upsampleJPEG(cb, m.Cb, m, y)
		upsampleJPEG(cr, m.Cr, m, y)
		luma := m.Y[y*m.YStride:][:width]
		for x, l := range luma {
			v, u, w := int32(l), int32(cb[x])-128, int32(cr[x])-128
			o := out[3*(y*width+x):][:3]
			o[0] = clampByte(v + (91881*w+1<<15)>>16)
			o[1] = clampByte(v + (-22554*u-46802*w+1<<15)>>16)
			o[2] = clampByte(v + (116130*u+1<<15)>>16)
		}
	}
}

func clampByte(v int32) uint8 { return uint8(min(max(v, 0), 255)) }

// upsampleJPEG fills dst with one row of a chroma plane at full resolution.
func upsampleJPEG(dst, plane []byte, m *image.YCbCr, y int) {
	width, height := m.Rect.Dx(), m.Rect.Dy()
	row := func(r int) []byte { return plane[r*m.CStride:] }
	var fx, fy int
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio444:
		copy(dst, row(y)[:width])
		return
	case image.YCbCrSubsampleRatio422:
		fx, fy = 2, 1
	case image.YCbCrSubsampleRatio420:
		fx, fy = 2, 2
	case image.YCbCrSubsampleRatio440:
		fx, fy = 1, 2
	default: // 4:1:1 and 4:1:0 are repeated, as other decoders do
		fx, fy = 4, 1
		if m.SubsampleRatio == image.YCbCrSubsampleRatio410 {
			fy = 2
		}
		for x := range dst {
			dst[x] = row(y / fy)[x/fx]
		}
		return
	}
	n := (width + fx - 1) / fx
	near := row(y / fy)[:n]
	if fx == 2 && n <= 2 {
		for x := range dst {
			dst[x] = near[x/2]
		}
		return
	}
	far := near
	if fy == 2 {
		last := (height+1)/2 - 1
		far = row(min(max(y/2-1+2*(y%2), 0), last))[:n]
	}
	switch {
	case fx == 1:
		bias := 1 + y%2
		for x := range dst {
			dst[x] = uint8((3*int(near[x]) + int(far[x]) + bias) >> 2)
		}
	case fy == 1:
		for x := range dst {
			i := x / 2
			j := i - 1 + 2*(x%2)
			if j < 0 || j >= n {
				dst[x] = near[i]
				continue
			}
			dst[x] = uint8((3*int(near[i]) + int(near[j]) + 1 + x%2) >> 2)
		}
	default:
		sum := func(i int) int { return 3*int(near[i]) + int(far[i]) }
		for x := range dst {
			i := x / 2
			j := min(max(i-1+2*(x%2), 0), n-1)
			dst[x] = uint8((3*sum(i) + sum(j) + 8 - x%2) >> 4)
		}
	}
}

// webpToRGB converts the limited-range YUV 4:2:0 of lossy WebP (RFC 6386, section 9.2, and the fixed point of libwebp). Chroma is
// upsampled with weights 9, 3, 3 and 1 of 16.
func webpToRGB(out []byte, m *image.YCbCr) {
	width, height := m.Rect.Dx(), m.Rect.Dy()
	n, rows := (width+1)/2, (height+1)/2
	up := func(plane []byte, x, y int) int32 {
		i, j := x/2, min(max(x/2-1+2*(x%2), 0), n-1)
		r, s := y/2, min(max(y/2-1+2*(y%2), 0), rows-1)
		at := func(r, i int) int32 { return int32(plane[r*m.CStride+i]) }
		a, b, c, d := at(r, i), at(r, j), at(s, i), at(s, j)
		if i == j { // the image's edge: vertical weights only
			return (3*a + c + 2) >> 2
		}
		// The diagonal neighbours are averaged first, with their own rounding.
		diagonal := (a + b + c + d + 8 + 2*(b+c)) >> 3
		return (diagonal + a) >> 1
	}
	for y := range height {
		for x := range width {
			l := int32(m.Y[y*m.YStride+x])
			u, v := up(m.Cb, x, y), up(m.Cr, x, y)
			l = l * 19077 >> 8
			o := out[3*(y*width+x):][:3]
			o[0] = clampByte((l + v*26149>>8 - 14234) >> 6)
			o[1] = clampByte((l - u*6419>>8 - v*13320>>8 + 8708) >> 6)
			o[2] = clampByte((l + u*33050>>8 - 17685) >> 6)
		}
	}
}
