package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// CachedAttention is a lowered causal [Attention] that remembers the keys and values of earlier runs, with the rotary embedding
// of queries and keys before it. Inputs: q [batch, tokens, heads*size], k, v, position_ids [batch, tokens], rows [batch], and,
// where heads are rotated, cosines and sines [batch, tokens, rotated/2]. rows says which sequence each of the batch continues;
// the tokens of one have successive positions. A token sees those of its sequence at positions up to its own, whenever they
// came. It has no ONNX form and is never saved.
type CachedAttention struct {
	Heads, KVHeads int
	Scale          float32 // 0: 1/sqrt(size)
	Softcap        float32
	Window         int // keys that a query sees, its own included; 0: all
	Rotary         bool
	Interleaved    bool
	Rotated        int          // leading elements of a head that are rotated; 0: all
	Slopes         []float32    // by head: times the position of a key is added to its score; nil: none
	Cache          tensor.DType // one of CacheTypes
}

// Kind names the operator.
func (*CachedAttention) Kind() string { return "CachedAttention" }

// Infer gives the type of the queries.
func (o *CachedAttention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := o.check(len(in)); err != nil {
		return nil, err
	}
	y := retyped(in[0], tensor.Float32)
	if q, v := in[0], in[2]; q.Ranked && len(q.Dims) == 3 && v.Ranked && len(v.Dims) == 3 && v.Dims[2].IsKnown() {
		y.Dims = []graph.Dim{q.Dims[0], q.Dims[1], graph.Known(v.Dims[2].Size / o.KVHeads * o.Heads)}
	}
	return []graph.Type{y}, nil
}

func (o *CachedAttention) check(inputs int) error {
	want := 5
	if o.Rotary {
		want = 7
	}
	switch {
	case inputs != want:
		return fmt.Errorf("want %d inputs, got %d", want, inputs)
	case o.Heads < 1 || o.KVHeads < 1 || o.Heads%o.KVHeads != 0:
		return fmt.Errorf("%d heads of queries are no positive multiple of %d of keys", o.Heads, o.KVHeads)
	case o.Slopes != nil && len(o.Slopes) != o.Heads:
		return fmt.Errorf("want %d slopes, got %d", o.Heads, len(o.Slopes))
	}
	return checkCacheType(o.Cache)
}

// Eval fails: there is nothing to remember in.
func (*CachedAttention) Eval(*graph.Env, []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return nil, errors.New("attention with a cache needs a history")
}

// NewState implements [graph.Stateful].
func (o *CachedAttention) NewState() graph.State { return &cachedState{op: o} }

// cachedState is the cache of a layer.
type cachedState struct {
	op    *CachedAttention
	store *kvStore
}

// Truncate implements [graph.State].
func (s *cachedState) Truncate(row, tokens int) error {
	if tokens < 0 {
		return fmt.Errorf("truncation to %d tokens", tokens)
	}
	if s.store == nil {
		return nil
	}
	if w := s.op.Window; w > 0 && !s.store.holds(row, max(0, tokens-w+1), tokens) {
		return fmt.Errorf("truncation to %d tokens: the window of %d has left earlier ones behind", tokens, w)
	}
	s.store.truncate(row, tokens)
	return nil
}

// Bytes implements [graph.State].
func (s *cachedState) Bytes() int {
	if s.store == nil {
		return 0
	}
	return s.store.bytes()
}

// cachedRun is one evaluation.
type cachedRun struct {
	*cachedState
	e             *graph.Env
	batch, tokens int
	size, vSize   int
	group         int // heads of queries that share keys
	scale         float32
	before        []int // position of the first token, by sample
	rows          []*kvRows
	q             []float32 // rotated, [batch, heads, tokens, size]
	y             []float32 // [batch, tokens, heads*vSize]
}

// Eval implements [graph.State].
func (s *cachedState) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	o := s.op
	if err := o.check(len(in)); err != nil {
		return nil, err
	}
	q, k, v := in[0], in[1], in[2]
	for i, t := range in[:3] {
		if t.DType != tensor.Float32 || t.Rank() != 3 || t.Shape[0] != q.Shape[0] || t.Shape[1] != q.Shape[1] || t.Packed != nil {
			return nil, fmt.Errorf("input %d: want float32 [batch, tokens, heads*size] as the queries %v have it, got %v", i, q, t)
		}
	}
	r := &cachedRun{cachedState: s, e: e, batch: q.Shape[0], tokens: q.Shape[1], size: q.Shape[2] / o.Heads, vSize: v.Shape[2] / o.KVHeads, group: o.Heads / o.KVHeads, scale: o.Scale}
	if r.size == 0 || r.vSize == 0 || q.Shape[2] != r.size*o.Heads || k.Shape[2] != r.size*o.KVHeads || v.Shape[2] != r.vSize*o.KVHeads {
		return nil, fmt.Errorf("queries %v, keys %v and values %v are not of %d and %d heads", q, k, v, o.Heads, o.KVHeads)
	}
	if r.scale == 0 {
		r.scale = float32(1 / math.Sqrt(float64(r.size)))
	}
	if s.store == nil {
		s.store = newKVStore(o.Cache, o.KVHeads, r.size, r.vSize)
	}
	if s.store.size != [2]int{r.size, r.vSize} {
		return nil, fmt.Errorf("heads of %d and %d elements; the cache has such of %v", r.size, r.vSize, s.store.size)
	}
	if err := r.place(in[3], in[4]); err != nil {
		return nil, err
	}
	rot, err := r.rotation(in)
	if err != nil {
		return nil, err
	}
	t := e.New(tensor.Float32, r.batch, r.tokens, o.Heads*r.vSize)
	r.y = tensor.Data[float32](t)
	scratch := kernel.Borrow[float32](q.Len() + r.batch*r.tokens*o.KVHeads*r.size)
	defer scratch.Release()
	r.q = scratch.Data[:q.Len()]
	r.queries(tensor.Data[float32](q), rot)
	r.remember(tensor.Data[float32](k), tensor.Data[float32](v), rot, scratch.Data[q.Len():])
	r.attend()
	return []*tensor.Tensor{t}, nil
}

