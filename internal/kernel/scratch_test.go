package kernel

import (
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"
)

// TestScratch lends buffers of many sizes to several goroutines: none may share memory with another, and all come back.
func TestScratch(t *testing.T) {
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 5))
			var held []*buffer
			for i := range 400 {
				b := borrow(1 + r.IntN(1<<(8+r.IntN(13))))
				if uintptr(unsafe.Pointer(&b.raw[0]))%64 != 0 {
					t.Error("a buffer does not begin at a cache line")
				}
				mark := byte(4*i + g)
				for j := 0; j < len(b.raw); j += 512 {
					b.raw[j] = mark
				}
				b.raw[len(b.raw)-1] = mark
				held = append(held, b)
				if len(held) > 8 {
					at := r.IntN(len(held))
					old := held[at]
					held[at] = held[len(held)-1]
					held = held[:len(held)-1]
					if first := old.raw[0]; first%4 != byte(g) || old.raw[len(old.raw)-1] != first || old.raw[len(old.raw)/1024*512] != first {
						t.Error("two buffers share memory")
					}
					old.release()
				}
			}
			for _, b := range held {
				b.release()
			}
		})
	}
	all.Wait()
	scratch.Lock()
	defer scratch.Unlock()
	idle := 0
	for _, s := range scratch.free {
		if s.of.lent != 0 || s.size != len(s.of.raw) {
			t.Errorf("%d bytes at %d of a region of %d are free, %d are lent", s.size, s.at, len(s.of.raw), s.of.lent)
		}
		idle += s.size
	}
	if idle != scratch.idle || idle > scratchLimit {
		t.Errorf("%d bytes lie idle, counted as %d", idle, scratch.idle)
	}
}

// TestScratchInParts borrows as a whole and in parts what has been borrowed once: neither takes new memory.
func TestScratchInParts(t *testing.T) {
	const part, parts = 300 << 10, 5
	cycle := func() {
		borrow(part * parts).release()
		var lent [parts]*buffer
		for i := range lent {
			lent[i] = borrow(part)
		}
		for i := range lent {
			lent[i*3%parts].release()
		}
	}
	cycle()
	scratch.Lock()
	before := scratch.idle
	scratch.Unlock()
	if n := testing.AllocsPerRun(20, cycle); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	scratch.Lock()
	defer scratch.Unlock()
	if scratch.idle != before {
		t.Errorf("%d bytes lie idle, before %d", scratch.idle, before)
	}
}
