package onnx

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestMissing compares with what ONNX Runtime says when it loads such models.
func TestMissing(t *testing.T) {
	u8, i8, f, f16, f64 := tensor.Uint8, tensor.Int8, tensor.Float32, tensor.Float16, tensor.Float64
	for _, c := range []struct {
		kind  string
		opset int
		in    []tensor.DType
		out   tensor.DType
		want  string
	}{
		{"Add", 13, []tensor.DType{f, f}, f, ""},
		{"Add", 13, []tensor.DType{i8, i8}, i8, ""}, // it is written with operator set 14
		{"Add", 14, []tensor.DType{f16, f16}, f16, ""},
		{"Relu", 14, []tensor.DType{i8}, i8, ""},
		{"Erf", 13, []tensor.DType{f64}, f64, "float64 -> float64"},
		{"RandomUniformLike", 13, []tensor.DType{f}, f, ""},
		{"RandomUniformLike", 22, []tensor.DType{f}, f, "for operator set 22"},
		{"QLinearMatMul", 13, []tensor.DType{u8, f, u8, i8, f, i8, f, u8}, u8, ""},
		{"QLinearMatMul", 13, []tensor.DType{u8, f, u8, i8, f, i8, f, i8}, i8, "uint8, float32, uint8, int8, float32, int8, float32, int8 -> int8"},
		{"QLinearMatMul", 13, []tensor.DType{i8, f, i8, u8, f, u8, f, i8}, i8, "int8, float32, int8, uint8"},
		{"com.microsoft.QLinearAdd", 13, []tensor.DType{u8, f, u8, u8, f, u8, f, u8}, u8, ""},
		{"com.microsoft.QLinearAdd", 13, []tensor.DType{u8, f, u8, i8, f, i8, f, u8}, u8, "uint8, float32, uint8, int8"},
	} {
		o, ok := op.New(c.kind)
		if !ok {
			t.Fatal(c.kind)
		}
		n := &graph.Node{Name: "n", Op: o}
		g := &graph.Graph{Name: "g", Nodes: []*graph.Node{n}}
		for i, d := range c.in {
			v := &graph.Value{Name: string(rune('a' + i)), Type: graph.Ranked(d, graph.Known(2), graph.Known(2))}
			g.Inputs, n.In = append(g.Inputs, v), append(n.In, v)
		}
		n.Out = []*graph.Value{{Name: "y", Node: n, Type: graph.Ranked(c.out, graph.Known(2), graph.Known(2))}}
		g.Outputs = n.Out
		missing, err := Missing(context.Background(), &model.Model{Graph: g, Opset: map[string]int{"": c.opset}}, model.SaveOptions{})
		if err != nil {
			t.Errorf("%s %v: %v", c.kind, c.in, err)
			continue
		}
		got := ""
		for _, m := range missing {
			got += m.String()
		}
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s %v -> %v, operator set %d: %q, want %q", c.kind, c.in, c.out, c.opset, got, c.want)
		}
	}
}

// TestMissingOfConformance: what of the ONNX cases ONNX Runtime 1.32 refuses to load, as it says itself: 69 files of those that are
// written here, 18 of them for attributes, which the table does not tell.
func TestMissingOfConformance(t *testing.T) {
	refused := 0
	for _, c := range conformanceCases(t) {
		m, err := read(context.Background(), c.model, filepath.Join(t.TempDir(), "model.onnx"))
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		missing, err := Missing(context.Background(), m, model.SaveOptions{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(missing) > 0 {
			refused++
		}
	}
	if refused != 52 {
		t.Errorf("%d cases have operators without a kernel, want 52: 51 that do not load and test_range_bfloat16_type_positive_delta", refused)
	}
}
