package main

import (
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrow is the product of rows of 16-bit floats, as they lie, with one or few vectors of float32, which is bound by memory. With one vector
// rows are read one after the other as one stream, which is faster than several; with four vectors four rows are taken together, so that
// each number is widened once.
func narrow(g *gen) {
	for _, wide := range []bool{true, false} {
		for _, brain := range []bool{false, true} {
			dotNarrow(g, wide, brain, 1, 1)
			if wide {
				dotNarrow(g, wide, brain, 4, 4)
			}
		}
	}
}

// rowsAt addresses n rows, at most four, that lie ld bytes apart.
type rowsAt struct{ base, ld, three reg.GPVirtual }

func (g *gen) rowsAt(base, ld reg.GPVirtual, n int) rowsAt {
	r := rowsAt{base: base, ld: ld}
	if n > 3 {
		r.three = g.GP64()
		g.LEAQ(indexed(ld, ld, 2, 0), r.three)
	}
	return r
}

func (r rowsAt) at(row, disp int) Mem {
	switch row {
	case 0:
		return at(r.base, disp)
	case 3:
		return indexed(r.base, r.three, 1, disp)
	}
	return indexed(r.base, r.ld, uint8(row), disp)
}

// sumLanes512 leaves the sum of the lanes of z in its lowest one, in any of the 32 registers.
func (g *gen) sumLanes512(z, scratch reg.VecVirtual) {
	x, y := z.AsX(), scratch.AsX()
	g.VEXTRACTF64X4(Imm(1), z, scratch.AsY())
	g.VADDPS(scratch.AsY(), z.AsY(), z.AsY())
	g.VEXTRACTF32X4(Imm(1), z.AsY(), y)
	g.VADDPS(y, x, x)
	g.VPERMILPS(Imm(0x4e), x, y)
	g.VADDPS(y, x, x)
	g.VPERMILPS(Imm(0xb1), x, y)
	g.VADDPS(y, x, x)
}

func dotNarrow(g *gen, wide, brain bool, rows, tokens int) {
	kind := "F16"
	if brain {
		kind = "BF16"
	}
	n := lanes(wide)
	g.function(name("dot%sRows%dx%d%s", kind, rows, tokens, isaName(wide)),
		"func(groups, k int, a *float32, lda int, b *uint16, ldb int, dst *float32, ldd int)",
		name("dst[t*ldd+r] = sum over l<k of a[t*lda+l]*b[r*ldb+l] for r < %d*groups and t < %d, k a multiple of %d.", rows, tokens, n))
	groups, k, a, b, ldb, dst := g.arg("groups"), g.arg("k"), g.arg("a"), g.arg("b"), g.arg("ldb"), g.arg("dst")
	g.SHLQ(Imm(1), ldb)
	weights, vectors, sums := g.rowsAt(b, ldb, rows), rowsAt{base: a}, rowsAt{base: dst}
	if tokens > 1 {
		lda, ldd := g.arg("lda"), g.arg("ldd")
		g.SHLQ(Imm(2), lda)
		g.SHLQ(Imm(2), ldd)
		vectors, sums = g.rowsAt(a, lda, tokens), g.rowsAt(dst, ldd, tokens)
	}
	// So many sums that none waits for itself.
	unroll := max(1, 8/(rows*tokens))
	if rows == 1 {
		unroll = 4
	}
	acc := make([][]reg.VecVirtual, unroll)
	for u := range acc {
		for range rows * tokens {
			acc[u] = append(acc[u], g.vec(wide))
		}
	}
	xs := make([]reg.VecVirtual, tokens)
	for t := range xs {
		xs[t] = g.vec(wide)
	}
	w := g.vec(wide)
	// What is read next is asked for: of single rows some way ahead, of four the same place of the next four.
	next := g.GP64()
	one := func(u int) {
		for t, x := range xs {
			g.VMOVUPS(vectors.at(t, 4*n*u), x)
		}
		for r := range rows {
			if brain {
				g.VPMOVZXWD(weights.at(r, 2*n*u), w)
				g.VPSLLD(Imm(16), w, w)
			} else {
				g.VCVTPH2PS(weights.at(r, 2*n*u), w)
			}
			for t, x := range xs {
				g.VFMADD231PS(x, w, acc[u][r*tokens+t])
			}
		}
	}
	ahead := func() {
		lines := max(1, 2*n*unroll/64)
		for i := range lines {
			if rows == 1 {
				g.PREFETCHT1(at(b, prefetchAhead+64*i))
				continue
			}
			there := weights
			there.base = next
			for r := range rows {
				g.PREFETCHT0(there.at(r, 64*i))
			}
		}
	}
	step := func(count int) {
		for u := range count {
			one(u)
		}
		g.ADDQ(U32(uint32(2*n*count)), b)
		g.ADDQ(U32(uint32(4*n*count)), a)
		if rows > 1 {
			g.ADDQ(U32(uint32(2*n*count)), next)
		}
	}
	left := g.GP64()
	g.Label("group")
	for u := range acc {
		for _, v := range acc[u] {
			if wide {
				g.VPXORD(v, v, v)
			} else {
				g.VXORPS(v, v, v)
			}
		}
	}
	g.MOVQ(k, left)
	g.Load(g.Param("a"), a)
	g.LEAQ(indexed(b, ldb, uint8(rows), 0), next)
	g.Label("several")
	g.SUBQ(Imm(uint64(unroll*n)), left)
	g.JL(LabelRef("rest"))
	ahead()
	step(unroll)
	g.JMP(LabelRef("several"))
	g.Label("rest")
	g.ADDQ(Imm(uint64(unroll*n)), left)
	g.Label("one")
	g.SUBQ(Imm(uint64(n)), left)
	g.JL(LabelRef("sum"))
	step(1)
	g.JMP(LabelRef("one"))
	g.Label("sum")
	half := g.vec(wide)
	for i := range acc[0] {
		for pairs := unroll / 2; pairs > 0; pairs /= 2 {
			for u := range pairs {
				g.VADDPS(acc[u+pairs][i], acc[u][i], acc[u][i])
			}
		}
		if wide {
			g.sumLanes512(acc[0][i], half)
		} else {
			g.sumLanes(acc[0][i])
		}
		g.VMOVSS(acc[0][i].AsX(), sums.at(i%tokens, 4*(i/tokens)))
	}
	g.ADDQ(Imm(uint64(4*rows)), dst)
	g.MOVQ(next, b)
	if rows > 1 { // next has gone along the row
		g.SUBQ(k, b)
		g.SUBQ(k, b)
	}
	g.DECQ(groups)
	g.JNZ(LabelRef("group"))
	g.VZEROUPPER()
	g.RET()
}
