package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// MultiHeadAttention is the ONNX Runtime operator com.microsoft.MultiHeadAttention. Inputs: query, key, value, bias,
// key_padding_mask, attention_bias, past_key, past_value, past_sequence_length, cache_indirection; outputs: output, present_key,
// present_value, qk. Query, key and value are [batch, tokens, heads*size]; packed [batch, tokens, heads, 3 or 2, size]; or, for
// key and value, [batch, heads, tokens, size].
type MultiHeadAttention struct {
	Heads           int     `attr:"num_heads"`
	MaskFilterValue float32 `attr:"mask_filter_value,-10000"`
	Scale           float32 `attr:"scale,0"` // 0: 1/sqrt(head size)
	Unidirectional  bool    `attr:"unidirectional,0"`
}

func (*MultiHeadAttention) Kind() string { return "com.microsoft.MultiHeadAttention" }

// Infer knows the output where it is as wide as the query or the value.
func (o *MultiHeadAttention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 10); err != nil {
		return nil, err
	}
	if o.Heads <= 0 {
		return nil, fmt.Errorf("num_heads: want a positive number, got %d", o.Heads)
	}
	q, v := in[0], arg(in, 2)
	out := make([]graph.Type, 4)
	for i := range out {
		out[i] = graph.Unranked(q.DType)
	}
	if !q.Ranked || len(q.Dims) < 2 {
		return out, nil
	}
	width := graph.Unknown
	switch {
	case len(q.Dims) == 5 && q.Dims[4].IsKnown():
		width = graph.Known(o.Heads * q.Dims[4].Size)
	case v.Ranked && len(v.Dims) == 3:
		width = v.Dims[2]
	case v.Ranked && len(v.Dims) == 4 && v.Dims[3].IsKnown():
		width = graph.Known(o.Heads * v.Dims[3].Size)
	case v.IsNone() && len(q.Dims) == 3:
		width = q.Dims[2]
	}
	out[0] = graph.Ranked(q.DType, q.Dims[0], q.Dims[1], width)
	return out, nil
}

func (o *MultiHeadAttention) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 10); err != nil {
		return nil, err
	}
	if o.Heads <= 0 {
		return nil, fmt.Errorf("num_heads: want a positive number, got %d", o.Heads)
	}
	if arg(in, 9) != nil {
		return nil, errors.New("cache_indirection is not supported")
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalMultiHead[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalMultiHead[float64](e, o, in) })
}

// projections returns tokens and head size of query, key and value, and how many projections share the tensor of each: 1, 2 (key
// and value) or 3.
func (o *MultiHeadAttention) projections(q, k, v *tensor.Tensor) (shapes [3][2]int, parts [3]int, err error) {
	fit := func(t *tensor.Tensor, packed int) (tokens, size int, ok bool) {
		s := t.Shape
		switch {
		case s[0] != q.Shape[0]:
		case packed == 1 && len(s) == 3 && s[2]%o.Heads == 0:
			return s[1], s[2] / o.Heads, true
		case packed == 1 && len(s) == 4 && s[1] == o.Heads:
			return s[2], s[3], true
		case packed > 1 && len(s) == 5 && s[2] == o.Heads && s[3] == packed:
			return s[1], s[4], true
		}
		return 0, 0, false
	}
	switch {
	case k == nil && v == nil:
		parts = [3]int{3, 3, 3}
	case v == nil:
		parts = [3]int{1, 2, 2}
	case k == nil:
		return shapes, parts, errors.New("value is given without key")
	default:
		parts = [3]int{1, 1, 1}
	}
	for i, t := range []*tensor.Tensor{q, k, v} {
		if parts[i] == 3 {
			t = q
		} else if parts[i] == 2 {
			t = k
		}
		tokens, size, ok := 0, 0, false
		if t.Rank() >= 3 {
			tokens, size, ok = fit(t, parts[i])
		}
		if !ok || i == 0 && t.Rank() == 4 {
			return shapes, parts, fmt.Errorf("%s: shape %v does not fit %d samples of %d heads", []string{"query", "key", "value"}[i], t.Shape, q.Shape[0], o.Heads)
		}
		shapes[i] = [2]int{tokens, size}
	}
	if shapes[1][1] != shapes[0][1] || shapes[2][0] != shapes[1][0] {
		return shapes, parts, fmt.Errorf("query, key and value: %v tokens and head sizes do not fit", shapes)
	}
	return shapes, parts, nil
}

