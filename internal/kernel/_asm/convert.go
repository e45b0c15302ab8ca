package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The conversions do whole vectors only. They are exact in every step, so that Go code does the rest
// of a slice with the same result.
func convert(g *gen) {
	for _, wide := range []bool{true, false} {
		for _, signed := range []bool{false, true} {
			quantize(g, wide, signed)
			dequantize(g, wide, signed)
		}
		halves(g, wide)
	}
}

// blocks emits the loop over blocks of lanes elements: dst and src advance by their element sizes.
func (g *gen) blocks(wide bool, srcSize, dstSize int, body func(src, dst reg.GPVirtual)) {
	n, dst, src := g.arg("blocks"), g.arg("dst"), g.arg("src")
	g.Label("loop")
	body(src, dst)
	g.ADDQ(Imm(uint64(srcSize*lanes(wide))), src)
	g.ADDQ(Imm(uint64(dstSize*lanes(wide))), dst)
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}

func letter(signed bool) string {
	if signed {
		return "S8"
	}
	return "U8"
}

func quantize(g *gen, wide, signed bool) {
	g.function("quantize"+letter(signed)+isaName(wide), "func(blocks int, dst *byte, src *float32, scale, lo, hi float32, zp int32)",
		fmt.Sprintf("dst[i] = rne(min(max(src[i]/scale, lo), hi)) + zp for i < %d*blocks; NaN counts as lo.", lanes(wide)),
		"lo and hi are whole numbers.")
	scale, lo, hi := g.broadcastArg(wide, "scale"), g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi")
	zp := g.vec(wide)
	g.VBROADCASTSS(g.argAddr("zp"), zp)
	x := g.vec(wide)
	g.blocks(wide, 4, 1, func(src, dst reg.GPVirtual) {
		g.VMOVUPS(at(src, 0), x)
		g.VDIVPS(scale, x, x)
		g.VMAXPS(lo, x, x) // of a NaN and lo, lo
		g.VMINPS(hi, x, x)
		g.VCVTPS2DQ(x, x) // rounds half to even
		if wide {
			g.VPADDD(zp, x, x)
			g.VPMOVDB(x, at(dst, 0))
			return
		}
		g.VPADDD(zp, x, x)
		half := g.XMM()
		g.VEXTRACTI128(Imm(1), x, half)
		g.VPACKSSDW(half, x.AsX(), half)
		if signed {
			g.VPACKSSWB(half, half, half)
		} else {
			g.VPACKUSWB(half, half, half)
		}
		g.VMOVQ(half, at(dst, 0))
	})
}

func dequantize(g *gen, wide, signed bool) {
	g.function("dequantize"+letter(signed)+isaName(wide), "func(blocks int, dst *float32, src *byte, scale float32, zp int32)",
		fmt.Sprintf("dst[i] = float32(src[i]-zp)*scale for i < %d*blocks.", lanes(wide)))
	scale := g.broadcastArg(wide, "scale")
	zp, x := g.vec(wide), g.vec(wide)
	g.VBROADCASTSS(g.argAddr("zp"), zp)
	g.blocks(wide, 1, 4, func(src, dst reg.GPVirtual) {
		if signed {
			g.VPMOVSXBD(at(src, 0), x)
		} else {
			g.VPMOVZXBD(at(src, 0), x)
		}
		g.VPSUBD(zp, x, x)
		g.VCVTDQ2PS(x, x)
		g.VMULPS(scale, x, x)
		g.VMOVUPS(x, at(dst, 0))
	})
}

