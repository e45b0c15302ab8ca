package op

import (
	"math"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// sample runs a random operator and returns what it drew.
func sample(t *testing.T, e *graph.Env, kind string, attrs map[string]any, in ...*tensor.Tensor) []float64 {
	t.Helper()
	o, _ := New(kind)
	if _, ok := o.(graph.Random); !ok {
		t.Errorf("%s is not marked random", kind)
	}
	if err := SetAttrs(o, attrs); err != nil {
		t.Fatal(err)
	}
	out, err := o.Eval(e, in)
	if err != nil {
		t.Fatal(err)
	}
	v, err := out[0].Float64s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func spreadOf(v []float64) (mean, deviation float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		deviation += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, math.Sqrt(deviation)
}

func TestRandomMoments(t *testing.T) {
	shape := []int64{100, 200}
	like := tensor.New(tensor.Float64, 20000)
	for _, c := range []struct {
		kind            string
		attrs           map[string]any
		in              []*tensor.Tensor
		mean, deviation float64
	}{
		{"RandomNormal", map[string]any{"shape": shape, "mean": float32(2), "scale": float32(3)}, nil, 2, 3},
		{"RandomUniform", map[string]any{"shape": shape, "low": float32(-1), "high": float32(5)}, nil, 2, 6 / math.Sqrt(12)},
		{"RandomNormalLike", map[string]any{"dtype": int64(1)}, []*tensor.Tensor{like}, 0, 1},
		{"RandomUniformLike", nil, []*tensor.Tensor{like}, 0.5, 1 / math.Sqrt(12)},
		{"Bernoulli", map[string]any{"dtype": int64(7)}, []*tensor.Tensor{filled(20000, 0.3)}, 0.3, math.Sqrt(0.21)},
		{"Multinomial", map[string]any{"sample_size": int64(20000)}, []*tensor.Tensor{logits(0.5, 0.25, 0, 0.25)}, 1, math.Sqrt(1.5)},
	} {
		v := sample(t, &graph.Env{Seed: 11}, c.kind, c.attrs, c.in...)
		mean, deviation := spreadOf(v)
		if len(v) != 20000 || math.Abs(mean-c.mean) > 0.04*c.deviation || math.Abs(deviation/c.deviation-1) > 0.03 {
			t.Errorf("%s: mean %v, deviation %v of %d, want %v, %v", c.kind, mean, deviation, len(v), c.mean, c.deviation)
		}
	}
}

func filled(n int, p float32) *tensor.Tensor {
	v := make([]float32, n)
	spread(v, p)
	return tensor.Vector(v...)
}

func logits(p ...float64) *tensor.Tensor {
	v := make([]float64, len(p))
	for i, x := range p {
		v[i] = math.Log(x) + 7
	}
	return tensor.Of(tensor.Shape{1, len(p)}, v)
}

// A seed attribute fixes the numbers; without one they follow the seed of the run.
func TestRandomSeeds(t *testing.T) {
	draw := func(env uint64, attrs map[string]any) float64 {
		return sample(t, &graph.Env{Seed: env}, "RandomNormalLike", attrs, tensor.Vector[float32](0))[0]
	}
	one, two := map[string]any{"seed": float32(1)}, map[string]any{"seed": float32(2)}
	if draw(1, one) != draw(9, one) || draw(1, one) == draw(1, two) {
		t.Error("the seed attribute does not decide")
	}
	if draw(1, nil) != draw(1, nil) || draw(1, nil) == draw(9, nil) {
		t.Error("the seed of the run does not decide")
	}
	e := &graph.Env{Seed: 1}
	x := tensor.Vector[float32](0)
	if a, b := sample(t, e, "RandomNormalLike", nil, x), sample(t, e, "RandomNormalLike", nil, x); a[0] == b[0] {
		t.Error("two operators of one run draw the same numbers")
	}
}

func TestDropout(t *testing.T) {
	o, _ := New("Dropout")
	x := filled(10000, 3)
	run := func(in ...*tensor.Tensor) []*tensor.Tensor {
		out, err := o.Eval(&graph.Env{Seed: 5}, in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := run(x); out[0] != x || !tensor.Data[bool](out[1])[17] {
		t.Error("inference changes the data")
	}
	out := run(x, tensor.Scalar[float32](0.2), tensor.Scalar(true))
	kept := 0
	for i, v := range tensor.Data[float32](out[0]) {
		want := float32(0)
		if tensor.Data[bool](out[1])[i] {
			kept++
			want = 3 / 0.8
		}
		if math.Abs(float64(v-want)) > 1e-6 {
			t.Fatalf("element %d is %v, want %v", i, v, want)
		}
	}
	if kept < 7800 || kept > 8200 {
		t.Errorf("%d of 10000 kept at a ratio of 0.2", kept)
	}
	if _, err := o.Eval(&graph.Env{}, []*tensor.Tensor{x, tensor.Scalar[float32](1.5)}); err == nil {
		t.Error("a ratio of 1.5 is accepted")
	}
}
