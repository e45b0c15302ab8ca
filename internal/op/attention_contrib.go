package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ProjectedAttention is the ONNX Runtime operator com.microsoft.Attention: the projections to query, key and value and
// self-attention. Inputs: input [batch, tokens, in], weights [in, query+key+value], bias, mask_index, past [2, batch, heads, past,
// size], attention_bias; outputs: output, present.
type ProjectedAttention struct {
	Unidirectional  bool    `attr:"unidirectional,0"`
	Heads           int     `attr:"num_heads"`
	HiddenSizes     []int   `attr:"qkv_hidden_sizes"`
	MaskFilterValue float32 `attr:"mask_filter_value,-10000"`
	Scale           float32 `attr:"scale,0"` // 0: 1/sqrt(head size)
	DoRotary        bool    `attr:"do_rotary,0"`
	RotaryDim       int     `attr:"rotary_embedding_dim,0"`
	ShareBuffer     bool    `attr:"past_present_share_buffer,0"`
}

func (*ProjectedAttention) Kind() string { return "com.microsoft.Attention" }

// hidden returns the widths of query, key and value for weights of so many columns.
func (o *ProjectedAttention) hidden(columns int) (h [3]int, err error) {
	if o.DoRotary || o.ShareBuffer {
		return h, errors.New("do_rotary and past_present_share_buffer are not supported")
	}
	if o.Heads <= 0 {
		return h, fmt.Errorf("num_heads: want a positive number, got %d", o.Heads)
	}
	if o.HiddenSizes != nil {
		if len(o.HiddenSizes) != 3 {
			return h, fmt.Errorf("qkv_hidden_sizes: want 3 values, got %d", len(o.HiddenSizes))
		}
		h = [3]int(o.HiddenSizes)
	} else {
		h = [3]int{columns / 3, columns / 3, columns / 3}
	}
	for _, n := range h {
		if n <= 0 || n%o.Heads != 0 {
			return h, fmt.Errorf("widths %v of query, key and value are not multiples of %d heads", h, o.Heads)
		}
	}
	if h[0] != h[1] || h[0]+h[1]+h[2] != columns {
		return h, fmt.Errorf("weights of %d columns do not make widths %v of query, key and value", columns, h)
	}
	return h, nil
}

// Infer needs the columns of weights.
func (o *ProjectedAttention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 7); err != nil {
		return nil, err
	}
	x, w := in[0], in[1]
	out := []graph.Type{graph.Unranked(x.DType), graph.Unranked(x.DType)}
	if !x.Ranked || len(x.Dims) != 3 || !w.Ranked || len(w.Dims) != 2 || !w.Dims[1].IsKnown() {
		return out, nil
	}
	h, err := o.hidden(w.Dims[1].Size)
	if err != nil {
		return nil, err
	}
	total := x.Dims[1]
	if !arg(in, 4).IsNone() {
		total = graph.Unknown
	}
	out[0] = graph.Ranked(x.DType, x.Dims[0], x.Dims[1], graph.Known(h[2]))
	out[1] = graph.Ranked(x.DType, graph.Known(2), x.Dims[0], graph.Known(o.Heads), total, graph.Known(h[0]/o.Heads))
	return out, nil
}

func (o *ProjectedAttention) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 7); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalProjected[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalProjected[float64](e, o, in) })
}

func evalProjected[T float32 | float64](e *graph.Env, o *ProjectedAttention, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, w := in[0], in[1]
	if x.Rank() != 3 || w.Rank() != 2 || w.Shape[0] != x.Shape[2] {
		return nil, fmt.Errorf("input and weights: shapes %v and %v do not fit", x.Shape, w.Shape)
	}
	h, err := o.hidden(w.Shape[1])
	if err != nil {
		return nil, err
	}
	batch, tokens, columns := x.Shape[0], x.Shape[1], w.Shape[1]
	xs, err := realData[T](x)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	ws, err := realData[T](w)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	qkv, beta := make([]T, batch*tokens*columns), T(0)
	if b := arg(in, 2); b != nil {
		bias, err := realData[T](b)
		if err != nil {
			return nil, fmt.Errorf("bias: %w", err)
		}
		if len(bias) != columns {
			return nil, fmt.Errorf("bias: want %d values, got %v", columns, b)
		}
		for i := 0; i < len(qkv); i += columns {
			copy(qkv[i:], bias)
		}
		beta = 1
	}
	gemmReal(e.Workers(), false, false, batch*tokens, columns, x.Shape[2], 1, xs, x.Shape[2], ws, columns, beta, qkv, columns)
	size, vSize := h[0]/o.Heads, h[2]/o.Heads
	a := &attention[T]{
		e: e, batch: batch, heads: o.Heads, kvHeads: o.Heads, queries: tokens, keys: tokens, size: size, vSize: vSize,
		scale: 1 / math.Sqrt(float64(size)),
		q:     heads[T]{qkv, tokens * columns, size, columns},
	}
	if o.Scale != 0 {
		a.scale = float64(o.Scale)
	}
	if len(qkv) > 0 {
		a.k = heads[T]{qkv[h[0]:], tokens * columns, size, columns}
		a.v = heads[T]{qkv[2*h[0]:], tokens * columns, vSize, columns}
	}
	past, before := arg(in, 4), 0
	present := func() *tensor.Tensor { return nil }
	if past != nil || e.Wants(1) && size == vSize {
		if size != vSize {
			return nil, errors.New("past: the head sizes of key and value differ")
		}
		var pastData []T
		if past != nil {
			if past.Rank() != 5 || !past.Shape.Equal(tensor.Shape{2, batch, o.Heads, past.Shape[3], size}) {
				return nil, fmt.Errorf("past: want shape [2,%d,%d,?,%d], got %v", batch, o.Heads, size, past.Shape)
			}
			before = past.Shape[3]
			if pastData, err = realData[T](past); err != nil {
				return nil, fmt.Errorf("past: %w", err)
			}
		}
		var buf []T
		a.keys = before + tokens
		buf, present = realOutput[T](e, x.DType, []int{2, batch, o.Heads, a.keys, size})
		half, pastHalf := len(buf)/2, len(pastData)/2
		for i, v := range []*heads[T]{&a.k, &a.v} {
			c := kvCache[T]{past: pastData[i*pastHalf : (i+1)*pastHalf], pastTokens: before, buf: buf[i*half : (i+1)*half], capacity: a.keys}
			*v = c.extend(e, *v, batch, o.Heads, tokens, size, func(int) int { return before })
		}
	}
	if m := arg(in, 3); m != nil {
		mask, err := paddingMask[T](m, batch, tokens, a.keys, before, T(o.MaskFilterValue))
		if err != nil {
			return nil, fmt.Errorf("mask_index: %w", err)
		}
		a.masks = append(a.masks, mask)
	}
	if b := arg(in, 5); b != nil {
		mask, err := newAttentionMask[T](b, batch, o.Heads, tokens, a.keys)
		if err != nil {
			return nil, fmt.Errorf("attention_bias: %w", err)
		}
		a.masks = append(a.masks, mask)
	}
	a.visible = causal(o.Unidirectional, before, a.keys)
	y, done := realOutput[T](e, x.DType, []int{batch, tokens, h[2]})
	a.y = tokenMajor(y, o.Heads, tokens, vSize)
	a.run()
	return []*tensor.Tensor{done(), present()}, nil
}

