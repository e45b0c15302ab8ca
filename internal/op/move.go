package op

import (
	"fmt"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// elems is the storage of a tensor as data movement sees it: elements of 1, 2, 4, 8 or 16 bytes, or strings.
// Elements narrower than a byte are expanded to a byte each.
type elems struct {
	size int // bytes per element; 0 for strings
	data []byte
	strs []string
}

// elemsOf returns the elements of a dense tensor, whose memory they may share.
func elemsOf(t *tensor.Tensor) elems {
	switch {
	case t.DType == tensor.String:
		return elems{strs: t.Text()}
	case t.DType.Bits() < 8:
		return elems{size: 1, data: tensor.Unpack(t.DType, t.Bytes(), t.Len())}
	}
	return elems{size: t.DType.Size(), data: t.Bytes()}
}

// tensors is [args] for operators that move data: none of the inputs may be a container.
func tensors(in []*tensor.Tensor, required, most int) ([]*tensor.Tensor, error) {
	for i, t := range in {
		if t != nil && t.DType.Bits() == 0 && t.DType != tensor.String {
			return nil, fmt.Errorf("input %d: want a tensor, got %v", i, t.DType)
		}
	}
	return args(in, required, most)
}

// outElems is an output tensor that is being written element by element.
type outElems struct {
	elems
	t *tensor.Tensor
}

// newElems allocates an output with undefined contents; [outElems.done] returns it once all elements are written.
func newElems(e *graph.Env, d tensor.DType, shape tensor.Shape) (outElems, error) {
	if err := checkSize(shape); err != nil {
		return outElems{}, err
	}
	t := e.New(d, shape...)
	s := outElems{t: t}
	switch {
	case d == tensor.String:
		s.strs = t.Text()
	case d.Bits() < 8:
		s.size, s.data = 1, make([]byte, t.Len())
	default:
		s.size, s.data = d.Size(), t.Bytes()
	}
	return s, nil
}

func (s outElems) done() *tensor.Tensor {
	if b := s.t.DType.Bits(); b > 0 && b < 8 {
		copy(s.t.Bytes(), tensor.Pack(s.t.DType, s.data))
	}
	return s.t
}

// slots returns the elements of c as values of T, which must have the width of an element.
func slots[T any](c elems) []T {
	if c.size == 0 {
		return any(c.strs).([]T)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(c.data))), len(c.data)/c.size)
}

// wide is the storage of a complex128.
type wide [2]uint64

// copyLoop is one level of a nest that copies elements: n steps, each moving the destination by dst and the source by src elements.
type copyLoop struct{ n, dst, src int }

// copyNest returns the loops that walk a row-major destination of the given shape with the given source strides.
func copyNest(shape tensor.Shape, srcStrides []int) []copyLoop {
	out := make([]copyLoop, len(shape))
	for i, d := range shape.Strides() {
		out[i] = copyLoop{shape[i], d, srcStrides[i]}
	}
	return out
}

// mergeLoops drops loops of one step and joins neighbours that walk both sides evenly. The second result is false if nothing
// is to be copied.
func mergeLoops(loops []copyLoop) ([]copyLoop, bool) {
	var out []copyLoop
	for _, l := range loops {
		if l.n == 0 {
			return nil, false
		}
		if l.n == 1 {
			continue
		}
		if k := len(out) - 1; k >= 0 && out[k].dst == l.dst*l.n && out[k].src == l.src*l.n {
			out[k] = copyLoop{out[k].n * l.n, l.dst, l.src}
			continue
		}
		out = append(out, l)
	}
	return out, true
}

// copyElems copies elements along a nest of loops that starts at element dstAt of dst and srcAt of src.
func copyElems(e *graph.Env, dst elems, dstAt int, src elems, srcAt int, loops []copyLoop) {
	if loops, some := mergeLoops(loops); some {
		moveLoops(e, dst, dstAt, src, srcAt, loops)
	}
}

// moveLoops is copyElems for merged loops.
func moveLoops(e *graph.Env, dst elems, dstAt int, src elems, srcAt int, loops []copyLoop) {
	switch dst.size {
	case 0:
		moveSlots(e, dst.strs, dstAt, src.strs, srcAt, loops)
	case 1:
		moveSlots(e, dst.data, dstAt, src.data, srcAt, loops)
	case 2:
		moveSlots(e, slots[uint16](dst), dstAt, slots[uint16](src), srcAt, loops)
	case 4:
		moveSlots(e, slots[uint32](dst), dstAt, slots[uint32](src), srcAt, loops)
	case 8:
		moveSlots(e, slots[uint64](dst), dstAt, slots[uint64](src), srcAt, loops)
	default:
		moveSlots(e, slots[wide](dst), dstAt, slots[wide](src), srcAt, loops)
	}
}

