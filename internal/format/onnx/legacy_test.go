package onnx

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// storedValue is a tensor of testdata/legacy.json.
type storedValue struct {
	DType string   `json:"dtype"`
	Shape []int    `json:"shape"`
	Bytes []byte   `json:"bytes"`
	Text  []string `json:"text"`
}

func (v storedValue) tensor(t *testing.T) *tensor.Tensor {
	t.Helper()
	if v.DType == "string" {
		return tensor.Strings(v.Shape, v.Text)
	}
	d, err := tensor.ParseDType(v.DType)
	if err != nil {
		t.Fatal(err)
	}
	x, err := tensor.FromBytes(d, v.Shape, v.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestLegacyForms runs operators in the forms of old operator sets; testdata/legacy.py says where the expected values come from.
func TestLegacyForms(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "legacy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name    string                 `json:"name"`
		Model   []byte                 `json:"model"`
		Inputs  map[string]storedValue `json:"inputs"`
		Outputs map[string]storedValue `json:"outputs"`
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			m, err := read(context.Background(), c.Model, "model.onnx")
			if err != nil {
				t.Fatal(err)
			}
			in := map[string]*tensor.Tensor{}
			for name, v := range c.Inputs {
				in[name] = v.tensor(t)
			}
			check := func(form string, g *graph.Graph) {
				got, err := run(g, in)
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				for name, v := range c.Outputs {
					if err := (tolerance{1e-4, 1e-5}).differ(got[name], v.tensor(t)); err != nil {
						t.Errorf("%s: output %q: %v", form, name, err)
					}
				}
			}
			check("read", m.Graph)
			p, _, err := export(context.Background(), m, model.SaveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			check("written", reread(t, p).Graph)
		})
	}
}

// reread reads a message as if it came from a file.
func reread(t *testing.T, p *protobuf.Model) *model.Model {
	t.Helper()
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m, err := read(context.Background(), b, "model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	return m
}
