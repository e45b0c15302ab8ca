//go:build !amd64 || purego

package kernel

func tileRowsF32() int { return 4 }

func tileF32(height, width, k int, a, b []float32, ldb int, c []float32, ldc, rows, n int, alpha, beta float32, load bool) {
	tileF32Generic(height, k, a, b, ldb, c, ldc, rows, n, alpha, beta, load)
}

func dot4F32(k int, a, b []float32, ldb int, dst *[4]float32) {
	dot4F32Generic(k, a, b, ldb, dst)
}

func transposeStrips(dst []uint32, width int, src []uint32, ld, rows, k int, flip uint32) int {
	return 0
}
