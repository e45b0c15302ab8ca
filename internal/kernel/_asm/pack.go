package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func pack(g *gen) {
	transpose8(g)
	sumBytes(g)
	widenBytes(g)
	prefetchRows(g)
	interleave4(g)
	everyOther(g)
	for _, bits := range []int{8, 4} {
		packBlocks(g, bits, true, true)
		packBlocks(g, bits, true, false)
		packBlocks(g, bits, false, false)
	}
	transpose4(g)
	interleave2(g)
	for _, wide := range []bool{true, false} {
		copyPanels(g, wide)
	}
	copyColumns(g)
}

// transpose8 transposes 8 x 8 blocks. Rows r and r+4 share a register from the load on, so that no
// shuffle has to cross the 128-bit halves.
func transpose8(g *gen) {
	g.function("transpose8x32AVX2", "func(blocks int, src *byte, lds int, dst *uint32, ldd int, flip uint32)",
		"the transpose of 8 rows of 8*blocks words",
		"",
		"\tdst[j*ldd+i] = (word j of the row lds*i bytes after src) ^ flip   for i < 8, j < 8*blocks",
		"",
		"in increasing order of j, so that rows of dst may overlap.")
	blocks, src, lds, dst, ldd := g.arg("blocks"), g.arg("src"), g.arg("lds"), g.arg("dst"), g.arg("ldd")
	g.SHLQ(Imm(2), ldd)
	flip := g.YMM()
	g.VBROADCASTSS(g.argAddr("flip"), flip)
	first := g.rowsAt(src, lds, 4)
	last := first
	last.base = g.GP64()
	g.Label("block")
	g.LEAQ(indexed(src, lds, 4, 0), last.base)
	for half := range 2 { // columns 0-3, 4-7
		var in [4]reg.VecVirtual
		for r := range in {
			in[r] = g.YMM()
			g.VMOVUPS(first.at(r, 16*half), in[r].AsX())
			g.VINSERTF128(Imm(1), last.at(r, 16*half), in[r], in[r])
			g.VPXOR(flip, in[r], in[r])
		}
		ab, cd, ef, gh := g.YMM(), g.YMM(), g.YMM(), g.YMM()
		g.VUNPCKLPS(in[1], in[0], ab) // r0c0 r1c0 r0c1 r1c1
		g.VUNPCKLPS(in[3], in[2], cd)
		g.VUNPCKHPS(in[1], in[0], ef) // r0c2 r1c2 r0c3 r1c3
		g.VUNPCKHPS(in[3], in[2], gh)
		for c, pair := range [4][2]reg.VecVirtual{{ab, cd}, {ab, cd}, {ef, gh}, {ef, gh}} {
			y := g.YMM()
			if c%2 == 0 {
				g.VUNPCKLPD(pair[1], pair[0], y)
			} else {
				g.VUNPCKHPD(pair[1], pair[0], y)
			}
			g.VMOVUPS(y, at(dst, 0))
			g.ADDQ(ldd, dst)
		}
	}
	g.ADDQ(Imm(32), src)
	g.DECQ(blocks)
	g.JNZ(LabelRef("block"))
	g.VZEROUPPER()
	g.RET()
}

