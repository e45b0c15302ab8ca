package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// winograd are the steps of Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks", 2016): transforms over as many channels at a time as a vector has lanes, and the products of the 36 points.
func winograd(g *gen) {
	for _, wide := range []bool{true, false} {
		winogradFilter(g, wide)
		winogradInput(g, wide)
		winogradOutput(g, wide)
	}
	winogradProducts(g, true, 8, 2)
	winogradProducts(g, true, 8, 1)
	winogradProducts(g, false, 6, 2)
}

// lines transforms one line of a tile in registers.
type lines struct {
	*gen
	wide bool
}

func (l lines) vec() reg.VecVirtual { return l.gen.vec(l.wide) }

func (l lines) vecs(n int) []reg.VecVirtual {
	out := make([]reg.VecVirtual, n)
	for i := range out {
		out[i] = l.vec()
	}
	return out
}

func (l lines) load(m Mem) reg.VecVirtual {
	v := l.vec()
	l.VMOVUPS(m, v)
	return v
}

func (l lines) factor(v float64) reg.VecVirtual {
	f := l.vec()
	l.VBROADCASTSS(l.float(v), f)
	return f
}

func (l lines) sum(a, b reg.VecVirtual) reg.VecVirtual {
	t := l.vec()
	l.VADDPS(b, a, t)
	return t
}

// less is a-b.
func (l lines) less(a, b reg.VecVirtual) reg.VecVirtual {
	t := l.vec()
	l.VSUBPS(b, a, t)
	return t
}

func (l lines) times(a, b reg.VecVirtual) reg.VecVirtual {
	t := l.vec()
	l.VMULPS(b, a, t)
	return t
}

func (l lines) copyOf(a reg.VecVirtual) reg.VecVirtual {
	t := l.vec()
	l.VMOVAPS(a, t)
	return t
}

// filterFactors are the factors of the lines of G.
type filterFactors struct{ quarter, sixth, twelfth, rest reg.VecVirtual }

// filter gives elements of G g for g of three, for the pair 0 and 5, 1 and 2, or 3 and 4.
func (l lines) filter(f *filterFactors, pair int, g []reg.VecVirtual) (a, b reg.VecVirtual) {
	switch pair {
	case 0:
		return l.times(g[0], f.quarter), g[2]
	case 1: // (g0+g2)/6 +- g1/6
		u := l.sum(g[0], g[2])
		l.VMULPS(f.sixth, u, u)
		h := l.times(g[1], f.sixth)
		return l.sum(u, h), l.less(u, h)
	}
	r := l.times(g[0], f.rest) // g0/24 + g2/6 +- g1/12
	l.VFMADD231PS(f.sixth, g[2], r)
	h := l.times(g[1], f.twelfth)
	return l.sum(r, h), l.less(r, h)
}

var filterPairs = [3][2]int{{0, 5}, {1, 2}, {3, 4}}

func winogradFilter(g *gen, wide bool) {
	g.function("winogradFilter"+isaName(wide), "func(n int, src *float32, tap int, dst *float32, point int)",
		"the transforms of n kernels of 3x3", "",
		"\tdst[(i*6+j)*point+c] = (G g G')[i][j]   with g[i][j] = src[(i*3+j)*tap+c]", "",
		fmt.Sprintf("for c < n, a multiple of %d; tap and point count floats.", lanes(wide)))
	n, src, tap, dst, point := g.arg("n"), g.arg("src"), g.arg("tap"), g.arg("dst"), g.arg("point")
	g.SHLQ(Imm(2), tap)
	g.SHLQ(Imm(2), point)
	l := lines{g, wide}
	f := &filterFactors{l.factor(1. / 4), l.factor(1. / 6), l.factor(1. / 12), l.factor(1. / 24)}
	line, point3, point5, from, to := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(indexed(tap, tap, 2, 0), line)
	g.LEAQ(indexed(point, point, 2, 0), point3)
	g.LEAQ(indexed(point, point, 4, 0), point5)
	g.Label("channel")
	for pair, rows := range filterPairs {
		var t [2][3]reg.VecVirtual
		for x := range 3 {
			g.MOVQ(src, from)
			for range x {
				g.ADDQ(tap, from)
			}
			var v [3]reg.VecVirtual
			for y := range v {
				if pair == 0 && y == 1 {
					continue
				}
				m := [3]Mem{at(from, 0), indexed(from, line, 1, 0), indexed(from, line, 2, 0)}[y]
				v[y] = l.load(m)
			}
			t[0][x], t[1][x] = l.filter(f, pair, v[:])
		}
		for k, y := range rows {
			g.MOVQ(dst, to)
			for range y {
				g.ADDQ(point5, to)
				g.ADDQ(point, to)
			}
			for p, columns := range filterPairs {
				a, b := l.filter(f, p, t[k][:])
				for i, v := range []reg.VecVirtual{a, b} {
					g.VMOVUPS(v, l.point(to, point, point3, point5, columns[i]))
				}
			}
		}
	}
	g.ADDQ(Imm(uint64(4*lanes(wide))), src)
	g.ADDQ(Imm(uint64(4*lanes(wide))), dst)
	g.SUBQ(Imm(uint64(lanes(wide))), n)
	g.JG(LabelRef("channel"))
	g.VZEROUPPER()
	g.RET()
}

