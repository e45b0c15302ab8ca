package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrow is the product of rows of 16-bit floats, as they lie, with one vector of float32, which is bound by memory: rows are read one
// after the other as one stream.
func narrow(g *gen) {
	for _, wide := range []bool{true, false} {
		for _, name := range []string{"F16", "BF16"} {
			dotNarrow(g, wide, name == "BF16")
		}
	}
}

func dotNarrow(g *gen, wide, brain bool) {
	kind := "F16"
	if brain {
		kind = "BF16"
	}
	n := lanes(wide)
	const sums = 4
	g.function("dot"+kind+"Rows"+isaName(wide), "func(rows, k int, a *float32, b *uint16, ldb int, dst *float32)",
		name("dst[r] = sum over l<k of a[l]*b[r*ldb+l] for r < rows, k a multiple of %d.", n))
	rows, k, a, b, ldb, dst := g.arg("rows"), g.arg("k"), g.arg("a"), g.arg("b"), g.arg("ldb"), g.arg("dst")
	g.SHLQ(Imm(1), ldb)
	acc := make([]reg.VecVirtual, sums)
	for i := range acc {
		acc[i] = g.vec(wide)
	}
	v := []reg.VecVirtual{g.vec(wide), g.vec(wide)}
	one := func(i int) {
		w := v[i%2]
		if brain {
			g.VPMOVZXWD(at(b, 2*n*i), w)
			g.VPSLLD(Imm(16), w, w)
		} else {
			g.VCVTPH2PS(at(b, 2*n*i), w)
		}
		g.VFMADD231PS(at(a, 4*n*i), w, acc[i])
	}
	left, next, from := g.GP64(), g.GP64(), g.GP64()
	g.MOVQ(a, from)
	g.Label("row")
	for _, v := range acc {
		if wide {
			g.VPXORD(v, v, v)
		} else {
			g.VXORPS(v, v, v)
		}
	}
	g.MOVQ(k, left)
	g.MOVQ(from, a)
	g.LEAQ(indexed(b, ldb, 1, 0), next)
	g.Label("four")
	g.SUBQ(Imm(uint64(sums*n)), left)
	g.JL(LabelRef("rest"))
	for i := range sums {
		if 2*n*i%64 == 0 {
			g.PREFETCHT0(at(b, prefetchAhead+2*n*i))
		}
		one(i)
	}
	g.ADDQ(U32(uint32(2*n*sums)), b)
	g.ADDQ(U32(uint32(4*n*sums)), a)
	g.JMP(LabelRef("four"))
	g.Label("rest")
	g.ADDQ(Imm(uint64(sums*n)), left)
	g.Label("one")
	g.SUBQ(Imm(uint64(n)), left)
	g.JL(LabelRef("sum"))
	one(0)
	g.ADDQ(Imm(uint64(2*n)), b)
	g.ADDQ(Imm(uint64(4*n)), a)
	g.JMP(LabelRef("one"))
	g.Label("sum")
	g.VADDPS(acc[1], acc[0], acc[0])
	g.VADDPS(acc[3], acc[2], acc[2])
	g.VADDPS(acc[2], acc[0], acc[0])
	y := acc[0]
	if wide {
		y = g.YMM()
		g.VEXTRACTF64X4(Imm(1), acc[0], y)
		g.VADDPS(y, acc[0].AsY(), y)
	}
	g.sumLanes(y)
	g.VMOVSS(y.AsX(), at(dst, 0))
	g.ADDQ(Imm(4), dst)
	g.MOVQ(next, b)
	g.DECQ(rows)
	g.JNZ(LabelRef("row"))
	g.VZEROUPPER()
	g.RET()
}
