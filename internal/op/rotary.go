package op

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// RotaryEmbedding is the ONNX operator RotaryEmbedding (Su et al., RoFormer, arXiv:2104.09864). Inputs: X, cos_cache,
// sin_cache, position_ids. X is [batch, heads, tokens, size] or [batch, tokens, heads*size]. The caches are
// [positions, rotated/2] with position_ids [batch, tokens], or [batch, tokens, rotated/2] without.
type RotaryEmbedding struct {
	Interleaved bool `attr:"interleaved,0"` // pairs are neighbours, not elements of the two halves
	Heads       *int `attr:"num_heads"`
	Rotated     int  `attr:"rotary_embedding_dim,0"` // leading elements of a head that are rotated; 0: all
}

func (*RotaryEmbedding) Kind() string { return "RotaryEmbedding" }

func (o *RotaryEmbedding) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 4); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if in[0].Ranked && len(in[0].Dims) != 3 && len(in[0].Dims) != 4 {
		return nil, fmt.Errorf("X: want 3 or 4 dimensions, got %v", in[0])
	}
	return []graph.Type{retyped(in[0], in[0].DType)}, nil
}

func (o *RotaryEmbedding) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 3, 4); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalRotary[float32](e, o, in)) },
		func() ([]*tensor.Tensor, error) { return one(evalRotary[float64](e, o, in)) })
}

func evalRotary[T float32 | float64](e *graph.Env, o *RotaryEmbedding, in []*tensor.Tensor) (*tensor.Tensor, error) {
	r, err := newRotation[T](o, in)
	if err != nil {
		return nil, err
	}
	return r.run(e, in[0])
}

func newRotation[T float32 | float64](o *RotaryEmbedding, in []*tensor.Tensor) (*rotation[T], error) {
	x, ids := in[0], arg(in, 3)
	r := &rotation[T]{interleaved: o.Interleaved, rotated: o.Rotated}
	var err error
	if r.batch, r.heads, r.tokens, r.size, err = rotaryShape(x, o.Heads); err != nil {
		return nil, err
	}
	if err := r.caches(in[1], in[2]); err != nil {
		return nil, err
	}
	if ids == nil {
		if in[1].Rank() != 3 || in[1].Shape[0] != r.batch || in[1].Shape[1] != r.tokens {
			return nil, fmt.Errorf("cos_cache: want shape [%d,%d,%d] without position_ids, got %v", r.batch, r.tokens, r.rotated/2, in[1].Shape)
		}
		r.position = func(sample, token int) int { return sample*r.tokens + token }
	} else if r.position, err = rotaryPositions(ids, in[1].Shape, r.batch, r.tokens); err != nil {
		return nil, err
	}
	return r, nil
}

// ScaledRotaryEmbedding is the ONNX Runtime operator com.microsoft.RotaryEmbedding. Inputs: input, position_ids, cos_cache,
// sin_cache. The positions are [batch, tokens], or one number that the first token has.
type ScaledRotaryEmbedding struct {
	Interleaved   bool    `attr:"interleaved,0"`
	PackedBatches bool    `attr:"is_packed_batching,0"` // allows batches of different lengths on other devices; no effect
	Heads         int     `attr:"num_heads,0"`          // 0: as many as the caches' width gives
	Rotated       int     `attr:"rotary_embedding_dim,0"`
	Scale         float32 `attr:"scale,1"`
}

func (*ScaledRotaryEmbedding) Kind() string { return "com.microsoft.RotaryEmbedding" }

func (o *ScaledRotaryEmbedding) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 4, 4); err != nil {
		return nil, err
	}
	if o.Scale != 1 {
		return nil, fmt.Errorf("scale: want 1, got %v", o.Scale)
	}
	return (&RotaryEmbedding{}).Infer([]graph.Type{in[0], in[2], in[3]})
}

func (o *ScaledRotaryEmbedding) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 4, 4); err != nil {
		return nil, err
	}
	if o.Scale != 1 {
		return nil, fmt.Errorf("scale: want 1, got %v", o.Scale)
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalScaledRotary[float32](e, o, in)) },
		func() ([]*tensor.Tensor, error) { return one(evalScaledRotary[float64](e, o, in)) })
}

func evalScaledRotary[T float32 | float64](e *graph.Env, o *ScaledRotaryEmbedding, in []*tensor.Tensor) (*tensor.Tensor, error) {
	r, err := newScaledRotation[T](o, in)
	if err != nil {
		return nil, err
	}
	return r.run(e, in[0])
}

func newScaledRotation[T float32 | float64](o *ScaledRotaryEmbedding, in []*tensor.Tensor) (*rotation[T], error) {
	x, ids, cos, sin := in[0], in[1], in[2], in[3]
	n := o.Heads
	if n == 0 && x.Rank() == 3 && cos.Rank() == 2 && cos.Shape[1] > 0 {
		n = x.Shape[2] / (2 * cos.Shape[1])
	}
	r := &rotation[T]{interleaved: o.Interleaved, rotated: o.Rotated}
	var err error
	if r.batch, r.heads, r.tokens, r.size, err = rotaryShape(x, &n); err != nil {
		return nil, err
	}
	if err := r.caches(cos, sin); err != nil {
		return nil, err
	}
	if ids.Len() == 1 && r.batch*r.tokens != 1 {
		first, err := scalarInt(ids)
		if err != nil || cos.Rank() != 2 || first < 0 || first+r.tokens > cos.Shape[0] {
			return nil, fmt.Errorf("position_ids: tokens from %d on are out of range for caches of shape %v", first, cos.Shape)
		}
		r.position = func(_, token int) int { return first + token }
	} else if r.position, err = rotaryPositions(ids, cos.Shape, r.batch, r.tokens); err != nil {
		return nil, err
	}
	return r, nil
}

