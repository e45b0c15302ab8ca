//go:build !amd64 || purego

package kernel

func nativeBF16() bool { return false }

func nativeFew() bool { return false }

func dotNarrowVectors(bool, int, int, []float32, int, []uint16, int, []float32, int) int { return 0 }
