//go:build !amd64 || purego

package kernel

// pause waits a moment inside a spin loop.
func pause() {}
