package kernel

import "fmt"

// Triangle says how a stored square matrix is read as a triangular operand. What lies in the other triangle is not read.
type Triangle struct {
	Upper        bool // the upper triangle holds the matrix, otherwise the lower
	Transposed   bool // the operand is the transpose of what is stored
	UnitDiagonal bool // the diagonal counts as ones and is not read
}

// lower reports whether the operand, after transposition, is lower triangular.
func (t Triangle) lower() bool { return t.Upper == t.Transposed }

// TrsmF32 solves op(A)*X = alpha*B, or with right X*op(A) = alpha*B, for X, which overwrites the m x n matrix B. A is triangular of
// order m, or n with right. The order of summation does not depend on the number of threads. A zero on the diagonal
// makes infinities or NaN.
//
// Blocks are solved by substitution and eliminated from the rest by products, so that the error is that of
// substitution: X solves exactly a system whose A differs relatively by a small multiple of order*2^-24.
func TrsmF32(p *Pool, right bool, t Triangle, m, n int, alpha float32, a []float32, lda int, b []float32, ldb int) {
	linearF32.trsm(p, right, t, m, n, alpha, a, lda, b, ldb)
}

// TrsmF64 is TrsmF32 in float64.
func TrsmF64(p *Pool, right bool, t Triangle, m, n int, alpha float64, a []float64, lda int, b []float64, ldb int) {
	linearF64.trsm(p, right, t, m, n, alpha, a, lda, b, ldb)
}

// InvertTriangleF32 overwrites a triangular matrix of order n with its inverse. A zero on the diagonal is a
// *PivotError; A is then partly overwritten. t.Transposed does not matter.
func InvertTriangleF32(p *Pool, t Triangle, n int, a []float32, lda int) error {
	return linearF32.invert(p, t, n, a, lda)
}

// InvertTriangleF64 is InvertTriangleF32 in float64.
func InvertTriangleF64(p *Pool, t Triangle, n int, a []float64, lda int) error {
	return linearF64.invert(p, t, n, a, lda)
}

// PivotError reports a diagonal element that a factorization or an inverse cannot use.
type PivotError struct {
	Index int     // row and column
	Value float64 // what stands there, after the elimination of those before
	Want  string
}

func (e *PivotError) Error() string {
	return fmt.Sprintf("pivot %d is %v, want %s", e.Index, e.Value, e.Want)
}

// linear is what the blocked algorithms of linear algebra are made of.
type linear[T float32 | float64] struct {
	gemm  func(p *Pool, transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int)
	syrk  func(p *Pool, upper, trans bool, n, k int, alpha T, a []T, lda int, beta T, c []T, ldc int)
	axpy  func(alpha T, x, y []T)
	scale func(dst, x []T, s T)
}

var (
	linearF32 = linear[float32]{GemmF32, SyrkF32, AXPY, Scale}
	linearF64 = linear[float64]{GemmF64, SyrkF64, axpyF64, scaleF64}
)

func scaleF64(dst, x []float64, s float64) {
	for i, v := range x[:len(dst)] {
		dst[i] = v * s
	}
}

// axpyF64Generic sets y[i] += alpha*x[i] for len(y) elements. Implementations may fuse the product and the sum.
func axpyF64Generic(alpha float64, x, y []float64) {
	for i, v := range x[:len(y)] {
		y[i] += alpha * v
	}
}

const (
	solveOrder = 16  // up to so many unknowns are eliminated one by one,
	solveStrip = 256 // of so many systems at a time; also what a thread takes, whatever the number of threads
)

func (l *linear[T]) trsm(p *Pool, right bool, t Triangle, m, n int, alpha T, a []T, lda int, b []T, ldb int) {
	order, systems := m, n
	if right {
		order, systems = n, m
	}
	need("triangular A", len(a), order, order, lda)
	need("triangular B", len(b), m, n, ldb)
	if m == 0 || n == 0 {
		return
	}
	if order*order*systems/2 < minTask {
		p = nil
	}
	p.For((systems+solveStrip-1)/solveStrip, 1, func(lo, hi int) {
		for s := lo * solveStrip; s < min(hi*solveStrip, systems); s += solveStrip {
			count := min(solveStrip, systems-s)
			if right {
				part := b[s*ldb:]
				if alpha != 1 {
					scaleC(count, n, alpha, part, ldb)
				}
				l.solveRight(t, count, n, a, lda, part, ldb)
				continue
			}
			part := b[s:]
			if alpha != 1 {
				scaleC(m, count, alpha, part, ldb)
			}
			l.solveLeft(t, m, count, a, lda, part, ldb)
		}
	})
}

// split cuts an order into halves of whole blocks.
func split(n, block int) int { return (n/2 + block - 1) / block * block }

// solveLeft solves op(A)*X = B by halves.
func (l *linear[T]) solveLeft(t Triangle, m, n int, a []T, lda int, b []T, ldb int) {
	if m <= solveOrder {
		var tri [solveOrder * solveOrder]T
		readTriangle(&tri, t, m, a, lda)
		l.substitute(&tri, t.lower(), m, n, b, ldb)
		return
	}
	m1 := split(m, solveOrder)
	m2 := m - m1
	a22, b2 := a[m1*lda+m1:], b[m1*ldb:]
	off := a[m1*lda:] // the block off the diagonal as stored
	if t.Upper {
		off = a[m1:]
	}
	if t.lower() {
		l.solveLeft(t, m1, n, a, lda, b, ldb)
		l.gemm(nil, t.Transposed, false, m2, n, m1, -1, off, lda, b, ldb, 1, b2, ldb)
		l.solveLeft(t, m2, n, a22, lda, b2, ldb)
	} else {
		l.solveLeft(t, m2, n, a22, lda, b2, ldb)
		l.gemm(nil, t.Transposed, false, m1, n, m2, -1, off, lda, b2, ldb, 1, b, ldb)
		l.solveLeft(t, m1, n, a, lda, b, ldb)
	}
}

