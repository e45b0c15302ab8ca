package op

import "math"

// source returns the position in the input, in elements, that an output position comes from.
func (r *resizeAxis) source(transformation string, i int) float64 {
	x, n := float64(i), float64(r.in)
	width := r.scale * n // may be a fraction where the scale is given
	switch transformation {
	case "align_corners":
		if width == 1 {
			return 0
		}
		return x * (n - 1) / (width - 1)
	case "asymmetric":
		return x / r.scale
	case "tf_half_pixel_for_nn":
		return (x + 0.5) / r.scale
	case "tf_crop_and_resize":
		if width == 1 {
			return (r.start + r.end) * (n - 1) / 2
		}
		return r.start*(n-1) + x*(r.end-r.start)*(n-1)/(width-1)
	case "pytorch_half_pixel":
		if r.out <= 1 {
			return 0
		}
	case "half_pixel_symmetric":
		return n/2*(1-float64(r.out)/width) + (x+0.5)/r.scale - 0.5
	}
	return (x+0.5)/r.scale - 0.5
}

// taps holds for each output position of an axis n input positions and their weights.
type taps[T float32 | float64] struct {
	n       int
	index   []int
	weight  []T
	outside []bool // the position lies outside of the input and gets fill
	fill    T
}

// resizeTaps computes the taps of an axis for the operator's mode.
func resizeTaps[T float32 | float64](o *Resize, r resizeAxis) *taps[T] {
	reach, kernel := 1.0, func(d float64) float64 { return max(1-math.Abs(d), 0) }
	if o.Mode == "cubic" {
		reach, kernel = 2, cubicKernel(float64(o.CubicA))
	}
	// Antialiasing stretches the kernel by the factor of shrinking.
	shrink := 1.0
	if o.Antialias {
		shrink = min(r.scale, 1)
	}
	first := int(math.Floor(-reach/shrink)) + 1
	n := 2 - 2*first
	if o.Mode == "nearest" {
		first, n = 0, 1
	}
	t := &taps[T]{n: n, index: make([]int, r.out*n), weight: make([]T, r.out*n), outside: make([]bool, r.out), fill: T(o.ExtrapolationValue)}
	weights := make([]float64, n)
	for i := range r.out {
		at := r.source(o.Transformation, i)
		t.outside[i] = o.Transformation == "tf_crop_and_resize" && (at < 0 || at > float64(r.in-1))
		if o.Mode == "nearest" {
			t.index[i], t.weight[i] = o.nearestIndex(at, r.in), 1
			continue
		}
		base := math.Ceil(at) - 1 // the last input position before at
		sum := 0.0
		for k := range n {
			x := base + float64(first+k)
			w := kernel((x - at) * shrink)
			if o.ExcludeOutside && (x < 0 || x > float64(r.in-1)) {
				w = 0
			}
			weights[k] = w
			sum += w
			t.index[i*n+k] = int(min(max(x, 0), float64(r.in-1)))
		}
		if !o.Antialias && !o.ExcludeOutside || sum == 0 {
			sum = 1 // the weights add up to one by themselves
		}
		for k, w := range weights {
			t.weight[i*n+k] = T(w / sum)
		}
	}
	return t
}

// cubicKernel is the convolution kernel of Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981), equation 4.
func cubicKernel(a float64) func(float64) float64 {
	return func(d float64) float64 {
		d = math.Abs(d)
		switch {
		case d <= 1:
			return ((a+2)*d-(a+3))*d*d + 1
		case d < 2:
			return ((a*d-5*a)*d+8*a)*d - 4*a
		}
		return 0
	}
}
