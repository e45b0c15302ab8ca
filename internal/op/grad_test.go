package op_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// gradCase is an operator with inputs whose gradients are compared with finite differences.
type gradCase struct {
	kind   string
	attrs  map[string]any
	in     []*tensor.Tensor
	adjust func(o graph.Op)
	// fixed are float inputs that have no gradient; only the outputs in out count (nil: the first).
	fixed []int
	out   []int
}

// draws makes the inputs of cases.
type draws struct{ *rand.Rand }

// real returns numbers away from zero by at least 0.1, where many derivatives jump, and from each other.
func (r draws) real(shape ...int) *tensor.Tensor {
	return r.between(0.1, 1.5, true, shape...)
}

func (r draws) positive(shape ...int) *tensor.Tensor { return r.between(0.2, 1.7, false, shape...) }

func (r draws) between(lo, hi float64, signed bool, shape ...int) *tensor.Tensor {
	v := make([]float64, tensor.Shape(shape).Len())
	for i := range v {
		v[i] = lo + (hi-lo)*r.Float64()
		if signed && r.IntN(2) == 0 {
			v[i] = -v[i]
		}
	}
	return tensor.Of(shape, v)
}

func ints(v ...int64) *tensor.Tensor { return tensor.Vector(v...) }

func checkGradient(t *testing.T, c gradCase) {
	t.Helper()
	o, ok := op.New(c.kind)
	if !ok {
		t.Fatalf("%s: there is no such operator", c.kind)
	}
	if err := op.SetAttrs(o, c.attrs); err != nil {
		t.Fatalf("%s: %v", c.kind, err)
	}
	if c.adjust != nil {
		c.adjust(o)
	}
	d, ok := o.(graph.Differentiable)
	if !ok {
		t.Fatalf("%s has no gradient", c.kind)
	}
	what := func() string { return fmt.Sprintf("%s %v on %v", c.kind, c.attrs, c.in) }
	out, err := o.Eval(&graph.Env{}, c.in)
	if err != nil {
		t.Fatalf("%s: %v", what(), err)
	}
	counted := c.out
	if counted == nil {
		counted = []int{0}
	}
	r := rand.New(rand.NewPCG(11, 12))
	dOut := make([]*tensor.Tensor, len(out))
	for _, k := range counted {
		v := make([]float64, out[k].Len())
		for i := range v {
			v[i] = r.NormFloat64()
		}
		dOut[k] = tensor.Of(out[k].Shape, v)
	}
	// What is not read must not be needed.
	in, results := append([]*tensor.Tensor{}, c.in...), append([]*tensor.Tensor{}, out...)
	reads, remembers := ^uint64(0), uint64(0)
	if f, ok := d.(graph.Recalling); ok {
		reads, remembers = f.Recalls()
	}
	outline := func(ts []*tensor.Tensor, set uint64) {
		for i, t := range ts {
			if t != nil && set>>i&1 == 0 {
				ts[i] = &tensor.Tensor{Shape: t.Shape, DType: t.DType}
			}
		}
	}
	outline(in, reads)
	outline(results, remembers)
	got, err := d.Backward(&graph.Env{}, in, results, dOut)
	if err != nil {
		t.Fatalf("%s: %v", what(), err)
	}
	value := func() float64 {
		out, err := o.Eval(&graph.Env{}, c.in)
		if err != nil {
			t.Fatalf("%s: %v", what(), err)
		}
		sum := 0.0
		for _, k := range counted {
			y := tensor.Data[float64](out[k])
			for i, g := range tensor.Data[float64](dOut[k]) {
				sum += g * y[i]
			}
		}
		return sum
	}
	for i, x := range c.in {
		if x == nil || x.DType != tensor.Float64 {
			continue
		}
		var grad []float64
		if i < len(got) && got[i] != nil {
			if !got[i].Shape.Equal(x.Shape) {
				t.Fatalf("%s: gradient of input %d has shape %v", what(), i, got[i].Shape)
			}
			grad = tensor.Data[float64](got[i])
		}
		skip := false
		for _, f := range c.fixed {
			skip = skip || f == i
		}
		if skip {
			continue
		}
		if grad == nil && x.Len() > 0 {
			t.Fatalf("%s: input %d has no gradient", what(), i)
		}
		values := tensor.Data[float64](x)
		scale := 0.0
		for _, g := range grad {
			scale = max(scale, math.Abs(g))
		}
		for k := range values {
			const h = 1e-5
			old := values[k]
			values[k] = old + h
			up := value()
			values[k] = old - h
			down := value()
			values[k] = old
			want := (up - down) / (2 * h)
			if !(math.Abs(want-grad[k]) <= 1e-5*(scale+math.Abs(want))+1e-9) {
				t.Fatalf("%s: gradient of element %d of input %d is %v, finite differences say %v", what(), k, i, grad[k], want)
			}
		}
	}
}

func TestGradients(t *testing.T) {
	for seed := range uint64(3) {
		for _, c := range gradCases(draws{rand.New(rand.NewPCG(1, seed))}) {
			t.Run(c.kind, func(t *testing.T) { checkGradient(t, c) })
		}
	}
}
