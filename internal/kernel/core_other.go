//go:build !linux

package kernel

// currentCore is the number of the core on which the calling thread runs: -1, which is not known.
func currentCore() int32 { return -1 }
