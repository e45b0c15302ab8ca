//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package mmap

func advise([]byte, int, int, Advice) error { return nil }
