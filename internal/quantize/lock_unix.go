//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package quantize

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes a file for this process until it is closed or the process ends.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
