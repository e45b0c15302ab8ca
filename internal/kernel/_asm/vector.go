package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func vector(g *gen) {
	for _, wide := range []bool{true, false} {
		binary(g, wide, "add", "a[i] + b[i]", func(a, b reg.VecVirtual) { g.VADDPS(b, a, a) })
		binary(g, wide, "sub", "a[i] - b[i]", func(a, b reg.VecVirtual) { g.VSUBPS(b, a, a) })
		binary(g, wide, "mul", "a[i] * b[i]", func(a, b reg.VecVirtual) { g.VMULPS(b, a, a) })
		binary(g, wide, "div", "a[i] / b[i]", func(a, b reg.VecVirtual) { g.VDIVPS(b, a, a) })
		binary(g, wide, "max", "a[i] where that is greater than b[i], else b[i],", func(a, b reg.VecVirtual) { g.VMAXPS(b, a, a) })
		maskPositive(g, wide)
		scaleShift(g, wide)
		clip(g, wide)
		axpy(g, wide)
		axpyF64(g, wide, false)
		axpyF64(g, wide, true)
		dot(g, wide)
		sum(g, wide)
		minMax(g, wide)
	}
}

// mapped emits the loop of an elementwise function: dst[i] = f(inputs[i]...) for i < n, whole
// vectors first and then a masked rest, so that the result of an element does not depend on where in
// the slice it lies. f gets the loaded inputs and returns the register of the result.
func (g *gen) mapped(wide bool, inputs []string, f func(in []reg.VecVirtual) reg.VecVirtual) {
	n, dst := g.arg("n"), g.arg("dst")
	var from []reg.GPVirtual
	var in []reg.VecVirtual
	for _, name := range inputs {
		from = append(from, g.arg(name))
		in = append(in, g.vec(wide))
	}
	step := lanes(wide)
	g.Label("whole")
	g.CMPQ(n, Imm(uint64(step)))
	g.JLT(LabelRef("part"))
	for i := range from {
		g.VMOVUPS(at(from[i], 0), in[i])
		g.ADDQ(Imm(uint64(4*step)), from[i])
	}
	g.VMOVUPS(f(in), at(dst, 0))
	g.ADDQ(Imm(uint64(4*step)), dst)
	g.SUBQ(Imm(uint64(step)), n)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	g.TESTQ(n, n)
	g.JZ(LabelRef("done"))
	mask := g.maskOf(wide, n)
	for i := range from {
		g.loadMasked(wide, at(from[i], 0), mask, in[i])
	}
	g.storeMasked(wide, f(in), mask, at(dst, 0))
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}

func binary(g *gen, wide bool, op, formula string, f func(a, b reg.VecVirtual)) {
	g.function(op+isaName(wide), "func(n int, dst, a, b *float32)", fmt.Sprintf("dst[i] = %s for i < n.", formula))
	g.mapped(wide, []string{"a", "b"}, func(in []reg.VecVirtual) reg.VecVirtual {
		f(in[0], in[1])
		return in[0]
	})
}

func maskPositive(g *gen, wide bool) {
	g.function("maskPositive"+isaName(wide), "func(n int, dst, a, b *float32)", "dst[i] = a[i] where b[i] is above zero, else 0, for i < n.")
	const greater = 0x1e
	zero := g.vec(wide)
	if wide {
		g.VPXORD(zero, zero, zero)
	} else {
		g.VPXOR(zero, zero, zero)
	}
	g.mapped(wide, []string{"a", "b"}, func(in []reg.VecVirtual) reg.VecVirtual {
		if wide {
			k := g.K()
			g.VCMPPS(Imm(greater), zero, in[1], k)
			g.VMOVAPS_Z(in[0], k, in[0])
		} else {
			g.VCMPPS(Imm(greater), zero, in[1], in[1])
			g.VPAND(in[1], in[0], in[0])
		}
		return in[0]
	})
}

func scaleShift(g *gen, wide bool) {
	g.function("scaleShift"+isaName(wide), "func(n int, dst, x *float32, s, t float32)", "dst[i] = x[i]*s + t for i < n, the product rounded before the sum.")
	s, t := g.broadcastArg(wide, "s"), g.broadcastArg(wide, "t")
	g.mapped(wide, []string{"x"}, func(in []reg.VecVirtual) reg.VecVirtual {
		g.VMULPS(s, in[0], in[0])
		g.VADDPS(t, in[0], in[0])
		return in[0]
	})
}

// broadcastArg loads the named float32 parameter into all lanes.
func (g *gen) broadcastArg(wide bool, name string) reg.VecVirtual {
	v := g.vec(wide)
	g.VBROADCASTSS(g.argAddr(name), v)
	return v
}

