package kernel

import (
	"syscall"
	"time"
	"unsafe"
)

// threadTime is a clock of the CPU time that the calling thread, which must be locked, has had.
func threadTime() time.Duration {
	const clockThreadCPUTime = 3
	var t syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTime, uintptr(unsafe.Pointer(&t)), 0); e != 0 {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}
