package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The searches for scales of ggml's block types, one group of values a lane. They do in every lane what the portable code does, in
// the same order and each operation rounded, so that the results are the same bits.
func fit(g *gen) {
	for _, wide := range []bool{true, false} {
		f := fitGen{gen: g, wide: wide}
		f.affine(false)
		f.affine(true)
		f.symmetric()
		f.deviations()
		f.requantize()
		f.largestCodes()
		f.rangeCodes()
		f.roundedCodes()
		f.largestBits()
	}
}

// Comparisons that are false for NaN.
const (
	equal   = 0
	less    = 0x11
	notZero = 4
	greater = 0x1e
)

// nearestBits is the float32 1.5*2^23 in bits; added to a small number it leaves that, rounded, in the low bits.
const nearestBits = 0x4b400000

type fitGen struct {
	*gen
	wide                      bool
	magic, mask, base, lo, hi reg.VecVirtual // what rounding needs
}

// rowBytes is the distance from a value to the next of the same group.
const rowBytes = 64

// begin loads what rounding needs; lo and hi are the names of parameters with the bits of the bounds of codes.
func (f *fitGen) begin(lo, hi string) {
	f.magic, f.mask, f.base = f.vec(f.wide), f.vec(f.wide), f.vec(f.wide)
	f.VBROADCASTSS(f.word(nearestBits), f.magic)
	f.VBROADCASTSS(f.word(0x7fffff), f.mask)
	f.VBROADCASTSS(f.word(0x4b000000), f.base)
	f.lo, f.hi = f.broadcastArg(f.wide, lo), f.broadcastArg(f.wide, hi)
}

// round turns x into the bits of 1.5*2^23 plus the nearest code.
func (f *fitGen) round(x reg.VecVirtual) {
	f.VADDPS(f.magic, x, x)
	if f.wide {
		f.VPTERNLOGD(Imm(0xea), f.base, f.mask, x) // x&mask | base
	} else {
		f.VPAND(f.mask, x, x)
		f.VPOR(f.base, x, x)
	}
	f.VPMAXSD(f.lo, x, x)
	f.VPMINSD(f.hi, x, x)
}

// code turns x into the nearest code, as a float.
func (f *fitGen) code(x reg.VecVirtual) {
	f.round(x)
	f.VSUBPS(f.magic, x, x)
}

// store writes the codes of which x has the bits, less those in origin, as bytes.
func (f *fitGen) store(x, origin reg.VecVirtual, m Mem) {
	f.VPSUBD(origin, x, x)
	if f.wide {
		f.VPMOVDB(x, m)
		return
	}
	f.bytes8(x, m)
}

// bytes8 writes the low bytes of eight words.
func (f *fitGen) bytes8(x reg.VecVirtual, m Mem) {
	to := f.GP64()
	f.LEAQ(m, to)
	f.storeBytes8(x, to)
}

func (f *fitGen) zero() reg.VecVirtual {
	z := f.vec(f.wide)
	if f.wide {
		f.VPXORD(z, z, z)
	} else {
		f.VPXOR(z, z, z)
	}
	return z
}

func (f *fitGen) abs(x, dst reg.VecVirtual, mask reg.VecVirtual) {
	if f.wide {
		f.VPANDD(mask, x, dst)
	} else {
		f.VPAND(mask, x, dst)
	}
}

func (f *fitGen) absMask() reg.VecVirtual {
	v := f.vec(f.wide)
	f.VBROADCASTSS(f.word(0x7fffffff), v)
	return v
}

// compare returns the lanes where a op b.
func (f *fitGen) compare(op uint64, a, b reg.VecVirtual) reg.Register {
	if f.wide {
		k := f.K()
		f.VCMPPS(Imm(op), b, a, k)
		return k
	}
	m := f.vec(false)
	f.VCMPPS(Imm(op), b, a, m)
	return m
}

func (f *fitGen) both(a, b reg.Register) reg.Register {
	if f.wide {
		f.KANDW(a, b, a)
	} else {
		f.VPAND(a.(reg.VecVirtual), b.(reg.VecVirtual), a.(reg.VecVirtual))
	}
	return a
}

