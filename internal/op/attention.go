package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var attentionOps = table{
	"Attention":       fresh[Attention],
	"RotaryEmbedding": fresh[RotaryEmbedding],
	"LinearAttention": fresh[LinearAttention],

	"ai.onnx.preview.FlexAttention": fresh[FlexAttention],

	"com.microsoft.Attention":           fresh[ProjectedAttention],
	"com.microsoft.MultiHeadAttention":  fresh[MultiHeadAttention],
	"com.microsoft.GroupQueryAttention": fresh[GroupQueryAttention],
	"com.microsoft.RotaryEmbedding":     fresh[ScaledRotaryEmbedding],
}

// Attention is the ONNX operator Attention. Inputs: Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen; outputs: Y,
// present_key, present_value, qk_matmul_output. Q, K and V are [batch, heads, tokens, size] or [batch, tokens, heads*size].
type Attention struct {
	IsCausal         bool     `attr:"is_causal,0"`
	Scale            *float32 `attr:"scale"` // nil: 1/sqrt(head size)
	Softcap          float32  `attr:"softcap,0"`
	QueryHeads       *int     `attr:"q_num_heads"`
	KVHeads          *int     `attr:"kv_num_heads"`
	ScoresMode       int      `attr:"qk_matmul_output_mode,0"`
	SoftmaxPrecision *int     `attr:"softmax_precision"`
	// LeftWindow and RightWindow bound how far before and after its own position a query sees; -1: no bound.
	LeftWindow  int `attr:"left_window_size,-1"`
	RightWindow int `attr:"right_window_size,-1"`
}

func (*Attention) Kind() string { return "Attention" }

// Infer checks ranks and head counts.
func (o *Attention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 7); err != nil {
		return nil, err
	}
	for i := range 3 {
		if err := floats.check(i, in[i].DType); err != nil {
			return nil, err
		}
	}
	unknown := []graph.Type{graph.Unranked(in[0].DType), graph.Unranked(in[1].DType), graph.Unranked(in[2].DType), graph.Unranked(in[0].DType)}
	if !in[0].Ranked || !in[1].Ranked || !in[2].Ranked {
		return unknown, nil
	}
	var dims [3][4]graph.Dim // batch, heads, tokens, size
	for i, name := range []string{"Q", "K", "V"} {
		var err error
		if dims[i], err = o.headDims(in[i], i == 0); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	q, k, v := dims[0], dims[1], dims[2]
	total := k[2]
	if past := arg(in, 4); !past.IsNone() {
		total = graph.Unknown
		if past.Ranked && len(past.Dims) == 4 && past.Dims[2].IsKnown() && k[2].IsKnown() {
			total = graph.Known(past.Dims[2].Size + k[2].Size)
		}
	}
	y := graph.Ranked(in[0].DType, q[0], q[1], q[2], v[3])
	if len(in[0].Dims) == 3 {
		hidden := graph.Unknown
		if q[1].IsKnown() && v[3].IsKnown() {
			hidden = graph.Known(q[1].Size * v[3].Size)
		}
		y = graph.Ranked(in[0].DType, q[0], q[2], hidden)
	}
	return []graph.Type{
		y,
		graph.Ranked(in[1].DType, k[0], k[1], total, k[3]),
		graph.Ranked(in[2].DType, v[0], v[1], total, v[3]),
		graph.Ranked(in[0].DType, q[0], q[1], q[2], total),
	}, nil
}

// headCount returns the attribute that says how many heads a 3-dimensional input has.
func (o *Attention) headCount(query bool) (int, error) {
	n, name := o.KVHeads, "kv_num_heads"
	if query {
		n, name = o.QueryHeads, "q_num_heads"
	}
	if n == nil {
		return 0, fmt.Errorf("the attribute %s is needed for 3 dimensions", name)
	}
	if *n <= 0 {
		return 0, fmt.Errorf("%s: want a positive number, got %d", name, *n)
	}
	return *n, nil
}

func (o *Attention) headDims(t graph.Type, query bool) (d [4]graph.Dim, err error) {
	switch len(t.Dims) {
	case 4:
		return [4]graph.Dim(t.Dims), nil
	case 3:
		n, err := o.headCount(query)
		if err != nil {
			return d, err
		}
		size := graph.Unknown
		if h := t.Dims[2]; h.IsKnown() {
			if h.Size%n != 0 {
				return d, fmt.Errorf("hidden size %d is not a multiple of %d heads", h.Size, n)
			}
			size = graph.Known(h.Size / n)
		}
		return [4]graph.Dim{t.Dims[0], graph.Known(n), t.Dims[1], size}, nil
	}
	return d, fmt.Errorf("want 3 or 4 dimensions, got %v", t)
}

