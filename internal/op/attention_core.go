package op

import (
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// attentionRows is how many query rows are computed at once: enough for the matrix product to be efficient, few enough for
// their scores to stay in cache.
const attentionRows = 64

// heads views a tensor as [batch, heads, tokens, size] with strides in elements; the size of a head is contiguous.
type heads[T float32 | float64] struct {
	data             []T
	batch, head, row int
}

// headMajor views [batch, heads, tokens, size].
func headMajor[T float32 | float64](data []T, n, tokens, size int) heads[T] {
	return heads[T]{data, n * tokens * size, tokens * size, size}
}

// tokenMajor views [batch, tokens, heads*size].
func tokenMajor[T float32 | float64](data []T, n, tokens, size int) heads[T] {
	return heads[T]{data, tokens * n * size, size, n * size}
}

// from returns the elements from row on, of one sample and head.
func (v heads[T]) from(sample, head, row int) []T {
	return v.data[sample*v.batch+head*v.head+row*v.row:]
}

// attention is scaled dot-product attention with what the operators of the family have in common:
//
//	y = softmax(mask(softcap(scale * q*kᵀ))) * v
//
// Each of heads query heads uses key and value head h*kvHeads/heads. A query that may attend no key yields zeros.
type attention[T float32 | float64] struct {
	e                     *graph.Env
	batch, heads, kvHeads int
	queries, keys         int
	size, vSize           int // elements of a query and key head, of a value head
	q, k, v, y            heads[T]
	scale, softcap        float64 // softcap 0: none
	// visible returns the range of keys that a query may attend.
	visible func(sample, query int) (lo, hi int)
	// masks are applied one after the other.
	masks []*attentionMask[T]
	// sink, if set, holds for each head a score that takes part in the softmax and has no value.
	sink []T
	// round, if set, rounds scores before and probabilities after the softmax to the precision that is asked for.
	round func([]T)
	// scores, if set, receives [batch, heads, queries, keys] at the stage that scoresAt says.
	scores   []T
	scoresAt int

	shares struct{ blocks, groups func(lo, hi int) } // its methods, once they have been used
}

// forget lets go of what the attention worked on.
func (a *attention[T]) forget() {
	clear(a.masks)
	*a = attention[T]{masks: a.masks[:0], shares: a.shares}
}

// Stages of the scores that may be looked at (qk_matmul_output_mode of the ONNX operator Attention).
const (
	scoresRaw = iota
	scoresCapped
	scoresMasked
	scoresSoftmax
)

// attentionMask is a mask that broadcasts to [batch, heads, queries, keys]: either allowed, of booleans, or bias, of values
// that are added to the scores. Keys from width on are masked out.
type attentionMask[T float32 | float64] struct {
	allowed []uint8
	bias    []T
	strides [3]int // of batch, heads and queries; 0 where broadcast
	width   int
	finite  bool // no bias is -Inf, which masks out whatever the score is
}

// apply masks the scores of keys [lo, lo+len(s)).
func (m *attentionMask[T]) apply(s []T, sample, head, query, lo int) {
	at := sample*m.strides[0] + head*m.strides[1] + query*m.strides[2] + lo
	n := min(len(s), max(m.width-lo, 0))
	minus := T(math.Inf(-1))
	switch {
	case n == 0:
	case m.allowed != nil:
		for j, ok := range m.allowed[at:][:n] {
			if ok == 0 {
				s[j] = minus
			}
		}
	case m.finite:
		addTo(s[:n], m.bias[at:])
	default:
		for j, b := range m.bias[at:][:n] {
			if b == minus {
				s[j] = minus
			} else {
				s[j] += b
			}
		}
	}
	for j := n; j < len(s); j++ {
		s[j] = minus
	}
}

// addTo adds x to s.
func addTo[T float32 | float64](s, x []T) {
	if s, ok := any(s).([]float32); ok {
		kernel.Add(s, s, any(x).([]float32)[:len(s)])
		return
	}
	for j := range s {
		s[j] += x[j]
	}
}

// run fills y, and scores if it is set.
func (a *attention[T]) run() {
	if a.heads == 0 || a.queries == 0 {
		return
	}
	for _, m := range a.masks {
		m.finite = !slices.Contains(m.bias, T(math.Inf(-1)))
	}
	group := a.heads / a.kvHeads
	if a.queries == 1 && group > 1 {
		// One token: the heads that share keys are the rows of one product.
		if a.shares.groups == nil {
			a.shares.groups = a.groups
		}
		a.e.For(a.batch*a.kvHeads, 1, a.shares.groups)
		return
	}
	if a.shares.blocks == nil {
		a.shares.blocks = a.blocks
	}
	a.e.For(a.batch*a.heads*a.blocksOfHead(), 1, a.shares.blocks)
}

// blocksOfHead is into how many blocks the queries of a head fall.
func (a *attention[T]) blocksOfHead() int { return (a.queries + attentionRows - 1) / attentionRows }

// groups computes the only query of all heads that share keys.
func (a *attention[T]) groups(lo, hi int) {
	group := a.heads / a.kvHeads
	buf := kernel.Borrow[T](group * (a.keys + 1))
	defer buf.Release()
	for t := lo; t < hi; t++ {
		a.block(buf.Data, t/a.kvHeads, t%a.kvHeads*group, 0, group, true)
	}
}

// blocks computes blocks of queries of heads.
func (a *attention[T]) blocks(lo, hi int) {
	blocks := a.blocksOfHead()
	buf := kernel.Borrow[T](min(a.queries, attentionRows) * (a.keys + 1))
	defer buf.Release()
	for t := lo; t < hi; t++ {
		first := t % blocks * attentionRows
		a.block(buf.Data, t/blocks/a.heads, t/blocks%a.heads, first, min(attentionRows, a.queries-first), false)
	}
}

// block computes n rows: the queries from query on of a head, or (byHead) one query of the heads from head on.
func (a *attention[T]) block(buf []T, sample, head, query, n int, byHead bool) {
	ldq, ldy := a.q.row, a.y.row
	if byHead {
		ldq, ldy = a.q.head, a.y.head
	}
	row := func(r int) (int, int) {
		if byHead {
			return head + r, query
		}
		return head, query + r
	}
	lo, hi := a.keys, 0
	for r := range n {
		_, i := row(r)
		if l, h := a.visible(sample, i); l < h {
			lo, hi = min(lo, l), max(hi, h)
		}
	}
	if a.scores != nil {
		lo, hi = 0, a.keys
	}
	y := a.y.from(sample, head, query)
	if lo >= hi {
		for r := range n {
			clear(y[r*ldy:][:a.vSize])
		}
		return
	}
	kvHead, width := head*a.kvHeads/a.heads, hi-lo
	ld := width + 1 // one more column, for the sink
	q, k, v := a.q.from(sample, head, query), a.k.from(sample, kvHead, lo), a.v.from(sample, kvHead, lo)
	gemmReal(a.e.Workers(), false, true, n, width, a.size, T(a.scale), q, ldq, k, a.k.row, 0, buf, ld)
	for r := range n {
		h, i := row(r)
		a.softmaxRow(buf[r*ld:][:ld], sample, h, i, lo)
	}
	gemmReal(a.e.Workers(), false, false, n, a.vSize, width, 1, buf, ld, v, a.v.row, 0, y, ldy)
}

// softmaxRow turns the raw scores of keys from lo on (all of row but its last element) into probabilities.
func (a *attention[T]) softmaxRow(row []T, sample, head, query, lo int) {
	s := row[:len(row)-1]
	look := func(stage int) {
		if a.scores != nil && a.scoresAt == stage {
			copy(a.scores[((sample*a.heads+head)*a.queries+query)*a.keys:], s)
		}
	}
	look(scoresRaw)
	if a.softcap > 0 {
		softcapRow(s, a.softcap)
	}
	look(scoresCapped)
	from, to := a.visible(sample, query)
	from, to = max(from-lo, 0), min(to-lo, len(s))
	left := from < to
	if len(a.masks) > 0 && left {
		for _, m := range a.masks {
			m.apply(s[from:to], sample, head, query, lo+from)
		}
		left = slices.ContainsFunc(s[from:to], func(v T) bool { return v != T(math.Inf(-1)) })
	}
	from, to = min(from, len(s)), max(to, 0)
	if a.scores != nil && a.scoresAt == scoresMasked {
		for j := range s {
			if j < from || j >= to {
				s[j] = T(math.Inf(-1))
			}
		}
		look(scoresMasked)
	}
	if !left {
		clear(row)
		look(scoresSoftmax)
		return
	}
	clear(s[:from])
	if a.round != nil {
		a.round(s[from:to])
	}
	if a.sink != nil {
		// The sink stands behind the last visible key while the row is normalized.
		row[to] = a.sink[head]
		softmaxInPlace(row[from : to+1])
	} else {
		softmaxInPlace(s[from:to])
	}
	clear(s[to:])
	if a.round != nil {
		a.round(s[from:to])
	}
	look(scoresSoftmax)
}

// softcapRow sets s to c*tanh(s/c).
func softcapRow[T float32 | float64](s []T, c float64) {
	switch s := any(s).(type) {
	case []float32:
		kernel.Scale(s, s, 1/float32(c))
		kernel.Tanh(s, s)
		kernel.Scale(s, s, float32(c))
	case []float64:
		for i, v := range s {
			s[i] = c * math.Tanh(v/c)
		}
	}
}

// softmaxInPlace normalizes one row.
func softmaxInPlace[T float32 | float64](s []T) {
	switch s := any(s).(type) {
	case []float32:
		kernel.Softmax(s, s)
	case []float64:
		top, sum := math.Inf(-1), 0.0
		for _, v := range s {
			top = max(top, v)
		}
		for i, v := range s {
			s[i] = math.Exp(v - top)
			sum += s[i]
		}
		for i := range s {
			s[i] /= sum
		}
	}
}

// roundTo returns the function that rounds values computed in T to a narrower type; nil if there is nothing to round.
func roundTo[T float32 | float64](d tensor.DType) func([]T) {
	var f func(float32) float32
	switch {
	case d == tensor.Float16:
		f = func(v float32) float32 { return tensor.ToHalf(v).Float32() }
	case d == tensor.BFloat16:
		f = func(v float32) float32 { return tensor.ToBF16(v).Float32() }
	case d == tensor.Float32 && tensor.DTypeOf[T]() == tensor.Float64:
		f = func(v float32) float32 { return v }
	default:
		return nil
	}
	return func(s []T) {
		for i, v := range s {
			s[i] = T(f(float32(v)))
		}
	}
}
