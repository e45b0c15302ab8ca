package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func conv(g *gen) {
	gatherAVX512(g)
	gatherAVX2(g)
	for _, wide := range []bool{true, false} {
		epilogue(g, wide)
		taps(g, wide)
	}
}

const gatherDoc = "\tdst[l*ldd+j] = src[offs[l]+j]   for l < k, j < n"

func gatherAVX512(g *gen) {
	g.function("gatherAVX512", "func(k int, src *uint32, offs *int, dst *uint32, ldd, n int)",
		"rows of a matrix gathered from runs of words", "", gatherDoc, "", "for n of 1 to 48.")
	k, src, offs, dst, ldd, n := g.arg("k"), g.arg("src"), g.arg("offs"), g.arg("dst"), g.arg("ldd"), g.arg("n")
	g.SHLQ(Imm(2), ldd)
	masks := g.columnMasks(n, 3)
	z := []reg.VecVirtual{g.ZMM(), g.ZMM(), g.ZMM()}
	off := g.GP64()
	g.CMPQ(n, Imm(16))
	g.JLE(LabelRef("loop1"))
	g.CMPQ(n, Imm(32))
	g.JLE(LabelRef("loop2"))
	for vecs := 3; vecs >= 1; vecs-- {
		label := name("loop%d", vecs)
		g.Label(label)
		g.MOVQ(at(offs, 0), off)
		for v := range vecs {
			g.VMOVDQU32_Z(indexed(src, off, 4, 64*v), masks[v], z[v])
		}
		for v := range vecs {
			g.VMOVDQU32(z[v], masks[v], at(dst, 64*v))
		}
		g.ADDQ(Imm(8), offs)
		g.ADDQ(ldd, dst)
		g.DECQ(k)
		g.JNZ(LabelRef(label))
		g.VZEROUPPER()
		g.RET()
	}
}

func gatherAVX2(g *gen) {
	g.function("gather8AVX2", "func(k int, src *uint32, offs *int, dst *uint32, ldd, n int, whole bool)",
		"rows of a matrix gathered from runs of words", "", gatherDoc, "",
		"for n of 1 to 8. If whole, the elements from n to 8 of each row are set to 0.")
	k, src, offs, dst, ldd, n := g.arg("k"), g.arg("src"), g.arg("offs"), g.arg("dst"), g.arg("ldd"), g.arg("n")
	g.SHLQ(Imm(2), ldd)
	mask := g.laneMask(n)
	y := g.YMM()
	off, whole := g.GP64(), g.GP64()
	g.MOVBQZX(g.argAddr("whole"), whole)
	g.TESTQ(whole, whole)
	g.JZ(LabelRef("part"))
	for _, label := range []string{"whole", "part"} {
		g.Label(label)
		g.MOVQ(at(offs, 0), off)
		g.VPMASKMOVD(indexed(src, off, 4, 0), mask, y)
		if label == "whole" {
			g.VMOVDQU(y, at(dst, 0))
		} else {
			g.VPMASKMOVD(y, mask, at(dst, 0))
		}
		g.ADDQ(Imm(8), offs)
		g.ADDQ(ldd, dst)
		g.DECQ(k)
		g.JNZ(LabelRef(label))
		g.VZEROUPPER()
		g.RET()
	}
}

// laneMask makes a YMM mask of the first min(n, 8) lanes; n is positive and not changed.
func (g *gen) laneMask(n reg.GPVirtual) reg.VecVirtual {
	count, table := g.GP64(), g.GP64()
	g.MOVQ(U32(8), count)
	g.CMPQ(n, count)
	g.CMOVQLT(n, count)
	g.NEGQ(count)
	g.LEAQ(g.laneMasks(), table)
	mask := g.YMM()
	g.VMOVUPS(indexed(table, count, 4, 64), mask)
	return mask
}

// isaName, lanes and vec let one generator serve both widths.
func isaName(wide bool) string {
	if wide {
		return "AVX512"
	}
	return "AVX2"
}

func lanes(wide bool) int {
	if wide {
		return 16
	}
	return 8
}

func (g *gen) vec(wide bool) reg.VecVirtual {
	if wide {
		return g.ZMM()
	}
	return g.YMM()
}

// maskOf makes a mask of the first n lanes for loadMasked and storeMasked.
func (g *gen) maskOf(wide bool, n reg.GPVirtual) reg.Register {
	if wide {
		bits, count, k := g.GP64(), g.GP64(), g.K()
		g.MOVQ(U32(16), count) // BZHI looks at the low byte alone
		g.CMPQ(n, count)
		g.CMOVQLT(n, count)
		g.MOVQ(I32(-1), bits)
		g.BZHIQ(count, bits, bits)
		g.KMOVW(bits.As32(), k)
		return k
	}
	return g.laneMask(n)
}

func (g *gen) loadMasked(wide bool, m Mem, mask reg.Register, dst reg.VecVirtual) {
	if wide {
		g.VMOVUPS_Z(m, mask, dst)
	} else {
		g.VMASKMOVPS(m, mask, dst)
	}
}

func (g *gen) storeMasked(wide bool, src reg.VecVirtual, mask reg.Register, m Mem) {
	if wide {
		g.VMOVUPS(src, mask, m)
	} else {
		g.VMASKMOVPS(src, mask, m)
	}
}

