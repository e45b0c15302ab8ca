package kernel

// A matrix of 16-bit floats, row after row as checkpoints have it, is multiplied where it lies: by few vectors at the speed of memory, by
// many in blocks that are packed on the way.

// MultiplyNarrow sets dst[t*ldd+r], for each row t of x and each row r of w, to the sum over c of x[t*ldx+c]*w[r*cols+c]. w holds
// bfloat16 bits, or those of binary16.
//
// The result is that of a float32 product. With rounded, x may be rounded to bfloat16 first, and w if it is binary16, where more than three
// rows of x and instructions for bfloat16 make that faster; see GemmBF16.
func MultiplyNarrow(p *Pool, bfloat, rounded bool, rows, cols int, w []uint16, tokens int, x []float32, ldx int, dst []float32, ldd int) {
	need("narrow w", len(w), rows, cols, cols)
	need("narrow x", len(x), tokens, cols, ldx)
	need("narrow dst", len(dst), tokens, rows, ldd)
	switch {
	case tokens == 0 || rows == 0:
	case cols == 0:
		scaleC(tokens, rows, 0, dst, ldd)
	case tokens <= vectorRows:
		const unit = 16
		if 2*len(w) < 64<<10 {
			p = nil
		}
		units := (rows + unit - 1) / unit
		p.For(units, max(1, min(16, units/(8*p.Threads()))), func(lo, hi int) {
			for u := lo; u < hi; u++ { // a unit stays in the cache for the next row of x
				r0, r1 := u*unit, min((u+1)*unit, rows)
				for t := range tokens {
					dotNarrow(bfloat, cols, x[t*ldx:t*ldx+cols], w[r0*cols:r1*cols], dst[t*ldd+r0:t*ldd+r1])
				}
			}
		})
	case rounded && nativeBF16():
		right := halfOperand(w, cols, true, cols)
		right.binary16 = !bfloat
		productBF16(false, tokens, rows, cols, 1, x, ldx, 0, dst, ldd).run(p, right.packRight)
	default:
		f := kernelF32()
		f.product(false, tokens, rows, cols, 1, x, ldx, 0, dst, ldd).run(p, func(to []float32, width, k0, k1, col, n int) {
			k := k1 - k0
			buf := borrow(4 * n * k)
			defer buf.release()
			wide := buf.f32()[:n*k]
			for j := range n {
				row := w[(col+j)*cols+k0 : (col+j)*cols+k1]
				if bfloat {
					BF16ToF32(wide[j*k:(j+1)*k], row)
				} else {
					F16ToF32(wide[j*k:(j+1)*k], row)
				}
			}
			f.columns(to, width, wide, k, k, n)
		})
	}
}

// dotNarrow sets dst[r] to the product of x with the r-th row of w.
func dotNarrow(bfloat bool, cols int, x []float32, w []uint16, dst []float32) {
	needLen("narrow x", len(x), cols)
	needLen("narrow w", len(w), len(dst)*cols)
	done := dotNarrowVectors(bfloat, cols, x, w, dst)
	if done == cols {
		return
	}
	for r := range dst {
		sum := float32(0)
		if done > 0 {
			sum = dst[r]
		}
		for c := done; c < cols; c++ {
			if v := w[r*cols+c]; bfloat {
				sum += x[c] * bf16ToF32(v)
			} else {
				sum += x[c] * f16ToF32(v)
			}
		}
		dst[r] = sum
	}
}
