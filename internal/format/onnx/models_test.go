package onnx

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// modelCase is case.json of a folder of shared/data/onnx-models.
type modelCase struct {
	Model string `json:"model"`
	Steps []struct {
		Inputs  map[string]string `json:"inputs"`
		Outputs map[string]string `json:"outputs"`
	} `json:"steps"`
}

func openModel(t *testing.T, path string) *model.Model {
	t.Helper()
	m, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func readNpy(t *testing.T, path string) *tensor.Tensor {
	t.Helper()
	v, err := data.ReadNPYFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// run computes the outputs of a graph.
func run(g *graph.Graph, in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.RunNamed(context.Background(), in)
}

// TestModels runs the models that come with stored outputs, as they are, lowered, and after writing and reading back.
func TestModels(t *testing.T) {
	root := material.Path(t, "data/onnx-models")
	dirs, err := filepath.Glob(filepath.Join(root, "*", "case.json"))
	if err != nil || len(dirs) < 7 {
		t.Fatalf("found %d models: %v", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c modelCase
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			m := openModel(t, filepath.Join(dir, c.Model))
			c.check(t, "raw", dir, m.Graph)
			lowered, err := pass.Lower(m.Graph)
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, "lowered", dir, lowered)
			out := filepath.Join(t.TempDir(), "model.onnx")
			if err := Write(context.Background(), out, m, model.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			c.check(t, "written", dir, openModel(t, out).Graph)
		})
	}
}

func (c *modelCase) check(t *testing.T, form, dir string, g *graph.Graph) {
	t.Helper()
	for i, step := range c.Steps {
		in := map[string]*tensor.Tensor{}
		for name, f := range step.Inputs {
			in[name] = readNpy(t, filepath.Join(dir, f))
		}
		got, err := run(g, in)
		if err != nil {
			t.Fatalf("%s: step %d: %v", form, i, err)
		}
		for name, f := range step.Outputs {
			if err := (tolerance{1e-3, 1e-4}).differ(got[name], readNpy(t, filepath.Join(dir, f))); err != nil {
				t.Errorf("%s: step %d: output %q: %v", form, i, name, err)
			}
		}
	}
}

// TestLight runs the full-size networks of the archive whose weights are generated in the graph.
func TestLight(t *testing.T) {
	files := conformanceFiles(t)
	n := 0
	for name, b := range files {
		net, ok := lightName(name)
		if !ok {
			continue
		}
		n++
		t.Run(net, func(t *testing.T) {
			m, err := read(context.Background(), b, filepath.Join(os.TempDir(), "model.onnx"))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			in := map[string]*tensor.Tensor{}
			for _, v := range m.Graph.Inputs {
				if v.Data == nil {
					in[v.Name] = ramp(v.Type)
				}
			}
			lowered, err := pass.Lower(m.Graph)
			if err != nil {
				t.Fatal(err)
			}
			out := m.Graph.Outputs[0]
			want, err := decodeValue(files[fmt.Sprintf("light/%s_output_0.pb", net)], out.Type)
			if err != nil {
				t.Fatal(err)
			}
			got, err := run(lowered, in)
			if err != nil {
				t.Fatal(err)
			}
			if err := (tolerance{1e-3, 1e-7}).differ(got[out.Name], want); err != nil {
				t.Error(err)
			}
		})
	}
	if n != 9 {
		t.Errorf("%d networks, want 9", n)
	}
}

func lightName(file string) (string, bool) {
	if filepath.Dir(file) != "light" || filepath.Ext(file) != ".onnx" {
		return "", false
	}
	base := filepath.Base(file)
	return base[:len(base)-len(".onnx")], true
}

// ramp is the input of the light networks: i/n for element i of n, unknown dimensions being 1.
func ramp(t graph.Type) *tensor.Tensor {
	shape := tensor.Shape{}
	for _, d := range t.Dims {
		shape = append(shape, max(d.Size, 1))
	}
	v := make([]float32, shape.Len())
	for i := range v {
		v[i] = float32(i) / float32(len(v))
	}
	return tensor.Of(shape, v)
}

// TestExternalDataEqualsInline compares the two forms of one network.
func TestExternalDataEqualsInline(t *testing.T) {
	dir := material.Path(t, "data")
	inline := openModel(t, filepath.Join(dir, "cifar10", "resnet20_bn.onnx"))
	outside := openModel(t, filepath.Join(dir, "onnx-models", "resnet20_external", "resnet20_external.onnx"))
	if len(outside.Files) != 2 || outside.Files[1] != "resnet20_external.bin" {
		t.Errorf("files %v", outside.Files)
	}
	a, b := inline.Graph.Params(), outside.Graph.Params()
	if len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d and %d parameters", len(a), len(b))
	}
	for i := range a {
		x, err := a[i].Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		y, err := b[i].Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		if err := (tolerance{}).differ(y, x); err != nil || a[i].Name != b[i].Name {
			t.Errorf("parameters %q and %q: %v", a[i].Name, b[i].Name, err)
		}
	}
}

