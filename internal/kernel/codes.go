package kernel

import (
	"fmt"
	"math"
)

// A Code describes 8-bit codes: a code q, read as unsigned or two's complement, stands for Scale*(q-Zero).
type Code struct {
	Scale  float32
	Zero   int32
	Signed bool
}

// limits returns the least and the greatest code.
func (c *Code) limits() (lo, hi int32) {
	if c.Signed {
		return -128, 127
	}
	return 0, 255
}

func (c *Code) value(b byte) int32 {
	if c.Signed {
		return int32(int8(b))
	}
	return int32(b)
}

func checkCodes(c ...*Code) {
	for _, k := range c {
		if lo, hi := k.limits(); k.Zero < lo || k.Zero > hi || k.Signed != c[0].Signed {
			panic(fmt.Sprintf("kernel: codes of zero points and signs that do not fit: %+v", *k))
		}
	}
}

// AddCodes adds quantized tensors, all signed or all unsigned, element by element, for len(dst) elements, as ONNX Runtime does
// com.microsoft.QLinearAdd on CPUs with fused multiply-add, bit for bit:
//
//	dst[i] = sat(rne(fma(a[i], ra, fma(b[i], rb, zc - fma(ra, za, rb*zb)))))   with ra = sa/sc, rb = sb/sc
func AddCodes(dst []byte, qc *Code, a []byte, qa *Code, b []byte, qb *Code) {
	checkCodes(qc, qa, qb)
	a, b = a[:len(dst)], b[:len(dst)]
	ra, rb := qa.Scale/qc.Scale, qb.Scale/qc.Scale
	fixed := addedZeros(qc, qa, qb, ra, rb)
	least, most := qc.limits()
	lo, hi := float32(least), float32(most)
	some := someAddCodes(dst, a, b, qc.Signed, ra, rb, fixed, lo, hi)
	for i := some; i < len(dst); i++ {
		v := fma(float32(qa.value(a[i])), ra, fma(float32(qb.value(b[i])), rb, fixed))
		dst[i] = byte(roundCode(v, lo, hi))
	}
}

// addedZeros is what the zero points are to the sum of AddCodes.
func addedZeros(qc, qa, qb *Code, ra, rb float32) float32 {
	return float32(qc.Zero) - fma(ra, float32(qa.Zero), rb*float32(qb.Zero))
}

// fma returns x*y + z, rounded once.
func fma(x, y, z float32) float32 {
	p := float64(x) * float64(y) // exact
	s := p + float64(z)
	const half, mask = 1 << 28, 1<<29 - 1
	bits := math.Float64bits(s)
	if bits&mask != half || s-s != 0 {
		return float32(s)
	}
	// Half way between two numbers: what the sum was rounded by decides.
	t := s - p
	lost := (p - (s - t)) + (float64(z) - t)
	if lost == 0 {
		return float32(s)
	}
	if (lost > 0) == (s > 0) {
		bits++
	} else {
		bits--
	}
	return float32(math.Float64frombits(bits))
}

// MulCodes multiplies quantized tensors, all signed or all unsigned, element by element, for len(dst) elements, as ONNX Runtime does
// com.microsoft.QLinearMul, with each step rounded to float32:
//
//	dst[i] = sat(rne((a[i]-za)*(b[i]-zb)*m + zc))   with m = sa*sb/sc
func MulCodes(dst []byte, qc *Code, a []byte, qa *Code, b []byte, qb *Code) {
	checkCodes(qc, qa, qb)
	a, b = a[:len(dst)], b[:len(dst)]
	m, zc := float32(qa.Scale*qb.Scale)/qc.Scale, float32(qc.Zero)
	least, most := qc.limits()
	lo, hi := float32(least), float32(most)
	some := someMulCodes(dst, a, b, qc.Signed, qa.Zero, qb.Zero, m, zc, lo, hi)
	for i := some; i < len(dst); i++ {
		v := float32(float32((qa.value(a[i])-qa.Zero)*(qb.value(b[i])-qb.Zero))*m) + zc
		dst[i] = byte(roundCode(v, lo, hi))
	}
}

// Lookup sets dst[i] = table[src[i]] for len(dst) elements: any function of one 8-bit operand.
func Lookup(dst, src []byte, table *[256]byte) {
	src = src[:len(dst)]
	some := someLookup(dst, src, table)
	for i, b := range src[some:] {
		dst[some+i] = table[b]
	}
}
