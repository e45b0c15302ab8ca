package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func depthwise(g *gen) {
	for _, wide := range []bool{true, false} {
		tapsInt8(g, wide)
		tapsF32(g, wide)
	}
	depthwiseBlock(g)
}

// tapsInt8 widens bytes to words, whose upper halves are zero, so that VPMADDWD multiplies them exactly by weights
// of nine bits.
func tapsInt8(g *gen, wide bool) {
	doc := "for j < n <= 48; w is read in whole vectors."
	if !wide {
		doc = "for j < n <= 48, n a multiple of 8."
	}
	g.function("tapsInt8"+isaName(wide), "func(rows, n int, src *byte, step, nt int, offs *int, w *int32, ldw int, c *int32)",
		"sums of taps of channels, stored 48 apart", "",
		"\tc[i*48+j] = sum over t<nt of src[i*step+offs[t]+j]*w[t*ldw+j]", "", doc)
	rows, n, src, step, nt, offs, w, ldw, c := g.arg("rows"), g.arg("n"), g.arg("src"), g.arg("step"), g.arg("nt"), g.arg("offs"), g.arg("w"), g.arg("ldw"), g.arg("c")
	g.SHLQ(Imm(2), ldw)
	count := lanes(wide)
	x, acc := g.vec(wide), g.vec(wide)
	left, from, to, t, off, tap := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.Label("strip")
	var mask reg.Register
	if wide {
		mask = g.maskOf(true, n)
	}
	g.MOVQ(rows, left)
	g.MOVQ(src, from)
	g.MOVQ(c, to)
	g.Label("row")
	if wide {
		g.VPXORD(acc, acc, acc)
	} else {
		g.VPXOR(acc, acc, acc)
	}
	g.MOVQ(w, tap)
	g.XORQ(t, t)
	g.Label("tap")
	g.MOVQ(indexed(offs, t, 8, 0), off)
	if wide {
		g.VPMOVZXBD_Z(indexed(from, off, 1, 0), mask, x)
	} else {
		g.VPMOVZXBD(indexed(from, off, 1, 0), x)
	}
	g.VPMADDWD(at(tap, 0), x, x)
	g.VPADDD(x, acc, acc)
	g.ADDQ(ldw, tap)
	g.INCQ(t)
	g.CMPQ(t, nt)
	g.JLT(LabelRef("tap"))
	g.VMOVUPS(acc, at(to, 0))
	g.ADDQ(step, from)
	g.ADDQ(Imm(192), to)
	g.DECQ(left)
	g.JNZ(LabelRef("row"))
	g.ADDQ(Imm(uint64(count)), src)
	g.ADDQ(Imm(uint64(4*count)), w)
	g.ADDQ(Imm(uint64(4*count)), c)
	g.SUBQ(Imm(uint64(count)), n)
	g.JG(LabelRef("strip"))
	g.VZEROUPPER()
	g.RET()
}

// tapsF32 takes four positions at a time, so that enough sums are under way, and what is left one by one.
func tapsF32(g *gen, wide bool) {
	g.function("tapsF32"+isaName(wide), "func(rows, n int, src *float32, step, nt int, offs, woffs *int, w, start *float32, lo, hi float32, dst *float32, ldd int)",
		"a depthwise convolution of rows positions and n channels", "",
		"\tdst[i*ldd+j] = min(max(start[j] + sum over t<nt of src[i*step+offs[t]+j]*w[woffs[t]+j], lo), hi)", "",
		"for nt >= 1, in order of t with fused multiply-adds; w and start are read in whole vectors.")
	n, src, step, offs, w, woffs, dst, ldd := g.arg("n"), g.arg("src"), g.arg("step"), g.arg("offs"), g.arg("w"), g.arg("woffs"), g.arg("dst"), g.arg("ldd")
	g.SHLQ(Imm(2), step)
	g.SHLQ(Imm(2), ldd)
	lo, hi := g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi")
	left, from, t, tap, to, off, three := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(indexed(step, step, 2, 0), three)
	begin, weight := g.vec(wide), g.vec(wide)
	acc := []reg.VecVirtual{g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)}
	g.Label("strip")
	mask := g.maskOf(wide, n)
	g.Comment("start lies as far from its beginning as src")
	g.Load(g.Param("start"), to)
	g.ADDQ(src, to)
	g.SUBQ(g.argAddr("src"), to)
	g.VMOVUPS(at(to, 0), begin)
	g.Load(g.Param("rows"), left)
	g.MOVQ(src, from)
	g.MOVQ(dst, to)
	for _, many := range []int{4, 1} {
		label, next := name("rows%d", many), "rows1"
		if many == 1 {
			next = "advance"
		}
		g.Label(label)
		g.CMPQ(left, Imm(uint64(many)))
		g.JLT(LabelRef(next))
		for i := range many {
			g.VMOVAPS(begin, acc[i])
		}
		g.XORQ(t, t)
		g.Label(label + "Tap")
		g.MOVQ(indexed(offs, t, 8, 0), off)
		g.LEAQ(indexed(from, off, 4, 0), off)
		g.MOVQ(indexed(woffs, t, 8, 0), tap)
		g.VMOVUPS(indexed(w, tap, 4, 0), weight)
		for i, m := range []Mem{at(off, 0), indexed(off, step, 1, 0), indexed(off, step, 2, 0), indexed(off, three, 1, 0)}[:many] {
			x := g.vec(wide)
			g.loadMasked(wide, m, mask, x)
			g.VFMADD231PS(x, weight, acc[i])
		}
		g.INCQ(t)
		g.CMPQ(t, g.argAddr("nt"))
		g.JLT(LabelRef(label + "Tap"))
		for _, v := range acc[:many] {
			g.VMAXPS(v, lo, v)
			g.VMINPS(v, hi, v)
			g.storeMasked(wide, v, mask, at(to, 0))
			g.ADDQ(ldd, to)
		}
		if many == 4 {
			g.LEAQ(indexed(from, step, 4, 0), from)
		} else {
			g.ADDQ(step, from)
		}
		g.SUBQ(Imm(uint64(many)), left)
		g.JMP(LabelRef(label))
	}
	size := uint64(4 * lanes(wide))
	g.Label("advance")
	g.ADDQ(Imm(size), src)
	g.ADDQ(Imm(size), w)
	g.ADDQ(Imm(size), dst)
	g.SUBQ(Imm(uint64(lanes(wide))), n)
	g.JG(LabelRef("strip"))
	g.VZEROUPPER()
	g.RET()
}

