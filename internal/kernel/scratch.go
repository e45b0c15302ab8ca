package kernel

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
)

// scratch keeps buffers that kernels borrow for the length of a call, so that a call in a steady state allocates nothing. At most
// scratchLimit bytes lie idle. Large buffers are outside of the Go heap, which would otherwise be let grow to twice their size.
var scratch struct {
	sync.Mutex
	free []*buffer // by size
	idle int
}

const scratchLimit = 128 << 20

type buffer struct {
	raw   []byte
	unmap func() error // nil for memory of the heap
}

// borrow returns a buffer of at least n bytes, aligned to a cache line, with unspecified content.
func borrow(n int) *buffer {
	n = (max(n, 4096) + 4095) &^ 4095
	scratch.Lock()
	i, _ := slices.BinarySearchFunc(scratch.free, n, bySize)
	if i < len(scratch.free) && len(scratch.free[i].raw) <= 4*n { // a small borrower leaves a large buffer to a large one
		b := scratch.free[i]
		scratch.free = slices.Delete(scratch.free, i, i+1)
		scratch.idle -= len(b.raw)
		scratch.Unlock()
		return b
	}
	// Idle ones that the new one will serve for as well are not needed beside it.
	first, _ := slices.BinarySearchFunc(scratch.free, n/4, bySize)
	for _, b := range scratch.free[first:i] {
		b.drop()
	}
	scratch.free = slices.Delete(scratch.free, first, i)
	scratch.Unlock()
	if n >= lastingBytes {
		if raw, unmap, err := mmap.Anonymous(n); err == nil {
			return &buffer{raw, unmap}
		}
	}
	raw := make([]byte, n+64)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & 63
	return &buffer{raw: raw[skip : skip+n]}
}

func bySize(b *buffer, n int) int { return len(b.raw) - n }

// release gives b back. No slice of it may be used afterwards.
func (b *buffer) release() {
	scratch.Lock()
	defer scratch.Unlock()
	scratch.idle += len(b.raw)
	if scratch.idle > scratchLimit {
		b.drop()
		return
	}
	i, _ := slices.BinarySearchFunc(scratch.free, len(b.raw), bySize)
	scratch.free = slices.Insert(scratch.free, i, b)
}

// drop gives up an idle buffer.
func (b *buffer) drop() {
	scratch.idle -= len(b.raw)
	if b.unmap != nil {
		_ = b.unmap()
	}
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
