package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The peak probes run an instruction on registers only, in enough independent chains to hide its
// latency: the rate that no kernel built on it can exceed.

func peak(g *gen) {
	probes := []struct {
		name string
		wide bool
		one  func(a, b, acc reg.VecVirtual)
	}{
		{"FMAAVX512", true, func(a, b, acc reg.VecVirtual) { g.VFMADD231PS(a, b, acc) }},
		{"FMAAVX2", false, func(a, b, acc reg.VecVirtual) { g.VFMADD231PS(a, b, acc) }},
		{"DotInt8AVXVNNI", false, func(a, b, acc reg.VecVirtual) { g.raw("VPDPBUSDVEX", a, b, acc) }},
		{"DotInt8AVX512VNNI", true, func(a, b, acc reg.VecVirtual) { g.VPDPBUSD(a, b, acc) }},
		{"DotBF16AVX512BF16", true, func(a, b, acc reg.VecVirtual) { g.raw("VDPBF16PS", a, b, acc) }},
	}
	for _, p := range probes {
		g.function("peak"+p.name, "func(n int)", "12*n times the instruction that its name says, on registers.")
		n := g.arg("n")
		a, b := g.vec(p.wide), g.vec(p.wide)
		zero := func(v reg.VecVirtual) {
			if p.wide {
				g.VPXORD(v, v, v)
			} else {
				g.VXORPS(v, v, v)
			}
		}
		zero(a)
		zero(b)
		var acc []reg.VecVirtual
		for range 12 {
			v := g.vec(p.wide)
			zero(v)
			acc = append(acc, v)
		}
		g.Label("loop")
		for _, v := range acc {
			p.one(a, b, v)
		}
		g.DECQ(n)
		g.JNZ(LabelRef("loop"))
		g.VZEROUPPER()
		g.RET()
	}
	dot8 := "peakDotInt8AVX2"
	g.function(dot8, "func(n int)", "10*n pairs of VPMADDWD and VPADDD on registers, as exact integer kernels without VNNI need them.")
	n := g.arg("n")
	a := g.YMM()
	g.VPXOR(a, a, a)
	var acc []reg.VecVirtual
	for range 10 {
		v := g.YMM()
		g.VPXOR(v, v, v)
		acc = append(acc, v)
	}
	t := []reg.VecVirtual{g.YMM(), g.YMM(), g.YMM(), g.YMM()}
	g.Label("loop")
	for i, v := range acc {
		g.VPMADDWD(a, a, t[i%4])
		g.VPADDD(t[i%4], v, v)
	}
	g.DECQ(n)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
	for _, wide := range []bool{true, false} {
		peakRead(g, wide)
		peakReadOn(g, wide)
	}
}

// peakRead reads four streams a quarter of the buffer apart with prefetches ahead, which is what it takes to
// draw all of a DRAM channel's bandwidth.
func peakRead(g *gen, wide bool) {
	size := 4 * lanes(wide)
	g.function("peakRead"+isaName(wide), "func(lines int, src *byte, stride int)",
		"nothing: it reads lines lines of 64 bytes from each of the four streams that begin stride bytes apart.")
	lines, src, stride := g.arg("lines"), g.arg("src"), g.arg("stride")
	streams := []reg.GPVirtual{src, g.GP64(), g.GP64(), g.GP64()}
	for i := 1; i < 4; i++ {
		g.LEAQ(indexed(streams[i-1], stride, 1, 0), streams[i])
	}
	v := g.vec(wide)
	g.Label("loop")
	for _, s := range streams {
		g.PREFETCHT0(at(s, 1024))
		for part := 0; part < 64; part += size {
			g.VMOVUPS(at(s, part), v)
		}
		g.ADDQ(Imm(64), s)
	}
	g.DECQ(lines)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}

// peakReadOn reads one stream and leaves prefetching to the machine, which is best in the caches.
func peakReadOn(g *gen, wide bool) {
	size := 4 * lanes(wide)
	g.function("peakReadOn"+isaName(wide), "func(lines4 int, src *byte)", "nothing: it reads 4*lines4 lines of 64 bytes.")
	lines, src := g.arg("lines4"), g.arg("src")
	v := []reg.VecVirtual{g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)}
	g.Label("loop")
	for part := 0; part < 256; part += size {
		g.VMOVUPS(at(src, part), v[part/size%4])
	}
	g.ADDQ(U32(256), src)
	g.DECQ(lines)
	g.JNZ(LabelRef("loop"))
	g.VZEROUPPER()
	g.RET()
}