// causal returns the visibility of keys for queries that begin after so many tokens.
func causal(on bool, before, keys int) func(sample, query int) (int, int) {
	return func(_, query int) (int, int) {
		if on {
			return 0, min(before+query+1, keys)
		}
		return 0, keys
	}
}

// kvCache is a buffer [batch, heads, capacity, size] that begins with the tokens of past [batch, heads, pastTokens, size].
type kvCache[T float32 | float64] struct {
	past       []T
	pastTokens int
	buf        []T
	capacity   int
}

// extend copies past and writes tokens of fresh after the first used(sample) tokens of each sample; what is behind them is past's
// or zero. It returns the view of the buffer.
func (c *kvCache[T]) extend(e *graph.Env, fresh heads[T], batch, n, tokens, size int, used func(sample int) int) heads[T] {
	e.For(batch*n, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst := c.buf[i*c.capacity*size:][:c.capacity*size]
			kept := 0
			if c.past != nil {
				kept = copy(dst, c.past[i*c.pastTokens*size:][:c.pastTokens*size])
			}
			clear(dst[kept:])
			at := used(i / n)
			for t := range tokens {
				copy(dst[(at+t)*size:(at+t+1)*size], fresh.from(i/n, i%n, t))
			}
		}
	})
	return headMajor(c.buf, n, c.capacity, size)
}

// paddingMask returns the bias that ONNX Runtime's masks stand for: 0 for keys that take part, filter for the others. Shapes: [batch]
// and [3*batch+2] hold lengths first; [2*batch] ends and then begins; [batch, keys], [batch, queries, keys] and [batch, 1, max, max]
// are 1 and 0 per key.
func paddingMask[T float32 | float64](t *tensor.Tensor, batch, queries, keys, before int, filter T) (*attentionMask[T], error) {
	v, err := intsOf(t)
	if err != nil {
		return nil, err
	}
	m := &attentionMask[T]{width: keys}
	switch s := t.Shape; {
	case len(s) == 1 && (s[0] == batch || s[0] == 2*batch || s[0] == 3*batch+2):
		m.bias, m.strides = make([]T, batch*keys), [3]int{keys, 0, 0}
		for b := range batch {
			begin, end := 0, v[b]
			if s[0] == 2*batch && s[0] != batch {
				begin = v[batch+b]
			}
			for k := range keys {
				if k < begin || k >= end {
					m.bias[b*keys+k] = filter
				}
			}
		}
	case s.Equal(tensor.Shape{batch, keys}), s.Equal(tensor.Shape{batch, queries, keys}):
		m.bias, m.strides = make([]T, len(v)), [3]int{len(v) / max(batch, 1), 0, 0}
		if len(s) == 3 {
			m.strides[2] = keys
		}
		for i, on := range v {
			if on == 0 {
				m.bias[i] = filter
			}
		}
	case len(s) == 4 && s[0] == batch && s[1] == 1 && s[2] == s[3] && s[3] >= max(keys, before+queries):
		m.bias, m.strides = make([]T, batch*queries*keys), [3]int{queries * keys, 0, keys}
		for b := range batch {
			for q := range queries {
				for k := range keys {
					if v[(b*s[2]+before+q)*s[3]+k] == 0 {
						m.bias[(b*queries+q)*keys+k] = filter
					}
				}
			}
		}
	default:
		return nil, fmt.Errorf("shape %v does not fit %d samples, %d queries and %d keys", s, batch, queries, keys)
	}
	return m, nil
}
