package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Kernels of the layer solver: tiles of solveLanes rows of a weight matrix, stored column after column, so that a vector
// holds one column of many rows.
func solve(g *gen) {
	for _, wide := range []bool{true, false} {
		m := mathGen{g, wide}
		m.solveColumns(false)
		m.solveColumns(true)
		m.gridErrors(false)
		m.gridErrors(true)
		m.roundToGrid()
	}
}

const solveLanes = 32

// log2(m)/(m-1) in m-1 for 1 <= m < 2: log2 good to 7.2e-9.
var log2Poly = []float64{1.442694067955017, -0.7213056683540344, 0.48026907444000244, -0.35595428943634033, 0.26791122555732727, -0.18309669196605682, 0.09822861850261688, -0.03441667929291725, 0.005670356098562479}

// log2 is log2(x) for x > 0, and much less than -100 for 0.
func (m mathGen) log2(x reg.VecVirtual) reg.VecVirtual {
	e, f := m.vec(m.wide), m.vec(m.wide)
	if m.wide {
		m.VGETEXPPS(x, e)
		m.VGETMANTPS(Imm(0), x, f)
	} else {
		m.VPSRLD(Imm(23), x, e)
		m.VPSUBD(m.bits(127), e, e)
		m.VCVTDQ2PS(e, e)
		f = m.or(m.and(x, m.bits(0x007fffff)), m.bits(0x3f800000))
	}
	m.VSUBPS(m.constant(1), f, f)
	p := m.poly(log2Poly, f)
	m.VFMADD213PS(e, f, p)
	return p
}

// vectors is how many vectors a tile is wide.
func (m mathGen) vectors() int { return solveLanes / lanes(m.wide) }

// solveColumns has the errors of one column in registers while it goes over the columns behind.
func (m mathGen) solveColumns(drift bool) {
	name, doc := "solveColumns", "w[j] -= e*u[c][j]"
	if drift {
		name, doc = "solveColumnsDrift", "w[j] += x*p[c][j] - e*u[c][j]"
	}
	signature := "func(cols, from, to int, w, u, p *float32, ldu int, scale, zero *float32, most float32, codes *byte, errs *float32)"
	m.function(name+isaName(m.wide), signature, "for the columns c from <= c < to and each lane",
		"",
		"\tx = w[c]; q = min(max(rne(x/scale)+zero, 0), most); w[c] = scale*(q-zero); e = (x-w[c])/u[c][c]",
		"\t"+doc+" for c < j < cols",
		"",
		"with q in codes and e in errs from the first of these columns on. p has the rows of u.")
	cols, from, to := m.arg("cols"), m.arg("from"), m.arg("to")
	w, u, ldu := m.arg("w"), m.arg("u"), m.arg("ldu")
	scale, zero, codes, errs := m.arg("scale"), m.arg("zero"), m.arg("codes"), m.arg("errs")
	var p, pj reg.GPVirtual
	if drift {
		p, pj = m.arg("p"), m.GP64()
	}
	vecs, size := m.vectors(), 4*lanes(m.wide)
	// The first column, and the diagonal of u there.
	at0, step := m.GP64(), m.GP64()
	m.MOVQ(from, at0)
	m.SHLQ(Imm(7), at0)
	m.ADDQ(at0, w)
	m.MOVQ(ldu, step)
	m.INCQ(step)
	m.SHLQ(Imm(2), step) // one row down, one column on
	m.MOVQ(from, at0)
	m.IMULQ(step, at0)
	m.ADDQ(at0, u)
	if drift {
		m.ADDQ(at0, p)
	}
	wj, uj, left := m.GP64(), m.GP64(), m.GP64()
	errors, inputs := make([]reg.VecVirtual, vecs), make([]reg.VecVirtual, vecs)
	d, q, b := m.vec(m.wide), m.vec(m.wide), m.vec(m.wide)
	m.Label("column")
	m.CMPQ(from, to)
	m.JGE(LabelRef("done"))
	m.VBROADCASTSS(at(u, 0), d)
	for v := range vecs {
		errors[v], inputs[v] = m.vec(m.wide), m.vec(m.wide)
		x, e := inputs[v], errors[v]
		m.VMOVUPS(at(w, v*size), x)
		m.VDIVPS(at(scale, v*size), x, q)
		m.round(q, q)
		m.VADDPS(at(zero, v*size), q, q)
		m.VXORPS(b, b, b)
		m.VMAXPS(b, q, q) // of a NaN and 0, 0
		m.VBROADCASTSS(m.argAddr("most"), b)
		m.VMINPS(b, q, q)
		m.VCVTPS2DQ(q, b)
		if m.wide {
			m.VPMOVDB(b, at(codes, 16*v))
		} else {
			to := m.GP64()
			m.LEAQ(at(codes, 8*v), to)
			m.storeBytes8(b, to)
		}
		m.VSUBPS(at(zero, v*size), q, q)
		m.VMULPS(at(scale, v*size), q, q)
		m.VMOVUPS(q, at(w, v*size))
		m.VSUBPS(q, x, e)
		m.VDIVPS(d, e, e)
		m.VMOVUPS(e, at(errs, v*size))
	}
	m.MOVQ(w, wj)
	m.MOVQ(u, uj)
	if drift {
		m.MOVQ(p, pj)
	}
	m.MOVQ(cols, left)
	m.SUBQ(from, left)
	m.DECQ(left)
	m.JZ(LabelRef("next"))
	m.Label("behind")
	m.ADDQ(U32(4*solveLanes), wj)
	m.ADDQ(Imm(4), uj)
	m.VBROADCASTSS(at(uj, 0), b)
	if drift {
		m.ADDQ(Imm(4), pj)
		m.VBROADCASTSS(at(pj, 0), d)
	}
	for v := range vecs {
		m.VMOVUPS(at(wj, v*size), q)
		if drift {
			m.VFMADD231PS(inputs[v], d, q)
		}
		m.VFNMADD231PS(errors[v], b, q)
		m.VMOVUPS(q, at(wj, v*size))
	}
	m.DECQ(left)
	m.JNZ(LabelRef("behind"))
	m.Label("next")
	m.INCQ(from)
	m.ADDQ(U32(4*solveLanes), w)
	m.ADDQ(step, u)
	if drift {
		m.ADDQ(step, p)
	}
	m.ADDQ(Imm(solveLanes), codes)
	m.ADDQ(U32(4*solveLanes), errs)
	m.JMP(LabelRef("column"))
	m.Label("done")
	m.VZEROUPPER()
	m.RET()
}

