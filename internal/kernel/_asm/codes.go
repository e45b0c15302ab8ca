package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Functions of 8-bit codes: elementwise arithmetic between quantized tensors, table look-up, pooling of
// channels that lie together.
func codes(g *gen) {
	for _, wide := range []bool{true, false} {
		for _, signed := range []bool{false, true} {
			addCodes(g, wide, signed)
			mulCodes(g, wide, signed)
			maxTaps(g, wide, signed)
			averageTaps(g, wide, signed)
		}
	}
	lookup(g)
	transposeBytes(g)
}

// widenBytes loads as many bytes as a vector has words.
func (g *gen) widenBytes(signed bool, m Mem, dst reg.VecVirtual) {
	if signed {
		g.VPMOVSXBD(m, dst)
	} else {
		g.VPMOVZXBD(m, dst)
	}
}

// storeCodes clamps, rounds half to even and stores the low bytes.
func (g *gen) storeCodes(wide bool, x, lo, hi reg.VecVirtual, dst reg.GPVirtual) {
	g.VMAXPS(lo, x, x) // of a NaN and lo, lo
	g.VMINPS(hi, x, x)
	g.VCVTPS2DQ(x, x)
	if wide {
		g.VPMOVDB(x, at(dst, 0))
	} else {
		g.storeBytes8(x, dst)
	}
}

func addCodes(g *gen, wide, signed bool) {
	g.function("addCodes"+letter(signed)+isaName(wide), "func(blocks int, dst, src, other *byte, ra, rb, fixed, lo, hi float32)",
		fmt.Sprintf("dst[i] = rne(min(max(fma(src[i], ra, fma(other[i], rb, fixed)), lo), hi)) for i < %d*blocks; NaN counts as lo.", lanes(wide)))
	ra, rb, fixed, lo, hi := g.broadcastArg(wide, "ra"), g.broadcastArg(wide, "rb"), g.broadcastArg(wide, "fixed"), g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi")
	other := g.arg("other")
	x, y := g.vec(wide), g.vec(wide)
	g.blocks(wide, 1, 1, func(src, dst reg.GPVirtual) {
		g.widenBytes(signed, at(src, 0), x)
		g.widenBytes(signed, at(other, 0), y)
		g.ADDQ(Imm(uint64(lanes(wide))), other)
		g.VCVTDQ2PS(x, x)
		g.VCVTDQ2PS(y, y)
		g.VFMADD213PS(fixed, rb, y)
		g.VFMADD213PS(y, ra, x)
		g.storeCodes(wide, x, lo, hi, dst)
	})
}

func mulCodes(g *gen, wide, signed bool) {
	g.function("mulCodes"+letter(signed)+isaName(wide), "func(blocks int, dst, src, other *byte, za, zb int32, m, zc, lo, hi float32)",
		fmt.Sprintf("dst[i] = rne(min(max(float32((src[i]-za)*(other[i]-zb))*m + zc, lo), hi)) for i < %d*blocks, each step rounded to float32; NaN counts as lo.", lanes(wide)))
	za, zb, m, zc, lo, hi := g.broadcastArg(wide, "za"), g.broadcastArg(wide, "zb"), g.broadcastArg(wide, "m"), g.broadcastArg(wide, "zc"), g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi")
	other := g.arg("other")
	x, y := g.vec(wide), g.vec(wide)
	g.blocks(wide, 1, 1, func(src, dst reg.GPVirtual) {
		g.widenBytes(signed, at(src, 0), x)
		g.widenBytes(signed, at(other, 0), y)
		g.ADDQ(Imm(uint64(lanes(wide))), other)
		g.VPSUBD(za, x, x)
		g.VPSUBD(zb, y, y)
		g.VPMULLD(y, x, x)
		g.VCVTDQ2PS(x, x)
		g.VMULPS(m, x, x)
		g.VADDPS(zc, x, x)
		g.storeCodes(wide, x, lo, hi, dst)
	})
}