// headShape returns batch, heads, tokens and size of a query, key or value.
func (o *Attention) headShape(t *tensor.Tensor, query bool) (s [4]int, err error) {
	if n, err := o.headCount(query); t.Rank() == 3 && err == nil && t.Shape[2]%n == 0 {
		return [4]int{t.Shape[0], n, t.Shape[1], t.Shape[2] / n}, nil
	}
	d, err := o.headDims(graph.Shaped(t.DType, t.Shape), query)
	for i := range s {
		s[i] = d[i].Size
	}
	return s, err
}

// Eval computes in float32, or in float64 for float64 inputs.
func (o *Attention) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 3, 7); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalAttention[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalAttention[float64](e, o, in) })
}

func evalAttention[T float32 | float64](e *graph.Env, o *Attention, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	kept := graph.Keep[keptAttention[T]](e)
	defer kept.Done()
	a := &kept.V.attention
	defer a.forget()
	wantPresent := e.Wants(1) || e.Wants(2)
	presentK, presentV, err := kept.V.set(e, o, in, wantPresent)
	if err != nil {
		return nil, err
	}
	q := in[0]
	batch, n, queries, vSize := a.batch, a.heads, a.queries, a.vSize
	yShape := e.Ints(q.Rank())
	if q.Rank() == 3 {
		yShape[0], yShape[1], yShape[2] = batch, queries, n*vSize
	} else {
		yShape[0], yShape[1], yShape[2], yShape[3] = batch, n, queries, vSize
	}
	if q.DType == tensor.DTypeOf[T]() && !wantPresent && !e.Wants(3) {
		t := e.New(q.DType, yShape...)
		a.y = headMajor(tensor.Data[T](t), n, queries, vSize)
		if q.Rank() == 3 {
			a.y = tokenMajor(tensor.Data[T](t), n, queries, vSize)
		}
		a.run()
		kept.V.out = [4]*tensor.Tensor{t}
		return kept.V.out[:], nil
	}
	y, yTensor := realOutput[T](e, q.DType, yShape)
	a.y = headMajor(y, n, queries, vSize)
	if q.Rank() == 3 {
		a.y = tokenMajor(y, n, queries, vSize)
	}
	scoresTensor := func() *tensor.Tensor { return nil }
	if e.Wants(3) {
		if o.ScoresMode < scoresRaw || o.ScoresMode > scoresSoftmax {
			return nil, fmt.Errorf("qk_matmul_output_mode: want 0 to 3, got %d", o.ScoresMode)
		}
		a.scoresAt = o.ScoresMode
		a.scores, scoresTensor = realOutput[T](e, q.DType, []int{batch, n, queries, a.keys})
	}
	a.run()
	if !wantPresent {
		presentK, presentV = nil, nil
	}
	return []*tensor.Tensor{yTensor(), presentK, presentV, scoresTensor()}, nil
}

