package quantize

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// biasRounding rounds a bias to multiples of the scale of the sums that it is added to, the product of those of input and weight, as it is written:
// with few bits that is no small step. Inputs: the bias, whose last dimension is that of the channels, and both scales. The gradient passes
// straight through. It is never saved.
type biasRounding struct{ x, w *op.FakeQuantize }

func (*biasRounding) Kind() string { return "BiasRounding" }

// Infer implements [graph.Op].
func (*biasRounding) Infer(in []graph.Type) ([]graph.Type, error) {
	t := in[0]
	t.Const = nil
	return []graph.Type{t}, nil
}

// Eval implements [graph.Op].
func (o *biasRounding) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	for i, t := range in {
		if t == nil || t.DType != tensor.Float32 {
			return nil, fmt.Errorf("input %d: want float32, got %v", i, t)
		}
	}
	y := e.New(tensor.Float32, in[0].Shape...)
	x, w := float32(o.x.Step(float64(tensor.Item[float32](in[1])))), tensor.Data[float32](in[2])
	to := tensor.Data[float32](y)
	for i, b := range tensor.Data[float32](in[0]) {
		s := x * float32(o.w.Step(float64(w[i%len(w)])))
		q := math.RoundToEven(float64(b) / float64(s))
		if to[i] = b; math.Abs(q) <= math.MaxInt32 { // else it stays in float
			to[i] = float32(q * float64(s))
		}
	}
	return []*tensor.Tensor{y}, nil
}

// Recalls implements [graph.Recalling].
func (*biasRounding) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*biasRounding) Backward(_ *graph.Env, _, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return []*tensor.Tensor{dOut[0], nil, nil}, nil
}

// sumScale is what the sums of a layer are scaled by.
type sumScale struct {
	x, w    *graph.Value
	ox, ow  *op.FakeQuantize
	channel int // values of w
}

// bias rounds input i of n, a parameter that is added to sums.
func (w *qatWriter) bias(n *graph.Node, i int, s sumScale) {
	b := n.In[i]
	shape := b.Data.Shape()
	if len(shape) == 0 || b.Data.DType() != tensor.Float32 || s.channel > 1 && shape[len(shape)-1] != s.channel {
		return
	}
	w.Trained = append(w.Trained, b)
	t := b.Type
	t.Const = nil
	m := &graph.Node{Name: w.nodes.Fresh(b.Name + "_rounded"), Op: &biasRounding{s.ox, s.ow}, In: []*graph.Value{b, s.x, s.w}}
	v := &graph.Value{Name: w.values.Fresh(b.Name + "_rounded"), Type: t, Node: m}
	m.Out = []*graph.Value{v}
	w.out = append(w.out, m)
	n.In[i] = v
}
