//go:build !linux

package neuroquant

// memory reports nothing where the system has no portable way to ask.
func memory() (total, free int64) { return 0, 0 }
