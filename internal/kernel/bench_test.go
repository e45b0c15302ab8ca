package kernel

import (
	"runtime"
	"slices"
	"testing"
	"time"
)

// measured runs f as a benchmark and reports the rate of work operations (or bytes) per call, in units
// of 10^9 a second: the median of all calls, and the share of the limit, which is the ratio of the best
// call to the best burst of the limit, probed before and after, so that what else runs on the machine
// counts little. On one thread time is that thread's CPU time where the system tells it.
func measured(b *testing.B, p *Pool, unit string, work float64, limit func(d time.Duration, clock func() time.Duration) float64, f func()) {
	b.Helper()
	clock := sinceStart
	if p == nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		clock = threadTime
	}
	const probe = 20 * time.Millisecond
	f() // buffers are made and workers awake
	peak := limit(probe, clock)
	var times []float64
	for b.Loop() {
		start := clock()
		f()
		times = append(times, (clock() - start).Seconds())
	}
	peak = max(peak, limit(probe, clock))
	slices.Sort(times)
	b.ReportMetric(work/times[len(times)/2]/1e9, unit)
	b.ReportMetric(100*work/times[0]/peak, "%peak")
}

// flops measures f in operations against the limit k on the threads of p.
func flops(b *testing.B, p *Pool, k Peak, work float64, f func()) {
	b.Helper()
	unit := "GFLOP/s"
	if k == PeakInt8 {
		unit = "GOP/s"
	}
	measured(b, p, unit, work, func(d time.Duration, clock func() time.Duration) float64 { return measurePeak(p, k, d, clock) }, f)
}

// streamed measures f in bytes moved against the bandwidth of reading a working set of that size.
func streamed(b *testing.B, p *Pool, bytes float64, f func()) {
	b.Helper()
	measured(b, p, "GB/s", bytes, func(d time.Duration, clock func() time.Duration) float64 { return measureRead(p, int(bytes), d, clock) }, f)
}

// onThreads runs f as a benchmark on one thread and on all.
func onThreads(b *testing.B, f func(b *testing.B, p *Pool)) {
	b.Run("threads=1", func(b *testing.B) { f(b, nil) })
	if n := Shared().Threads(); n > 1 {
		b.Run("threads=all", func(b *testing.B) { f(b, Shared()) })
	}
}

func BenchmarkPeak(b *testing.B) {
	onThreads(b, func(b *testing.B, p *Pool) {
		for b.Loop() {
			for _, k := range []Peak{PeakF32, PeakF64, PeakInt8, PeakBF16} {
				b.ReportMetric(MeasurePeak(p, k, 50*time.Millisecond)/1e9, "G"+k.String())
			}
			for name, size := range map[string]int{"L1": 16 << 10, "L2": 512 << 10, "DRAM": 256 << 20} {
				b.ReportMetric(MeasureRead(p, size*p.Threads(), 50*time.Millisecond)/1e9, "GB/s-"+name)
			}
		}
	})
}
