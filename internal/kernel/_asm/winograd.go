package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// winograd are the transforms of Winograd's minimal filtering for kernels of 3x3 (Lavin and Gray, "Fast Algorithms for Convolutional
// Neural Networks", 2016), over as many channels at a time as a vector has lanes.
func winograd(g *gen) {
	for _, wide := range []bool{true, false} {
		for _, m := range []int{2, 4} {
			winogradInput(g, wide, m)
			winogradOutput(g, wide, m)
		}
	}
}

// lines emits a transform of a matrix of n x n vectors along one axis: load fetches element i of line l, store takes its result.
type lines struct {
	g    *gen
	wide bool
}

func (l lines) vecs(n int) []reg.VecVirtual {
	out := make([]reg.VecVirtual, n)
	for i := range out {
		out[i] = l.g.vec(l.wide)
	}
	return out
}

// times broadcasts a factor.
func (l lines) factor(v float64) reg.VecVirtual {
	f := l.g.vec(l.wide)
	l.g.VBROADCASTSS(l.g.float(v), f)
	return f
}

// input transforms d[0..m+1] to t[0..m+1]; f holds 4, 5 and 2 for m = 4.
func (l lines) input(m int, f []reg.VecVirtual, load func(i int) Mem, store func(i int, v reg.VecVirtual)) {
	g := l.g
	d := l.vecs(m + 2)
	for i := range d {
		g.VMOVUPS(load(i), d[i])
	}
	if m == 2 {
		t := l.g.vec(l.wide)
		g.VSUBPS(d[2], d[0], d[0]) // d0-d2
		store(0, d[0])
		g.VADDPS(d[1], d[2], t)
		store(1, t)
		g.VSUBPS(d[1], d[2], d[2]) // d2-d1
		store(2, d[2])
		g.VSUBPS(d[3], d[1], d[1]) // d1-d3
		store(3, d[1])
		return
	}
	four, five, two := f[0], f[1], f[2]
	t, a, b := l.g.vec(l.wide), l.g.vec(l.wide), l.g.vec(l.wide)
	g.VMULPS(four, d[0], t)
	g.VFNMADD231PS(five, d[2], t)
	g.VADDPS(d[4], t, t)
	store(0, t)
	g.VMOVAPS(d[4], a)
	g.VFNMADD231PS(four, d[2], a) // d4-4*d2
	g.VMOVAPS(d[3], b)
	g.VFNMADD231PS(four, d[1], b) // d3-4*d1
	g.VADDPS(b, a, t)
	store(1, t)
	g.VSUBPS(b, a, a)
	store(2, a)
	g.VSUBPS(d[2], d[4], d[4]) // d4-d2
	g.VSUBPS(d[1], d[3], b)    // d3-d1
	g.VMOVAPS(d[4], a)
	g.VFMADD231PS(two, b, a)
	store(3, a)
	g.VFNMADD231PS(two, b, d[4])
	store(4, d[4])
	g.VFMADD231PS(four, d[1], d[5])
	g.VFNMADD231PS(five, d[3], d[5])
	store(5, d[5])
}

// output transforms m[0..m+1] to y[0..m-1]; f holds 2, 4 and 8 for m = 4.
func (l lines) output(m int, f []reg.VecVirtual, load func(i int) Mem, store func(i int, v reg.VecVirtual)) {
	g := l.g
	d := l.vecs(m + 2)
	for i := range d {
		g.VMOVUPS(load(i), d[i])
	}
	if m == 2 {
		g.VADDPS(d[1], d[0], d[0])
		g.VADDPS(d[2], d[0], d[0])
		store(0, d[0])
		g.VSUBPS(d[2], d[1], d[1])
		g.VSUBPS(d[3], d[1], d[1])
		store(1, d[1])
		return
	}
	two, four, eight := f[0], f[1], f[2]
	s, u := l.g.vec(l.wide), l.g.vec(l.wide)
	g.VADDPS(d[2], d[1], s)
	g.VSUBPS(d[2], d[1], d[1])
	g.VADDPS(d[4], d[3], u)
	g.VSUBPS(d[4], d[3], d[3])
	g.VADDPS(s, d[0], d[0])
	g.VADDPS(u, d[0], d[0])
	store(0, d[0])
	g.VMOVAPS(d[1], d[2])
	g.VFMADD231PS(two, d[3], d[2])
	store(1, d[2])
	g.VFMADD231PS(four, u, s)
	store(2, s)
	g.VADDPS(d[1], d[5], d[5])
	g.VFMADD231PS(eight, d[3], d[5])
	store(3, d[5])
}

