package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// FlexAttention is the operator FlexAttention of the ONNX preview domain: attention whose scores and probabilities
// [batch, heads, queries, keys] pass through subgraphs. Inputs: Q, K, V by heads, then the values that the subgraphs capture.
type FlexAttention struct {
	captures
	Scale            *float32     `attr:"scale"` // nil: 1/sqrt(head size)
	ScoreMod         *graph.Graph `attr:"score_mod"`
	ProbMod          *graph.Graph `attr:"prob_mod"`
	SoftmaxPrecision *int         `attr:"softmax_precision"`
}

func (*FlexAttention) Kind() string { return "ai.onnx.preview.FlexAttention" }

// Bodies returns the subgraphs that are there.
func (o *FlexAttention) Bodies() []*graph.Graph { return given(o.ScoreMod, o.ProbMod) }

// WithBodies returns a copy with other subgraphs.
func (o *FlexAttention) WithBodies(bodies []*graph.Graph) graph.Op {
	c := *o
	exchange(bodies, &c.ScoreMod, &c.ProbMod)
	return &c
}

// check reports attributes and subgraphs that do not fit.
func (o *FlexAttention) check() error {
	for _, g := range o.Bodies() {
		if len(g.Inputs) != 1+o.Captures() || len(g.Outputs) != 1 {
			return errors.New("score_mod and prob_mod: want one input (besides captured values) and one output")
		}
	}
	if o.SoftmaxPrecision != nil && !floats.has(tensor.DType(*o.SoftmaxPrecision)) {
		return fmt.Errorf("softmax_precision: want a floating-point type, got %v", tensor.DType(*o.SoftmaxPrecision))
	}
	return nil
}

// Infer needs the ranks of Q and V.
func (o *FlexAttention) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	in, _, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	for i := range 3 {
		if err := floats.check(i, in[i].DType); err != nil {
			return nil, err
		}
		if in[i].Ranked && len(in[i].Dims) != 4 {
			return nil, fmt.Errorf("input %d: want 4 dimensions, got %v", i, in[i])
		}
	}
	if !in[0].Ranked || !in[2].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	d := in[0].Dims
	return []graph.Type{graph.Ranked(in[0].DType, d[0], d[1], d[2], in[2].Dims[3])}, nil
}

// Eval computes scores and probabilities in float32, or in float64 for float64 inputs, unless softmax_precision says otherwise.
func (o *FlexAttention) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	in, captured, err := splitCaptures(o.captures, in)
	if err != nil {
		return nil, err
	}
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	precision := tensor.Float32
	if in[0].DType == tensor.Float64 {
		precision = tensor.Float64
	}
	if o.SoftmaxPrecision != nil {
		precision = tensor.DType(*o.SoftmaxPrecision)
	}
	if in[0].DType == tensor.Float64 || precision == tensor.Float64 {
		return one(evalFlex[float64](e, o, in, captured, precision))
	}
	return one(evalFlex[float32](e, o, in, captured, precision))
}

func evalFlex[T float32 | float64](e *graph.Env, o *FlexAttention, in, captured []*tensor.Tensor, precision tensor.DType) (*tensor.Tensor, error) {
	q, k, v := in[0], in[1], in[2]
	if q.Rank() != 4 || k.Rank() != 4 || v.Rank() != 4 {
		return nil, fmt.Errorf("Q, K and V: want 4 dimensions, got shapes %v, %v and %v", q.Shape, k.Shape, v.Shape)
	}
	batch, n, queries, size := q.Shape[0], q.Shape[1], q.Shape[2], q.Shape[3]
	kvHeads, keys, vSize := k.Shape[1], k.Shape[2], v.Shape[3]
	if !k.Shape.Equal(tensor.Shape{batch, kvHeads, keys, size}) || !v.Shape.Equal(tensor.Shape{batch, kvHeads, keys, vSize}) || kvHeads == 0 || n%kvHeads != 0 {
		return nil, fmt.Errorf("Q, K and V: shapes %v, %v and %v do not fit", q.Shape, k.Shape, v.Shape)
	}
	scale := 1 / math.Sqrt(float64(size))
	if o.Scale != nil {
		scale = float64(*o.Scale)
	}
	qh, err := headsOf[T](q, n, queries, size)
	if err != nil {
		return nil, fmt.Errorf("Q: %w", err)
	}
	kh, err := headsOf[T](k, kvHeads, keys, size)
	if err != nil {
		return nil, fmt.Errorf("K: %w", err)
	}
	vh, err := headsOf[T](v, kvHeads, keys, vSize)
	if err != nil {
		return nil, fmt.Errorf("V: %w", err)
	}
	each := func(f func(b, h int)) {
		e.For(batch*n, 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				f(i/n, i%n)
			}
		})
	}
	shape := []int{batch, n, queries, keys}
	scores, done := realOutput[T](e, precision, shape)
	each(func(b, h int) {
		gemmReal(e.Workers(), false, true, queries, keys, size, T(scale), qh.from(b, h, 0), size, kh.from(b, h*kvHeads/n, 0), size, 0,
			scores[(b*n+h)*queries*keys:], keys)
	})
	scores, err = modify[T](e, "score_mod", o.ScoreMod, done(), captured)
	if err != nil {
		return nil, err
	}
	probs, done := realOutput[T](e, precision, shape)
	e.For(batch*n*queries, max(1, elementGrain/(keys+1)), func(lo, hi int) {
		copy(probs[lo*keys:hi*keys], scores[lo*keys:hi*keys])
		for i := lo; i < hi && keys > 0; i++ {
			softmaxInPlace(probs[i*keys:][:keys])
		}
	})
	probs, err = modify[T](e, "prob_mod", o.ProbMod, done(), captured)
	if err != nil {
		return nil, err
	}
	y, yTensor := realOutput[T](e, q.DType, []int{batch, n, queries, vSize})
	each(func(b, h int) {
		gemmReal(e.Workers(), false, false, queries, vSize, keys, 1, probs[(b*n+h)*queries*keys:], keys, vh.from(b, h*kvHeads/n, 0), vSize, 0,
			y[(b*n+h)*queries*vSize:], vSize)
	})
	return yTensor(), nil
}

// modify passes t through a subgraph, if there is one, and returns its elements.
func modify[T float32 | float64](e *graph.Env, name string, g *graph.Graph, t *tensor.Tensor, captured []*tensor.Tensor) ([]T, error) {
	if g != nil {
		out, err := runBody(e, g, append([]*tensor.Tensor{t}, captured...))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if !out[0].Shape.Equal(t.Shape) || out[0].DType != t.DType {
			return nil, fmt.Errorf("%s: want %v, got %v", name, t, out[0])
		}
		t = out[0]
	}
	return realData[T](t)
}
