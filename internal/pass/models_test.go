package pass

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestModels cleans real models: the graph stays valid, loses nodes, and computes the same.
func TestModels(t *testing.T) {
	root := material.Path(t, "data")
	cases, err := filepath.Glob(filepath.Join(root, "onnx-models", "*", "case.json"))
	if err != nil || len(cases) < 7 {
		t.Fatalf("%d models: %v", len(cases), err)
	}
	files := map[string]map[string]string{
		filepath.Join(root, "cifar10", "resnet20.onnx"):    nil,
		filepath.Join(root, "cifar10", "resnet20_bn.onnx"): nil,
	}
	for _, file := range cases {
		var c struct {
			Model string
			Steps []struct{ Inputs map[string]string }
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(filepath.Dir(file), c.Model)] = c.Steps[0].Inputs
	}
	for file, inputs := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			m, err := onnx.Open(context.Background(), file)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			in := feed(m.Graph)
			for name, f := range inputs {
				if in[name], err = data.ReadNPYFile(filepath.Join(filepath.Dir(file), f)); err != nil {
					t.Fatal(err)
				}
			}
			text := m.Graph.String()
			clean := m.Graph.Clone()
			FreezeInputs(clean)
			if err := Clean(clean); err != nil {
				t.Fatal(err)
			}
			if err := clean.Verify(); err != nil {
				t.Error(err)
			}
			if m.Graph.String() != text {
				t.Error("cleaning a copy changed the original")
			}
			if before, after := len(m.Graph.Nodes), len(clean.Nodes); after > before {
				t.Errorf("%d nodes became %d", before, after)
			}
			for _, n := range clean.Nodes {
				if k := n.Op.Kind(); k == "Identity" || k == "Constant" {
					t.Errorf("%s %q is left", k, n.Name)
				}
			}
			again := clean.Clone()
			if err := Clean(again); err != nil || again.String() != clean.String() {
				t.Errorf("cleaning twice is not cleaning once: %v", err)
			}
			same(t, file, execute(t, m.Graph, in), execute(t, clean, in))
		})
	}
}

func execute(t *testing.T, g *graph.Graph, in map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	given := map[string]*tensor.Tensor{}
	for _, v := range g.Inputs {
		if v.Data == nil {
			given[v.Name] = in[v.Name]
		}
	}
	out, err := s.RunNamed(context.Background(), given)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
