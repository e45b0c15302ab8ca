package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Products with matrices of codes in groups (see PackedAffine). A strip is 16 rows of the matrix; one 32-bit lane belongs to one row
// and holds four consecutive columns, so that nothing is added across lanes. Codes are the unsigned operand of the dot products,
// the quantized activations, shared by all rows, the signed one.

// affineISA is an instruction set with its form of the byte dot product.
type affineISA int

const (
	affineVNNI512 affineISA = iota
	affineVNNI256           // VPDPBUSD in VEX encoding
	affineAVX2              // VPMADDUBSW and VPMADDWD
)

func (a affineISA) name() string { return [...]string{"AVX512VNNI", "AVXVNNI", "AVX2"}[a] }

func (a affineISA) wide() bool { return a == affineVNNI512 }

// halves is the number of vectors that hold one lane for each row of a strip.
func (a affineISA) halves() int {
	if a.wide() {
		return 1
	}
	return 2
}

// affineForms are the code widths and block lengths that there are kernels for.
var affineForms = []struct{ bits, block int }{{4, 32}, {4, 16}, {5, 32}, {6, 16}, {8, 32}, {8, 16}}

// prefetchAhead is how long before their use codes are asked for, in bytes. They are used once: what is asked for past the second cache comes
// at a higher rate.
const prefetchAhead = 6144

// A unit is unitStrips strips; a group of it begins with their scales.
const (
	unitStrips  = 4
	headerBytes = 32 * unitStrips
)

// blockInfoSize is the size of a blockInfo, and the places of its fields.
const (
	blockInfoSize                    = 16
	blockStart, blockScale, blockSum = 0, 4, 8
)

func affine(g *gen) {
	for _, isa := range []affineISA{affineVNNI512, affineVNNI256, affineAVX2} {
		for _, f := range affineForms {
			a := &affineGen{gen: g, isa: isa, bits: f.bits, block: f.block}
			a.vector()
			if isa != affineVNNI256 {
				a.unpack()
			}
			if isa.wide() && f.bits < 8 {
				a.pack()
			}
		}
		t := &affineGen{gen: g, isa: isa, bits: 4, block: 32, tabled: true}
		t.vector()
		if isa != affineVNNI256 {
			t.unpack()
		}
		for _, block := range []int{32, 16} {
			a := &affineGen{gen: g, isa: isa, bits: 8, block: block}
			if !isa.wide() {
				a.tile(2, 1)
				continue
			}
			for strips := 1; strips <= 3; strips++ {
				a.tile(4, strips)
			}
		}
	}
	for _, wide := range []bool{true, false} {
		affineScales(g, wide)
		for _, block := range []int{32, 16} {
			quantizeBlocks(g, wide, block)
		}
	}
}

// affineGen emits kernels for one instruction set, code width and block length.
type affineGen struct {
	*gen
	isa         affineISA
	bits, block int
	tabled      bool // codes stand for bytes of a table

	table reg.VecVirtual

	low, high reg.VecVirtual // masks of the low and the high bits of a code
	w, t      reg.VecVirtual // the codes of a step; scratch
	packed    reg.VecVirtual
	ones, u   reg.VecVirtual // for dot without VNNI
	flip      reg.VecVirtual
}

func (a *affineGen) steps() int { return a.block / 4 }

// blockBytes is the size of the codes of a block of a strip.
func (a *affineGen) blockBytes() int { return 2 * a.block * a.bits }

func (a *affineGen) reg() reg.VecVirtual { return a.vec(a.isa.wide()) }

func (a *affineGen) size() int { return 4 * lanes(a.isa.wide()) }

// every returns a vector of the byte b.
func (a *affineGen) every(b uint32) reg.VecVirtual {
	v := a.reg()
	a.VBROADCASTSS(a.word(b*0x01010101), v)
	return v
}

// prepare makes the constants and temporaries of unpacking, and of dot products.
func (a *affineGen) prepare(dots bool) {
	a.w, a.t = a.reg(), a.reg()
	if a.bits < 8 {
		a.low, a.packed = a.every(0x0f), a.reg()
	}
	switch a.bits {
	case 5:
		a.high = a.every(0x10)
	case 6:
		a.high = a.every(0x30)
	}
	if a.tabled {
		a.table = a.reg()
		if table := a.arg("table"); a.isa.wide() {
			a.VBROADCASTI32X4(at(table, 0), a.table)
		} else {
			a.VBROADCASTI128(at(table, 0), a.table)
		}
	}
	if dots && a.isa == affineAVX2 {
		a.u, a.ones = a.reg(), a.reg()
		a.VBROADCASTSS(a.word(0x00010001), a.ones)
		if a.wholeBytes() {
			a.flip = a.every(0x80)
		}
	}
}

