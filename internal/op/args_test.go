package op

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// odds returns tensors of all sorts: what a file may connect to an operator.
func odds() []*tensor.Tensor {
	f := func(shape ...int) *tensor.Tensor {
		v := make([]float64, tensor.Shape(shape).Len())
		for i := range v {
			v[i] = float64(i%7) - 2.5
		}
		t, _ := tensor.FromFloat64s(tensor.Float32, shape, v)
		return t
	}
	out := []*tensor.Tensor{
		nil, f(), f(1), f(3), f(2, 3), f(2, 1, 3), f(1, 2, 1, 3), f(0), f(2, 0, 3), f(0, 3),
		tensor.Vector[int64](0), tensor.Vector[int64](-1), tensor.Vector[int64](1, 0), tensor.Vector[int64](), tensor.Scalar[int64](5),
		tensor.Scalar[int64](math.MaxInt64), tensor.Scalar[int64](math.MinInt64), tensor.Vector[int32](2, 0, -7),
		tensor.Of(tensor.Shape{2}, []int64{1, 2}), tensor.Vector("x"[0], 0, 3), tensor.Vector(true, false, true), tensor.Scalar(true),
		tensor.Strings(tensor.Shape{3}, []string{"1", "", "-inf"}), tensor.Vector[complex64](1, 2, 3),
		tensor.Vector(math.NaN(), math.Inf(1), 0), tensor.Vector(float32(math.NaN()), float32(math.Inf(-1)), 1e38),
		tensor.NewSequence(f(2)), tensor.NewOptional(nil), tensor.NewPacked(tensor.Float32, tensor.Shape{2, 3}, ramp{3}),
		tensor.NewPacked(tensor.Float16, tensor.Shape{2, 3}, ramp{3}),
	}
	for d := tensor.DType(1); d <= tensor.Int2; d++ {
		if d.Bits() > 0 {
			out = append(out, tensor.New(d, 2, 3))
		}
	}
	return out
}

// ramp decodes to 0, 1, 2, ...
type ramp struct{ cols int }

func (ramp) Scheme() tensor.Scheme { return tensor.Scheme{Code: "ramp"} }
func (r ramp) ByteLen() int        { return 0 }
func (r ramp) Row(dst []float32, row int) {
	for i := range dst {
		dst[i] = float32(row*r.cols + i)
	}
}

// oddAttrs returns attributes for the operators that do nothing without.
func oddAttrs(kind string, r *rand.Rand) map[string]any {
	axis := int64(r.IntN(6) - 3)
	switch kind {
	case "Cast", "BitCast":
		return map[string]any{"to": int64(r.IntN(28))}
	case "BitShift":
		return map[string]any{"direction": []string{"LEFT", "RIGHT"}[r.IntN(2)]}
	case "Softmax", "LogSoftmax", "Hardmax":
		return map[string]any{"axis": axis}
	case "ArgMax", "ArgMin":
		return map[string]any{"axis": axis, "keepdims": axis & 1}
	case "ReduceSum", "ReduceMean", "ReduceMax", "ReduceLogSumExp":
		return map[string]any{"noop_with_empty_axes": axis >> 1 & 1, "keepdims": axis & 1}
	case "DFT":
		return map[string]any{"inverse": axis & 1, "onesided": axis >> 1 & 1}
	case "RandomNormal", "RandomUniform":
		return map[string]any{"shape": []int64{3, axis}}
	case "Bernoulli":
		return map[string]any{"dtype": int64(r.IntN(28))}
	case "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss":
		return map[string]any{"reduction": []string{"none", "sum", "mean"}[r.IntN(3)]}
	case "ai.onnx.ml.LabelEncoder":
		return map[string]any{"keys_floats": []float32{-2.5, float32(math.NaN())}, "values_strings": []string{"a", "b"}}
	case "ai.onnx.ml.TreeEnsemble":
		return map[string]any{
			"n_targets": int64(2), "tree_roots": []int64{0}, "nodes_featureids": []int64{1}, "nodes_modes": tensor.Vector[uint8](0),
			"nodes_splits": tensor.Vector[float32](0.5), "nodes_truenodeids": []int64{0}, "nodes_falsenodeids": []int64{1}, "nodes_trueleafs": []int64{1},
			"nodes_falseleafs": []int64{1}, "leaf_targetids": []int64{0, 1}, "leaf_weights": tensor.Vector[float32](1, 2),
		}
	}
	return nil
}

