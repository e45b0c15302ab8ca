package exec

import (
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/tensor"
)

// memory hands out tensors to the operators of a run and takes them back when the last value that lies in them dies. It never leaves
// the run: what the caller gets is a copy.
//
// Where a layout says so, an output lies in the block that all of them share; it does not if something lives there longer than was
// foreseen, which the next layout then knows. Everything else, such as what an operator needs for itself, lies in buffers that are used
// again. A buffer is known by the address of its first byte, so a reshaped view shares the count of the tensor it views.
type memory struct {
	mu      sync.Mutex // operators may draw from several workers
	live    []*buffer
	fresh   []*buffer // given out to the node that is running
	free    []*buffer // not of the block; ascending capacity
	nesting int       // inside subgraphs nothing is reused

	layout   *layout
	block    *buffer              // nil: none
	spots    map[*layout][]buffer // by slot
	step     int
	running  *step
	args     []*tensor.Tensor
	learned  facts // of this run, beyond those of the layout
	surprise bool  // whether there are any

	inUse, peak int // bytes of live buffers now, and at most since the run began
	reserved    int // bytes of all buffers that are kept
}

type buffer struct {
	data    []byte
	used    int // of data
	refs    int
	slot    int           // whose value was the first in it
	planned bool          // the room of that value in the block
	pinned  bool          // to stay until the run ends: elements of sequences
	tensor  tensor.Tensor // what was made of it last
	dims    [8]int        // its shape

	unmap   func() error // nil for memory of the heap
	cleanup runtime.Cleanup
}

const (
	alignment   = 64       // a cache line, and the width of the widest vector register
	outsideSize = 64 << 10 // least size of what lies outside of the heap, which would otherwise be let grow to twice what is used
	waste       = 4        // a value may take a buffer so many times its size
	layoutsKept = 4        // of a run
)

// begin starts a run with a layout, which may be nil.
func (m *memory) begin(l *layout) {
	m.layout, m.surprise = l, false
	if l == nil {
		return
	}
	if m.block == nil || len(m.block.data) < l.size {
		if m.block != nil {
			m.reserved -= len(m.block.data)
			m.block.discard()
			m.block, m.spots = nil, nil
		}
		if l.size > 0 {
			m.block = newBuffer(l.size)
			m.reserved += l.size
		}
	}
	if m.spots[l] != nil {
		return
	}
	if m.spots == nil || len(m.spots) >= layoutsKept {
		m.spots = map[*layout][]buffer{}
	}
	spots := make([]buffer, len(l.seen.shares))
	for _, of := range l.of {
		for _, s := range of {
			spots[s.slot] = buffer{data: m.block.data[s.offset : s.offset+s.size : s.offset+s.size], slot: s.slot, planned: true}
		}
	}
	m.spots[l] = spots
}

// enterStep says which step draws from now on, and on which inputs it runs.
func (m *memory) enterStep(i int, st *step, args []*tensor.Tensor) {
	if m.nesting == 0 {
		m.step, m.running, m.args = i, st, args
	}
}

