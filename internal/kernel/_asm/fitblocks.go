package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// block loads the 32 values of a block.
func (f *fitGen) block(x reg.GPVirtual) []reg.VecVirtual {
	var v []reg.VecVirtual
	for i := 0; i < 32; i += lanes(f.wide) {
		r := f.vec(f.wide)
		f.VMOVUPS(at(x, 4*i), r)
		v = append(v, r)
	}
	return v
}

// fold joins the lanes of a vector in the lowest one; join changes its last operand.
func (f *fitGen) fold(v reg.VecVirtual, join func(a, b reg.VecVirtual)) {
	if f.wide {
		half := f.YMM()
		f.VEXTRACTF64X4(Imm(1), v.AsZ(), half)
		join(half, v.AsY().(reg.VecVirtual))
	}
	quarter := f.XMM()
	f.VEXTRACTF128(Imm(1), v.AsY(), quarter)
	join(quarter, v.AsX().(reg.VecVirtual))
	for _, order := range []uint64{0x4e, 0xb1} {
		other := f.XMM()
		f.VSHUFPS(Imm(order), v.AsX(), v.AsX(), other)
		join(other, v.AsX().(reg.VecVirtual))
	}
}

// inverse sets id to 1/d in all lanes, 0 where d is 0; both begin as scalars.
func (f *fitGen) inverse(d reg.VecVirtual) reg.VecVirtual {
	one, zero, id := f.XMM(), f.XMM(), f.XMM()
	f.VMOVSS(f.float(1), one)
	f.VDIVSS(d.AsX(), one, one)
	f.VXORPS(zero, zero, zero)
	f.VCMPSS(Imm(notZero), zero, d.AsX(), id)
	f.VANDPS(one, id, id)
	all := f.vec(f.wide)
	f.VBROADCASTSS(id, all)
	return all
}

// cut turns values into codes by truncation, bounded by top, and stores them.
func (f *fitGen) cut(v []reg.VecVirtual, top reg.VecVirtual, codes reg.GPVirtual) {
	for i, x := range v {
		f.VCVTTPS2DQ(x, x)
		f.VPMINSD(top, x, x)
		if f.wide {
			f.VPMOVDB(x, at(codes, 16*i))
		} else {
			f.bytes8(x, at(codes, 8*i))
		}
	}
}

func (f *fitGen) largestCodes() {
	f.function("largestCodes"+isaName(f.wide), "func(blocks int, codes *byte, scales, x *float32, divisor, bias float32, top int32)",
		"the codes of blocks of 32 values: scale d = m/divisor for the first value m of the largest magnitude, code min(int(x/d + bias), top).")
	n, codes, scales, x := f.arg("blocks"), f.arg("codes"), f.arg("scales"), f.arg("x")
	bias, top, mask := f.broadcastArg(f.wide, "bias"), f.vec(f.wide), f.absMask()
	f.VBROADCASTSS(f.argAddr("top"), top)
	divisor := f.XMM()
	f.VMOVSS(f.argAddr("divisor"), divisor)
	f.Label("block")
	v := f.block(x)
	var a []reg.VecVirtual
	for _, r := range v {
		m := f.vec(f.wide)
		f.abs(r, m, mask)
		a = append(a, m)
	}
	magnitude := f.vec(f.wide)
	f.VMAXPS(a[0], a[1], magnitude)
	for _, r := range a[2:] {
		f.VMAXPS(r, magnitude, magnitude)
	}
	f.fold(magnitude, func(a, b reg.VecVirtual) { f.VMAXPS(a, b, b) })
	f.VBROADCASTSS(magnitude.AsX(), magnitude)
	// Bit i of found says that value i has it.
	found := f.GP64()
	f.XORQ(found, found)
	for i, r := range a {
		bits := f.GP64()
		if f.wide {
			k := f.K()
			f.VCMPPS(Imm(equal), magnitude, r, k)
			f.KMOVW(k, bits.As32())
			if i > 0 {
				f.SHLQ(Imm(uint64(16*i)), bits)
			}
		} else {
			f.VCMPPS(Imm(equal), magnitude, r, r)
			f.VMOVMSKPS(r, bits.As32())
			if i > 0 {
				f.SHLQ(Imm(uint64(8*i)), bits)
			}
		}
		f.ORQ(bits, found)
	}
	f.TZCNTQ(found, found)
	d, zero, some := f.XMM(), f.XMM(), f.XMM()
	f.VMOVSS(indexed(x, found, 4, 0), d)
	f.VXORPS(zero, zero, zero)
	f.VCMPSS(Imm(notZero), zero, d, some)
	f.VANDPS(some, d, d) // a negative zero is as good as none
	f.VDIVSS(divisor, d, d)
	f.VMOVSS(d, at(scales, 0))
	id := f.inverse(d)
	for _, r := range v {
		f.VMULPS(id, r, r)
		f.VADDPS(bias, r, r)
	}
	f.cut(v, top, codes)
	f.ADDQ(Imm(128), x)
	f.ADDQ(Imm(32), codes)
	f.ADDQ(Imm(4), scales)
	f.DECQ(n)
	f.JNZ(LabelRef("block"))
	f.VZEROUPPER()
	f.RET()
}

