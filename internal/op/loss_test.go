package op

import (
	"math"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Examples 1 to 3 of the specification of NegativeLogLikelihoodLoss, and its first with a class that is ignored.
func TestNegativeLogLikelihoodLoss(t *testing.T) {
	x := tensor.Of(tensor.Shape{2, 3, 2}, []float32{1, 2, 2, 2, 3, 2, 0, 1, 2, 2, 1, 2})
	target := tensor.Of(tensor.Shape{2, 2}, []int64{2, 1, 0, 2})
	weight := tensor.Vector[float32](0.2, 0.3, 0.1)
	for _, c := range []struct {
		attrs map[string]any
		in    []*tensor.Tensor
		want  []float64
	}{
		{map[string]any{"reduction": "none"}, []*tensor.Tensor{x, target}, []float64{-3, -2, 0, -2}},
		{map[string]any{"reduction": "sum"}, []*tensor.Tensor{x, target, weight}, []float64{-1.1}},
		{nil, []*tensor.Tensor{x, target, weight}, []float64{-1.1 / 0.7}},
		{map[string]any{"ignore_index": int64(2)}, []*tensor.Tensor{x, target}, []float64{-1}},
	} {
		o, _ := New("NegativeLogLikelihoodLoss")
		if err := SetAttrs(o, c.attrs); err != nil {
			t.Fatal(err)
		}
		out, err := o.Eval(&graph.Env{}, c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := out[0].Float64s()
		if len(got) != len(c.want) {
			t.Fatalf("%v: got %v", c.attrs, got)
		}
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 1e-6 {
				t.Errorf("%v: got %v, want %v", c.attrs, got, c.want)
			}
		}
	}
}

func TestLossErrors(t *testing.T) {
	o, _ := New("SoftmaxCrossEntropyLoss")
	x := tensor.New(tensor.Float32, 2, 3)
	for message, in := range map[string][]*tensor.Tensor{
		"class 3 is not among 3 classes":     {x, tensor.Vector[int64](0, 3)},
		"input 1: want shape 2, got 3":       {x, tensor.Vector[int64](0, 1, 2)},
		"input 2: want float32[3], got":      {x, tensor.Vector[int64](0, 1), tensor.Vector[float32](1)},
		"input 0: want at least 2 dimension": {tensor.New(tensor.Float32, 2), tensor.Vector[int64](0, 1)},
	} {
		if _, err := o.Eval(&graph.Env{}, in); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, want %q", err, message)
		}
	}
}
