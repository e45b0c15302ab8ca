package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The float32 GEMM micro-kernels: a register tile of rows x width accumulators; per step of k the
// row of B is loaded once, and each element of A is broadcast once and used for the whole row. (A
// broadcast inside each multiply-add would need a load per instruction and starve the load ports.)

const tileF32Signature = "func(k int, a, b *float32, ldb int, c *float32, ldc, rows, n int, alpha, beta float32, load bool)"

func tileF32Doc(rows, width int) []string {
	return []string{
		fmt.Sprintf("the tile of at most %d x %d", rows, width),
		"",
		fmt.Sprintf("\tc[i*ldc+j] = alpha * sum over l<k of a[l*%d+i]*b[l*ldb+j]  (+ beta*c[i*ldc+j] if load)", rows),
		"",
		fmt.Sprintf("for i < rows <= %d, j < n <= %d. All %d columns of b and %d rows of a are read.", rows, width, width, rows),
	}
}

func gemmF32(g *gen) {
	for _, rows := range []int{8, 4, 2, 1} {
		for _, width := range []int{48, 32, 16} {
			tileF32AVX512(g, rows, width)
		}
	}
	for _, rows := range []int{6, 4, 2, 1} {
		tileF32AVX2(g, rows)
	}
	dotRowsAVX512(g)
	dotRowsAVX2(g)
}

// tileArgs are the registers that both instruction sets' tiles share.
type tileArgs struct{ k, a, b, ldb, c, ldc, rows, n reg.GPVirtual }

func (g *gen) tileArgs(size int) tileArgs {
	t := tileArgs{g.arg("k"), g.arg("a"), g.arg("b"), g.arg("ldb"), g.arg("c"), g.arg("ldc"), g.arg("rows"), g.arg("n")}
	g.SHLQ(Imm(2), t.ldb)
	g.SHLQ(Imm(2), t.ldc)
	return t
}

// steps emits the loop over k: sets steps at a time, each into its own set of accumulators, then
// the rest into set 0.
func (g *gen) steps(k reg.GPVirtual, sets int, step func(set, offset int), advance func(steps int)) {
	if sets > 1 {
		g.Label("many")
		g.CMPQ(k, Imm(uint64(sets)))
		g.JLT(LabelRef("rest"))
		for s := range sets {
			step(s, s)
		}
		advance(sets)
		g.SUBQ(Imm(uint64(sets)), k)
		g.JMP(LabelRef("many"))
	}
	g.Label("rest")
	g.TESTQ(k, k)
	g.JZ(LabelRef("finish"))
	g.Label("one")
	step(0, 0)
	advance(1)
	g.DECQ(k)
	g.JNZ(LabelRef("one"))
	g.Label("finish")
}

func tileF32AVX512(g *gen, rows, width int) {
	vecs := width / 16
	sets := max(1, (8+rows*vecs-1)/(rows*vecs)) // at least 8 chains hide the latency of 4 at 2 a cycle
	if rows*vecs >= 6 {
		sets = 1
	}
	g.function(name("tileF32x%dx%dAVX512", rows, width), tileF32Signature, tileF32Doc(rows, width)...)
	t := g.tileArgs(4)
	acc := make([][][]reg.VecVirtual, sets)
	for s := range acc {
		acc[s] = make([][]reg.VecVirtual, rows)
		for i := range acc[s] {
			for range vecs {
				z := g.ZMM()
				g.VPXORD(z, z, z)
				acc[s][i] = append(acc[s][i], z)
			}
		}
	}
	row := g.GP64()
	if rows > 1 {
		g.Comment("bring the rows of C near")
		g.MOVQ(t.c, row)
		for range rows {
			for v := range vecs {
				g.PREFETCHT0(at(row, 64*v))
			}
			g.ADDQ(t.ldc, row)
		}
	}
	bv := make([]reg.VecVirtual, vecs)
	for v := range bv {
		bv[v] = g.ZMM()
	}
	av := []reg.VecVirtual{g.ZMM(), g.ZMM()}
	g.steps(t.k, sets, func(set, offset int) {
		for v := range vecs {
			g.VMOVUPS(at(t.b, 64*v), bv[v])
		}
		g.ADDQ(t.ldb, t.b)
		for i := range rows {
			a := av[i%2]
			g.VBROADCASTSS(at(t.a, 4*(offset*rows+i)), a)
			for v := range vecs {
				g.VFMADD231PS(bv[v], a, acc[set][i][v])
			}
		}
	}, func(steps int) { g.ADDQ(Imm(uint64(4*rows*steps)), t.a) })
	for s := 1; s < sets; s++ {
		for i := range rows {
			for v := range vecs {
				g.VADDPS(acc[s][i][v], acc[0][i][v], acc[0][i][v])
			}
		}
	}
	g.Comment("masks of the n valid columns, alpha, and beta*C if asked for")
	masks := g.columnMasks(t.n, vecs)
	alpha, beta := av[0], av[1]
	g.VBROADCASTSS(g.argAddr("alpha"), alpha)
	g.VBROADCASTSS(g.argAddr("beta"), beta)
	load := g.GP64()
	g.MOVBQZX(g.argAddr("load"), load)
	g.TESTQ(load, load)
	g.JNZ(LabelRef("load"))
	for _, loads := range []bool{false, true} {
		if loads {
			g.Label("load")
		}
		for i := range rows {
			for v := range vecs {
				z := acc[0][i][v]
				g.VMULPS(alpha, z, z)
				if loads {
					g.VMOVUPS_Z(at(t.c, 64*v), masks[v], bv[v])
					g.VFMADD231PS(bv[v], beta, z)
				}
				g.VMOVUPS(z, masks[v], at(t.c, 64*v))
			}
			if i < rows-1 {
				g.ADDQ(t.ldc, t.c)
				g.DECQ(t.rows)
				g.JZ(LabelRef("done"))
			}
		}
		if !loads {
			g.JMP(LabelRef("done"))
		}
	}
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}

