package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// table rounds values to the nearest of 16; see EncodeTable.
func table(g *gen) {
	g.function("encodeTableAVX512", "func(blocks, vectors int, dst *byte, absmax, x *float32, bounds *float32, codes *uint32)",
		"the codes of blocks of 16*vectors values and the largest magnitude of each; see encodeTableGeneric.")
	blocks, vectors, dst := g.arg("blocks"), g.arg("vectors"), g.arg("dst")
	absmax, x, bounds, codes := g.arg("absmax"), g.arg("x"), g.arg("bounds"), g.arg("codes")
	load := func(p reg.GPVirtual, disp int) reg.VecVirtual {
		v := g.ZMM()
		g.VMOVUPS(at(p, disp), v)
		return v
	}
	bound := []reg.VecVirtual{load(bounds, 0), load(bounds, 64)}
	code := []reg.VecVirtual{load(codes, 0), load(codes, 64)}
	every := func(bits uint32) reg.VecVirtual {
		v := g.ZMM()
		g.VBROADCASTSS(g.word(bits), v)
		return v
	}
	abs, half, width, one, low := every(0x7fffffff), every(0x41800000), every(0x417ffbe7), every(0x3f800000), every(15)
	least := g.XMM()
	g.VMOVSS(g.word(0x006ce3ee), least) // 1e-38
	left, from := g.GP64(), g.GP64()
	largest, v, b, index, t := g.ZMM(), g.ZMM(), g.ZMM(), g.ZMM(), g.ZMM()
	mask := g.K()
	g.Label("block")
	g.MOVQ(vectors, left)
	g.MOVQ(x, from)
	g.VPXORD(largest, largest, largest)
	g.Label("max")
	g.VPANDD(at(from, 0), abs, v)
	g.VPMAXUD(v, largest, largest) // as words, so that NaN is above all numbers
	g.ADDQ(Imm(64), from)
	g.DECQ(left)
	g.JNZ(LabelRef("max"))
	y, s := g.YMM(), g.XMM()
	g.VEXTRACTI64X4(Imm(1), largest, y)
	g.VPMAXUD(y, largest.AsY(), y)
	g.VEXTRACTI128(Imm(1), y, s)
	g.VPMAXUD(s, y.AsX(), y.AsX())
	g.VPSHUFD(Imm(0x4e), y.AsX(), s)
	g.VPMAXUD(s, y.AsX(), y.AsX())
	g.VPSHUFD(Imm(0xb1), y.AsX(), s)
	g.VPMAXUD(s, y.AsX(), y.AsX())
	g.VMOVSS(y.AsX(), at(absmax, 0))
	g.VMAXSS(least, y.AsX(), s)
	g.VDIVSS(s, one.AsX(), s)
	g.VBROADCASTSS(s, largest)
	g.MOVQ(vectors, left)
	g.Label("round")
	g.VMULPS(at(x, 0), largest, v)
	g.VMOVAPS(v, t)
	g.VFMADD213PS(half, width, t) // v*width + half
	g.VCVTTPS2DQ(t, index)
	g.VMOVDQA32(index, b)
	g.VPERMI2PS(bound[1], bound[0], b)
	g.VPERMI2D(code[1], code[0], index)
	g.VCMPPS(Imm(14), b, v, mask) // v > b
	g.VPSRLD(Imm(4), index, mask, index)
	g.VPANDD(low, index, index)
	g.VPSRLQ(Imm(32), index, t)
	g.VPSLLQ(Imm(4), index, index)
	g.VPORD(t, index, index)
	g.VPMOVQB(index, at(dst, 0))
	g.ADDQ(Imm(64), x)
	g.ADDQ(Imm(8), dst)
	g.DECQ(left)
	g.JNZ(LabelRef("round"))
	g.ADDQ(Imm(4), absmax)
	g.DECQ(blocks)
	g.JNZ(LabelRef("block"))
	g.VZEROUPPER()
	g.RET()
}
