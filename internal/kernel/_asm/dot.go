package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const dotRowsSignature = "func(k int, a, b *float32, ldb int, dst *float32)"

var dotRowsDoc = []string{
	"four dot products that share one operand",
	"",
	"\tdst[j] = sum over l<k of a[l]*b[j*ldb+l]   for j < 4",
}

func dotRowsAVX512(g *gen) {
	g.function("dot4F32AVX512", dotRowsSignature, dotRowsDoc...)
	k, a, b, ldb, dst := g.arg("k"), g.arg("a"), g.arg("b"), g.arg("ldb"), g.arg("dst")
	g.SHLQ(Imm(2), ldb)
	rows := [4]reg.GPVirtual{b, g.GP64(), g.GP64(), g.GP64()}
	for j := 1; j < 4; j++ {
		g.LEAQ(indexed(rows[j-1], ldb, 1, 0), rows[j])
	}
	var acc [2][4]reg.VecVirtual
	for s := range acc {
		for j := range acc[s] {
			acc[s][j] = g.ZMM()
			g.VPXORD(acc[s][j], acc[s][j], acc[s][j])
		}
	}
	av := g.ZMM()
	g.Label("two")
	g.CMPQ(k, Imm(32))
	g.JLT(LabelRef("rest"))
	for s := range acc {
		g.VMOVUPS(at(a, 64*s), av)
		for j := range rows {
			g.VFMADD231PS(at(rows[j], 64*s), av, acc[s][j])
		}
	}
	g.ADDQ(Imm(128), a)
	for j := range rows {
		g.PREFETCHT0(at(rows[j], 1024))
		g.ADDQ(Imm(128), rows[j])
	}
	g.SUBQ(Imm(32), k)
	g.JMP(LabelRef("two"))
	g.Label("rest")
	g.CMPQ(k, Imm(0))
	g.JLE(LabelRef("finish"))
	limit := g.GP64()
	g.MOVQ(U32(16), limit)
	g.CMPQ(k, limit)
	g.CMOVQLT(k, limit)
	mask := g.columnMasks(limit, 1)[0]
	bv := g.ZMM()
	g.VMOVUPS_Z(at(a, 0), mask, av)
	for j := range rows {
		g.VMOVUPS_Z(at(rows[j], 0), mask, bv)
		g.VFMADD231PS(bv, av, acc[0][j])
		g.ADDQ(Imm(64), rows[j])
	}
	g.ADDQ(Imm(64), a)
	g.SUBQ(Imm(16), k)
	g.JMP(LabelRef("rest"))
	g.Label("finish")
	for j := range rows {
		g.VADDPS(acc[1][j], acc[0][j], acc[0][j])
		y := g.YMM()
		g.VEXTRACTF64X4(Imm(1), acc[0][j], y)
		g.VADDPS(y, acc[0][j].AsY(), y)
		g.sumLanes(y)
		g.VMOVSS(y.AsX(), at(dst, 4*j))
	}
	g.VZEROUPPER()
	g.RET()
}

// sumLanes leaves the sum of the eight float32 lanes of y in its lowest lane.
func (g *gen) sumLanes(y reg.VecVirtual) {
	x := g.XMM()
	g.VEXTRACTF128(Imm(1), y, x)
	g.VADDPS(x, y.AsX(), x)
	g.VHADDPS(x, x, x)
	g.VHADDPS(x, x, y.AsX())
}

func dotRowsAVX2(g *gen) {
	g.function("dot4F32AVX2", dotRowsSignature, dotRowsDoc...)
	k, a, b, ldb, dst := g.arg("k"), g.arg("a"), g.arg("b"), g.arg("ldb"), g.arg("dst")
	g.SHLQ(Imm(2), ldb)
	rows := [4]reg.GPVirtual{b, g.GP64(), g.GP64(), g.GP64()}
	for j := 1; j < 4; j++ {
		g.LEAQ(indexed(rows[j-1], ldb, 1, 0), rows[j])
	}
	var acc [2][4]reg.VecVirtual
	for s := range acc {
		for j := range acc[s] {
			acc[s][j] = g.YMM()
			g.VXORPS(acc[s][j], acc[s][j], acc[s][j])
		}
	}
	av := g.YMM()
	g.Label("two")
	g.CMPQ(k, Imm(16))
	g.JLT(LabelRef("rest"))
	for s := range acc {
		g.VMOVUPS(at(a, 32*s), av)
		for j := range rows {
			g.VFMADD231PS(at(rows[j], 32*s), av, acc[s][j])
		}
	}
	g.ADDQ(Imm(64), a)
	for j := range rows {
		g.PREFETCHT0(at(rows[j], 1024))
		g.ADDQ(Imm(64), rows[j])
	}
	g.SUBQ(Imm(16), k)
	g.JMP(LabelRef("two"))
	g.Label("rest")
	g.CMPQ(k, Imm(0))
	g.JLE(LabelRef("finish"))
	limit, table := g.GP64(), g.GP64()
	g.MOVQ(U32(8), limit)
	g.CMPQ(k, limit)
	g.CMOVQLT(k, limit)
	g.LEAQ(g.laneMasks(), table)
	g.NEGQ(limit)
	mask, bv := g.YMM(), g.YMM()
	g.VMOVUPS(indexed(table, limit, 4, 64), mask)
	g.VMASKMOVPS(at(a, 0), mask, av)
	for j := range rows {
		g.VMASKMOVPS(at(rows[j], 0), mask, bv)
		g.VFMADD231PS(bv, av, acc[0][j])
		g.ADDQ(Imm(32), rows[j])
	}
	g.ADDQ(Imm(32), a)
	g.SUBQ(Imm(8), k)
	g.JMP(LabelRef("rest"))
	g.Label("finish")
	for j := range rows {
		g.VADDPS(acc[1][j], acc[0][j], acc[0][j])
		g.sumLanes(acc[0][j])
		g.VMOVSS(acc[0][j].AsX(), at(dst, 4*j))
	}
	g.VZEROUPPER()
	g.RET()
}
