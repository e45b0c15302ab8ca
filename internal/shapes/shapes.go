// Package shapes builds networks of well-known shapes with seeded random weights: what sizes and speeds are measured on where
// trained weights would add nothing but a download. [BERT] is an encoder, [ResNet] and [MobileNetV2] are image classifiers.
//
// Graphs are in the form that exporters of the field write: LayerNormalization and BatchNormalization are kept, GELU is spelled
// out over Erf, attention over MatMul and Softmax.
package shapes

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

type attrs map[string]any

// builder adds operators by name and weights by distribution to a graph builder.
type builder struct {
	*graph.Builder
	seed    uint64
	weights uint64 // made so far; numbers the streams of random values
}

func newBuilder(name string, seed uint64) *builder {
	return &builder{Builder: graph.NewBuilder(name), seed: seed}
}

// node records an operator with one output.
func (b *builder) node(name, kind string, a attrs, in ...*graph.Value) *graph.Value {
	o, ok := op.New(kind)
	if !ok {
		panic("shapes: there is no operator " + kind)
	}
	if err := op.SetAttrs(o, a); err != nil {
		b.Errorf("%s: %s: %w", name, kind, err)
	}
	return b.Add(name, o, in...)
}

// ints records a vector of integers, such as a shape.
func (b *builder) ints(name string, v ...int64) *graph.Value {
	return b.Param(name, tensor.Vector(v...))
}

func (b *builder) scalar(name string, v float32) *graph.Value {
	return b.Param(name, tensor.Scalar(v))
}

// normal declares a weight of independent normal values.
func (b *builder) normal(name string, mean, deviation float64, shape ...int) *graph.Value {
	return b.random(name, shape, func(r *rand.Rand) float64 { return mean + deviation*r.NormFloat64() })
}

// uniform declares a weight of independent values from [lo, hi).
func (b *builder) uniform(name string, lo, hi float64, shape ...int) *graph.Value {
	return b.random(name, shape, func(r *rand.Rand) float64 { return lo + (hi-lo)*r.Float64() })
}

func (b *builder) random(name string, shape tensor.Shape, draw func(*rand.Rand) float64) *graph.Value {
	b.weights++
	return b.Source(name, &randomWeight{shape: shape, seed: b.seed, stream: b.weights, draw: draw})
}

// randomWeight is a float32 parameter whose values are drawn when they are first needed, so that sizes and plans cost nothing.
type randomWeight struct {
	shape        tensor.Shape
	seed, stream uint64
	draw         func(*rand.Rand) float64
	once         sync.Once
	t            *tensor.Tensor
}

func (w *randomWeight) Shape() tensor.Shape { return w.shape }

func (w *randomWeight) DType() tensor.DType { return tensor.Float32 }

// Load draws the values in pieces, each from a generator of its own, so that they do not depend on the number of threads.
func (w *randomWeight) Load() (*tensor.Tensor, error) {
	w.once.Do(func() {
		const piece = 1 << 16
		v := make([]float32, w.shape.Len())
		kernel.Shared().For((len(v)+piece-1)/piece, 1, func(lo, hi int) {
			for p := lo; p < hi; p++ {
				r := rand.New(rand.NewPCG(w.seed, w.stream<<32|uint64(p)))
				for i := p * piece; i < min((p+1)*piece, len(v)); i++ {
					v[i] = float32(w.draw(r))
				}
			}
		})
		w.t = tensor.Of(w.shape, v)
	})
	return w.t, nil
}

// check returns an error that names every size that is not positive.
func check(network string, sizes map[string]int) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		if n := sizes[name]; n < 1 {
			errs = append(errs, fmt.Errorf("%s: %s is %d; want at least 1", network, name, n))
		}
	}
	return errors.Join(errs...)
}

// he is the standard deviation of weights that keep the mean square of activations through a rectifier (He et al., "Delving
// Deep into Rectifiers", 2015).
func he(fanIn int) float64 { return math.Sqrt(2 / float64(fanIn)) }
