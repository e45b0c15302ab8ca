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

// prefetchAhead is how long before their use codes are asked for, in bytes, from memory into the second cache: processors of Intel fetch what is
// asked for past it (PREFETCHNTA) at half the rate.
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
			if isa == affineAVX2 {
				for _, bits := range []int{4, 6, 8} {
					a := &affineGen{gen: g, isa: isa, bits: bits, block: block}
					a.tileOfStrip()
				}
				continue
			}
			a := &affineGen{gen: g, isa: isa, bits: 8, block: block}
			if !isa.wide() {
				a.tileOfStrip()
				continue
			}
			for strips := 1; strips <= 3; strips++ {
				a.tile(strips)
			}
		}
	}
	wordsOfCodes(g)
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
	words     []reg.VecVirtual // sums of 16 bits
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
			a.PREFETCHT1(v.at(disp + ahead))
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

// run is how many steps' products, two a lane, may be added in 16 bits: codes are below 2^bits, activations at most 127.
func (a *affineGen) run() int {
	if a.isa != affineAVX2 || a.wholeBytes() {
		return 1
	}
	return min(a.steps(), map[int]int{4: 8, 5: 4, 6: 2}[a.bits])
}

// add is dot for the steps of the vector i one after another. Where sums of 16 bits hold several of them acc has all at the end of the block.
func (a *affineGen) add(i, step int, w, x, acc reg.VecVirtual) {
	run := a.run()
	if run == 1 {
		a.dot(w, x, acc)
		return
	}
	if step%run == 0 {
		a.VPMADDUBSW(x, w, a.words[i])
	} else {
		a.VPMADDUBSW(x, w, a.u)
		a.VPADDW(a.u, a.words[i], a.words[i])
	}
	if step%run == run-1 {
		a.VPMADDWD(a.ones, a.words[i], a.words[i])
		a.VPADDD(a.words[i], acc, acc)
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

// vector is the product of the strips of a unit with one row of activations, which is bound by memory: the bytes of the unit are read in one
// stream. With few registers the sums of floats are in memory, and strips have the others after each other.
func (a *affineGen) vector() {
	halves := a.isa.halves()
	a.function(name("vector%s%dx%d%s", a.kind(), a.bits, a.block, a.isa.name()),
		a.signature("groups, inner, header int, scale, w, x, info *byte, factor, dst *float32"),
		name("the product of a unit of %d-bit codes in blocks of %d columns with one row of activations", a.bits, a.block),
		"",
		"\tdst[r] = factor[r] * sum over g<groups, b<inner of scale[g][r]*i.scale*(i.start + codes*x) + min[g][r]*i.sum",
		"",
		"where i is info[g*inner+b]. w points to the codes of the first group and scale to its scales; mins follow 128 bytes after those",
		"where header, the distance from scales to codes, is 256 and not 128.")
	groups, inner, header, scale := a.arg("groups"), a.arg("inner"), a.arg("header"), a.arg("scale")
	w, x, info, dst := a.arg("w"), a.arg("x"), a.arg("info"), a.arg("dst")
	a.prepare(true)
	stride := unitStrips * a.blockBytes()
	span := a.GP64()
	a.IMUL3Q(U32(uint32(stride)), inner, span)
	a.ADDQ(header, span)
	n := unitStrips * halves
	together := n
	if !a.isa.wide() {
		together = halves
	}
	acc, sum, vectors := make([]reg.VecVirtual, together), make([]reg.VecVirtual, n), make([]vectorOf, n)
	for i := range together {
		acc[i] = a.reg()
		if a.run() > 1 {
			a.words = append(a.words, a.reg())
		}
	}
	for i := range n {
		if together == n {
			sum[i] = a.reg()
			a.zero(sum[i])
		} else {
			if i == 0 {
				a.zero(a.w)
			}
			a.VMOVUPS(a.w, at(dst, a.size()*i))
		}
		from := i/halves*a.blockBytes() + 32*(i%halves)
		vectors[i].at = func(disp int) Mem { return at(w, from+disp) }
	}
	// fused sets sum i to itself and x*y; it uses y.
	fused := func(i int, x, y reg.VecVirtual) {
		if together == n {
			a.VFMADD231PS(x, y, sum[i])
			return
		}
		a.VFMADD213PS(at(dst, a.size()*i), x, y)
		a.VMOVUPS(y, at(dst, a.size()*i))
	}
	xv := []reg.VecVirtual{a.reg(), a.reg()}
	planes := make([]reg.VecVirtual, together)
	left := a.GP64()
	a.Label("group")
	a.MOVQ(inner, left)
	a.Label("block")
	a.PREFETCHT0(at(scale, prefetchAhead))
	a.PREFETCHT0(at(scale, prefetchAhead+64))
	for first := 0; first < n; first += together {
		for i := range together {
			a.VPBROADCASTD(at(info, blockStart), acc[i])
			vectors[first+i].plane = planes[i]
		}
		for step := 0; step < a.steps(); step += 2 {
			for i, v := range xv {
				a.VPBROADCASTD(at(x, 4*(step+i)), v)
			}
			for i := range together {
				for j, v := range xv {
					a.codes(&vectors[first+i], step+j, i%halves == 0)
					a.add(i, step+j, a.w, v, acc[i])
				}
			}
		}
		a.VBROADCASTSS(at(info, blockScale), xv[0])
		for i := range together {
			a.VCVTDQ2PS(acc[i], acc[i])
			a.VMULPS(xv[0], acc[i], acc[i])
			a.VCVTPH2PS(at(scale, a.size()/2*(first+i)), a.w)
			fused(first+i, a.w, acc[i])
			planes[i] = vectors[first+i].plane
		}
	}
	a.CMPQ(header, U32(headerBytes))
	a.JE(LabelRef("next"))
	a.VBROADCASTSS(at(info, blockSum), xv[0])
	a.PREFETCHT0(at(scale, prefetchAhead+headerBytes))
	a.PREFETCHT0(at(scale, prefetchAhead+headerBytes+64))
	for i := range n {
		a.VCVTPH2PS(at(scale, headerBytes+a.size()/2*i), a.w)
		fused(i, xv[0], a.w)
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
	factor := a.arg("factor")
	for i := range n {
		v := sum[i]
		if v == nil {
			v = a.w
			a.VMOVUPS(at(dst, a.size()*i), v)
		}
		a.VMULPS(at(factor, a.size()*i), v, v)
		a.VMOVUPS(v, at(dst, a.size()*i))
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
