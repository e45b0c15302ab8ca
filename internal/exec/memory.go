package exec

import (
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/tensor"
)

// memory hands out tensors to the operators of a run and takes them back when the last value that lies in them dies.
// A buffer is known by the address of its first byte, so a reshaped view shares the count of the tensor it views.
//
// Large buffers lie outside of the Go heap, which would otherwise be let grow to twice what they take; they never leave the run.
type memory struct {
	mu      sync.Mutex // operators may draw from several workers
	live    map[*byte]*buffer
	pinned  []*buffer // outside of the heap, in use until the run ends: elements of sequences
	fresh   []*buffer // given out to the node that is running
	free    []*buffer // ascending capacity
	nesting int       // inside subgraphs nothing is reused

	inUse, peak int // bytes of live buffers now, and at most since the run began
	reserved    int // bytes of all buffers that are kept
}

type buffer struct {
	data   []byte
	used   int // of data
	refs   int
	tensor tensor.Tensor // what was made of it last
	dims   [8]int        // its shape

	unmap   func() error // nil for memory of the heap
	cleanup runtime.Cleanup
}

const (
	alignment   = 64       // a cache line, and the width of the widest vector register
	outsideSize = 64 << 10 // least size of what lies outside of the heap
	waste       = 4        // a value may take a buffer so many times its size
)

// make is graph.Env.Make.
func (m *memory) make(d tensor.DType, shape tensor.Shape) *tensor.Tensor {
	n := d.ByteLen(shape.Len())
	if n == 0 || m.nesting > 0 { // inside subgraphs: held by the body's operator, out of sight of the counts
		return tensor.New(d, slices.Clone(shape)...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = map[*byte]*buffer{}
	}
	b := m.find(n)
	if b == nil {
		b = newBuffer(n)
		m.reserved += n
	}
	b.refs, b.used = 0, n
	m.inUse += n
	m.peak = max(m.peak, m.inUse)
	m.live[&b.data[0]] = b
	m.fresh = append(m.fresh, b)
	if len(shape) <= len(b.dims) {
		shape = b.dims[:copy(b.dims[:], shape):len(shape)]
	} else {
		shape = slices.Clone(shape)
	}
	b.tensor.Set(d, shape, b.data[:n:n])
	return &b.tensor
}

func newBuffer(n int) *buffer {
	if n >= outsideSize {
		if data, unmap, err := mmap.Anonymous(n); err == nil {
			b := &buffer{data: data, unmap: unmap}
			b.cleanup = runtime.AddCleanup(b, func(unmap func() error) { _ = unmap() }, unmap)
			return b
		}
	}
	raw := make([]byte, n+alignment)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & (alignment - 1)
	return &buffer{data: raw[skip : skip+n : skip+n]}
}

// discard gives the memory of a free buffer back.
func (b *buffer) discard() {
	if b.unmap != nil {
		b.cleanup.Stop()
		_ = b.unmap()
	}
}

// find takes the smallest free buffer that fits and is not more than four times too large.
func (m *memory) find(n int) *buffer {
	for i, b := range m.free {
		if c := len(b.data); c >= n {
			if c > waste*n+4096 {
				return nil
			}
			m.free = append(m.free[:i], m.free[i+1:]...)
			return b
		}
	}
	return nil
}

func first(t *tensor.Tensor) *byte {
	if b := t.Bytes(); len(b) > 0 {
		return &b[0]
	}
	return nil
}

// settle counts the references that a node's outputs take and returns what the node drew but did not hand on.
func (m *memory) settle(res []*tensor.Tensor, out []int) {
	if m.nesting > 0 {
		m.fresh = m.fresh[:0]
		return
	}
	for j, t := range res {
		if t == nil || j >= len(out) || out[j] < 0 {
			continue
		}
		if t.Elems() != nil {
			m.hold(t)
			continue
		}
		if b := m.live[first(t)]; b != nil {
			b.refs++
		}
	}
	for _, b := range m.fresh {
		if b.refs == 0 {
			m.recycle(b)
		}
	}
	m.fresh = m.fresh[:0]
}

// unref drops one reference.
func (m *memory) unref(t *tensor.Tensor) {
	if t == nil || m.nesting > 0 {
		return
	}
	if b := m.live[first(t)]; b != nil {
		if b.refs--; b.refs == 0 {
			m.recycle(b)
		}
	}
}

func (m *memory) recycle(b *buffer) {
	if m.live[&b.data[0]] != b {
		return // escaped meanwhile
	}
	delete(m.live, &b.data[0])
	m.inUse -= b.used
	m.keep(b)
}

// keep puts a buffer among the free ones.
func (m *memory) keep(b *buffer) {
	i := 0
	for i < len(m.free) && len(m.free[i].data) < len(b.data) {
		i++
	}
	m.free = append(m.free, nil)
	copy(m.free[i+1:], m.free[i:])
	m.free[i] = b
}

// hold keeps the memory of what t contains from being used again during the run.
func (m *memory) hold(t *tensor.Tensor) {
	for _, e := range t.Elems() {
		m.hold(e)
	}
	if p := first(t); p != nil {
		if b := m.live[p]; b != nil && b.unmap != nil {
			m.pinned = append(m.pinned, b)
		}
		m.drop(p)
	}
}

// own returns t, or a copy of it if it lies in memory that stays with the run. What is on the heap is the holder's for good.
func (m *memory) own(t *tensor.Tensor) *tensor.Tensor {
	if t == nil {
		return nil
	}
	if m.stays(t) {
		return t.Clone()
	}
	for _, e := range t.Elems() {
		m.own(e)
	}
	if p := first(t); p != nil {
		m.drop(p)
	}
	return t
}

// stays reports whether t, or anything that it contains, lies outside of the heap.
func (m *memory) stays(t *tensor.Tensor) bool {
	if slices.ContainsFunc(t.Elems(), m.stays) {
		return true
	}
	p := first(t)
	if p == nil {
		return false
	}
	if b := m.live[p]; b != nil {
		return b.unmap != nil
	}
	return slices.ContainsFunc(m.pinned, func(b *buffer) bool { return p == &b.data[0] })
}

// drop forgets a live buffer, which somebody else holds from now on.
func (m *memory) drop(p *byte) {
	if b := m.live[p]; b != nil {
		delete(m.live, p)
		m.inUse -= b.used
		if b.unmap == nil {
			m.reserved -= len(b.data)
		}
	}
}

// enter and leave bracket the evaluation of a subgraph; what the calling node drew before stays its own.
func (m *memory) enter() []*buffer {
	m.nesting++
	f := m.fresh
	m.fresh = nil
	return f
}

func (m *memory) leave(fresh []*buffer) {
	m.nesting--
	m.fresh = fresh
}

// reset ends a run: what is still live, such as outputs, is forgotten or, outside of the heap, kept for the next run.
func (m *memory) reset() {
	for p, b := range m.live {
		if b.unmap != nil {
			m.recycle(b)
		} else {
			m.drop(p)
		}
	}
	for _, b := range m.pinned {
		m.keep(b)
	}
	m.pinned = m.pinned[:0]
	m.fresh = m.fresh[:0]
}

// release gives all memory back. No run is in progress.
func (m *memory) release() {
	for _, b := range m.free {
		b.discard()
	}
	m.free, m.reserved = nil, 0
}
