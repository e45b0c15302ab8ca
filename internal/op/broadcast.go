package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// broadcastDims is numpy's multidirectional broadcasting on dimensions that may be names. A name survives where it is certain:
// against 1, against itself. A number above 1 wins over anything unknown, which must be 1 or the same at run time.
func broadcastDims(a, b []graph.Dim) ([]graph.Dim, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := make([]graph.Dim, len(a))
	copy(out, a)
	for i, y := range b {
		j := len(a) - len(b) + i
		x := a[j]
		switch {
		case x == y && (x.IsKnown() || x.Name != ""), y.Size == 1:
		case x.Size == 1:
			out[j] = y
		case x.IsKnown() && y.IsKnown():
			return nil, fmt.Errorf("dimensions %v and %v do not broadcast", a, b)
		case x.IsKnown():
		case y.IsKnown():
			out[j] = y
		default:
			out[j] = graph.Unknown
		}
	}
	return out, nil
}

// broadcastTypes returns the type of element type d whose dimensions are those of all inputs broadcast together; unranked if one of them is.
func broadcastTypes(d tensor.DType, in ...graph.Type) (graph.Type, error) {
	out := graph.Ranked(d)
	for i, t := range in {
		if !t.Ranked {
			return graph.Unranked(d), nil
		}
		dims, err := broadcastDims(out.Dims, t.Dims)
		if err != nil {
			return out, fmt.Errorf("input %d: %w", i, err)
		}
		out.Dims = dims
	}
	return out, nil
}