// packBlocks packs a strip, 16 rows, of blocks of 32 columns as files have them: a scale of two bytes, then codes of 8 bits, or of 4 bits with
// those of the last 16 columns in the high halves. Rows r, r+4 and so on share a register, as in transpose8.
func packBlocks(g *gen, bits int, wide, stream bool) {
	doc := []string{"what packBlocksGeneric does for a strip: dst is its first block, scale the scales of that, and those of the next are ldd bytes further.",
		"What is ahead bytes after a row is brought near."}
	kind := ""
	if stream {
		kind = "Stream"
		doc = append(doc, "dst, a multiple of 64 as ldd is, is written past the caches.")
	}
	g.function(name("packBlocks%d%s%s", bits, kind, isaName(wide)), "func(blocks int, src *byte, lds, ahead int, scale, dst *byte, ldd int)", doc...)
	blocks, src, lds := g.arg("blocks"), g.arg("src"), g.arg("lds")
	scale, dst, ldd := g.arg("scale"), g.arg("dst"), g.arg("ldd")
	rows := g.rowsAt(g.GP64(), lds, 4)
	four, ahead, half := g.GP64(), g.arg("ahead"), g.GP32()
	g.LEAQ(indexed(lds, rows.three, 1, 0), four)
	mask := g.vec(wide)
	flip := uint32(0x80808080)
	if bits == 4 {
		flip = 0x0f0f0f0f
	}
	g.VBROADCASTSS(g.word(flip), mask)
	size := 2 + 4*bits
	groups := 16 / lanes(wide) // vectors that hold a word of all rows
	store := func(v reg.VecVirtual, m Mem) {
		if stream {
			g.VMOVNTPS(v, m)
		} else {
			g.VMOVUPS(v, m)
		}
	}
	in := make([][4]reg.VecVirtual, bits/4)
	for i := range in {
		for r := range 4 {
			in[i][r] = g.vec(wide)
		}
	}
	line := g.GP64()
	g.Label("block")
	g.MOVQ(src, rows.base)
	for group := range groups {
		for quad := range lanes(wide) / 4 {
			for r := range 4 {
				g.MOVWLZX(rows.at(r, 0), half)
				g.LEAQ(rows.at(r, 0), line)
				g.PREFETCHT1(indexed(line, ahead, 1, 0))
				g.MOVW(half.As16(), at(scale, 2*(lanes(wide)*group+4*quad+r)))
				for i := range in {
					switch m := rows.at(r, 2+16*i); {
					case quad == 0:
						g.VMOVUPS(m, in[i][r].AsX())
					case wide:
						g.VINSERTI32X4(Imm(uint64(quad)), m, in[i][r], in[i][r])
					default:
						g.VINSERTI128(Imm(1), m, in[i][r], in[i][r])
					}
				}
			}
			g.ADDQ(four, rows.base)
		}
		for i := range in {
			g.packWords(bits, wide, in[i], mask, func(line int, v reg.VecVirtual) { store(v, at(dst, 64*(4*i+line)+4*lanes(wide)*group)) })
		}
	}
	g.ADDQ(Imm(uint64(size)), src)
	g.ADDQ(ldd, dst)
	g.ADDQ(ldd, scale)
	g.DECQ(blocks)
	g.JNZ(LabelRef("block"))
	if stream {
		g.SFENCE()
	}
	g.VZEROUPPER()
	g.RET()
}

// packWords stores the lines of four words of the rows in.
func (g *gen) packWords(bits int, wide bool, in [4]reg.VecVirtual, mask reg.VecVirtual, store func(line int, v reg.VecVirtual)) {
	if bits == 8 {
		for _, v := range in {
			g.VXORPS(mask, v, v)
		}
	}
	ab, cd, ef, gh := g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)
	g.VUNPCKLPS(in[1], in[0], ab)
	g.VUNPCKLPS(in[3], in[2], cd)
	g.VUNPCKHPS(in[1], in[0], ef)
	g.VUNPCKHPS(in[3], in[2], gh)
	var words [4]reg.VecVirtual
	for c, pair := range [4][2]reg.VecVirtual{{ab, cd}, {ab, cd}, {ef, gh}, {ef, gh}} {
		words[c] = g.vec(wide)
		if c%2 == 0 {
			g.VUNPCKLPD(pair[1], pair[0], words[c])
		} else {
			g.VUNPCKHPD(pair[1], pair[0], words[c])
		}
		if bits == 8 {
			store(c, words[c])
		}
	}
	if bits == 8 {
		return
	}
	for c := 0; c < 4; c += 2 {
		t, low, high := g.vec(wide), g.vec(wide), g.vec(wide)
		g.VANDPS(mask, words[c+1], t)
		g.VPSLLD(Imm(4), t, t)
		g.VANDPS(mask, words[c], low)
		g.VORPS(t, low, low)
		store(c/2, low)
		g.VPSRLD(Imm(4), words[c], t)
		g.VANDPS(mask, t, t)
		g.VANDNPS(words[c+1], mask, high)
		g.VORPS(t, high, high)
		store(2+c/2, high)
	}
}