// set makes the attention of an operator's inputs, all but where its results go. Keys and values are those of the past, if there is one, and the new
// ones; with wantPresent they are by heads.
func (kept *keptAttention[T]) set(e *graph.Env, o *Attention, in []*tensor.Tensor, wantPresent bool) (presentK, presentV *tensor.Tensor, err error) {
	q, k, v := in[0], in[1], in[2]
	if q.Rank() != k.Rank() || q.Rank() != v.Rank() {
		return nil, nil, fmt.Errorf("Q, K and V: want the same rank, got shapes %v, %v and %v", q.Shape, k.Shape, v.Shape)
	}
	qs, err := o.headShape(q, true)
	if err != nil {
		return nil, nil, fmt.Errorf("Q: %w", err)
	}
	ks, err := o.headShape(k, false)
	if err != nil {
		return nil, nil, fmt.Errorf("K: %w", err)
	}
	vs, err := o.headShape(v, false)
	if err != nil {
		return nil, nil, fmt.Errorf("V: %w", err)
	}
	batch, n, kvHeads, queries := qs[0], qs[1], ks[1], qs[2]
	switch {
	case ks[0] != batch || vs[0] != batch:
		return nil, nil, fmt.Errorf("Q, K and V: want the same batch, got %d, %d and %d", batch, ks[0], vs[0])
	case ks[3] != qs[3]:
		return nil, nil, fmt.Errorf("K: want a head size of %d as in Q, got %d", qs[3], ks[3])
	case vs[1] != kvHeads || vs[2] != ks[2]:
		return nil, nil, fmt.Errorf("V: want %d heads of %d tokens as in K, got %d of %d", kvHeads, ks[2], vs[1], vs[2])
	case n != 0 && (kvHeads == 0 || n%kvHeads != 0):
		return nil, nil, fmt.Errorf("Q: %d heads are not a multiple of the %d of K", n, kvHeads)
	}
	a := &kept.attention
	*a = attention[T]{
		e: e, batch: batch, heads: n, kvHeads: kvHeads, queries: queries, size: qs[3], vSize: vs[3],
		softcap: float64(o.Softcap), scale: 1 / math.Sqrt(float64(qs[3])), masks: a.masks[:0], shares: a.shares,
	}
	if o.Scale != nil {
		a.scale = float64(*o.Scale)
	}

	// A key-value cache inside the operator is a concatenation; present_key and present_value are what is attended.
	pastKey, pastValue := arg(in, 4), arg(in, 5)
	if (pastKey == nil) != (pastValue == nil) {
		return nil, nil, errors.New("past_key and past_value must be given together")
	}
	past := 0
	presentK, presentV = k, v
	if pastKey != nil || wantPresent && k.Rank() == 3 {
		if presentK, past, err = appendTokens(e, pastKey, k, ks); err != nil {
			return nil, nil, fmt.Errorf("past_key: %w", err)
		}
		var pv int
		if presentV, pv, err = appendTokens(e, pastValue, v, vs); err != nil {
			return nil, nil, fmt.Errorf("past_value: %w", err)
		}
		if pv != past {
			return nil, nil, fmt.Errorf("past_value: want %d tokens as in past_key, got %d", past, pv)
		}
	}
	a.keys = past + ks[2]
	if a.q, err = headsOf[T](q, n, queries, qs[3]); err != nil {
		return nil, nil, fmt.Errorf("Q: %w", err)
	}
	if a.k, err = headsOf[T](presentK, kvHeads, a.keys, ks[3]); err != nil {
		return nil, nil, fmt.Errorf("K: %w", err)
	}
	if a.v, err = headsOf[T](presentV, kvHeads, a.keys, vs[3]); err != nil {
		return nil, nil, fmt.Errorf("V: %w", err)
	}
	if a.visible, err = o.visibility(&kept.visibility, arg(in, 6), pastKey != nil, batch, queries, a.keys, past); err != nil {
		return nil, nil, err
	}
	if m := arg(in, 3); m != nil {
		if kept.mask, err = attentionMaskOf[T](m, batch, n, queries, a.keys); err != nil {
			return nil, nil, fmt.Errorf("attn_mask: %w", err)
		}
		a.masks = append(a.masks, &kept.mask)
	}
	if o.SoftmaxPrecision != nil {
		a.round = roundTo[T](tensor.DType(*o.SoftmaxPrecision))
	}
	return presentK, presentV, nil
}

// visibility returns the function that tells which keys a query may attend for reasons of position. A query's position is its
// index after the past tokens: those of past_key, or nonpad_kv_seqlen less the new ones for a cache outside the operator.
func (o *Attention) visibility(v *visibility, nonpad *tensor.Tensor, cached bool, batch, queries, keys, past int) (func(sample, query int) (int, int), error) {
	if len(v.offset) < batch {
		v.offset, v.valid = make([]int, batch), make([]int, batch)
	}
	v.o = o
	if v.of == nil {
		v.of = v.keys
	}
	offset, valid := v.offset, v.valid
	for b := range batch {
		offset[b], valid[b] = past, keys
	}
	if nonpad != nil {
		if cached {
			return nil, errors.New("nonpad_kv_seqlen cannot be combined with past_key")
		}
		lens, err := intsOf(nonpad)
		if err != nil {
			return nil, fmt.Errorf("nonpad_kv_seqlen: %w", err)
		}
		if len(lens) != batch {
			return nil, fmt.Errorf("nonpad_kv_seqlen: want %d values, got %d", batch, len(lens))
		}
		for b, l := range lens {
			if l < 0 || l > keys {
				return nil, fmt.Errorf("nonpad_kv_seqlen: %d is out of range for %d keys", l, keys)
			}
			offset[b], valid[b] = l-queries, l
		}
	}
	return v.of, nil
}

// keptAttention is what an [Attention] works on.
type keptAttention[T float32 | float64] struct {
	attention  attention[T]
	visibility visibility
	mask       attentionMask[T]
	out        [4]*tensor.Tensor
}

