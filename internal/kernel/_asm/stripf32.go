package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// stripsF32 are the float32 counterparts of stripCodes: sums in registers from the first tap to the activation.
func stripsF32(g *gen) {
	for _, rows := range []int{8, 7} {
		for _, vecs := range []int{3, 2, 1} {
			stripF32(g, true, rows, vecs)
		}
	}
	stripF32(g, false, 6, 2)
}

func stripF32(g *gen, wide bool, rows, vecs int) {
	width := vecs * lanes(wide)
	g.function(name("stripF32x%dx%d%s", rows, width, isaName(wide)),
		"func(count, n, runs, k int, src *byte, rows, offs *int, b *float32, ldb int, start, dst, other *float32, ldd int, lo, hi float32, more bool)",
		fmt.Sprintf("count positions of a convolution times n channels, at most %d", width),
		"",
		"\ts = start[j], or with more dst[i*ldd+j]",
		"\ts += sum over r<runs, l<k of x[i,r,l]*b[(r*k+l)*ldb+j]",
		"\tdst[i*ldd+j] = min(max(s + other[i*ldd+j], lo), hi)",
		"",
		fmt.Sprintf("where x[i,r,l] is the float at src[rows[i]+offs[r]+4*l], and without other if that is nil; rows has count values, rounded up to a multiple of %d. NaN stays NaN.", rows))
	acc := make([][]reg.VecVirtual, rows)
	for i := range acc {
		for range vecs {
			acc[i] = append(acc[i], g.vec(wide))
		}
	}
	bv := make([]reg.VecVirtual, vecs)
	for v := range bv {
		bv[v] = g.vec(wide)
	}
	av := []reg.VecVirtual{g.vec(wide), g.vec(wide)}
	var lo, hi reg.VecVirtual
	masks := make([]reg.Register, vecs)
	if wide {
		lo, hi = g.broadcastArg(wide, "lo"), g.broadcastArg(wide, "hi")
		n := g.arg("n")
		for v, m := range g.opmasks(n, vecs, 16) {
			masks[v] = m
		}
	}
	shift := g.GP64()
	for _, p := range []string{"ldb", "ldd"} {
		g.MOVQ(g.argAddr(p), shift)
		g.SHLQ(Imm(2), shift)
		g.MOVQ(shift, g.argAddr(p))
	}
	step := g.argAddr("ldb")

	g.Label("tile")
	if wide {
		var lines []int
		for v := range vecs {
			lines = append(lines, 64*v)
		}
		g.prefetchRows(rows, lines...)
	}
	more := g.GP64()
	g.MOVBQZX(g.argAddr("more"), more)
	g.TESTQ(more, more)
	g.JZ(LabelRef("begin"))
	{
		dst, ldd, count := g.arg("dst"), g.arg("ldd"), g.arg("count")
		if !wide {
			g.stripMasks(masks, av)
		}
		for i := range rows {
			for v := range vecs {
				g.loadMasked(wide, at(dst, 4*lanes(wide)*v), masks[v], acc[i][v])
			}
			g.ADDQ(ldd, dst)
			if i < rows-1 {
				g.CMPQ(count, Imm(uint64(i+1)))
				g.JLE(LabelRef("begun"))
			}
		}
		g.JMP(LabelRef("begun"))
	}
	g.Label("begin")
	start := g.arg("start")
	for v := range vecs {
		g.VMOVUPS(at(start, 4*lanes(wide)*v), acc[0][v])
		for i := 1; i < rows; i++ {
			g.VMOVAPS(acc[0][v], acc[i][v])
		}
	}
	g.Label("begun")
	list, src := g.arg("rows"), g.arg("src")
	row := make([]reg.GPVirtual, rows)
	for i := range row {
		row[i] = g.GP64()
		g.MOVQ(at(list, 8*i), row[i])
		g.ADDQ(src, row[i])
	}
	g.ADDQ(Imm(uint64(8*rows)), g.argAddr("rows"))
	runs, offs, b := g.arg("runs"), g.arg("offs"), g.arg("b")
	at0, left := g.GP64(), g.GP64()
	g.Label("run")
	g.MOVQ(at(offs, 0), at0)
	g.ADDQ(Imm(8), offs)
	g.MOVQ(g.argAddr("k"), left)
	g.Label("word")
	for v := range vecs {
		g.VMOVUPS(at(b, 4*lanes(wide)*v), bv[v])
	}
	g.ADDQ(step, b)
	for i := range rows {
		w := av[i%2]
		g.VBROADCASTSS(indexed(row[i], at0, 1, 0), w)
		for v := range vecs {
			g.VFMADD231PS(bv[v], w, acc[i][v])
		}
	}
	g.ADDQ(Imm(4), at0)
	g.DECQ(left)
	g.JNZ(LabelRef("word"))
	g.DECQ(runs)
	g.JNZ(LabelRef("run"))

	dst, other, ldd, count := g.arg("dst"), g.arg("other"), g.arg("ldd"), g.arg("count")
	if !wide {
		g.stripMasks(masks, av)
	}
	for _, residual := range []bool{false, true} {
		if residual {
			g.Label("residual")
		} else {
			g.TESTQ(other, other)
			g.JNZ(LabelRef("residual"))
		}
		for i := range rows {
			for v := range vecs {
				x := acc[i][v]
				if residual {
					g.loadMasked(wide, at(other, 4*lanes(wide)*v), masks[v], bv[0])
					g.VADDPS(bv[0], x, x)
				}
				if !wide {
					lo, hi = bv[1], bv[1]
					g.VBROADCASTSS(g.argAddr("lo"), lo)
				}
				g.VMAXPS(x, lo, x)
				if !wide {
					g.VBROADCASTSS(g.argAddr("hi"), hi)
				}
				g.VMINPS(x, hi, x)
				g.storeMasked(wide, x, masks[v], at(dst, 4*lanes(wide)*v))
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
}

// stripMasks makes the masks of the first n lanes of two vectors.
func (g *gen) stripMasks(masks []reg.Register, into []reg.VecVirtual) {
	n, index, table := g.arg("n"), g.GP64(), g.GP64()
	g.LEAQ(g.laneMasks(), table)
	g.MOVQ(U32(16), index)
	g.SUBQ(n, index)
	for v := range masks {
		g.VMOVUPS(indexed(table, index, 4, 32*v), into[v])
		masks[v] = into[v]
	}
}
