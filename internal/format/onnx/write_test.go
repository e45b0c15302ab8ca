package onnx

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// filled returns a tensor whose elements are all different.
func filled(shape ...int) *tensor.Tensor {
	v := make([]float32, tensor.Shape(shape).Len())
	for i := range v {
		v[i] = float32(i) * 0.25
	}
	return tensor.Of(tensor.Shape(shape), v)
}

// chainModel returns y = x*w + b with a large and a small parameter.
func chainModel(t *testing.T) *model.Model {
	t.Helper()
	b := graph.NewBuilder("chain")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(256)))
	mul, _ := op.New("MatMul")
	add, _ := op.New("Add")
	y := b.Add("mul", mul, x, b.Param("w", filled(256, 300)))
	b.Output("y", b.Add("add", add, y, b.Param("b", filled(300))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return &model.Model{Graph: g, Metadata: map[string]string{"a": "1", "b": "2"}, Doc: "doc", Domain: "org", Version: 4}
}

func files(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestWriteAndRead(t *testing.T) {
	m := chainModel(t)
	for _, c := range []struct {
		options model.SaveOptions
		files   string
	}{
		{model.SaveOptions{}, "m.onnx"},
		{model.SaveOptions{ExternalData: true}, "m.onnx m.onnx.data"},
		{model.SaveOptions{ExternalData: true, ExternalMinBytes: 1 << 30}, "m.onnx"},
		{model.SaveOptions{Opset: 21}, "m.onnx"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.onnx")
		if err := Write(context.Background(), path, m, c.options); err != nil {
			t.Fatal(err)
		}
		if got := files(t, dir); got != c.files {
			t.Errorf("%+v: files %s", c.options, got)
		}
		r := openModel(t, path)
		if r.Opset[""] != max(13, c.options.Opset) || r.Producer != "neuroquant" || r.Metadata["b"] != "2" || r.Doc != "doc" || r.Domain != "org" || r.Version != 4 {
			t.Errorf("%+v: read %+v", c.options, r)
		}
		if a, b := m.Graph.String(), r.Graph.String(); a != b {
			t.Errorf("%+v: wrote\n%s\nread\n%s", c.options, a, b)
		}
		want := m.Graph.Params()
		for i, p := range r.Graph.Params() {
			got, err := p.Data.Load()
			if err != nil {
				t.Fatal(err)
			}
			w, _ := want[i].Data.Load()
			if !bytes.Equal(got.Bytes(), w.Bytes()) {
				t.Errorf("%+v: parameter %q differs", c.options, p.Name)
			}
		}
		// The file being read may be written over.
		if err := Write(context.Background(), path, r, c.options); err != nil {
			t.Fatal(err)
		}
		if a, b := r.Graph.String(), openModel(t, path).Graph.String(); a != b {
			t.Errorf("%+v: writing over the source gives\n%s", c.options, b)
		}
	}
}

// TestExternalLayout checks where external data lies.
func TestExternalLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := Write(context.Background(), path, chainModel(t), model.SaveOptions{ExternalData: true}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := protobuf.ParseModel(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, init := range p.Graph.Initializers {
		refs := map[string]string{}
		for _, e := range init.ExternalData {
			refs[e.Key] = e.Value
		}
		offset, err := strconv.Atoi(refs["offset"])
		if err != nil || refs["location"] != "m.onnx.data" || init.DataLocation != protobuf.External || init.HasRaw {
			t.Errorf("initializer %q: %v", init.Name, refs)
		}
		if init.Name == "w" && (offset%(64<<10) != 0 || refs["length"] != strconv.Itoa(256*300*4)) {
			t.Errorf("initializer %q: %v", init.Name, refs)
		}
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	var first []byte
	for i := range 3 {
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := Write(context.Background(), path, chainModel(t), model.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && !bytes.Equal(b, first) {
			t.Fatal("two runs give different bytes")
		}
		first = b
	}
}

// failing is a parameter that cannot be loaded.
type failing struct {
	tensor.Source
	before func()
}

func (f failing) Load() (*tensor.Tensor, error) {
	if f.before != nil {
		f.before()
		return f.Source.Load()
	}
	return nil, errors.New("disk on fire")
}

// codes is a packed matrix.
type codes struct{}

func (codes) Scheme() tensor.Scheme      { return tensor.Scheme{Code: "int", Bits: 4, Group: 32} }
func (codes) Row(dst []float32, row int) {}
func (codes) ByteLen() int               { return 0 }

// TestFailedWriteLeavesNothing checks errors on the way, each with and without external data.
func TestFailedWriteLeavesNothing(t *testing.T) {
	for _, external := range []bool{false, true} {
		for _, c := range []struct {
			name, want string
			spoil      func(m *model.Model, cancel func())
		}{
			{"source", `"w": disk on fire`, func(m *model.Model, _ func()) {
				w := m.Graph.Nodes[0].In[1]
				w.Data = failing{Source: w.Data}
			}},
			{"cancelled", "context canceled", func(m *model.Model, cancel func()) {
				w := m.Graph.Nodes[0].In[1]
				w.Data = failing{w.Data, cancel}
			}},
			{"packed", `"w": a matrix of scheme int4 group 32 asym cannot be stored`, func(m *model.Model, _ func()) {
				w := m.Graph.Nodes[0].In[1]
				w.Data = tensor.InMemory(tensor.NewPacked(tensor.Float32, w.Data.Shape(), codes{}))
			}},
		} {
			dir := t.TempDir()
			path := filepath.Join(dir, "m.onnx")
			if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			m := chainModel(t)
			ctx, cancel := context.WithCancel(context.Background())
			c.spoil(m, cancel)
			err := Write(ctx, path, m, model.SaveOptions{ExternalData: external})
			cancel()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: want %q, got %v", c.name, c.want, err)
			}
			if b, _ := os.ReadFile(path); files(t, dir) != "m.onnx" || string(b) != "before" {
				t.Errorf("%s: left %s", c.name, files(t, dir))
			}
		}
	}
	if err := Write(context.Background(), filepath.Join(t.TempDir(), "none", "m.onnx"), chainModel(t), model.SaveOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

// TestOpsetFollowsTheNodes checks which operator set and IR version are written.
func TestOpsetFollowsTheNodes(t *testing.T) {
	float := graph.Ranked(tensor.Float32, graph.Known(4), graph.Known(6))
	add := func(kind string, attrs map[string]any, in ...tensor.DType) func(b *graph.Builder, x *graph.Value) *graph.Value {
		return func(b *graph.Builder, x *graph.Value) *graph.Value {
			o, ok := op.New(kind)
			if !ok {
				t.Fatalf("no operator %s", kind)
			}
			if err := op.SetAttrs(o, attrs); err != nil {
				t.Fatal(err)
			}
			args := []*graph.Value{x}
			for _, d := range in {
				args = append(args, b.Param("p", tensor.New(d)))
			}
			return b.Add("n", o, args...)
		}
	}
	axes := func(kind string, constant bool) func(b *graph.Builder, x *graph.Value) *graph.Value {
		return func(b *graph.Builder, x *graph.Value) *graph.Value {
			o, _ := op.New(kind)
			v := b.Param("axes", tensor.Vector[int64](1))
			if !constant {
				v = b.Input("axes", graph.Ranked(tensor.Int64, graph.Known(1)))
			}
			return b.Add("n", o, x, v)
		}
	}
	for _, c := range []struct {
		name       string
		source     int
		build      func(b *graph.Builder, x *graph.Value) *graph.Value
		opset, ir  int
		attributes string
	}{
		{"old source", 9, add("Relu", nil), 13, 7, ""},
		{"new source", 22, add("Relu", nil), 22, 10, ""},
		{"newer operator", 13, add("Gelu", nil), 20, 9, ""},
		{"axes as attribute", 13, axes("ReduceMean", true), 13, 7, "axes"},
		{"axes as input", 18, axes("ReduceMean", true), 18, 8, ""},
		{"computed axes", 13, axes("ReduceMean", false), 18, 8, ""},
		{"computed axes of ReduceSum", 13, axes("ReduceSum", false), 13, 7, ""},
		{"equal parts", 13, add("Split", attrMap{"num_outputs": int64(1), "axis": int64(1)}), 13, 7, "axis"},
		{"per-tensor int8", 13, add("QuantizeLinear", nil, tensor.Float32, tensor.Int8), 13, 7, ""},
		{"int4", 13, add("QuantizeLinear", nil, tensor.Float32, tensor.Int4), 21, 10, ""},
		{"int16", 13, add("QuantizeLinear", nil, tensor.Float32, tensor.Int16), 21, 10, ""},
		{"float8", 13, add("QuantizeLinear", nil, tensor.Float32, tensor.Float8E4M3FN), 19, 9, ""},
		{"int2", 13, add("QuantizeLinear", nil, tensor.Float32, tensor.Int2), 25, 13, ""},
	} {
		b := graph.NewBuilder("g")
		b.Output("y", c.build(b, b.Input("x", float)))
		g, err := b.Graph()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		p, _, err := export(context.Background(), &model.Model{Graph: g, Opset: map[string]int{"": c.source}}, model.SaveOptions{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var attrs []string
		for _, a := range p.Graph.Nodes[0].Attributes {
			attrs = append(attrs, a.Name)
		}
		if p.OpsetImport[0].Version != int64(c.opset) || p.IRVersion != int64(c.ir) || strings.Join(attrs, " ") != c.attributes {
			t.Errorf("%s: operator set %d, IR version %d, attributes %v; want %d, %d, %q", c.name, p.OpsetImport[0].Version, p.IRVersion, attrs, c.opset, c.ir, c.attributes)
		}
		if err := reread(t, p).Graph.Verify(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestContribDomainIsImported checks that operators outside the default domain bring their domain along.
func TestContribDomainIsImported(t *testing.T) {
	b := graph.NewBuilder("g")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Known(2), graph.Known(32)))
	o, ok := op.New("com.microsoft.MatMulNBits")
	if !ok {
		t.Fatal("no MatMulNBits")
	}
	if err := op.SetAttrs(o, attrMap{"K": int64(32), "N": int64(4), "bits": int64(4), "block_size": int64(32)}); err != nil {
		t.Fatal(err)
	}
	b.Output("y", b.Add("n", o, x, b.Param("q", tensor.New(tensor.Uint8, 4, 1, 16)), b.Param("s", tensor.New(tensor.Float32, 4, 1))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := export(context.Background(), &model.Model{Graph: g}, model.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Graph.Nodes[0]; n.Domain != "com.microsoft" || n.OpType != "MatMulNBits" {
		t.Errorf("node %q of domain %q", n.OpType, n.Domain)
	}
	if len(p.OpsetImport) != 2 || p.OpsetImport[1].Domain != "com.microsoft" || p.OpsetImport[1].Version != 1 {
		t.Errorf("operator sets %v", p.OpsetImport)
	}
}

// private is an operator that ONNX does not have.
type private struct{ graph.Op }

func (private) Kind() string { return "FusedSecret" }

func TestUnknownOperatorsAreNotWritten(t *testing.T) {
	m := chainModel(t)
	for _, n := range m.Graph.Nodes {
		n.Op = private{n.Op}
	}
	_, _, err := export(context.Background(), m, model.SaveOptions{})
	if err == nil || !strings.Contains(err.Error(), `"mul" (FusedSecret)`) || !strings.Contains(err.Error(), `"add" (FusedSecret)`) {
		t.Errorf("got %v", err)
	}
}

// TestSharedParametersAreWrittenOnce checks that a parameter of several graphs becomes one initializer of the outermost.
func TestSharedParametersAreWrittenOnce(t *testing.T) {
	branch := func(kind string) *protobuf.Graph {
		return &protobuf.Graph{
			Name: kind, Nodes: []*protobuf.Node{protoNode(kind, names("x", "w"), names("r"))}, Outputs: []*protobuf.ValueInfo{info("r")},
		}
	}
	m := protoModel(protoNode("If", names("c"), names("y"), graphAttr("then_branch", branch("Add")), graphAttr("else_branch", branch("Mul"))))
	m.Graph.Inputs = append(m.Graph.Inputs, typedInfo("c", tensor.Bool))
	m.Graph.Initializers = []*protobuf.Tensor{floatTensor("w", []int64{2}, 10, 20)}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r, err := read(context.Background(), b, "model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := export(context.Background(), r, model.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Graph.Initializers) != 1 || p.Graph.Initializers[0].Name != "w" {
		t.Errorf("initializers %v", p.Graph.Initializers)
	}
	n := p.Graph.Nodes[0]
	if len(n.Inputs) != 1 {
		t.Errorf("inputs %v", n.Inputs)
	}
	for _, a := range n.Attributes {
		if len(a.G.Initializers) != 0 || len(a.G.Inputs) != 0 || strings.Join(a.G.Nodes[0].Inputs, " ") != "x w" {
			t.Errorf("%s: %v", a.Name, a.G)
		}
	}
	got, err := run(reread(t, p).Graph, map[string]*tensor.Tensor{"x": tensor.Vector[float32](1, 2), "c": tensor.Scalar(false)})
	if err != nil {
		t.Fatal(err)
	}
	if err := (tolerance{}).differ(got["y"], tensor.Vector[float32](10, 40)); err != nil {
		t.Error(err)
	}
}

// TestBigModelsNeedExternalData checks the size that decides about external data, with parameters that are never loaded.
func TestBigModelsNeedExternalData(t *testing.T) {
	m := chainModel(t)
	w := m.Graph.Nodes[0].In[1]
	w.Data = announced{tensor.Shape{256, 3 << 20}}
	m.Graph.Nodes = m.Graph.Nodes[:1]
	m.Graph.Outputs = m.Graph.Nodes[0].Out
	p, x, err := export(context.Background(), m, model.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Size() <= protobuf.MaxSize || len(x.payloads) != 1 || x.payloads[0].StreamLen != 3<<30 {
		t.Errorf("size %d", p.Size())
	}
}

type announced struct{ shape tensor.Shape }

func (a announced) Shape() tensor.Shape         { return a.shape }
func (announced) DType() tensor.DType           { return tensor.Float32 }
func (announced) Load() (*tensor.Tensor, error) { return nil, errors.New("loaded") }

// TestDiffer checks the comparison that other tests rely on.
func TestDiffer(t *testing.T) {
	nan := float32(0)
	nan /= nan
	tol := tolerance{1e-3, 1e-7}
	for _, c := range []struct {
		a, b *tensor.Tensor
		same bool
	}{
		{tensor.Vector[float32](1, 2), tensor.Vector[float32](1, 2.001), true},
		{tensor.Vector[float32](1, 2), tensor.Vector[float32](1, 2.1), false},
		{tensor.Vector[float32](1, nan), tensor.Vector[float32](1, nan), true},
		{tensor.Vector[float32](1, 2), tensor.Vector[float32](1, nan), false},
		{tensor.Vector[float32](1), tensor.Scalar[float32](1), false},
		{tensor.Vector[float32](1), tensor.Vector[float64](1), false},
		{tensor.Vector[int64](1), tensor.Vector[int64](2), false},
		{tensor.Strings(tensor.Shape{1}, []string{"a"}), tensor.Strings(tensor.Shape{1}, []string{"b"}), false},
		{tensor.NewSequence(tensor.Vector[int64](1)), tensor.NewSequence(tensor.Vector[int64](2)), false},
		{tensor.NewSequence(tensor.Vector[int64](1)), tensor.NewSequence(tensor.Vector[int64](1)), true},
	} {
		if err := tol.differ(c.a, c.b); err == nil != c.same {
			t.Errorf("%v and %v: %v", c.a, c.b, err)
		}
	}
}
