package kernel

import "math"

// FakeQuantGrad sets dx[i] to d[i] where x[i] is rounded to a code from lo to hi, else to 0, for len(dx) elements, and returns the sums that the
// gradient of the scale is made of: with v = x/scale, q = rne(v) and lo and hi counted from the zero point,
//
//	sum over lo <= q <= hi of d*(q-v), plus lo times the d below, plus hi times those above
//
// (Esser et al., "Learned Step Size Quantization", 2020). dx may be d. The order of summation is that of the elements.
func FakeQuantGrad(dx, d, x []float32, scale, lo, hi float32) float64 {
	d, x = d[:len(dx)], x[:len(dx)]
	inverse := 1 / scale
	// Rounding to nearest, ties to even, is done by the adder: sums with 1.5*2^23 have no fraction.
	const magic = 12582912
	from, to := (lo-1)*scale, (hi+1)*scale
	var inside, below, above float64
	for len(dx) > 0 { // short sums in single precision
		n := min(len(dx), 256)
		var in, under, over float32
		for i, v := range x[:n] {
			g := d[i]
			if v <= from || v >= to || v != v {
				dx[i] = 0
				if v >= to {
					over += g
				} else if v <= from {
					under += g
				}
				continue
			}
			w := v * inverse
			q := float32(w+magic) - magic
			switch {
			case q < lo:
				dx[i] = 0
				under += g
			case q > hi:
				dx[i] = 0
				over += g
			default:
				dx[i] = g
				in += g * (q - w)
			}
		}
		inside, below, above = inside+float64(in), below+float64(under), above+float64(over)
		dx, d, x = dx[n:], d[n:], x[n:]
	}
	return inside + float64(lo)*below + float64(hi)*above
}

// PowerOfTwo returns the power of two that is nearest to a scale on a logarithmic axis.
func PowerOfTwo(scale float32) float32 {
	return float32(math.Exp2(math.Round(math.Log2(float64(scale)))))
}
