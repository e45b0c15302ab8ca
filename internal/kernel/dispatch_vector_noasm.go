//go:build !amd64 || purego

package kernel

func addVector(dst, a, b []float32) bool { return false }

func subVector(dst, a, b []float32) bool { return false }

func mulVector(dst, a, b []float32) bool { return false }

func divVector(dst, a, b []float32) bool { return false }

func maxVector(dst, a, b []float32) bool { return false }

func maskPositiveVector(dst, a, b []float32) bool { return false }

func scaleShiftVector(dst, x []float32, s, t float32) bool { return false }

func clipVector(dst, x []float32, lo, hi float32) bool { return false }

func axpyVector(alpha float32, x, dst []float32) bool { return false }

func expVector(dst, x []float32) bool { return false }

func softmaxVector(dst, x []float32) bool { return false }

func sigmoidVector(dst, x []float32) bool { return false }

func siluVector(dst, x []float32) bool { return false }

func tanhVector(dst, x []float32) bool { return false }

func erfVector(dst, x []float32) bool { return false }

func geluVector(dst, x []float32) bool { return false }

func geluTanhVector(dst, x []float32) bool { return false }

func dotVector(a, b []float32) (s float32, ok bool) { return 0, false }

func sumVector(x []float32) (s float32, ok bool) { return 0, false }

func minMaxVector(x []float32) (lo, hi float32, ok bool) { return 0, 0, false }

func someQuantizeU8(dst []byte, x []float32, scale, lo, hi float32, zp int32) int { return 0 }

func someDequantizeU8(dst []float32, src []byte, scale float32, zp int32) int { return 0 }

func someQuantizeS8(dst []byte, x []float32, scale, lo, hi float32, zp int32) int { return 0 }

func someDequantizeS8(dst []float32, src []byte, scale float32, zp int32) int { return 0 }

func someF16ToF32[T ~uint16](dst []float32, src []T) int { return 0 }

func someF32ToF16[T ~uint16](dst []T, src []float32) int { return 0 }

func someBF16ToF32[T ~uint16](dst []float32, src []T) int { return 0 }

func someF32ToBF16[T ~uint16](dst []T, src []float32) int { return 0 }

func axpyF64(alpha float64, x, y []float64) { axpyF64Generic(alpha, x, y) }

func addWidened(dst []float64, x []float32, alpha float64) { addWidenedGeneric(dst, x, alpha) }