func sumBytes(g *gen) {
	g.function("sumBytesAVX2", "func(n32 int, src *byte, flip uint32) int64",
		"the sum of 32*n32 unsigned bytes, each with the bits of flip inverted first.")
	n, src := g.arg("n32"), g.arg("src")
	flip, zero, sum, y := g.YMM(), g.YMM(), g.YMM(), g.YMM()
	g.VBROADCASTSS(g.argAddr("flip"), flip)
	g.VPXOR(zero, zero, zero)
	g.VPXOR(sum, sum, sum)
	g.Label("loop")
	g.VPXOR(at(src, 0), flip, y)
	g.VPSADBW(zero, y, y)
	g.VPADDQ(y, sum, sum)
	g.ADDQ(Imm(32), src)
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	x := g.XMM()
	g.VEXTRACTI128(Imm(1), sum, x)
	g.VPADDQ(x, sum.AsX(), x)
	g.VPSRLDQ(Imm(8), x, zero.AsX())
	g.VPADDQ(zero.AsX(), x, x)
	ret := g.GP64()
	g.VMOVQ(x, ret)
	g.Store(ret, g.ReturnIndex(0))
	g.VZEROUPPER()
	g.RET()
}

func prefetchRows(g *gen) {
	g.function("prefetchRows", "func(rows, lines int, dst *byte, ldd int)", "nothing: it brings lines of 64 bytes of each row near.")
	rows, lines, dst, ldd := g.arg("rows"), g.arg("lines"), g.arg("dst"), g.arg("ldd")
	p, n := g.GP64(), g.GP64()
	g.Label("row")
	g.MOVQ(dst, p)
	g.MOVQ(lines, n)
	g.Label("line")
	g.PREFETCHT0(at(p, 0))
	g.ADDQ(Imm(64), p)
	g.DECQ(n)
	g.JNZ(LabelRef("line"))
	g.ADDQ(ldd, dst)
	g.DECQ(rows)
	g.JNZ(LabelRef("row"))
	g.RET()
}

func widenBytes(g *gen) {
	for _, signed := range []bool{false, true} {
		suffix := "U"
		if signed {
			suffix = "S"
		}
		g.function("widenBytes"+suffix+"AVX2", "func(n16 int, src *byte, dst *uint16)", "dst[i] = src[i] for i < 16*n16, "+signs[signed]+", in increasing order of i.")
		n, src, dst := g.arg("n16"), g.arg("src"), g.arg("dst")
		y := g.YMM()
		g.Label("loop")
		if signed {
			g.VPMOVSXBW(at(src, 0), y)
		} else {
			g.VPMOVZXBW(at(src, 0), y)
		}
		g.VMOVDQU(y, at(dst, 0))
		g.ADDQ(Imm(16), src)
		g.ADDQ(Imm(32), dst)
		g.DECQ(n)
		g.JNZ(LabelRef("loop"))
		g.VZEROUPPER()
		g.RET()
	}
}

func interleave4(g *gen) {
	g.function("interleave4AVX2", "func(n32 int, r0, r1, r2, r3 *byte, dst *byte, flip uint32)",
		"four rows of 32*n32 bytes woven into one",
		"",
		"\tdst[4*i+t] = rt[i] ^ flip   for i < 32*n32, t < 4")
	n := g.arg("n32")
	rows := [4]reg.GPVirtual{g.arg("r0"), g.arg("r1"), g.arg("r2"), g.arg("r3")}
	dst := g.arg("dst")
	flip := g.YMM()
	g.VBROADCASTSS(g.argAddr("flip"), flip)
	index := g.GP64()
	g.XORQ(index, index)
	g.Label("loop")
	var in [4]reg.VecVirtual
	for r := range in {
		in[r] = g.YMM()
		g.VPXOR(indexed(rows[r], index, 1, 0), flip, in[r])
	}
	lo01, hi01, lo23, hi23 := g.YMM(), g.YMM(), g.YMM(), g.YMM()
	g.VPUNPCKLBW(in[1], in[0], lo01)
	g.VPUNPCKHBW(in[1], in[0], hi01)
	g.VPUNPCKLBW(in[3], in[2], lo23)
	g.VPUNPCKHBW(in[3], in[2], hi23)
	q := [4]reg.VecVirtual{g.YMM(), g.YMM(), g.YMM(), g.YMM()} // bytes 0-3|16-19, 4-7|20-23, ...
	g.VPUNPCKLWD(lo23, lo01, q[0])
	g.VPUNPCKHWD(lo23, lo01, q[1])
	g.VPUNPCKLWD(hi23, hi01, q[2])
	g.VPUNPCKHWD(hi23, hi01, q[3])
	for i, y := range q {
		g.VMOVDQU(y.AsX(), at(dst, 16*i))
		g.VEXTRACTI128(Imm(1), y, at(dst, 64+16*i))
	}
	g.ADDQ(Imm(32), index)
	g.ADDQ(Imm(128), dst)
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}