func (f *fitGen) rangeCodes() {
	f.function("rangeCodes"+isaName(f.wide), "func(blocks int, codes *byte, scales, lows, x *float32, most float32, top int32)",
		"the codes of blocks of 32 values: low is the least, scale d the range divided by most, code min(int((x-low)/d + 0.5), top).")
	n, codes, scales, lows, x := f.arg("blocks"), f.arg("codes"), f.arg("scales"), f.arg("lows"), f.arg("x")
	bias, top := f.vec(f.wide), f.vec(f.wide)
	f.VBROADCASTSS(f.float(0.5), bias)
	f.VBROADCASTSS(f.argAddr("top"), top)
	divisor := f.XMM()
	f.VMOVSS(f.argAddr("most"), divisor)
	f.Label("block")
	v := f.block(x)
	lo, hi := f.vec(f.wide), f.vec(f.wide)
	f.VMINPS(v[0], v[1], lo)
	f.VMAXPS(v[0], v[1], hi)
	for _, r := range v[2:] {
		f.VMINPS(lo, r, lo)
		f.VMAXPS(hi, r, hi)
	}
	f.fold(lo, func(a, b reg.VecVirtual) { f.VMINPS(b, a, b) })
	f.fold(hi, func(a, b reg.VecVirtual) { f.VMAXPS(b, a, b) })
	f.VMOVSS(lo.AsX(), at(lows, 0))
	d := f.XMM()
	f.VSUBSS(lo.AsX(), hi.AsX(), d)
	f.VDIVSS(divisor, d, d)
	f.VMOVSS(d, at(scales, 0))
	id := f.inverse(d)
	f.VBROADCASTSS(lo.AsX(), lo)
	for _, r := range v {
		f.VSUBPS(lo, r, r)
		f.VMULPS(id, r, r)
		f.VADDPS(bias, r, r)
	}
	f.cut(v, top, codes)
	f.ADDQ(Imm(128), x)
	f.ADDQ(Imm(32), codes)
	f.ADDQ(Imm(4), scales)
	f.ADDQ(Imm(4), lows)
	f.DECQ(n)
	f.JNZ(LabelRef("block"))
	f.VZEROUPPER()
	f.RET()
}

func (f *fitGen) roundedCodes() {
	f.function("roundedCodes"+isaName(f.wide), "func(blocks int, codes *byte, scales, x *float32)",
		"the codes of blocks of 32 values: scale d the largest magnitude divided by 127, code x/d rounded, halves away from zero.")
	n, codes, scales, x := f.arg("blocks"), f.arg("codes"), f.arg("scales"), f.arg("x")
	mask, half, one := f.absMask(), f.vec(f.wide), f.vec(f.wide)
	f.VBROADCASTSS(f.float(0.5), half)
	f.VBROADCASTSS(f.float(1), one)
	divisor := f.XMM()
	f.VMOVSS(f.float(127), divisor)
	f.Label("block")
	v := f.block(x)
	magnitude := f.vec(f.wide)
	f.abs(v[0], magnitude, mask)
	for _, r := range v[1:] {
		m := f.vec(f.wide)
		f.abs(r, m, mask)
		f.VMAXPS(m, magnitude, magnitude)
	}
	f.fold(magnitude, func(a, b reg.VecVirtual) { f.VMAXPS(a, b, b) })
	d := f.XMM()
	f.VDIVSS(divisor, magnitude.AsX(), d)
	f.VMOVSS(d, at(scales, 0))
	id := f.inverse(d)
	for i, r := range v {
		f.VMULPS(id, r, r)
		// The fraction that truncation takes off is exact; from a half on one is added, with the sign of the value.
		whole, rest, add := f.vec(f.wide), f.vec(f.wide), f.vec(f.wide)
		if f.wide {
			f.VRNDSCALEPS(Imm(3), r, whole)
		} else {
			f.VROUNDPS(Imm(3), r, whole)
		}
		f.VSUBPS(whole, r, rest)
		f.abs(rest, rest, mask)
		if f.wide {
			k := f.K()
			f.VCMPPS(Imm(0x1d), half, rest, k)    // not less
			f.VPTERNLOGD(Imm(0xdc), mask, one, r) // the sign of r and the bits of one
			f.VADDPS(r, whole, k, whole)
		} else {
			f.VCMPPS(Imm(0x1d), half, rest, rest)
			f.VANDNPS(r, mask, add)
			f.VORPS(one, add, add)
			f.VANDPS(rest, add, add)
			f.VADDPS(add, whole, whole)
		}
		f.VCVTTPS2DQ(whole, whole)
		if f.wide {
			f.VPMOVDB(whole, at(codes, 16*i))
		} else {
			f.bytes8(whole, at(codes, 8*i))
		}
	}
	f.ADDQ(Imm(128), x)
	f.ADDQ(Imm(32), codes)
	f.ADDQ(Imm(4), scales)
	f.DECQ(n)
	f.JNZ(LabelRef("block"))
	f.VZEROUPPER()
	f.RET()
}

func (f *fitGen) largestBits() {
	f.function("largestBits"+isaName(f.wide), "func(blocks int, x *float32) uint32",
		fmt.Sprintf("the largest of the bits of |x[i]|, for i < %d*blocks.", 2*lanes(f.wide)))
	n, x := f.arg("blocks"), f.arg("x")
	mask := f.absMask()
	a, b := f.zero(), f.zero()
	f.Label("loop")
	for i, acc := range []reg.VecVirtual{a, b} {
		v := f.vec(f.wide)
		f.VMOVUPS(at(x, 4*lanes(f.wide)*i), v)
		f.abs(v, v, mask)
		f.VPMAXSD(v, acc, acc)
	}
	f.ADDQ(Imm(uint64(8*lanes(f.wide))), x)
	f.DECQ(n)
	f.JNZ(LabelRef("loop"))
	f.VPMAXSD(b, a, a)
	f.fold(a, func(a, b reg.VecVirtual) { f.VPMAXSD(a, b, b) })
	r := f.GP32()
	f.VMOVD(a.AsX(), r)
	f.VZEROUPPER()
	f.Store(r, f.ReturnIndex(0))
	f.RET()
}
