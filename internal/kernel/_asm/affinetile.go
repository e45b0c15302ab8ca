package main

import (
	"slices"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// affineTokens is the rows of activations that tiles take together.
const affineTokens = 4

// tile is the product of strips of unpacked codes with a few rows of activations, added to a block of float32.
func (a *affineGen) tile(strips int) {
	const tokens = affineTokens
	n := strips
	a.function(name("tileAffine%dx%dx%d%s", tokens, strips, a.block, a.isa.name()),
		"func(blocks int, w *byte, ldw, ldw2, step int, scale, min *float32, x *byte, ldx int, info *byte, ldi int, c *float32)",
		name("the product of %d strips of unpacked codes with %d rows of activations, added to c, whose rows lie 48 apart", strips, tokens),
		"",
		name("\tc[t*48+r] += sum over b<blocks of scale[b*%d+r]*i.scale*(i.start + codes*x) + min[b*%d+r]*i.sum", 16*strips, 16*strips),
		"",
		"where i is info[b] of row t. Codes of the second and the third strip lie ldw and ldw2 bytes after those of the first, those of the next block step bytes, rows of activations ldx bytes and those of their infos ldi bytes; min may be nil.")
	blocks, w, step, scale := a.arg("blocks"), a.arg("w"), a.arg("step"), a.arg("scale")
	var others []reg.GPVirtual
	for _, ld := range []string{"ldw", "ldw2"}[:strips-1] {
		others = append(others, a.arg(ld))
	}
	x, ldx, info, ldi, c := a.arg("x"), a.arg("ldx"), a.arg("info"), a.arg("ldi"), a.arg("c")
	a.prepare(true)
	xs, infos := a.rowsAt(x, ldx, affineTokens), a.rowsAt(info, ldi, affineTokens)
	acc, sum := make([][]reg.VecVirtual, tokens), make([][]reg.VecVirtual, tokens)
	for t := range tokens {
		for i := range n {
			acc[t], sum[t] = append(acc[t], a.reg()), append(sum[t], a.reg())
			a.VMOVUPS(at(c, 192*t+a.size()*i), sum[t][i])
		}
	}
	wv := []reg.VecVirtual{a.w}
	for len(wv) < n {
		wv = append(wv, a.reg())
	}
	xv := a.reg()
	left, moved := a.GP64(), a.GP64()
	a.MOVQ(blocks, left)
	a.Label("block")
	for t := range tokens {
		for i := range n {
			if i > 0 {
				a.VMOVDQA32(acc[t][0], acc[t][i])
			} else {
				a.VPBROADCASTD(infos.at(t, blockStart), acc[t][i])
			}
		}
	}
	for quad := range a.steps() {
		for i := range n {
			if i == 0 {
				a.load(at(w, 64*quad), wv[i])
			} else {
				a.load(indexed(w, others[i-1], 1, 64*quad), wv[i])
			}
		}
		for t := range tokens {
			a.VPBROADCASTD(xs.at(t, 4*quad), xv)
			for i := range n {
				a.dot(wv[i], xv, acc[t][i])
			}
		}
	}
	for i := range n {
		a.VMOVUPS(at(scale, a.size()*i), wv[i])
	}
	for t := range tokens {
		a.VBROADCASTSS(infos.at(t, blockScale), xv)
		for i := range n {
			a.VCVTDQ2PS(acc[t][i], acc[t][i])
			a.VMULPS(xv, acc[t][i], acc[t][i])
			a.VFMADD231PS(wv[i], acc[t][i], sum[t][i])
		}
	}
	a.ADDQ(step, w)
	a.ADDQ(U32(uint32(64*strips)), scale)
	a.ADDQ(Imm(uint64(a.block)), x)
	a.ADDQ(Imm(blockInfoSize), info)
	a.DECQ(left)
	a.JNZ(LabelRef("block"))
	min := a.arg("min")
	a.TESTQ(min, min)
	a.JZ(LabelRef("store"))
	a.MOVQ(blocks, moved)
	a.SHLQ(Imm(4), moved)
	a.SUBQ(moved, info)
	a.Label("mins")
	for i := range n {
		a.VMOVUPS(at(min, a.size()*i), wv[i])
	}
	for t := range tokens {
		a.VBROADCASTSS(infos.at(t, blockSum), xv)
		for i := range n {
			a.VFMADD231PS(xv, wv[i], sum[t][i])
		}
	}
	a.ADDQ(U32(uint32(64*strips)), min)
	a.ADDQ(Imm(blockInfoSize), info)
	a.DECQ(blocks)
	a.JNZ(LabelRef("mins"))
	a.Label("store")
	for t := range tokens {
		for i := range n {
			a.VMOVUPS(sum[t][i], at(c, 192*t+a.size()*i))
		}
	}
	a.VZEROUPPER()
	a.RET()
}

// tileOfStrip is tile for few registers: of one strip, with the sums of floats in memory.
func (a *affineGen) tileOfStrip() {
	const halves = 2
	a.function(name("tileAffine%dx%dx%d%s", a.bits, affineTokens, a.block, a.isa.name()),
		"func(blocks int, w *byte, step int, scale, min *float32, lds int, x *byte, ldx int, info *byte, ldi int, c *float32)",
		name("the product of a strip of unpacked codes, of up to %d bits, with %d rows of activations, added to c, whose rows lie 48 apart", a.bits, affineTokens),
		"",
		"\tc[t*48+r] += sum over b<blocks of scale[r]*i.scale*(i.start + codes*x) + min[r]*i.sum",
		"",
		"where i is info[b] of row t, and x codes of bytes, or for 8 bits without VNNI as wordsOfCodes leaves them. Codes of blocks lie step bytes apart, their scales and mins lds bytes, rows of activations ldx bytes and those of their infos ldi bytes; min may be nil.")
	blocks, w, step, scale, lds := a.arg("blocks"), a.arg("w"), a.arg("step"), a.arg("scale"), a.arg("lds")
	x, ldx, info, ldi, c := a.arg("x"), a.arg("ldx"), a.arg("info"), a.arg("ldi"), a.arg("c")
	xs, infos := a.rowsAt(x, ldx, affineTokens), a.rowsAt(info, ldi, affineTokens)
	sum := func(t, h int) Mem { return at(c, 192*t+32*h) }
	acc := make([][halves]reg.VecVirtual, affineTokens)
	for t := range acc {
		acc[t] = [halves]reg.VecVirtual{a.reg(), a.reg()}
	}
	each := func(f func(t, h int, v reg.VecVirtual)) {
		for t, of := range acc {
			for h, v := range of {
				f(t, h, v)
			}
		}
	}
	wv := [halves]reg.VecVirtual{a.reg(), a.reg()}
	xv, u := a.reg(), a.reg()
	codes := func(quad int, into [halves]reg.VecVirtual) {
		for h, v := range into {
			a.VMOVDQU(at(w, 64*quad+32*h), v)
		}
	}
	ones, low := a.dwords("ones16", repeated(0x00010001)...), a.dwords("low8", repeated(0x00ff00ff)...)
	left := a.GP64()
	a.MOVQ(blocks, left)
	a.Label("block")
	words := a.run() == a.steps() // 16 bits hold the sums of a block
	each(func(t, h int, v reg.VecVirtual) {
		if !words {
			a.VPBROADCASTD(infos.at(t, blockStart), v)
		}
	})
	switch {
	case a.isa != affineAVX2:
		for quad := range a.steps() {
			codes(quad, wv)
			each(func(t, h int, v reg.VecVirtual) {
				if h == 0 {
					a.VPBROADCASTD(xs.at(t, 4*quad), xv)
				}
				a.raw("VPDPBUSDVEX", xv, wv[h], v)
			})
		}
	case a.wordActivations(): // since two products of bytes may be too much for 16 bits
		odd, nextX := [halves]reg.VecVirtual{a.reg(), a.reg()}, a.reg()
		for quad := range a.steps() {
			codes(quad, wv)
			for h, v := range wv {
				a.VPSRLW(Imm(8), v, odd[h])
				a.VPAND(low, v, v)
			}
			each(func(t, h int, v reg.VecVirtual) {
				if h == 0 {
					a.VPBROADCASTD(xs.at(t, 8*quad), xv)
					a.VPBROADCASTD(xs.at(t, 8*quad+4), nextX)
				}
				a.VPMADDWD(xv, wv[h], u)
				a.VPADDD(u, v, v)
				a.VPMADDWD(nextX, odd[h], u)
				a.VPADDD(u, v, v)
			})
		}
	case words:
		for quad := range a.steps() {
			codes(quad, wv)
			each(func(t, h int, v reg.VecVirtual) {
				if h == 0 {
					a.VPBROADCASTD(xs.at(t, 4*quad), xv)
				}
				if quad == 0 {
					a.VPMADDUBSW(xv, wv[h], v)
					return
				}
				a.VPMADDUBSW(xv, wv[h], u)
				a.VPADDW(u, v, v)
			})
		}
		each(func(t, h int, v reg.VecVirtual) {
			if h == 0 {
				a.VPBROADCASTD(infos.at(t, blockStart), xv)
			}
			a.VPMADDWD(ones, v, v)
			a.VPADDD(xv, v, v)
		})
	default: // 16 bits hold the sums of two steps
		nextW, nextX, z := [halves]reg.VecVirtual{a.reg(), a.reg()}, a.reg(), a.reg()
		for quad := 0; quad < a.steps(); quad += 2 {
			codes(quad, wv)
			codes(quad+1, nextW)
			each(func(t, h int, v reg.VecVirtual) {
				if h == 0 {
					a.VPBROADCASTD(xs.at(t, 4*quad), xv)
					a.VPBROADCASTD(xs.at(t, 4*quad+4), nextX)
				}
				a.VPMADDUBSW(xv, wv[h], u)
				a.VPMADDUBSW(nextX, nextW[h], z)
				a.VPADDW(z, u, u)
				a.VPMADDWD(ones, u, u)
				a.VPADDD(u, v, v)
			})
		}
	}
	for h, v := range wv {
		a.VMOVUPS(at(scale, 32*h), v)
	}
	each(func(t, h int, v reg.VecVirtual) {
		if h == 0 {
			a.VBROADCASTSS(infos.at(t, blockScale), xv)
		}
		a.VCVTDQ2PS(v, v)
		a.VMULPS(xv, v, v)
		a.VFMADD213PS(sum(t, h), wv[h], v)
		a.VMOVUPS(v, sum(t, h))
	})
	a.ADDQ(step, w)
	a.ADDQ(lds, scale)
	size := 1
	if a.wordActivations() {
		size = 2
	}
	a.ADDQ(Imm(uint64(size*a.block)), x)
	a.ADDQ(Imm(blockInfoSize), info)
	a.DECQ(left)
	a.JNZ(LabelRef("block"))
	min := a.arg("min")
	a.TESTQ(min, min)
	a.JZ(LabelRef("done"))
	a.MOVQ(blocks, left)
	a.SHLQ(Imm(4), left)
	a.SUBQ(left, info)
	each(func(t, h int, v reg.VecVirtual) { a.VMOVUPS(sum(t, h), v) })
	a.Label("mins")
	for h, v := range wv {
		a.VMOVUPS(at(min, 32*h), v)
	}
	each(func(t, h int, v reg.VecVirtual) {
		if h == 0 {
			a.VBROADCASTSS(infos.at(t, blockSum), xv)
		}
		a.VFMADD231PS(xv, wv[h], v)
	})
	a.ADDQ(lds, min)
	a.ADDQ(Imm(blockInfoSize), info)
	a.DECQ(blocks)
	a.JNZ(LabelRef("mins"))
	each(func(t, h int, v reg.VecVirtual) { a.VMOVUPS(v, sum(t, h)) })
	a.Label("done")
	a.VZEROUPPER()
	a.RET()
}

// wordActivations reports whether tiles take activations as widened by wordsOfCodes.
func (a *affineGen) wordActivations() bool { return a.isa == affineAVX2 && a.wholeBytes() }

// wordsOfCodes widens the codes of activations.
func wordsOfCodes(g *gen) {
	g.function("wordsOfCodesAVX2", "func(n int, words, codes *byte)",
		"codes of activations, n runs of 16, in 16 bits: of each four first those of the even columns, so that a lane has two columns of the same parity.")
	n, words, codes := g.arg("n"), g.arg("words"), g.arg("codes")
	v := g.YMM()
	g.Label("run")
	g.VPMOVSXBW(at(codes, 0), v)
	g.VPSHUFLW(Imm(0xd8), v, v)
	g.VPSHUFHW(Imm(0xd8), v, v)
	g.VMOVDQU(v, at(words, 0))
	g.ADDQ(Imm(16), codes)
	g.ADDQ(Imm(32), words)
	g.DECQ(n)
	g.JNZ(LabelRef("run"))
	g.VZEROUPPER()
	g.RET()
}

// repeated is a word for each lane of a vector of 256 bits.
func repeated(word uint32) []uint32 { return slices.Repeat([]uint32{word}, 8) }