// make is graph.Env.Make.
func (m *memory) make(d tensor.DType, shape tensor.Shape) *tensor.Tensor {
	n := d.ByteLen(shape.Len())
	if n == 0 || m.nesting > 0 { // inside subgraphs: held by the body's operator, out of sight of the counts
		return tensor.New(d, slices.Clone(shape)...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.room(n)
	if b == nil {
		b = m.find(n)
	}
	if b == nil {
		b = newBuffer(n)
		m.reserved += n
	}
	b.refs, b.used, b.pinned = 0, n, false
	m.inUse += n
	m.peak = max(m.peak, m.inUse)
	m.live = append(m.live, b)
	m.fresh = append(m.fresh, b)
	if len(shape) <= len(b.dims) {
		shape = b.dims[:copy(b.dims[:], shape):len(shape)]
	} else {
		shape = slices.Clone(shape)
	}
	b.tensor.Set(d, shape, b.data[:n:n])
	return &b.tensor
}

// room returns the place of an output of n bytes of the step that is running, if that is free.
func (m *memory) room(n int) *buffer {
	if m.layout == nil || m.running == nil {
		return nil
	}
	for _, s := range m.layout.of[m.step] {
		if s.size != n {
			continue
		}
		b := &m.spots[m.layout][s.slot]
		if !slices.ContainsFunc(m.live, func(o *buffer) bool { return overlap(o.data, b.data) }) {
			return b
		}
	}
	return nil
}

// overlap reports whether two slices of bytes, none of them empty, share memory.
func overlap(a, b []byte) bool {
	p, q := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}

// over is graph.Env.Over: t is not needed after the running step, by nobody but it, and no other input lies in its memory.
func (m *memory) over(t *tensor.Tensor) bool {
	p := first(t)
	if p == nil || m.nesting > 0 || m.running == nil || t.Elems() != nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.at(p)
	if b == nil || b.refs != 1 || b.pinned || b.used != len(t.Bytes()) {
		return false
	}
	dies := false
	for k, a := range m.args {
		if a == nil || first(a) != p {
			continue
		}
		if dies {
			return false // twice
		}
		if dies = slices.Contains(m.running.dies, m.running.in[k]); !dies {
			return false
		}
	}
	return dies
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

// discard gives the memory of a buffer that nothing lies in back.
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

// at returns the live buffer that begins at p, or nil.
func (m *memory) at(p *byte) *buffer {
	if p == nil {
		return nil
	}
	for i := len(m.live) - 1; i >= 0; i-- {
		if b := m.live[i]; &b.data[0] == p {
			return b
		}
	}
	return nil
}

// settle counts the references that the outputs of the running step take and returns what it drew but did not hand on.
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
		if b := m.at(first(t)); b != nil {
			m.learn(out[j], b)
			b.refs++
		}
	}
	for _, b := range m.fresh {
		if b.refs == 0 && !b.pinned {
			m.recycle(b)
		}
	}
	m.fresh = m.fresh[:0]
}

// learn compares where an output lies with what the layout says: where it is not as foreseen, the next layout is to know.
func (m *memory) learn(slot int, b *buffer) {
	drawn := b.refs == 0 && slices.Contains(m.fresh, b)
	if drawn && !b.planned {
		b.slot = slot
	}
	if m.layout == nil || m.layout.home[slot] == b.slot || m.layout.home[slot] < 0 && drawn {
		return
	}
	if !m.surprise {
		m.surprise, m.learned = true, m.layout.seen.clone()
	}
	if drawn {
		m.learned.shares[slot], m.learned.apart[m.step] = -1, true
	} else {
		m.learned.shares[slot] = b.slot
	}
}

// unref drops one reference.
func (m *memory) unref(t *tensor.Tensor) {
	if t == nil || m.nesting > 0 {
		return
	}
	if b := m.at(first(t)); b != nil && !b.pinned {
		if b.refs--; b.refs == 0 {
			m.recycle(b)
		}
	}
}

// recycle takes a live buffer back.
func (m *memory) recycle(b *buffer) {
	i := slices.Index(m.live, b)
	if i < 0 {
		return
	}
	m.live = slices.Delete(m.live, i, i+1)
	m.inUse -= b.used
	if b.planned {
		return
	}
	i = 0
	for i < len(m.free) && len(m.free[i].data) < len(b.data) {
		i++
	}
	m.free = slices.Insert(m.free, i, b)
}

// hold keeps the memory of what t contains from being used again during the run.
func (m *memory) hold(t *tensor.Tensor) {
	for _, e := range t.Elems() {
		m.hold(e)
	}
	if b := m.at(first(t)); b != nil {
		b.pinned = true
	}
}

// own returns what the caller may keep: t over the same memory, or a copy of it if it lies in memory of the run. The header is a new one, for
// that of t may be the run's, too.
func (m *memory) own(t *tensor.Tensor) *tensor.Tensor {
	if t == nil {
		return nil
	}
	if m.stays(t) || len(t.Elems()) > 0 {
		return t.Clone()
	}
	h := *t
	h.Shape = t.Shape.Clone()
	return &h
}

// stays reports whether t, or anything that it contains, lies in memory of the run.
func (m *memory) stays(t *tensor.Tensor) bool {
	return m.at(first(t)) != nil || slices.ContainsFunc(t.Elems(), m.stays)
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

// reset ends a run: what is still live, such as outputs, is kept for the next run.
func (m *memory) reset() {
	for len(m.live) > 0 {
		m.recycle(m.live[len(m.live)-1])
	}
	m.fresh, m.running, m.args = m.fresh[:0], nil, nil
}

// release gives all memory back. No run is in progress.
func (m *memory) release() {
	for _, b := range m.free {
		b.discard()
	}
	if m.block != nil {
		m.block.discard()
	}
	m.free, m.block, m.spots, m.reserved = nil, nil, nil, 0
}
