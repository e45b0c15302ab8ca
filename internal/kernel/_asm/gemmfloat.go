package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The floating-point GEMM micro-kernels: a register tile of rows x width accumulators; per step of k the
// row of B is loaded once, and each element of A is broadcast once and used for the whole row. (A
// broadcast inside each multiply-add would need a load per instruction and starve the load ports.)
//
// In bfloat16 a step takes two k: a word holds the elements of an even k (low half) and the next. It is
// one VDPBF16PS, or, without that instruction, both halves are widened and multiplied as float32.

// element is what a tile multiplies.
type element int

const (
	f32 element = iota
	f64
	bf16      // by VDPBF16PS
	bf16Wider // by widening
)

func (e element) name() string { return [...]string{"F32", "F64", "BF16", "BF16Wider"}[e] }

// size is the bytes of an element of the result.
func (e element) size() int {
	if e == f64 {
		return 8
	}
	return 4
}

// isaName is the suffix of the functions for this element.
func (e element) isaName(wide bool) string {
	switch {
	case e == bf16:
		return "AVX512BF16"
	case wide:
		return "AVX512"
	}
	return "AVX2"
}

// tileRows are the heights of the tiles; the first is the best.
func tileRows(e element, wide bool) []int {
	switch {
	case wide:
		return []int{8, 4, 2, 1}
	case e == bf16Wider: // its operands take twice the registers
		return []int{4, 2, 1}
	}
	return []int{6, 4, 2, 1}
}

// tileSignature is the signature of a tile; fetches tells of the one that brings near what the next tiles read.
func tileSignature(e element, fetches bool) string {
	word, sum := "uint32", "float32"
	switch e {
	case f32:
		word = "float32"
	case f64:
		word, sum = "float64", "float64"
	}
	ahead := ""
	if fetches {
		ahead = ", ahead *" + word
	}
	return fmt.Sprintf("func(k int, a, b *%s, ldb int, c *%s, ldc, rows, n int, alpha, beta %s, load bool%s)", word, sum, sum, ahead)
}

// aheadBytes is how much of what comes next a tile brings near with each step of k.
const aheadBytes = 16

func aheadDoc(k string) string {
	return fmt.Sprintf("The %d*%s bytes from ahead on are brought near; they need not exist.", aheadBytes, k)
}

func tileDoc(e element, rows, width int, fetches bool) []string {
	formula := fmt.Sprintf("sum over l<k of a[l*%d+i]*b[l*ldb+j]", rows)
	if e >= bf16 {
		formula = fmt.Sprintf("sum over l<k of lo(a[l*%d+i])*lo(b[l*ldb+j]) + hi(a[l*%d+i])*hi(b[l*ldb+j])", rows, rows)
	}
	doc := []string{
		fmt.Sprintf("the tile of at most %d x %d", rows, width),
		"",
		"\tc[i*ldc+j] = alpha * " + formula + "  (+ beta*c[i*ldc+j] if load)",
		"",
		fmt.Sprintf("for i < rows <= %d, j < n <= %d. All %d columns of b and %d rows of a are read.", rows, width, width, rows),
	}
	if fetches {
		doc = append(doc, aheadDoc("k"))
	}
	return doc
}

func gemmFloat(e element) func(g *gen) {
	return func(g *gen) {
		for _, wide := range []bool{true, false} {
			if e == bf16 && !wide {
				continue
			}
			t := tileGen{g, e, wide}
			lanes := 64 / e.size()
			for _, rows := range tileRows(e, wide) {
				if wide {
					for vecs := 3; vecs >= 1; vecs-- {
						t.tile(rows, vecs*lanes)
					}
				} else {
					t.tile(rows, lanes)
				}
			}
		}
	}
}

func gemmF32(g *gen) {
	gemmFloat(f32)(g)
	dotRowsAVX512(g)
	dotRowsAVX2(g)
}

func gemmBF16(g *gen) {
	gemmFloat(bf16)(g)
	gemmFloat(bf16Wider)(g)
}

// tileGen emits tiles of one element in vectors of one width.
type tileGen struct {
	*gen
	e    element
	wide bool
}

func (t tileGen) ps() bool { return t.e != f64 }

func (t tileGen) fma(a, b, acc Op) {
	if t.ps() {
		t.VFMADD231PS(a, b, acc)
	} else {
		t.VFMADD231PD(a, b, acc)
	}
}

func (t tileGen) mul(a, b, dst Op) {
	if t.ps() {
		t.VMULPS(a, b, dst)
	} else {
		t.VMULPD(a, b, dst)
	}
}

func (t tileGen) add(a, b, dst Op) {
	if t.ps() {
		t.VADDPS(a, b, dst)
	} else {
		t.VADDPD(a, b, dst)
	}
}

func (t tileGen) broadcast(m, dst Op) {
	if t.ps() {
		t.VBROADCASTSS(m, dst)
	} else {
		t.VBROADCASTSD(m, dst)
	}
}