// moveGrain is the number of elements that are worth handing to another thread.
const moveGrain = 1 << 15

// moveSlots runs merged loops. The innermost one is a run, a fill or a strided walk; where the source is contiguous along
// another loop, the two form a matrix that is transposed in blocks.
func moveSlots[T any](e *graph.Env, dst []T, dstAt int, src []T, srcAt int, loops []copyLoop) {
	if len(loops) == 0 {
		dst[dstAt] = src[srcAt]
		return
	}
	kept := graph.Keep[mover[T]](e)
	defer kept.Done()
	m := &kept.V
	m.dst, m.dstAt, m.src, m.srcAt = dst, dstAt, src, srcAt
	defer m.forget()
	m.outer, m.in, m.cols = append(m.outer[:0], loops[:len(loops)-1]...), loops[len(loops)-1], copyLoop{n: 1}
	if m.in.dst == 1 && m.in.src > 1 {
		for k, l := range m.outer {
			if l.src == 1 && m.in.src >= l.n && l.dst >= m.in.n {
				m.cols = l
				m.outer = append(m.outer[:k], m.outer[k+1:]...)
				break
			}
		}
	}
	total, each := 1, m.in.n*m.cols.n
	for _, l := range m.outer {
		total *= l.n
	}
	// One long run or matrix is cut so that all threads have work.
	split := m.split().n
	m.pieces = 1
	if total < 16 && each > moveGrain {
		m.pieces = min(split, (each+moveGrain-1)/moveGrain)
	}
	m.per = (split + m.pieces - 1) / m.pieces
	if m.parts == nil {
		m.parts, m.steps = m.movePieces, m.moveSteps
	}
	if m.pieces > 1 {
		e.For(total*m.pieces, 1, m.parts)
	} else {
		e.For(total, max(1, moveGrain/each), m.steps)
	}
}

// mover copies along the loops outer and within them along in; cols, if it has more than one step, is the loop that forms a matrix
// with in.
type mover[T any] struct {
	dst, src     []T
	dstAt, srcAt int
	outer        []copyLoop
	in, cols     copyLoop
	pieces, per  int // that one run or matrix is cut into, and the steps of one
	parts, steps func(lo, hi int)
}

func (m *mover[T]) forget() { m.dst, m.src = nil, nil }

// split is the loop that is cut.
func (m *mover[T]) split() *copyLoop {
	if m.cols.n > 1 {
		return &m.cols
	}
	return &m.in
}

func (m *mover[T]) movePieces(lo, hi int) {
	split := m.split()
	for i := lo; i < hi; i++ {
		d, s := nestStart(m.outer, i/m.pieces)
		a := min(i%m.pieces*m.per, split.n)
		n := min(a+m.per, split.n) - a
		d, s = m.dstAt+d+a*split.dst, m.srcAt+s+a*split.src
		switch {
		case n == 0:
		case m.cols.n > 1:
			kernel.Transpose(m.dst[d:], m.cols.dst, m.src[s:], m.in.src, m.in.n, n)
		default:
			moveRun(m.dst, d, m.in.dst, m.src, s, m.in.src, n)
		}
	}
}

func (m *mover[T]) moveSteps(lo, hi int) {
	d, s := nestStart(m.outer, lo)
	d, s = d+m.dstAt, s+m.srcAt
	work := kernel.Borrow[int](len(m.outer))
	defer work.Release()
	at := work.Data
	for k, i := len(m.outer)-1, lo; k >= 0; k-- {
		at[k] = i % m.outer[k].n
		i /= m.outer[k].n
	}
	for range hi - lo {
		if m.cols.n > 1 {
			kernel.Transpose(m.dst[d:], m.cols.dst, m.src[s:], m.in.src, m.in.n, m.cols.n)
		} else {
			moveRun(m.dst, d, m.in.dst, m.src, s, m.in.src, m.in.n)
		}
		for k := len(m.outer) - 1; k >= 0; k-- {
			l := m.outer[k]
			d += l.dst
			s += l.src
			if at[k]++; at[k] < l.n {
				break
			}
			at[k] = 0
			d -= l.n * l.dst
			s -= l.n * l.src
		}
	}
}