// place reads positions and rows and makes room in the cache.
func (r *cachedRun) place(positions, rows *tensor.Tensor) error {
	if positions.DType != tensor.Int64 || !positions.Shape.Equal(tensor.Shape{r.batch, r.tokens}) {
		return fmt.Errorf("position_ids: want int64[%dx%d], got %v", r.batch, r.tokens, positions)
	}
	if rows.DType != tensor.Int64 || !rows.Shape.Equal(tensor.Shape{r.batch}) {
		return fmt.Errorf("rows: want int64[%d], got %v", r.batch, rows)
	}
	at := tensor.Data[int64](positions)
	seen := map[int64]bool{}
	for b, row := range tensor.Data[int64](rows) {
		if row < 0 || seen[row] {
			return fmt.Errorf("rows: %d is negative or there twice", row)
		}
		if r.batch > 1 {
			seen[row] = true
		}
		first := 0
		if r.tokens > 0 {
			first = int(at[b*r.tokens])
		}
		for t, p := range at[b*r.tokens : (b+1)*r.tokens] {
			if p != int64(first+t) || p < 0 || p > 1<<40 {
				return fmt.Errorf("position_ids: want successive positions, found %d after %d", p, first)
			}
		}
		held := 0
		if old := r.store.rows[int(row)]; old != nil {
			held = len(old.pages) * kvPage
		}
		if first > held {
			return fmt.Errorf("position_ids: the tokens before %d of sequence %d never came", first, row)
		}
		oldest := 0
		if r.op.Window > 0 {
			oldest = first - r.op.Window + 1
		}
		r.before = append(r.before, first)
		r.rows = append(r.rows, r.store.grow(int(row), first+r.tokens, oldest))
	}
	return nil
}

// rotation returns what turns a token's heads; nil where they are not turned.
func (r *cachedRun) rotation(in []*tensor.Tensor) (*rotation[float32], error) {
	if !r.op.Rotary {
		return nil, nil
	}
	if !in[5].Shape.Equal(tensor.Shape{r.batch, r.tokens, in[5].Shape[in[5].Rank()-1]}) {
		return nil, fmt.Errorf("cosines: want shape [%d,%d,?], got %v", r.batch, r.tokens, in[5].Shape)
	}
	rot := &rotation[float32]{batch: r.batch, tokens: r.tokens, size: r.size, rotated: r.op.Rotated, interleaved: r.op.Interleaved}
	return rot, rot.caches(in[5], in[6])
}

// turn rotates the head x of a token into y.
func turn(rot *rotation[float32], y, x []float32, token int) {
	if rot == nil {
		copy(y, x)
		return
	}
	half := rot.rotated / 2
	cos, sin := rot.cos[token*half:][:half], rot.sin[token*half:][:half]
	if rot.interleaved {
		for j := range half {
			u, v := x[2*j], x[2*j+1]
			y[2*j], y[2*j+1] = cos[j]*u-sin[j]*v, sin[j]*u+cos[j]*v
		}
	} else {
		x0, x1, y0, y1 := x[:half], x[half:][:half], y[:half], y[half:][:half]
		for j := range half {
			u, v := x0[j], x1[j]
			y0[j], y1[j] = cos[j]*u-sin[j]*v, sin[j]*u+cos[j]*v
		}
	}
	copy(y[rot.rotated:], x[rot.rotated:])
}

// queries puts the rotated queries by heads.
func (r *cachedRun) queries(q []float32, rot *rotation[float32]) {
	heads := r.op.Heads
	r.e.For(r.batch*r.tokens, max(1, elementGrain/(heads*r.size)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b, t := i/r.tokens, i%r.tokens
			for h := range heads {
				turn(rot, r.q[((b*heads+h)*r.tokens+t)*r.size:][:r.size], q[(i*heads+h)*r.size:][:r.size], i)
			}
		}
	})
}