func (a *affineGen) load(m Mem, v reg.VecVirtual) {
	if a.isa.wide() {
		a.VMOVDQU32(m, v)
	} else {
		a.VMOVDQU(m, v)
	}
}

func (a *affineGen) and(x, y, dst reg.VecVirtual) {
	if a.isa.wide() {
		a.VPANDD(x, y, dst)
	} else {
		a.VPAND(x, y, dst)
	}
}

func (a *affineGen) zero(v reg.VecVirtual) {
	if a.isa.wide() {
		a.VPXORD(v, v, v)
	} else {
		a.VPXOR(v, v, v)
	}
}

// vectorOf is a vector of the codes of a strip: all rows, or a half of them.
type vectorOf struct {
	at    func(disp int) Mem // the block's bytes, those of the half first
	plane reg.VecVirtual     // high bits
}

// codes leaves the codes of a step in a.w. Steps are asked for in order; an even one and the next share what was loaded.
func (a *affineGen) codes(v *vectorOf, step int, prefetch bool) {
	ahead := prefetchAhead
	if a.bits == 8 {
		ahead /= 2
	}
	fetch := func(disp int, dst reg.VecVirtual) {
		if prefetch {
			a.PREFETCHNTA(v.at(disp + ahead))
		}
		a.load(v.at(disp), dst)
	}
	if a.bits == 8 {
		fetch(64*step, a.w)
		return
	}
	perPlane := 8
	if a.bits == 6 {
		perPlane = 4
	}
	if a.bits > 4 && step%perPlane == 0 {
		if v.plane == nil {
			v.plane = a.reg()
		}
		fetch(32*a.steps()+step/perPlane*64, v.plane)
	}
	if step%2 == 0 {
		fetch(32*step, a.packed)
		a.and(a.low, a.packed, a.w)
	} else {
		a.VPSRLD(Imm(4), a.packed, a.w)
		a.and(a.low, a.w, a.w)
	}
	if a.bits == 4 {
		if a.tabled {
			a.VPSHUFB(a.w, a.table, a.w)
		}
		return
	}
	shift, t := 4-step, a.t
	if a.bits == 6 {
		shift = 4 - 2*(step%4)
	}
	switch {
	case shift > 0:
		a.VPSLLD(Imm(uint64(shift)), v.plane, t)
	case shift < 0:
		a.VPSRLD(Imm(uint64(-shift)), v.plane, t)
	default:
		t = v.plane
	}
	if a.isa.wide() {
		a.VPTERNLOGD(Imm(0xf8), a.high, t, a.w) // w | t & high
	} else {
		a.VPAND(a.high, t, a.t)
		a.VPOR(a.t, a.w, a.w)
	}
}

// dot adds the products of the codes and the activations x, four to a lane, to acc. Without VNNI an 8-bit code counts as
// 128 less, because the sum of two products would not fit 16 bits.
func (a *affineGen) dot(w, x, acc reg.VecVirtual) {
	switch {
	case a.isa == affineVNNI512:
		a.VPDPBUSD(x, w, acc)
	case a.isa == affineVNNI256:
		a.raw("VPDPBUSDVEX", x, w, acc)
	default:
		if a.wholeBytes() {
			a.VPXOR(a.flip, w, a.t)
			a.VPSIGNB(a.t, x, a.u)
			a.VPABSB(a.t, a.t)
			a.VPMADDUBSW(a.u, a.t, a.u)
		} else {
			a.VPMADDUBSW(x, w, a.u)
		}
		a.VPMADDWD(a.ones, a.u, a.u)
		a.VPADDD(a.u, acc, acc)
	}
}

// wholeBytes reports whether what is multiplied by has up to 8 bits.
func (a *affineGen) wholeBytes() bool { return a.bits == 8 || a.tabled }

// kind is the part of names that says what codes stand for.
func (a *affineGen) kind() string {
	if a.tabled {
		return "Table"
	}
	return "Affine"
}

// signature is a function's, with the table where there is one.
func (a *affineGen) signature(args string) string {
	if a.tabled {
		args += ", table *byte"
	}
	return "func(" + args + ")"
}

