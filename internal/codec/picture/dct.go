package picture

import (
	"math"
	"slices"
)

// retransform replaces the samples of a plane by those of libjpeg-turbo's accurate inverse DCT ("islow"), in place. Inverse
// transforms within the standard's tolerance round about one sample in thirty to the neighbouring value. The forward transform of
// a decoded block differs from the coefficients by less than half a quantization step, so that rounding to the steps gives back
// what the file holds, whatever its coding.
//
// Steps of 1 (quality 93 and above) are too small for that: such a plane stays as it is, and so does a block whose samples are
// not found again.
func retransform(pix []uint8, stride, width, height int, q *steps) {
	if slices.Contains(q[:], 1) {
		return
	}
	t := newTransform(q)
	for y := 0; y < height; y += 8 {
		for x := 0; x < width; x += 8 {
			if at := y*stride + x; x+8 <= stride && at+7*stride+8 <= len(pix) {
				t.block(pix[at:], stride)
			}
		}
	}
}

// transform is the work space for the blocks of a plane.
type transform struct {
	steps   *steps
	inverse [64]float32 // one over the steps, zero for steps of zero
	target  [64]float32 // the block about zero
	coef    [64]float32
	samples [64]int // in units of 2^-fraction
}

func newTransform(q *steps) *transform {
	t := &transform{steps: q}
	for i, s := range q {
		if s > 0 {
			t.inverse[i] = 1 / float32(s)
		}
	}
	return t
}

const (
	fraction  = 5                      // bits of the inverse transform below a sample's unit
	half      = 1 << (fraction - 1)    // rounds to a sample
	tolerance = half + 3               // of a rounded sample: half a unit, and what two integer transforms differ
	level     = 128                    // of a sample for the value zero
	rounding  = float32(3 << (23 - 1)) // adding and subtracting it rounds to an integer
	attempts  = 4
)

// block replaces the samples of one block. Samples at black or white may be cut off: they are set to what the coefficients of the
// first attempt say, and the block is taken again.
func (t *transform) block(pix []uint8, stride int) {
	for y := range 8 {
		for x, v := range pix[y*stride:][:8] {
			t.target[8*y+x] = float32(v) - level
		}
	}
	for range attempts {
		t.resample()
		fits, cut := true, false
		for y := range 8 {
			for x, v := range pix[y*stride:][:8] {
				s := t.samples[8*y+x]
				d := s - (int(v)-level)<<fraction
				switch {
				case v == 0 && d < 0, v == 255 && d > 0:
					t.target[8*y+x] = float32(s) / (1 << fraction)
					cut = true
				case d < -tolerance || d > tolerance:
					fits = false
				}
			}
		}
		if fits {
			for y := range 8 {
				row := pix[y*stride:][:8]
				for x := range row {
					row[x] = uint8(min(max((t.samples[8*y+x]+half)>>fraction+level, 0), 255))
				}
			}
			return
		}
		if !cut {
			return
		}
	}
}

// resample transforms the target, rounds to the steps and transforms back.
func (t *transform) resample() {
	t.coef = t.target
	for i := range 8 {
		forwardDCT(t.coef[8*i:], 1)
	}
	for i := range 8 {
		forwardDCT(t.coef[i:], 8)
	}
	for i, v := range t.coef {
		n := float32(v*t.inverse[i]) + rounding // not fused: the same on every machine
		t.samples[i] = int(n-rounding) * t.steps[i]
	}
	// Columns keep 2 bits more than they got, of which and of the scale 8 the rows round off all but the fraction.
	for i := range 8 {
		inverseDCT(t.samples[i:], 8, 13-2, 1<<(13-2-1))
	}
	for i := range 8 {
		inverseDCT(t.samples[8*i:], 1, 13+2+3-fraction, 0)
	}
}

// cosines[k] is cos(k pi/16)/2, and for the constant term 1/sqrt(8).
var cosines = func() (c [8]float32) {
	for k := range c {
		c[k] = float32(math.Cos(float64(k)*math.Pi/16) / 2)
	}
	c[0] = float32(1 / math.Sqrt(8))
	return c
}()

// forwardDCT is the orthonormal DCT of 8 values step apart, in place. The even terms take the sums of opposite values, the odd
// ones their differences.
func forwardDCT(v []float32, step int) {
	v = v[:7*step+1]
	c := &cosines
	a0, a1, a2, a3 := v[0]+v[7*step], v[step]+v[6*step], v[2*step]+v[5*step], v[3*step]+v[4*step]
	d0, d1, d2, d3 := v[0]-v[7*step], v[step]-v[6*step], v[2*step]-v[5*step], v[3*step]-v[4*step]
	v[0] = c[0] * (a0 + a1 + a2 + a3)
	v[2*step] = c[2]*(a0-a3) + c[6]*(a1-a2)
	v[4*step] = c[4] * (a0 - a1 - a2 + a3)
	v[6*step] = c[6]*(a0-a3) - c[2]*(a1-a2)
	v[step] = c[1]*d0 + c[3]*d1 + c[5]*d2 + c[7]*d3
	v[3*step] = c[3]*d0 - c[7]*d1 - c[1]*d2 - c[5]*d3
	v[5*step] = c[5]*d0 - c[1]*d1 + c[7]*d2 + c[3]*d3
	v[7*step] = c[7]*d0 - c[5]*d1 + c[3]*d2 - c[1]*d3
}

// inverseDCT is the inverse DCT times sqrt(8) of 8 values step apart, in place, in 13-bit fixed point: bias is added before shift
// bits are cut off. The constants are sums of the rounded constants of Loeffler, Ligtenberg and Moschytz (Practical fast 1-D DCT
// algorithms with 11 multiplications, 1989), which is why they differ by one where the cosines are the same. The sums are exact,
// so that the result is libjpeg's to the bit.
func inverseDCT(v []int, step, shift, bias int) {
	v = v[:7*step+1]
	x1, x2, x3 := v[step], v[2*step], v[3*step]
	x5, x6, x7 := v[5*step], v[6*step], v[7*step]
	sum, diff := (v[0]+v[4*step])<<13+bias, (v[0]-v[4*step])<<13+bias
	p, q := 10703*x2+4433*x6, 4433*x2-10704*x6
	e0, e1, e2, e3 := sum+p, diff+q, diff-q, sum-p
	o0 := 11363*x1 + 9633*x3 + 6437*x5 + 2260*x7
	o1 := 9633*x1 - 2259*x3 - 11362*x5 - 6436*x7
	o2 := 6437*x1 - 11362*x3 + 2261*x5 + 9633*x7
	o3 := 2260*x1 - 6436*x3 + 9633*x5 - 11363*x7
	v[0], v[7*step] = (e0+o0)>>shift, (e0-o0)>>shift
	v[step], v[6*step] = (e1+o1)>>shift, (e1-o1)>>shift
	v[2*step], v[5*step] = (e2+o2)>>shift, (e2-o2)>>shift
	v[3*step], v[4*step] = (e3+o3)>>shift, (e3-o3)>>shift
}