// nestStart returns the offsets of step i of a nest of loops.
func nestStart(loops []copyLoop, i int) (dst, src int) {
	for k := len(loops) - 1; k >= 0; k-- {
		l := loops[k]
		dst += i % l.n * l.dst
		src += i % l.n * l.src
		i /= l.n
	}
	return dst, src
}

func moveRun[T any](dst []T, d, dstStep int, src []T, s, srcStep, n int) {
	switch {
	case dstStep == 1 && srcStep == 1:
		copy(dst[d:d+n], src[s:s+n])
	case dstStep == 1 && srcStep == 0:
		v, run := src[s], dst[d:d+n]
		for i := range run {
			run[i] = v
		}
	case dstStep == 1:
		run := dst[d : d+n]
		for i := range run {
			run[i] = src[s]
			s += srcStep
		}
	default:
		for range n {
			dst[d] = src[s]
			d += dstStep
			s += srcStep
		}
	}
}

// fillElems sets all elements of dst to the first element of v.
func fillElems(e *graph.Env, dst, v elems, n int) {
	copyElems(e, dst, 0, v, 0, []copyLoop{{n, 1, 0}})
}

// gatherRows copies rows of width elements: for each of outer blocks, dst row i of a block is the row that starts at element
// at[i] of the source block. Source blocks are srcBlock elements apart.
func gatherRows(e *graph.Env, dst, src elems, outer, srcBlock, width int, at []int) {
	switch dst.size {
	case 0:
		gatherSlots(e, dst.strs, src.strs, outer, srcBlock, width, at)
	case 1:
		gatherSlots(e, dst.data, src.data, outer, srcBlock, width, at)
	case 2:
		gatherSlots(e, slots[uint16](dst), slots[uint16](src), outer, srcBlock, width, at)
	case 4:
		gatherSlots(e, slots[uint32](dst), slots[uint32](src), outer, srcBlock, width, at)
	case 8:
		gatherSlots(e, slots[uint64](dst), slots[uint64](src), outer, srcBlock, width, at)
	default:
		gatherSlots(e, slots[wide](dst), slots[wide](src), outer, srcBlock, width, at)
	}
}

func gatherSlots[T any](e *graph.Env, dst, src []T, outer, srcBlock, width int, at []int) {
	if len(at) == 0 || width == 0 {
		return
	}
	kept := graph.Keep[gatherer[T]](e)
	defer kept.Done()
	g := &kept.V
	g.dst, g.src, g.srcBlock, g.width, g.at = dst, src, srcBlock, width, at
	defer g.forget()
	if g.body == nil {
		g.body = g.rows
	}
	e.For(outer*len(at), max(1, moveGrain/width), g.body)
}

// gatherer is what a gatherRows works on.
type gatherer[T any] struct {
	dst, src        []T
	srcBlock, width int
	at              []int
	body            func(lo, hi int) // rows
}

func (g *gatherer[T]) forget() { g.dst, g.src, g.at = nil, nil, nil }

func (g *gatherer[T]) rows(lo, hi int) {
	rows, width := len(g.at), g.width
	for i := lo; i < hi; {
		from := g.src[i/rows*g.srcBlock:]
		end := min(hi, (i/rows+1)*rows)
		if width == 1 {
			for _, a := range g.at[i%rows : i%rows+end-i] {
				g.dst[i] = from[a]
				i++
			}
			continue
		}
		for ; i < end; i++ {
			a := g.at[i%rows]
			copy(g.dst[i*width:(i+1)*width], from[a:a+width])
		}
	}
}

// copyRun copies n consecutive elements.
func copyRun(dst elems, at int, src elems, from, n int) {
	if dst.size == 0 {
		copy(dst.strs[at:at+n], src.strs[from:from+n])
		return
	}
	copy(dst.data[at*dst.size:(at+n)*dst.size], src.data[from*dst.size:(from+n)*dst.size])
}

// clearRun sets n consecutive elements to zero or the empty string.
func clearRun(dst elems, at, n int) {
	if dst.size == 0 {
		clear(dst.strs[at : at+n])
		return
	}
	clear(dst.data[at*dst.size : (at+n)*dst.size])
}
