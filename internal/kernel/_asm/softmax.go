package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// softmax goes through a row three times while it is in the first-level cache: the largest element, exponentials and their sum,
// and the quotients.
func (m mathGen) softmax() {
	m.function("softmax"+isaName(m.wide), "func(n int, dst, x *float32)", "dst[i] = e^(x[i]-max x) over the sum of that for i < n, n > 0.")
	size := lanes(m.wide)
	left, from, to := m.GP64(), m.GP64(), m.GP64()
	// row emits a loop over the row: whole vectors, then a masked rest.
	row := func(name, source string, whole func(), part func(mask reg.Register)) {
		m.Load(m.Param("n"), left)
		m.Load(m.Param(source), from)
		m.Load(m.Param("dst"), to)
		m.Label(name)
		m.CMPQ(left, Imm(uint64(size)))
		m.JLT(LabelRef(name + "Part"))
		whole()
		m.ADDQ(Imm(uint64(4*size)), from)
		m.ADDQ(Imm(uint64(4*size)), to)
		m.SUBQ(Imm(uint64(size)), left)
		m.JMP(LabelRef(name))
		m.Label(name + "Part")
		m.TESTQ(left, left)
		m.JZ(LabelRef(name + "Done"))
		part(m.maskOf(m.wide, left))
		m.Label(name + "Done")
	}
	const minusInf = 0xff800000
	top, in := m.vec(m.wide), m.vec(m.wide)
	m.VBROADCASTSS(m.word(minusInf), top)
	row("top", "x", func() {
		m.VMOVUPS(at(from, 0), in)
		m.VMAXPS(top, in, top) // of a NaN and a number, the number
	}, func(mask reg.Register) {
		m.VBROADCASTSS(m.word(minusInf), in)
		if m.wide {
			m.VMOVUPS(at(from, 0), mask, in)
		} else {
			some := m.vec(false)
			m.VMASKMOVPS(at(from, 0), mask, some)
			m.VBLENDVPS(mask, some, in, in)
		}
		m.VMAXPS(top, in, top)
	})
	m.across(top, func(a, b reg.Register) { m.VMAXPS(a, b, b) })
	m.VBROADCASTSS(top.AsX(), top)

	sum := m.vec(m.wide)
	m.VBROADCASTSS(m.word(0), sum)
	row("exp", "x", func() {
		m.VMOVUPS(at(from, 0), in)
		m.VSUBPS(top, in, in)
		e := m.exp(in)
		m.VMOVUPS(e, at(to, 0))
		m.VADDPS(e, sum, sum)
	}, func(mask reg.Register) {
		m.loadMasked(m.wide, at(from, 0), mask, in)
		m.VSUBPS(top, in, in)
		e := m.exp(in)
		m.storeMasked(m.wide, e, mask, at(to, 0))
		if m.wide {
			m.VADDPS(e, sum, mask, sum)
		} else {
			m.VANDPS(mask, e, e)
			m.VADDPS(e, sum, sum)
		}
	})
	m.across(sum, func(a, b reg.Register) { m.VADDPS(a, b, b) })
	one := m.XMM()
	m.VMOVSS(m.float(1), one)
	m.VDIVSS(sum.AsX(), one, one)
	m.VBROADCASTSS(one, sum)
	row("scale", "dst", func() {
		m.VMULPS(at(to, 0), sum, in)
		m.VMOVUPS(in, at(to, 0))
	}, func(mask reg.Register) {
		m.loadMasked(m.wide, at(to, 0), mask, in)
		m.VMULPS(in, sum, in)
		m.storeMasked(m.wide, in, mask, at(to, 0))
	})
	m.VZEROUPPER()
	m.RET()
}

// across joins all lanes of v into its lowest.
func (m mathGen) across(v reg.VecVirtual, join func(a, b reg.Register)) {
	if m.wide {
		half := m.YMM()
		m.VEXTRACTF64X4(Imm(1), v, half)
		join(half, v.AsY())
	}
	x := m.XMM()
	m.VEXTRACTF128(Imm(1), v.AsY(), x)
	join(x, v.AsX())
	for _, order := range []uint64{0x4e, 0xb1} {
		m.VPERMILPS(Imm(order), v.AsX(), x)
		join(x, v.AsX())
	}
}
