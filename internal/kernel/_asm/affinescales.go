package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// affineScales widens the scales of a strip.
func affineScales(g *gen, wide bool) {
	g.function("affineScales"+isaName(wide), "func(groups, inner int, halves *byte, step int, factor, dst *float32, ldd int)",
		"16 scales of each of some groups, of 16 bits and step bytes apart, times factor. Each group's are written inner times, ldd numbers apart.")
	groups, inner, halves, step := g.arg("groups"), g.arg("inner"), g.arg("halves"), g.arg("step")
	factor, dst, ldd, left := g.arg("factor"), g.arg("dst"), g.arg("ldd"), g.GP64()
	g.SHLQ(Imm(2), ldd)
	n := 16 / lanes(wide)
	by, v := make([]reg.VecVirtual, n), make([]reg.VecVirtual, n)
	for i := range n {
		by[i], v[i] = g.vec(wide), g.vec(wide)
		g.VMOVUPS(at(factor, 4*lanes(wide)*i), by[i])
	}
	g.Label("group")
	for i := range n {
		g.VCVTPH2PS(at(halves, 2*lanes(wide)*i), v[i])
		g.VMULPS(by[i], v[i], v[i])
	}
	g.MOVQ(inner, left)
	g.Label("copy")
	for i := range n {
		g.VMOVUPS(v[i], at(dst, 4*lanes(wide)*i))
	}
	g.ADDQ(ldd, dst)
	g.DECQ(left)
	g.JNZ(LabelRef("copy"))
	g.ADDQ(step, halves)
	g.DECQ(groups)
	g.JNZ(LabelRef("group"))
	g.VZEROUPPER()
	g.RET()
}

// quantizeBlocks rounds activations to 8 bits.
func quantizeBlocks(g *gen, wide bool, block int) {
	g.function(name("quantizeBlocks%d%s", block, isaName(wide)), "func(blocks int, q *byte, info *byte, x *float32, offset int32)",
		name("int8 codes of blocks of %d values and what goes with them; see quantizeBlocksGeneric.", block))
	blocks, q, info, x := g.arg("blocks"), g.arg("q"), g.arg("info"), g.arg("x")
	offset := g.GP32()
	g.Load(g.Param("offset"), offset)
	n := block / lanes(wide)
	abs, scale := g.vec(wide), g.XMM()
	g.VBROADCASTSS(g.word(0x7fffffff), abs)
	steps := g.XMM() // 127
	g.VMOVSS(g.word(0x42fe0000), steps)
	tiny := g.XMM()
	g.VMOVSS(g.word(0x0d800000), tiny) // 2^-100
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = g.vec(wide)
	}
	largest, t, inverse := g.vec(wide), g.vec(wide), g.vec(wide)
	largestX, tX := largest.AsX(), t.AsX()
	and := func(a, b, dst reg.VecVirtual) {
		if wide {
			g.VPANDD(a, b, dst)
		} else {
			g.VPAND(a, b, dst)
		}
	}
	// across folds the lanes of y into its lowest one.
	across := func(y reg.VecVirtual, join func(a, b, dst Op)) {
		if wide {
			half := g.YMM()
			g.VEXTRACTI64X4(Imm(1), y, half)
			join(half, y.AsY(), y.AsY())
		}
		half := g.XMM()
		g.VEXTRACTI128(Imm(1), y.AsY(), half)
		join(half, y.AsX(), y.AsX())
		g.VPSHUFD(Imm(0x4e), y.AsX(), half)
		join(half, y.AsX(), y.AsX())
		g.VPSHUFD(Imm(0xb1), y.AsX(), half)
		join(half, y.AsX(), y.AsX())
	}
	g.Label("block")
	for i := range v {
		g.VMOVUPS(at(x, 4*lanes(wide)*i), v[i])
		if i == 0 {
			and(abs, v[i], largest)
		} else {
			and(abs, v[i], t)
			g.VPMAXUD(t, largest, largest) // as words, so that NaN is above all numbers
		}
	}
	across(largest, func(a, b, dst Op) { g.VPMAXUD(a, b, dst) })
	g.VDIVSS(steps, largestX, scale)
	g.VMOVSS(scale, at(info, blockScale))
	g.VDIVSS(largestX, steps, tX)
	g.VCMPSS(Imm(2), largestX, tiny, inverse.AsX()) // tiny <= largest
	g.VPAND(inverse.AsX(), tX, tX)
	g.VBROADCASTSS(tX, inverse)
	for i := range v {
		g.VMULPS(inverse, v[i], v[i])
		g.VCVTPS2DQ(v[i], v[i]) // rounds half to even
		if wide {
			g.VPMOVSDB(v[i], at(q, 16*i))
		}
		if i == 0 {
			if wide {
				g.VMOVDQA32(v[0], t)
			} else {
				g.VMOVDQA(v[0], t)
			}
		} else {
			g.VPADDD(v[i], t, t)
		}
	}
	if !wide {
		for i := 0; i < n; i += 2 {
			g.VPACKSSDW(v[i+1], v[i], v[i]) // 0 2 1 3 by quarters
			g.VPERMQ(Imm(0xd8), v[i], v[i])
			high := g.XMM()
			g.VEXTRACTI128(Imm(1), v[i], high)
			g.VPACKSSWB(high, v[i].AsX(), high)
			g.VMOVDQU(high, at(q, 8*i))
		}
	}
	across(t, func(a, b, dst Op) { g.VPADDD(a, b, dst) })
	sum := g.GP32()
	g.VMOVD(tX, sum)
	g.VCVTDQ2PS(tX, tX)
	g.VMULSS(scale, tX, tX)
	g.VMOVSS(tX, at(info, blockSum))
	g.IMULL(offset, sum)
	g.MOVL(sum, at(info, blockStart))
	g.ADDQ(U32(uint32(4*block)), x)
	g.ADDQ(Imm(uint64(block)), q)
	g.ADDQ(Imm(blockInfoSize), info)
	g.DECQ(blocks)
	g.JNZ(LabelRef("block"))
	g.VZEROUPPER()
	g.RET()
}
