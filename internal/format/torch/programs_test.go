package torch

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// arrays reads NAME.in0.npy and so on.
func arrays(t *testing.T, path string) []*tensor.Tensor {
	t.Helper()
	files, err := filepath.Glob(path + "*.npy")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	var out []*tensor.Tensor
	for _, f := range files {
		a, err := data.ReadNPYFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// difference returns the largest difference by the largest wanted value.
func difference(t *testing.T, got, want *tensor.Tensor) float64 {
	t.Helper()
	if !got.Shape.Equal(want.Shape) {
		t.Fatalf("shape %v; want %v", got.Shape, want.Shape)
	}
	g, err := got.Float64s()
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.Float64s()
	if err != nil {
		t.Fatal(err)
	}
	most, worst := 0.0, 0.0
	for i := range w {
		most, worst = max(most, math.Abs(w[i])), max(worst, math.Abs(w[i]-g[i]))
	}
	return worst / most
}

// Programs of PyTorch give what PyTorch gives.
func TestProgramsComputeWhatPyTorchComputes(t *testing.T) {
	files, err := filepath.Glob("testdata/programs/*.pt*")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no programs", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			name := strings.Split(f, ".")[0]
			in, want := arrays(t, name+".in"), arrays(t, name+".out")
			m := openWith(t, f, in)
			if len(m.Graph.Inputs) != len(in) || len(m.Graph.Outputs) != len(want) {
				t.Fatalf("%d inputs and %d outputs; want %d and %d", len(m.Graph.Inputs), len(m.Graph.Outputs), len(in), len(want))
			}
			s, err := exec.NewSession(m.Graph, exec.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			got, err := s.Run(context.Background(), in)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if d := difference(t, got[i], want[i]); d > 1e-5 {
					t.Errorf("output %d differs by %.1e of its largest value", i, d)
				}
			}
		})
	}
}

// openWith opens an archive, with the shapes of its inputs where it says none.
func openWith(t *testing.T, path string, in []*tensor.Tensor) *model.Model {
	t.Helper()
	m, err := Open(context.Background(), path)
	fits := err == nil
	for i := 0; fits && i < len(in); i++ {
		ty := m.Graph.Inputs[i].Type
		fits = !ty.Ranked || len(ty.Dims) == len(in[i].Shape)
	}
	if err == nil && fits {
		t.Cleanup(func() { m.Close() })
		return m
	}
	if err == nil {
		m.Close()
	} else if !strings.Contains(err.Error(), "--input-shape") {
		t.Fatal(err)
	}
	o := model.OpenOptions{Inputs: map[string][]graph.Dim{}}
	names := map[string][]string{"masked": {"x", "padding"}}[strings.Split(filepath.Base(path), ".")[0]]
	for i, x := range in {
		key := ""
		if i < len(names) {
			key = names[i]
		}
		for _, n := range x.Shape {
			o.Inputs[key] = append(o.Inputs[key], graph.Known(n))
		}
	}
	if m, err = Open(model.WithOpenOptions(context.Background(), o), path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// The batch of a trace is free: two samples give what each gives alone.
func TestBatchOfATraceIsFree(t *testing.T) {
	m := openWith(t, "testdata/programs/unet.trace.pt", nil)
	if d := m.Graph.Inputs[0].Type.Dims; len(d) != 4 || d[0].Name != "batch" || d[1] != graph.Known(3) || d[2].IsKnown() {
		t.Fatalf("the input is %v", m.Graph.Inputs[0].Type)
	}
	s, err := exec.NewSession(m.Graph, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one := arrays(t, "testdata/programs/unet.in")[0]
	two := tensor.New(tensor.Float32, 2, 3, 16, 16)
	copy(tensor.Data[float32](two), tensor.Data[float32](one))
	for i, v := range tensor.Data[float32](one) {
		tensor.Data[float32](two)[one.Len()+i] = -v
	}
	both, err := s.Run(context.Background(), []*tensor.Tensor{two})
	if err != nil {
		t.Fatal(err)
	}
	alone, err := s.Run(context.Background(), []*tensor.Tensor{one})
	if err != nil {
		t.Fatal(err)
	}
	n := alone[0].Len()
	if got := tensor.Of(alone[0].Shape, tensor.Data[float32](both[0])[:n]); difference(t, got, alone[0]) > 1e-6 {
		t.Error("the first of two differs from the same alone")
	}
}

// Parameters keep the names that they have in a state dict.
func TestProgramsKeepNames(t *testing.T) {
	for file, want := range map[string][]string{
		"gpt.trace.pt":        {"embed.weight", "qkv.weight", "qkv.bias", "out.bias", "norm.weight"},
		"residual.export.pt2": {"conv1.weight", "bn1.running_mean", "down.bias"},
		"LSTM.script.pt":      {"weight_ih_l0", "weight_hh_l1"},
	} {
		m := openWith(t, filepath.Join("testdata/programs", file), nil)
		var names []string
		for _, p := range m.Graph.Params() {
			names = append(names, p.Name)
		}
		for _, w := range want {
			if !slices.Contains(names, w) {
				t.Errorf("%s has no parameter %s; it has %s", file, w, strings.Join(names, ", "))
			}
		}
	}
}
