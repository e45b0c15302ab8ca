package kernel

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
)

// scratch keeps memory that kernels borrow for the length of a call, so that a call in a steady state allocates nothing. Buffers are
// parts of regions: what one loop borrowed as a whole, the next may borrow in parts for its threads. Regions lie outside of the Go heap,
// which would otherwise be let grow to twice their size. At most scratchLimit bytes of them lie idle.
var scratch struct {
	sync.Mutex
	free    []span // no two of them are neighbours
	buffers []*buffer
	idle    int // bytes of regions of which nothing is lent
}

const (
	scratchLimit = 128 << 20
	scratchLeast = 256 << 10 // bytes of a region; they take memory once they are touched
	scratchUnit  = 4 << 10   // of which all sizes are multiples: no two threads write to one cache line
)

// region is a piece of memory that buffers are cut from.
type region struct {
	raw   []byte
	lent  int
	unmap func() error // nil for memory of the heap
}

// span is a part of a region that is not lent.
type span struct {
	of       *region
	at, size int
}

type buffer struct {
	raw []byte
	of  *region
	at  int
}

// borrow returns a buffer of at least n bytes, aligned to a cache line, with unspecified content.
func borrow(n int) *buffer {
	n = (max(n, 1) + scratchUnit - 1) &^ (scratchUnit - 1)
	scratch.Lock()
	defer scratch.Unlock()
	best := -1
	for i, s := range scratch.free {
		if s.size >= n && (best < 0 || s.size < scratch.free[best].size) { // a small borrower leaves a large span to a large one
			best = i
		}
	}
	if best < 0 {
		best = grow(n)
	}
	s := &scratch.free[best]
	var b *buffer
	if last := len(scratch.buffers) - 1; last >= 0 {
		b, scratch.buffers = scratch.buffers[last], scratch.buffers[:last]
	} else {
		b = new(buffer)
	}
	*b = buffer{s.of.raw[s.at : s.at+n : s.at+n], s.of, s.at}
	if s.of.lent == 0 {
		scratch.idle -= len(s.of.raw)
	}
	s.of.lent += n
	if s.at, s.size = s.at+n, s.size-n; s.size == 0 {
		scratch.free = slices.Delete(scratch.free, best, best+1)
	}
	return b
}

// grow adds a region that n bytes fit in and returns the number of its span. Regions of which nothing is lent are too small, and the new
// one will serve for them as well.
func grow(n int) int {
	dropIdle()
	size := max(n, scratchLeast)
	r := &region{}
	var err error
	if r.raw, r.unmap, err = mmap.Anonymous(size); err != nil {
		raw := make([]byte, size+64)
		skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & 63
		r.raw, r.unmap = raw[skip:skip+size], nil
	}
	scratch.idle += size
	scratch.free = append(scratch.free, span{r, 0, size})
	return len(scratch.free) - 1
}

// dropIdle gives up the regions of which nothing is lent.
func dropIdle() {
	scratch.free = slices.DeleteFunc(scratch.free, func(s span) bool {
		if s.of.lent == 0 {
			s.of.drop()
		}
		return s.of.lent == 0
	})
}

// DropScratch gives up all memory that is lent to nobody: before work that takes nearly all that there may be.
func DropScratch() {
	scratch.Lock()
	defer scratch.Unlock()
	dropIdle()
}

// drop gives up a region of which nothing is lent.
func (r *region) drop() {
	scratch.idle -= len(r.raw)
	if r.unmap != nil {
		_ = r.unmap()
	}
}

// release gives b back. No slice of it may be used afterwards.
func (b *buffer) release() {
	scratch.Lock()
	defer scratch.Unlock()
	s := span{b.of, b.at, len(b.raw)}
	scratch.free = slices.DeleteFunc(scratch.free, func(o span) bool { // its neighbours
		switch {
		case o.of != s.of:
			return false
		case o.at+o.size == s.at:
			s.at = o.at
		case s.at+s.size != o.at:
			return false
		}
		s.size += o.size
		return true
	})
	s.of.lent -= len(b.raw)
	*b = buffer{}
	scratch.buffers = append(scratch.buffers, b)
	if s.of.lent == 0 {
		scratch.idle += len(s.of.raw)
		if scratch.idle > scratchLimit {
			s.of.drop()
			return
		}
	}
	scratch.free = append(scratch.free, s)
}

func (b *buffer) bytes() []byte { return b.raw }

func (b *buffer) f32() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&b.raw[0])), len(b.raw)/4)
}

func (b *buffer) u32() []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(&b.raw[0])), len(b.raw)/4)
}

func (b *buffer) i32() []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(&b.raw[0])), len(b.raw)/4)
}

// words views float32 values as their bits.
func words(x []float32) []uint32 {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&x[0])), len(x))
}

// words64 views float64 values as their bits.
func words64(x []float64) []uint64 {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&x[0])), len(x))
}

// Scratch is memory that is borrowed for the length of a computation, so that one in a steady state allocates nothing.
type Scratch[T any] struct {
	Data []T // with unspecified content
	buf  *buffer
}

// Borrow returns scratch memory for n numbers.
func Borrow[T any](n int) Scratch[T] {
	var z T
	b := borrow(n * int(unsafe.Sizeof(z)))
	return Scratch[T]{unsafe.Slice((*T)(unsafe.Pointer(&b.raw[0])), n), b}
}

// Release gives the memory back. Data may not be used afterwards. The zero Scratch has nothing to give back.
func (s Scratch[T]) Release() {
	if s.buf != nil {
		s.buf.release()
	}
}
