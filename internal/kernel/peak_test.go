package kernel

import (
	"math"
	"testing"
	"time"
)

func TestPeaksAreRates(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, p := range pools(t)[:2] {
			for _, k := range []Peak{PeakF32, PeakF64, PeakInt8, PeakBF16} {
				if v := MeasurePeak(p, k, time.Millisecond); !(v > 1e6) || math.IsInf(v, 0) {
					t.Errorf("%v on %d threads: %v operations/s", k, p.Threads(), v)
				}
			}
			for _, size := range []int{1, 10 << 10, 1 << 20} {
				if v := MeasureRead(p, size, time.Millisecond); !(v > 1e6) || math.IsInf(v, 0) {
					t.Errorf("%d bytes on %d threads: %v bytes/s", size, p.Threads(), v)
				}
			}
		}
	})
}