// pick sets dst to v in the lanes of where.
func (f *fitGen) pick(where reg.Register, v, dst reg.VecVirtual) {
	if f.wide {
		f.VMOVAPS(v, where, dst)
	} else {
		f.VBLENDVPS(where.(reg.VecVirtual), v, dst, dst)
	}
}

// update changes a vector of the state where a condition holds.
func (f *fitGen) update(where reg.Register, v reg.VecVirtual, m Mem) {
	old := f.vec(f.wide)
	f.VMOVUPS(m, old)
	f.pick(where, v, old)
	f.VMOVUPS(old, m)
}

// each emits a loop over the values: body gets the addresses of the value in x, w and the state's room for codes.
func (f *fitGen) each(label string, n, x, w, codes reg.GPVirtual, body func(x, w, c Mem)) {
	i, left := f.GP64(), f.GP64()
	f.XORQ(i, i)
	f.MOVQ(n, left)
	f.Label(label)
	body(indexed(x, i, 1, 0), indexed(w, i, 1, 0), indexed(codes, i, 1, 0))
	f.ADDQ(Imm(rowBytes), i)
	f.DECQ(left)
	f.JNZ(LabelRef(label))
}

// Offsets in fitState.
const (
	stateLeast, stateMost, stateSumW, stateSumX, stateBest, stateScale, stateFactor, stateOrigin, stateCodes = 0, 64, 128, 192, 256, 320, 384, 448, 512

	stateMagnitude, stateLargest, stateWX = 0, 64, 512 + 32*64
)