// point is the memory i steps from base, for i < 6.
func (l lines) point(base, step, step3, step5 reg.Register, i int) Mem {
	return [...]Mem{at(base, 0), indexed(base, step, 1, 0), indexed(base, step, 2, 0), indexed(base, step3, 1, 0), indexed(base, step, 4, 0), indexed(base, step5, 1, 0)}[i]
}

// input gives the wanted elements of B' d, whose elements d loads; those of 1 and 2 have the opposite sign, and with them G of above.
func (l lines) input(four, two reg.VecVirtual, want []int, d func(i int) reg.VecVirtual, give func(i int, v reg.VecVirtual)) {
	switch {
	case len(want) == 1 && want[0] == 0: // 4*(d0-d2) + d4-d2
		d2 := d(2)
		t := l.less(d(0), d2)
		l.VFMADD213PS(l.less(d(4), d2), four, t)
		give(0, t)
		return
	case len(want) == 1 && want[0] == 5: // 4*(d1-d3) + d5-d3
		d3 := d(3)
		t := l.less(d(1), d3)
		l.VFMADD213PS(l.less(d(5), d3), four, t)
		give(5, t)
		return
	}
	has := map[int]bool{}
	for _, i := range want {
		has[i] = true
	}
	d1, d2, d3, d4 := d(1), d(2), d(3), d(4)
	if has[3] || has[4] {
		c, e := l.less(d4, d2), l.less(d3, d1)
		if has[3] {
			t := c
			if has[4] {
				t = l.copyOf(c)
			}
			l.VFMADD231PS(two, e, t)
			give(3, t)
		}
		if has[4] {
			l.VFNMADD231PS(two, e, c)
			give(4, c)
		}
	}
	if has[1] || has[2] {
		l.VFMSUB213PS(d4, four, d2) // 4*d2-d4
		l.VFMSUB213PS(d3, four, d1) // 4*d1-d3
		if has[1] {
			give(1, l.sum(d2, d1))
		}
		if has[2] {
			give(2, l.less(d2, d1))
		}
	}
}

