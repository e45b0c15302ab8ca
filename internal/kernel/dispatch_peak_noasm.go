//go:build !amd64 || purego

package kernel

func peakOps(k Peak, n int) float64 { return peakOpsGeneric(k, n) }

func readAll(x []byte, _ bool) { readAllGeneric(x) }
