package exec

import (
	"sync"
	"unsafe"

	"github.com/neurotrain/neuroquant/tensor"
)

// memory hands out buffers to the operators of a run and takes them back when the last value that lies in them dies.
// A buffer is known by the address of its first byte, so a reshaped view shares the count of the tensor it views.
type memory struct {
	mu      sync.Mutex // operators may draw from several workers
	live    map[*byte]*buffer
	fresh   []*buffer // given out to the node that is running
	free    []*buffer // ascending capacity
	nesting int       // inside subgraphs nothing is reused

	inUse, peak int // bytes of live buffers now, and at most since the run began
	reserved    int // bytes of all buffers that are kept
}

type buffer struct {
	data []byte
	refs int
}

const alignment = 64 // a cache line, and the width of the widest vector register

func (m *memory) alloc(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	if m.nesting > 0 { // held by the body's operator, out of sight of the counts: left to the garbage collector
		return aligned(n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = map[*byte]*buffer{}
	}
	b := m.find(n)
	if b == nil {
		b = &buffer{data: aligned(n)}
		m.reserved += n
	}
	b.refs = 0
	m.inUse += len(b.data)
	m.peak = max(m.peak, m.inUse)
	m.live[&b.data[0]] = b
	m.fresh = append(m.fresh, b)
	return b.data[:n:n]
}

func aligned(n int) []byte {
	raw := make([]byte, n+alignment)
	skip := -int(uintptr(unsafe.Pointer(&raw[0]))) & (alignment - 1)
	return raw[skip : skip+n : skip+n]
}

// find takes the smallest free buffer that fits and is not more than twice too large.
func (m *memory) find(n int) *buffer {
	for i, b := range m.free {
		if c := len(b.data); c >= n {
			if c > 2*n+4096 {
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
			m.escape(t)
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

// release drops one reference.
func (m *memory) release(t *tensor.Tensor) {
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
	m.inUse -= len(b.data)
	i := 0
	for i < len(m.free) && len(m.free[i].data) < len(b.data) {
		i++
	}
	m.free = append(m.free, nil)
	copy(m.free[i+1:], m.free[i:])
	m.free[i] = b
}

// escape gives the memory of t, and of what it contains, to the holder of t for good.
func (m *memory) escape(t *tensor.Tensor) {
	if t == nil {
		return
	}
	for _, e := range t.Elems() {
		m.escape(e)
	}
	if p := first(t); p != nil {
		m.drop(p)
	}
}

// drop forgets a live buffer, which somebody else holds from now on.
func (m *memory) drop(p *byte) {
	if b := m.live[p]; b != nil {
		delete(m.live, p)
		m.inUse -= len(b.data)
		m.reserved -= len(b.data)
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

// reset forgets what is still live, which happens after errors; free buffers are kept for the next run.
func (m *memory) reset() {
	for p := range m.live {
		m.drop(p)
	}
	m.fresh = m.fresh[:0]
}