func winogradInput(g *gen, wide bool) {
	g.function("winogradInput"+isaName(wide), "func(channels int, src *float32, row, pixel int, dst *float32, point int)",
		"the transform of a tile of 6x6 pixels", "",
		"\tdst[(i*6+j)*point+c] = (B' d B)[i][j]   with d[i][j] = src[i*row+j*pixel+c]", "",
		fmt.Sprintf("for c < channels, a multiple of %d; row, pixel and point count floats.", lanes(wide)))
	channels, src, row, pixel, dst, point := g.arg("channels"), g.arg("src"), g.arg("row"), g.arg("pixel"), g.arg("dst"), g.arg("point")
	for _, p := range []reg.GPVirtual{row, pixel, point} {
		g.SHLQ(Imm(2), p)
	}
	l := lines{g, wide}
	four, two := l.factor(4), l.factor(2)
	row3, row5, point3, point5, from, to := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(indexed(row, row, 2, 0), row3)
	g.LEAQ(indexed(row, row, 4, 0), row5)
	g.LEAQ(indexed(point, point, 2, 0), point3)
	g.LEAQ(indexed(point, point, 4, 0), point5)
	groups := [][]int{{0}, {1, 2, 3, 4}, {5}}
	if !wide {
		groups = [][]int{{0}, {1}, {2}, {3}, {4}, {5}}
	}
	g.Label("channel")
	g.MOVQ(dst, to)
	for _, rows := range groups {
		t := map[int][]reg.VecVirtual{}
		g.MOVQ(src, from)
		for j := range 6 {
			l.input(four, two, rows, func(i int) reg.VecVirtual { return l.load(l.point(from, row, row3, row5, i)) },
				func(i int, v reg.VecVirtual) { t[i] = append(t[i], v) })
			if j < 5 {
				g.ADDQ(pixel, from)
			}
		}
		for _, i := range rows {
			for _, columns := range [][]int{{0}, {5}, {1, 2, 3, 4}} {
				l.input(four, two, columns, func(j int) reg.VecVirtual { return t[i][j] },
					func(j int, v reg.VecVirtual) { g.VMOVUPS(v, l.point(to, point, point3, point5, j)) })
			}
			if i < 5 {
				g.ADDQ(point5, to)
				g.ADDQ(point, to)
			}
		}
	}
	g.ADDQ(Imm(uint64(4*lanes(wide))), src)
	g.ADDQ(Imm(uint64(4*lanes(wide))), dst)
	g.SUBQ(Imm(uint64(lanes(wide))), channels)
	g.JG(LabelRef("channel"))
	g.VZEROUPPER()
	g.RET()
}

// output gives the wanted elements of A' d; d loads elements, which may be overwritten.
func (l lines) output(two, four, eight reg.VecVirtual, want []int, d func(i int) reg.VecVirtual, give func(i int, v reg.VecVirtual)) {
	has := map[int]bool{}
	for _, i := range want {
		has[i] = true
	}
	d1, d2, d3, d4 := d(1), d(2), d(3), d(4)
	if has[0] || has[2] {
		s, u := l.sum(d1, d2), l.sum(d3, d4)
		if has[0] { // d0 + s + u
			t := l.sum(d(0), s)
			l.VADDPS(u, t, t)
			give(0, t)
		}
		if has[2] { // s + 4*u
			l.VFMADD231PS(four, u, s)
			give(2, s)
		}
	}
	if has[1] || has[3] {
		l.VSUBPS(d2, d1, d1)
		l.VSUBPS(d4, d3, d3)
		if has[3] { // t + 8*v + d5
			t := l.sum(d(5), d1)
			l.VFMADD231PS(eight, d3, t)
			give(3, t)
		}
		if has[1] { // t + 2*v
			l.VFMADD231PS(two, d3, d1)
			give(1, d1)
		}
	}
}

