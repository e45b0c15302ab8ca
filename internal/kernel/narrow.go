package kernel

import "fmt"

// A matrix of 16-bit floats, row after row as checkpoints have it, is multiplied where it lies: by few vectors at the speed of memory, by
// many in blocks that are packed on the way.

// NarrowProduct is a product of rows of x with a matrix: Dst[t*Ldd+r], for each row t of x and each row r of W, becomes the sum over c of
// x[t*ldx+c]*W[r*cols+c]. W holds bfloat16 bits, or those of binary16.
type NarrowProduct struct {
	Rows int
	W    []uint16
	Dst  []float32
	Ldd  int
}

// MultiplyNarrow makes up to MostProducts products with the same x.
//
// The results are those of float32 products. With rounded, x may be rounded to bfloat16 first, and W if it is binary16, where many rows of x
// and instructions for bfloat16 make that faster; see GemmBF16.
func MultiplyNarrow(p *Pool, bfloat, rounded bool, cols, tokens int, x []float32, ldx int, products []NarrowProduct) {
	need("narrow x", len(x), tokens, cols, ldx)
	if len(products) > MostProducts {
		panic(fmt.Sprintf("kernel: %d products together", len(products)))
	}
	j := narrowJob{bfloat: bfloat, cols: cols, tokens: tokens, x: x, ldx: ldx, count: len(products)}
	units, words := 0, 0
	for i, q := range products {
		need("narrow w", len(q.W), q.Rows, cols, cols)
		need("narrow dst", len(q.Dst), tokens, q.Rows, q.Ldd)
		units += narrowUnits(q.Rows)
		words += len(q.W)
		j.products[i] = q
	}
	switch {
	case tokens == 0 || units == 0:
	case cols == 0:
		for _, q := range products {
			scaleC(tokens, q.Rows, 0, q.Dst, q.Ldd)
		}
	case tokens <= fewRows():
		if 2*words < 64<<10 {
			p = nil
		}
		narrowJobs.For(p, units, max(1, min(16, units/(8*p.Threads()))), j, (*narrowJob).units)
	default:
		for _, q := range products {
			if q.Rows > 0 {
				q.block(p, bfloat, rounded, cols, tokens, x, ldx)
			}
		}
	}
}

// fewRows is the greatest number of rows of x that are multiplied by rows of the matrix as they lie.
func fewRows() int {
	if nativeFew() {
		return 16
	}
	return vectorRows
}

// narrowUnit is how many rows of a matrix stay in the cache for the next row of x.
const narrowUnit = 16

func narrowUnits(rows int) int { return (rows + narrowUnit - 1) / narrowUnit }

// narrowJob is products of few rows.
type narrowJob struct {
	bfloat       bool
	cols, tokens int
	x            []float32
	ldx          int
	products     [MostProducts]NarrowProduct
	count        int
}

var narrowJobs Jobs[narrowJob]

// units multiplies by the units from lo to hi, counted through all matrices.
func (j *narrowJob) units(lo, hi int) {
	for _, q := range j.products[:j.count] {
		n := narrowUnits(q.Rows)
		for u := max(lo, 0); u < min(hi, n); u++ {
			r0, r1 := u*narrowUnit, min((u+1)*narrowUnit, q.Rows)
			dotNarrow(j.bfloat, j.cols, j.tokens, j.x, j.ldx, q.W[r0*j.cols:r1*j.cols], r1-r0, q.Dst[r0:], q.Ldd)
		}
		lo, hi = lo-n, hi-n
	}
}

// block makes a product of many rows, for which the matrix is packed on the way.
func (q *NarrowProduct) block(p *Pool, bfloat, rounded bool, cols, tokens int, x []float32, ldx int) {
	w := q.W
	if rounded && nativeBF16() {
		right := halfOperand(w, cols, true, cols)
		right.binary16 = !bfloat
		productBF16(false, tokens, q.Rows, cols, 1, x, ldx, 0, q.Dst, q.Ldd).run(p, right.packRight)
		return
	}
	f := kernelF32()
	f.product(false, tokens, q.Rows, cols, 1, x, ldx, 0, q.Dst, q.Ldd).run(p, func(to []float32, width, k0, k1, col, n int) {
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

// dotNarrow sets dst[t*ldd+r] to the product of row t of x with the r-th row of w.
func dotNarrow(bfloat bool, cols, tokens int, x []float32, ldx int, w []uint16, rows int, dst []float32, ldd int) {
	need("narrow x", len(x), tokens, cols, ldx)
	needLen("narrow w", len(w), rows*cols)
	need("narrow dst", len(dst), tokens, rows, ldd)
	done := dotNarrowVectors(bfloat, cols, tokens, x, ldx, w, rows, dst, ldd)
	if done == cols {
		return
	}
	for t := range tokens {
		for r := range rows {
			sum := float32(0)
			if done > 0 {
				sum = dst[t*ldd+r]
			}
			for c := done; c < cols; c++ {
				if v := w[r*cols+c]; bfloat {
					sum += x[t*ldx+c] * bf16ToF32(v)
				} else {
					sum += x[t*ldx+c] * f16ToF32(v)
				}
			}
			dst[t*ldd+r] = sum
		}
	}
}