// vector is the product of strips with one row of activations, which is bound by memory: all four strips of a unit, whose bytes are
// read in one stream, or one of them.
func (a *affineGen) vector() {
	halves := a.isa.halves()
	strips, what := unitStrips, "a unit"
	if !a.isa.wide() {
		strips, what = 1, "a strip of a unit"
	}
	a.function(name("vector%s%dx%dx%d%s", a.kind(), a.bits, a.block, strips, a.isa.name()),
		a.signature("groups, inner, header int, scale, w, x, info *byte, factor, dst *float32"),
		name("the product of %s of %d-bit codes in blocks of %d columns with one row of activations", what, a.bits, a.block),
		"",
		"\tdst[r] = factor[r] * sum over g<groups, b<inner of scale[g][r]*i.scale*(i.start + codes*x) + min[g][r]*i.sum",
		"",
		"where i is info[g*inner+b]. w points to the codes of the first group and scale to its scales; mins follow 128 bytes after those",
		"where header, the distance from scales to codes, is 256 and not 128.")
	groups, inner, header, scale := a.arg("groups"), a.arg("inner"), a.arg("header"), a.arg("scale")
	w, x, info := a.arg("w"), a.arg("x"), a.arg("info")
	a.prepare(true)
	stride := unitStrips * a.blockBytes()
	span := a.GP64()
	a.IMUL3Q(U32(uint32(stride)), inner, span)
	a.ADDQ(header, span)
	n := strips * halves
	acc, sum, vectors := make([]reg.VecVirtual, n), make([]reg.VecVirtual, n), make([]vectorOf, n)
	for i := range n {
		acc[i], sum[i] = a.reg(), a.reg()
		a.zero(sum[i])
		from := i/halves*a.blockBytes() + 32*(i%halves)
		vectors[i].at = func(disp int) Mem { return at(w, from+disp) }
	}
	xv := []reg.VecVirtual{a.reg(), a.reg()}
	left := a.GP64()
	a.Label("group")
	a.MOVQ(inner, left)
	a.Label("block")
	for i := range n {
		a.VPBROADCASTD(at(info, blockStart), acc[i])
	}
	for step := 0; step < a.steps(); step += 2 {
		for i, v := range xv {
			a.VPBROADCASTD(at(x, 4*(step+i)), v)
		}
		for i := range n {
			for j, v := range xv {
				a.codes(&vectors[i], step+j, i%halves == 0)
				a.dot(a.w, v, acc[i])
			}
		}
	}
	a.VBROADCASTSS(at(info, blockScale), xv[0])
	if strips > 1 {
		a.PREFETCHT0(at(scale, prefetchAhead))
		a.PREFETCHT0(at(scale, prefetchAhead+64))
	}
	for i := range n {
		a.VCVTDQ2PS(acc[i], acc[i])
		a.VMULPS(xv[0], acc[i], acc[i])
		a.VCVTPH2PS(at(scale, 32*(i/halves)+16*(i%halves)), a.w)
		a.VFMADD231PS(a.w, acc[i], sum[i])
	}
	a.CMPQ(header, U32(headerBytes))
	a.JE(LabelRef("next"))
	a.VBROADCASTSS(at(info, blockSum), xv[0])
	if strips > 1 {
		a.PREFETCHT0(at(scale, prefetchAhead+headerBytes))
		a.PREFETCHT0(at(scale, prefetchAhead+headerBytes+64))
	}
	for i := range n {
		a.VCVTPH2PS(at(scale, headerBytes+32*(i/halves)+16*(i%halves)), a.w)
		a.VFMADD231PS(xv[0], a.w, sum[i])
	}
	a.Label("next")
	a.ADDQ(U32(uint32(stride)), w)
	a.ADDQ(Imm(uint64(a.block)), x)
	a.ADDQ(Imm(blockInfoSize), info)
	a.DECQ(left)
	a.JNZ(LabelRef("block"))
	a.ADDQ(span, scale)
	a.ADDQ(header, w)
	a.DECQ(groups)
	a.JNZ(LabelRef("group"))
	factor, dst := a.arg("factor"), a.arg("dst")
	for i := range n {
		a.VMULPS(at(factor, a.size()*i), sum[i], sum[i])
		a.VMOVUPS(sum[i], at(dst, a.size()*i))
	}
	a.VZEROUPPER()
	a.RET()
}

