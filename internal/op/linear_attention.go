package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// LinearAttention is the ONNX operator LinearAttention: attention whose memory is a matrix S [key size, value size] per key
// head, updated token by token. With g the decay and b the update rate of a token:
//
//	linear       S += k⊗v
//	gated        S = exp(g)*S + k⊗v
//	delta        S += b * k⊗(v - Sᵀk)
//	gated_delta  S = exp(g)*S, then as delta
//
// and the output is scale * Sᵀq. Inputs: query, key, value [batch, tokens, heads*size], past_state [batch, key heads, key size,
// value size], decay, beta; outputs: output, present_state.
type LinearAttention struct {
	ChunkSize  int     `attr:"chunk_size,64"` // a hint for parallel implementations, without effect on the result
	KVHeads    int     `attr:"kv_num_heads"`
	QueryHeads int     `attr:"q_num_heads"`
	Scale      float32 `attr:"scale,0"` // 0: 1/sqrt(key size)
	UpdateRule string  `attr:"update_rule,gated_delta"`
}

func (*LinearAttention) Kind() string { return "LinearAttention" }

// rule returns whether the memory decays and whether what it already recalls is subtracted.
func (o *LinearAttention) rule() (gated, delta bool, err error) {
	switch o.UpdateRule {
	case "linear":
	case "gated":
		gated = true
	case "delta":
		delta = true
	case "gated_delta":
		gated, delta = true, true
	default:
		err = fmt.Errorf("update_rule: want linear, gated, delta or gated_delta, got %q", o.UpdateRule)
	}
	return gated, delta, err
}

func (o *LinearAttention) check() error {
	if o.KVHeads <= 0 || o.QueryHeads <= 0 || o.QueryHeads%o.KVHeads != 0 {
		return fmt.Errorf("q_num_heads %d is not a positive multiple of kv_num_heads %d", o.QueryHeads, o.KVHeads)
	}
	return nil
}

// Infer needs the ranks of query and value.
func (o *LinearAttention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 6); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if _, _, err := o.rule(); err != nil {
		return nil, err
	}
	state := in[0].DType
	if past := arg(in, 3); past.DType != tensor.Invalid {
		state = past.DType
	}
	split := func(t graph.Type, n int) (batch, tokens, size graph.Dim, err error) {
		batch, tokens, size = graph.Unknown, graph.Unknown, graph.Unknown
		if !t.Ranked {
			return
		}
		if len(t.Dims) != 3 {
			return batch, tokens, size, fmt.Errorf("want 3 dimensions, got %v", t)
		}
		if h := t.Dims[2]; h.IsKnown() {
			if h.Size%n != 0 {
				return batch, tokens, size, fmt.Errorf("hidden size %d is not a multiple of %d heads", h.Size, n)
			}
			size = graph.Known(h.Size / n)
		}
		return t.Dims[0], t.Dims[1], size, nil
	}
	batch, tokens, dk, err := split(in[0], o.QueryHeads)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	_, _, dv, err := split(in[2], o.KVHeads)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	hidden := graph.Unknown
	if dv.IsKnown() {
		hidden = graph.Known(dv.Size * o.QueryHeads)
	}
	return []graph.Type{graph.Ranked(in[0].DType, batch, tokens, hidden), graph.Ranked(state, batch, graph.Known(o.KVHeads), dk, dv)}, nil
}

