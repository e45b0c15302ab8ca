//go:build !purego

package kernel

import "github.com/neurotrain/neuroquant/internal/impl"

var useSolveAVX512, useSolveAVX2 bool

func init() {
	impl.Register("solve", impl.AVX512, &useSolveAVX512)
	impl.Register("solve", impl.AVX2, &useSolveAVX2)
}

// Each function here reports whether it did the work of the exported one.
func solveColumns(w []float32, cols, from, to int, u []float32, ldu int, p []float32, g *Grid, codes []byte, errs []float32) bool {
	f, drift := solveColumnsAVX2, solveColumnsDriftAVX2
	switch {
	case useSolveAVX512:
		f, drift = solveColumnsAVX512, solveColumnsDriftAVX512
	case !useSolveAVX2:
		return false
	}
	if p != nil {
		drift(cols, from, to, &w[0], &u[0], &p[0], ldu, &g.Scale[0], &g.Zero[0], g.Most, &codes[0], &errs[0])
	} else {
		f(cols, from, to, &w[0], &u[0], nil, ldu, &g.Scale[0], &g.Zero[0], g.Most, &codes[0], &errs[0])
	}
	return true
}

func gridErrors(w []float32, cols int, g *Grid, norm float32, sums *[SolveLanes]float32) bool {
	errors, squares := gridErrorsAVX2, gridSquaresAVX2
	switch {
	case cols == 0:
		return false
	case useSolveAVX512:
		errors, squares = gridErrorsAVX512, gridSquaresAVX512
	case !useSolveAVX2:
		return false
	}
	if norm == 2 {
		squares(cols, &w[0], &g.Scale[0], &g.Zero[0], g.Most, &sums[0])
	} else {
		errors(cols, &w[0], &g.Scale[0], &g.Zero[0], g.Most, norm, &sums[0])
	}
	return true
}

func roundToGrid(dst, x []float32, scale, zero, most float32) bool {
	switch {
	case len(dst) == 0:
		return true
	case useSolveAVX512:
		roundToGridAVX512(len(dst), &dst[0], &x[0], scale, zero, most)
	case useSolveAVX2:
		roundToGridAVX2(len(dst), &dst[0], &x[0], scale, zero, most)
	default:
		return false
	}
	return true
}
