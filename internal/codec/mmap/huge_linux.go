package mmap

import "golang.org/x/sys/unix"

// huge asks for large pages, a hint.
func huge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