func winogradOutput(g *gen, wide bool) {
	g.function("winogradOutput"+isaName(wide), "func(channels int, src *float32, point int, bias, dst, other *float32, row, pixel, height, width int, lo, hi float32)",
		"the output of a tile of 4x4 pixels, height x width of which are there", "",
		"\tdst[i*row+j*pixel+c] = min(max((A' m A)[i][j] + bias[c] + other[i*row+j*pixel+c], lo), hi)   with m[i][j] = src[(i*6+j)*point+c]", "",
		fmt.Sprintf("for c < channels, a multiple of %d, without other if that is nil; row, pixel and point count floats. NaN stays NaN.", lanes(wide)))
	channels, src, point, dst, other, row := g.arg("channels"), g.arg("src"), g.arg("point"), g.arg("dst"), g.arg("other"), g.arg("row")
	g.SHLQ(Imm(2), row)
	g.SHLQ(Imm(2), point)
	shift := g.GP64()
	g.MOVQ(g.argAddr("pixel"), shift)
	g.SHLQ(Imm(2), shift)
	g.MOVQ(shift, g.argAddr("pixel"))
	l := lines{g, wide}
	two, four, eight := l.factor(2), l.factor(4), l.factor(8)
	line, from, to, line3, line5 := g.GP64(), g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(indexed(point, point, 2, 0), line)
	g.ADDQ(line, line) // six points
	g.LEAQ(indexed(line, line, 2, 0), line3)
	g.LEAQ(indexed(line, line, 4, 0), line5)
	groups := [][]int{{0, 1, 2, 3}}
	if !wide {
		groups = [][]int{{0}, {1}, {2}, {3}}
	}
	g.Label("channel")
	g.XORQ(to, to)
	for _, rows := range groups {
		t := map[int][]reg.VecVirtual{}
		g.MOVQ(src, from)
		for j := range 6 {
			l.output(two, four, eight, rows, func(i int) reg.VecVirtual { return l.load(l.point(from, line, line3, line5, i)) },
				func(i int, v reg.VecVirtual) { t[i] = append(t[i], v) })
			if j < 5 {
				g.ADDQ(point, from)
			}
		}
		for _, i := range rows {
			end := name("row%d", i+1)
			if i == 3 {
				end = "next"
			}
			if i > 0 {
				g.CMPQ(g.argAddr("height"), Imm(uint64(i)))
				g.JLE(LabelRef("next"))
			}
			var y [4]reg.VecVirtual
			l.output(two, four, eight, []int{0, 1, 2, 3}, func(j int) reg.VecVirtual { return t[i][j] }, func(j int, v reg.VecVirtual) { y[j] = v })
			b := g.GP64()
			g.MOVQ(g.argAddr("bias"), b)
			for _, v := range y {
				g.VADDPS(at(b, 0), v, v)
			}
			for _, added := range []bool{false, true} {
				if !added {
					g.TESTQ(other, other)
					g.JNZ(LabelRef(name("added%d", i)))
				} else {
					g.Label(name("added%d", i))
				}
				at0, bound := g.GP64(), l.vec()
				g.MOVQ(to, at0)
				for j, v := range y {
					if j > 0 {
						g.CMPQ(g.argAddr("width"), Imm(uint64(j)))
						g.JLE(LabelRef(end))
					}
					if added {
						g.VADDPS(indexed(other, at0, 1, 0), v, v)
					}
					g.VBROADCASTSS(g.argAddr("lo"), bound)
					g.VMAXPS(v, bound, v)
					g.VBROADCASTSS(g.argAddr("hi"), bound)
					g.VMINPS(v, bound, v)
					g.VMOVUPS(v, indexed(dst, at0, 1, 0))
					if j < 3 {
						g.ADDQ(g.argAddr("pixel"), at0)
					}
				}
				if !added {
					g.JMP(LabelRef(end))
				}
			}
			if i < 3 {
				g.Label(end)
				g.ADDQ(row, to)
			}
		}
	}
	g.Label("next")
	size := uint64(4 * lanes(wide))
	g.ADDQ(Imm(size), src)
	g.ADDQ(Imm(size), dst)
	g.ADDQ(Imm(size), g.argAddr("bias"))
	g.TESTQ(other, other)
	g.JZ(LabelRef("none"))
	g.ADDQ(Imm(size), other)
	g.Label("none")
	g.SUBQ(Imm(uint64(lanes(wide))), channels)
	g.JG(LabelRef("channel"))
	g.VZEROUPPER()
	g.RET()
}

