//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package mmap

import (
	"os"

	"golang.org/x/sys/unix"
)

func advise(b []byte, offset, n int, a Advice) error {
	what := map[Advice]int{
		Sequential: unix.MADV_SEQUENTIAL, Random: unix.MADV_RANDOM, WillNeed: unix.MADV_WILLNEED, DontNeed: unix.MADV_DONTNEED,
	}[a]
	// The call wants a page boundary; the mapping itself begins at one.
	start := offset &^ (os.Getpagesize() - 1)
	return unix.Madvise(b[start:offset+n], what)
}
