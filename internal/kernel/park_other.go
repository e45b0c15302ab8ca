//go:build !linux

package kernel

import "sync/atomic"

// parker puts a worker to sleep and wakes it.
type parker struct {
	asleep atomic.Bool
	woken  chan struct{}
}

// prepare says that the worker is about to sleep. If something turned up meanwhile it takes that back with cancel.
func (p *parker) prepare() { p.asleep.Store(true) }

// cancel reports whether nobody has claimed the wake-up yet.
func (p *parker) cancel() bool { return p.asleep.CompareAndSwap(true, false) }

// sleep returns after wake.
func (p *parker) sleep() { <-p.woken }

// wake ends the sleep of a worker that has called prepare, and does nothing for another.
func (p *parker) wake() {
	if p.asleep.Load() && p.asleep.CompareAndSwap(true, false) {
		p.woken <- struct{}{}
	}
}

func newParker() *parker { return &parker{woken: make(chan struct{}, 1)} }
