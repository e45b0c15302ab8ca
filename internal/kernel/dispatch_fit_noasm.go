//go:build purego || !amd64

package kernel

func fitAffineVector(*AffineSearch, int, *[FitLanes]float32, *[FitLanes]float32, []uint8, []float32, []float32) bool {
	return false
}

func fitSymmetricVector(*SymmetricSearch, int, *[FitLanes]float32, []uint8, []float32, []float32) bool {
	return false
}

func someDeviations(int, []float32, []float32) int { return 0 }

func someRequantize([]uint8, []float32, float32, float32, int, int) int { return 0 }

func largestCodesVector([]uint8, []float32, []float32, float32) bool { return false }

func rangeCodesVector([]uint8, []float32, []float32, []float32, float32) bool { return false }

func roundedCodesVector([]uint8, []float32, []float32) bool { return false }

func someLargestBits([]float32) (bits uint32, n int) { return 0, 0 }
