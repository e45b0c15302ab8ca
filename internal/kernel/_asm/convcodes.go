package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Offsets in the Go type codesEnd.
const (
	endLo, endHi, endZero, endFlip                                              = 0, 4, 8, 12
	endMid, endRA, endFixed, endRB, endOtherFlip, endOtherShift, endYLo, endYHi = 16, 20, 24, 28, 32, 36, 40, 44
	endYShift                                                                   = 48
	endSmall, endZeroWords, endLoBytes, endHiBytes                              = 52, 56, 60, 64
	endSecond                                                                   = 68
)

// convCodes are whole convolutions of a strip of channels: sums in registers, requantized and stored as codes. Eight rows are the
// most whose starts fit the registers; seven divide the images of networks for 224 pixels without rest.
func convCodes(g *gen) {
	for _, rows := range []int{8, 7} {
		for _, width := range []int{48, 32, 16} {
			stripInt8(g, rows, width, true)
			stripInt8(g, rows, width, false)
		}
	}
}

// stripInt8 stores codes or floats.
func stripInt8(g *gen, rows, width int, codes bool) {
	vecs := width / 16
	kind, args, result := "stripCodes", "end *int32, dst, other *byte, ldd int, mask uint64", "\tdst[i*ldd+j] = end of s*scale[j], and of other[i*ldd+j] unless other is nil"
	if !codes {
		kind, args, result = "stripFloats", "bias, dst, other *float32, ldd int, lo, hi float32, mask uint64", "\tdst[i*ldd+j] = min(max(float32(s)*scale[j] + bias[j] + other[i*ldd+j], lo), hi), without other if that is nil"
	}
	g.function(name("%s%dx%dAVX512VNNI", kind, rows, width),
		"func(count, runs, k4 int, src *byte, rows, offs *int, b *byte, start *int32, scale *float32, "+args+")",
		fmt.Sprintf("count rows of a product or convolution times up to %d columns, those of mask", width),
		"",
		"\ts = start[j] + sum over r<runs, l<k4, t<4 of src[rows[i]+offs[r]+4*l+t]*b[((r*k4+l)*"+fmt.Sprint(width)+"+j)*4+t]",
		result,
		"",
		fmt.Sprintf("with src unsigned and b signed bytes; rows has count values, rounded up to a multiple of %d.", rows))
	acc := make([][]reg.VecVirtual, rows)
	for i := range acc {
		for range vecs {
			acc[i] = append(acc[i], g.ZMM())
		}
	}
	bv := make([]reg.VecVirtual, vecs)
	for v := range bv {
		bv[v] = g.ZMM()
	}
	av := []reg.VecVirtual{g.ZMM(), g.ZMM()}
	order := g.ZMM()
	if codes {
		g.VMOVDQU32(g.dwords("packedOrder", 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), order)
	} else {
		g.SHLQ(Imm(2), g.argAddr("ldd"))
	}
	bits := g.GP64()
	g.MOVQ(g.argAddr("mask"), bits)
	whole := g.K()
	g.KMOVQ(bits, whole)
	part := make([]reg.OpmaskVirtual, vecs)
	for v := range part {
		part[v] = g.K()
		g.KSHIFTRQ(Imm(uint64(16*v)), whole, part[v])
	}

	g.Label("tile")
	if codes {
		g.prefetchRows(rows, 0, 47)
	} else {
		var lines []int
		for v := range vecs {
			lines = append(lines, 64*v)
		}
		g.prefetchRows(rows, lines...)
	}
	list, src := g.arg("rows"), g.arg("src")
	row := make([]reg.GPVirtual, rows)
	for i := range row {
		row[i] = g.GP64()
		g.MOVQ(at(list, 8*i), row[i])
		g.ADDQ(src, row[i])
	}
	g.ADDQ(Imm(uint64(8*rows)), g.argAddr("rows"))
	start := g.arg("start")
	for v := range vecs {
		g.VMOVDQU32(at(start, 64*v), acc[0][v])
		for i := 1; i < rows; i++ {
			g.VMOVDQA64(acc[0][v], acc[i][v])
		}
	}
	runs, offs, b, k4 := g.arg("runs"), g.arg("offs"), g.arg("b"), g.arg("k4")
	at0, left := g.GP64(), g.GP64()
	g.Label("run")
	g.MOVQ(at(offs, 0), at0)
	g.ADDQ(Imm(8), offs)
	g.MOVQ(k4, left)
	g.Label("word")
	for v := range vecs {
		g.VMOVDQU8(at(b, 64*v), bv[v])
	}
	g.ADDQ(U32(uint32(4*width)), b)
	for i := range rows {
		w := av[i%2]
		g.VPBROADCASTD(indexed(row[i], at0, 1, 0), w)
		for v := range vecs {
			g.VPDPBUSD(bv[v], w, acc[i][v])
		}
	}
	g.ADDQ(Imm(4), at0)
	g.DECQ(left)
	g.JNZ(LabelRef("word"))
	g.DECQ(runs)
	g.JNZ(LabelRef("run"))

	scale, dst, ldd, count := g.arg("scale"), g.arg("dst"), g.arg("ldd"), g.arg("count")
	for v := range vecs {
		g.VMOVUPS(at(scale, 64*v), bv[v])
	}
	if !codes {
		bias := g.arg("bias")
		lo, hi := av[0], av[1]
		g.VBROADCASTSS(g.argAddr("lo"), lo)
		g.VBROADCASTSS(g.argAddr("hi"), hi)
		other := g.arg("other")
		for _, residual := range []bool{false, true} {
			if residual {
				g.Label("residual")
			} else {
				g.TESTQ(other, other)
				g.JNZ(LabelRef("residual"))
			}
			for i := range rows {
				for v, x := range acc[i] {
					g.VCVTDQ2PS(x, x)
					g.VMULPS(bv[v], x, x)
					g.VADDPS(at(bias, 64*v), x, x)
					if residual {
						t := g.ZMM()
						g.VMOVUPS_Z(at(other, 64*v), part[v], t)
						g.VADDPS(t, x, x)
					}
					g.VMAXPS(x, lo, x)
					g.VMINPS(x, hi, x)
					g.VMOVUPS(x, part[v], at(dst, 64*v))
				}
				g.ADDQ(ldd, dst)
				if residual {
					g.ADDQ(ldd, other)
				}
				g.DECQ(count)
				g.JZ(LabelRef("done"))
			}
			if residual {
				g.MOVQ(other, g.argAddr("other"))
			}
			g.MOVQ(dst, g.argAddr("dst"))
			g.MOVQ(count, g.argAddr("count"))
			g.JMP(LabelRef("tile"))
		}
		g.Label("done")
		g.VZEROUPPER()
		g.RET()
		return
	}
	end, other := g.arg("end"), g.arg("other")
	bcst := func(offset int) Mem { return at(end, offset) }
	inner, fixed, second := g.ZMM(), g.ZMM(), g.K()
	finish := func(i int, residual bool) {
		for v, x := range acc[i] {
			g.VCVTDQ2PS(x, x)
			g.VMULPS(bv[v], x, x)
			g.VMAXPS_BCST(bcst(endLo), x, x)
			g.VMINPS_BCST(bcst(endHi), x, x)
			if !residual {
				g.VCVTPS2DQ(x, x)
				g.VPADDD_BCST(bcst(endZero), x, x)
				continue
			}
			t := av[v%2]
			g.VPMOVZXBD_Z(at(other, 16*v), part[v], t)
			g.VPXORD_BCST(bcst(endOtherFlip), t, t)
			g.VPSUBD_BCST(bcst(endOtherShift), t, t)
			g.VCVTDQ2PS(t, t)
			g.VRNDSCALEPS(Imm(0), x, x)
			g.VADDPS_BCST(bcst(endMid), x, x)
			g.VBLENDMPS(x, t, second, inner)
			g.VMOVAPS(t, second, x)
			g.VFMADD132PS_BCST(bcst(endRB), fixed, inner)
			g.VFMADD132PS_BCST(bcst(endRA), inner, x)
			g.VMAXPS_BCST(bcst(endYLo), x, x)
			g.VMINPS_BCST(bcst(endYHi), x, x)
			g.VCVTPS2DQ(x, x)
			g.VPADDD_BCST(bcst(endYShift), x, x)
		}
		x := acc[i]
		a, c := x[0], x[0]
		switch vecs {
		case 1:
			g.VPACKUSDW(a, a, a)
		case 2:
			g.VPACKUSDW(x[1], a, a)
		case 3:
			c = x[2]
			g.VPACKUSDW(x[1], a, a)
			g.VPACKUSDW(c, c, c)
		}
		g.VPACKUSWB(c, a, a)
		g.VPERMD(a, order, a)
		g.VPXORD_BCST(bcst(endFlip), a, a)
		g.VMOVDQU8(a, whole, at(dst, 0))
	}
	// Where no scaled sum leaves int32, saturating packs clamp what floats need not.
	small := g.GP32()
	g.MOVL(at(end, endSmall), small)
	g.TESTL(small, small)
	g.JZ(LabelRef("plain"))
	zero, lowest, highest := av[0], av[1], g.ZMM()
	g.VPBROADCASTD(at(end, endZeroWords), zero)
	g.VPBROADCASTD(at(end, endLoBytes), lowest)
	g.VPBROADCASTD(at(end, endHiBytes), highest)
	for i := range rows {
		x := acc[i]
		for v := range x {
			g.VCVTDQ2PS(x[v], x[v])
			g.VMULPS(bv[v], x[v], x[v])
			g.VCVTPS2DQ(x[v], x[v])
		}
		a, c := x[0], x[0]
		if vecs > 1 {
			g.VPACKSSDW(x[1], a, a)
		} else {
			g.VPACKSSDW(a, a, a)
		}
		g.VPADDSW(zero, a, a)
		if vecs == 3 {
			c = x[2]
			g.VPACKSSDW(c, c, c)
			g.VPADDSW(zero, c, c)
		}
		g.VPACKUSWB(c, a, a)
		g.VPMAXUB(lowest, a, a)
		g.VPMINUB(highest, a, a)
		g.VPERMD(a, order, a)
		g.VPXORD_BCST(bcst(endFlip), a, a)
		g.VMOVDQU8(a, whole, at(dst, 0))
		g.ADDQ(ldd, dst)
		g.DECQ(count)
		g.JZ(LabelRef("done"))
	}
	g.MOVQ(dst, g.argAddr("dst"))
	g.MOVQ(count, g.argAddr("count"))
	g.JMP(LabelRef("tile"))
	for _, residual := range []bool{false, true} {
		label := "plain"
		if residual {
			label = "residual"
		}
		g.Label(label)
		if !residual {
			g.TESTQ(other, other)
			g.JNZ(LabelRef("residual"))
		} else {
			g.VBROADCASTSS(at(end, endFixed), fixed)
			g.KMOVW(at(end, endSecond), second)
		}
		for i := range rows {
			finish(i, residual)
			g.ADDQ(ldd, dst)
			if residual {
				g.ADDQ(ldd, other)
			}
			g.DECQ(count)
			g.JZ(LabelRef("done"))
		}
		if residual {
			g.MOVQ(other, g.argAddr("other"))
		}
		g.MOVQ(dst, g.argAddr("dst"))
		g.MOVQ(count, g.argAddr("count"))
		g.JMP(LabelRef("tile"))
	}
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}

// prefetchRows asks for the next tile's rows of what a strip reads beside its source: the lines of its columns are far apart, so
// that the processor does not foresee them.
func (g *gen) prefetchRows(rows int, at0 ...int) {
	p, ldd := g.arg("other"), g.arg("ldd")
	g.TESTQ(p, p)
	g.JZ(LabelRef("near"))
	ahead := g.GP64()
	g.IMUL3Q(Imm(uint64(rows)), ldd, ahead)
	g.ADDQ(ahead, p)
	for range rows {
		for _, disp := range at0 {
			g.PREFETCHT0(at(p, disp))
		}
		g.ADDQ(ldd, p)
	}
	g.Label("near")
}
