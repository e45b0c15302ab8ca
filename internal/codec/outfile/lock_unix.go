//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package outfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// locks is whether [Lock] keeps other processes out.
const locks = true

// Lock takes a file or folder for this process until it is closed or the process ends. It is an error if another has it.
func Lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