func (f *fitGen) affine(absolute bool) {
	name := "fitAffine"
	if absolute {
		name += "Absolute"
	}
	lanes := lanes(f.wide)
	f.function(name+isaName(f.wide), "func(st *float32, n int, x, w, steps *float32, count int, most float32, lo, hi uint32, codes *byte)",
		fmt.Sprintf("what fitAffine does for %d groups; lo and hi are the bits of 1.5*2^23 plus the bounds of codes.", lanes))
	v := func() reg.VecVirtual { return f.vec(f.wide) }
	st, n, x, w := f.arg("st"), f.arg("n"), f.arg("x"), f.arg("w")
	steps, count, out := f.arg("steps"), f.arg("count"), f.arg("codes")
	lcodes := f.GP64()
	f.LEAQ(at(st, stateCodes), lcodes)
	f.begin("lo", "hi")

	least, most, sumW, sumX := v(), v(), v(), v()
	f.VMOVUPS(at(x, 0), least)
	f.VMOVAPS(least, most)
	f.VMOVUPS(at(w, 0), sumW)
	f.VMULPS(sumW, least, sumX)
	// The first value is counted above; the loop begins with the second.
	i, left := f.GP64(), f.GP64()
	f.MOVQ(U32(rowBytes), i)
	f.MOVQ(n, left)
	f.DECQ(left)
	f.JZ(LabelRef("ranged"))
	f.Label("range")
	a, b := v(), v()
	f.VMOVUPS(indexed(x, i, 1, 0), a)
	f.VMOVUPS(indexed(w, i, 1, 0), b)
	f.VMINPS(least, a, least)
	f.VMAXPS(most, a, most)
	f.VADDPS(b, sumW, sumW)
	f.VMULPS(a, b, b)
	f.VADDPS(b, sumX, sumX)
	f.ADDQ(Imm(rowBytes), i)
	f.DECQ(left)
	f.JNZ(LabelRef("range"))
	f.Label("ranged")
	zero := f.zero()
	f.VMINPS(least, zero, least) // 0 where least is greater
	span := v()
	f.VSUBPS(least, most, span)
	f.VMOVUPS(most, at(st, stateMost))
	f.VMOVUPS(sumW, at(st, stateSumW))
	f.VMOVUPS(sumX, at(st, stateSumX))
	f.VMOVUPS(least, at(st, stateLeast))
	f.VMOVUPS(least, at(st, stateOrigin))
	factor, scale, one := f.broadcastArg(f.wide, "most"), v(), v()
	f.VDIVPS(span, factor, factor)
	f.VMOVUPS(factor, at(st, stateFactor))
	f.VBROADCASTSS(f.float(1), one)
	f.VDIVPS(factor, one, scale)
	f.VMOVUPS(scale, at(st, stateScale))
	e := f.zero()
	f.each("first", n, x, w, lcodes, func(x, _, c Mem) {
		l := v()
		f.VMOVUPS(x, l)
		f.VSUBPS(least, l, l)
		f.VMULPS(factor, l, l)
		f.code(l)
		f.VMOVUPS(l, c)
	})
	f.errors("firstError", absolute, n, x, w, lcodes, scale, least, e)
	f.VMOVUPS(e, at(st, stateBest))

	f.TESTQ(count, count)
	f.JZ(LabelRef("codes"))
	f.Label("step")
	f.VMOVUPS(at(st, stateLeast), least)
	f.VMOVUPS(at(st, stateMost), span)
	f.VSUBPS(least, span, span)
	f.VBROADCASTSS(at(steps, 0), factor)
	f.VDIVPS(span, factor, factor)
	sumL, sumL2, sumXL := f.zero(), f.zero(), f.zero()
	f.each("sums", n, x, w, lcodes, func(x, w, c Mem) {
		value, l, wl := v(), v(), v()
		f.VMOVUPS(x, value)
		f.VSUBPS(least, value, l)
		f.VMULPS(l, factor, l)
		f.code(l)
		f.VMOVUPS(l, c)
		f.VMULPS(w, l, wl)
		f.VADDPS(wl, sumL, sumL)
		f.VMULPS(wl, l, l)
		f.VADDPS(l, sumL2, sumL2)
		f.VMULPS(wl, value, value)
		f.VADDPS(value, sumXL, sumXL)
	})
	// The fit: det = sumW*sumL2 - sumL^2, scale and low by Cramer's rule.
	det, t, sc, low := v(), v(), v(), v()
	f.VMULPS(at(st, stateSumW), sumL2, det)
	f.VMULPS(sumL, sumL, t)
	f.VSUBPS(t, det, det)
	f.VMULPS(at(st, stateSumW), sumXL, sc)
	f.VMULPS(at(st, stateSumX), sumL, t)
	f.VSUBPS(t, sc, sc)
	f.VDIVPS(det, sc, sc)
	f.VMULPS(at(st, stateSumX), sumL2, low)
	f.VMULPS(sumL, sumXL, t)
	f.VSUBPS(t, low, low)
	f.VDIVPS(det, low, low)
	zero = f.zero()
	above := f.compare(greater, low, zero)
	f.VDIVPS(sumL2, sumXL, sumXL)
	f.pick(above, sumXL, sc)
	f.pick(above, zero, low)
	f.VMOVUPS(det, at(st, stateCodes+32*64)) // the registers of AVX2 are few
	e = f.zero()
	f.errors("error", absolute, n, x, w, lcodes, sc, low, e)
	f.VMOVUPS(at(st, stateCodes+32*64), det)
	zero = f.zero()
	better := f.both(f.compare(greater, det, zero), f.better(e, at(st, stateBest)))
	f.update(better, e, at(st, stateBest))
	f.update(better, sc, at(st, stateScale))
	f.update(better, factor, at(st, stateFactor))
	f.update(better, least, at(st, stateOrigin))
	f.update(better, low, at(st, stateLeast))
	f.ADDQ(Imm(4), steps)
	f.DECQ(count)
	f.JNZ(LabelRef("step"))

	f.Label("codes")
	f.VMOVUPS(at(st, stateOrigin), least)
	f.VMOVUPS(at(st, stateFactor), factor)
	f.bytes("code", n, x, out, f.lo, func(x Mem, l reg.VecVirtual) {
		f.VMOVUPS(x, l)
		f.VSUBPS(least, l, l)
		f.VMULPS(l, factor, l)
	})
	f.VZEROUPPER()
	f.RET()
}