func halves(g *gen, wide bool) {
	count := lanes(wide)
	x := func() reg.VecVirtual { return g.vec(wide) }
	half := func() reg.VecVirtual {
		if wide {
			return g.YMM()
		}
		return g.XMM()
	}

	g.function("f16ToF32"+isaName(wide), "func(blocks int, dst *float32, src *uint16)", fmt.Sprintf("dst[i] = src[i] widened from binary16, for i < %d*blocks.", count))
	v := x()
	g.blocks(wide, 2, 4, func(src, dst reg.GPVirtual) {
		g.VCVTPH2PS(at(src, 0), v)
		g.VMOVUPS(v, at(dst, 0))
	})

	g.function("f32ToF16"+isaName(wide), "func(blocks int, dst *uint16, src *float32)", fmt.Sprintf("dst[i] = src[i] rounded to binary16, for i < %d*blocks.", count))
	v, h := x(), half()
	g.blocks(wide, 4, 2, func(src, dst reg.GPVirtual) {
		g.VMOVUPS(at(src, 0), v)
		g.VCVTPS2PH(Imm(0), v, h)
		g.VMOVUPS(h, at(dst, 0))
	})

	g.function("bf16ToF32"+isaName(wide), "func(blocks int, dst *float32, src *uint16)", fmt.Sprintf("dst[i] = src[i] widened from bfloat16, for i < %d*blocks.", count))
	v = x()
	g.blocks(wide, 2, 4, func(src, dst reg.GPVirtual) {
		g.VPMOVZXWD(at(src, 0), v)
		g.VPSLLD(Imm(16), v, v)
		g.VMOVUPS(v, at(dst, 0))
	})

	g.function("f32ToBF16"+isaName(wide), "func(blocks int, dst *uint16, src *float32)", fmt.Sprintf("dst[i] = src[i] rounded to bfloat16, for i < %d*blocks.", count))
	round := g.rounderBF16(wide)
	v = x()
	g.blocks(wide, 4, 2, func(src, dst reg.GPVirtual) {
		g.VMOVUPS(at(src, 0), v)
		t := round(v)
		g.VPSRLD(Imm(16), t, t)
		if wide {
			g.VPMOVDW(t, at(dst, 0))
			return
		}
		high := g.XMM()
		g.VEXTRACTI128(Imm(1), t, high)
		g.VPACKUSDW(high, t.AsX(), t.AsX())
		g.VMOVDQU(t.AsX(), at(dst, 0))
	})

	g.function("pairBF16"+isaName(wide), "func(blocks int, dst *uint32, src, src1 *float32)",
		fmt.Sprintf("dst[i] = bf16(src[i]) | bf16(src1[i])<<16 for i < %d*blocks, where bf16 rounds to bfloat16.", count))
	other := g.arg("src1")
	round = g.rounderBF16(wide)
	v = x()
	w := x()
	g.blocks(wide, 4, 4, func(src, dst reg.GPVirtual) {
		g.VMOVUPS(at(src, 0), v)
		g.VMOVUPS(at(other, 0), w)
		g.ADDQ(Imm(uint64(4*count)), other)
		low, high := round(v), round(w)
		g.VPSRLD(Imm(16), low, low)
		g.VPSRLD(Imm(16), high, high)
		g.VPSLLD(Imm(16), high, high)
		if wide {
			g.VPORD(low, high, high)
		} else {
			g.VPOR(low, high, high)
		}
		g.VMOVUPS(high, at(dst, 0))
	})
}

// rounderBF16 returns what emits the rounding of a vector to bfloat16, left in the upper halves of the result, whose lower halves
// are not cleared.
func (g *gen) rounderBF16(wide bool) func(v reg.VecVirtual) reg.VecVirtual {
	one, bias, quiet := g.vec(wide), g.vec(wide), g.vec(wide)
	g.VBROADCASTSS(g.word(1), one)
	g.VBROADCASTSS(g.word(0x7fff), bias)
	g.VBROADCASTSS(g.word(0x400000), quiet)
	return func(v reg.VecVirtual) reg.VecVirtual {
		t := g.vec(wide)
		g.VPSRLD(Imm(16), v, t)
		if wide {
			g.VPANDD(one, t, t)
		} else {
			g.VPAND(one, t, t)
		}
		g.VPADDD(bias, t, t)
		g.VPADDD(v, t, t)
		if wide {
			nan := g.K()
			g.VCMPPS(Imm(3), v, v, nan) // unordered
			g.VPORD(quiet, v, nan, t)
			return t
		}
		nan, r := g.YMM(), g.YMM()
		g.VCMPPS(Imm(3), v, v, nan)
		g.VPOR(quiet, v, r)
		g.VBLENDVPS(nan, r, t, t)
		return t
	}
}
