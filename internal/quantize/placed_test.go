package quantize

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
)

// A placement is printed node by node, without scales before calibration and with them behind it; keeping a layer in float changes
// the lines of that layer and of what would be computed on its codes, and no other.
func TestPlacementLines(t *testing.T) {
	ctx := context.Background()
	r := Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}}
	m := &model.Model{Graph: residual(t)}
	p, err := NewPlan(m, r)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"input x: given in float32 -> x uint8",
		"conv1 (Conv): integer product with w1 int8, a scale for each of axis 0, bias b1 int32 -> conv1 in sums",
		"relu1 (Relu): in the range of conv1 -> relu1 uint8",
		"conv2 (Conv): integer product with w2 int8, a scale for each of axis 0, bias b2 int32 -> conv2 uint8",
		"add (Add): on codes -> add in sums",
		"relu2 (Relu): in the range of add -> relu2 uint8",
		"pool (MaxPool): moves codes -> pool uint8 as relu2",
		"flatten (Flatten): moves codes -> flatten uint8 as relu2",
		"head (Gemm): integer product with w3 int8, a scale for each of axis 0, bias b3 int32 -> logits float32",
	}
	planned := p.Placement()
	if !slices.Equal(planned, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(planned, "\n"), strings.Join(want, "\n"))
	}
	if err := Run(ctx, m, p, calls(8)); err != nil {
		t.Fatal(err)
	}
	for i, line := range p.Placement() {
		_, after, scaled := strings.Cut(line, want[i])
		if !scaled || strings.Contains(want[i], "uint8") != strings.HasPrefix(after, " scale ") {
			t.Errorf("after calibration: %s", line)
		}
	}
	r.Keep = []string{"conv2"}
	if p, err = NewPlan(&model.Model{Graph: residual(t)}, r); err != nil {
		t.Fatal(err)
	}
	for i, line := range p.Placement() {
		changed := slices.Contains([]string{"conv2", "add", "relu2", "pool", "flatten"}, strings.Fields(want[i])[0])
		if changed != (line != want[i]) {
			t.Errorf("conv2 in float: %s", line)
		}
	}
}

// Weights of products between 16-bit codes are written in a form that ONNX Runtime does not fuse into an operator which rounds
// activations to 8 bits: it fuses an axis of 1 and a scalar scale.
func TestWideProductsStayFloat(t *testing.T) {
	for _, perTensor := range []bool{false, true} {
		b := newNet(t, 7)
		h := b.Add("mul1", b.op("MatMul", nil), b.input("x", 1, 3, 8, 8), b.weight("w1", 8, 8))
		b.Output("y", b.Add("mul2", b.op("MatMul", nil), h, b.weight("w2", 8, 8)))
		g, err := b.Graph()
		if err != nil {
			t.Fatal(err)
		}
		q, _ := staticOf(t, g, Recipe{Method: "static", Activations: "quint16", PerTensor: perTensor, Calibrator: Calibrator{Method: "minmax"}})
		weights := 0
		for _, n := range q.Nodes {
			d, ok := n.Op.(*op.DequantizeLinear)
			if !ok || !q.IsParam(n.In[0]) {
				continue
			}
			weights++
			scale := n.In[1].Data.Shape()
			if perTensor && (len(scale) != 1 || scale[0] != 1) || !perTensor && (d.Axis != -1 || len(scale) != 1 || scale[0] != 8) {
				t.Errorf("%s: axis %d, scale %v", n.Name, d.Axis, scale)
			}
		}
		if weights != 2 {
			t.Errorf("%d weights in codes, want 2", weights)
		}
	}
}