func (t tileGen) zero(v reg.VecVirtual) {
	if t.wide {
		t.VPXORD(v, v, v)
	} else {
		t.VXORPS(v, v, v)
	}
}

// masked loads or stores under the mask of column vector v: an opmask, or a vector mask.
func (t tileGen) loadColumns(m Mem, mask reg.Register, dst Op) {
	switch {
	case t.wide && t.ps():
		t.VMOVUPS_Z(m, mask, dst)
	case t.wide:
		t.VMOVUPD_Z(m, mask, dst)
	case t.ps():
		t.VMASKMOVPS(m, mask, dst)
	default:
		t.VMASKMOVPD(m, mask, dst)
	}
}

func (t tileGen) storeColumns(src Op, mask reg.Register, m Mem) {
	switch {
	case t.wide && t.ps():
		t.VMOVUPS(src, mask, m)
	case t.wide:
		t.VMOVUPD(src, mask, m)
	case t.ps():
		t.VMASKMOVPS(src, mask, m)
	default:
		t.VMASKMOVPD(src, mask, m)
	}
}

// columnMasks makes masks of n columns for vecs vectors, where masks are vectors in the registers given.
func (t tileGen) columnMasks(n reg.GPVirtual, given []reg.VecVirtual) []reg.Register {
	vecs := len(given)
	out := make([]reg.Register, vecs)
	if t.wide {
		for v, m := range t.gen.opmasks(n, vecs, 64/t.e.size()) {
			out[v] = m
		}
		return out
	}
	table, index := t.GP64(), t.GP64()
	t.LEAQ(t.laneMasks(), table)
	t.MOVQ(U32(uint32(64/t.e.size())), index)
	t.SUBQ(n, index)
	for v := range out {
		t.VMOVUPS(indexed(table, index, uint8(t.e.size()), 32*v), given[v])
		out[v] = given[v]
	}
	return out
}