// Bad input must give an error, and what Infer says must hold of what Eval makes.
func TestOddInputsDoNotPanic(t *testing.T) {
	pool := odds()
	families := []table{elementwiseOps, reduceOps, castOps, activationOps, randomOps, lossOps, signalOps, treeOps}
	for _, family := range families {
		for _, kind := range slices.Sorted(maps.Keys(family)) {
			t.Run(kind, func(t *testing.T) {
				r := rand.New(rand.NewPCG(7, uint64(len(kind))))
				for range 1500 {
					o, _ := New(kind)
					if err := SetAttrs(o, oddAttrs(kind, r)); err != nil {
						t.Fatal(err)
					}
					in := make([]*tensor.Tensor, r.IntN(5))
					for i := range in {
						in[i] = pool[r.IntN(len(pool))]
					}
					if r.IntN(2) == 0 { // more often something that fits
						for i := range in {
							in[i] = pool[1+r.IntN(6)]
						}
					}
					tryOdd(t, o, in)
				}
			})
		}
	}
}

func tryOdd(t *testing.T, o graph.Op, in []*tensor.Tensor) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic on %v: %v", fmt.Sprint(in), p)
		}
	}()
	types := make([]graph.Type, len(in))
	bare := make([]graph.Type, len(in))
	for i, x := range in {
		if x != nil {
			types[i] = graph.TypeOf(x)
			bare[i] = graph.Unranked(x.DType)
		}
	}
	inferred, inferErr := o.Infer(types)
	if _, err := o.Infer(bare); err != nil && inferErr == nil {
		t.Errorf("%v: Infer errs only where it knows less: %v", fmt.Sprint(in), err)
	}
	out, err := o.Eval(&graph.Env{}, in)
	if err != nil {
		return
	}
	if inferErr != nil {
		t.Errorf("%v: Infer: %v, but Eval works", fmt.Sprint(in), inferErr)
		return
	}
	for i, x := range out {
		if x != nil {
			checkInferred(t, i, inferred[i], x)
		}
	}
}

func TestWant(t *testing.T) {
	x := tensor.Scalar[float32](1)
	for _, c := range []struct {
		in             []*tensor.Tensor
		required, most int
		err            string
	}{
		{[]*tensor.Tensor{x}, 1, 1, ""},
		{[]*tensor.Tensor{x, nil}, 1, 3, ""},
		{[]*tensor.Tensor{x, nil}, 2, 2, "input 1 is missing"},
		{[]*tensor.Tensor{x}, 2, 2, "want 2 inputs, got 1"},
		{[]*tensor.Tensor{x, x, x, x}, 1, 3, "want 1 to 3 inputs, got 4"},
		{nil, 1, -1, "want at least 1 inputs, got 0"},
	} {
		got := ""
		if err := want(c.in, c.required, c.most); err != nil {
			got = err.Error()
		}
		if got != c.err {
			t.Errorf("want(%v, %d, %d) = %q, expected %q", c.in, c.required, c.most, got, c.err)
		}
	}
}

func TestPackedInputsAreDecoded(t *testing.T) {
	p := tensor.NewPacked(tensor.Float16, tensor.Shape{2, 3}, ramp{3})
	o, _ := New("Neg")
	out, err := o.Eval(&graph.Env{}, []*tensor.Tensor{p})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := out[0].Floats()
	if out[0].DType != tensor.Float16 || !slices.Equal(got, []float32{-0, -1, -2, -3, -4, -5}) {
		t.Errorf("got %v %v", out[0], got)
	}
}