// depthwiseBlock weaves the bytes of four taps so that VPDPBUSD sums them, 64 channels at a time. Weaving works within 128-bit lanes,
// and so does packing the sums to bytes, which brings the channels back in order.
func depthwiseBlock(g *gen) {
	g.function("depthwiseBlockAVX512VNNI", "func(rows, n int, src *byte, step, quads int, offs *int, w *byte, start *int32, scale *float32, lo, hi float32, zp int32, flip uint32, dst *byte, ldd int)",
		"rows positions of a depthwise convolution of up to 64 channels", "",
		"\ts = start[j] + sum over t<4*quads of src[i*step+offs[t]+j]*w[t][j]",
		"\tdst[i*ldd+j] = (rne(min(max(float32(s)*scale[j], lo), hi)) + zp) ^ flip", "",
		"for j < n. w, start and scale lie in the order of blockLane; hi and zp are such that codes before flip are 0 to 255.")
	rows, n, src, step, quads, offs, dst, ldd := g.arg("rows"), g.arg("n"), g.arg("src"), g.arg("step"), g.arg("quads"), g.arg("offs"), g.arg("dst"), g.arg("ldd")
	bits, mask := g.GP64(), g.K()
	g.MOVQ(I32(-1), bits)
	g.BZHIQ(n, bits, bits)
	g.KMOVQ(bits, mask)
	lo, hi, zp, flip := g.broadcastArg(true, "lo"), g.broadcastArg(true, "hi"), g.broadcastArg(true, "zp"), g.broadcastArg(true, "flip")
	var start, scale, acc [4]reg.VecVirtual
	p := g.GP64()
	g.Load(g.Param("start"), p)
	for v := range start {
		start[v], acc[v] = g.ZMM(), g.ZMM()
		g.VMOVDQU32(at(p, 64*v), start[v])
	}
	g.Load(g.Param("scale"), p)
	for v := range scale {
		scale[v] = g.ZMM()
		g.VMOVUPS(at(p, 64*v), scale[v])
	}
	w, left, off, list := g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.Label("row")
	for v := range acc {
		g.VMOVDQA64(start[v], acc[v])
	}
	g.Load(g.Param("w"), w)
	g.MOVQ(quads, left)
	g.MOVQ(offs, list)
	g.Label("quad")
	var in [4]reg.VecVirtual
	for t := range in {
		in[t] = g.ZMM()
		g.MOVQ(at(list, 8*t), off)
		g.VMOVDQU8_Z(indexed(src, off, 1, 0), mask, in[t])
	}
	lo01, hi01, lo23, hi23 := g.ZMM(), g.ZMM(), g.ZMM(), g.ZMM()
	g.VPUNPCKLBW(in[1], in[0], lo01)
	g.VPUNPCKHBW(in[1], in[0], hi01)
	g.VPUNPCKLBW(in[3], in[2], lo23)
	g.VPUNPCKHBW(in[3], in[2], hi23)
	for v, pair := range [4][2]reg.VecVirtual{{lo01, lo23}, {lo01, lo23}, {hi01, hi23}, {hi01, hi23}} {
		q := g.ZMM()
		if v%2 == 0 {
			g.VPUNPCKLWD(pair[1], pair[0], q)
		} else {
			g.VPUNPCKHWD(pair[1], pair[0], q)
		}
		g.VPDPBUSD(at(w, 64*v), q, acc[v])
	}
	g.ADDQ(U32(256), w)
	g.ADDQ(Imm(32), list)
	g.DECQ(left)
	g.JNZ(LabelRef("quad"))
	for v := range acc {
		g.VCVTDQ2PS(acc[v], acc[v])
		g.VMULPS(scale[v], acc[v], acc[v])
		g.VMAXPS(lo, acc[v], acc[v]) // of a NaN and lo, lo
		g.VMINPS(hi, acc[v], acc[v])
		g.VCVTPS2DQ(acc[v], acc[v])
		g.VPADDD(zp, acc[v], acc[v])
	}
	g.VPACKSSDW(acc[1], acc[0], acc[0])
	g.VPACKSSDW(acc[3], acc[2], acc[2])
	g.VPACKUSWB(acc[2], acc[0], acc[0])
	g.VPXORD(flip, acc[0], acc[0])
	g.VMOVDQU8(acc[0], mask, at(dst, 0))
	g.ADDQ(step, src)
	g.ADDQ(ldd, dst)
	g.DECQ(rows)
	g.JNZ(LabelRef("row"))
	g.VZEROUPPER()
	g.RET()
}
