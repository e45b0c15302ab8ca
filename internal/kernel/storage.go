package kernel

import (
	"runtime"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
)

// Storage says where packed weights lie.
type Storage uint8

const (
	// OnHeap is for weights that are used for a while.
	OnHeap Storage = iota
	// Lasting is for weights that stay: outside of the Go heap, which would otherwise be let grow to twice their size, and on
	// large pages where the system has them. They are given back once the packed weights are unreachable, so whoever uses them
	// keeps them alive (see runtime.KeepAlive) until the kernel has returned.
	Lasting
)

// lastingBytes is the least size that is kept outside of the heap.
const lastingBytes = 64 << 10

// store returns n zeroed elements that live as long as owner.
func store[T, O any](owner *O, n int, where []Storage) []T {
	var z T
	size := n * int(unsafe.Sizeof(z))
	if len(where) == 0 || where[0] != Lasting || size < lastingBytes {
		return make([]T, n)
	}
	b, free, err := mmap.Together(size)
	if err != nil {
		return make([]T, n)
	}
	runtime.AddCleanup(owner, func(free func() error) { _ = free() }, free)
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}