func everyOther(g *gen) {
	g.function("everyOtherAVX2", "func(n8 int, src, dst *uint32)",
		"dst[i] = src[2*i] for i < 8*n8; src[16*n8-1] is read.")
	n, src, dst := g.arg("n8"), g.arg("src"), g.arg("dst")
	low, high := g.YMM(), g.YMM()
	g.Label("loop")
	g.VMOVUPS(at(src, 0), low)
	g.VMOVUPS(at(src, 32), high)
	g.VSHUFPS(Imm(0b10_00_10_00), high, low, low) // 0 2 8 10 | 4 6 12 14
	g.VPERMQ(Imm(0b11_01_10_00), low, low)
	g.VMOVUPS(low, at(dst, 0))
	g.ADDQ(Imm(64), src)
	g.ADDQ(Imm(32), dst)
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}

// transpose4 transposes 4 x 4 blocks of 64-bit words.
func transpose4(g *gen) {
	g.function("transpose4x64AVX2", "func(blocks int, src *uint64, lds int, dst *uint64, ldd int)",
		"the transpose of 4 rows of 4*blocks words",
		"",
		"\tdst[j*ldd+i] = src[i*lds+j]   for i < 4, j < 4*blocks",
		"",
		"in increasing order of j, so that rows of dst may overlap.")
	blocks, src, lds, dst, ldd := g.arg("blocks"), g.arg("src"), g.arg("lds"), g.arg("dst"), g.arg("ldd")
	g.SHLQ(Imm(3), lds)
	g.SHLQ(Imm(3), ldd)
	three := g.GP64()
	g.LEAQ(indexed(lds, lds, 2, 0), three)
	g.Label("block")
	low := func(half int) (lo, hi reg.VecVirtual) { // columns 2*half, 2*half+1 as rows 0 2 | 1 3 by pairs
		a, b := g.YMM(), g.YMM()
		g.VMOVUPS(at(src, 16*half), a.AsX())
		g.VINSERTF128(Imm(1), indexed(src, lds, 2, 16*half), a, a) // r0 | r2
		g.VMOVUPS(indexed(src, lds, 1, 16*half), b.AsX())
		g.VINSERTF128(Imm(1), indexed(src, three, 1, 16*half), b, b) // r1 | r3
		lo, hi = g.YMM(), g.YMM()
		g.VUNPCKLPD(b, a, lo)
		g.VUNPCKHPD(b, a, hi)
		return lo, hi
	}
	for half := range 2 {
		lo, hi := low(half)
		for _, y := range []reg.VecVirtual{lo, hi} {
			g.VMOVUPS(y, at(dst, 0))
			g.ADDQ(ldd, dst)
		}
	}
	g.ADDQ(Imm(32), src)
	g.DECQ(blocks)
	g.JNZ(LabelRef("block"))
	g.VZEROUPPER()
	g.RET()
}

// interleave2 weaves two rows of 16-bit elements.
func interleave2(g *gen) {
	g.function("interleave2AVX2", "func(n16 int, r0, r1 *uint16, dst *uint32)",
		"two rows of 16*n16 elements woven into one",
		"",
		"\tdst[i] = r0[i] | r1[i]<<16   for i < 16*n16")
	n, r0, r1, dst := g.arg("n16"), g.arg("r0"), g.arg("r1"), g.arg("dst")
	a, b, lo, hi := g.YMM(), g.YMM(), g.YMM(), g.YMM()
	g.Label("loop")
	g.VMOVUPS(at(r0, 0), a)
	g.VMOVUPS(at(r1, 0), b)
	g.VPUNPCKLWD(b, a, lo)
	g.VPUNPCKHWD(b, a, hi)
	g.VMOVDQU(lo.AsX(), at(dst, 0))
	g.VMOVDQU(hi.AsX(), at(dst, 16))
	g.VEXTRACTI128(Imm(1), lo, at(dst, 32))
	g.VEXTRACTI128(Imm(1), hi, at(dst, 48))
	g.ADDQ(Imm(32), r0)
	g.ADDQ(Imm(32), r1)
	g.ADDQ(Imm(64), dst)
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}