// maxTaps takes the rest of the channels under a mask, or in AVX2 whole vectors only.
func maxTaps(g *gen, wide, signed bool) {
	size, doc := 64, "for c < n."
	if !wide {
		size, doc = 32, "for c < n, a multiple of 32."
	}
	g.function("maxTaps"+letter(signed)+isaName(wide), "func(n, nt int, src *byte, offs *int, dst *byte)",
		"the maximum of runs of bytes", "", "\tdst[c] = max over t<nt of src[offs[t]+c]", "", doc)
	n, nt, src, offs, dst := g.arg("n"), g.arg("nt"), g.arg("src"), g.arg("offs"), g.arg("dst")
	off, t := g.GP64(), g.GP64()
	x, y := g.vec(wide), g.vec(wide)
	max := func(a, b Op) {
		if signed {
			g.VPMAXSB(a, b, b)
		} else {
			g.VPMAXUB(a, b, b)
		}
	}
	taps := func(load func(m Mem, v reg.VecVirtual), label string) {
		g.MOVQ(at(offs, 0), off)
		load(indexed(src, off, 1, 0), x)
		g.MOVQ(U32(1), t)
		g.Label(label)
		g.CMPQ(t, nt)
		g.JGE(LabelRef(label + "End"))
		g.MOVQ(indexed(offs, t, 8, 0), off)
		load(indexed(src, off, 1, 0), y)
		max(y, x)
		g.INCQ(t)
		g.JMP(LabelRef(label))
		g.Label(label + "End")
	}
	g.Label("whole")
	g.CMPQ(n, Imm(uint64(size)))
	g.JLT(LabelRef("part"))
	taps(func(m Mem, v reg.VecVirtual) { g.VMOVUPS(m, v) }, "wholeTap")
	g.VMOVUPS(x, at(dst, 0))
	g.ADDQ(Imm(uint64(size)), src)
	g.ADDQ(Imm(uint64(size)), dst)
	g.SUBQ(Imm(uint64(size)), n)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	if wide {
		g.TESTQ(n, n)
		g.JZ(LabelRef("done"))
		bits, mask := g.GP64(), g.K()
		g.MOVQ(I32(-1), bits)
		g.BZHIQ(n, bits, bits)
		g.KMOVQ(bits, mask)
		taps(func(m Mem, v reg.VecVirtual) { g.VMOVDQU8_Z(m, mask, v) }, "partTap")
		g.VMOVDQU8(x, mask, at(dst, 0))
		g.Label("done")
	}
	g.VZEROUPPER()
	g.RET()
}

func averageTaps(g *gen, wide, signed bool) {
	step, doc := lanes(wide), "for c < n."
	if !wide {
		doc = "for c < n, a multiple of 8."
	}
	g.function("averageTaps"+letter(signed)+isaName(wide), "func(n, nt int, src *byte, offs *int, dst *byte, start int32, a, b, c, z, lo, hi float32, zp int32)",
		"the scaled sums of runs of bytes", "",
		"\tdst[c] = rne(min(max(((float32(start + sum over t<nt of src[offs[t]+c])*a)/b)/c + z, lo), hi)) + zp", "", doc)
	n, nt, src, offs, dst := g.arg("n"), g.arg("nt"), g.arg("src"), g.arg("offs"), g.arg("dst")
	a, b, c, z, lo, hi, start, zp := g.broadcastArg(wide, "a"), g.broadcastArg(wide, "b"), g.broadcastArg(wide, "c"), g.broadcastArg(wide, "z"),
		g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi"), g.broadcastArg(wide, "start"), g.broadcastArg(wide, "zp")
	off, t := g.GP64(), g.GP64()
	x, y := g.vec(wide), g.vec(wide)
	taps := func(load func(m Mem), label string) {
		g.VMOVAPS(start, x)
		g.XORQ(t, t)
		g.Label(label)
		g.CMPQ(t, nt)
		g.JGE(LabelRef(label + "End"))
		g.MOVQ(indexed(offs, t, 8, 0), off)
		load(indexed(src, off, 1, 0))
		g.VPADDD(y, x, x)
		g.INCQ(t)
		g.JMP(LabelRef(label))
		g.Label(label + "End")
		g.VCVTDQ2PS(x, x)
		g.VMULPS(a, x, x)
		g.VDIVPS(b, x, x)
		g.VDIVPS(c, x, x)
		g.VADDPS(z, x, x)
		g.VMAXPS(lo, x, x)
		g.VMINPS(hi, x, x)
		g.VCVTPS2DQ(x, x)
		g.VPADDD(zp, x, x)
	}
	g.Label("whole")
	g.CMPQ(n, Imm(uint64(step)))
	g.JLT(LabelRef("part"))
	taps(func(m Mem) { g.widenBytes(signed, m, y) }, "wholeTap")
	if wide {
		g.VPMOVDB(x, at(dst, 0))
	} else {
		g.storeBytes8(x, dst)
	}
	g.ADDQ(Imm(uint64(step)), src)
	g.ADDQ(Imm(uint64(step)), dst)
	g.SUBQ(Imm(uint64(step)), n)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	if wide {
		g.TESTQ(n, n)
		g.JZ(LabelRef("done"))
		mask := g.maskOf(true, n)
		taps(func(m Mem) {
			if signed {
				g.VPMOVSXBD_Z(m, mask, y)
			} else {
				g.VPMOVZXBD_Z(m, mask, y)
			}
		}, "partTap")
		g.VPMOVDB(x, mask, at(dst, 0))
		g.Label("done")
	}
	g.VZEROUPPER()
	g.RET()
}

