package main

import (
	"fmt"
	"strings"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The 8-bit GEMM micro-kernels multiply bytes of unlike signedness, as VPDPBUSD wants them: US takes A
// unsigned and B signed, SU the other way round. Four consecutive k of one column lie together, so
// that each 32-bit lane sums its own column and nothing is added across lanes.

const tileInt8Signature = "func(k4 int, a *byte, lda int, b *byte, ldb int, c *int32)"

var signs = map[bool]string{true: "signed", false: "unsigned"}

func tileInt8Doc(rows, width int, aSigned bool) []string {
	return []string{
		fmt.Sprintf("a tile of %d rows and %d columns of int32 sums, stored 48 apart", rows, width),
		"",
		"\tc[i*48+j] = sum over l<k4, t<4 of a[l*lda+4*i+t]*b[l*ldb+4*j+t]",
		"",
		fmt.Sprintf("with a %s and b %s bytes. Nothing saturates.", signs[aSigned], signs[!aSigned]),
	}
}

func signName(aSigned bool) string {
	if aSigned {
		return "SU"
	}
	return "US"
}

func gemmInt8(g *gen) {
	for _, aSigned := range []bool{false, true} {
		for _, rows := range []int{8, 4, 2, 1} {
			for _, width := range []int{48, 32, 16} {
				tileInt8VNNI(g, rows, width, aSigned)
			}
		}
		for _, shape := range [][2]int{{6, 2}, {4, 2}, {2, 4}, {1, 4}} {
			tileInt8AVX2(g, shape[0], shape[1], aSigned)
			if !aSigned {
				runsInt8AVX2(g, shape[0], shape[1])
			}
		}
		for _, shape := range [][2]int{{4, 3}, {4, 2}, {2, 2}, {1, 2}} {
			tileInt8AVXVNNI(g, shape[0], shape[1], aSigned, true)
			tileInt8AVXVNNI(g, shape[0], shape[1], aSigned, false)
		}
	}
	for _, shape := range [][2]int{{4, 3}, {4, 2}, {2, 2}, {1, 2}} {
		runsInt8AVXVNNI(g, shape[0], shape[1], true)
		runsInt8AVXVNNI(g, shape[0], shape[1], false)
	}
	for _, rows := range []int{8, 4, 2, 1} {
		for _, width := range []int{48, 32, 16} {
			runsInt8VNNI(g, rows, width)
		}
	}
	for _, kind := range []finishKind{finishSums, finishFloat, finishCodes} {
		for _, terms := range []finishTerms{allTerms, columnTerms, rowTerms} {
			finish(g, true, kind, terms)
			finish(g, false, kind, terms)
		}
	}
}

func tileInt8VNNI(g *gen, rows, width int, aSigned bool) {
	vecs := width / 16
	sets := 1
	if rows*vecs < 6 {
		sets = (8 + rows*vecs - 1) / (rows * vecs)
	}
	signature, doc := tileInt8Signature, tileInt8Doc(rows, width, aSigned)
	fetches := rows == 8 && width == 48
	if fetches {
		signature = strings.TrimSuffix(signature, ")") + ", ahead *byte)"
		doc = append(doc, aheadDoc("k4"))
	}
	g.function(name("tileInt8%s%dx%dAVX512VNNI", signName(aSigned), rows, width), signature, doc...)
	k, a, lda, b, ldb, c := g.arg("k4"), g.arg("a"), g.arg("lda"), g.arg("b"), g.arg("ldb"), g.arg("c")
	var ahead reg.GPVirtual
	if fetches {
		ahead = g.arg("ahead")
	}
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
	bv := make([]reg.VecVirtual, vecs)
	for v := range bv {
		bv[v] = g.ZMM()
	}
	av := []reg.VecVirtual{g.ZMM(), g.ZMM()}
	g.steps(k, sets, func(set, _ int) {
		if fetches {
			g.PREFETCHT0(at(ahead, 0))
			g.ADDQ(Imm(aheadBytes), ahead)
		}
		for v := range vecs {
			g.VMOVDQU8(at(b, 64*v), bv[v])
		}
		g.ADDQ(ldb, b)
		for i := range rows {
			w := av[i%2]
			g.VPBROADCASTD(at(a, 4*i), w)
			for v := range vecs {
				if aSigned {
					g.VPDPBUSD(w, bv[v], acc[set][i][v])
				} else {
					g.VPDPBUSD(bv[v], w, acc[set][i][v])
				}
			}
		}
		g.ADDQ(lda, a)
	}, func(int) {})
	for i := range rows {
		for v := range vecs {
			for s := 1; s < sets; s++ {
				g.VPADDD(acc[s][i][v], acc[0][i][v], acc[0][i][v])
			}
			g.VMOVDQU32(acc[0][i][v], at(c, 192*i+64*v))
		}
	}
	g.VZEROUPPER()
	g.RET()
}

// runsInt8VNNI is the tile of a convolution: A is not packed, its rows are runs of an image whose channels lie together.
func runsInt8VNNI(g *gen, rows, width int) {
	vecs := width / 16
	g.function(name("runsInt8x%dx%dAVX512VNNI", rows, width), "func(runs, k4 int, src *byte, rows, offs *int, b *byte, c *int32)",
		fmt.Sprintf("a tile of %d rows and %d columns of int32 sums, stored 48 apart", rows, width),
		"",
		name("\tc[i*48+j] = sum over r<runs, l<k4, t<4 of src[rows[i]+offs[r]+4*l+t]*b[((r*k4+l)*%d+j)*4+t]", width),
		"",
		"with src unsigned and b signed bytes. Nothing saturates.")
	runs, k4, src, offs, b := g.arg("runs"), g.arg("k4"), g.arg("src"), g.arg("offs"), g.arg("b")
	list := g.GP64()
	g.Load(g.Param("rows"), list)
	row := make([]reg.GPVirtual, rows)
	for i := range row {
		row[i] = g.GP64()
		g.MOVQ(at(list, 8*i), row[i])
		g.ADDQ(src, row[i])
	}
	acc := make([][]reg.VecVirtual, rows)
	for i := range acc {
		for range vecs {
			z := g.ZMM()
			g.VPXORD(z, z, z)
			acc[i] = append(acc[i], z)
		}
	}
	bv := make([]reg.VecVirtual, vecs)
	for v := range bv {
		bv[v] = g.ZMM()
	}
	av := []reg.VecVirtual{g.ZMM(), g.ZMM()}
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
	c := g.arg("c")
	for i := range rows {
		for v := range vecs {
			g.VMOVDQU32(acc[i][v], at(c, 192*i+64*v))
		}
	}
	g.VZEROUPPER()
	g.RET()
}

// runsInt8AVXVNNI is runsInt8VNNI for CPUs without AVX-512, for some of the columns of a panel; for vex see tileInt8AVXVNNI.
func runsInt8AVXVNNI(g *gen, rows, vecs int, vex bool) {
	isa := "AVXVNNI"
	doc := []string{
		fmt.Sprintf("a tile of %d rows and %d columns of int32 sums, stored 48 apart", rows, 8*vecs),
		"",
		"\tc[i*48+j] = sum over r<runs, l<k4, t<4 of src[rows[i]+offs[r]+4*l+t]*b[(r*k4+l)*ldb+4*j+t]",
		"",
		"with src unsigned and b signed bytes. Nothing saturates.",
	}
	if !vex {
		isa = "AVX512VLVNNI"
		doc = append(doc, "It is the twin of the function for AVXVNNI, for tests.")
	}
	g.function(name("runsInt8x%dx%d%s", rows, 8*vecs, isa), "func(runs, k4 int, src *byte, rows, offs *int, b *byte, ldb int, c *int32)", doc...)
	runs, k4, src, offs, b, ldb := g.arg("runs"), g.arg("k4"), g.arg("src"), g.arg("offs"), g.arg("b"), g.arg("ldb")
	list := g.GP64()
	g.Load(g.Param("rows"), list)
	row := make([]reg.GPVirtual, rows)
	acc := make([][]reg.VecVirtual, rows)
	for i := range row {
		row[i] = g.GP64()
		g.MOVQ(at(list, 8*i), row[i])
		g.ADDQ(src, row[i])
		for range vecs {
			y := g.YMM()
			g.VPXOR(y, y, y)
			acc[i] = append(acc[i], y)
		}
	}
	bv, w := make([]reg.VecVirtual, vecs), g.YMM()
	for v := range bv {
		bv[v] = g.YMM()
	}
	at0, left := g.GP64(), g.GP64()
	g.Label("run")
	g.MOVQ(at(offs, 0), at0)
	g.ADDQ(Imm(8), offs)
	g.MOVQ(k4, left)
	g.Label("word")
	for v := range bv {
		g.VMOVDQU(at(b, 32*v), bv[v])
	}
	g.ADDQ(ldb, b)
	for i := range rows {
		g.VPBROADCASTD(indexed(row[i], at0, 1, 0), w)
		for v := range bv {
			if vex {
				g.raw("VPDPBUSDVEX", bv[v], w, acc[i][v])
			} else {
				g.VPDPBUSD(bv[v], w, acc[i][v])
			}
		}
	}
	g.ADDQ(Imm(4), at0)
	g.DECQ(left)
	g.JNZ(LabelRef("word"))
	g.DECQ(runs)
	g.JNZ(LabelRef("run"))
	c := g.arg("c")
	for i := range rows {
		for v := range bv {
			g.VMOVDQU(acc[i][v], at(c, 192*i+32*v))
		}
	}
	g.VZEROUPPER()
	g.RET()
}

// tileInt8AVX2 multiplies in 16 bits: a product of bytes of any signs and the sum of two of them fit VPMADDWD exactly,
// where VPMADDUBSW would saturate. A is widened before, so that a broadcast is a load and nothing else; four columns of B are
// widened here, for the products of all rows. Tall tiles are narrow, for want of registers.
func tileInt8AVX2(g *gen, rows, quads int, aSigned bool) {
	width := 4 * quads
	doc := tileInt8Doc(rows, width, aSigned)
	doc[2] = "\tc[i*48+j] = sum over l<k4, t<4 of a[l*lda+8*i+2*t]*b[l*ldb+4*j+t]"
	doc[4] = "with a " + signs[aSigned] + " bytes widened to 16 bits and b " + signs[!aSigned] + " bytes. Nothing saturates."
	g.function(name("tileInt8%s%dx%dAVX2", signName(aSigned), rows, width), tileInt8Signature, doc...)
	k, a, lda, b, ldb, c := g.arg("k4"), g.arg("a"), g.arg("lda"), g.arg("b"), g.arg("ldb"), g.arg("c")
	widen := func(src Op, dst reg.VecVirtual) {
		if aSigned {
			g.VPMOVZXBW(src, dst)
		} else {
			g.VPMOVSXBW(src, dst)
		}
	}
	acc := make([][]reg.VecVirtual, rows)
	for i := range acc {
		for range quads {
			y := g.YMM()
			g.VPXOR(y, y, y)
			acc[i] = append(acc[i], y)
		}
	}
	bv := make([]reg.VecVirtual, quads)
	for q := range bv {
		bv[q] = g.YMM()
	}
	av, product := g.YMM(), g.YMM()
	g.steps(k, 1, func(int, int) {
		for q := range quads {
			widen(at(b, 16*q), bv[q])
		}
		g.ADDQ(ldb, b)
		for i := range rows {
			g.VPBROADCASTQ(at(a, 8*i), av)
			for q := range quads {
				g.VPMADDWD(bv[q], av, product)
				g.VPADDD(product, acc[i][q], acc[i][q])
			}
		}
		g.ADDQ(lda, a)
	}, func(int) {})
	g.storePairs(acc, c)
	g.VZEROUPPER()
	g.RET()
}

// runsInt8AVX2 is runsInt8VNNI in 16 bits, like tileInt8AVX2, for some of the columns of a panel. The image is widened before.
func runsInt8AVX2(g *gen, rows, quads int) {
	g.function(name("runsInt8x%dx%dAVX2", rows, 4*quads), "func(runs, k4 int, src *byte, rows, offs *int, b *byte, ldb int, c *int32)",
		fmt.Sprintf("a tile of %d rows and %d columns of int32 sums, stored 48 apart", rows, 4*quads),
		"",
		"\tc[i*48+j] = sum over r<runs, l<k4, t<4 of src[2*(rows[i]+offs[r]+4*l+t)]*b[(r*k4+l)*ldb+4*j+t]",
		"",
		"with unsigned bytes widened to 16 bits in src and signed bytes in b. Nothing saturates.")
	runs, src, offs, b, ldb := g.arg("runs"), g.arg("src"), g.arg("offs"), g.arg("b"), g.arg("ldb")
	list := g.GP64()
	g.Load(g.Param("rows"), list)
	row := make([]reg.GPVirtual, rows)
	acc := make([][]reg.VecVirtual, rows)
	for i := range row {
		row[i] = g.GP64()
		g.MOVQ(at(list, 8*i), row[i])
		g.ADDQ(row[i], row[i])
		g.ADDQ(src, row[i])
		for range quads {
			y := g.YMM()
			g.VPXOR(y, y, y)
			acc[i] = append(acc[i], y)
		}
	}
	bv := make([]reg.VecVirtual, quads)
	for q := range bv {
		bv[q] = g.YMM()
	}
	av, product := g.YMM(), g.YMM()
	at0, left := g.GP64(), g.GP64()
	g.Label("run")
	g.MOVQ(at(offs, 0), at0)
	g.ADDQ(at0, at0)
	g.ADDQ(Imm(8), offs)
	g.Load(g.Param("k4"), left)
	g.Label("word")
	for q := range bv {
		g.VPMOVSXBW(at(b, 16*q), bv[q])
	}
	g.ADDQ(ldb, b)
	for i := range row {
		g.VPBROADCASTQ(indexed(row[i], at0, 1, 0), av)
		for q := range bv {
			g.VPMADDWD(bv[q], av, product)
			g.VPADDD(product, acc[i][q], acc[i][q])
		}
	}
	g.ADDQ(Imm(8), at0)
	g.DECQ(left)
	g.JNZ(LabelRef("word"))
	g.DECQ(runs)
	g.JNZ(LabelRef("run"))
	g.storePairs(acc, g.arg("c"))
	g.VZEROUPPER()
	g.RET()
}

// storePairs stores sums of four columns to a register, two of each, as words 48 apart from row to row.
func (g *gen) storePairs(acc [][]reg.VecVirtual, c reg.GPVirtual) {
	for i, row := range acc {
		for q := 0; q < len(row); q += 2 {
			y := row[q]
			g.VPHADDD(row[q+1], y, y) // 0 1 4 5 2 3 6 7
			g.VPERMQ(Imm(0b11_01_10_00), y, y)
			g.VMOVDQU(y, at(c, 192*i+16*q))
		}
	}
}

// tileInt8AVXVNNI is for CPUs with VPDPBUSD but without AVX-512, whose encoding of it the assembler does not know. With vex unset
// it is the same function in the encoding of AVX-512, by which CPUs with that can test it.
func tileInt8AVXVNNI(g *gen, rows, vecs int, aSigned, vex bool) {
	isa := "AVXVNNI"
	doc := tileInt8Doc(rows, 8*vecs, aSigned)
	if !vex {
		isa = "AVX512VLVNNI"
		doc = append(doc, "It is the twin of the function for AVXVNNI, for tests.")
	}
	g.function(name("tileInt8%s%dx%d%s", signName(aSigned), rows, 8*vecs, isa), tileInt8Signature, doc...)
	k, a, lda, b, ldb, c := g.arg("k4"), g.arg("a"), g.arg("lda"), g.arg("b"), g.arg("ldb"), g.arg("c")
	acc := make([][]reg.VecVirtual, rows)
	for i := range acc {
		for range vecs {
			y := g.YMM()
			g.VPXOR(y, y, y)
			acc[i] = append(acc[i], y)
		}
	}
	bv, w := make([]reg.VecVirtual, vecs), g.YMM()
	for v := range bv {
		bv[v] = g.YMM()
	}
	g.steps(k, 1, func(int, int) {
		for v := range bv {
			g.VMOVDQU(at(b, 32*v), bv[v])
		}
		g.ADDQ(ldb, b)
		for i := range rows {
			g.VPBROADCASTD(at(a, 4*i), w)
			for v := range bv {
				signed, unsigned := bv[v], w
				if aSigned {
					signed, unsigned = w, bv[v]
				}
				if vex {
					g.raw("VPDPBUSDVEX", signed, unsigned, acc[i][v])
				} else {
					g.VPDPBUSD(signed, unsigned, acc[i][v])
				}
			}
		}
		g.ADDQ(lda, a)
	}, func(int) {})
	for i := range rows {
		for v := range bv {
			g.VMOVDQU(acc[i][v], at(c, 192*i+32*v))
		}
	}
	g.VZEROUPPER()
	g.RET()
}

// finishKind is what the end of an integer product stores.
type finishKind int

const (
	finishSums  finishKind = iota // int32
	finishFloat                   // float32
	finishCodes                   // bytes
)

func (f finishKind) name() string { return [...]string{"finishInt32", "finishF32", "finishCodes"}[f] }

func (f finishKind) signature() string {
	return [...]string{
		"func(rows, n int, acc *int32, row *int32, u, v *int32, dst *int32, ldd int)",
		"func(rows, n int, acc *int32, row *int32, u, v *int32, scale, bias *float32, lo, hi float32, dst *float32, ldd int)",
		"func(rows, n int, acc *int32, row *int32, u, v *int32, scale *float32, lo, hi float32, zp int32, dst *byte, ldd int)",
	}[f]
}

// finishTerms is what is added to the raw sums and what scales them: products that the operands of most layers do not have
// are left out where that is known.
type finishTerms int

const (
	allTerms    finishTerms = iota
	columnTerms             // no row terms: u and scale only
	rowTerms                // no column terms
)

func (t finishTerms) name() string { return [...]string{"", "Columns", "Rows"}[t] }

func (f finishKind) doc(t finishTerms) []string {
	sum := [...]string{"acc[i*48+j] + row[i].add + row[i].p*u[j] + row[i].q*v[j]", "acc[i*48+j] + u[j]", "acc[i*48+j] + row[i].add"}[t]
	scale := [...]string{"(row[i].scale*scale[j])", "scale[j]", "row[i].scale"}[t]
	bias := [...]string{" + bias[j] + row[i].bias", " + bias[j]", " + row[i].bias"}[t]
	doc := []string{"the end of an integer product, for i < rows and j < n <= 48", "", "\ts = " + sum}
	switch f {
	case finishFloat:
		doc = append(doc, "\tdst[i*ldd+j] = min(max(float32(s)*"+scale+bias+", lo), hi)")
	case finishCodes:
		doc = append(doc, "\tdst[i*ldd+j] = rne(min(max(float32(s)*"+scale+", lo), hi)) + zp")
	default:
		doc = append(doc, "\tdst[i*ldd+j] = s")
	}
	return append(doc, "", "row points to finishRow values. Columns given as nil do not count; u and v are read in whole vectors.")
}

// Offsets in the Go type finishRow.
const (
	rowAdd, rowP, rowQ, rowScale, rowBias = 0, 4, 8, 12, 16
	rowSize                               = 20
)

// ifGiven emits then where the pointer is not nil, otherwise the rest.
func (g *gen) ifGiven(p reg.GPVirtual, label string, otherwise, then func()) {
	otherwise()
	g.TESTQ(p, p)
	g.JZ(LabelRef(label))
	then()
	g.Label(label)
}

// finish goes through the vectors of columns, and for each through the rows. AVX2 stores bytes in whole vectors of
// eight only.
func finish(g *gen, wide bool, kind finishKind, terms finishTerms) {
	doc := kind.doc(terms)
	if kind == finishCodes && !wide {
		doc = append(doc, "n is a multiple of 8.")
	}
	g.function(kind.name()+terms.name()+isaName(wide), kind.signature(), doc...)
	useColumns, useRows := terms != rowTerms, terms != columnTerms
	rows, n, acc, dst, ldd := g.arg("rows"), g.arg("n"), g.arg("acc"), g.arg("dst"), g.arg("ldd")
	size := 4
	if kind == finishCodes {
		size = 1
	} else {
		g.SHLQ(Imm(2), ldd)
	}
	// The columns' values: where they lie, in what register they are, and what stands for a missing one.
	type column struct {
		from    reg.GPVirtual
		value   reg.VecVirtual
		missing uint32
		whole   bool // padded to whole vectors
	}
	columns := map[string]*column{}
	var order []string
	add := func(name string, missing uint32, whole bool) {
		columns[name] = &column{g.arg(name), g.vec(wide), missing, whole}
		order = append(order, name)
	}
	if useColumns {
		add("u", 0, true)
		if useRows {
			add("v", 0, true)
		}
		if kind != finishSums {
			add("scale", 0x3f800000, false)
		}
		if kind == finishFloat {
			add("bias", 0x80000000, false)
		}
	}
	var row reg.GPVirtual
	if useRows {
		row = g.arg("row")
	}
	x, t, lo, hi, zp := g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide), g.vec(wide)
	if kind != finishSums {
		g.VBROADCASTSS(g.argAddr("lo"), lo)
		g.VBROADCASTSS(g.argAddr("hi"), hi)
	}
	if kind == finishCodes {
		g.VBROADCASTSS(g.argAddr("zp"), zp)
	}
	r, d, s, from := g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.Label("columns")
	mask := g.maskOf(wide, n)
	for _, name := range order {
		c := columns[name]
		g.ifGiven(c.from, name, func() { g.VBROADCASTSS(g.word(c.missing), c.value) }, func() {
			if c.whole {
				g.VMOVUPS(at(c.from, 0), c.value)
			} else {
				g.loadMasked(wide, at(c.from, 0), mask, c.value)
			}
		})
	}
	g.MOVQ(rows, r)
	g.MOVQ(dst, d)
	g.MOVQ(acc, from)
	if useRows {
		g.MOVQ(row, s)
	}
	g.Label("rows")
	if useRows {
		g.VPBROADCASTD(at(s, rowAdd), x)
		g.VPADDD(at(from, 0), x, x)
		if useColumns {
			g.addScaled(wide, at(s, rowP), columns["u"].value, t, x)
			g.addScaled(wide, at(s, rowQ), columns["v"].value, t, x)
		}
	} else {
		g.VPADDD(at(from, 0), columns["u"].value, x)
	}
	if kind != finishSums {
		g.VCVTDQ2PS(x, x)
		switch {
		case !useColumns:
			g.VBROADCASTSS(at(s, rowScale), t)
			g.VMULPS(t, x, x)
		case !useRows:
			g.VMULPS(columns["scale"].value, x, x)
		default:
			g.VBROADCASTSS(at(s, rowScale), t)
			g.VMULPS(columns["scale"].value, t, t)
			g.VMULPS(t, x, x)
		}
	}
	switch kind {
	case finishFloat:
		if useColumns {
			g.VADDPS(columns["bias"].value, x, x)
		}
		if useRows {
			g.VBROADCASTSS(at(s, rowBias), t)
			g.VADDPS(t, x, x)
		}
		g.VMAXPS(x, lo, x)
		g.VMINPS(x, hi, x)
		g.storeMasked(wide, x, mask, at(d, 0))
	case finishCodes:
		g.VMAXPS(lo, x, x) // of a NaN and lo, lo
		g.VMINPS(hi, x, x)
		g.VCVTPS2DQ(x, x) // rounds half to even
		g.VPADDD(zp, x, x)
		if wide {
			g.VPMOVDB(x, mask, at(d, 0))
		} else {
			g.storeBytes8(x, d)
		}
	default:
		g.storeMasked(wide, x, mask, at(d, 0))
	}
	g.ADDQ(ldd, d)
	if useRows {
		g.ADDQ(Imm(rowSize), s)
	}
	g.ADDQ(U32(192), from)
	g.DECQ(r)
	g.JNZ(LabelRef("rows"))
	step := 4 * lanes(wide)
	g.ADDQ(Imm(uint64(step)), acc)
	g.ADDQ(Imm(uint64(size*lanes(wide))), dst)
	for _, name := range order { // a nil pointer stays nil
		p, next := columns[name].from, g.GP64()
		g.LEAQ(at(p, step), next)
		g.TESTQ(p, p)
		g.CMOVQNE(next, p)
	}
	g.SUBQ(Imm(uint64(lanes(wide))), n)
	g.JG(LabelRef("columns"))
	g.VZEROUPPER()
	g.RET()
}

// addScaled adds the word at m times the words of v to x.
func (g *gen) addScaled(wide bool, m Mem, v, t, x reg.VecVirtual) {
	if wide {
		g.VPMULLD_BCST(m, v, t)
	} else {
		g.VPBROADCASTD(m, t)
		g.VPMULLD(v, t, t)
	}
	g.VPADDD(t, x, x)
}

// storeBytes8 stores the low bytes of eight words.
func (g *gen) storeBytes8(x reg.VecVirtual, dst reg.GPVirtual) {
	g.VPSHUFB(g.dwords("lowBytes", 0x0c080400, 0x80808080, 0x80808080, 0x80808080, 0x0c080400, 0x80808080, 0x80808080, 0x80808080), x, x)
	high := g.XMM()
	g.VEXTRACTI128(Imm(1), x, high)
	g.VPUNPCKLDQ(high, x.AsX(), high)
	g.VMOVQ(high, at(dst, 0))
}
