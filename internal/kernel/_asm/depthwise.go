package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func depthwise(g *gen) {
	for _, wide := range []bool{true, false} {
		tapsInt8(g, wide)
		tapsF32(g, wide)
	}
	depthwiseBlock(g)
	depthwiseSlide(g, 1)
	depthwiseSlide(g, 2)
}

// tapsInt8 widens bytes to words, whose upper halves are zero, so that VPMADDWD multiplies them exactly by weights
// of nine bits. It takes four positions at a time, for which a weight is read once, and what is left one by one.
func tapsInt8(g *gen, wide bool) {
	doc := "for j < n <= 48; w is read in whole vectors."
	if !wide {
		doc = "for j < n <= 48, n a multiple of 8."
	}
	g.function("tapsInt8"+isaName(wide), "func(rows, n int, src *byte, step, nt int, offs *int, w *int32, ldw int, c *int32)",
		"sums of taps of channels, stored 48 apart", "",
		"\tc[i*48+j] = sum over t<nt of src[i*step+offs[t]+j]*w[t*ldw+j]", "", doc)
	n, src, step, offs, w, ldw, c := g.arg("n"), g.arg("src"), g.arg("step"), g.arg("offs"), g.arg("w"), g.arg("ldw"), g.arg("c")
	g.SHLQ(Imm(2), ldw)
	count := lanes(wide)
	weight, x := g.vec(wide), []reg.VecVirtual{g.vec(wide), g.vec(wide)}
	acc := []reg.VecVirtual{g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)}
	left, from, to, t, at0, tap, three := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(indexed(step, step, 2, 0), three)
	g.Label("strip")
	var mask reg.Register
	if wide {
		mask = g.maskOf(true, n)
	}
	g.Load(g.Param("rows"), left)
	g.MOVQ(src, from)
	g.MOVQ(c, to)
	for _, many := range []int{4, 1} {
		rows, taps, rest := fmt.Sprintf("rows%d", many), fmt.Sprintf("taps%d", many), fmt.Sprintf("rest%d", many)
		g.Label(rows)
		g.CMPQ(left, Imm(uint64(many)))
		g.JLT(LabelRef(rest))
		for _, y := range acc[:many] {
			if wide {
				g.VPXORD(y, y, y)
			} else {
				g.VPXOR(y, y, y)
			}
		}
		g.MOVQ(w, tap)
		g.XORQ(t, t)
		g.Label(taps)
		g.MOVQ(indexed(offs, t, 8, 0), at0)
		g.ADDQ(from, at0)
		g.VMOVUPS(at(tap, 0), weight)
		for i, y := range acc[:many] {
			m := []Mem{at(at0, 0), indexed(at0, step, 1, 0), indexed(at0, step, 2, 0), indexed(at0, three, 1, 0)}[i]
			v := x[i%2]
			if wide {
				g.VPMOVZXBD_Z(m, mask, v)
			} else {
				g.VPMOVZXBD(m, v)
			}
			g.VPMADDWD(weight, v, v)
			g.VPADDD(v, y, y)
		}
		g.ADDQ(ldw, tap)
		g.INCQ(t)
		g.CMPQ(t, g.argAddr("nt"))
		g.JLT(LabelRef(taps))
		for i, y := range acc[:many] {
			g.VMOVUPS(y, at(to, 192*i))
		}
		g.ADDQ(U32(uint32(192*many)), to)
		for range many {
			g.ADDQ(step, from)
		}
		g.SUBQ(Imm(uint64(many)), left)
		g.JMP(LabelRef(rows))
		g.Label(rest)
	}
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

