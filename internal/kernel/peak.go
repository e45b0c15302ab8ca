package kernel

import (
	"sync/atomic"
	"time"
)

// A Peak is a limit of the machine that no kernel built on the instruction in question can exceed.
type Peak uint8

// The limits that MeasurePeak knows. Each counts the operations of the widest implementation that
// dispatch may take now, so that a share of the peak is a share of what that implementation allows.
//
// For bytes that is VPDPBUSD where the CPU has it. Without it an exact product takes a VPMADDWD and a VPADDD for 16 products:
// VPMADDUBSW takes 32 but saturates, and to keep it from that (7 bits of the unsigned factor at a time) costs more than it saves.
const (
	PeakF32  Peak = iota // float32 multiply-adds, two operations each
	PeakF64              // float64 multiply-adds, two operations each
	PeakInt8             // products of bytes summed exactly in int32, two operations each
	PeakBF16             // products of bfloat16 summed in float32, two operations each
)

func (k Peak) String() string { return [...]string{"f32", "f64", "int8", "bf16"}[k] }

// peakBurst is how long one measurement of a limit lasts at least.
const peakBurst = time.Millisecond

// MeasurePeak runs the instruction of kind k on registers only on all threads of p for about the given time
// (50 ms gives a steady figure) and returns the rate of the best burst in operations per second.
func MeasurePeak(p *Pool, k Peak, d time.Duration) float64 {
	return measurePeak(p, k, d, sinceStart)
}

func measurePeak(p *Pool, k Peak, d time.Duration, clock func() time.Duration) float64 {
	return bestRate(p, d, clock, func(n int) float64 { return peakOps(k, n) })
}

// sinceStart is a clock that counts from the start of the process.
func sinceStart() time.Duration { return time.Since(started) }

var started = time.Now()

// MeasureRead reads a buffer of the given size again and again, on all threads of p, and returns the rate of the best
// pass in bytes per second: the bandwidth of the cache that holds bytes/p.Threads() bytes, or of the memory.
func MeasureRead(p *Pool, bytes int, d time.Duration) float64 {
	return measureRead(p, bytes, d, sinceStart)
}

func measureRead(p *Pool, bytes int, d time.Duration, clock func() time.Duration) float64 {
	const block = 4 << 10
	threads := p.Threads()
	each := max(bytes/threads/block, 1) * block
	data := make([]byte, each*threads+4096)
	for i := 0; i < len(data); i += 4096 {
		data[i] = 1
	}
	// Each thread reads its own part, small ones several times in a pass.
	repeat := max(1, 1<<20/each)
	best := 0.0
	for end, streams := time.Now().Add(d), false; ; streams = !streams {
		start := clock()
		p.For(threads, 1, func(lo, hi int) {
			for range repeat {
				readAll(data[lo*each:hi*each], streams)
			}
		})
		best = max(best, float64(each*threads*repeat)/(clock()-start).Seconds())
		if time.Now().After(end) {
			return best
		}
	}
}

// bestRate calls run(n), which does n rounds and returns the operations done, on all threads of p again and again
// for d and returns the best rate by clock.
func bestRate(p *Pool, d time.Duration, clock func() time.Duration, run func(n int) float64) float64 {
	n := 256
	for { // rounds of an eighth of a burst
		start := clock()
		run(n)
		if clock()-start > peakBurst/8 || n > 1<<28 {
			break
		}
		n *= 2
	}
	const rounds = 8
	threads, best := p.Threads(), 0.0
	ops := run(n) * float64(rounds*threads)
	for end := time.Now().Add(d); ; {
		start := clock()
		p.For(rounds*threads, 1, func(lo, hi int) {
			for range hi - lo {
				run(n)
			}
		})
		best = max(best, ops/(clock()-start).Seconds())
		if time.Now().After(end) {
			return best
		}
	}
}

// peakSink keeps the portable probes from being removed.
var peakSink atomic.Uint64

// peakOpsGeneric does n rounds of eight independent multiply-adds as the compiler makes them.
func peakOpsGeneric(k Peak, n int) float64 {
	switch k {
	case PeakF64:
		peakSink.Store(uint64(multiplyAdds[float64](n)))
	case PeakInt8:
		peakSink.Store(uint64(multiplyAdds[int32](n)))
	default:
		peakSink.Store(uint64(multiplyAdds[float32](n)))
	}
	return float64(n) * 16
}

func multiplyAdds[T float32 | float64 | int32](n int) T {
	var s0, s1, s2, s3, s4, s5, s6, s7 T
	f := T(n & 1)
	for range n { // each sum is its own factor, so that no product is shared
		s0 += s0 * f
		s1 += s1 * f
		s2 += s2 * f
		s3 += s3 * f
		s4 += s4 * f
		s5 += s5 * f
		s6 += s6 * f
		s7 += s7 * f
	}
	return s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7
}

func readAllGeneric(x []byte) {
	var s byte
	for i := 0; i < len(x); i += 8 {
		s += x[i]
	}
	peakSink.Store(uint64(s))
}