func evalMultiHead[T float32 | float64](e *graph.Env, o *MultiHeadAttention, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	q, k, v := in[0], arg(in, 1), arg(in, 2)
	if q.Rank() < 3 {
		return nil, fmt.Errorf("query: want 3 or 5 dimensions, got %v", q)
	}
	shapes, parts, err := o.projections(q, k, v)
	if err != nil {
		return nil, err
	}
	batch, n := q.Shape[0], o.Heads
	var bias []T
	if b := arg(in, 3); b != nil {
		if bias, err = realData[T](b); err != nil {
			return nil, fmt.Errorf("bias: %w", err)
		}
		if len(bias) != n*(shapes[0][1]+shapes[1][1]+shapes[2][1]) {
			return nil, fmt.Errorf("bias: want %d values, got %d", n*(shapes[0][1]+shapes[1][1]+shapes[2][1]), len(bias))
		}
	}
	var views [3]heads[T]
	at := 0
	for i, t := range []*tensor.Tensor{q, k, v} {
		slot := 0
		if parts[i] == 3 {
			t, slot = q, i
		} else if parts[i] == 2 {
			t, slot = k, i-1
		}
		data, err := realData[T](t)
		if err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		tokens, size := shapes[i][0], shapes[i][1]
		switch t.Rank() {
		case 3:
			views[i] = tokenMajor(data, n, tokens, size)
		case 4:
			views[i] = headMajor(data, n, tokens, size)
		default:
			views[i] = heads[T]{data[min(slot*size, len(data)):], tokens * n * parts[i] * size, parts[i] * size, n * parts[i] * size}
		}
		if bias != nil && t.Rank() != 4 {
			views[i] = addHeadBias(e, views[i], bias[at:at+n*size], batch, n, tokens, size)
		}
		at += n * size
	}
	queries, size, fresh, vSize := shapes[0][0], shapes[0][1], shapes[1][0], shapes[2][1]
	a := &attention[T]{
		e: e, batch: batch, heads: n, kvHeads: n, queries: queries, keys: fresh, size: size, vSize: vSize,
		q: views[0], k: views[1], v: views[2], scale: 1 / math.Sqrt(float64(size)),
	}
	if o.Scale != 0 {
		a.scale = float64(o.Scale)
	}
	pastKey, pastValue := arg(in, 6), arg(in, 7)
	if (pastKey == nil) != (pastValue == nil) {
		return nil, errors.New("past_key and past_value must be given together")
	}
	before := 0
	none := func() *tensor.Tensor { return nil }
	presentK, presentV := none, none
	if pastKey != nil || e.Wants(1) || e.Wants(2) {
		capacity := fresh
		if pastKey != nil {
			for i, p := range []*tensor.Tensor{pastKey, pastValue} {
				if p.Rank() != 4 || !p.Shape.Equal(tensor.Shape{batch, n, pastKey.Shape[2], shapes[1+i][1]}) {
					return nil, fmt.Errorf("past_key and past_value: shapes %v and %v do not fit", pastKey.Shape, pastValue.Shape)
				}
			}
			before = pastKey.Shape[2]
			capacity = before + fresh
			if l := arg(in, 8); l != nil { // the past is a buffer with room for the new tokens
				if before, err = scalarInt(l); err != nil {
					return nil, fmt.Errorf("past_sequence_length: %w", err)
				}
				capacity = pastKey.Shape[2]
				if before < 0 || before+fresh > capacity {
					return nil, fmt.Errorf("past_sequence_length: %d and %d new tokens do not fit a buffer of %d", before, fresh, capacity)
				}
			}
		}
		a.keys = before + fresh
		for i, c := range []struct {
			past    *tensor.Tensor
			view    *heads[T]
			size    int
			present *func() *tensor.Tensor
		}{{pastKey, &a.k, size, &presentK}, {pastValue, &a.v, vSize, &presentV}} {
			cache := kvCache[T]{capacity: capacity}
			if c.past != nil {
				cache.pastTokens = c.past.Shape[2]
				if cache.past, err = realData[T](c.past); err != nil {
					return nil, fmt.Errorf("input %d: %w", 6+i, err)
				}
			}
			cache.buf, *c.present = realOutput[T](e, q.DType, []int{batch, n, capacity, c.size})
			*c.view = cache.extend(e, *c.view, batch, n, fresh, c.size, func(int) int { return before })
		}
	}
	if m := arg(in, 4); m != nil {
		mask, err := paddingMask[T](m, batch, queries, a.keys, before, T(o.MaskFilterValue))
		if err != nil {
			return nil, fmt.Errorf("key_padding_mask: %w", err)
		}
		a.masks = append(a.masks, mask)
	}
	if b := arg(in, 5); b != nil {
		mask, err := newAttentionMask[T](b, batch, n, queries, a.keys)
		if err != nil {
			return nil, fmt.Errorf("attention_bias: %w", err)
		}
		a.masks = append(a.masks, mask)
	}
	a.visible = causal(o.Unidirectional, before, a.keys)
	scores := none
	if e.Wants(3) {
		a.scoresAt = scoresMasked
		a.scores, scores = realOutput[T](e, q.DType, []int{batch, n, queries, a.keys})
	}
	y, done := realOutput[T](e, q.DType, []int{batch, queries, n * vSize})
	a.y = tokenMajor(y, n, queries, vSize)
	a.run()
	return []*tensor.Tensor{done(), presentK(), presentV(), scores()}, nil
}

// addHeadBias returns a copy of a view with a bias [heads*size] added.
func addHeadBias[T float32 | float64](e *graph.Env, v heads[T], bias []T, batch, n, tokens, size int) heads[T] {
	out := tokenMajor(make([]T, batch*tokens*n*size), n, tokens, size)
	e.For(batch*tokens, max(1, elementGrain/(n*size+1)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for h := range n {
				src, dst := v.from(i/tokens, h, i%tokens)[:size], out.from(i/tokens, h, i%tokens)
				for j, b := range bias[h*size : (h+1)*size] {
					dst[j] = src[j] + b
				}
			}
		}
	})
	return out
}
