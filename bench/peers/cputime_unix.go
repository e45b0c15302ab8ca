//go:build unix

package main

import "syscall"

// cpuTime returns the processor time, in nanoseconds, that this process has used.
func cpuTime() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}
