//go:build !amd64 || purego

package kernel

func nativeBF16() bool { return false }

func dotNarrowVectors(bool, int, []float32, []uint16, []float32) int { return 0 }
