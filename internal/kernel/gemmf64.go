package kernel

// GemmF64 is GemmF32 in float64: portable, blocked for the cache, in a fixed order of summation.
func GemmF64(p *Pool, transA, transB bool, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	checkGemm(transA, transB, m, n, k, len(a), lda, len(b), ldb, len(c), ldc)
	if m == 0 || n == 0 {
		return
	}
	scaleC(m, n, beta, c, ldc)
	if k == 0 || alpha == 0 {
		return
	}
	const (
		rows  = 16
		deep  = 128
		width = 8
	)
	if m*n*k < minTask {
		p = nil
	}
	// op(B) in panels of eight columns, each contiguous along k and padded with zeros.
	panels := (n + width - 1) / width
	packed := make([]float64, panels*width*k)
	p.For(panels, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst := packed[i*width*k : (i+1)*width*k]
			for j := i * width; j < min((i+1)*width, n); j++ {
				for l := range k {
					if transB {
						dst[l*width+j-i*width] = b[j*ldb+l]
					} else {
						dst[l*width+j-i*width] = b[l*ldb+j]
					}
				}
			}
		}
	})
	p.For((m+rows-1)/rows, 1, func(lo, hi int) {
		line := make([]float64, deep)
		for i0 := lo * rows; i0 < min(hi*rows, m); i0 += rows {
			for k0 := 0; k0 < k; k0 += deep {
				k1 := min(k0+deep, k)
				for i := i0; i < min(i0+rows, m); i++ {
					for l := k0; l < k1; l++ {
						if transA {
							line[l-k0] = alpha * a[l*lda+i]
						} else {
							line[l-k0] = alpha * a[i*lda+l]
						}
					}
					for j := 0; j < n; j += width {
						addDots8(line[:k1-k0], packed[(j*k+k0*width):(j*k+k1*width)], c[i*ldc+j:i*ldc+min(j+width, n)])
					}
				}
			}
		}
	})
}

// addDots8 adds to c[j] the sum over l of a[l]*b[8*l+j].
func addDots8(a, b, c []float64) {
	var s0, s1, s2, s3, s4, s5, s6, s7 float64
	for l, v := range a {
		w := b[l*8 : l*8+8 : l*8+8]
		s0 += v * w[0]
		s1 += v * w[1]
		s2 += v * w[2]
		s3 += v * w[3]
		s4 += v * w[4]
		s5 += v * w[5]
		s6 += v * w[6]
		s7 += v * w[7]
	}
	sums := [8]float64{s0, s1, s2, s3, s4, s5, s6, s7}
	for j := range c {
		c[j] += sums[j]
	}
}
