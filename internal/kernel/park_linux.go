package kernel

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// parker puts a worker to sleep and wakes it. Through the futex that a goroutine locked to its thread sleeps in, one thread wakes
// the other; a channel would take the Go scheduler two threads more, and the kernel then often puts the woken one on the waker's
// core.
type parker struct{ asleep atomic.Uint32 }

const (
	futexWait = 0 | 128 // FUTEX_WAIT_PRIVATE
	futexWake = 1 | 128 // FUTEX_WAKE_PRIVATE
)

// prepare says that the worker is about to sleep. If something turned up meanwhile it takes that back with cancel.
func (p *parker) prepare() { p.asleep.Store(1) }

// cancel reports whether nobody has claimed the wake-up yet.
func (p *parker) cancel() bool { return p.asleep.CompareAndSwap(1, 0) }

// sleep returns after wake.
func (p *parker) sleep() {
	for p.asleep.Load() == 1 {
		_, _, _ = syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&p.asleep)), futexWait, 1, 0, 0, 0)
	}
}

// wake ends the sleep of a worker that has called prepare, and does nothing for another.
func (p *parker) wake() {
	if p.asleep.Load() == 1 && p.asleep.CompareAndSwap(1, 0) {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(&p.asleep)), futexWake, 1, 0, 0, 0)
	}
}

func newParker() *parker { return &parker{} }
