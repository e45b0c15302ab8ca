package op

import (
	"errors"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Recalls implements [graph.Recalling].
func (*Attention) Recalls() (in, out uint64) { return ^uint64(0), 0 }

// Backward implements [graph.Differentiable]. The probabilities P are computed again, a block of queries at a time, so that the scores of all
// tokens are never in memory at once. With G the gradient of Y,
//
//	dV = P'G, dS = P*(GV' - rowsum(P*GV')), dQ = scale*dS*K, dK = scale*dS'Q
//
// where a soft cap c multiplies dS by 1-(s/c)^2 of the capped scores s. The mask's gradient is dS before that.
func (o *Attention) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	for _, d := range dOut[1:] {
		if d != nil {
			return nil, errors.New("only the first output has a gradient")
		}
	}
	if arg(in, 4) != nil || arg(in, 5) != nil {
		return nil, errors.New("there is no gradient through a key-value cache")
	}
	in, err := dense(in)
	if err != nil {
		return nil, err
	}
	var out []*tensor.Tensor
	err = byGrad(dOut[0].DType,
		func() error { out, err = attentionBackward[float32](e, o, in, dOut[0]); return err },
		func() error { out, err = attentionBackward[float64](e, o, in, dOut[0]); return err })
	return out, err
}

// attentionGrad is the backward pass of an [attention].
type attentionGrad[T gradElems] struct {
	*attention[T]
	d          heads[T] // of y
	dq, dk, dv heads[T]
	mask       []T // gradients of the masked scores [batch, heads, queries, keys]; nil: not wanted
}

func attentionBackward[T gradElems](e *graph.Env, o *Attention, in []*tensor.Tensor, d *tensor.Tensor) ([]*tensor.Tensor, error) {
	kept := graph.Keep[keptAttention[T]](e)
	defer kept.Done()
	defer kept.V.attention.forget()
	if _, _, err := kept.V.set(e, o, in, false); err != nil {
		return nil, err
	}
	a := attentionGrad[T]{attention: &kept.V.attention}
	for _, m := range a.masks {
		m.finite = false
	}
	out := make([]*tensor.Tensor, len(in))
	for i := range 3 {
		out[i] = e.Zeros(d.DType, in[i].Shape...)
	}
	for _, p := range []struct {
		to     *heads[T]
		t      *tensor.Tensor
		n      int
		tokens int
		size   int
	}{
		{&a.d, d, a.heads, a.queries, a.vSize},
		{&a.dq, out[0], a.heads, a.queries, a.size},
		{&a.dk, out[1], a.kvHeads, a.keys, a.size},
		{&a.dv, out[2], a.kvHeads, a.keys, a.vSize},
	} {
		var err error
		if *p.to, err = headsOf[T](p.t, p.n, p.tokens, p.size); err != nil {
			return nil, err
		}
	}
	mask := arg(in, 3)
	learned := mask != nil && mask.DType.IsFloat() && e.Wants(3)
	if learned {
		a.mask = make([]T, a.batch*a.heads*a.queries*a.keys)
	}
	if a.kvHeads > 0 {
		e.For(a.batch*a.kvHeads, 1, func(lo, hi int) {
			rows := min(a.queries, attentionRows)
			buf := kernel.Borrow[T](rows * (3*a.keys + 2))
			defer buf.Release()
			for t := lo; t < hi; t++ {
				a.group(buf.Data, t/a.kvHeads, t%a.kvHeads)
			}
		})
	}
	if !learned {
		return out, nil
	}
	width := mask.Shape[mask.Rank()-1]
	full := e.New(d.DType, a.batch, a.heads, a.queries, width)
	data := tensor.Data[T](full)
	for r := range a.batch * a.heads * a.queries {
		copy(data[r*width:(r+1)*width], a.mask[r*a.keys:])
	}
	var err error
	out[3], err = sumTo(e, full, mask.Shape)
	return out, err
}

// group adds what the query heads of one head of keys give. All are computed by one thread, in order.
func (a *attentionGrad[T]) group(buf []T, sample, kvHead int) {
	group := a.heads / a.kvHeads
	for h := kvHead * group; h < (kvHead+1)*group; h++ {
		for first := 0; first < a.queries; first += attentionRows {
			a.block(buf, sample, h, kvHead, first, min(attentionRows, a.queries-first))
		}
	}
}

// block adds the gradients of n queries from one on.
func (a *attentionGrad[T]) block(buf []T, sample, head, kvHead, query, n int) {
	lo, hi := a.keys, 0
	for r := range n {
		if l, h := a.visible(sample, query+r); l < h {
			lo, hi = min(lo, l), max(hi, h)
		}
	}
	if lo >= hi {
		return
	}
	width := hi - lo
	ld := width + 1 // as the forward pass has it
	p, raw, ds := buf[:n*ld], buf[n*ld:2*n*ld], buf[2*n*ld:][:n*width]
	q, k, v := a.q.from(sample, head, query), a.k.from(sample, kvHead, lo), a.v.from(sample, kvHead, lo)
	d := a.d.from(sample, head, query)
	pool := a.e.Workers()
	gemmReal(pool, false, true, n, width, a.size, T(a.scale), q, a.q.row, k, a.k.row, 0, p, ld)
	if a.softcap > 0 {
		copy(raw, p)
	}
	for r := range n {
		a.softmaxRow(p[r*ld:][:ld], sample, head, query+r, lo)
	}
	gemmReal(pool, true, false, width, a.vSize, n, 1, p, ld, d, a.d.row, 1, a.dv.from(sample, kvHead, lo), a.dv.row)
	gemmReal(pool, false, true, n, width, a.vSize, 1, d, a.d.row, v, a.v.row, 0, ds, width)
	for r := range n {
		row, probs := ds[r*width:(r+1)*width], p[r*ld:][:width]
		scoreGrad(row, probs)
		if a.mask != nil {
			copy(a.mask[((sample*a.heads+head)*a.queries+query+r)*a.keys+lo:], row)
		}
		if a.softcap > 0 {
			for i, s := range raw[r*ld:][:width] {
				t := math.Tanh(float64(s) / a.softcap)
				row[i] *= T(1 - t*t)
			}
		}
	}
	gemmReal(pool, false, false, n, a.size, width, T(a.scale), ds, width, k, a.k.row, 0, a.dq.from(sample, head, query), a.dq.row)
	gemmReal(pool, true, false, width, a.size, n, T(a.scale), ds, width, q, a.q.row, 1, a.dk.from(sample, kvHead, lo), a.dk.row)
}

// scoreGrad turns the gradients of probabilities into those of scores.
func scoreGrad[T gradElems](d, p []T) {
	sum := dotOf(d, p)
	for i, v := range d {
		d[i] = p[i] * (v - sum)
	}
}

// dotOf is the sum of products.
func dotOf[T gradElems](a, b []T) T {
	if a, ok := any(a).([]float32); ok {
		return T(kernel.Dot(a, any(b).([]float32)))
	}
	sum := T(0)
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}