// lookup permutes by the lower seven bits in both halves of the table and picks by the highest.
func lookup(g *gen) {
	g.function("lookupAVX512VBMI", "func(n64 int, dst, src, table *byte)", "dst[i] = table[src[i]] for i < 64*n64, of a table of 256 bytes.")
	n, dst, src, table := g.arg("n64"), g.arg("dst"), g.arg("src"), g.arg("table")
	var quarter [4]reg.VecVirtual
	for i := range quarter {
		quarter[i] = g.ZMM()
		g.VMOVDQU8(at(table, 64*i), quarter[i])
	}
	low, high, mask := g.ZMM(), g.ZMM(), g.K()
	g.Label("loop")
	g.VMOVDQU8(at(src, 0), low)
	g.VPMOVB2M(low, mask)
	g.VMOVDQA64(low, high)
	g.VPERMI2B(quarter[1], quarter[0], low)
	g.VPERMI2B(quarter[3], quarter[2], high)
	g.VMOVDQU8(high, mask, low)
	g.VMOVDQU8(low, at(dst, 0))
	g.ADDQ(Imm(64), src)
	g.ADDQ(Imm(64), dst)
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}

// transposeBytes weaves pairs of rows, then pairs of pairs and so on.
func transposeBytes(g *gen) {
	g.function("transposeBytesAVX2", "func(blocks int, src *byte, lds int, dst *byte, ldd int)",
		"the transpose of 8 rows of 16*blocks bytes", "", "\tdst[j*ldd+i] = src[i*lds+j]   for i < 8, j < 16*blocks")
	blocks, src, lds, dst, ldd := g.arg("blocks"), g.arg("src"), g.arg("lds"), g.arg("dst"), g.arg("ldd")
	row := g.GP64()
	xmm := func() reg.VecVirtual { return g.XMM() }
	g.Label("loop")
	var in [8]reg.VecVirtual
	g.MOVQ(src, row)
	for i := range in {
		in[i] = xmm()
		g.VMOVDQU(at(row, 0), in[i])
		if i < 7 {
			g.ADDQ(lds, row)
		}
	}
	var pair, quad [4][2]reg.VecVirtual // [rows][columns 0-7, 8-15]
	for i := range 4 {
		pair[i] = [2]reg.VecVirtual{xmm(), xmm()}
		g.VPUNPCKLBW(in[2*i+1], in[2*i], pair[i][0])
		g.VPUNPCKHBW(in[2*i+1], in[2*i], pair[i][1])
	}
	for half := range 2 {
		for i := range 2 {
			quad[i] = [2]reg.VecVirtual{xmm(), xmm()} // columns 0-3, 4-7 of the half
			g.VPUNPCKLWD(pair[2*i+1][half], pair[2*i][half], quad[i][0])
			g.VPUNPCKHWD(pair[2*i+1][half], pair[2*i][half], quad[i][1])
		}
		for q := range 2 {
			for high := range 2 {
				y := xmm()
				if high == 0 {
					g.VPUNPCKLDQ(quad[1][q], quad[0][q], y)
				} else {
					g.VPUNPCKHDQ(quad[1][q], quad[0][q], y)
				}
				g.VMOVQ(y, at(dst, 0))
				g.ADDQ(ldd, dst)
				g.VMOVHPS(y, at(dst, 0))
				g.ADDQ(ldd, dst)
			}
		}
	}
	g.ADDQ(Imm(16), src)
	g.DECQ(blocks)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}
