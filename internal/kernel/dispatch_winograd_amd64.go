//go:build !purego

package kernel

import "unsafe"

// winogradFilter is winogradFilterGeneric for n a multiple of 16.
func winogradFilter(n int, src []float32, tap int, dst []float32, point int) {
	checkWinograd(n, len(src), 8*tap, len(dst), point)
	switch {
	case useStripsAVX512:
		winogradFilterAVX512(n, &src[0], tap, &dst[0], point)
	case useStripsAVX2:
		winogradFilterAVX2(n, &src[0], tap, &dst[0], point)
	default:
		winogradFilterGeneric(n, src, tap, dst, point)
	}
}

// winogradInput is winogradInputGeneric for a multiple of 16 channels.
func winogradInput(channels int, src []float32, row, pixel int, dst []float32, point int) {
	checkWinograd(channels, len(src), 5*(row+pixel), len(dst), point)
	switch {
	case useStripsAVX512:
		winogradInputAVX512(channels, &src[0], row, pixel, &dst[0], point)
	case useStripsAVX2:
		winogradInputAVX2(channels, &src[0], row, pixel, &dst[0], point)
	default:
		winogradInputGeneric(channels, src, row, pixel, dst, point)
	}
}

// winogradOutput is winogradOutputGeneric for a multiple of 16 channels.
func winogradOutput(channels int, src []float32, point int, bias, dst, other []float32, row, pixel, height, width int, lo, hi float32) {
	checkWinograd(channels, len(dst), (height-1)*row+(width-1)*pixel, len(src), point)
	needLen("Winograd bias", len(bias), channels)
	if other != nil {
		needLen("Winograd residual", len(other), (height-1)*row+(width-1)*pixel+channels)
	}
	f := winogradOutputAVX512
	switch {
	case useStripsAVX512:
	case useStripsAVX2:
		f = winogradOutputAVX2
	default:
		winogradOutputGeneric(channels, src, point, bias, dst, other, row, pixel, height, width, lo, hi)
		return
	}
	f(channels, &src[0], point, &bias[0], &dst[0], unsafe.SliceData(other), row, pixel, height, width, lo, hi)
}

// checkWinograd panics unless the values of channels from 0 to last, and of all points, are there.
func checkWinograd(channels, values, last, transformed, point int) {
	if channels < 1 || channels%16 != 0 || point < channels || last < 0 {
		panic("kernel: Winograd transform: not a tile")
	}
	needLen("Winograd values", values, last+channels)
	needLen("Winograd points", transformed, (winogradPoints-1)*point+channels)
}

func (a *winogradProduct) run() {
	a.check()
	switch {
	case useStripsAVX512:
		f := winogradProducts32AVX512
		if a.width == 16 {
			f = winogradProducts16AVX512
		}
		tall, height, short := a.heights(8)
		f(winogradPoints, tall, height, short, a.k, &a.a[0], a.k, a.aPoint, &a.b[0], a.width, a.bPoint, &a.c[0], a.width, a.cPoint, a.more)
	case useStripsAVX2:
		tall, height, short := a.heights(6)
		for j := 0; j < a.width; j += 16 {
			winogradProducts16AVX2(winogradPoints, tall, height, short, a.k, &a.a[0], a.k, a.aPoint, &a.b[j], a.width, a.bPoint, &a.c[j], a.width, a.cPoint, a.more)
		}
	default:
		a.generic()
	}
}

// heights splits the rows into tall tiles of a height and short ones of one less.
func (a *winogradProduct) heights(most int) (tall, height, short int) {
	count := (a.rows + most - 1) / most
	height = (a.rows + count - 1) / count
	tall = a.rows - count*(height-1)
	return tall, height, count - tall
}