// visibility says which keys a query may attend for reasons of position.
type visibility struct {
	o             *Attention
	offset, valid []int                              // of samples: the position of the first query, the number of keys
	of            func(sample, query int) (int, int) // keys
}

func (v *visibility) keys(sample, query int) (int, int) {
	o := v.o
	lo, hi := 0, v.valid[sample]
	at := query + v.offset[sample]
	if o.IsCausal {
		hi = min(hi, at+1)
	}
	if o.LeftWindow >= 0 {
		lo = max(lo, at-o.LeftWindow)
	}
	if o.RightWindow >= 0 {
		hi = min(hi, at+o.RightWindow+1)
	}
	return lo, max(hi, 0)
}

// headsOf views a 3- or 4-dimensional tensor by heads.
func headsOf[T float32 | float64](t *tensor.Tensor, n, tokens, size int) (heads[T], error) {
	data, err := realData[T](t)
	if err != nil {
		return heads[T]{}, err
	}
	if t.Rank() == 3 {
		return tokenMajor(data, n, tokens, size), nil
	}
	return headMajor(data, n, tokens, size), nil
}

// appendTokens returns [batch, heads, past+tokens, size]: past (nil: none) followed by t, whose dimensions by heads are s.
func appendTokens(e *graph.Env, past, t *tensor.Tensor, s [4]int) (*tensor.Tensor, int, error) {
	ts, err := dense([]*tensor.Tensor{past, t})
	if err != nil {
		return nil, 0, err
	}
	past, t = ts[0], ts[1]
	batch, n, tokens, size := s[0], s[1], s[2], s[3]
	before := 0
	if past != nil {
		if past.Rank() != 4 || past.Shape[0] != batch || past.Shape[1] != n || past.Shape[3] != size || past.DType != t.DType {
			return nil, 0, fmt.Errorf("want %v [%d,%d,?,%d], got %v", t.DType, batch, n, size, past)
		}
		before = past.Shape[2]
	}
	width := size * t.DType.Size() // bytes of a head
	head, row := tokens*width, width
	perBatch := n * head
	if t.Rank() == 3 {
		head, row = width, n*width
	}
	out := e.New(t.DType, batch, n, before+tokens, size)
	dst, src := out.Bytes(), t.Bytes()
	e.For(batch*n, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			d := dst[i*(before+tokens)*width:][:(before+tokens)*width]
			if before > 0 {
				copy(d, past.Bytes()[i*before*width:][:before*width])
			}
			from := src[min(i/n*perBatch+i%n*head, len(src)):]
			for r := range tokens {
				copy(d[(before+r)*width:][:width], from[r*row:])
			}
		}
	})
	return out, before, nil
}

// newAttentionMask is attentionMaskOf on the heap.
func newAttentionMask[T float32 | float64](t *tensor.Tensor, batch, n, queries, keys int) (*attentionMask[T], error) {
	m, err := attentionMaskOf[T](t, batch, n, queries, keys)
	return &m, err
}

// attentionMaskOf checks that a mask broadcasts to [batch, n, queries, keys]; its last dimension may be shorter than keys.
func attentionMaskOf[T float32 | float64](t *tensor.Tensor, batch, n, queries, keys int) (m attentionMask[T], err error) {
	if t.Rank() < 1 || t.Rank() > 4 {
		return m, fmt.Errorf("want 1 to 4 dimensions, got %v", t)
	}
	full := [4]int{1, 1, 1, 1}
	copy(full[4-t.Rank():], t.Shape)
	m.width = full[3]
	stride := full[3]
	for d := 2; d >= 0; d-- {
		limit := [3]int{batch, n, queries}[d]
		if full[d] != 1 && full[d] != limit {
			return m, fmt.Errorf("shape %v does not broadcast to [%d,%d,%d,%d]", t.Shape, batch, n, queries, keys)
		}
		if full[d] != 1 {
			m.strides[d] = stride
		}
		stride *= full[d]
	}
	if m.width > keys {
		return m, fmt.Errorf("shape %v: want at most %d keys", t.Shape, keys)
	}
	if t.DType == tensor.Bool {
		m.allowed = t.Bytes()
		return m, nil
	}
	if t.DType.IsInt() {
		f, err := t.Float64s()
		if err != nil {
			return m, err
		}
		m.bias = make([]T, len(f))
		for i, v := range f {
			m.bias[i] = T(v)
		}
		return m, nil
	}
	m.bias, err = realData[T](t)
	return m, err
}
