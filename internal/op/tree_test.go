package op

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ensemble is two trees on two features: x0 <= 0 leads to leaf 0, else x1 in {2, 3} decides between leaves 1 and 2; and
// x1 > 5 decides between leaves 3 and 0. Leaves weigh 1, 10, 100 and 1000; the last belongs to target 1.
func ensemble(attrs map[string]any) (*TreeEnsemble, error) {
	all := map[string]any{
		"n_targets": int64(2), "tree_roots": []int64{0, 2}, "nodes_featureids": []int64{0, 1, 1},
		"nodes_modes": tensor.Vector[uint8](0, 6, 3), "nodes_splits": tensor.Vector[float32](0, 0, 5),
		"nodes_truenodeids": []int64{0, 1, 3}, "nodes_falsenodeids": []int64{1, 2, 0},
		"nodes_trueleafs": []int64{1, 1, 1}, "nodes_falseleafs": []int64{0, 1, 1},
		"membership_values": tensor.Vector[float32](2, 3, float32(math.NaN())),
		"leaf_targetids":    []int64{0, 0, 0, 1}, "leaf_weights": tensor.Vector[float32](1, 10, 100, 1000),
	}
	for k, v := range attrs {
		all[k] = v
	}
	o, _ := New("ai.onnx.ml.TreeEnsemble")
	return o.(*TreeEnsemble), SetAttrs(o, all)
}

func TestTreeEnsemble(t *testing.T) {
	nan := float32(math.NaN())
	x := tensor.Of(tensor.Shape{4, 2}, []float32{-1, 0, 1, 3, 1, 6, nan, nan})
	for _, c := range []struct {
		attrs map[string]any
		want  []float32
	}{
		{nil, []float32{2, 0, 11, 0, 100, 1000, 101, 0}},
		{map[string]any{"aggregate_function": int64(0)}, []float32{1, 0, 5.5, 0, 50, 500, 50.5, 0}},
		{map[string]any{"aggregate_function": int64(2)}, []float32{1, 0, 1, 0, 100, 1000, 1, 0}},
		{map[string]any{"aggregate_function": int64(3)}, []float32{1, 0, 10, 0, 100, 1000, 100, 0}},
		{map[string]any{"nodes_missing_value_tracks_true": []int64{1, 0, 1}}, []float32{2, 0, 11, 0, 100, 1000, 1, 1000}},
	} {
		o, err := ensemble(c.attrs)
		if err != nil {
			t.Fatal(err)
		}
		out, err := o.Eval(&graph.Env{}, []*tensor.Tensor{x})
		if err != nil {
			t.Fatal(err)
		}
		if got := tensor.Data[float32](out[0]); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.attrs, got, c.want)
		}
	}
}

func TestTreeEnsembleErrors(t *testing.T) {
	for message, attrs := range map[string]map[string]any{
		"is its own descendant": {"nodes_truenodeids": []int64{1, 0, 3}, "nodes_trueleafs": []int64{0, 0, 1}},
		"tree_roots: 7":         {"tree_roots": []int64{7}},
		"leads to 9":            {"nodes_falsenodeids": []int64{1, 9, 0}},
		"membership_values":     {"membership_values": tensor.Vector[float32](2)},
		"leaf_targetids: 2":     {"leaf_targetids": []int64{0, 0, 0, 2}},
		"want 3 values, got 2":  {"nodes_modes": tensor.Vector[uint8](0, 6)},
	} {
		o, err := ensemble(attrs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Infer([]graph.Type{graph.Unranked(tensor.Float32)}); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, want %q", err, message)
		}
	}
	o, _ := ensemble(nil)
	if _, err := o.Eval(&graph.Env{}, []*tensor.Tensor{tensor.New(tensor.Float32, 1, 1)}); err == nil {
		t.Error("a missing feature is no error")
	}
}

func TestLabelEncoder(t *testing.T) {
	nan := float32(math.NaN())
	o, _ := New("ai.onnx.ml.LabelEncoder")
	if err := SetAttrs(o, map[string]any{"keys_floats": []float32{1, nan, 0, 1}, "values_strings": []string{"a", "b", "c", "d"}}); err != nil {
		t.Fatal(err)
	}
	x := tensor.Vector(1, nan, float32(math.Copysign(0, -1)), 5)
	out, err := o.Eval(&graph.Env{}, []*tensor.Tensor{x})
	if err != nil || !slices.Equal(out[0].Text(), []string{"d", "b", "c", "_Unused"}) {
		t.Errorf("got %v, %v", out, err)
	}
	if _, err := o.Eval(&graph.Env{}, []*tensor.Tensor{tensor.Vector[int64](1)}); err == nil {
		t.Error("integers are looked up among floats")
	}
}