func epilogue(g *gen, wide bool) {
	g.function("epilogue"+isaName(wide), "func(rows, n int, y *float32, ldy int, bias *float32, lo, hi float32)",
		"the end of a convolution tile",
		"",
		"\ty[i*ldy+j] = min(max(y[i*ldy+j]+bias[i], lo), hi)   for i < rows, j < n",
		"",
		"NaN stays NaN.")
	rows, n, y, ldy, bias := g.arg("rows"), g.arg("n"), g.arg("y"), g.arg("ldy"), g.arg("bias")
	g.SHLQ(Imm(2), ldy)
	lo, hi, b, x := g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)
	g.VBROADCASTSS(g.argAddr("lo"), lo)
	g.VBROADCASTSS(g.argAddr("hi"), hi)
	at0, left := g.GP64(), g.GP64()
	step := lanes(wide)
	clip := func() {
		g.VADDPS(b, x, x)
		g.VMAXPS(x, lo, x)
		g.VMINPS(x, hi, x)
	}
	g.Label("row")
	g.VBROADCASTSS(at(bias, 0), b)
	g.MOVQ(y, at0)
	g.MOVQ(n, left)
	g.Label("whole")
	g.CMPQ(left, Imm(uint64(step)))
	g.JLT(LabelRef("part"))
	g.VMOVUPS(at(at0, 0), x)
	clip()
	g.VMOVUPS(x, at(at0, 0))
	g.ADDQ(Imm(uint64(4*step)), at0)
	g.SUBQ(Imm(uint64(step)), left)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	g.TESTQ(left, left)
	g.JZ(LabelRef("next"))
	mask := g.maskOf(wide, left)
	g.loadMasked(wide, at(at0, 0), mask, x)
	clip()
	g.storeMasked(wide, x, mask, at(at0, 0))
	g.Label("next")
	g.ADDQ(ldy, y)
	g.ADDQ(Imm(4), bias)
	g.DECQ(rows)
	g.JNZ(LabelRef("row"))
	g.VZEROUPPER()
	g.RET()
}

// taps goes down the rows of a strip of one vector's width, four rows at a time so that the
// multiply-adds overlap.
func taps(g *gen, wide bool) {
	g.function("taps"+isaName(wide), "func(rows, n int, src *float32, lds, nt int, offs *int, w *float32, bias, lo, hi float32, dst *float32, ldd int)",
		"a depthwise convolution of rows x n outputs",
		"",
		"\tdst[i*ldd+j] = min(max(bias + sum over t<nt of w[t]*src[i*lds+offs[t]+j], lo), hi)",
		"",
		"for nt >= 1; the sum runs in order of t with fused multiply-adds.")
	rows, n, src, lds, nt, offs, w, dst, ldd := g.arg("rows"), g.arg("n"), g.arg("src"), g.arg("lds"), g.arg("nt"), g.arg("offs"), g.arg("w"), g.arg("dst"), g.arg("ldd")
	g.SHLQ(Imm(2), lds)
	g.SHLQ(Imm(2), ldd)
	acc := []reg.VecVirtual{g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)}
	weight, x := g.vec(wide), g.vec(wide)
	lo, hi := g.vec(wide), g.vec(wide)
	g.VBROADCASTSS(g.argAddr("lo"), lo)
	g.VBROADCASTSS(g.argAddr("hi"), hi)
	left, from, to, t, p := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.Label("strip")
	mask := g.maskOf(wide, n)
	g.MOVQ(rows, left)
	g.MOVQ(src, from)
	g.MOVQ(dst, to)
	for _, count := range []int{4, 1} {
		rowsLabel, tapLabel := name("rows%d", count), name("tap%d", count)
		next := "rows1"
		if count == 1 {
			next = "advance"
		}
		g.Label(rowsLabel)
		g.CMPQ(left, Imm(uint64(count)))
		g.JLT(LabelRef(next))
		for i := range count {
			g.VBROADCASTSS(g.argAddr("bias"), acc[i])
		}
		g.XORQ(t, t)
		g.Label(tapLabel)
		g.VBROADCASTSS(indexed(w, t, 4, 0), weight)
		g.MOVQ(indexed(offs, t, 8, 0), p)
		g.LEAQ(indexed(from, p, 4, 0), p)
		for i := range count {
			g.loadMasked(wide, at(p, 0), mask, x)
			g.VFMADD231PS(x, weight, acc[i])
			if i < count-1 {
				g.ADDQ(lds, p)
			}
		}
		g.INCQ(t)
		g.CMPQ(t, nt)
		g.JLT(LabelRef(tapLabel))
		for i := range count {
			g.VMAXPS(acc[i], lo, acc[i])
			g.VMINPS(acc[i], hi, acc[i])
			g.storeMasked(wide, acc[i], mask, at(to, 0))
			g.ADDQ(ldd, to)
			g.ADDQ(lds, from)
		}
		g.SUBQ(Imm(uint64(count)), left)
		g.JMP(LabelRef(rowsLabel))
	}
	g.Label("advance")
	g.ADDQ(Imm(uint64(4*lanes(wide))), src)
	g.ADDQ(Imm(uint64(4*lanes(wide))), dst)
	g.SUBQ(Imm(uint64(lanes(wide))), n)
	g.JG(LabelRef("strip"))
	g.VZEROUPPER()
	g.RET()
}