// rotaryShape returns the dimensions by heads of X.
func rotaryShape(x *tensor.Tensor, heads *int) (batch, n, tokens, size int, err error) {
	switch x.Rank() {
	case 4:
		return x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3], nil
	case 3:
		if heads == nil || *heads <= 0 {
			return 0, 0, 0, 0, errors.New("the attribute num_heads is needed for 3 dimensions")
		}
		if x.Shape[2]%*heads != 0 {
			return 0, 0, 0, 0, fmt.Errorf("X: hidden size %d is not a multiple of %d heads", x.Shape[2], *heads)
		}
		return x.Shape[0], *heads, x.Shape[1], x.Shape[2] / *heads, nil
	}
	return 0, 0, 0, 0, fmt.Errorf("X: want 3 or 4 dimensions, got %v", x)
}

// rotaryPositions checks position ids [batch, tokens] against a cache [positions, rotated/2].
func rotaryPositions(ids *tensor.Tensor, cache tensor.Shape, batch, tokens int) (func(sample, token int) int, error) {
	p, err := intsOf(ids)
	if err != nil {
		return nil, fmt.Errorf("position_ids: %w", err)
	}
	if len(cache) != 2 {
		return nil, fmt.Errorf("cos_cache: want 2 dimensions with position_ids, got %v", cache)
	}
	if len(p) != batch*tokens {
		return nil, fmt.Errorf("position_ids: want shape [%d,%d], got %v", batch, tokens, ids.Shape)
	}
	for _, v := range p {
		if v < 0 || v >= cache[0] {
			return nil, fmt.Errorf("position_ids: %d is out of range for %d positions", v, cache[0])
		}
	}
	return func(sample, token int) int { return p[sample*tokens+token] }, nil
}

// rotation turns pairs of elements of every head by the angle of a token's position.
type rotation[T float32 | float64] struct {
	batch, heads, tokens, size int
	rotated                    int // 0: size
	interleaved                bool
	cos, sin                   []T // rows of rotated/2 elements
	position                   func(sample, token int) int
}

// caches checks and converts the tables of cosines and sines.
func (r *rotation[T]) caches(cos, sin *tensor.Tensor) error {
	if r.rotated == 0 {
		r.rotated = r.size
	}
	if r.rotated < 0 || r.rotated > r.size || r.rotated%2 != 0 {
		return fmt.Errorf("rotary_embedding_dim: want an even number up to %d, got %d", r.size, r.rotated)
	}
	if !cos.Shape.Equal(sin.Shape) {
		return fmt.Errorf("sin_cache: want shape %v as cos_cache, got %v", cos.Shape, sin.Shape)
	}
	if cos.Rank() < 2 || cos.Shape[cos.Rank()-1] != r.rotated/2 {
		return fmt.Errorf("cos_cache: want %d columns, got shape %v", r.rotated/2, cos.Shape)
	}
	var err error
	if r.cos, err = realData[T](cos); err != nil {
		return fmt.Errorf("cos_cache: %w", err)
	}
	if r.sin, err = realData[T](sin); err != nil {
		return fmt.Errorf("sin_cache: %w", err)
	}
	return nil
}

// run returns the rotated x.
func (r *rotation[T]) run(e *graph.Env, x *tensor.Tensor) (*tensor.Tensor, error) {
	src, err := headsOf[T](x, r.heads, r.tokens, r.size)
	if err != nil {
		return nil, fmt.Errorf("X: %w", err)
	}
	out, done := realOutput[T](e, x.DType, x.Shape)
	dst := src
	dst.data = out
	r.rotate(e, dst, src)
	return done(), nil
}

// rotate sets dst to the rotated src; both have the dimensions of r.
func (r *rotation[T]) rotate(e *graph.Env, dst, src heads[T]) {
	half := r.rotated / 2
	e.For(r.batch*r.tokens, max(1, elementGrain/(r.heads*r.size+1)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b, t := i/r.tokens, i%r.tokens
			at := r.position(b, t) * half
			cos, sin := r.cos[at:at+half], r.sin[at:at+half]
			for h := range r.heads {
				x, y := src.from(b, h, t)[:r.size], dst.from(b, h, t)[:r.size]
				if r.interleaved {
					for j := range half {
						u, v := x[2*j], x[2*j+1]
						y[2*j], y[2*j+1] = cos[j]*u-sin[j]*v, sin[j]*u+cos[j]*v
					}
				} else {
					for j := range half {
						u, v := x[j], x[half+j]
						y[j], y[half+j] = cos[j]*u-sin[j]*v, sin[j]*u+cos[j]*v
					}
				}
				copy(y[r.rotated:], x[r.rotated:])
			}
		}
	})
}