func winogradInput(g *gen, wide bool, m int) {
	n := m + 2
	g.function(name("winogradInput%d%s", m, isaName(wide)), "func(channels int, src *float32, row, pixel int, dst *float32, point int, work *float32)",
		fmt.Sprintf("the input transform of a tile of %dx%d pixels", n, n),
		"",
		fmt.Sprintf("\tdst[(i*%d+j)*point+c] = (B' d B)[i][j]   with d[i][j] = src[i*row+j*pixel+c]", n),
		"",
		fmt.Sprintf("for channels, a multiple of %d; row, pixel and point count floats; work has room for %d vectors.", lanes(wide), n*n))
	channels, src, row, pixel, dst, point, work := g.arg("channels"), g.arg("src"), g.arg("row"), g.arg("pixel"), g.arg("dst"), g.arg("point"), g.arg("work")
	for _, p := range []reg.GPVirtual{row, pixel, point} {
		g.SHLQ(Imm(2), p)
	}
	l := lines{g, wide}
	var f []reg.VecVirtual
	if m == 4 {
		f = []reg.VecVirtual{l.factor(4), l.factor(5), l.factor(2)}
	}
	size := 4 * lanes(wide)
	pixel3, pixel5, at0 := g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(indexed(pixel, pixel, 2, 0), pixel3)
	g.LEAQ(indexed(pixel, pixel, 4, 0), pixel5)
	g.Label("channel")
	g.MOVQ(src, at0)
	for i := range n { // along the rows of pixels: work[i][j]
		l.input(m, f, func(j int) Mem {
			return [...]Mem{at(at0, 0), indexed(at0, pixel, 1, 0), indexed(at0, pixel, 2, 0), indexed(at0, pixel3, 1, 0), indexed(at0, pixel, 4, 0), indexed(at0, pixel5, 1, 0)}[j]
		}, func(j int, v reg.VecVirtual) { g.VMOVUPS(v, at(work, (i*n+j)*size)) })
		if i < n-1 {
			g.ADDQ(row, at0)
		}
	}
	next, line := g.GP64(), g.GP64()
	g.IMUL3Q(Imm(uint64(n)), point, line) // from a row of points to the next
	point0 := g.GP64()
	g.MOVQ(dst, point0)
	for j := range n {
		g.MOVQ(point0, next)
		l.input(m, f, func(i int) Mem { return at(work, (i*n+j)*size) }, func(i int, v reg.VecVirtual) {
			g.VMOVUPS(v, at(next, 0))
			if i < n-1 {
				g.ADDQ(line, next)
			}
		})
		if j < n-1 {
			g.ADDQ(point, point0)
		}
	}
	g.ADDQ(Imm(uint64(size)), src)
	g.ADDQ(Imm(uint64(size)), dst)
	g.SUBQ(Imm(uint64(lanes(wide))), channels)
	g.JG(LabelRef("channel"))
	g.VZEROUPPER()
	g.RET()
}

func winogradOutput(g *gen, wide bool, m int) {
	n := m + 2
	g.function(name("winogradOutput%d%s", m, isaName(wide)), "func(channels int, src *float32, point int, bias, dst, other *float32, row, pixel int, lo, hi float32, work *float32)",
		fmt.Sprintf("the output transform of a tile of %dx%d pixels", m, m),
		"",
		fmt.Sprintf("\tdst[i*row+j*pixel+c] = min(max((A' m A)[i][j] + bias[c] + other[i*row+j*pixel+c], lo), hi)   with m[i][j] = src[(i*%d+j)*point+c]", n),
		"",
		fmt.Sprintf("for channels, a multiple of %d, without other if that is nil; row, pixel and point count floats; work has room for %d vectors.", lanes(wide), n*m))
	channels, src, point, bias, dst, other, row, pixel, work := g.arg("channels"), g.arg("src"), g.arg("point"), g.arg("bias"), g.arg("dst"), g.arg("other"), g.arg("row"), g.arg("pixel"), g.arg("work")
	for _, p := range []reg.GPVirtual{row, pixel, point} {
		g.SHLQ(Imm(2), p)
	}
	l := lines{g, wide}
	var f []reg.VecVirtual
	if m == 4 {
		f = []reg.VecVirtual{l.factor(2), l.factor(4), l.factor(8)}
	}
	size := 4 * lanes(wide)
	from, to := g.GP64(), g.GP64()
	g.Label("channel")
	g.MOVQ(src, from)
	for i := range n { // along the rows of points: work[i][j], j < m
		next := g.GP64()
		g.MOVQ(from, next)
		l.outputStepped(m, f, point, next, func(j int, v reg.VecVirtual) { g.VMOVUPS(v, at(work, (i*m+j)*size)) })
		if i < n-1 {
			g.MOVQ(next, from)
			g.ADDQ(point, from)
		}
	}
	column := g.GP64()
	g.XORQ(column, column)
	for j := range m {
		g.MOVQ(column, to)
		l.output(m, f, func(i int) Mem { return at(work, (i*m+j)*size) }, func(i int, v reg.VecVirtual) {
			g.VADDPS(at(bias, 0), v, v)
			skip := name("plain%d%d", i, j)
			g.TESTQ(other, other)
			g.JZ(LabelRef(skip))
			g.VADDPS(indexed(other, to, 1, 0), v, v)
			g.Label(skip)
			t := l.g.vec(wide)
			g.VBROADCASTSS(g.argAddr("lo"), t)
			g.VMAXPS(v, t, v)
			g.VBROADCASTSS(g.argAddr("hi"), t)
			g.VMINPS(v, t, v)
			g.VMOVUPS(v, indexed(dst, to, 1, 0))
			if i < m-1 {
				g.ADDQ(row, to)
			}
		})
		if j < m-1 {
			g.ADDQ(pixel, column)
		}
	}
	g.ADDQ(Imm(uint64(size)), src)
	g.ADDQ(Imm(uint64(size)), dst)
	g.ADDQ(Imm(uint64(size)), bias)
	g.TESTQ(other, other)
	g.JZ(LabelRef("none"))
	g.ADDQ(Imm(uint64(size)), other)
	g.Label("none")
	g.SUBQ(Imm(uint64(lanes(wide))), channels)
	g.JG(LabelRef("channel"))
	g.VZEROUPPER()
	g.RET()
}

// outputStepped is output for elements that lie step bytes apart from next on, which it leaves at the last one.
func (l lines) outputStepped(m int, f []reg.VecVirtual, step, next reg.GPVirtual, store func(i int, v reg.VecVirtual)) {
	l.output(m, f, func(i int) Mem {
		if i > 0 {
			l.g.ADDQ(step, next)
		}
		return at(next, 0)
	}, store)
}