// gridErrors takes the exponent 2 apart, which needs no logarithms.
func (m mathGen) gridErrors(square bool) {
	name, signature := "gridErrors", "func(cols int, w, scale, zero *float32, most, norm float32, sums *float32)"
	doc := "sums = sum over the columns of |x - scale*(q-zero)|^norm for each lane, q as in solveColumns."
	if square {
		name, signature = "gridSquares", "func(cols int, w, scale, zero *float32, most float32, sums *float32)"
		doc = "sums = sum over the columns of (x - scale*(q-zero))^2 for each lane, q as in solveColumns."
	}
	m.function(name+isaName(m.wide), signature, doc)
	size := 4 * lanes(m.wide)
	w, left, scale, zero, sums, vec := m.GP64(), m.GP64(), m.arg("scale"), m.arg("zero"), m.arg("sums"), m.GP64()
	s, z, sum, q := m.vec(m.wide), m.vec(m.wide), m.vec(m.wide), m.vec(m.wide)
	least, most := m.vec(m.wide), m.broadcastArg(m.wide, "most")
	x := m.vec(m.wide)
	m.VXORPS(least, least, least)
	m.XORQ(vec, vec)
	m.Label("vector")
	m.VMOVUPS(indexed(scale, vec, 1, 0), s)
	m.VMOVUPS(indexed(zero, vec, 1, 0), z)
	m.VXORPS(sum, sum, sum)
	m.Load(m.Param("w"), w)
	m.ADDQ(vec, w)
	m.Load(m.Param("cols"), left)
	m.TESTQ(left, left)
	m.JZ(LabelRef("store"))
	m.Label("column")
	m.VMOVUPS(at(w, 0), x)
	m.VDIVPS(s, x, q)
	m.round(q, q)
	m.VADDPS(z, q, q)
	m.VMAXPS(least, q, q)
	m.VMINPS(most, q, q)
	m.VSUBPS(z, q, q)
	m.VMULPS(s, q, q)
	m.VSUBPS(q, x, x)
	if square {
		m.VFMADD231PS(x, x, sum)
	} else {
		l := m.log2(m.abs(x))
		n := m.broadcastArg(m.wide, "norm")
		m.VMULPS(n, l, l)
		limit := m.constant(126)
		m.VMINPS(limit, l, l)
		m.VADDPS(m.exp2(l), sum, sum)
	}
	m.ADDQ(U32(4*solveLanes), w)
	m.DECQ(left)
	m.JNZ(LabelRef("column"))
	m.Label("store")
	m.VMOVUPS(sum, indexed(sums, vec, 1, 0))
	m.ADDQ(Imm(uint64(size)), vec)
	m.CMPQ(vec, U32(4*solveLanes))
	m.JLT(LabelRef("vector"))
	m.VZEROUPPER()
	m.RET()
}

func (m mathGen) roundToGrid() {
	m.function("roundToGrid"+isaName(m.wide), "func(n int, dst, x *float32, scale, zero, most float32)",
		"dst[i] = scale*(min(max(rne(x[i]/scale)+zero, 0), most) - zero) for i < n; NaN counts as the code 0.")
	scale, zero, most := m.broadcastArg(m.wide, "scale"), m.broadcastArg(m.wide, "zero"), m.broadcastArg(m.wide, "most")
	least := m.vec(m.wide)
	m.VXORPS(least, least, least)
	m.mapped(m.wide, []string{"x"}, func(in []reg.VecVirtual) reg.VecVirtual {
		q := in[0]
		m.VDIVPS(scale, q, q)
		m.round(q, q)
		m.VADDPS(zero, q, q)
		m.VMAXPS(least, q, q)
		m.VMINPS(most, q, q)
		m.VSUBPS(zero, q, q)
		m.VMULPS(scale, q, q)
		return q
	})
}
