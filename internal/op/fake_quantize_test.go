package op_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// FakeQuantize is QuantizeLinear and DequantizeLinear; its gradients are those of the pair's straight-through ones and, for the scale, of Esser et
// al., in single as in double precision.
func TestFakeQuantize(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x, d := make([]float32, 2*3*700), make([]float32, 2*3*700)
	for i := range x {
		x[i], d[i] = float32(r.NormFloat64()*40), float32(r.NormFloat64())
	}
	wide := func(v []float32) []float64 {
		out := make([]float64, len(v))
		for i, f := range v {
			out[i] = float64(f)
		}
		return out
	}
	shape := tensor.Shape{2, 3, 700}
	scale := []float32{0.5, 0.31, 1.7}
	o := &op.FakeQuantize{Axis: 1, Low: -100, High: 120, Zero: 3, Learn: true}
	in := []*tensor.Tensor{tensor.Of(shape, x), tensor.Vector(scale...)}
	y, err := o.Eval(&graph.Env{}, in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Backward(&graph.Env{}, in, y, []*tensor.Tensor{tensor.Of(shape, d)})
	if err != nil {
		t.Fatal(err)
	}
	double, err := o.Backward(&graph.Env{}, []*tensor.Tensor{tensor.Of(shape, wide(x)), tensor.Vector(wide(scale)...)}, nil, []*tensor.Tensor{tensor.Of(shape, wide(d))})
	if err != nil {
		t.Fatal(err)
	}
	sums := make([]float64, 3)
	for i, v := range x {
		k := i / 700 % 3
		q := math.RoundToEven(float64(v/scale[k])) + 3
		inside := q >= -100 && q <= 120
		c := min(max(q, -100), 120) - 3
		if w := float32(c) * scale[k]; tensor.Data[float32](y[0])[i] != w {
			t.Fatalf("%v became %v, want %v", v, tensor.Data[float32](y[0])[i], w)
		}
		want := float32(0)
		if inside {
			want = d[i]
			sums[k] += float64(d[i]) * (c - float64(v)/float64(scale[k]))
		} else {
			sums[k] += float64(d[i]) * c
		}
		if g := tensor.Data[float32](got[0])[i]; g != want {
			t.Fatalf("gradient of %v is %v, want %v", v, g, want)
		}
	}
	for k, s := range sums {
		s /= math.Sqrt(1400 * 117)
		for _, g := range []float64{float64(tensor.Data[float32](got[1])[k]), tensor.Data[float64](double[1])[k]} {
			if math.Abs(g-s) > 1e-4*(1+math.Abs(s)) {
				t.Errorf("gradient of scale %d is %v, want %v", k, g, s)
			}
		}
	}
	// The pair gives the same values and gradients.
	q, dq := &op.QuantizeLinear{Axis: 1, OutputDType: int(tensor.Int8)}, &op.DequantizeLinear{Axis: 1}
	zero := tensor.New(tensor.Int8, 3)
	codes, err := q.Eval(&graph.Env{}, []*tensor.Tensor{in[0], in[1], zero})
	if err != nil {
		t.Fatal(err)
	}
	back, err := dq.Backward(&graph.Env{}, []*tensor.Tensor{codes[0], in[1], zero}, nil, []*tensor.Tensor{tensor.Of(shape, d)})
	if err != nil {
		t.Fatal(err)
	}
	through, err := q.Backward(&graph.Env{}, []*tensor.Tensor{in[0], in[1], zero}, codes, []*tensor.Tensor{back[0]})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range x {
		k := i / 700 % 3
		want := d[i]
		if c := math.RoundToEven(float64(v / scale[k])); c < -128 || c > 127 {
			want = 0
		}
		if g := tensor.Data[float32](through[0])[i]; math.Abs(float64(g-want)) > 1e-6*math.Abs(float64(want)) {
			t.Fatalf("gradient of %v through the pair is %v, want %v", v, g, want)
		}
	}
}
