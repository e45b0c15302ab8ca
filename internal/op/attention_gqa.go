package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// GroupQueryAttention is the ONNX Runtime operator com.microsoft.GroupQueryAttention: attention with a key-value cache, rotary
// embedding and fewer key heads than query heads. Inputs: query (or query, key and value packed), key, value, past_key, past_value,
// seqlens_k, total_sequence_length, cos_cache, sin_cache, position_ids, attention_bias, head_sink, k_scale, v_scale, q_norm_weight,
// k_norm_weight, query_seqlens; outputs: output, present_key, present_value, output_qk. Caches are [batch, key heads, capacity, size].
type GroupQueryAttention struct {
	Causal            bool     `attr:"causal,1"`
	DoRotary          bool     `attr:"do_rotary,0"`
	Heads             int      `attr:"num_heads"`
	KVHeads           int      `attr:"kv_num_heads"`
	LocalWindow       int      `attr:"local_window_size,-1"` // keys that a query sees, itself counted; -1: all
	ScoresMode        int      `attr:"qk_output,0"`          // 1: before the softmax, 2: after it
	RotaryInterleaved bool     `attr:"rotary_interleaved,0"`
	Scale             float32  `attr:"scale,0"` // 0: 1/sqrt(head size)
	SmoothSoftmax     bool     `attr:"smooth_softmax,0"`
	Softcap           float32  `attr:"softcap,0"`
	NormEpsilon       float32  `attr:"qk_norm_epsilon,1e-6"`
	QueryNormEpsilon  *float32 `attr:"q_norm_epsilon"`
	KeyNormEpsilon    *float32 `attr:"k_norm_epsilon"`
	SlidingCache      bool     `attr:"sliding_window_cache,0"`
	CacheBits         int      `attr:"kv_cache_bit_width,0"`
	KeyQuantType      string   `attr:"k_quant_type,NONE"`
	ValueQuantType    string   `attr:"v_quant_type,NONE"`
}

func (*GroupQueryAttention) Kind() string { return "com.microsoft.GroupQueryAttention" }

func (o *GroupQueryAttention) check() error {
	switch {
	case o.Heads <= 0 || o.KVHeads <= 0 || o.Heads%o.KVHeads != 0:
		return fmt.Errorf("num_heads %d is not a positive multiple of kv_num_heads %d", o.Heads, o.KVHeads)
	case o.KeyQuantType != "NONE" || o.ValueQuantType != "NONE":
		return errors.New("a quantized key-value cache is not supported")
	case o.SlidingCache:
		return errors.New("sliding_window_cache is not supported")
	case o.ScoresMode < 0 || o.ScoresMode > 2:
		return fmt.Errorf("qk_output: want 0, 1 or 2, got %d", o.ScoresMode)
	case !o.Causal && o.LocalWindow >= 0:
		return errors.New("local_window_size needs causal")
	}
	return nil
}

// headSize returns the size of a head for a query of the given width.
func (o *GroupQueryAttention) headSize(width int, packed bool) (int, error) {
	n := o.Heads
	if packed {
		n += 2 * o.KVHeads
	}
	if width%n != 0 {
		return 0, fmt.Errorf("query: width %d is not a multiple of %d heads", width, n)
	}
	return width / n, nil
}

// Infer knows the output if the width of the query is known.
func (o *GroupQueryAttention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 7, 17); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	q := in[0]
	out := []graph.Type{graph.Unranked(q.DType), graph.Unranked(q.DType), graph.Unranked(q.DType), graph.Unranked(q.DType)}
	if !q.Ranked {
		return out, nil
	}
	if len(q.Dims) != 3 {
		return nil, fmt.Errorf("query: want 3 dimensions, got %v", q)
	}
	width, size := graph.Unknown, graph.Unknown
	if w := q.Dims[2]; w.IsKnown() {
		n, err := o.headSize(w.Size, in[1].IsNone())
		if err != nil {
			return nil, err
		}
		width, size = graph.Known(n*o.Heads), graph.Known(n)
	}
	out[0] = graph.Ranked(q.DType, q.Dims[0], q.Dims[1], width)
	for i := 1; i < 3; i++ {
		out[i] = graph.Ranked(q.DType, q.Dims[0], graph.Known(o.KVHeads), graph.Unknown, size)
	}
	return out, nil
}

func (o *GroupQueryAttention) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 17); err != nil {
		return nil, err
	}
	if arg(in, 5) == nil || arg(in, 6) == nil {
		return nil, errors.New("seqlens_k and total_sequence_length are required")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if arg(in, 12) != nil || arg(in, 13) != nil {
		return nil, errors.New("a quantized key-value cache is not supported")
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalGroupQuery[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalGroupQuery[float64](e, o, in) })
}

// chunk says where the tokens of a call lie in the sequences of a batch.
type chunk struct {
	total  []int // tokens of each sample with the new ones
	before []int // tokens of each sample in the cache
	most   int   // the upper bound of total that the caller states
}