// TestResNetLogits compares both exports of a network with the logits that were stored with it.
func TestResNetLogits(t *testing.T) {
	dir := filepath.Join(material.Path(t, "data"), "cifar10")
	images := readNpy(t, filepath.Join(dir, "raw_test_500.npy"))
	const n, side, channels = 16, 32, 3
	x := make([]float32, n*channels*side*side)
	mean, std := [channels]float32{0.485, 0.456, 0.406}, [channels]float32{0.229, 0.224, 0.225}
	for i, v := range images.Bytes()[:len(x)] {
		image, pixel, c := i/(side*side*channels), i/channels%(side*side), i%channels
		x[(image*channels+c)*side*side+pixel] = (float32(v)/255 - mean[c]) / std[c]
	}
	in := tensor.Of(tensor.Shape{n, channels, side, side}, x)
	logits := tensor.Data[float32](readNpy(t, filepath.Join(dir, "resnet20_fp32_logits_raw500.npy")))
	want := tensor.Of(tensor.Shape{n, 10}, logits[:n*10])
	for _, name := range []string{"resnet20.onnx", "resnet20_bn.onnx"} {
		m := openModel(t, filepath.Join(dir, name))
		g, err := pass.Lower(m.Graph)
		if err != nil {
			t.Fatal(err)
		}
		got, err := run(g, map[string]*tensor.Tensor{g.Inputs[0].Name: in})
		if err != nil {
			t.Fatal(err)
		}
		if err := (tolerance{0, 1e-3}).differ(got[g.Outputs[0].Name], want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// chainGraph returns x times w.
func chainGraph(t *testing.T, x, w *graph.Value) *graph.Graph {
	t.Helper()
	mul, _ := op.New("MatMul")
	n := &graph.Node{Name: "matmul", Op: mul, In: []*graph.Value{x, w}}
	y := &graph.Value{Name: "y", Node: n}
	n.Out = []*graph.Value{y}
	g := &graph.Graph{Name: "g", Nodes: []*graph.Node{n}, Inputs: []*graph.Value{x}, Outputs: []*graph.Value{y}}
	if err := g.Infer(); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestWeightsAliasTheFile checks that opening a model copies no weight: what is loaded lies in the bytes of the file.
func TestWeightsAliasTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.onnx")
	big := tensor.New(tensor.Float32, 512, 1024)
	x := &graph.Value{Name: "x", Type: graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(512))}
	m := &model.Model{Graph: chainGraph(t, x, graph.Param("w", big))}
	load := func(m *model.Model) []byte {
		v, err := m.Graph.Params()[0].Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		return v.Bytes()
	}
	if err := Write(context.Background(), path, m, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inMemory, err := read(context.Background(), b, path)
	if err != nil {
		t.Fatal(err)
	}
	defer inMemory.Close()
	w := load(inMemory)
	first, last := uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&b[len(b)-1]))
	if at := uintptr(unsafe.Pointer(&w[0])); at < first || at > last {
		t.Error("the parameter does not lie in the bytes of the file")
	}
	if err := Write(context.Background(), path, m, model.SaveOptions{ExternalData: true}); err != nil {
		t.Fatal(err)
	}
	outside := openModel(t, path)
	if w = load(outside); uintptr(unsafe.Pointer(&w[0]))%4096 != 0 || &w[0] != &load(outside)[0] {
		t.Error("external data is not page-aligned, or it is copied")
	}
}
