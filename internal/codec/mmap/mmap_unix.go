//go:build unix

package mmap

import (
	"os"

	"golang.org/x/sys/unix"
)

// lazy is whether pages come from the file when they are touched.
const lazy = true

func mapFile(f *os.File, n int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED)
}

func unmap(b []byte) error { return unix.Munmap(b) }