// argAddr is the memory of the named parameter.
func (g *gen) argAddr(name string) Mem {
	b, err := g.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// columnMasks makes opmasks of n columns for vecs vectors of 16 lanes.
func (g *gen) columnMasks(n reg.GPVirtual, vecs int) []reg.OpmaskVirtual {
	bits := g.GP64()
	g.MOVQ(I32(-1), bits)
	g.BZHIQ(n, bits, bits)
	masks := make([]reg.OpmaskVirtual, vecs)
	for v := range masks {
		masks[v] = g.K()
		g.KMOVW(bits.As32(), masks[v])
		if v < vecs-1 {
			g.SHRQ(Imm(16), bits)
		}
	}
	return masks
}

func tileF32AVX2(g *gen, rows int) {
	const vecs = 2
	sets := max(1, 8/(rows*vecs))
	g.function(name("tileF32x%dx16AVX2", rows), tileF32Signature, tileF32Doc(rows, 16)...)
	t := g.tileArgs(4)
	acc := make([][][vecs]reg.VecVirtual, sets)
	for s := range acc {
		acc[s] = make([][vecs]reg.VecVirtual, rows)
		for i := range acc[s] {
			for v := range vecs {
				y := g.YMM()
				g.VXORPS(y, y, y)
				acc[s][i][v] = y
			}
		}
	}
	bv := [vecs]reg.VecVirtual{g.YMM(), g.YMM()}
	g.steps(t.k, sets, func(set, offset int) {
		for v := range vecs {
			g.VMOVUPS(at(t.b, 32*v), bv[v])
		}
		g.ADDQ(t.ldb, t.b)
		for i := range rows {
			a := g.YMM()
			g.VBROADCASTSS(at(t.a, 4*(offset*rows+i)), a)
			for v := range vecs {
				g.VFMADD231PS(bv[v], a, acc[set][i][v])
			}
		}
	}, func(steps int) { g.ADDQ(Imm(uint64(4*rows*steps)), t.a) })
	for s := 1; s < sets; s++ {
		for i := range rows {
			for v := range vecs {
				g.VADDPS(acc[s][i][v], acc[0][i][v], acc[0][i][v])
			}
		}
	}
	alpha := g.YMM()
	g.VBROADCASTSS(g.argAddr("alpha"), alpha)
	for i := range rows {
		for v := range vecs {
			g.VMULPS(alpha, acc[0][i][v], acc[0][i][v])
		}
	}
	g.Comment("masks of the n valid columns")
	masks := bv
	table, index := g.GP64(), g.GP64()
	g.LEAQ(g.laneMasks(), table)
	g.MOVQ(U32(16), index)
	g.SUBQ(t.n, index)
	for v := range vecs {
		g.VMOVUPS(indexed(table, index, 4, 32*v), masks[v])
	}
	load := g.GP64()
	g.MOVBQZX(g.argAddr("load"), load)
	g.TESTQ(load, load)
	g.JZ(LabelRef("store"))
	beta, row, count := g.YMM(), g.GP64(), g.GP64()
	g.VBROADCASTSS(g.argAddr("beta"), beta)
	g.MOVQ(t.c, row)
	g.MOVQ(t.rows, count)
	for i := range rows {
		for v := range vecs {
			old := g.YMM()
			g.VMASKMOVPS(at(row, 32*v), masks[v], old)
			g.VFMADD231PS(old, beta, acc[0][i][v])
		}
		if i < rows-1 {
			g.ADDQ(t.ldc, row)
			g.DECQ(count)
			g.JZ(LabelRef("store"))
		}
	}
	g.Label("store")
	g.CMPQ(t.n, Imm(8*vecs))
	g.JE(LabelRef("whole"))
	for _, whole := range []bool{false, true} {
		if whole {
			g.Comment("masked stores are slow on some CPUs")
			g.Label("whole")
		}
		for i := range rows {
			for v := range vecs {
				if whole {
					g.VMOVUPS(acc[0][i][v], at(t.c, 32*v))
				} else {
					g.VMASKMOVPS(acc[0][i][v], masks[v], at(t.c, 32*v))
				}
			}
			if i < rows-1 {
				g.ADDQ(t.ldc, t.c)
				g.DECQ(t.rows)
				g.JZ(LabelRef("done"))
			}
		}
		if !whole {
			g.JMP(LabelRef("done"))
		}
	}
	g.Label("done")
	g.VZEROUPPER()
	g.RET()
}

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