// opmasks makes opmasks of n columns for vecs vectors of the given number of lanes.
func (g *gen) opmasks(n reg.GPVirtual, vecs, lanes int) []reg.OpmaskVirtual {
	bits := g.GP64()
	g.MOVQ(I32(-1), bits)
	g.BZHIQ(n, bits, bits)
	masks := make([]reg.OpmaskVirtual, vecs)
	for v := range masks {
		masks[v] = g.K()
		if lanes == 16 {
			g.KMOVW(bits.As32(), masks[v])
		} else {
			g.KMOVB(bits.As32(), masks[v])
		}
		if v < vecs-1 {
			g.SHRQ(Imm(uint64(lanes)), bits)
		}
	}
	return masks
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

// accumulators makes sets of zeroed rows x vecs registers.
func (t tileGen) accumulators(sets, rows, vecs int) [][][]reg.VecVirtual {
	acc := make([][][]reg.VecVirtual, sets)
	for s := range acc {
		acc[s] = make([][]reg.VecVirtual, rows)
		for i := range acc[s] {
			for range vecs {
				z := t.vec(t.wide)
				t.zero(z)
				acc[s][i] = append(acc[s][i], z)
			}
		}
	}
	return acc
}

func (t tileGen) tile(rows, width int) {
	bytes := 32
	if t.wide {
		bytes = 64
	}
	size := t.e.size()
	vecs := width * size / bytes
	sets := 1
	if chains := rows * vecs; chains < 6 { // at least 8 chains hide the latency of 4 at 2 a cycle
		sets = (8 + chains - 1) / chains
	}
	if t.e == bf16Wider && rows*vecs >= 4 {
		sets = 1
	}
	if !t.wide && t.e != bf16Wider {
		sets = max(1, 8/(rows*vecs))
	}
	if t.e == bf16Wider && !t.wide {
		sets = min(sets, 2)
	}
	fetches := t.wide && rows == 8 && vecs == 3
	t.function(name("tile%sx%dx%d%s", t.e.name(), rows, width, t.e.isaName(t.wide)), tileSignature(t.e, fetches), tileDoc(t.e, rows, width, fetches)...)
	k, a, b, ldb, c, ldc, count, n := t.arg("k"), t.arg("a"), t.arg("b"), t.arg("ldb"), t.arg("c"), t.arg("ldc"), t.arg("rows"), t.arg("n")
	shift := uint64(2)
	if t.e == f64 {
		shift = 3
	}
	t.SHLQ(Imm(shift), ldb)
	t.SHLQ(Imm(shift), ldc)
	acc := t.accumulators(sets, rows, vecs)
	if rows > 1 && t.wide {
		t.Comment("bring the rows of C near")
		row := t.GP64()
		t.MOVQ(c, row)
		for range rows {
			for v := range vecs {
				t.PREFETCHT0(at(row, 64*v))
			}
			t.ADDQ(ldc, row)
		}
	}
	bv := make([]reg.VecVirtual, vecs)
	for v := range bv {
		bv[v] = t.vec(t.wide)
	}
	av := []reg.VecVirtual{t.vec(t.wide), t.vec(t.wide)}
	step := t.step(rows, vecs, bytes, a, b, ldb, av, bv, acc)
	if fetches {
		multiply, ahead := step, t.arg("ahead")
		step = func(set, offset int) {
			t.PREFETCHT0(at(ahead, 0))
			t.ADDQ(Imm(aheadBytes), ahead)
			multiply(set, offset)
		}
	}
	t.steps(k, sets, step, func(steps int) { t.ADDQ(Imm(uint64(size*rows*steps)), a) })
	for s := 1; s < sets; s++ {
		for i := range rows {
			for v := range vecs {
				t.add(acc[s][i][v], acc[0][i][v], acc[0][i][v])
			}
		}
	}
	t.finishTile(c, ldc, count, n, rows, bytes, acc[0], av, bv)
}

// step returns what a step of the loop over k emits.
func (t tileGen) step(rows, vecs, bytes int, a, b, ldb reg.GPVirtual, av, bv []reg.VecVirtual, acc [][][]reg.VecVirtual) func(set, offset int) {
	size := t.e.size()
	if t.e != bf16Wider {
		return func(set, offset int) {
			for v := range vecs {
				t.VMOVUPS(at(b, bytes*v), bv[v])
			}
			t.ADDQ(ldb, b)
			for i := range rows {
				x := av[i%2]
				t.broadcast(at(a, size*(offset*rows+i)), x)
				for v := range vecs {
					if t.e == bf16 {
						t.raw("VDPBF16PS", bv[v], x, acc[set][i][v])
					} else {
						t.fma(bv[v], x, acc[set][i][v])
					}
				}
			}
		}
	}
	high := make([]reg.VecVirtual, vecs)
	for v := range high {
		high[v] = t.vec(t.wide)
	}
	upper := t.dwords("upperHalf", 0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000)
	widen := func(w, hi reg.VecVirtual) { // w becomes the low halves
		if t.wide {
			t.VPANDD_BCST(upper, w, hi)
		} else {
			t.VPAND(upper, w, hi)
		}
		t.VPSLLD(Imm(16), w, w)
	}
	return func(set, offset int) {
		for v := range vecs {
			t.VMOVUPS(at(b, bytes*v), bv[v])
			widen(bv[v], high[v])
		}
		t.ADDQ(ldb, b)
		for i := range rows {
			t.broadcast(at(a, size*(offset*rows+i)), av[0])
			widen(av[0], av[1])
			for v := range vecs {
				t.fma(bv[v], av[0], acc[set][i][v])
				t.fma(high[v], av[1], acc[set][i][v])
			}
		}
	}
}

// finishTile multiplies by alpha, adds beta*C if asked for and stores the valid part. Whole vectors are stored
// without masks where masked stores are slow.
func (t tileGen) finishTile(c, ldc, count, n reg.GPVirtual, rows, bytes int, acc [][]reg.VecVirtual, av, bv []reg.VecVirtual) {
	vecs := len(bv)
	t.Comment("masks of the n valid columns, alpha, and beta*C if asked for")
	masks := t.columnMasks(n, bv)
	alpha, beta := av[0], av[1]
	t.broadcast(t.argAddr("alpha"), alpha)
	for i := range rows {
		for v := range vecs {
			t.mul(alpha, acc[i][v], acc[i][v])
		}
	}
	load := t.GP64()
	t.MOVBQZX(t.argAddr("load"), load)
	t.TESTQ(load, load)
	t.JZ(LabelRef("store"))
	t.broadcast(t.argAddr("beta"), beta)
	row, left := t.GP64(), t.GP64()
	t.MOVQ(c, row)
	t.MOVQ(count, left)
	for i := range rows {
		for v := range vecs {
			old := alpha // not needed any more
			if t.wide {
				old = bv[v]
			}
			t.loadColumns(at(row, bytes*v), masks[v], old)
			t.fma(old, beta, acc[i][v])
		}
		if i < rows-1 {
			t.ADDQ(ldc, row)
			t.DECQ(left)
			t.JZ(LabelRef("store"))
		}
	}
	t.Label("store")
	ways := []bool{false}
	if !t.wide {
		t.CMPQ(n, Imm(uint64(vecs*bytes/t.e.size())))
		t.JE(LabelRef("whole"))
		ways = []bool{false, true}
	}
	for _, whole := range ways {
		if whole {
			t.Comment("masked stores are slow on some CPUs")
			t.Label("whole")
		}
		for i := range rows {
			for v := range vecs {
				if whole {
					t.VMOVUPS(acc[i][v], at(c, bytes*v))
				} else {
					t.storeColumns(acc[i][v], masks[v], at(c, bytes*v))
				}
			}
			if i < rows-1 {
				t.ADDQ(ldc, c)
				t.DECQ(count)
				t.JZ(LabelRef("done"))
			}
		}
		if !whole && len(ways) > 1 {
			t.JMP(LabelRef("done"))
		}
	}
	t.Label("done")
	t.VZEROUPPER()
	t.RET()
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
	return g.opmasks(n, vecs, 16)
}