// remember puts rotated keys and values into the cache.
func (r *cachedRun) remember(k, v []float32, rot *rotation[float32], buf []float32) {
	heads := r.op.KVHeads
	r.e.For(r.batch*r.tokens, max(1, elementGrain/(heads*r.size)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b, t := i/r.tokens, i%r.tokens
			for h := range heads {
				key := buf[(i*heads+h)*r.size:][:r.size]
				turn(rot, key, k[(i*heads+h)*r.size:][:r.size], i)
				r.store.put(r.rows[b], 0, h, r.before[b]+t, key)
				r.store.put(r.rows[b], 1, h, r.before[b]+t, v[(i*heads+h)*r.vSize:][:r.vSize])
			}
		}
	})
}

// attend computes y. A task is the rows of attentionRows queries of the heads that share keys: row i is token i%tokens of
// head i/tokens of the group.
func (r *cachedRun) attend() {
	all := r.group * r.tokens
	blocks := (all + attentionRows - 1) / attentionRows
	r.e.For(r.batch*r.op.KVHeads*blocks, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			first := i % blocks * attentionRows
			r.block(i/blocks/r.op.KVHeads, i/blocks%r.op.KVHeads, first, min(attentionRows, all-first))
		}
	})
}

// visible returns the positions that a token sees.
func (r *cachedRun) visible(sample, token int) (lo, hi int) {
	hi = r.before[sample] + token + 1
	if w := r.op.Window; w > 0 {
		lo = max(0, hi-w)
	}
	return lo, hi
}

// fewQueries is how many queries are multiplied by keys of float16 as they lie: more are worth widening the keys for.
const fewQueries = 8

// block computes n rows of a sample and head of keys.
func (r *cachedRun) block(sample, head, first, n int) {
	lo, hi := math.MaxInt, 0
	for i := first; i < first+n; i++ {
		l, h := r.visible(sample, i%r.tokens)
		lo, hi = min(lo, l), max(hi, h)
	}
	ld := hi - lo
	widest := kvPage * max(r.size, r.vSize)
	buf := kernel.Borrow[float32](n*(ld+r.vSize) + widest)
	defer buf.Release()
	scores, y, wide := buf.Data[:n*ld], buf.Data[n*ld:n*(ld+r.vSize)], buf.Data[n*(ld+r.vSize):]
	q := r.q[(sample*r.op.Heads+head*r.group)*r.tokens*r.size+first*r.size:][:n*r.size]
	rows := r.rows[sample]
	pages := func(f func(at, count int)) {
		for at := lo; at < hi; {
			count := min(kvPage-at%kvPage, hi-at)
			f(at, count)
			at += count
		}
	}
	pages(func(at, count int) {
		if h := r.store.halves(rows, 0, head, at, count); h != nil && n <= fewQueries {
			to := scores[at-lo:]
			one := [...]kernel.NarrowProduct{{Rows: count, W: h, Dst: to, Ldd: ld}}
			kernel.MultiplyNarrow(nil, false, false, r.size, n, q, r.size, one[:])
			for i := range n {
				kernel.Scale(to[i*ld:][:count], to[i*ld:][:count], r.scale)
			}
			return
		}
		keys := r.store.get(rows, 0, head, at, count, wide)
		if n == 1 {
			for j := range count {
				scores[at-lo+j] = r.scale * kernel.Dot(q, keys[j*r.size:][:r.size])
			}
			return
		}
		kernel.GemmF32(r.e.Workers(), false, true, n, count, r.size, r.scale, q, r.size, keys, r.size, 0, scores[at-lo:], ld)
	})
	for i := range n {
		from, to := r.visible(sample, (first+i)%r.tokens)
		r.softmax(scores[i*ld:][:ld], head*r.group+(first+i)/r.tokens, lo, from-lo, to-lo)
	}
	clear(y)
	pages(func(at, count int) {
		values := r.store.get(rows, 1, head, at, count, wide)
		if n == 1 {
			for j := range count {
				kernel.AXPY(scores[at-lo+j], values[j*r.vSize:][:r.vSize], y)
			}
			return
		}
		kernel.GemmF32(r.e.Workers(), false, false, n, r.vSize, count, 1, scores[at-lo:], ld, values, r.vSize, 1, y, r.vSize)
	})
	for i := range n {
		h, t := head*r.group+(first+i)/r.tokens, (first+i)%r.tokens
		copy(r.y[((sample*r.tokens+t)*r.op.Heads+h)*r.vSize:], y[i*r.vSize:][:r.vSize])
	}
}

// softmax turns the scores of the keys at positions from lo on into probabilities: those of [from, to), the others are 0.
func (r *cachedRun) softmax(s []float32, head, lo, from, to int) {
	if r.op.Softcap > 0 {
		softcapRow(s[from:to], float64(r.op.Softcap))
	}
	if r.op.Slopes != nil {
		slope := r.op.Slopes[head]
		for j := from; j < to; j++ {
			s[j] += slope * float32(lo+j)
		}
	}
	clear(s[:from])
	kernel.Softmax(s[from:to], s[from:to])
	clear(s[to:])
}