// newChunk reads seqlens_k, total_sequence_length and query_seqlens.
func newChunk(seqlens, most, valid *tensor.Tensor, batch, tokens int) (*chunk, error) {
	c := &chunk{before: make([]int, batch)}
	var err error
	if c.total, err = intsOf(seqlens); err != nil || len(c.total) != batch {
		return nil, fmt.Errorf("seqlens_k: want %d integers, got %v", batch, seqlens)
	}
	if c.most, err = scalarInt(most); err != nil {
		return nil, fmt.Errorf("total_sequence_length: %w", err)
	}
	counts, err := intsOf(valid)
	if err != nil || valid != nil && len(counts) != batch {
		return nil, fmt.Errorf("query_seqlens: want %d integers, got %v", batch, valid)
	}
	for b := range batch {
		c.total[b]++ // the input is one less
		n := tokens
		switch {
		case valid != nil:
			n = counts[b]
		case tokens == c.most: // the first prompt: padding comes after the valid tokens
			n = c.total[b]
		}
		c.before[b] = c.total[b] - n
		if n < 0 || n > tokens || c.before[b] < 0 || c.total[b] > c.most {
			return nil, fmt.Errorf("seqlens_k: %d is out of range for %d new tokens of %d", c.total[b]-1, n, c.most)
		}
	}
	return c, nil
}

func evalGroupQuery[T float32 | float64](e *graph.Env, o *GroupQueryAttention, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	q, k, v := in[0], arg(in, 1), arg(in, 2)
	if q.Rank() != 3 || (k == nil) != (v == nil) {
		return nil, fmt.Errorf("query: want 3 dimensions, and key and value together or not at all, got %v, %v, %v", q, k, v)
	}
	batch, tokens, n, kvHeads := q.Shape[0], q.Shape[1], o.Heads, o.KVHeads
	size, err := o.headSize(q.Shape[2], k == nil)
	if err != nil {
		return nil, err
	}
	c, err := newChunk(in[5], in[6], arg(in, 16), batch, tokens)
	if err != nil {
		return nil, err
	}
	qs, err := realData[T](q)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	a := &attention[T]{
		e: e, batch: batch, heads: n, kvHeads: kvHeads, queries: tokens, size: size, vSize: size,
		scale: 1 / math.Sqrt(float64(size)), softcap: float64(o.Softcap),
	}
	if o.Scale != 0 {
		a.scale = float64(o.Scale)
	}
	if k == nil {
		width := q.Shape[2]
		part := func(head int) heads[T] { return heads[T]{qs[min(head*size, len(qs)):], tokens * width, size, width} }
		a.q, a.k, a.v = part(0), part(n), part(n+kvHeads)
	} else {
		if shape := (tensor.Shape{batch, tokens, kvHeads * size}); !k.Shape.Equal(shape) || !v.Shape.Equal(shape) {
			return nil, fmt.Errorf("key and value: want shape %v, got %v and %v", shape, k.Shape, v.Shape)
		}
		a.q = tokenMajor(qs, n, tokens, size)
		if a.k, err = headsOf[T](k, kvHeads, tokens, size); err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		if a.v, err = headsOf[T](v, kvHeads, tokens, size); err != nil {
			return nil, fmt.Errorf("value: %w", err)
		}
	}
	if err := normalizeHeads(e, o, a, arg(in, 14), arg(in, 15)); err != nil {
		return nil, err
	}
	if o.DoRotary {
		if err := rotateHeads(e, o, a, c, arg(in, 7), arg(in, 8), arg(in, 9)); err != nil {
			return nil, err
		}
	}

	capacity := c.most
	pasts := [2]*tensor.Tensor{arg(in, 3), arg(in, 4)}
	if (pasts[0] == nil) != (pasts[1] == nil) {
		return nil, errors.New("past_key and past_value must be given together")
	}
	if pasts[0] != nil && pasts[0].Rank() == 4 {
		capacity = max(capacity, pasts[0].Shape[2])
	}
	for b, used := range c.before {
		held := 0
		if pasts[0] != nil && pasts[0].Rank() == 4 {
			held = pasts[0].Shape[2]
		}
		if used > held || used+tokens > capacity {
			return nil, fmt.Errorf("seqlens_k: sample %d has %d tokens before %d new ones, the cache holds %d of %d", b, used, tokens, held, capacity)
		}
	}
	a.keys = capacity
	var present [2]func() *tensor.Tensor
	for i, view := range []*heads[T]{&a.k, &a.v} {
		cache := kvCache[T]{capacity: capacity}
		if p := pasts[i]; p != nil {
			if p.Rank() != 4 || !p.Shape.Equal(tensor.Shape{batch, kvHeads, pasts[0].Shape[2], size}) {
				return nil, fmt.Errorf("past_key and past_value: want shape [%d,%d,?,%d], got %v and %v", batch, kvHeads, size, pasts[0].Shape, pasts[1].Shape)
			}
			cache.pastTokens = p.Shape[2]
			if cache.past, err = realData[T](p); err != nil {
				return nil, fmt.Errorf("input %d: %w", 3+i, err)
			}
		}
		cache.buf, present[i] = realOutput[T](e, q.DType, []int{batch, kvHeads, capacity, size})
		*view = cache.extend(e, *view, batch, kvHeads, tokens, size, func(b int) int { return c.before[b] })
	}

	a.visible = func(b, i int) (int, int) {
		if !o.Causal {
			return 0, c.total[b]
		}
		lo, hi := 0, c.before[b]+i+1
		if o.LocalWindow > 0 {
			lo = max(0, hi-o.LocalWindow)
		}
		return lo, min(hi, c.before[b]+tokens)
	}
	if bias := arg(in, 10); bias != nil {
		m, err := newAttentionMask[T](bias, batch, n, tokens, max(capacity, c.most))
		if err != nil {
			return nil, fmt.Errorf("attention_bias: %w", err)
		}
		a.masks = append(a.masks, m)
	}
	if s := arg(in, 11); s != nil {
		if a.sink, err = realData[T](s); err != nil || len(a.sink) != n {
			return nil, fmt.Errorf("head_sink: want %d values, got %v", n, s)
		}
	} else if o.SmoothSoftmax {
		a.sink = make([]T, n)
	}
	scores := func() *tensor.Tensor { return nil }
	if o.ScoresMode > 0 && e.Wants(3) {
		a.scoresAt = []int{0, scoresMasked, scoresSoftmax}[o.ScoresMode]
		a.scores, scores = realOutput[T](e, q.DType, []int{batch, n, tokens, capacity})
	}
	y, done := realOutput[T](e, q.DType, []int{batch, tokens, n * size})
	a.y = tokenMajor(y, n, tokens, size)
	a.run()
	return []*tensor.Tensor{done(), present[0](), present[1](), scores()}, nil
}