// copyPanels is how a right operand that lies in rows is packed: the rows are long pieces of memory, so
// that they are read at the speed of memory, with rows to come prefetched.
func copyPanels(g *gen, wide bool) {
	g.function("copyPanels"+isaName(wide), "func(rows, panels int, src *byte, lds int, dst *byte, ldd int)",
		"the rows of panels of 192 bytes side by side, packed",
		"",
		"\tdst[p*ldd+192*i+t] = src[i*lds+192*p+t]   for i < rows, p < panels, t < 192")
	rows, panels, src, lds, dst, ldd := g.arg("rows"), g.arg("panels"), g.arg("src"), g.arg("lds"), g.arg("dst"), g.arg("ldd")
	from, to, p, ahead := g.GP64(), g.GP64(), g.GP64(), g.GP64()
	size := 4 * lanes(wide)
	var v []reg.VecVirtual
	for range 192 / size {
		v = append(v, g.vec(wide))
	}
	eight := g.GP64()
	g.MOVQ(lds, eight)
	g.SHLQ(Imm(3), eight)
	g.Label("row")
	g.MOVQ(src, from)
	g.MOVQ(dst, to)
	g.MOVQ(panels, p)
	g.LEAQ(indexed(src, eight, 1, 0), ahead)
	g.Label("panel")
	for line := range 3 {
		g.PREFETCHT0(at(ahead, 64*line))
	}
	for i := range v {
		g.VMOVUPS(at(from, size*i), v[i])
	}
	for i := range v {
		g.VMOVUPS(v[i], at(to, size*i))
	}
	g.ADDQ(U32(192), from)
	g.ADDQ(U32(192), ahead)
	g.ADDQ(ldd, to)
	g.DECQ(p)
	g.JNZ(LabelRef("panel"))
	g.ADDQ(lds, src)
	g.ADDQ(U32(192), dst)
	g.DECQ(rows)
	g.JNZ(LabelRef("row"))
	g.VZEROUPPER()
	g.RET()
}

// copyColumns is how a left operand that lies in columns is packed: panels side by side, so that the rows of the matrix are
// read by whole lines.
func copyColumns(g *gen) {
	g.function("copyColumnsAVX2", "func(rows, panels int, src *byte, lds int, dst *byte, ldd, width int)",
		"the rows of panels of 32 or 64 bytes side by side, packed",
		"",
		"\tdst[p*ldd+width*i+t] = src[i*lds+width*p+t]   for i < rows, p < panels, t < width, with width 32 or 64")
	rows, panels, src, lds, dst, ldd, width := g.arg("rows"), g.arg("panels"), g.arg("src"), g.arg("lds"), g.arg("dst"), g.arg("ldd"), g.arg("width")
	from, to, p, ahead, far := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	a, b := g.YMM(), g.YMM()
	g.MOVQ(lds, far)
	g.SHLQ(Imm(4), far)
	g.Label("row")
	g.MOVQ(src, from)
	g.MOVQ(dst, to)
	g.MOVQ(panels, p)
	g.LEAQ(indexed(src, far, 1, 0), ahead)
	g.CMPQ(width, Imm(64))
	g.JE(LabelRef("two"))
	for _, label := range []string{"one", "two"} {
		g.Label(label)
		g.PREFETCHT0(at(ahead, 0))
		g.VMOVUPS(at(from, 0), a)
		if label == "two" {
			g.VMOVUPS(at(from, 32), b)
			g.VMOVUPS(b, at(to, 32))
		}
		g.VMOVUPS(a, at(to, 0))
		g.ADDQ(width, from)
		g.ADDQ(width, ahead)
		g.ADDQ(ldd, to)
		g.DECQ(p)
		g.JNZ(LabelRef(label))
		if label == "one" {
			g.JMP(LabelRef("next"))
		}
	}
	g.Label("next")
	g.ADDQ(lds, src)
	g.ADDQ(width, dst)
	g.DECQ(rows)
	g.JNZ(LabelRef("row"))
	g.VZEROUPPER()
	g.RET()
}