// depthwiseSlide goes along a row of the image: the bytes of a column of up to three pixels are woven once and used for each of the
// three outputs that the column takes part in.
func depthwiseSlide(g *gen, stride int) {
	g.function(name("depthwiseSlide%dAVX512VNNI", stride), "func(count, n int, src *byte, pixel, row1, row2 int, w *byte, start *int32, scale *float32, end *int32, dst *byte, ldd int)",
		"count positions of a row of a depthwise convolution of up to 3x3 taps and 64 channels", "",
		fmt.Sprintf("\ts = start[j] + sum over x<3, y<3 of src[(%d*i+x)*pixel+row[y]+j]*w[x][y][j]", stride),
		"\tdst[i*ldd+j] = min(max(sat(rne(float32(s)*scale[j]) + zero), loByte), hiByte) ^ flip", "",
		"for j < n, row[0] = 0, with the rest of end as codesEnd says. w, start and scale lie in the order of blockLane, four bytes of taps together, the last 0.")
	count, n, src, pixel, row1, row2, w, dst, ldd := g.arg("count"), g.arg("n"), g.arg("src"), g.arg("pixel"), g.arg("row1"), g.arg("row2"), g.arg("w"), g.arg("dst"), g.arg("ldd")
	start, scale, end := g.arg("start"), g.arg("scale"), g.arg("end")
	bits, mask := g.GP64(), g.K()
	g.MOVQ(I32(-1), bits)
	g.BZHIQ(n, bits, bits)
	g.KMOVQ(bits, mask)
	none, zero, lowest, highest := g.ZMM(), g.ZMM(), g.ZMM(), g.ZMM()
	g.VPXORD(none, none, none)
	g.VPBROADCASTD(at(end, endZeroWords), zero)
	g.VPBROADCASTD(at(end, endLoBytes), lowest)
	g.VPBROADCASTD(at(end, endHiBytes), highest)
	type vecs [4]reg.VecVirtual
	zmms := func() (v vecs) {
		for i := range v {
			v[i] = g.ZMM()
		}
		return v
	}
	first := zmms()
	for v := range first {
		g.VMOVDQU8(at(w, 64*v), first[v])
	}
	// column weaves the next column and adds it to outputs with the weights of taps.
	column := func(use func(v int, q reg.VecVirtual)) {
		a, b, c := g.ZMM(), g.ZMM(), g.ZMM()
		g.VMOVDQU8_Z(at(src, 0), mask, a)
		g.VMOVDQU8_Z(indexed(src, row1, 1, 0), mask, b)
		g.VMOVDQU8_Z(indexed(src, row2, 1, 0), mask, c)
		g.ADDQ(pixel, src)
		lo01, hi01, lo2, hi2 := g.ZMM(), g.ZMM(), g.ZMM(), g.ZMM()
		g.VPUNPCKLBW(b, a, lo01)
		g.VPUNPCKHBW(b, a, hi01)
		g.VPUNPCKLBW(none, c, lo2)
		g.VPUNPCKHBW(none, c, hi2)
		for v, pair := range [4][2]reg.VecVirtual{{lo01, lo2}, {lo01, lo2}, {hi01, hi2}, {hi01, hi2}} {
			q := g.ZMM()
			if v%2 == 0 {
				g.VPUNPCKLWD(pair[1], pair[0], q)
			} else {
				g.VPUNPCKHWD(pair[1], pair[0], q)
			}
			use(v, q)
		}
	}
	begin := func(acc vecs, v int, q reg.VecVirtual) {
		g.VMOVDQU32(at(start, 64*v), acc[v])
		g.VPDPBUSD(first[v], q, acc[v])
	}
	tap := func(x int, acc vecs, v int, q reg.VecVirtual) { g.VPDPBUSD(at(w, 256*x+64*v), q, acc[v]) }
	finish := func(acc vecs) {
		for v, x := range acc {
			g.VCVTDQ2PS(x, x)
			g.VMULPS(at(scale, 64*v), x, x)
			g.VCVTPS2DQ(x, x)
		}
		g.VPACKSSDW(acc[1], acc[0], acc[0])
		g.VPACKSSDW(acc[3], acc[2], acc[2])
		g.VPADDSW(zero, acc[0], acc[0])
		g.VPADDSW(zero, acc[2], acc[2])
		g.VPACKUSWB(acc[2], acc[0], acc[0])
		g.VPMAXUB(lowest, acc[0], acc[0])
		g.VPMINUB(highest, acc[0], acc[0])
		g.VPXORD_BCST(at(end, endFlip), acc[0], acc[0])
		g.VMOVDQU8(acc[0], mask, at(dst, 0))
		g.ADDQ(ldd, dst)
		g.DECQ(count)
		g.JZ(LabelRef("done"))
	}
	if stride == 1 {
		acc := [3]vecs{zmms(), zmms(), zmms()}
		column(func(v int, q reg.VecVirtual) { begin(acc[0], v, q) })
		column(func(v int, q reg.VecVirtual) { begin(acc[1], v, q); tap(1, acc[0], v, q) })
		g.Label("column")
		for i := range 3 {
			column(func(v int, q reg.VecVirtual) {
				begin(acc[(i+2)%3], v, q)
				tap(1, acc[(i+1)%3], v, q)
				tap(2, acc[i], v, q)
			})
			finish(acc[i])
		}
	} else {
		acc := [2]vecs{zmms(), zmms()}
		column(func(v int, q reg.VecVirtual) { begin(acc[0], v, q) })
		g.Label("column")
		for i := range 2 {
			column(func(v int, q reg.VecVirtual) { tap(1, acc[i], v, q) })
			column(func(v int, q reg.VecVirtual) {
				begin(acc[1-i], v, q)
				tap(2, acc[i], v, q)
			})
			finish(acc[i])
		}
	}
	g.JMP(LabelRef("column"))
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}
