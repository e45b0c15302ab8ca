package example

import "github.com/neurotrain/neuroquant/tensor"

// Side is the width and height of an example image in pixels.
const Side = 32

// Images renders n images of one shape each, at any place, angle, size and colour, over a shaded background with a stray
// stripe and noise. It returns float32 [n, 3, Side, Side], RGB planes in [-1, 1], and the n labels, indices of [Shapes].
//
// All arithmetic is on integers up to one division per pixel, so a seed means the same bytes everywhere, and the first
// images of a seed are the same whatever n is.
func Images(seed uint64, n int) (*tensor.Tensor, []int) {
	const plane = Side * Side
	pixels := make([]float32, n*3*plane)
	labels := make([]int, n)
	var rgb [plane][3]int
	for i := range labels {
		r := newRandom(seed, i)
		labels[i] = r.below(len(Shapes))
		render(&rgb, labels[i], r)
		for p, c := range rgb {
			for ch, v := range c {
				pixels[(i*3+ch)*plane+p] = float32(2*v-255) / 255
			}
		}
	}
	return tensor.Of(tensor.Shape{n, 3, Side, Side}, pixels), labels
}

// unit is the fixed-point scale of shape coordinates: a shape lies within the circle of this radius.
const unit = 1024

// subpixels is the number of positions per pixel (1/256) and grid the number of samples per pixel and direction.
const (
	subpixels = 256
	grid      = 4
)

type colour [3]int

// render draws one image of the shape with values 0 to 255.
func render(rgb *[Side * Side][3]int, shape int, r *random) {
	from, to := randomColour(r), randomColour(r)
	ink, stripe := randomColour(r), randomColour(r)
	for contrast(ink, from) < 150 || contrast(ink, to) < 150 {
		ink = randomColour(r)
	}
	var (
		radius = r.between(6*subpixels, 12*subpixels)
		room   = Side*subpixels - 2*radius
		cx     = radius + r.below(room)
		cy     = radius + r.below(room)
		turn   = newRotation(r)
		squash = r.between(80, 100)   // percent of the height that stays
		noise  = r.between(8, 56)     // amplitude in grey levels
		tilt   = newRotation(r)       // direction of the shading and the stripe
		offset = r.between(-256, 256) // where the stripe crosses, in 1/16 pixel from the middle
		width  = r.below(28)          // half width of the stripe in 1/16 pixel
	)
	for y := range Side {
		for x := range Side {
			// Distance along the tilt, within about 23 pixels of the middle, in 1/16 pixel.
			along, across := tilt.apply(16*x-8*(Side-1), 16*y-8*(Side-1))
			c := mix(from, to, along+384, 768)
			if d := across - offset; -width < d && d < width {
				c = stripe
			}
			covered := 0
			for s := range grid * grid {
				px := x*subpixels + (2*(s%grid)+1)*subpixels/(2*grid) - cx
				py := y*subpixels + (2*(s/grid)+1)*subpixels/(2*grid) - cy
				u, v := turn.apply(px, py)
				if contains(shape, u*unit/radius, v*unit*100/(radius*squash)) {
					covered++
				}
			}
			c = mix(c, ink, covered, grid*grid)
			for ch := range c {
				c[ch] = min(max(c[ch]+(r.between(-noise, noise)+r.between(-noise, noise))/2, 0), 255)
			}
			rgb[y*Side+x] = c
		}
	}
}

func randomColour(r *random) colour { return colour{r.below(256), r.below(256), r.below(256)} }

// contrast is the sum of the differences of the channels, 0 to 765.
func contrast(a, b colour) int {
	sum := 0
	for i := range a {
		sum += max(a[i]-b[i], b[i]-a[i])
	}
	return sum
}

// mix returns the colour at part/whole of the way from a to b; part is clamped to [0, whole].
func mix(a, b colour, part, whole int) colour {
	part = min(max(part, 0), whole)
	for i := range a {
		a[i] = (a[i]*(whole-part) + b[i]*part) / whole
	}
	return a
}

// rotation holds (cos, sin) as a rational point of the circle, exact in integers: with t = k/64 it is (1-t², 2t) / (1+t²),
// turned by a quarter or more.
type rotation struct{ cos, sin, norm int }

func newRotation(r *random) rotation {
	k := r.between(-27, 27) // t within tan(π/8): together with the quarters, the whole circle
	c, s, norm := 64*64-k*k, 2*64*k, 64*64+k*k
	switch r.below(4) {
	case 1:
		c, s = -s, c
	case 2:
		c, s = -c, -s
	case 3:
		c, s = s, -c
	}
	return rotation{c, s, norm}
}

func (o rotation) apply(x, y int) (u, v int) {
	return (o.cos*x + o.sin*y) / o.norm, (o.cos*y - o.sin*x) / o.norm
}
