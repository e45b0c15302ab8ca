package kernel

import "math"

// CholeskyF32 factors the symmetric positive definite matrix A of order n, of which one triangle is read, in place:
// A = L*L^T with the lower triangle L, or with upper A = U^T*U. The other triangle is neither read nor written. A pivot that is
// not a positive number is a *PivotError; A is then partly overwritten.
//
// The matrix is halved down to small blocks, so that nearly all work is that of SyrkF32 and TrsmF32; the order of
// summation does not depend on the number of threads. The computed factor is exact for a matrix that differs
// from A by a small multiple of n*2^-24*|L|*|L^T|.
func CholeskyF32(p *Pool, upper bool, n int, a []float32, lda int) error {
	need("Cholesky A", len(a), n, n, lda)
	return linearF32.cholesky(p, upper, n, a, lda, 0)
}

// CholeskyF64 is CholeskyF32 in float64.
func CholeskyF64(p *Pool, upper bool, n int, a []float64, lda int) error {
	need("Cholesky A", len(a), n, n, lda)
	return linearF64.cholesky(p, upper, n, a, lda, 0)
}

// InverseFactorF32 overwrites the symmetric positive definite matrix A of order n, of which the lower triangle is read, with
// the upper triangle U for which A^-1 = U^T*U, and zeros below: the Cholesky factor of the inverse, which GPTQ (Frantar et al.,
// 2022) works with. The inverse itself is never formed: turned by 180 degrees, the Cholesky factor of A turned by as much is an
// upper R with A = R*R^T, and U is the inverse of R. Errors are those of CholeskyF32, with pivots counted from the end.
func InverseFactorF32(p *Pool, n int, a []float32, lda int) error {
	return linearF32.inverseFactor(p, n, a, lda)
}

// InverseFactorF64 is InverseFactorF32 in float64.
func InverseFactorF64(p *Pool, n int, a []float64, lda int) error {
	return linearF64.inverseFactor(p, n, a, lda)
}

const choleskyOrder = 64

func (l *linear[T]) cholesky(p *Pool, upper bool, n int, a []T, lda, first int) error {
	if n <= choleskyOrder {
		return choleskySmall(upper, n, a, lda, first)
	}
	n1 := split(n, choleskyOrder)
	n2 := n - n1
	a22 := a[n1*lda+n1:]
	if err := l.cholesky(p, upper, n1, a, lda, first); err != nil {
		return err
	}
	if upper {
		l.trsm(p, false, Triangle{Upper: true, Transposed: true}, n1, n2, 1, a, lda, a[n1:], lda)
		l.syrk(p, true, true, n2, n1, -1, a[n1:], lda, 1, a22, lda)
	} else {
		l.trsm(p, true, Triangle{Transposed: true}, n2, n1, 1, a, lda, a[n1*lda:], lda)
		l.syrk(p, false, false, n2, n1, -1, a[n1*lda:], lda, 1, a22, lda)
	}
	return l.cholesky(p, upper, n2, a22, lda, first+n1)
}

// choleskySmall factors row by row of the lower triangle, or of the transpose of the upper one, with sums in float64.
func choleskySmall[T float32 | float64](upper bool, n int, a []T, lda, first int) error {
	var buf [choleskyOrder * choleskyOrder]T
	ld := choleskyOrder
	for i := range n {
		for j := range i + 1 {
			if upper {
				buf[i*ld+j] = a[j*lda+i]
			} else {
				buf[i*ld+j] = a[i*lda+j]
			}
		}
	}
	for i := range n {
		row := buf[i*ld : i*ld+i]
		for j := range row {
			row[j] = T((float64(row[j]) - dotF64(row[:j], buf[j*ld:])) / float64(buf[j*ld+j]))
		}
		pivot := float64(buf[i*ld+i]) - dotF64(row, row)
		if !(pivot > 0) || math.IsInf(pivot, 1) {
			return &PivotError{first + i, pivot, "a positive number"}
		}
		buf[i*ld+i] = T(math.Sqrt(pivot))
	}
	for i := range n {
		for j := range i + 1 {
			if upper {
				a[j*lda+i] = buf[i*ld+j]
			} else {
				a[i*lda+j] = buf[i*ld+j]
			}
		}
	}
	return nil
}

// dotF64 is the sum of a[i]*b[i] over len(a) elements in float64.
func dotF64[T float32 | float64](a, b []T) float64 {
	var s0, s1, s2, s3 float64
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += float64(a[i]) * float64(b[i])
		s1 += float64(a[i+1]) * float64(b[i+1])
		s2 += float64(a[i+2]) * float64(b[i+2])
		s3 += float64(a[i+3]) * float64(b[i+3])
	}
	for ; i < len(a); i++ {
		s0 += float64(a[i]) * float64(b[i])
	}
	return s0 + s1 + (s2 + s3)
}

func (l *linear[T]) inverseFactor(p *Pool, n int, a []T, lda int) error {
	need("inverse factor A", len(a), n, n, lda)
	// The lower triangle turned is the upper one: it is brought below again by transposing, A being symmetric.
	for i := range n {
		for j := range i {
			a[j*lda+i] = a[i*lda+j]
		}
	}
	turn(n, a, lda)
	if err := l.cholesky(p, false, n, a, lda, 0); err != nil {
		return err
	}
	for i := range n {
		clear(a[i*lda+i+1 : i*lda+n])
	}
	turn(n, a, lda)
	return l.invert(p, Triangle{Upper: true}, n, a, lda)
}

// turn turns a square matrix by 180 degrees.
func turn[T any](n int, a []T, lda int) {
	for i := range (n + 1) / 2 {
		k := n - 1 - i
		top, bottom := a[i*lda:i*lda+n], a[k*lda:k*lda+n]
		last := n
		if i == k {
			last = n / 2
		}
		for j := range last {
			top[j], bottom[n-1-j] = bottom[n-1-j], top[j]
		}
	}
}
