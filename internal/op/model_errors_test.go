package op

import (
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Inputs that do not fit are errors that name what is wrong, never panics.
func TestShapesThatDoNotFit(t *testing.T) {
	f := func(shape ...int) *tensor.Tensor { return tensor.New(tensor.Float32, shape...) }
	n := func(v ...int64) *tensor.Tensor { return tensor.Vector(v...) }
	i32 := func(v ...int32) *tensor.Tensor { return tensor.Vector(v...) }
	for _, c := range []struct {
		kind  string
		attrs map[string]any
		in    []*tensor.Tensor
	}{
		{"LSTM", nil, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 3)}},
		{"LSTM", nil, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), nil}},
		{"LSTM", map[string]any{"hidden_size": int64(3)}, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 2)}},
		{"LSTM", nil, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 2), nil, i32(3)}},
		{"LSTM", nil, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 2), nil, i32(-1)}},
		{"LSTM", nil, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 2), f(1, 3)}},
		{"LSTM", map[string]any{"activations": []string{"Sigmoid", "Tanh", "Nope"}}, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 2)}},
		{"LSTM", map[string]any{"activations": []string{"Tanh"}}, []*tensor.Tensor{f(2, 1, 3), f(1, 8, 3), f(1, 8, 2)}},
		{"GRU", map[string]any{"direction": "sideways"}, []*tensor.Tensor{f(2, 1, 3), f(1, 6, 3), f(1, 6, 2)}},
		{"GRU", map[string]any{"direction": "bidirectional"}, []*tensor.Tensor{f(2, 1, 3), f(1, 6, 3), f(1, 6, 2)}},
		{"RNN", nil, []*tensor.Tensor{n(1), f(1, 6, 3), f(1, 6, 2)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 3), f(1, 2, 3), f(1, 2, 3)}},
		{"Attention", map[string]any{"q_num_heads": int64(2), "kv_num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 3), f(1, 2, 3), f(1, 2, 3)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 3, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 0, 2, 4), f(1, 0, 2, 4)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 3), f(1, 2, 2, 4)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 3, 4)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), f(3, 2)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), f(2, 3)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), nil, f(1, 2, 1, 4)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), nil, f(1, 2, 1, 4), f(1, 2, 2, 4)}},
		{"Attention", nil, []*tensor.Tensor{f(1, 2, 2, 4), f(1, 2, 2, 4), f(1, 2, 2, 4), nil, nil, nil, n(3)}},
		{"RotaryEmbedding", nil, []*tensor.Tensor{f(1, 2, 8), f(4, 2), f(4, 2), n(0, 1)}},
		{"RotaryEmbedding", nil, []*tensor.Tensor{f(1, 1, 2, 4), f(4, 2), f(4, 2), n(0, 4)}},
		{"RotaryEmbedding", nil, []*tensor.Tensor{f(1, 1, 2, 4), f(4, 3), f(4, 3), n(0, 1)}},
		{"RotaryEmbedding", nil, []*tensor.Tensor{f(1, 1, 2, 4), f(4, 2), f(4, 2)}},
		{"RotaryEmbedding", map[string]any{"rotary_embedding_dim": int64(6)}, []*tensor.Tensor{f(1, 1, 2, 4), f(4, 3), f(4, 3), n(0, 1)}},
		{"LinearAttention", map[string]any{"q_num_heads": int64(2), "kv_num_heads": int64(0)}, []*tensor.Tensor{f(1, 2, 4), f(1, 2, 4), f(1, 2, 4)}},
		{"LinearAttention", map[string]any{"q_num_heads": int64(2), "kv_num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 4), f(1, 2, 4), f(1, 2, 4)}},
		{"LinearAttention", map[string]any{"q_num_heads": int64(2), "kv_num_heads": int64(2), "update_rule": "linear"}, []*tensor.Tensor{f(1, 2, 4), f(1, 3, 4), f(1, 2, 4)}},
		{"ai.onnx.preview.FlexAttention", nil, []*tensor.Tensor{f(1, 2, 3, 4), f(1, 2, 3, 5), f(1, 2, 3, 4)}},
		{"com.microsoft.Attention", map[string]any{"num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 3), f(3, 14)}},
		{"com.microsoft.Attention", map[string]any{"num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 3), f(3, 12), nil, i32(1, 2, 3)}},
		{"com.microsoft.MultiHeadAttention", map[string]any{"num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 3), f(1, 2, 4), f(1, 2, 4)}},
		{"com.microsoft.MultiHeadAttention", map[string]any{"num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 4)}},
		{"com.microsoft.MultiHeadAttention", map[string]any{"num_heads": int64(2)}, []*tensor.Tensor{f(1, 2, 4), f(1, 2, 4), f(1, 2, 4), f(5)}},
		{"com.microsoft.GroupQueryAttention", map[string]any{"num_heads": int64(2), "kv_num_heads": int64(1)}, []*tensor.Tensor{f(1, 1, 8), f(1, 1, 4), f(1, 1, 4), nil, nil, i32(4), i32(5)}},
		{"com.microsoft.GroupQueryAttention", map[string]any{"num_heads": int64(2), "kv_num_heads": int64(1)}, []*tensor.Tensor{f(1, 1, 8), f(1, 1, 4), f(1, 1, 4), f(1, 1, 2, 4), f(1, 1, 2, 4), i32(9), i32(5)}},
		{"com.microsoft.GroupQueryAttention", map[string]any{"num_heads": int64(2), "kv_num_heads": int64(1)}, []*tensor.Tensor{f(1, 1, 8), f(1, 1, 4), f(1, 1, 4), f(1, 1), f(1, 1), i32(0), i32(1)}},
		{"Resize", nil, []*tensor.Tensor{f(1, 1, 2, 2)}},
		{"Resize", nil, []*tensor.Tensor{f(1, 1, 2, 2), nil, f(4)}},
		{"Resize", nil, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(1, 1, 2)}},
		{"Resize", nil, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(1, 1, 2, -1)}},
		{"Resize", nil, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(1, 1, 1<<40, 1<<40)}},
		{"Resize", nil, []*tensor.Tensor{f(1, 1, 0, 2), nil, nil, n(1, 1, 2, 2)}},
		{"Resize", map[string]any{"mode": "best"}, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(1, 1, 2, 2)}},
		{"Resize", map[string]any{"axes": []int64{2, 2}}, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(2, 2)}},
		{"Resize", map[string]any{"axes": []int64{4}}, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(2)}},
		{"Resize", map[string]any{"coordinate_transformation_mode": "tf_crop_and_resize"}, []*tensor.Tensor{f(1, 1, 2, 2), nil, nil, n(1, 1, 2, 2)}},
		{"GridSample", nil, []*tensor.Tensor{f(1, 1, 2, 2), f(1, 2, 2, 3)}},
		{"GridSample", nil, []*tensor.Tensor{f(1, 1, 0, 2), f(1, 2, 2, 2)}},
		{"GridSample", nil, []*tensor.Tensor{f(1, 1), f(1, 2)}},
		{"AffineGrid", nil, []*tensor.Tensor{f(1, 2, 3), n(1, 1, 2)}},
		{"AffineGrid", nil, []*tensor.Tensor{f(1, 2, 3), n(2, 1, 2, 2)}},
		{"AffineGrid", nil, []*tensor.Tensor{f(1, 2, 3), n(1, 1, -2, 2)}},
		{"AffineGrid", nil, []*tensor.Tensor{f(1, 2, 3), n(1, 1, 1<<40, 1<<40)}},
		{"ai.onnx.preview.training.Adam", nil, []*tensor.Tensor{f(), n(1), f(2), f(2), f(2)}},
		{"ai.onnx.preview.training.Adagrad", nil, []*tensor.Tensor{f(), n(1), f(2), f(3), f(2)}},
		{"ai.onnx.preview.training.Adagrad", nil, []*tensor.Tensor{f(2), n(1), f(2), f(2), f(2)}},
	} {
		o, ok := New(c.kind)
		if !ok {
			t.Fatalf("no operator %s", c.kind)
		}
		if err := SetAttrs(o, c.attrs); err != nil {
			t.Fatal(err)
		}
		if out, err := o.Eval(&graph.Env{}, c.in); err == nil {
			t.Errorf("%s of %v with %v: want an error, got %v", c.kind, c.in, c.attrs, out)
		}
	}
}

func TestInferKeepsNamesOfDimensions(t *testing.T) {
	batch, steps := graph.Named("batch"), graph.Named("steps")
	f := func(d ...graph.Dim) graph.Type { return graph.Ranked(tensor.Float32, d...) }
	k := graph.Known
	ints := func(v ...int64) graph.Type { return graph.TypeOf(tensor.Vector(v...)) }
	for _, c := range []struct {
		kind  string
		attrs map[string]any
		in    []graph.Type
		want  []string
	}{
		{
			"LSTM", nil,
			[]graph.Type{f(steps, batch, k(3)), f(k(1), k(8), k(3)), f(k(1), k(8), k(2))},
			[]string{"float32[steps,1,batch,2]", "float32[1,batch,2]", "float32[1,batch,2]"},
		},
		{
			"GRU",
			map[string]any{"layout": int64(1), "direction": "bidirectional", "hidden_size": int64(2)},
			[]graph.Type{f(batch, steps, k(3)), graph.Unranked(tensor.Float32), graph.Unranked(tensor.Float32)},
			[]string{"float32[batch,steps,2,2]", "float32[batch,2,2]"},
		},
		{
			"Attention",
			map[string]any{"q_num_heads": int64(4), "kv_num_heads": int64(2)},
			[]graph.Type{f(batch, steps, k(8)), f(batch, steps, k(4)), f(batch, steps, k(6))},
			[]string{"float32[batch,steps,12]", "float32[batch,2,steps,2]", "float32[batch,2,steps,3]", "float32[batch,4,steps,steps]"},
		},
		{"RotaryEmbedding", nil, []graph.Type{f(batch, k(2), steps, k(4)), f(k(9), k(2)), f(k(9), k(2)), {}}, []string{"float32[batch,2,steps,4]"}},
		{"Resize", nil, []graph.Type{f(batch, k(3), k(4), steps), {}, graph.TypeOf(tensor.Vector[float32](1, 1, 2, 2)), {}}, []string{"float32[batch,3,8,?]"}},
		{"Resize", map[string]any{"axes": []int64{2, 3}}, []graph.Type{f(batch, k(3), k(4), steps), {}, {}, ints(7, 9)}, []string{"float32[batch,3,7,9]"}},
		{"Resize", map[string]any{"axes": []int64{2, 3}}, []graph.Type{f(batch, k(3), k(4), steps), {}, {}, graph.Unranked(tensor.Int64)}, []string{"float32[batch,3,?,?]"}},
		{"GridSample", nil, []graph.Type{f(batch, k(3), k(4), k(5)), f(batch, steps, k(7), k(2))}, []string{"float32[batch,3,steps,7]"}},
		{"AffineGrid", nil, []graph.Type{f(batch, k(2), k(3)), graph.Shaped(tensor.Int64, tensor.Shape{4})}, []string{"float32[batch,?,?,2]"}},
		{"ImageDecoder", nil, []graph.Type{graph.Ranked(tensor.Uint8, steps)}, []string{"uint8[?,?,3]"}},
		{
			"com.microsoft.GroupQueryAttention",
			map[string]any{"num_heads": int64(4), "kv_num_heads": int64(2)},
			[]graph.Type{f(batch, steps, k(8)), f(batch, steps, k(4)), f(batch, steps, k(4)), {}, {}, {}, {}},
			[]string{"float32[batch,steps,8]", "float32[batch,2,?,2]"},
		},
	} {
		o, _ := New(c.kind)
		if err := SetAttrs(o, c.attrs); err != nil {
			t.Fatal(err)
		}
		got, err := o.Infer(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		for i, w := range c.want {
			if got[i].String() != w {
				t.Errorf("%s: output %d: want %s, got %v", c.kind, i, w, got[i])
			}
		}
	}
}

// An output that nobody wants is not computed, and the others stay the same.
func TestAttentionSkipsUnwantedOutputs(t *testing.T) {
	in := make([]*tensor.Tensor, 3)
	for i := range in {
		in[i] = tensor.New(tensor.Float32, 1, 4, 6)
		for j, d := 0, tensor.Data[float32](in[i]); j < len(d); j++ {
			d[j] = float32((i+2)*j%7) - 3
		}
	}
	o, _ := New("Attention")
	if err := SetAttrs(o, map[string]any{"q_num_heads": int64(2), "kv_num_heads": int64(2), "is_causal": int64(1)}); err != nil {
		t.Fatal(err)
	}
	all, err := o.Eval(&graph.Env{}, in)
	if err != nil {
		t.Fatal(err)
	}
	some, err := o.Eval(&graph.Env{Out: []*graph.Value{{Name: "y"}}}, in)
	if err != nil {
		t.Fatal(err)
	}
	if all[1] == nil || all[2] == nil || all[3] == nil || some[1] != nil || some[2] != nil || some[3] != nil {
		t.Errorf("got %v and %v", all, some)
	}
	if err := compareGolden(some[0], all[0], 1e-6); err != nil {
		t.Error(err)
	}
}

// Modifiers run between the products: adding a constant to the scores changes nothing, doubling the probabilities doubles y.
func TestFlexAttentionModifiers(t *testing.T) {
	q := tensor.Of(tensor.Shape{1, 2, 2, 2}, []float32{1, 2, -1, 0.5, 0, 1, 2, -2})
	kv := tensor.Of(tensor.Shape{1, 1, 3, 2}, []float32{1, 0, 0.5, -1, 2, 1})
	plain, err := (&FlexAttention{}).Eval(&graph.Env{}, []*tensor.Tensor{q, kv, kv})
	if err != nil {
		t.Fatal(err)
	}
	body := func(name string) *graph.Graph {
		return &graph.Graph{Name: name, Inputs: []*graph.Value{{}, {}, {}}, Outputs: []*graph.Value{{}}}
	}
	o := &FlexAttention{ScoreMod: body("add"), ProbMod: body("scale")}
	o.SetCaptures(2)
	env := &graph.Env{RunGraph: func(g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
		if !in[0].Shape.Equal(tensor.Shape{1, 2, 2, 3}) {
			t.Errorf("%s: got %v", g.Name, in[0])
		}
		out := in[0].Clone()
		for i, v := range tensor.Data[float32](in[0]) {
			if g.Name == "add" {
				v += tensor.Item[float32](in[1])
			} else {
				v *= tensor.Item[float32](in[2])
			}
			tensor.Data[float32](out)[i] = v
		}
		return []*tensor.Tensor{out}, nil
	}}
	got, err := o.Eval(env, []*tensor.Tensor{q, kv, kv, tensor.Vector[float32](3), tensor.Vector[float32](2)})
	if err != nil {
		t.Fatal(err)
	}
	want := plain[0].Clone()
	for i := range tensor.Data[float32](want) {
		tensor.Data[float32](want)[i] *= 2
	}
	if err := compareGolden(got[0], want, 1e-6); err != nil {
		t.Error(err)
	}
	if len(o.Bodies()) != 2 {
		t.Errorf("got %d bodies", len(o.Bodies()))
	}
	if _, err := o.Eval(&graph.Env{}, []*tensor.Tensor{q, kv, kv, q, q}); err == nil {
		t.Error("without a way to run subgraphs: want an error")
	}
}
