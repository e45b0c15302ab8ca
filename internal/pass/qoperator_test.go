package pass

import (
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// A graph in QOperator form gives the codes of its QDQ form to within one, as it is and lowered, and lowers to the same operators.
func TestWriteQOperators(t *testing.T) {
	q := "QuantizeLinear "
	want := map[string]string{ // where the operators are not those of the QDQ form, or may surprise
		"conv":                       q + "QLinearConv",
		"conv with Clip":             q + "QLinearConv Clip",
		"gemm":                       q + "com.microsoft.QGemm Clip",
		"matmul of activations":      q + q + "QLinearMatMul",
		"average pool":               q + "com.microsoft.QLinearAveragePool",
		"concat of other parameters": q + q + "com.microsoft.QLinearConcat",
	}
	seen := 0
	for _, c := range qdqCases() {
		t.Run(c.name, func(t *testing.T) {
			b := &qdqNet{net: newNet(t, c.name)}
			g := b.graph(c.build(b)...)
			if err := g.Infer(); err != nil {
				t.Fatal(err)
			}
			in := feed(g)
			qdq := evaluate(t, g, in)
			fused := g.Clone()
			run(t, fused, FuseQDQ, RemoveDead)
			run(t, g, WriteQOperators, (*graph.Graph).Verify, (*graph.Graph).Infer)
			got := kinds(g)
			if w, ok := want[c.name]; ok {
				seen++
				if got != w {
					t.Errorf("written as %s, want %s", got, w)
				}
			}
			for _, n := range g.Nodes {
				if _, ok := op.New(n.Op.Kind()); !ok {
					t.Errorf("%s is no operator of ONNX", n.Op.Kind())
				}
			}
			for name, v := range evaluate(t, g, in) {
				nearCodes(t, name, v, qdq[name])
			}
			low := g.Clone()
			run(t, low, ExpandQOperators, FuseQDQ, RemoveDead, (*graph.Graph).Verify, (*graph.Graph).Infer)
			if strings.Contains(kinds(fused), "Packed") && !strings.Contains(got, "Clip") && kinds(low) != kinds(fused) {
				t.Errorf("%s is lowered to %s, the QDQ form to %s", got, kinds(low), kinds(fused))
			}
			for name, v := range evaluate(t, low, in) {
				nearCodes(t, name, v, qdq[name])
			}
		})
	}
	if seen != len(want) {
		t.Errorf("%d of %d cases were there", seen, len(want))
	}
}

// Functions of ONNX Runtime that have no fused form of their own.
func TestWriteQOperatorsOfFunctions(t *testing.T) {
	image := []any{"batch", 3, 8, 8}
	unit := op.Codes{DType: tensor.Uint8, Scale: 1.0 / 256}
	for _, c := range []struct {
		want  string
		build func(b *qdqNet) *graph.Value
		to    op.Codes
	}{
		{"com.microsoft.QLinearSigmoid", func(b *qdqNet) *graph.Value {
			return b.node("n", "Sigmoid", nil, b.pair(b.input("x", image...), codesU))
		}, unit},
		{"com.microsoft.QLinearLeakyRelu", func(b *qdqNet) *graph.Value {
			return b.node("n", "LeakyRelu", map[string]any{"alpha": float32(0.2)}, b.pair(b.input("x", image...), codesU))
		}, codesU},
		{"com.microsoft.QLinearSoftmax", func(b *qdqNet) *graph.Value {
			return b.node("n", "Softmax", map[string]any{"axis": int64(1)}, b.pair(b.input("x", image...), codesU))
		}, unit},
		{"com.microsoft.QLinearAdd", func(b *qdqNet) *graph.Value {
			x := b.pair(b.input("x", image...), codesU)
			return b.node("n", "Add", nil, x, b.pair(b.input("y", image...), wideU))
		}, codesU},
		{"com.microsoft.QLinearMul", func(b *qdqNet) *graph.Value {
			x := b.pair(b.input("x", image...), codesU)
			return b.node("n", "Mul", nil, x, b.pair(b.input("y", image...), wideU))
		}, wideU},
		{"com.microsoft.QLinearWhere", func(b *qdqNet) *graph.Value {
			x := b.pair(b.input("x", image...), codesU)
			some := b.node("some", "Greater", nil, b.input("z", image...), b.Param("zero", tensor.Scalar[float32](0)))
			return b.node("n", "Where", nil, some, x, b.pair(b.input("y", image...), wideU))
		}, codesU},
		{"Clip", func(b *qdqNet) *graph.Value {
			return b.node("n", "Relu", nil, b.pair(b.input("x", image...), codesU))
		}, codesU},
	} {
		t.Run(c.want, func(t *testing.T) {
			b := &qdqNet{net: newNet(t, c.want)}
			g := b.graph(b.quantize(c.build(b), c.to))
			run(t, g, (*graph.Graph).Infer)
			in := feed(g)
			qdq := evaluate(t, g, in)
			run(t, g, WriteQOperators, (*graph.Graph).Verify, (*graph.Graph).Infer)
			if got := kinds(g); !strings.HasSuffix(got, " "+c.want) || strings.Contains(got, "Dequantize") {
				t.Errorf("written as %s", got)
			}
			for name, v := range evaluate(t, g, in) {
				nearCodes(t, name, v, qdq[name])
			}
			run(t, g, ExpandQOperators, FuseQDQ, RemoveDead, (*graph.Graph).Verify)
			for name, v := range evaluate(t, g, in) {
				nearCodes(t, name, v, qdq[name])
			}
		})
	}
}

func run(t *testing.T, g *graph.Graph, passes ...graph.Pass) {
	t.Helper()
	for _, p := range passes {
		if err := p(g); err != nil {
			t.Fatal(err)
		}
	}
}
