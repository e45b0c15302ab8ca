//go:build !purego

package kernel

// peakOps does n rounds of the instruction that k names and returns the operations done.
func peakOps(k Peak, n int) float64 {
	rounds := float64(n)
	switch k {
	case PeakF32, PeakF64:
		words := 1.0
		if k == PeakF64 {
			words = 0.5
		}
		// Some CPUs have the same rate in half as wide vectors; none has a higher one.
		if useGemmF32AVX512 {
			peakFMAAVX512(n)
			return rounds * 12 * 32 * words
		}
		if useGemmF32AVX2 {
			peakFMAAVX2(n)
			return rounds * 12 * 16 * words
		}
	case PeakInt8:
		if useGemmInt8VNNI {
			peakDotInt8AVX512VNNI(n)
			return rounds * 12 * 128
		}
		if useGemmInt8AVXVNNI {
			peakDotInt8AVXVNNI(n)
			return rounds * 12 * 64
		}
		if useGemmInt8AVX2 {
			peakDotInt8AVX2(n)
			return rounds * 10 * 32
		}
	case PeakBF16:
		if useGemmBF16 {
			peakDotBF16AVX512BF16(n)
			return rounds * 12 * 64
		}
		if useGemmF32AVX2 {
			return peakOps(PeakF32, n)
		}
	}
	return peakOpsGeneric(k, n)
}

// readAll reads x, whose length is a multiple of 256: in one stream, or in four with prefetches ahead.
func readAll(x []byte, streams bool) {
	stride := len(x) / 4
	switch {
	case useVectorAVX512 && streams:
		peakReadAVX512(stride/64, &x[0], stride)
	case useVectorAVX512:
		peakReadOnAVX512(len(x)/256, &x[0])
	case useVectorAVX2 && streams:
		peakReadAVX2(stride/64, &x[0], stride)
	case useVectorAVX2:
		peakReadOnAVX2(len(x)/256, &x[0])
	default:
		readAllGeneric(x)
	}
}
