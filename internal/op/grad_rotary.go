package op

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of rotary embeddings: that of the input is turned back by the angle of the position. Where u and v are a pair and du and dv the
// gradients of what it became, the cosine has u*du+v*dv and the sine u*dv-v*du.

// Backward implements [graph.Differentiable].
func (o *RotaryEmbedding) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(in))
	return out, byGrad(dOut[0].DType,
		func() error {
			r, err := newRotation[float32](o, in)
			return rotaryBackward(e, r, err, in[0], dOut[0], 1, 2, in, out)
		},
		func() error {
			r, err := newRotation[float64](o, in)
			return rotaryBackward(e, r, err, in[0], dOut[0], 1, 2, in, out)
		})
}

// Backward implements [graph.Differentiable].
func (o *ScaledRotaryEmbedding) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(in))
	return out, byGrad(dOut[0].DType,
		func() error {
			r, err := newScaledRotation[float32](o, in)
			return rotaryBackward(e, r, err, in[0], dOut[0], 2, 3, in, out)
		},
		func() error {
			r, err := newScaledRotation[float64](o, in)
			return rotaryBackward(e, r, err, in[0], dOut[0], 2, 3, in, out)
		})
}

// rotaryBackward sets the gradients of x and of the tables of cosines and sines, inputs cos and sin. failed is the error of making r.
func rotaryBackward[T gradElems](e *graph.Env, r *rotation[T], failed error, x, d *tensor.Tensor, cos, sin int, in, out []*tensor.Tensor) error {
	if failed != nil {
		return failed
	}
	if e.Wants(cos) || e.Wants(sin) {
		out[cos], out[sin] = e.Zeros(d.DType, in[cos].Shape...), e.Zeros(d.DType, in[sin].Shape...)
		if err := r.tableGrads(x, d, tensor.Data[T](out[cos]), tensor.Data[T](out[sin])); err != nil {
			return err
		}
	}
	back := make([]T, len(r.sin))
	for i, s := range r.sin {
		back[i] = -s
	}
	r.sin = back
	var err error
	out[0], err = r.run(e, d)
	return err
}

// tableGrads adds up the gradients of cosines and sines.
func (r *rotation[T]) tableGrads(x, d *tensor.Tensor, cos, sin []T) error {
	xs, err := headsOf[T](x, r.heads, r.tokens, r.size)
	if err != nil {
		return err
	}
	ds, err := headsOf[T](d, r.heads, r.tokens, r.size)
	if err != nil {
		return err
	}
	half := r.rotated / 2
	for i := range r.batch * r.tokens {
		b, t := i/r.tokens, i%r.tokens
		at := r.position(b, t) * half
		for h := range r.heads {
			x, d := xs.from(b, h, t), ds.from(b, h, t)
			for j := range half {
				p, q := j, half+j
				if r.interleaved {
					p, q = 2*j, 2*j+1
				}
				cos[at+j] += x[p]*d[p] + x[q]*d[q]
				sin[at+j] += x[p]*d[q] - x[q]*d[p]
			}
		}
	}
	return nil
}
