//go:build !amd64 || purego

package kernel

func solveColumns(w []float32, cols, from, to int, u []float32, ldu int, p []float32, g *Grid, codes []byte, errs []float32) bool {
	return false
}

func gridErrors(w []float32, cols int, g *Grid, norm float32, sums *[SolveLanes]float32) bool {
	return false
}

func roundToGrid(dst, x []float32, scale, zero, most float32) bool { return false }
