package kernel

import "fmt"

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
// com.microsoft.QLinearAdd, with each step rounded to float32:
//
//	dst[i] = sat(rne((a[i]*ra + (zc - (za*ra + zb*rb))) + b[i]*rb))   with ra = sa/sc, rb = sb/sc
func AddCodes(dst []byte, qc *Code, a []byte, qa *Code, b []byte, qb *Code) {
	checkCodes(qc, qa, qb)
	a, b = a[:len(dst)], b[:len(dst)]
	ra, rb := qa.Scale/qc.Scale, qb.Scale/qc.Scale
	fixed := float32(qc.Zero) - float32(float32(ra*float32(qa.Zero))+float32(rb*float32(qb.Zero)))
	least, most := qc.limits()
	lo, hi := float32(least), float32(most)
	some := someAddCodes(dst, a, b, qc.Signed, ra, rb, fixed, lo, hi)
	for i := some; i < len(dst); i++ {
		v := float32(float32(float32(qa.value(a[i]))*ra)+fixed) + float32(float32(qb.value(b[i]))*rb)
		dst[i] = byte(roundCode(v, lo, hi))
	}
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
