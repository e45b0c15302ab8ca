package op

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// fourier is a discrete Fourier transform of one length: radix 2 for powers of two, else Bluestein's algorithm ("A linear
// filtering approach to the computation of discrete Fourier transform"), a convolution of a power of two. Safe for concurrent use.
type fourier struct {
	n       int
	inverse bool
	twiddle []complex128 // e^(-2 pi i k/n), k < n/2, for a power of two
	inner   *fourier     // of a length that the convolution fits in
	chirp   []complex128 // e^(-pi i k^2/n), k < n
	filter  []complex128 // transform of the conjugate chirp
}

// newFourier prepares transforms of n >= 1 values. The inverse one divides by n.
func newFourier(n int, inverse bool) *fourier {
	f := &fourier{n: n, inverse: inverse}
	if n&(n-1) == 0 {
		f.twiddle = make([]complex128, n/2)
		for k := range f.twiddle {
			f.twiddle[k] = cmplx.Rect(1, -2*math.Pi*float64(k)/float64(n))
		}
		return f
	}
	f.inner = newFourier(1<<bits.Len(uint(2*n-1)), false)
	f.chirp = make([]complex128, n)
	f.filter = make([]complex128, f.inner.n)
	for k := range f.chirp {
		// k*k modulo 2n, so that the angle stays small and exact.
		hi, lo := bits.Mul64(uint64(k), uint64(k))
		_, sq := bits.Div64(hi, lo, uint64(2*n))
		f.chirp[k] = cmplx.Rect(1, -math.Pi*float64(sq)/float64(n))
		f.filter[k] = cmplx.Conj(f.chirp[k])
		if k > 0 {
			f.filter[f.inner.n-k] = f.filter[k]
		}
	}
	f.inner.radix2(f.filter)
	return f
}

// scratch returns the memory that transform needs.
func (f *fourier) scratch() []complex128 {
	if f.inner == nil {
		return nil
	}
	return make([]complex128, f.inner.n)
}

// transform replaces x, of length n, by its transform.
func (f *fourier) transform(x, scratch []complex128) {
	if f.inverse { // the conjugate of the transform of the conjugate
		for i, v := range x {
			x[i] = cmplx.Conj(v)
		}
	}
	if f.inner == nil {
		f.radix2(x)
	} else {
		f.bluestein(x, scratch)
	}
	if f.inverse {
		scale := complex(1/float64(f.n), 0)
		for i, v := range x {
			x[i] = cmplx.Conj(v) * scale
		}
	}
}

func (f *fourier) radix2(x []complex128) {
	n := len(x)
	shift := 64 - bits.Len(uint(n)) + 1
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); n > 1 && i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for half := 1; half < n; half *= 2 {
		step := n / (2 * half)
		for at := 0; at < n; at += 2 * half {
			lo, hi := x[at:at+half], x[at+half:at+2*half]
			for k, a := range lo {
				b := hi[k] * f.twiddle[k*step]
				lo[k], hi[k] = a+b, a-b
			}
		}
	}
}

func (f *fourier) bluestein(x, work []complex128) {
	clear(work)
	for k, v := range x {
		work[k] = v * f.chirp[k]
	}
	f.inner.radix2(work)
	// The inverse transform of the product, as the conjugate of a forward one.
	for k, v := range work {
		work[k] = cmplx.Conj(v * f.filter[k])
	}
	f.inner.radix2(work)
	scale := complex(1/float64(f.inner.n), 0)
	for k := range x {
		x[k] = cmplx.Conj(work[k]) * scale * f.chirp[k]
	}
}