// better returns the lanes where e is less than what m holds.
func (f *fitGen) better(e reg.VecVirtual, m Mem) reg.Register {
	best := f.vec(f.wide)
	f.VMOVUPS(m, best)
	return f.compare(less, e, best)
}

// errors adds the weighted distances between scale*code + low and x to e.
func (f *fitGen) errors(label string, absolute bool, n, x, w, codes reg.GPVirtual, scale, low, e reg.VecVirtual) {
	var mask reg.VecVirtual
	if absolute {
		mask = f.absMask()
	}
	f.each(label, n, x, w, codes, func(x, w, c Mem) {
		d := f.vec(f.wide)
		f.VMULPS(c, scale, d)
		f.VADDPS(low, d, d)
		f.VSUBPS(x, d, d)
		if absolute {
			f.abs(d, d, mask)
		} else {
			f.VMULPS(d, d, d)
		}
		f.VMULPS(w, d, d)
		f.VADDPS(d, e, e)
	})
}

// bytes stores the codes of all values as bytes, less the bits in origin: value leaves what is to be rounded in l.
func (f *fitGen) bytes(label string, n, x, out reg.GPVirtual, origin reg.VecVirtual, value func(x Mem, l reg.VecVirtual)) {
	i, left := f.GP64(), f.GP64()
	f.XORQ(i, i)
	f.MOVQ(n, left)
	f.Label(label)
	l := f.vec(f.wide)
	value(indexed(x, i, 4, 0), l)
	f.round(l)
	f.store(l, origin, indexed(out, i, 1, 0))
	f.ADDQ(Imm(16), i)
	f.DECQ(left)
	f.JNZ(LabelRef(label))
}

func (f *fitGen) symmetric() {
	f.function("fitSymmetric"+isaName(f.wide), "func(st *float32, n int, x, w, steps *float32, count int, lo, hi uint32, codes *byte)",
		fmt.Sprintf("what FitSymmetricOne does for %d groups, but for groups of zeros; w may be nil. lo and hi are the bits of 1.5*2^23 plus the bounds of codes.", lanes(f.wide)))
	v := func() reg.VecVirtual { return f.vec(f.wide) }
	st, n, x, w := f.arg("st"), f.arg("n"), f.arg("x"), f.arg("w")
	steps, count, out := f.arg("steps"), f.arg("count"), f.arg("codes")
	ws, wxs := f.GP64(), f.GP64()
	f.LEAQ(at(st, stateCodes), ws)
	f.LEAQ(at(st, stateWX), wxs)
	f.begin("lo", "hi")
	largest, magnitude := f.zero(), f.zero()
	mask := f.absMask()
	f.each("largest", n, x, x, x, func(x, _, _ Mem) {
		value, a := v(), v()
		f.VMOVUPS(x, value)
		f.abs(value, a, mask)
		more := f.compare(greater, a, magnitude)
		f.pick(more, value, largest)
		f.pick(more, a, magnitude)
	})
	f.VMOVUPS(magnitude, at(st, stateMagnitude))
	f.TESTQ(w, w)
	f.JZ(LabelRef("squares"))
	weigh := func(label string, square bool) {
		i, left := f.GP64(), f.GP64()
		f.XORQ(i, i)
		f.MOVQ(n, left)
		f.Label(label)
		value, weight := v(), v()
		f.VMOVUPS(indexed(x, i, 1, 0), value)
		if square {
			f.VMULPS(value, value, weight)
		} else {
			f.VMOVUPS(indexed(w, i, 1, 0), weight)
		}
		f.VMOVUPS(weight, indexed(ws, i, 1, 0))
		f.VMULPS(weight, value, value)
		f.VMOVUPS(value, indexed(wxs, i, 1, 0))
		f.ADDQ(Imm(rowBytes), i)
		f.DECQ(left)
		f.JNZ(LabelRef(label))
	}
	weigh("given", false)
	f.JMP(LabelRef("weighed"))
	f.Label("squares")
	weigh("square", true)
	f.Label("weighed")
	best, scale, kept, factor := v(), f.zero(), v(), v()
	f.VBROADCASTSS(f.float(-1), best)
	f.VBROADCASTSS(at(steps, 0), kept)
	f.VDIVPS(largest, kept, kept)
	f.Label("step")
	f.VBROADCASTSS(at(steps, 0), factor)
	f.VDIVPS(largest, factor, factor)
	f.VMOVUPS(largest, at(st, stateLargest)) // the registers of AVX2 are few
	sumLX, sumL2 := f.zero(), f.zero()
	f.each("sums", n, x, ws, wxs, func(x, w, wx Mem) {
		l, t := v(), v()
		f.VMULPS(x, factor, l)
		f.code(l)
		f.VMULPS(wx, l, t)
		f.VADDPS(t, sumLX, sumLX)
		f.VMULPS(w, l, t)
		f.VMULPS(t, l, l)
		f.VADDPS(l, sumL2, sumL2)
	})
	square, limit := v(), v()
	f.VMULPS(sumLX, sumLX, square)
	f.VMULPS(best, sumL2, limit)
	zero := f.zero()
	better := f.both(f.compare(greater, sumL2, zero), f.compare(greater, square, limit))
	f.VDIVPS(sumL2, sumLX, square)
	f.pick(better, square, scale)
	f.pick(better, factor, kept)
	f.VMULPS(square, sumLX, square)
	f.pick(better, square, best)
	zero = f.zero()
	f.VMAXPS(zero, best, best) // where the first step has no sum
	f.VMOVUPS(at(st, stateLargest), largest)
	f.ADDQ(Imm(4), steps)
	f.DECQ(count)
	f.JNZ(LabelRef("step"))
	f.VMOVUPS(scale, at(st, stateScale))
	f.bytes("code", n, x, out, f.lo, func(x Mem, l reg.VecVirtual) { f.VMULPS(x, kept, l) })
	f.VZEROUPPER()
	f.RET()
}

