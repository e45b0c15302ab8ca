package kernel

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolCoversRangeOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 5} {
		p := NewPool(threads)
		for _, n := range []int{0, 1, 2, 7, 64, 1000} {
			for _, grain := range []int{0, 1, 3, 64, 5000} {
				seen := make([]atomic.Int32, n)
				p.For(n, grain, func(lo, hi int) {
					if lo >= hi || hi > n || grain > 0 && lo%grain != 0 {
						t.Errorf("threads %d, n %d, grain %d: range [%d, %d)", threads, n, grain, lo, hi)
					}
					for i := lo; i < hi; i++ {
						seen[i].Add(1)
					}
				})
				for i := range seen {
					if c := seen[i].Load(); c != 1 {
						t.Fatalf("threads %d, n %d, grain %d: index %d ran %d times", threads, n, grain, i, c)
					}
				}
			}
		}
		p.Close()
	}
}

func TestPoolManyJobsAndParking(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	var sum atomic.Int64
	for round := range 300 {
		if round%100 == 99 {
			time.Sleep(2 * time.Millisecond) // long enough that the workers park
		}
		p.For(50, 1, func(lo, hi int) { sum.Add(int64(hi - lo)) })
	}
	if got := sum.Load(); got != 300*50 {
		t.Errorf("ran %d of %d", got, 300*50)
	}
}

func TestPoolNestedAndConcurrentRunInline(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var sum atomic.Int64
	p.For(8, 1, func(lo, hi int) {
		p.For(10, 1, func(lo, hi int) { sum.Add(int64(hi - lo)) })
	})
	if got := sum.Load(); got != 80 {
		t.Errorf("nested: ran %d of 80", got)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				p.For(20, 1, func(lo, hi int) { sum.Add(int64(hi - lo)) })
			}
		})
	}
	group.Wait()
	if got := sum.Load(); got != 80+4*50*20 {
		t.Errorf("concurrent: ran %d of %d", got, 80+4*50*20)
	}
}

func TestPoolPanicReachesCaller(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for i := range 20 {
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("recovered %v", v)
				}
			}()
			p.For(100, 1, func(lo, hi int) {
				if lo == i*5 {
					panic("boom")
				}
			})
			t.Error("no panic")
		}()
	}
	n := 0
	p.For(1, 1, func(lo, hi int) { n++ })
	if n != 1 {
		t.Error("the pool does not run after a panic")
	}
}

func TestPoolNilAndClosed(t *testing.T) {
	var p *Pool
	n := 0
	p.For(5, 2, func(lo, hi int) { n += hi - lo })
	p.Close()
	q := NewPool(2)
	q.Close()
	q.Close()
	q.For(5, 2, func(lo, hi int) { n += hi - lo })
	if n != 10 || p.Threads() != 1 || q.Threads() != 2 {
		t.Errorf("ran %d of 10, threads %d and %d", n, p.Threads(), q.Threads())
	}
}

// BenchmarkForkJoin reports what a loop costs beyond its work: each thread has some ten microseconds
// of it, as much as one call of the body takes alone. Medians, for other processes disturb.
func BenchmarkForkJoin(b *testing.B) {
	p := Shared()
	x := make([]float32, 4096)
	sums := make([]float32, 64*p.Threads())
	work := func(at int) {
		for _, v := range x {
			sums[64*at] += v
		}
	}
	var alone, joined []float64
	for b.Loop() {
		start := time.Now()
		work(0)
		middle := time.Now()
		p.For(p.Threads(), 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				work(i)
			}
		})
		alone = append(alone, float64(middle.Sub(start).Nanoseconds()))
		joined = append(joined, float64(time.Since(middle).Nanoseconds()))
	}
	slices.Sort(alone)
	slices.Sort(joined)
	b.ReportMetric(alone[len(alone)/2], "work-ns")
	b.ReportMetric(joined[len(joined)/2]-alone[len(alone)/2], "join-ns")
}