func clip(g *gen, wide bool) {
	g.function("clip"+isaName(wide), "func(n int, dst, x *float32, lo, hi float32)", "dst[i] = min(max(x[i], lo), hi) for i < n; NaN stays NaN.")
	lo, hi := g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi")
	g.mapped(wide, []string{"x"}, func(in []reg.VecVirtual) reg.VecVirtual {
		g.VMAXPS(in[0], lo, in[0]) // of a NaN and a number, or two zeros, the first operand here
		g.VMINPS(in[0], hi, in[0])
		return in[0]
	})
}

func axpy(g *gen, wide bool) {
	g.function("axpy"+isaName(wide), "func(n int, dst, x *float32, alpha float32)", "dst[i] += alpha*x[i] for i < n, fused.")
	alpha := g.broadcastArg(wide, "alpha")
	n, dst, x := g.arg("n"), g.arg("dst"), g.arg("x")
	y, v := g.vec(wide), g.vec(wide)
	step := lanes(wide)
	g.Label("whole")
	g.CMPQ(n, Imm(uint64(step)))
	g.JLT(LabelRef("part"))
	g.VMOVUPS(at(dst, 0), y)
	g.VFMADD231PS(at(x, 0), alpha, y)
	g.VMOVUPS(y, at(dst, 0))
	g.ADDQ(Imm(uint64(4*step)), dst)
	g.ADDQ(Imm(uint64(4*step)), x)
	g.SUBQ(Imm(uint64(step)), n)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	g.TESTQ(n, n)
	g.JZ(LabelRef("done"))
	mask := g.maskOf(wide, n)
	g.loadMasked(wide, at(dst, 0), mask, y)
	g.loadMasked(wide, at(x, 0), mask, v)
	g.VFMADD231PS(v, alpha, y)
	g.storeMasked(wide, y, mask, at(dst, 0))
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}

// axpyF64 is axpy on float64 sums; with widening, of float32 values.
func axpyF64(g *gen, wide, widening bool) {
	if widening {
		g.function("addWidened"+isaName(wide), "func(n int, dst *float64, x *float32, alpha float64)", "dst[i] += alpha*float64(x[i]) for i < n, fused.")
	} else {
		g.function("axpyF64"+isaName(wide), "func(n int, dst, x *float64, alpha float64)", "dst[i] += alpha*x[i] for i < n, fused.")
	}
	alpha := g.vec(wide)
	g.VBROADCASTSD(g.argAddr("alpha"), alpha)
	n, dst, x := g.arg("n"), g.arg("dst"), g.arg("x")
	y, v := g.vec(wide), g.vec(wide)
	step := lanes(wide) / 2
	size := 8
	if widening {
		size = 4
	}
	g.Label("whole")
	g.CMPQ(n, Imm(uint64(step)))
	g.JLT(LabelRef("part"))
	g.VMOVUPS(at(dst, 0), y)
	if widening {
		g.VCVTPS2PD(at(x, 0), v)
	} else {
		g.VMOVUPS(at(x, 0), v)
	}
	g.VFMADD231PD(v, alpha, y)
	g.VMOVUPS(y, at(dst, 0))
	g.ADDQ(Imm(uint64(8*step)), dst)
	g.ADDQ(Imm(uint64(size*step)), x)
	g.SUBQ(Imm(uint64(step)), n)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	g.TESTQ(n, n)
	g.JZ(LabelRef("done"))
	one, sum, factor := g.XMM(), g.XMM(), alpha.AsX()
	g.Label("one")
	if widening {
		g.VMOVSS(at(x, 0), one)
		g.VCVTSS2SD(one, one, one)
	} else {
		g.VMOVSD(at(x, 0), one)
	}
	g.VMOVSD(at(dst, 0), sum)
	g.VFMADD231SD(one, factor, sum)
	g.VMOVSD(sum, at(dst, 0))
	g.ADDQ(Imm(8), dst)
	g.ADDQ(Imm(uint64(size)), x)
	g.DECQ(n)
	g.JNZ(LabelRef("one"))
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}

