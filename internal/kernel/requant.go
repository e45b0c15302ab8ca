package kernel

import "fmt"

// Requant says how exact int32 sums become 8-bit codes:
//
//	code = min(max(rne(float32(sum)*Scale[i]) + Zero, Min), Max)
//
// for the i-th output channel, where rne rounds to the nearest integer, ties to even: the requantization of ONNX QLinearConv and
// QLinearMatMul as ONNX Runtime computes it, with Scale = (xScale*wScale[i])/yScale in float32. A NaN gives Min.
type Requant struct {
	Scale    []float32 // one value, or one per output channel
	Zero     int32     // in 0..255, or -128..127 if Signed
	Signed   bool      // codes are two's complement
	Min, Max int32     // limits of the codes for a fused clamp; both 0 for all codes
}

// check panics on values out of range and returns the limits of the rounded value before the zero point is added.
func (q *Requant) check(channels int) (lo, hi float32) {
	checkBroadcast("requantization scale", len(q.Scale), channels, false)
	least, most := int32(0), int32(255)
	if q.Signed {
		least, most = -128, 127
	}
	from, to := q.Min, q.Max
	if from == 0 && to == 0 {
		from, to = least, most
	}
	if q.Zero < least || q.Zero > most || from < least || to > most || from > to {
		panic(fmt.Sprintf("kernel: requantization to zero point %d within %d..%d", q.Zero, from, to))
	}
	return float32(from - q.Zero), float32(to - q.Zero)
}

// GemmInt8Requant is GemmInt8 of an A with one zero point, followed by the addition of an int32 bias per column (empty for none; it
// wraps like the sum) and requantization with a scale for each column or one for all. c holds the codes.
func GemmInt8Requant(p *Pool, m, n, k int, a []byte, lda int, aSigned bool, azp int32, b *PackedInt8, bias []int32, q *Requant, c []byte, ldc int) {
	checkGemmInt8(m, n, k, len(a), lda, nil, b, len(c), ldc)
	lo, hi := q.check(n)
	if len(bias) != 0 {
		needLen("GemmInt8Requant bias", len(bias), n)
	}
	buf := borrow(8 * len(b.shift))
	defer buf.release()
	whole := b.columns(buf.i32(), azp, aSigned, bias)
	scale := buf.f32()[len(b.shift):][:len(b.shift)]
	clear(scale)
	for j := range n {
		scale[j] = at(q.Scale, j)
	}
	if b.strips(m, aSigned, whole) {
		b.inCodes(p, m, a, lda, whole, scale, newCodesEnd(q, lo, hi, nil), c, ldc)
		return
	}
	b.multiplyCodes(p, m, a, lda, aSigned, whole, scale, lo, hi, q.Zero, c, ldc)
}

// multiplyCodes is GemmInt8Requant where it does not go in strips.
func (b *PackedInt8) multiplyCodes(p *Pool, m int, a []byte, lda int, aSigned bool, whole []int32, scale []float32, lo, hi float32, zero int32, c []byte, ldc int) {
	b.multiply(p, m, a, lda, aSigned, nil, nil, whole, destinationOf(c, ldc), func(rows, n, row, col int, acc []int32, terms []finishRow, u, v []int32) {
		finishCodes(rows, n, acc, terms, u, v, scale[col:col+n], lo, hi, zero, c[row*ldc+col:], ldc)
	})
}

func finishCodesGeneric(rows, n int, acc []int32, terms []finishRow, u, v []int32, scale []float32, lo, hi float32, zp int32, dst []byte, ldd int) {
	for i := range rows {
		r := rowTerms(terms, i)
		for j := range n {
			s := r.scale
			if scale != nil {
				s *= scale[j]
			}
			f := float32(r.sum(acc[i*panelWidth+j], at0(u, j), at0(v, j))) * s
			dst[i*ldd+j] = byte(roundCode(f, lo, hi) + zp)
		}
	}
}

// roundCode clamps to whole limits of magnitude below 2^22 and rounds half to even; NaN counts as lo.
func roundCode(f, lo, hi float32) int32 {
	if !(f > lo) {
		f = lo
	} else if f > hi {
		f = hi
	}
	const magic = 3 << 22 // leaves no room for a fraction
	return int32(float32(f+magic) - magic)
}
