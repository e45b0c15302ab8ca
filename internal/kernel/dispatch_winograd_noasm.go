//go:build !amd64 || purego

package kernel

func winogradFilter(n int, src []float32, tap int, dst []float32, point int) {
	winogradFilterGeneric(n, src, tap, dst, point)
}

func winogradInput(channels int, src []float32, row, pixel int, dst []float32, point int) {
	winogradInputGeneric(channels, src, row, pixel, dst, point)
}

func winogradOutput(channels int, src []float32, point int, bias, dst, other []float32, row, pixel, height, width int, lo, hi float32) {
	winogradOutputGeneric(channels, src, point, bias, dst, other, row, pixel, height, width, lo, hi)
}

func (a *winogradProduct) run() {
	a.check()
	a.generic()
}