// normalizeHeads applies root mean square normalization to every query and key head, if the weights are given.
func normalizeHeads[T float32 | float64](e *graph.Env, o *GroupQueryAttention, a *attention[T], qWeight, kWeight *tensor.Tensor) error {
	if (qWeight == nil) != (kWeight == nil) {
		return errors.New("q_norm_weight and k_norm_weight must be given together")
	}
	for i, w := range []*tensor.Tensor{qWeight, kWeight} {
		if w == nil {
			continue
		}
		weight, err := realData[T](w)
		if err != nil || len(weight) != a.size {
			return fmt.Errorf("q_norm_weight and k_norm_weight: want %d values, got %v", a.size, w)
		}
		view, n, epsilon := &a.q, a.heads, o.QueryNormEpsilon
		if i == 1 {
			view, n, epsilon = &a.k, a.kvHeads, o.KeyNormEpsilon
		}
		eps := float64(o.NormEpsilon)
		if epsilon != nil {
			eps = float64(*epsilon)
		}
		src, dst := *view, tokenMajor(make([]T, a.batch*a.queries*n*a.size), n, a.queries, a.size)
		e.For(a.batch*a.queries, max(1, elementGrain/(n*a.size+1)), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				for h := range n {
					x, y := src.from(r/a.queries, h, r%a.queries)[:a.size], dst.from(r/a.queries, h, r%a.queries)
					sum := 0.0
					for _, v := range x {
						sum += float64(v) * float64(v)
					}
					scale := T(1 / math.Sqrt(sum/float64(a.size)+eps))
					for j, v := range x {
						y[j] = v * scale * weight[j]
					}
				}
			}
		})
		*view = dst
	}
	return nil
}

// rotateHeads applies the rotary embedding to query and key. Without position ids a token's position is its place in the sequence.
func rotateHeads[T float32 | float64](e *graph.Env, o *GroupQueryAttention, a *attention[T], c *chunk, cos, sin, ids *tensor.Tensor) error {
	if cos == nil || sin == nil {
		return errors.New("do_rotary needs cos_cache and sin_cache")
	}
	if cos.Rank() != 2 {
		return fmt.Errorf("cos_cache: want 2 dimensions, got %v", cos)
	}
	r := &rotation[T]{batch: a.batch, tokens: a.queries, size: a.size, interleaved: o.RotaryInterleaved, rotated: 2 * cos.Shape[1]}
	if err := r.caches(cos, sin); err != nil {
		return err
	}
	if ids != nil {
		var err error
		if r.position, err = rotaryPositions(ids, cos.Shape, a.batch, a.queries); err != nil {
			return err
		}
	} else {
		for b, n := range c.total {
			if n > cos.Shape[0] {
				return fmt.Errorf("cos_cache: %d positions do not reach the %d tokens of sample %d", cos.Shape[0], n, b)
			}
		}
		// Padding behind the last token may lie beyond the cache; its result is not used.
		r.position = func(sample, token int) int { return min(c.before[sample]+token, cos.Shape[0]-1) }
	}
	for i, view := range []*heads[T]{&a.q, &a.k} {
		r.heads = a.heads
		if i == 1 {
			r.heads = a.kvHeads
		}
		dst := tokenMajor(make([]T, a.batch*a.queries*r.heads*a.size), r.heads, a.queries, a.size)
		r.rotate(e, dst, *view)
		*view = dst
	}
	return nil
}
