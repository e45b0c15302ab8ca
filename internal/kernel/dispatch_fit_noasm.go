package kernel

func fitAffineVector(*AffineSearch, int, *[FitLanes]float32, *[FitLanes]float32, []uint8, []float32, []float32) bool {
	return false
}

func fitSymmetricVector(*SymmetricSearch, int, *[FitLanes]float32, []uint8, []float32, []float32) bool {
	return false
}
