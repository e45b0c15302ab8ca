package kernel

import "math"

// Exp sets dst[i] = e^x[i] for len(dst) elements, within 2 ulp of the exact value; results below
// the smallest normal float32 may be 0.
func Exp(dst, x []float32) {
	x = x[:len(dst)]
	if expVector(dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = float32(math.Exp(float64(v)))
	}
}

// Sigmoid sets dst[i] = 1/(1+e^-x[i]) for len(dst) elements, within 4 ulp; results below the
// smallest normal float32 may be 0.
func Sigmoid(dst, x []float32) {
	x = x[:len(dst)]
	if sigmoidVector(dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = float32(1 / (1 + math.Exp(-float64(v))))
	}
}

// SiLU sets dst[i] = x[i]*sigmoid(x[i]) for len(dst) elements, within 6 ulp or 1e-37.
func SiLU(dst, x []float32) {
	x = x[:len(dst)]
	if siluVector(dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = float32(float64(v) / (1 + math.Exp(-float64(v))))
	}
}

// Tanh sets dst[i] = tanh(x[i]) for len(dst) elements, within 4 ulp.
func Tanh(dst, x []float32) {
	x = x[:len(dst)]
	if tanhVector(dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = float32(math.Tanh(float64(v)))
	}
}

// Erf sets dst[i] = erf(x[i]), the error function, for len(dst) elements, within 4 ulp.
func Erf(dst, x []float32) {
	x = x[:len(dst)]
	if erfVector(dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = float32(math.Erf(float64(v)))
	}
}

// Gelu sets dst[i] = x[i]/2*(1+erf(x[i]/sqrt 2)) for len(dst) elements (Hendrycks and Gimpel, "Gaussian
// Error Linear Units", the exact form), within 1e-6 absolutely or 4 ulp, whichever is larger.
func Gelu(dst, x []float32) {
	x = x[:len(dst)]
	if geluVector(dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = float32(0.5 * float64(v) * (1 + math.Erf(float64(v)/math.Sqrt2)))
	}
}

// GeluTanh sets dst[i] = x/2*(1+tanh(sqrt(2/pi)*(x+0.044715*x^3))) for len(dst) elements, the usual
// approximation of Gelu, within 1e-6 absolutely or 4 ulp, whichever is larger.
func GeluTanh(dst, x []float32) {
	x = x[:len(dst)]
	if geluTanhVector(dst, x) {
		return
	}
	for i, v := range x {
		f := float64(v)
		dst[i] = float32(0.5 * f * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(f+0.044715*f*f*f))))
	}
}

// Softmax sets dst to e^(x[i]-max x) over its sum, for one row of len(dst) elements, within
// (max x - x[i] + len(dst) + 8)*2^-23 relatively or 1e-37. A NaN or +Inf element,
// or a row of -Inf only, makes NaN as the formula says.
func Softmax(dst, x []float32) {
	x = x[:len(dst)]
	if len(x) == 0 {
		return
	}
	if softmaxVector(dst, x) {
		return
	}
	_, top := MinMax(x) // a NaN comes back in through the sum
	AddScalar(dst, x, -top)
	Exp(dst, dst)
	Scale(dst, dst, 1/Sum(dst))
}

// SoftmaxRows is Softmax on each of rows rows of cols contiguous elements.
func SoftmaxRows(p *Pool, dst, x []float32, rows, cols int) {
	needLen("SoftmaxRows dst", len(dst), rows*cols)
	needLen("SoftmaxRows x", len(x), rows*cols)
	p.For(rows, max(1, 4096/max(cols, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			Softmax(dst[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols])
		}
	})
}