// Eval computes in float32.
func (o *LinearAttention) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 3, 6); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	gated, delta, err := o.rule()
	if err != nil {
		return nil, err
	}
	q, k, v, past, decay, beta := in[0], in[1], in[2], arg(in, 3), arg(in, 4), arg(in, 5)
	if gated != (decay != nil) || delta != (beta != nil) {
		return nil, fmt.Errorf("update_rule %q: decay is an input of the gated rules only, beta of the delta rules only", o.UpdateRule)
	}
	if q.Rank() != 3 || k.Rank() != 3 || v.Rank() != 3 {
		return nil, fmt.Errorf("query, key and value: want 3 dimensions, got shapes %v, %v and %v", q.Shape, k.Shape, v.Shape)
	}
	batch, tokens, n, kvHeads := q.Shape[0], q.Shape[1], o.QueryHeads, o.KVHeads
	dk, dv := q.Shape[2]/n, v.Shape[2]/kvHeads
	if q.Shape[2] != n*dk || !k.Shape.Equal(tensor.Shape{batch, tokens, kvHeads * dk}) || !v.Shape.Equal(tensor.Shape{batch, tokens, kvHeads * dv}) {
		return nil, fmt.Errorf("query, key and value: shapes %v, %v and %v do not fit %d and %d heads", q.Shape, k.Shape, v.Shape, n, kvHeads)
	}
	var data [6][]float32
	for i, t := range []*tensor.Tensor{q, k, v, past, decay, beta} {
		if t != nil {
			if data[i], err = realData[float32](t); err != nil {
				return nil, fmt.Errorf("input %d: %w", i, err)
			}
		}
	}
	r := &linearAttention{
		tokens: tokens, heads: n, kvHeads: kvHeads, dk: dk, dv: dv, delta: delta, scale: o.Scale,
		q: tokenMajor(data[0], n, tokens, dk), k: tokenMajor(data[1], kvHeads, tokens, dk), v: tokenMajor(data[2], kvHeads, tokens, dv),
	}
	if r.scale == 0 {
		r.scale = float32(1 / math.Sqrt(float64(dk)))
	}
	if decay != nil {
		r.decaySize = 1
		if decay.Rank() == 3 && decay.Shape[2] == kvHeads*dk && dk > 1 {
			r.decaySize = dk
		}
		if !decay.Shape.Equal(tensor.Shape{batch, tokens, kvHeads * r.decaySize}) {
			return nil, fmt.Errorf("decay: want shape [%d,%d,%d] or [%d,%d,%d], got %v", batch, tokens, kvHeads, batch, tokens, kvHeads*dk, decay.Shape)
		}
		r.decay = tokenMajor(data[4], kvHeads, tokens, r.decaySize)
	}
	if beta != nil {
		r.beta = tokenMajor(data[5], kvHeads, tokens, 1)
		if beta.Rank() == 3 && beta.Shape[2] == 1 {
			r.beta = heads[float32]{data: data[5], batch: tokens, row: 1}
		}
		if beta.Rank() != 3 || beta.Shape[0] != batch || beta.Shape[1] != tokens || beta.Shape[2] != 1 && beta.Shape[2] != kvHeads {
			return nil, fmt.Errorf("beta: want shape [%d,%d,%d] or [%d,%d,1], got %v", batch, tokens, kvHeads, batch, tokens, beta.Shape)
		}
	}
	stateType, stateShape := q.DType, []int{batch, kvHeads, dk, dv}
	if past != nil {
		stateType = past.DType
		if !past.Shape.Equal(stateShape) {
			return nil, fmt.Errorf("past_state: want shape %v, got %v", tensor.Shape(stateShape), past.Shape)
		}
	}
	if stateType == tensor.Float64 || q.DType == tensor.Float64 {
		return nil, errors.New("float64 is not an element type of this operator")
	}
	y, yTensor := realOutput[float32](e, q.DType, []int{batch, tokens, n * dv})
	state, stateTensor := realOutput[float32](e, stateType, stateShape)
	if past != nil {
		copy(state, data[3])
	} else {
		clear(state)
	}
	r.y = tokenMajor(y, n, tokens, dv)
	e.For(batch*kvHeads, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			r.head(state[i*dk*dv:][:dk*dv], i/kvHeads, i%kvHeads)
		}
	})
	return []*tensor.Tensor{yTensor(), stateTensor()}, nil
}

// linearAttention is one evaluation in plain slices.
type linearAttention struct {
	tokens, heads, kvHeads, dk, dv int
	delta                          bool
	scale                          float32
	q, k, v, y, decay, beta        heads[float32]
	decaySize                      int // 0: no decay; 1: one per head; dk: one per row of the state
}

// head runs the tokens of one key head over its state [dk, dv].
func (r *linearAttention) head(state []float32, sample, head int) {
	group := r.heads / r.kvHeads
	write := make([]float32, r.dv)
	for t := range r.tokens {
		k, v := r.k.from(sample, head, t)[:r.dk], r.v.from(sample, head, t)[:r.dv]
		switch {
		case r.decaySize == 0:
		case r.decaySize == 1:
			f := float32(math.Exp(float64(r.decay.from(sample, head, t)[0])))
			kernel.Scale(state, state, f)
		default:
			for i, g := range r.decay.from(sample, head, t)[:r.dk] {
				row := state[i*r.dv:][:r.dv]
				kernel.Scale(row, row, float32(math.Exp(float64(g))))
			}
		}
		copy(write, v)
		if r.delta {
			for i, x := range k {
				kernel.AXPY(-x, state[i*r.dv:][:r.dv], write)
			}
			kernel.Scale(write, write, r.beta.from(sample, head, t)[0])
		}
		for i, x := range k {
			kernel.AXPY(x, write, state[i*r.dv:][:r.dv])
		}
		for h := head * group; h < (head+1)*group; h++ {
			y := r.y.from(sample, h, t)[:r.dv]
			clear(y)
			for i, x := range r.q.from(sample, h, t)[:r.dk] {
				kernel.AXPY(r.scale*x, state[i*r.dv:][:r.dv], y)
			}
		}
	}
}
