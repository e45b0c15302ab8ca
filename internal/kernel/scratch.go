package kernel

import (
	"math/bits"
	"sync"
	"unsafe"
)

// scratch keeps buffers that kernels borrow for the length of a call, so that a call in a steady
// state allocates nothing. Buffers are kept by the power of two that holds them; at most scratchLimit bytes
// lie idle.
var scratch struct {
	sync.Mutex
	free [48][]*buffer
	idle int
}

const scratchLimit = 128 << 20

type buffer struct {
	raw   []byte
	class int
}

// borrow returns a buffer of at least n bytes, aligned to a cache line, with unspecified content.
func borrow(n int) *buffer {
	class := bits.Len(uint(max(n, 4096) - 1))
	scratch.Lock()
	if list := scratch.free[class]; len(list) > 0 {
		b := list[len(list)-1]
		scratch.free[class] = list[:len(list)-1]
		scratch.idle -= 1 << class
		scratch.Unlock()
		return b
	}
	scratch.Unlock()
	raw := make([]byte, 1<<class+64)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & 63
	return &buffer{raw[skip : skip+1<<class], class}
}

// release gives b back. No slice of it may be used afterwards.
func (b *buffer) release() {
	scratch.Lock()
	if scratch.idle+1<<b.class <= scratchLimit {
		scratch.free[b.class] = append(scratch.free[b.class], b)
		scratch.idle += 1 << b.class
	}
	scratch.Unlock()
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
