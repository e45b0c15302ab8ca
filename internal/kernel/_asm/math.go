package main

import (
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Elementary functions. The polynomials are minimax fits made for these kernels; the comment beside each
// says of what, where, and how good. Reduction of the exponential: Cody and Waite, "Software Manual
// for the Elementary Functions", 1980.

var (
	// (e^r-1-r)/r^2 on |r| <= ln(2)/2, so that e^r is good to 3.3e-9.
	expPoly = []float64{0.49999994, 0.16666515, 0.041668456, 0.0083694188, 0.0013813142}
	// (tanh(x)/x-1)/x^2 in x^2 for |x| <= 0.625: tanh good to 4.1e-9.
	tanhPoly = []float64{-0.33333284, 0.13331491, -0.053743497, 0.020650579, -0.005717037}
	// erf(x)/x in x^2 for |x| <= 1: good to 1.2e-9.
	erfPoly = []float64{1.1283791065216064, -0.3761262595653534, 0.1128358542919159, -0.026853810995817184, 0.005188327748328447, -0.0008010192541405559, 7.853857823647559e-05}
	// 2^r on |r| <= 1/2: good to 7.5e-8 of itself.
	exp2Poly = []float64{1, 0.6931469775951125, 0.240222420770879, 0.0555073374447724, 0.009671513183257204, 0.0013264728769614015}
	// log2 of erfc(x/sqrt 2)/2 for 0 <= x <= 5.9: x times that is good to 9e-9. It falls on beyond.
	tailPoly = []float64{-1, -1.1511110455152054, -0.45916214320583987, -0.05262761062196767, 0.007245420954040988, -0.00027207553119374967, -0.00013147330322291377, 2.805695651820754e-05, -1.90206686732169e-06}
	// -ln(erfc(x)) for 1 <= x <= 4: erf good to 1.0e-9.
	erfcPoly = []float64{0.00035370892146602273, 1.1270400285720825, 0.6382256150245667, 0.10303743183612823, -0.021805351600050926, 0.0029396156314760447, -0.0001855748996604234}
)

func elementary(g *gen) {
	for _, wide := range []bool{true, false} {
		m := mathGen{g, wide}
		m.unary("exp", "e^x[i]", m.exp)
		m.unary("sigmoid", "1/(1+e^-x[i])", m.sigmoid)
		m.unary("silu", "x[i]/(1+e^-x[i])", m.silu)
		m.unary("tanh", "tanh(x[i])", m.tanh)
		m.unary("erf", "erf(x[i])", m.erf)
		m.unary("gelu", "x[i]/2*(1+erf(x[i]/sqrt 2))", m.gelu)
		m.softmax()
		m.unary("geluTanh", "x[i]/(1+e^(-2u)), u = sqrt(2/pi)*(x[i]+0.044715*x[i]^3)", m.geluTanh)
	}
}

type mathGen struct {
	*gen
	wide bool
}

func (m mathGen) unary(name, formula string, f func(x reg.VecVirtual) reg.VecVirtual) {
	m.function(name+isaName(m.wide), "func(n int, dst, x *float32)", "dst[i] = "+formula+" for i < n.")
	m.mapped(m.wide, []string{"x"}, func(in []reg.VecVirtual) reg.VecVirtual { return f(in[0]) })
}

func (m mathGen) constant(v float64) reg.VecVirtual {
	r := m.vec(m.wide)
	m.VBROADCASTSS(m.float(v), r)
	return r
}

func (m mathGen) copy(x reg.VecVirtual) reg.VecVirtual {
	r := m.vec(m.wide)
	m.VMOVAPS(x, r)
	return r
}

// op applies a three-operand instruction with a constant on its right: r = x op c.
func (m mathGen) mul(x reg.VecVirtual, c float64) reg.VecVirtual {
	r := m.constant(c)
	m.VMULPS(r, x, r)
	return r
}

// poly evaluates the polynomial with coefficients c, lowest first, by Horner's rule.
func (m mathGen) poly(c []float64, x reg.VecVirtual) reg.VecVirtual {
	p := m.constant(c[len(c)-1])
	for i := len(c) - 2; i >= 0; i-- {
		m.VFMADD213PS(m.constant(c[i]), x, p)
	}
	return p
}

func (m mathGen) and(a, b reg.VecVirtual) reg.VecVirtual {
	r := m.vec(m.wide)
	if m.wide {
		m.VPANDD(a, b, r)
	} else {
		m.VPAND(a, b, r)
	}
	return r
}

func (m mathGen) or(a, b reg.VecVirtual) reg.VecVirtual {
	r := m.vec(m.wide)
	if m.wide {
		m.VPORD(a, b, r)
	} else {
		m.VPOR(a, b, r)
	}
	return r
}

func (m mathGen) bits(v uint32) reg.VecVirtual {
	r := m.vec(m.wide)
	m.VBROADCASTSS(m.word(v), r)
	return r
}

func (m mathGen) abs(x reg.VecVirtual) reg.VecVirtual  { return m.and(x, m.bits(0x7fffffff)) }
func (m mathGen) sign(x reg.VecVirtual) reg.VecVirtual { return m.and(x, m.bits(0x80000000)) }

// less returns a where x < limit, else b; the result may share b's register.
func (m mathGen) less(x reg.VecVirtual, limit float64, a, b reg.VecVirtual) reg.VecVirtual {
	l := m.constant(limit)
	if m.wide {
		k := m.K()
		m.VCMPPS(Imm(1), l, x, k)
		m.VMOVAPS(a, k, b)
		return b
	}
	m.VCMPPS(Imm(1), l, x, l)
	m.VBLENDVPS(l, a, b, b)
	return b
}

// exp is e^x = 2^n * e^r with n = rne(x*log2 e) and r = x - n*ln 2.
func (m mathGen) exp(x reg.VecVirtual) reg.VecVirtual {
	c := m.constant(-105) // e^-105 rounds to 0, e^89 to infinity
	m.VMAXPS(x, c, c)     // NaN stays
	hi := m.constant(89)
	m.VMINPS(c, hi, c)
	n := m.mul(c, math.Log2E)
	m.round(n, n)
	// ln 2 in two parts, the first with so few bits that its product with n is exact.
	const ln2High = 0x1.62e4p-1
	m.VFNMADD231PS(m.constant(ln2High), n, c)
	m.VFNMADD231PS(m.constant(math.Ln2-ln2High), n, c)
	p := m.poly(expPoly, c)
	square := m.vec(m.wide)
	m.VMULPS(c, c, square)
	m.VFMADD213PS(c, square, p)
	m.VADDPS(m.constant(1), p, p)
	m.timesPower(p, n)
	return p
}

// exp2 is 2^x for x <= 127.
func (m mathGen) exp2(x reg.VecVirtual) reg.VecVirtual {
	c := m.constant(-151) // rounds to 0
	m.VMAXPS(c, x, c)
	n := m.vec(m.wide)
	m.round(c, n)
	m.VSUBPS(n, c, c)
	p := m.poly(exp2Poly, c)
	m.timesPower(p, n)
	return p
}

// round sets dst to x rounded to a whole number, halves to the even one.
func (m mathGen) round(x, dst reg.VecVirtual) {
	if m.wide {
		m.VRNDSCALEPS(Imm(0), x, dst)
	} else {
		m.VROUNDPS(Imm(0), x, dst)
	}
}

// timesPower multiplies p by 2^n for whole n.
func (m mathGen) timesPower(p, n reg.VecVirtual) {
	if m.wide {
		m.VSCALEFPS(n, p, p)
		return
	}
	// 2^n as two factors, for 2^n itself may be out of range.
	i, half := m.vec(false), m.vec(false)
	m.VCVTPS2DQ(n, i)
	m.VPSRAD(Imm(1), i, half)
	m.VPSUBD(half, i, i)
	for _, e := range []reg.VecVirtual{half, i} {
		m.VPADDD(m.bits(127), e, e)
		m.VPSLLD(Imm(23), e, e)
		m.VMULPS(e, p, p)
	}
}

// expNeg is 1 + e^-x.
func (m mathGen) onePlusExpNeg(x reg.VecVirtual) reg.VecVirtual {
	neg := m.bits(0x80000000)
	if m.wide {
		m.VPXORD(x, neg, neg)
	} else {
		m.VPXOR(x, neg, neg)
	}
	e := m.exp(neg)
	m.VADDPS(m.constant(1), e, e)
	return e
}

func (m mathGen) sigmoid(x reg.VecVirtual) reg.VecVirtual {
	e := m.onePlusExpNeg(x)
	r := m.constant(1)
	m.VDIVPS(e, r, r)
	return r
}

func (m mathGen) silu(x reg.VecVirtual) reg.VecVirtual {
	e := m.onePlusExpNeg(x)
	m.VDIVPS(e, x, e)
	return e
}

func (m mathGen) tanh(x reg.VecVirtual) reg.VecVirtual {
	// 1 - 2/(e^2|x|+1), with the sign of x
	t := m.abs(x)
	m.VADDPS(t, t, t)
	e := m.exp(t)
	m.VADDPS(m.constant(1), e, e)
	two, large := m.constant(2), m.constant(1)
	m.VDIVPS(e, two, two)
	m.VSUBPS(two, large, large)
	large = m.or(large, m.sign(x))
	// x + x^3 p(x^2) near 0
	square := m.vec(m.wide)
	m.VMULPS(x, x, square)
	p := m.poly(tanhPoly, square)
	m.VMULPS(x, square, square)
	m.VFMADD213PS(x, square, p)
	return m.less(m.abs(x), 0.625, p, large)
}

func (m mathGen) erf(x reg.VecVirtual) reg.VecVirtual {
	// 1 - e^-q(|x|), with the sign of x
	t := m.abs(x)
	limit := m.constant(4)
	m.VMINPS(t, limit, t)
	q := m.poly(erfcPoly, t)
	zero := m.constant(0)
	m.VSUBPS(q, zero, q)
	e := m.exp(q)
	large := m.constant(1)
	m.VSUBPS(e, large, large)
	large = m.or(large, m.sign(x))
	// x p(x^2) near 0
	square := m.vec(m.wide)
	m.VMULPS(x, x, square)
	p := m.poly(erfPoly, square)
	m.VMULPS(x, p, p)
	return m.less(m.abs(x), 1, p, large)
}

// gelu is x times the share of a normal distribution that lies below x: with h = erfc(|x|/sqrt 2)/2, that is h below 0 and 1-h above.
func (m mathGen) gelu(x reg.VecVirtual) reg.VecVirtual {
	h := m.exp2(m.poly(tailPoly, m.abs(x)))
	above := m.constant(1)
	m.VSUBPS(h, above, above)
	above = m.less(x, 0, h, above)
	m.VMULPS(x, above, above)
	return above
}

func (m mathGen) geluTanh(x reg.VecVirtual) reg.VecVirtual {
	square := m.vec(m.wide)
	m.VMULPS(x, x, square)
	u := m.constant(0.044715)
	m.VFMADD213PS(m.constant(1), square, u)
	m.VMULPS(x, u, u)
	e := m.onePlusExpNeg(m.mul(u, 2*math.Sqrt(2/math.Pi)))
	m.VDIVPS(e, x, e)
	return e
}