// reduced emits a reduction with four accumulators each of kinds kinds: step takes the inputs of one
// vector into accumulators acc (one of each kind). fill is what masked-off lanes of the rest read as,
// in the bits of a float32.
func (g *gen) reduced(wide bool, inputs []string, starts []uint32, fill uint32, step func(acc, in []reg.VecVirtual), join func(kind int, a, b reg.VecVirtual)) []reg.VecVirtual {
	const ways = 4
	n := g.arg("n")
	var from []reg.GPVirtual
	var in []reg.VecVirtual
	for _, name := range inputs {
		from = append(from, g.arg(name))
		in = append(in, g.vec(wide))
	}
	acc := make([][]reg.VecVirtual, ways)
	for w := range acc {
		for _, bits := range starts {
			v := g.vec(wide)
			g.VBROADCASTSS(g.word(bits), v)
			acc[w] = append(acc[w], v)
		}
	}
	size := lanes(wide)
	g.Label("four")
	g.CMPQ(n, Imm(uint64(ways*size)))
	g.JLT(LabelRef("whole"))
	for w := range ways {
		for i := range from {
			g.VMOVUPS(at(from[i], 4*size*w), in[i])
		}
		step(acc[w], in)
	}
	for i := range from {
		g.ADDQ(U32(uint32(4*size*ways)), from[i])
	}
	g.SUBQ(Imm(uint64(ways*size)), n)
	g.JMP(LabelRef("four"))
	g.Label("whole")
	g.CMPQ(n, Imm(uint64(size)))
	g.JLT(LabelRef("part"))
	for i := range from {
		g.VMOVUPS(at(from[i], 0), in[i])
		g.ADDQ(Imm(uint64(4*size)), from[i])
	}
	step(acc[0], in)
	g.SUBQ(Imm(uint64(size)), n)
	g.JMP(LabelRef("whole"))
	g.Label("part")
	g.TESTQ(n, n)
	g.JZ(LabelRef("join"))
	mask := g.maskOf(wide, n)
	for i := range from {
		if fill == 0 {
			g.loadMasked(wide, at(from[i], 0), mask, in[i])
			continue
		}
		if wide {
			g.VBROADCASTSS(g.word(fill), in[i])
			g.VMOVUPS(at(from[i], 0), mask, in[i])
		} else {
			other := g.vec(wide)
			g.VBROADCASTSS(g.word(fill), other)
			g.VMASKMOVPS(at(from[i], 0), mask, in[i])
			g.VBLENDVPS(mask, in[i], other, in[i])
		}
	}
	step(acc[0], in)
	g.Label("join")
	out := make([]reg.VecVirtual, len(starts))
	for kind := range starts {
		join(kind, acc[1][kind], acc[0][kind])
		join(kind, acc[3][kind], acc[2][kind])
		join(kind, acc[2][kind], acc[0][kind])
		y := acc[0][kind]
		if wide {
			half := g.YMM()
			g.VEXTRACTF64X4(Imm(1), y, half)
			join(kind, y.AsY().(reg.VecVirtual), half)
			y = half
		}
		out[kind] = y
	}
	return out
}

func dot(g *gen, wide bool) {
	g.function("dot"+isaName(wide), "func(n int, a, b *float32) float32", "the sum of a[i]*b[i] for i < n.")
	out := g.reduced(wide, []string{"a", "b"}, []uint32{0}, 0,
		func(acc, in []reg.VecVirtual) { g.VFMADD231PS(in[0], in[1], acc[0]) },
		func(_ int, a, b reg.VecVirtual) { g.VADDPS(a, b, b) })
	g.returnSum(out[0])
}

func sum(g *gen, wide bool) {
	g.function("sum"+isaName(wide), "func(n int, x *float32) float32", "the sum of x[i] for i < n.")
	out := g.reduced(wide, []string{"x"}, []uint32{0}, 0,
		func(acc, in []reg.VecVirtual) { g.VADDPS(in[0], acc[0], acc[0]) },
		func(_ int, a, b reg.VecVirtual) { g.VADDPS(a, b, b) })
	g.returnSum(out[0])
}

func (g *gen) returnSum(y reg.VecVirtual) {
	g.sumLanes(y)
	ret, err := g.ReturnIndex(0).Resolve()
	if err != nil {
		panic(err)
	}
	g.VMOVSS(y.AsX(), ret.Addr)
	g.VZEROUPPER()
	g.RET()
}

func minMax(g *gen, wide bool) {
	g.function("minMax"+isaName(wide), "func(n int, x *float32) (lo, hi float32)", "the least and the greatest x[i] for i < n, NaN skipped.")
	pick := func(kind int, a, b reg.VecVirtual) { // of a NaN a and a number b, b
		if kind == 0 {
			g.VMINPS(b, a, b)
		} else {
			g.VMAXPS(b, a, b)
		}
	}
	plus, minus := math.Float32bits(float32(math.Inf(1))), math.Float32bits(float32(math.Inf(-1)))
	out := g.reduced(wide, []string{"x"}, []uint32{plus, minus}, 0x7fc00000,
		func(acc, in []reg.VecVirtual) {
			pick(0, in[0], acc[0])
			pick(1, in[0], acc[1])
		}, pick)
	for kind, y := range out {
		x := g.XMM()
		g.VEXTRACTF128(Imm(1), y, x)
		low := y.AsX().(reg.VecVirtual)
		pick(kind, low, x)
		g.VSHUFPS(Imm(0b01_00_11_10), x, x, low)
		pick(kind, low, x)
		g.VSHUFPS(Imm(0b10_11_00_01), x, x, low)
		pick(kind, low, x)
		ret, err := g.ReturnIndex(kind).Resolve()
		if err != nil {
			panic(err)
		}
		g.VMOVSS(x, ret.Addr)
	}
	g.VZEROUPPER()
	g.RET()
}

// word is a read-only 32-bit constant in memory.
func (g *gen) word(bits uint32) Mem { return g.dwords(fmt.Sprintf("word%08x", bits), bits) }

// float is a read-only float32 constant in memory.
func (g *gen) float(v float64) Mem { return g.word(math.Float32bits(float32(v))) }
