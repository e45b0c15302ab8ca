package kernel

import "math"

// Add sets dst[i] = a[i] + b[i] for len(dst) elements.
func Add(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if addVector(dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

// Sub sets dst[i] = a[i] - b[i] for len(dst) elements.
func Sub(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if subVector(dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

// Mul sets dst[i] = a[i] * b[i] for len(dst) elements.
func Mul(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if mulVector(dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

// Div sets dst[i] = a[i] / b[i] for len(dst) elements.
func Div(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if divVector(dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] / b[i]
	}
}

// AddScalar sets dst[i] = x[i] + s for len(dst) elements.
func AddScalar(dst, x []float32, s float32) {
	x = x[:len(dst)]
	if scaleShiftVector(dst, x, 1, s) {
		return
	}
	for i := range dst {
		dst[i] = x[i] + s
	}
}

// Max sets dst[i] to a[i] where that is greater than b[i], else to b[i], for len(dst) elements: a NaN in a, or an equal
// value there, loses.
func Max(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if maxVector(dst, a, b) {
		return
	}
	for i, v := range a {
		if !(v > b[i]) {
			v = b[i]
		}
		dst[i] = v
	}
}

// Scale sets dst[i] = x[i] * s for len(dst) elements.
func Scale(dst, x []float32, s float32) {
	x = x[:len(dst)]
	if scaleShiftVector(dst, x, s, negativeZero) {
		return
	}
	for i := range dst {
		dst[i] = x[i] * s
	}
}

// ScaleShift sets dst[i] = x[i]*s + t for len(dst) elements; the product is rounded before the sum.
func ScaleShift(dst, x []float32, s, t float32) {
	x = x[:len(dst)]
	if scaleShiftVector(dst, x, s, t) {
		return
	}
	for i := range dst {
		dst[i] = float32(x[i]*s) + t
	}
}

// ReLU sets dst[i] = max(x[i], 0) for len(dst) elements; NaN stays NaN and -0 stays -0.
func ReLU(dst, x []float32) {
	x = x[:len(dst)]
	if clipVector(dst, x, 0, float32(math.Inf(1))) {
		return
	}
	for i, v := range x {
		if v < 0 {
			v = 0
		}
		dst[i] = v
	}
}

// Clip sets dst[i] = min(max(x[i], lo), hi) for len(dst) elements; NaN stays NaN. lo > hi gives hi.
func Clip(dst, x []float32, lo, hi float32) {
	x = x[:len(dst)]
	if clipVector(dst, x, lo, hi) {
		return
	}
	for i, v := range x {
		if v < lo {
			v = lo
		}
		if v > hi {
			v = hi
		}
		dst[i] = v
	}
}

// AXPY sets y[i] += alpha*x[i] for len(y) elements. Implementations may fuse the product and the sum.
func AXPY(alpha float32, x, y []float32) {
	x = x[:len(y)]
	if axpyVector(alpha, x, y) {
		return
	}
	for i := range y {
		y[i] += alpha * x[i]
	}
}

// Dot returns the sum of a[i]*b[i] over len(a) elements. The order of summation depends on the
// implementation; the result is within len(a)*2^-24*sum|a*b| of the exact value.
func Dot(a, b []float32) float32 {
	b = b[:len(a)]
	if s, ok := dotVector(a, b); ok {
		return s
	}
	var s float32
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// Sum returns the sum of x. The order of summation depends on the implementation; the result is
// within len(x)*2^-24*sum|x| of the exact value.
func Sum(x []float32) float32 {
	if s, ok := sumVector(x); ok {
		return s
	}
	var s float32
	for _, v := range x {
		s += v
	}
	return s
}
