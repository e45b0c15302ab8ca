//go:build !amd64 || purego

package kernel

func winogradInput(m, channels int, src []float32, row, pixel int, dst []float32, point int, work []float32) {
	winogradInputGeneric(m, channels, src, row, pixel, dst, point)
}

func winogradOutput(m, channels int, src []float32, point int, bias, dst, other []float32, row, pixel int, lo, hi float32, work []float32) {
	winogradOutputGeneric(m, channels, src, point, bias, dst, other, row, pixel, lo, hi)
}
