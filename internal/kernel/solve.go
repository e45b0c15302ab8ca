package kernel

import (
	"fmt"
	"math"
)

// SolveLanes is the number of rows that a tile of a weight matrix has. A tile is stored column after column: element w[c*SolveLanes+l]
// is column c of row l.
const SolveLanes = 32

// Grid is what the rows of a tile may be rounded to: scale*(q-zero) for the whole numbers 0 <= q <= Most.
type Grid struct {
	Scale, Zero [SolveLanes]float32
	Most        float32
}

// code returns the code of the nearest point of a lane's grid, and the point.
func (g *Grid) code(lane int, x float32) (code, value float32) {
	return gridCode(x, g.Scale[lane], g.Zero[lane], g.Most)
}

func gridCode(x, scale, zero, most float32) (code, value float32) {
	q := float32(math.RoundToEven(float64(x/scale))) + zero
	if !(q > 0) {
		q = 0
	}
	if q > most {
		q = most
	}
	return q, scale * (q - zero)
}

// RoundToGrid sets dst[i] to the point nearest to x[i], for len(dst) elements, of the grid scale*(q-zero) with the whole numbers
// 0 <= q <= most, each step rounded to float32; NaN counts as q = 0. dst may be x.
func RoundToGrid(dst, x []float32, scale, zero, most float32) {
	x = x[:len(dst)]
	if roundToGrid(dst, x, scale, zero, most) {
		return
	}
	for i, v := range x {
		_, dst[i] = gridCode(v, scale, zero, most)
	}
}

// SolveColumns quantizes the columns from <= c < to of a tile of cols columns one by one and makes up for the error of each in the
// columns behind it, as GPTQ does (Frantar et al., "GPTQ: Accurate Post-Training Quantization", 2022, algorithm 1). u holds
// the rows and columns of the tile of the upper triangle U with U^T*U = H^-1, of which row c begins at u[c*ldu]:
//
//	x = w[c]; q = clamp(rne(x/s)+z, 0, Most); w[c] = s*(q-z); e = (x-w[c])/U[c,c]
//	w[j] -= e*U[c,j]   for c < j < cols
//
// With p, laid out as u, x*P[c,j] is added there too, which makes up for inputs that differ from those of the original network
// (GPTAQ: Li et al., 2025). codes and errs get q and e of column c at index (c-from)*SolveLanes. Implementations may fuse products and sums.
func SolveColumns(w []float32, cols, from, to int, u []float32, ldu int, p []float32, g *Grid, codes []byte, errs []float32) {
	if from < 0 || from > to || to > cols || ldu < cols || len(w) < cols*SolveLanes {
		panic(fmt.Sprintf("kernel: columns %d to %d of %d in a tile of %d, rows of %d", from, to, cols, len(w), ldu))
	}
	if from == to {
		return
	}
	need("SolveColumns U", len(u), cols, cols, ldu)
	if p != nil {
		need("SolveColumns P", len(p), cols, cols, ldu)
	}
	n := (to - from) * SolveLanes
	codes, errs = codes[:n], errs[:n]
	if solveColumns(w, cols, from, to, u, ldu, p, g, codes, errs) {
		return
	}
	for c := from; c < to; c++ {
		at := (c - from) * SolveLanes
		for l := range SolveLanes {
			x := w[c*SolveLanes+l]
			q, v := g.code(l, x)
			e := (x - v) / u[c*ldu+c]
			codes[at+l], errs[at+l], w[c*SolveLanes+l] = byte(q), e, v
			for j := c + 1; j < cols; j++ {
				if p != nil {
					w[j*SolveLanes+l] += x * p[c*ldu+j]
				}
				w[j*SolveLanes+l] -= e * u[c*ldu+j]
			}
		}
	}
}

// GridErrors sets sums to what it costs each row of a tile of cols columns to be rounded to the grid: the sum over the columns of
// |x - value|^norm, with 1 <= norm <= 4. Each sum is within (cols+16)*2^-20 of itself and cols*2^-126 of the exact one.
func GridErrors(w []float32, cols int, g *Grid, norm float32, sums *[SolveLanes]float32) {
	if norm < 1 || norm > 4 {
		panic(fmt.Sprintf("kernel: norm %v; want 1 to 4", norm))
	}
	w = w[:cols*SolveLanes]
	if gridErrors(w, cols, g, norm, sums) {
		return
	}
	*sums = [SolveLanes]float32{}
	for c := range cols {
		for l := range SolveLanes {
			x := w[c*SolveLanes+l]
			_, v := g.code(l, x)
			if d := x - v; norm == 2 {
				sums[l] += d * d
			} else {
				sums[l] += float32(math.Pow(math.Abs(float64(d)), float64(norm)))
			}
		}
	}
}