// winogradProducts multiplies point after point. Heights of tiles are such that none is nearly empty.
func winogradProducts(g *gen, wide bool, most, vecs int) {
	width := vecs * lanes(wide)
	g.function(name("winogradProducts%d%s", width, isaName(wide)),
		"func(points, tiles, height, short, k int, a *float32, lda, apoint int, b *float32, ldb, bpoint int, c *float32, ldc, cpoint int, more bool)",
		"products of points", "",
		"\tc[p*cpoint+i*ldc+j] = sum over l<k of a[p*apoint+i*lda+l]*b[p*bpoint+l*ldb+j]  (+ c[p*cpoint+i*ldc+j] if more)", "",
		fmt.Sprintf("for p < points, j < %d and i < tiles*height+short*(height-1): of that many tiles of rows, at least one, each has height rows, at most %d, or one less. k is a multiple of 4; the rest counts floats.", width, most))
	for _, p := range []string{"lda", "apoint", "ldb", "bpoint", "ldc", "cpoint"} {
		t := g.GP64()
		g.MOVQ(g.argAddr(p), t)
		g.SHLQ(Imm(2), t)
		g.MOVQ(t, g.argAddr(p))
	}
	a, c, lda, ldc, ldb := g.GP64(), g.GP64(), g.arg("lda"), g.arg("ldc"), g.arg("ldb")
	tall, short, height := g.GP64(), g.GP64(), g.GP64()
	ldb3, zero := g.GP64(), g.vec(wide)
	g.LEAQ(indexed(ldb, ldb, 2, 0), ldb3)
	tileGen{g, f32, wide}.zero(zero)
	g.Label("point")
	g.Load(g.Param("a"), a)
	g.Load(g.Param("c"), c)
	g.Load(g.Param("tiles"), tall)
	g.Load(g.Param("short"), short)
	g.Label("tile")
	g.Load(g.Param("height"), height)
	g.DECQ(tall)
	g.JGE(LabelRef("begin"))
	g.DECQ(height)
	g.DECQ(short)
	g.JL(LabelRef("advance"))
	g.Label("begin")
	for rows := most; rows > 1; rows-- {
		g.CMPQ(height, Imm(uint64(rows)))
		g.JEQ(LabelRef(name("rows%d", rows)))
	}
	for rows := 1; rows <= most; rows++ {
		at0 := func(s string) string { return name("%s%d", s, rows) }
		g.Label(at0("rows"))
		acc := make([][]reg.VecVirtual, rows)
		to := g.GP64()
		for i := range acc {
			for range vecs {
				acc[i] = append(acc[i], g.vec(wide))
			}
		}
		more := g.GP64()
		g.MOVBQZX(g.argAddr("more"), more)
		g.TESTQ(more, more)
		g.JZ(LabelRef(at0("zero")))
		g.MOVQ(c, to)
		for i := range acc {
			for v := range vecs {
				g.VMOVUPS(at(to, 4*lanes(wide)*v), acc[i][v])
			}
			if i < rows-1 {
				g.ADDQ(ldc, to)
			}
		}
		g.JMP(LabelRef(at0("set")))
		g.Label(at0("zero"))
		for i := range acc {
			for v := range vecs {
				g.VMOVAPS(zero, acc[i][v])
			}
		}
		g.Label(at0("set"))
		var groups []reg.GPVirtual // of three rows
		for i := 0; i < rows; i += 3 {
			p := g.GP64()
			if i == 0 {
				g.MOVQ(a, p)
			} else {
				g.LEAQ(indexed(groups[i/3-1], lda, 2, 0), p)
				g.ADDQ(lda, p)
			}
			groups = append(groups, p)
		}
		b, left := g.GP64(), g.GP64()
		g.Load(g.Param("b"), b)
		g.Load(g.Param("k"), left)
		g.Label(at0("k"))
		bv := make([]reg.VecVirtual, vecs)
		for v := range bv {
			bv[v] = g.vec(wide)
		}
		av := []reg.VecVirtual{g.vec(wide), g.vec(wide)}
		for l := range 4 {
			for v := range bv {
				disp := 4 * lanes(wide) * v
				g.VMOVUPS([]Mem{at(b, disp), indexed(b, ldb, 1, disp), indexed(b, ldb, 2, disp), indexed(b, ldb3, 1, disp)}[l], bv[v])
			}
			for i := range rows {
				x := av[i%2]
				g.VBROADCASTSS([]Mem{at(groups[i/3], 4*l), indexed(groups[i/3], lda, 1, 4*l), indexed(groups[i/3], lda, 2, 4*l)}[i%3], x)
				for v := range vecs {
					g.VFMADD231PS(bv[v], x, acc[i][v])
				}
			}
		}
		g.LEAQ(indexed(b, ldb, 4, 0), b)
		for _, p := range groups {
			g.ADDQ(Imm(16), p)
		}
		g.SUBQ(Imm(4), left)
		g.JNZ(LabelRef(at0("k")))
		for i := range acc {
			for v := range vecs {
				g.VMOVUPS(acc[i][v], at(c, 4*lanes(wide)*v))
			}
			g.ADDQ(ldc, c)
			g.ADDQ(lda, a)
		}
		g.JMP(LabelRef("tile"))
	}
	g.Label("advance")
	t := g.GP64()
	for _, p := range []string{"a", "b", "c"} {
		g.MOVQ(g.argAddr(p+"point"), t)
		g.ADDQ(t, g.argAddr(p))
	}
	g.DECQ(g.argAddr("points"))
	g.JNZ(LabelRef("point"))
	g.VZEROUPPER()
	g.RET()
}
