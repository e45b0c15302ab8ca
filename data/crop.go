package data

import "github.com/neurotrain/neuroquant/internal/codec/picture"

// crop cuts the centered width x height window; where the image is smaller it is padded by black. Rounding follows
// torchvision's center_crop.
func crop(r picture.Image, width, height int) picture.Image {
	if width == r.Width && height == r.Height {
		return r
	}
	out := picture.New(width, height, r.Channels)
	sx, dx, w := cropAxis(r.Width, width)
	sy, dy, h := cropAxis(r.Height, height)
	c := r.Channels
	for y := range h {
		copy(out.Row(dy + y)[dx*c:(dx+w)*c], r.Row(sy + y)[sx*c:])
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