// solveRight solves X*op(A) = B by halves; small blocks are the transposed problem.
func (l *linear[T]) solveRight(t Triangle, m, n int, a []T, lda int, b []T, ldb int) {
	if n <= solveOrder {
		var tri [solveOrder * solveOrder]T
		flipped := t
		flipped.Transposed = !t.Transposed
		readTriangle(&tri, flipped, n, a, lda)
		buf := borrow(8 * n * m)
		defer buf.release()
		x := view[T](buf)[:n*m]
		Transpose(x, m, b, ldb, m, n)
		l.substitute(&tri, flipped.lower(), n, m, x, m)
		Transpose(b, ldb, x, m, n, m)
		return
	}
	n1 := split(n, solveOrder)
	n2 := n - n1
	a22, b2 := a[n1*lda+n1:], b[n1:]
	off := a[n1*lda:]
	if t.Upper {
		off = a[n1:]
	}
	if t.lower() {
		l.solveRight(t, m, n2, a22, lda, b2, ldb)
		l.gemm(nil, false, t.Transposed, m, n1, n2, -1, b2, ldb, off, lda, 1, b, ldb)
		l.solveRight(t, m, n1, a, lda, b, ldb)
	} else {
		l.solveRight(t, m, n1, a, lda, b, ldb)
		l.gemm(nil, false, t.Transposed, m, n2, n1, -1, b, ldb, off, lda, 1, b2, ldb)
		l.solveRight(t, m, n2, a22, lda, b2, ldb)
	}
}

// readTriangle copies op(A), of order n, with the reciprocals of its diagonal.
func readTriangle[T float32 | float64](tri *[solveOrder * solveOrder]T, t Triangle, n int, a []T, lda int) {
	lower := t.lower()
	for i := range n {
		lo, hi := 0, i
		if !lower {
			lo, hi = i+1, n
		}
		for j := lo; j < hi; j++ {
			if t.Transposed {
				tri[i*solveOrder+j] = a[j*lda+i]
			} else {
				tri[i*solveOrder+j] = a[i*lda+j]
			}
		}
		tri[i*solveOrder+i] = 1
		if !t.UnitDiagonal {
			tri[i*solveOrder+i] = 1 / a[i*lda+i]
		}
	}
}

// substitute solves a small triangular system for n right sides, row by row.
func (l *linear[T]) substitute(tri *[solveOrder * solveOrder]T, lower bool, m, n int, b []T, ldb int) {
	for s := range m {
		i, lo, hi := s, 0, s
		if !lower {
			i = m - 1 - s
			lo, hi = i+1, m
		}
		row := b[i*ldb : i*ldb+n]
		for j := lo; j < hi; j++ {
			l.axpy(-tri[i*solveOrder+j], b[j*ldb:j*ldb+n], row)
		}
		if d := tri[i*solveOrder+i]; d != 1 {
			l.scale(row, row, d)
		}
	}
}

func (l *linear[T]) invert(p *Pool, t Triangle, n int, a []T, lda int) error {
	need("triangular A", len(a), n, n, lda)
	if !t.UnitDiagonal {
		for i := range n {
			if d := a[i*lda+i]; d == 0 || d != d {
				return &PivotError{i, float64(d), "a number other than zero"}
			}
		}
	}
	t.Transposed = false
	l.invertBlock(p, t, n, a, lda)
	return nil
}

// invertBlock inverts by halves: of a lower triangle, the block off the diagonal becomes -A22^-1*A21*A11^-1.
func (l *linear[T]) invertBlock(p *Pool, t Triangle, n int, a []T, lda int) {
	if n <= solveOrder {
		invertSmall(t, n, a, lda)
		return
	}
	n1 := split(n, solveOrder)
	n2 := n - n1
	a22 := a[n1*lda+n1:]
	if t.Upper {
		off := a[n1:]
		l.trsm(p, false, t, n1, n2, -1, a, lda, off, lda)
		l.trsm(p, true, t, n1, n2, 1, a22, lda, off, lda)
	} else {
		off := a[n1*lda:]
		l.trsm(p, false, t, n2, n1, -1, a22, lda, off, lda)
		l.trsm(p, true, t, n2, n1, 1, a, lda, off, lda)
	}
	l.invertBlock(p, t, n1, a, lda)
	l.invertBlock(p, t, n2, a22, lda)
}

// invertSmall inverts a triangle column by column of the identity.
func invertSmall[T float32 | float64](t Triangle, n int, a []T, lda int) {
	var tri, x [solveOrder * solveOrder]T
	readTriangle(&tri, t, n, a, lda)
	for c := range n {
		steps := n - c
		if t.Upper {
			steps = c + 1
		}
		for s := range steps {
			i := c + s
			if t.Upper {
				i = c - s
			}
			var sum T
			if i == c {
				sum = 1
			}
			for j := min(i, c); j <= max(i, c); j++ {
				if j != i {
					sum -= tri[i*solveOrder+j] * x[j*solveOrder+c]
				}
			}
			x[i*solveOrder+c] = sum * tri[i*solveOrder+i]
		}
	}
	for i := range n {
		lo, hi := inTriangle(t.Upper, i, 0, n)
		for j := lo; j < hi; j++ {
			if i != j || !t.UnitDiagonal {
				a[i*lda+j] = x[i*solveOrder+j]
			}
		}
	}
}
