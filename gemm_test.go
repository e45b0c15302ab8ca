package neuroquant_test

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestGemmInFewBits quantizes the weights of Gemms, which become MatMulNBits; those that are kept stay Gemms.
func TestGemmInFewBits(t *testing.T) {
	ctx := context.Background()
	weight := func(rows, cols int) *tensor.Tensor {
		w := tensor.New(tensor.Float32, rows, cols)
		for i := range tensor.Data[float32](w) {
			tensor.Data[float32](w)[i] = float32(math.Sin(float64(i*i%1009))) / 8
		}
		return w
	}
	b := graph.NewBuilder("g")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(64)))
	h := b.Add("fc1", &op.Gemm{Alpha: 1, Beta: 1, TransB: true}, x, b.Param("w1", weight(48, 64)), b.Param("b1", weight(1, 48)))
	h = b.Add("act", &op.Relu{}, h)
	h = b.Add("fc2", &op.Gemm{Alpha: 0.5, Beta: 1}, h, b.Param("w2", weight(48, 32)), b.Param("b2", weight(1, 32)))
	b.Output("y", b.Add("head", &op.Gemm{Alpha: 1, Beta: 1, TransB: true}, h, b.Param("w3", weight(10, 32))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gemm.onnx")
	if err := onnx.Format.Save(ctx, path, &model.Model{Graph: g}, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	samples := weight(64, 64)
	set, err := data.Arrays([]string{"x"}, []*tensor.Tensor{samples}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"rtn", "gptq", "awq"} {
		c := neuroquant.DefaultConfig()
		c.Method, c.Bits, c.GroupSize, c.Format, c.Keep = method, 8, 16, "onnx", []string{"head"}
		m := neuroquant.NewManager(c)
		if method != "rtn" {
			m.Calibrate(set)
		}
		r, err := m.Quantize(ctx, path)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		out := filepath.Join(t.TempDir(), "out")
		if err := m.Save(ctx, r, out, false); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		written, err := format.Open(ctx, out)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, n := range written.Graph.Nodes {
			kinds = append(kinds, n.Name+" "+n.Op.Kind())
		}
		for _, want := range []string{"fc1 com.microsoft.MatMulNBits", "fc2 com.microsoft.MatMulNBits", "head Gemm"} {
			if !strings.Contains(strings.Join(kinds, ", "), want) {
				t.Errorf("%s: %s is not among %v", method, want, kinds)
			}
		}
		if err := written.Close(); err != nil {
			t.Fatal(err)
		}
		acc, err := (&neuroquant.Analyzer{Original: open(t, path), Quantized: open(t, out)}).CompareAccuracy(ctx, set)
		if err != nil {
			t.Fatal(err)
		}
		// 8-bit codes of a group of 16 keep about 45 dB.
		if s := acc.WorstSQNR(); s == nil || *s < 38 {
			t.Errorf("%s: outputs keep %v dB", method, s)
		}
	}
}
