package kernel

import "fmt"

// PackedInt8 is an 8-bit matrix in the order in which the integer GEMM kernels read their right
// operand, with its zero points and column sums. It is read-only after PackInt8 and may be used by several
// goroutines.
type PackedInt8 struct {
	k, n int
	vals []int16 // b-zb
}

// PackInt8 packs op(B), a k x n matrix of bytes (two's complement if signed), for GemmInt8. With
// transB b holds n rows of k elements. bzp is the zero point: empty for 0, one value for all, or n
// values, one per column; each in -128..255. b and bzp are not referenced afterwards.
func PackInt8(k, n int, b []byte, ldb int, signed, transB bool, bzp []int32) *PackedInt8 {
	if transB {
		need("PackInt8 B transposed", len(b), n, k, ldb)
	} else {
		need("PackInt8 B", len(b), k, n, ldb)
	}
	checkBroadcast("PackInt8 zero point", len(bzp), n, true)
	q := &PackedInt8{k: k, n: n, vals: make([]int16, k*n)}
	for l := range k {
		for j := range n {
			i := l*ldb + j
			if transB {
				i = j*ldb + l
			}
			v := int32(b[i])
			if signed {
				v = int32(int8(b[i]))
			}
			q.vals[l*n+j] = int16(v - at(bzp, j))
		}
	}
	return q
}

// Size returns the number of rows (k) and columns (n) of the packed matrix.
func (b *PackedInt8) Size() (k, n int) { return b.k, b.n }

// Bytes returns the memory that the packed matrix holds.
func (b *PackedInt8) Bytes() int { return len(b.vals) * 2 }

// GemmInt8 computes the exact product of an m x k byte matrix A and the packed k x n matrix B,
//
//	c[i*ldc+j] = sum over l of (a[i*lda+l]-azp[i]) * (b[l][j]-bzp[j])   in int32
//
// for ONNX MatMulInteger. Elements of A are two's complement if aSigned. azp is empty for 0, one
// value for all rows, or m values. Nothing saturates: where the sum leaves int32 it wraps, in every
// implementation alike. m, n, k must agree with b.Size().
func GemmInt8(p *Pool, m, n, k int, a []byte, lda int, aSigned bool, azp []int32, b *PackedInt8, c []int32, ldc int) {
	checkGemmInt8(m, n, k, len(a), lda, azp, b, len(c), ldc)
	gemmInt8Simple(p, m, a, lda, aSigned, azp, b, func(i, j int, acc int32) { c[i*ldc+j] = acc })
}

// GemmInt8F32 is GemmInt8 followed by what ONNX's dynamically quantized graphs do with its result
// (Cast, Mul by the product of both scales, Add of the bias), each step rounded to float32:
//
//	c[i*ldc+j] = float32(acc)*(aScale[i]*bScale[j]) + bias[j]
//
// aScale has 1 or m values, bScale 1 or n, bias is empty or has n.
func GemmInt8F32(p *Pool, m, n, k int, a []byte, lda int, aSigned bool, azp []int32, aScale []float32, b *PackedInt8, bScale, bias []float32, c []float32, ldc int) {
	checkGemmInt8(m, n, k, len(a), lda, azp, b, len(c), ldc)
	checkBroadcast("GemmInt8F32 A scale", len(aScale), m, false)
	checkBroadcast("GemmInt8F32 B scale", len(bScale), n, false)
	if len(bias) != 0 {
		needLen("GemmInt8F32 bias", len(bias), n)
	}
	gemmInt8Simple(p, m, a, lda, aSigned, azp, b, func(i, j int, acc int32) {
		v := float32(float32(acc) * float32(at(aScale, i)*at(bScale, j)))
		if len(bias) != 0 {
			v += bias[j]
		}
		c[i*ldc+j] = v
	})
}

func gemmInt8Simple(p *Pool, m int, a []byte, lda int, aSigned bool, azp []int32, b *PackedInt8, store func(i, j int, acc int32)) {
	p.For(m, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for j := range b.n {
				var acc int32
				for l := range b.k {
					v := int32(a[i*lda+l])
					if aSigned {
						v = int32(int8(a[i*lda+l]))
					}
					acc += (v - at(azp, i)) * int32(b.vals[l*b.n+j])
				}
				store(i, j, acc)
			}
		}
	})
}

func checkGemmInt8(m, n, k, lenA, lda int, azp []int32, b *PackedInt8, lenC, ldc int) {
	if b.n != n || b.k != k {
		panic(fmt.Sprintf("kernel: int8 gemm: B is packed as %dx%d, want %dx%d", b.k, b.n, k, n))
	}
	need("int8 gemm A", lenA, m, k, lda)
	need("int8 gemm C", lenC, m, n, ldc)
	checkBroadcast("int8 gemm A zero point", len(azp), m, true)
}

// checkBroadcast panics unless got is 1 or n, or 0 where that is allowed.
func checkBroadcast(what string, got, n int, empty bool) {
	if got != 1 && got != n && (got != 0 || !empty) {
		panic(fmt.Sprintf("kernel: %s: %d values, want 1 or %d", what, got, n))
	}
}

// at returns v[i] of a vector that may be given as nothing (zeros) or as one value for all.
func at[T int32 | float32](v []T, i int) T {
	switch len(v) {
	case 0:
		return 0
	case 1:
		return v[0]
	}
	return v[i]
}
