package data

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
)

// filter is a resampling kernel with its support on each side, in source pixels at scale 1.
type filter struct {
	name    string
	support float64
	weigh   func(x float64) float64
}

// filters are the kernels of Pillow's Image.resize; nearest has none and is computed on its own.
var filters = []filter{
	{"bilinear", 1, func(x float64) float64 { return max(0, 1-math.Abs(x)) }},
	{"bicubic", 2, bicubic},
	{"box", 0.5, func(x float64) float64 {
		if x > -0.5 && x <= 0.5 {
			return 1
		}
		return 0
	}},
	{"lanczos", 3, func(x float64) float64 {
		if x < -3 || x >= 3 {
			return 0
		}
		return sinc(x) * sinc(x/3)
	}},
	{"nearest", 0, nil},
}

// bicubic is Keys' kernel with a = -0.5.
func bicubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return float64(float64(float64((a+2)*x)-(a+3))*x)*x + 1
	case x < 2:
		return float64(float64(float64(float64(x-5)*x+8)*x)-4) * a
	}
	return 0
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// findFilter returns the kernel of a name; "" is bilinear.
func findFilter(name string) (filter, error) {
	if name == "" {
		return filters[0], nil
	}
	i := slices.IndexFunc(filters, func(f filter) bool { return f.name == name })
	if i < 0 {
		names := make([]string, len(filters))
		for i, f := range filters {
			names[i] = f.name
		}
		return filter{}, fmt.Errorf("filter: want one of %s, got %q", strings.Join(names, ", "), name)
	}
	return filters[i], nil
}

// resize returns the image at another size, equal byte for byte to Pillow's Image.resize: when shrinking, the kernel widens by
// the scale (antialiasing); the horizontal pass comes first and rounds to 8 bits; weights have 22 fractional bits.
func resize(r picture.Image, width, height int, f filter) picture.Image {
	if width == r.Width && height == r.Height {
		return r
	}
	if f.weigh == nil {
		return nearest(r, width, height)
	}
	out := r
	if width != r.Width {
		out = resizeRows(out, width, newTaps(r.Width, width, f))
	}
	if height != r.Height {
		out = resizeColumns(out, height, newTaps(r.Height, height, f))
	}
	return out
}

// fractionBits is Pillow's PRECISION_BITS: 32 bits less 8 of the pixel and 2 for kernels that overshoot.
const fractionBits = 32 - 8 - 2

// taps holds, for each output position, the first source position and the fixed-point weights from there on.
type taps struct {
	from    []int
	weights [][]int32
}

func newTaps(in, out int, f filter) taps {
	scale := float64(in) / float64(out)
	widen := max(scale, 1)
	support := f.support * widen
	t := taps{make([]int, out), make([][]int32, out)}
	for i := range out {
		// The conversions keep compilers from fusing a product and a sum, which would round once only.
		center := float64((float64(i) + 0.5) * scale)
		lo := max(int(center-support+0.5), 0)
		hi := min(int(center+support+0.5), in)
		w := make([]float64, max(hi-lo, 0))
		sum := 0.0
		inv := 1 / widen
		for k := range w {
			w[k] = f.weigh(float64((float64(k+lo) - center + 0.5) * inv))
			sum += w[k]
		}
		fixed := make([]int32, len(w))
		for k, v := range w {
			if sum != 0 {
				v /= sum
			}
			v = float64(v * (1 << fractionBits))
			if v < 0 {
				fixed[k] = int32(v - 0.5)
			} else {
				fixed[k] = int32(v + 0.5)
			}
		}
		t.from[i], t.weights[i] = lo, fixed
	}
	return t
}

func clip8(v int32) uint8 {
	v >>= fractionBits
	if v < 0 {
		return 0
	}
	return uint8(min(v, 255))
}

func resizeRows(r picture.Image, width int, t taps) picture.Image {
	out := picture.New(width, r.Height, r.Channels)
	for y := range r.Height {
		src, dst := r.Row(y), out.Row(y)
		if r.Channels == 3 {
			for x := range width {
				s0, s1, s2 := int32(1)<<(fractionBits-1), int32(1)<<(fractionBits-1), int32(1)<<(fractionBits-1)
				p := src[3*t.from[x]:]
				for _, w := range t.weights[x] {
					s0 += int32(p[0]) * w
					s1 += int32(p[1]) * w
					s2 += int32(p[2]) * w
					p = p[3:]
				}
				dst[3*x], dst[3*x+1], dst[3*x+2] = clip8(s0), clip8(s1), clip8(s2)
			}
			continue
		}
		for x := range width {
			s := int32(1) << (fractionBits - 1)
			for k, w := range t.weights[x] {
				s += int32(src[t.from[x]+k]) * w
			}
			dst[x] = clip8(s)
		}
	}
	return out
}

func resizeColumns(r picture.Image, height int, t taps) picture.Image {
	out := picture.New(r.Width, height, r.Channels)
	sums := make([]int32, r.Width*r.Channels)
	for y := range height {
		for i := range sums {
			sums[i] = 1 << (fractionBits - 1)
		}
		for k, w := range t.weights[y] {
			for i, v := range r.Row(t.from[y] + k) {
				sums[i] += int32(v) * w
			}
		}
		dst := out.Row(y)
		for i, s := range sums {
			dst[i] = clip8(s)
		}
	}
	return out
}

// nearest takes the source pixel under each output pixel's center. Positions accumulate by repeated addition as in Pillow's
// affine scaling, so that ties fall the same way.
func nearest(r picture.Image, width, height int) picture.Image {
	out := picture.New(width, height, r.Channels)
	columns, rows := nearestTaps(r.Width, width), nearestTaps(r.Height, height)
	c := r.Channels
	for y := range height {
		src, dst := r.Row(rows[y]), out.Row(y)
		for x := range width {
			copy(dst[x*c:(x+1)*c], src[columns[x]*c:])
		}
	}
	return out
}

func nearestTaps(in, out int) []int {
	step := float64(in) / float64(out)
	at := float64(step * 0.5)
	t := make([]int, out)
	for i := range t {
		t[i] = min(int(at), in-1)
		at += step
	}
	return t
}