func (f *fitGen) deviations() {
	f.function("fitDeviations"+isaName(f.wide), "func(n int, w, x *float32, size float32)",
		fmt.Sprintf("w[i] = sqrt(sum of x[i]^2 / size) + |x[i]| for %d groups of n values.", lanes(f.wide)))
	n, w, x := f.arg("n"), f.arg("w"), f.arg("x")
	size := f.broadcastArg(f.wide, "size")
	sum, mask := f.zero(), f.absMask()
	f.each("sum", n, x, x, x, func(x, _, _ Mem) {
		v := f.vec(f.wide)
		f.VMOVUPS(x, v)
		f.VMULPS(v, v, v)
		f.VADDPS(v, sum, sum)
	})
	f.VDIVPS(size, sum, sum)
	f.VSQRTPS(sum, sum)
	f.each("weight", n, x, w, x, func(x, w, _ Mem) {
		v := f.vec(f.wide)
		f.VMOVUPS(x, v)
		f.abs(v, v, mask)
		f.VADDPS(v, sum, v)
		f.VMOVUPS(v, w)
	})
	f.VZEROUPPER()
	f.RET()
}

func (f *fitGen) requantize() {
	lanes := lanes(f.wide)
	f.function("requantize"+isaName(f.wide), "func(blocks int, codes *byte, x *float32, d, m float32, lo, hi uint32)",
		fmt.Sprintf("codes[i] = clamped nearest of (x[i]+m)/d, less the lower bound, for i < %d*blocks.", lanes))
	n, codes, x := f.arg("blocks"), f.arg("codes"), f.arg("x")
	d, m := f.broadcastArg(f.wide, "d"), f.broadcastArg(f.wide, "m")
	f.begin("lo", "hi")
	f.Label("loop")
	v := f.vec(f.wide)
	f.VADDPS(at(x, 0), m, v)
	f.VDIVPS(d, v, v)
	f.round(v)
	f.store(v, f.lo, at(codes, 0))
	f.ADDQ(Imm(uint64(4*lanes)), x)
	f.ADDQ(Imm(uint64(lanes)), codes)
	f.DECQ(n)
	f.JNZ(LabelRef("loop"))
	f.VZEROUPPER()
	f.RET()
}