// unpack writes codes as bytes, for tile.
func (a *affineGen) unpack() {
	isa := isaName(a.isa.wide())
	a.function(name("unpack%s%dx%d%s", a.kind(), a.bits, a.block, isa), a.signature("groups, inner, header int, dst, src *byte"),
		name("the codes of inner blocks of %d columns, of a strip, in each of some groups as bytes, in the order of 8-bit codes.", a.block),
		"The groups are header bytes apart.")
	groups, inner, header := a.arg("groups"), a.arg("inner"), a.arg("header")
	dst, src := a.arg("dst"), a.arg("src")
	left := a.GP64()
	a.prepare(false)
	vectors := make([]vectorOf, a.isa.halves())
	for h := range vectors {
		vectors[h].at = func(disp int) Mem { return at(src, disp+32*h) }
	}
	a.Label("group")
	a.MOVQ(inner, left)
	a.Label("block")
	for h := range vectors {
		for step := range a.steps() {
			a.codes(&vectors[h], step, false)
			a.VMOVUPS(a.w, at(dst, 64*step+32*h))
		}
	}
	a.ADDQ(U32(uint32(unitStrips*a.blockBytes())), src)
	a.ADDQ(U32(uint32(16*a.block)), dst)
	a.DECQ(left)
	a.JNZ(LabelRef("block"))
	a.ADDQ(header, src)
	a.DECQ(groups)
	a.JNZ(LabelRef("group"))
	a.VZEROUPPER()
	a.RET()
}

// pack is the inverse of unpack for a group.
func (a *affineGen) pack() {
	a.function(name("packAffine%dx%dAVX512", a.bits, a.block), "func(inner int, dst, src *byte)",
		name("packs the codes of inner blocks of %d columns, of a strip, from bytes in the order of 8-bit codes.", a.block))
	inner, dst, src := a.arg("inner"), a.arg("dst"), a.arg("src")
	high := a.bits - 4
	var mask reg.VecVirtual
	if high > 0 {
		mask = a.every(1<<high - 1)
	}
	low, t := []reg.VecVirtual{a.reg(), a.reg()}, a.reg()
	var plane reg.VecVirtual
	if high > 0 {
		plane = a.reg()
	}
	nibble := a.every(0x0f)
	a.Label("block")
	for step := range a.steps() {
		v := low[step%2]
		a.load(at(src, 64*step), v)
		if high > 0 {
			per := 8 / high
			a.VPSRLW(Imm(4), v, t)
			a.and(mask, t, t)
			shift := step % per * high
			if shift > 0 {
				a.VPSLLW(Imm(uint64(shift)), t, t)
				a.VPORD(t, plane, plane)
			} else {
				a.VMOVDQA32(t, plane)
			}
			if step%per == per-1 || step == a.steps()-1 {
				a.VMOVDQU32(plane, at(dst, 32*a.steps()+step/per*64))
			}
			a.and(nibble, v, v)
		}
		if step%2 == 1 {
			a.VPSLLW(Imm(4), v, v) // codes are below 16, so that no bit leaves its byte
			a.VPORD(low[0], v, v)
			a.VMOVDQU32(v, at(dst, 32*(step-1)))
		}
	}
	a.ADDQ(U32(uint32(unitStrips*a.blockBytes())), dst)
	a.ADDQ(U32(uint32(16*a.block)), src)
	a.DECQ(inner)
	a.JNZ(LabelRef("block"))
	a.VZEROUPPER()
	a.RET()
}

// tile is the product of strips of unpacked codes with a few rows of activations, added to a block of float32.
func (a *affineGen) tile(tokens, strips int) {
	halves := a.isa.halves()
	n := strips * halves
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
	ldx3, ldi3 := a.GP64(), a.GP64()
	if tokens > 3 {
		a.LEAQ(indexed(ldx, ldx, 2, 0), ldx3)
		a.LEAQ(indexed(ldi, ldi, 2, 0), ldi3)
	}
	row := func(base, ld, ld3 reg.GPVirtual, t, disp int) Mem {
		switch t {
		case 0:
			return at(base, disp)
		case 3:
			return indexed(base, ld3, 1, disp)
		}
		return indexed(base, ld, uint8(t), disp)
	}
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
			if a.isa.wide() && i > 0 {
				a.VMOVDQA32(acc[t][0], acc[t][i])
			} else {
				a.VPBROADCASTD(row(info, ldi, ldi3, t, blockStart), acc[t][i])
			}
		}
	}
	for quad := range a.steps() {
		for i := range n {
			disp := 64*quad + 32*(i%halves)
			if s := i / halves; s == 0 {
				a.load(at(w, disp), wv[i])
			} else {
				a.load(indexed(w, others[s-1], 1, disp), wv[i])
			}
		}
		for t := range tokens {
			a.VPBROADCASTD(row(x, ldx, ldx3, t, 4*quad), xv)
			for i := range n {
				a.dot(wv[i], xv, acc[t][i])
			}
		}
	}
	for i := range n {
		a.VMOVUPS(at(scale, a.size()*i), wv[i])
	}
	for t := range tokens {
		a.VBROADCASTSS(row(info, ldi, ldi3, t, blockScale), xv)
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
		a.VBROADCASTSS(row(info, ldi, ldi3, t, blockSum), xv)
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
