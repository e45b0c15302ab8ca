package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// currentCore is the number of the core on which the calling thread runs, or -1 if the system does not say.
func currentCore() int32 {
	var c uint32
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&c)), 0, 0); e != 0 {
		return -1
	}
	return int32(c)
}