// broadcastShapes returns the shape that all tensors have in common.
func broadcastShapes(in ...*tensor.Tensor) (tensor.Shape, error) {
	out := tensor.Shape{}
	for i, t := range in {
		var err error
		if out, err = tensor.Broadcast(out, t.Shape); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	if err := checkSize(out); err != nil {
		return nil, err
	}
	return out, nil
}

// broadcast walks row-major operands in step with an output over which they are broadcast. Dimensions that all operands
// treat alike are merged, so that operands of equal shape make one run and a bias makes one run per row.
type broadcast struct {
	n       int     // elements of the output
	dims    []int   // merged dimensions, outermost first, at least one
	strides [][]int // per operand and merged dimension; 0 where the operand is repeated
	step    []int   // per operand: its stride within a run, 1 or 0

	// Backing of the slices for the usual ranks.
	ints [40]int
	rows [3][]int
}

// keptBroadcast is the walk over two operands of given shapes.
type keptBroadcast struct {
	a, b, shape tensor.Shape
	walk        *broadcast
}

// broadcastPair returns the shape that a and b have in common and the walk over it; the caller ends their use with Done.
func broadcastPair(e *graph.Env, a, b *tensor.Tensor) (*graph.Kept[keptBroadcast], error) {
	kept := graph.Keep[keptBroadcast](e)
	if k := &kept.V; k.walk == nil || !k.a.Equal(a.Shape) || !k.b.Equal(b.Shape) {
		shape, err := broadcastShapes(a, b)
		if err != nil {
			kept.Done()
			return nil, err
		}
		*k = keptBroadcast{a.Shape.Clone(), b.Shape.Clone(), shape, newBroadcast(shape, a.Shape, b.Shape)}
	}
	return kept, nil
}

// newBroadcast prepares the walk over an output shape. Every operand shape must broadcast to it, and there are at most 64.
func newBroadcast(out tensor.Shape, operands ...tensor.Shape) *broadcast {
	b := &broadcast{n: out.Len()}
	k := len(operands)
	store := b.ints[:]
	if need := 2*(len(out)+1) + k*(len(out)+2); need > len(store) {
		store = make([]int, need)
	}
	take := func(n int) []int {
		s := store[:n:n]
		store = store[n:]
		return s
	}
	b.dims = take(len(out) + 1)[:0]
	var owners uint64 // the operands that have their own elements along the innermost merged dimension so far
	masks := take(len(out) + 1)
	for d, size := range out {
		if size == 1 {
			continue
		}
		var own uint64
		for o, shape := range operands {
			if i := d - (len(out) - len(shape)); i >= 0 && shape[i] != 1 {
				own |= 1 << o
			}
		}
		if last := len(b.dims) - 1; last >= 0 && own == owners {
			b.dims[last] *= size
			continue
		}
		owners = own
		masks[len(b.dims)] = int(own)
		b.dims = append(b.dims, size)
	}
	if len(b.dims) == 0 {
		b.dims, masks[0] = append(b.dims, 1), -1
	}
	b.step = take(k)
	b.strides = b.rows[:0]
	for o := range operands {
		s, stride := take(len(b.dims)), 1
		for d := len(b.dims) - 1; d >= 0; d-- {
			s[d] = 0
			if masks[d]>>o&1 == 1 {
				s[d] = stride
				stride *= b.dims[d]
			}
		}
		b.strides = append(b.strides, s)
		b.step[o] = s[len(s)-1]
	}
	return b
}

// whole reports whether the walk is a single run in which every operand has its own elements.
func (b *broadcast) whole() bool {
	if len(b.dims) > 1 {
		return false
	}
	for _, s := range b.step {
		if s == 0 {
			return false
		}
	}
	return true
}

// each calls f for the runs that make up the output elements [lo, hi): n elements from out on, operand k beginning at at[k]
// and advancing by step[k]. The slice at is reused.
func (b *broadcast) each(lo, hi int, f func(out, n int, at []int)) {
	work := kernel.Borrow[int](len(b.dims) + len(b.strides))
	defer work.Release()
	b.eachFrom(work.Data, lo, hi, f)
}

// eachFrom is each with memory of len(dims)+len(strides) values to work in.
func (b *broadcast) eachFrom(work []int, lo, hi int, f func(out, n int, at []int)) {
	if lo >= hi {
		return
	}
	last := len(b.dims) - 1
	index, at := work[:last+1], work[last+1:]
	clear(at)
	rest := lo
	for d := last; d >= 0; d-- {
		index[d] = rest % b.dims[d]
		rest /= b.dims[d]
		for k, s := range b.strides {
			at[k] += index[d] * s[d]
		}
	}
	for {
		n := min(b.dims[last]-index[last], hi-lo)
		f(lo, n, at)
		lo += n
		if lo == hi {
			return
		}
		index[last] += n
		for k, s := range b.step {
			at[k] += n * s
		}
		for d := last; d > 0 && index[d] == b.dims[d]; d-- {
			index[d] = 0
			index[d-1]++
			for k, s := range b.strides {
				at[k] += s[d-1] - b.dims[d]*s[d]
			}
		}
	}
}

// elementGrain is how many elements of a cheap loop make a chunk worth handing to another thread.
const elementGrain = 1 << 14

// block is how many elements pass through a buffer at once: a repeated operand or a half-precision one is spread over so many
// elements, which stay in the first-level cache.
const block = 512

// zip computes dst = row(a, b) over the walk w of operands a and b. row gets slices of equal length and is called for long
// runs: an operand that is repeated within a run is spread first, and short runs are gathered.
func zip[D, T any](e *graph.Env, w *broadcast, dst []D, a, b []T, row func(dst []D, a, b []T)) {
	kept := graph.Keep[zipper[D, T]](e)
	defer kept.Done()
	z := &kept.V
	z.w, z.dst, z.a, z.b, z.row = w, dst, a, b, row
	defer z.forget()
	if z.body == nil {
		z.body = z.run
	}
	e.For(w.n, elementGrain, z.body)
}

// zipper is what a zip works on.
type zipper[D, T any] struct {
	w    *broadcast
	dst  []D
	a, b []T
	row  func(dst []D, a, b []T)
	body func(lo, hi int) // run
}

func (z *zipper[D, T]) forget() { z.w, z.dst, z.a, z.b, z.row = nil, nil, nil, nil, nil }

func (z *zipper[D, T]) run(lo, hi int) {
	w := z.w
	switch inner := w.dims[len(w.dims)-1]; {
	case w.whole():
		z.row(z.dst[lo:hi], z.a[lo:hi], z.b[lo:hi])
	case inner < block/8:
		zipShort(w, lo, hi, z.dst, z.a, z.b, z.row)
	default:
		zipLong(w, lo, hi, z.dst, z.a, z.b, z.row)
	}
}

func zipLong[D, T any](w *broadcast, lo, hi int, dst []D, a, b []T, row func(dst []D, a, b []T)) {
	size := min(block, w.dims[len(w.dims)-1])
	buf := kernel.Borrow[T](2 * size)
	defer buf.Release()
	var bufA, bufB []T
	if w.step[0] == 0 {
		bufA = buf.Data[:size]
	}
	if w.step[1] == 0 {
		bufB = buf.Data[size:]
	}
	w.each(lo, hi, func(out, n int, at []int) {
		i, j := at[0], at[1]
		if bufA == nil && bufB == nil {
			row(dst[out:out+n], a[i:i+n], b[j:j+n])
			return
		}
		if bufA != nil {
			spread(bufA[:min(n, block)], a[i])
		}
		if bufB != nil {
			spread(bufB[:min(n, block)], b[j])
		}
		for k := 0; k < n; k += block {
			m := min(block, n-k)
			x, y := bufA, bufB
			if x == nil {
				x = a[i+k:]
			}
			if y == nil {
				y = b[j+k:]
			}
			row(dst[out+k:out+k+m], x[:m], y[:m])
		}
	})
}

// zipShort gathers runs of at most block/8 elements.
func zipShort[D, T any](w *broadcast, lo, hi int, dst []D, a, b []T, row func(dst []D, a, b []T)) {
	size := min(block, hi-lo)
	buf := kernel.Borrow[T](2 * size)
	defer buf.Release()
	x, y := buf.Data[:size], buf.Data[size:]
	stepA, stepB := w.step[0], w.step[1]
	filled, start := 0, lo
	w.each(lo, hi, func(out, n int, at []int) {
		if filled+n > size {
			row(dst[start:out], x[:filled], y[:filled])
			filled, start = 0, out
		}
		i, j := at[0], at[1]
		for k := filled; k < filled+n; k++ {
			x[k], y[k] = a[i], b[j]
			i += stepA
			j += stepB
		}
		filled += n
	})
	row(dst[start:start+filled], x[:filled], y[:filled])
}

func spread[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// eachRow computes dst = row(x), chunk by chunk.
func eachRow[D, T any](e *graph.Env, dst []D, x []T, row func(dst []D, x []T)) {
	kept := graph.Keep[rower[D, T]](e)
	defer kept.Done()
	r := &kept.V
	r.dst, r.x, r.row = dst, x, row
	defer r.forget()
	if r.body == nil {
		r.body = r.run
	}
	e.For(len(x), elementGrain, r.body)
}

// rower is what an eachRow works on.
type rower[D, T any] struct {
	dst  []D
	x    []T
	row  func(dst []D, x []T)
	body func(lo, hi int) // run
}

func (r *rower[D, T]) run(lo, hi int) { r.row(r.dst[lo:hi], r.x[lo:hi]) }

func (r *rower[D, T]) forget() { r.dst, r.x, r.row = nil, nil, nil }

// half lists the 16-bit floating-point types, which are computed in float32.
type half interface{ tensor.Half | tensor.BF16 }

// widen converts len(src) elements to float32.
func widen[H half](dst []float32, src []H) {
	switch s := any(src).(type) {
	case []tensor.Half:
		kernel.F16ToF32(dst[:len(s)], s)
	case []tensor.BF16:
		kernel.BF16ToF32(dst[:len(s)], s)
	}
}

// narrow rounds len(dst) elements to 16 bits, half to even.
func narrow[H half](dst []H, src []float32) {
	switch d := any(dst).(type) {
	case []tensor.Half:
		kernel.F32ToF16(d, src)
	case []tensor.BF16:
		kernel.F32ToBF16(d, src)
	}
}

// throughF32 makes of a binary row function on float32 one on a 16-bit type, block by block.
func throughF32[H half](row func(dst, a, b []float32)) func(dst, a, b []H) {
	return func(dst, a, b []H) {
		var x, y [block]float32
		for i := 0; i < len(dst); i += block {
			n := min(block, len(dst)-i)
			widen(x[:n], a[i:i+n])
			widen(y[:n], b[i:i+n])
			row(x[:n], x[:n], y[:n])
			narrow(dst[i:i+n], x[:n])
		}
	}
}

// unaryThroughF32 makes of a unary row function on float32 one on a 16-bit type, block by block.
func unaryThroughF32[H half](row func(dst, x []float32)) func(dst, x []H) {
	return func(dst, x []H) {
		var v [block]float32
		for i := 0; i < len(dst); i += block {
			n := min(block, len(dst)-i)
			widen(v[:n], x[i:i+n])
			row(v[:n], v[:n])
			narrow(dst[i:i+n], v[:n])
		}
	}
}
