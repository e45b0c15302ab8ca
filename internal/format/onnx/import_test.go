package onnx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Short ways to write messages.

func protoNode(opType string, in, out []string, attrs ...*protobuf.Attribute) *protobuf.Node {
	return &protobuf.Node{OpType: opType, Inputs: in, Outputs: out, Attributes: attrs}
}

func names(s ...string) []string { return s }

func intAttr(name string, v int64) *protobuf.Attribute {
	return &protobuf.Attribute{Name: name, Type: protobuf.AttrInt, I: v}
}

func graphAttr(name string, g *protobuf.Graph) *protobuf.Attribute {
	return &protobuf.Attribute{Name: name, Type: protobuf.AttrGraph, G: g}
}

func floatInfo(name string, dims ...int64) *protobuf.ValueInfo {
	return typedInfo(name, tensor.Float32, dims...)
}

func typedInfo(name string, d tensor.DType, dims ...int64) *protobuf.ValueInfo {
	s := &protobuf.Shape{}
	for _, n := range dims {
		s.Dims = append(s.Dims, protobuf.Dim{Value: n, HasValue: true})
	}
	return &protobuf.ValueInfo{Name: name, Type: &protobuf.Type{Tensor: &protobuf.TensorType{ElemType: int32(d), Shape: s}}}
}

func info(name string) *protobuf.ValueInfo { return &protobuf.ValueInfo{Name: name} }

func floatTensor(name string, dims []int64, v ...float32) *protobuf.Tensor {
	return &protobuf.Tensor{Name: name, Dims: dims, DataType: 1, HasRaw: true, RawData: tensor.Vector(v...).Bytes()}
}

// protoModel returns a model with one input x of two floats and one output y.
func protoModel(nodes ...*protobuf.Node) *protobuf.Model {
	return &protobuf.Model{
		IRVersion: 8, OpsetImport: []protobuf.OperatorSetID{{Version: 17}},
		Graph: &protobuf.Graph{
			Name: "g", Nodes: nodes, Inputs: []*protobuf.ValueInfo{floatInfo("x", 2)}, Outputs: []*protobuf.ValueInfo{info("y")},
		},
	}
}

func readProto(t *testing.T, p *protobuf.Model) (*graph.Graph, error) {
	t.Helper()
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m, err := read(context.Background(), b, filepath.Join(t.TempDir(), "model.onnx"))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { m.Close() })
	return m.Graph, nil
}

// TestErrors checks what a reader is told about files that cannot be read.
func TestErrors(t *testing.T) {
	relu := func() *protobuf.Model { return protoModel(protoNode("Relu", names("x"), names("y"))) }
	with := func(f func(m *protobuf.Model)) *protobuf.Model {
		m := relu()
		f(m)
		return m
	}
	cases := []struct {
		name  string
		model *protobuf.Model
		want  []string
		is    error
	}{
		{"no graph", &protobuf.Model{IRVersion: 8}, names("it has no graph"), ErrFormat},
		{"new IR version", with(func(m *protobuf.Model) { m.IRVersion = 14 }), names("IR version 14", "newest", "13"), ErrUnsupported},
		{"new operator set", with(func(m *protobuf.Model) { m.OpsetImport[0].Version = 99 }), names("operator set 99", "27"), ErrUnsupported},
		{"no operator set", with(func(m *protobuf.Model) { m.OpsetImport = nil }), names(`node "Relu_0" (Relu)`, "no version of the default operator set"), ErrFormat},
		{
			"unknown operators, all at once",
			protoModel(
				protoNode("Frobnicate", names("x"), names("a")), protoNode("Frobnicate", names("a"), names("b")),
				&protobuf.Node{OpType: "Thing", Domain: "acme", Name: "widget", Inputs: names("b"), Outputs: names("y")},
			),
			names(`Frobnicate (2 nodes, the first is "Frobnicate_0")`, `acme.Thing (1 node, "widget")`), ErrUnsupported,
		},
		{
			"cycle",
			protoModel(protoNode("Add", names("x", "b"), names("a")), protoNode("Relu", names("a"), names("b")), protoNode("Relu", names("b"), names("y"))),
			names("cycle", `"Add_0" -> "Relu_1" -> "Add_0"`), ErrFormat,
		},
		{"missing input", protoModel(protoNode("Add", names("x", "w"), names("y"))), names(`node "Add_0" (Add)`, `input 1 ("w")`), ErrFormat},
		{"missing output", protoModel(protoNode("Relu", names("x"), names("z"))), names(`graph output 0 ("y")`), ErrFormat},
		{
			"produced twice", protoModel(protoNode("Relu", names("x"), names("y")), protoNode("Abs", names("x"), names("y"))),
			names(`value "y" is produced twice`, `"Relu_0"`, `"Abs_1"`), ErrFormat,
		},
		{
			"output named like an input", protoModel(protoNode("Constant", nil, names("x"), intAttr("value_int", 1)), protoNode("Relu", names("x"), names("y"))),
			names(`node "Constant_0" (Constant)`, `output "x" is already the name of another value`), ErrFormat,
		},
		{
			"shape mismatch", with(func(m *protobuf.Model) {
				m.Graph.Nodes = []*protobuf.Node{protoNode("MatMul", names("x", "w"), names("y"))}
				m.Graph.Initializers = []*protobuf.Tensor{floatTensor("w", []int64{3, 1}, 1, 2, 3)}
			}), names(`node "MatMul_0" (MatMul)`, "2", "3"), nil,
		},
		{"unknown attribute", protoModel(protoNode("Relu", names("x"), names("y"), intAttr("slope", 1))), names(`node "Relu_0" (Relu)`, `unknown attribute "slope"`), nil},
		{"repeated attribute", protoModel(protoNode("Flatten", names("x"), names("y"), intAttr("axis", 1), intAttr("axis", 0))), names(`attribute "axis" is given twice`), ErrFormat},
		{
			"attribute of a wrong type", protoModel(protoNode("Flatten", names("x"), names("y"), &protobuf.Attribute{Name: "axis", Type: protobuf.AttrString, S: []byte("1")})),
			names(`attribute "axis"`, "want int"), nil,
		},
		{"short initializer", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{floatTensor("w", []int64{3}, 1, 2)}
		}), names(`initializer "w"`, "takes 12 bytes, found 8"), nil},
		{"initializer without contents", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{{Name: "w", Dims: []int64{1 << 20, 1 << 20}, DataType: 7}}
		}), names(`initializer "w"`, "found at most 0"), nil},
		{"huge initializer", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{{Name: "w", Dims: []int64{1 << 40, 1 << 40}, DataType: 1}}
		}), names(`initializer "w"`, "too large"), nil},
		{"negative dimension", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{{Name: "w", Dims: []int64{-1}, DataType: 1}}
		}), names(`initializer "w"`, "size -1"), nil},
		{"unknown element type", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{{Name: "w", DataType: 99}}
		}), names(`initializer "w"`, "unknown element type 99"), nil},
		{"repeated initializer", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{floatTensor("w", nil, 1), floatTensor("w", nil, 1)}
		}), names(`initializer "w" is defined twice`), ErrFormat},
		{"initializer unlike its input", with(func(m *protobuf.Model) {
			m.Graph.Initializers = []*protobuf.Tensor{{Name: "x", DataType: 7, HasRaw: true, RawData: make([]byte, 8)}}
		}), names(`initializer "x"`, "declared float32[2]", "int64"), nil},
		{"huge sparse tensor", with(func(m *protobuf.Model) {
			m.Graph.SparseInitializer = []*protobuf.SparseTensor{{Values: floatTensor("s", []int64{0}), Dims: []int64{1 << 30, 1 << 10}}}
		}), names(`sparse initializer "s"`, "too large"), nil},
		{"map input", with(func(m *protobuf.Model) {
			m.Graph.Inputs = append(m.Graph.Inputs, &protobuf.ValueInfo{Name: "m", Type: &protobuf.Type{Map: &protobuf.MapType{}}})
		}), names(`graph input "m"`, "map types"), ErrUnsupported},
		{"recursive function", with(func(m *protobuf.Model) {
			m.Graph.Nodes = []*protobuf.Node{{OpType: "F", Domain: "local", Inputs: names("x"), Outputs: names("y")}}
			m.Functions = []*protobuf.Function{{
				Name: "F", Domain: "local", Inputs: names("a"), Outputs: names("b"),
				Nodes: []*protobuf.Node{{OpType: "F", Domain: "local", Inputs: names("a"), Outputs: names("b")}},
			}}
		}), names("function local.F calls itself"), ErrFormat},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := readProto(t, c.model)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the message lacks %q: %v", w, err)
				}
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("want %v in the chain of: %v", c.is, err)
			}
		})
	}
}

// TestFunctionBombs checks that functions which call each other many times over end in an error, not in memory.
func TestFunctionBombs(t *testing.T) {
	m := protoModel(&protobuf.Node{OpType: "F0", Domain: "local", Inputs: names("x"), Outputs: names("y")})
	m.OpsetImport = append(m.OpsetImport, protobuf.OperatorSetID{Domain: "local", Version: 1})
	const depth = 40
	for i := range depth {
		f := &protobuf.Function{Name: fmt.Sprintf("F%d", i), Domain: "local", Inputs: names("a"), Outputs: names("c")}
		next := fmt.Sprintf("F%d", i+1)
		f.Nodes = []*protobuf.Node{
			{OpType: next, Domain: "local", Inputs: names("a"), Outputs: names("b")},
			{OpType: next, Domain: "local", Inputs: names("b"), Outputs: names("c")},
		}
		m.Functions = append(m.Functions, f)
	}
	m.Functions = append(m.Functions, &protobuf.Function{
		Name: fmt.Sprintf("F%d", depth), Domain: "local", Inputs: names("a"), Outputs: names("b"),
		Nodes: []*protobuf.Node{protoNode("Relu", names("a"), names("b"))},
	})
	if _, err := readProto(t, m); err == nil || !strings.Contains(err.Error(), "nodes") {
		t.Errorf("got %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	whole, err := protoModel(protoNode("Relu", names("x"), names("y"))).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"text.onnx": []byte("this is not a model\n"), "empty.onnx": nil, "truncated.onnx": whole[:len(whole)-7], "zeros.onnx": make([]byte, 64),
	} {
		p := write(name, b)
		_, err := Open(context.Background(), p)
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(context.Background(), filepath.Join(dir, "none.onnx")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(done, write("ok.onnx", whole)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestExternalDataStaysInside checks the rules for the location of external data.
func TestExternalDataStaysInside(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "model")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := tensor.Vector[float32](1, 2, 3, 4).Bytes()
	for _, p := range []string{filepath.Join(top, "outside"), filepath.Join(dir, "inside"), filepath.Join(dir, "sub", "deep")} {
		if err := os.WriteFile(p, w, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"out": "../outside", "in": "inside"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	open := func(refs ...protobuf.StringEntry) (*tensor.Tensor, error) {
		m := protoModel(protoNode("Add", names("x", "w"), names("y")))
		m.Graph.Initializers = []*protobuf.Tensor{{Name: "w", Dims: []int64{2}, DataType: 1, DataLocation: protobuf.External, ExternalData: refs}}
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "model.onnx")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := Open(context.Background(), path)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { read.Close() })
		return read.Graph.Params()[0].Data.Load()
	}
	at := func(location string) protobuf.StringEntry {
		return protobuf.StringEntry{Key: "location", Value: location}
	}
	entry := func(k, v string) protobuf.StringEntry { return protobuf.StringEntry{Key: k, Value: v} }
	for _, ok := range []string{"inside", "sub/deep", "in", "./inside"} {
		v, err := open(at(ok), entry("offset", "4"))
		if err != nil {
			t.Errorf("%s: %v", ok, err)
		} else if err := (tolerance{}).differ(v, tensor.Vector[float32](2, 3)); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, c := range []struct {
		refs []protobuf.StringEntry
		want string
	}{
		{[]protobuf.StringEntry{at("../outside")}, "not a file below the folder"},
		{[]protobuf.StringEntry{at(filepath.Join(top, "outside"))}, "not a file below the folder"},
		{[]protobuf.StringEntry{at("sub/../../outside")}, "not a file below the folder"},
		{[]protobuf.StringEntry{at("out")}, "escapes"},
		{[]protobuf.StringEntry{at("sub")}, "not a regular file"},
		{[]protobuf.StringEntry{at("none")}, "is missing beside the model"},
		{nil, "the location is missing"},
		{[]protobuf.StringEntry{at("inside"), entry("offset", "12")}, "has 16 bytes, want 8 at offset 12"},
		{[]protobuf.StringEntry{at("inside"), entry("offset", "18446744073709551615")}, "offset"},
		{[]protobuf.StringEntry{at("inside"), entry("offset", "9223372036854775800")}, "offset"},
		{[]protobuf.StringEntry{at("inside"), entry("length", "4")}, "takes 8 bytes, length says 4"},
		{[]protobuf.StringEntry{at("inside"), entry("length", "-8")}, "length"},
	} {
		_, err := open(c.refs...)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"w"`) {
			t.Errorf("%v: want %q, got %v", c.refs, c.want, err)
		}
	}
	// A download cache: the model and its data are links into one folder.
	cache := filepath.Join(top, "cache")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	m := protoModel(protoNode("Add", names("x", "w"), names("y")))
	m.Graph.Initializers = []*protobuf.Tensor{{Name: "w", Dims: []int64{4}, DataType: 1, DataLocation: protobuf.External, ExternalData: []protobuf.StringEntry{at("weights")}}}
	m.Graph.Inputs[0] = floatInfo("x", 4)
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(top, "blobs")
	if err := os.Mkdir(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, contents := range map[string][]byte{"model.onnx": b, "weights": w} {
		blob := filepath.Join(blobs, "blob-of-"+name)
		if err := os.WriteFile(blob, contents, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(blob, filepath.Join(cache, name)); err != nil {
			t.Fatal(err)
		}
	}
	openModel(t, filepath.Join(cache, "model.onnx"))
}

// TestInitializers checks the forms in which a file may hold contents.
func TestInitializers(t *testing.T) {
	varints := func(v ...uint64) []byte {
		var b []byte
		for _, u := range v {
			for ; u >= 0x80; u >>= 7 {
				b = append(b, byte(u)|0x80)
			}
			b = append(b, byte(u))
		}
		return b
	}
	minus := uint64(1<<64 - 3) // -3
	for _, c := range []struct {
		name string
		t    *protobuf.Tensor
		want *tensor.Tensor
	}{
		{"float_data", &protobuf.Tensor{DataType: 1, Dims: []int64{2}, FloatData: tensor.Vector[float32](1.5, -2).Bytes()}, tensor.Vector[float32](1.5, -2)},
		{"double_data", &protobuf.Tensor{DataType: 11, Dims: []int64{1}, DoubleData: tensor.Vector[float64](0.1).Bytes()}, tensor.Vector[float64](0.1)},
		{"int64_data", &protobuf.Tensor{DataType: 7, Dims: []int64{2}, Int64Data: varints(minus, 300)}, tensor.Vector[int64](-3, 300)},
		{"int32_data int32", &protobuf.Tensor{DataType: 6, Dims: []int64{2}, Int32Data: varints(minus, 300)}, tensor.Vector[int32](-3, 300)},
		{"int32_data int8", &protobuf.Tensor{DataType: 3, Dims: []int64{2}, Int32Data: varints(minus, 7)}, tensor.Vector[int8](-3, 7)},
		{"int32_data uint16", &protobuf.Tensor{DataType: 4, Dims: []int64{1}, Int32Data: varints(65535)}, tensor.Vector[uint16](65535)},
		{"int32_data bool", &protobuf.Tensor{DataType: 9, Dims: []int64{2}, Int32Data: varints(0, 1)}, tensor.Vector(false, true)},
		{"int32_data float16", &protobuf.Tensor{DataType: 10, Dims: []int64{1}, Int32Data: varints(0x3c00)}, tensor.Vector(tensor.ToHalf(1))},
		{"int32_data int4", &protobuf.Tensor{DataType: 22, Dims: []int64{3}, Int32Data: varints(0x2f, 0x07)}, mustBytes(t, tensor.Int4, 3, 0x2f, 0x07)},
		{"uint64_data uint32", &protobuf.Tensor{DataType: 12, Dims: []int64{1}, Uint64Data: varints(1<<32 - 1)}, tensor.Vector[uint32](1<<32 - 1)},
		{"uint64_data", &protobuf.Tensor{DataType: 13, Dims: []int64{1}, Uint64Data: varints(minus)}, tensor.Vector[uint64](1<<64 - 3)},
		{"string_data", &protobuf.Tensor{DataType: 8, Dims: []int64{2}, StringData: [][]byte{[]byte("a"), nil}}, tensor.Strings(tensor.Shape{2}, []string{"a", ""})},
		{"raw bool", &protobuf.Tensor{DataType: 9, Dims: []int64{3}, HasRaw: true, RawData: []byte{0, 1, 7}}, tensor.Vector(false, true, true)},
		{"no elements", &protobuf.Tensor{DataType: 1, Dims: []int64{0, 3}}, tensor.New(tensor.Float32, 0, 3)},
	} {
		im := &importer{ext: &external{}}
		got, err := im.load(c.t)
		if err == nil {
			err = (tolerance{}).differ(got, c.want)
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func mustBytes(t *testing.T, d tensor.DType, n int, b ...byte) *tensor.Tensor {
	t.Helper()
	v, err := tensor.FromBytes(d, tensor.Shape{n}, b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSparseInitializer(t *testing.T) {
	m := protoModel(protoNode("Add", names("x", "s"), names("y")))
	m.Graph.Inputs[0] = floatInfo("x", 2, 3)
	indices := &protobuf.Tensor{DataType: 7, Dims: []int64{2, 2}, HasRaw: true, RawData: tensor.Vector[int64](0, 1, 1, 2).Bytes()}
	m.Graph.SparseInitializer = []*protobuf.SparseTensor{{Values: floatTensor("s", []int64{2}, 5, 7), Indices: indices, Dims: []int64{2, 3}}}
	g, err := readProto(t, m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Params()[0].Data.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := (tolerance{}).differ(got, tensor.Of(tensor.Shape{2, 3}, []float32{0, 5, 0, 0, 0, 7})); err != nil {
		t.Error(err)
	}
}

// TestDefaultsOfInputs checks which initializers stay overridable.
func TestDefaultsOfInputs(t *testing.T) {
	for ir, overridable := range map[int64]bool{3: false, 8: true} {
		m := protoModel(protoNode("Add", names("x", "w"), names("y")))
		m.IRVersion = ir
		m.Graph.Inputs = append(m.Graph.Inputs, floatInfo("w", 2))
		m.Graph.Initializers = []*protobuf.Tensor{floatTensor("w", []int64{2}, 1, 2)}
		g, err := readProto(t, m)
		if err != nil {
			t.Fatal(err)
		}
		w := g.Nodes[0].In[1]
		if g.IsParam(w) == overridable || len(g.Inputs) == 2 != overridable {
			t.Errorf("IR version %d: parameter %v, %d inputs", ir, g.IsParam(w), len(g.Inputs))
		}
		got, err := run(g, map[string]*tensor.Tensor{"x": tensor.Vector[float32](10, 20)})
		if err != nil {
			t.Fatal(err)
		}
		if err := (tolerance{}).differ(got["y"], tensor.Vector[float32](11, 22)); err != nil {
			t.Error(err)
		}
	}
}

// TestFunctionsAreInlined checks attribute references, defaults, omitted inputs, nested calls and names.
func TestFunctionsAreInlined(t *testing.T) {
	m := protoModel(
		&protobuf.Node{OpType: "Scaled", Domain: "local", Name: "first", Inputs: names("x"), Outputs: names("a"), Attributes: []*protobuf.Attribute{{Name: "factor", Type: protobuf.AttrFloat, F: 3}}},
		&protobuf.Node{OpType: "Twice", Domain: "local", Inputs: names("a", "x"), Outputs: names("y")},
	)
	m.OpsetImport = append(m.OpsetImport, protobuf.OperatorSetID{Domain: "local", Version: 1})
	ref := &protobuf.Attribute{Name: "value_float", Type: protobuf.AttrFloat, RefAttrName: "factor"}
	m.Functions = []*protobuf.Function{
		{
			Name: "Scaled", Domain: "local", Inputs: names("v", "low"), Outputs: names("r"), OpsetImport: []protobuf.OperatorSetID{{Version: 17}},
			AttributeProtos: []*protobuf.Attribute{{Name: "factor", Type: protobuf.AttrFloat, F: 10}},
			Nodes: []*protobuf.Node{
				protoNode("Constant", nil, names("f"), ref), protoNode("Mul", names("v", "f"), names("m")),
				protoNode("Clip", names("m", "low"), names("r")),
			},
		},
		{
			Name: "Twice", Domain: "local", Inputs: names("p", "q"), Outputs: names("out"),
			OpsetImport: []protobuf.OperatorSetID{{Version: 17}, {Domain: "local", Version: 1}},
			Nodes: []*protobuf.Node{
				{OpType: "Scaled", Domain: "local", Inputs: names("p", "q"), Outputs: names("f")},
				protoNode("Add", names("f", "f"), names("out")),
			},
		},
	}
	m.Graph.Inputs[0] = floatInfo("x")
	g, err := readProto(t, m)
	if err != nil {
		t.Fatal(err)
	}
	for x, want := range map[float32]float32{4: 240, -1: -2} { // 2 * max(10 * 3x, x)
		got, err := run(g, map[string]*tensor.Tensor{"x": tensor.Scalar(x)})
		if err != nil {
			t.Fatal(err)
		}
		if err := (tolerance{}).differ(got["y"], tensor.Scalar(want)); err != nil {
			t.Errorf("x = %v: %v", x, err)
		}
	}
	var nodes []string
	for _, n := range g.Nodes {
		nodes = append(nodes, n.Name)
	}
	want := "first/Constant_0 first/Mul_1 first/Clip_2 Twice_1/Scaled_0/Constant_0 Twice_1/Scaled_0/Mul_1 Twice_1/Scaled_0/Clip_2 Twice_1/Add_1"
	if s := strings.Join(nodes, " "); s != want {
		t.Errorf("nodes %s", s)
	}
}

// TestSubgraphsAreClosed checks captures: outer values become inputs, outer parameters become parameters.
func TestSubgraphsAreClosed(t *testing.T) {
	branch := func(nodes ...*protobuf.Node) *protobuf.Graph {
		return &protobuf.Graph{Name: "branch", Nodes: nodes, Outputs: []*protobuf.ValueInfo{info("r")}}
	}
	inner := branch(protoNode("Add", names("h", "w"), names("r")))
	m := protoModel(
		protoNode("Relu", names("x"), names("h")),
		protoNode("If", names("c"), names("y"),
			graphAttr("then_branch", branch(protoNode("If", names("c"), names("r"), graphAttr("then_branch", inner), graphAttr("else_branch", branch(protoNode("Neg", names("x"), names("r"))))))),
			graphAttr("else_branch", branch(protoNode("Mul", names("x", "w"), names("r"))))),
	)
	m.Graph.Inputs = append(m.Graph.Inputs, typedInfo("c", tensor.Bool))
	m.Graph.Initializers = []*protobuf.Tensor{floatTensor("w", []int64{2}, 10, 20)}
	g, err := readProto(t, m)
	if err != nil {
		t.Fatal(err)
	}
	n := g.Nodes[1]
	bodies := n.Op.(graph.Body).Bodies()
	// The condition is formal and captured; h and x are captured by some branch; w is a parameter of each.
	if len(n.In) != 4 || len(bodies[0].Inputs) != 3 || len(bodies[1].Inputs) != 3 {
		t.Errorf("%d inputs, the branches have %d and %d", len(n.In), len(bodies[0].Inputs), len(bodies[1].Inputs))
	}
	if p := bodies[1].Params(); len(p) != 1 || p[0].Data != g.Nodes[1].Op.(graph.Body).Bodies()[1].Nodes[0].In[1].Data {
		t.Errorf("parameters of the branch: %v", p)
	}
	for cond, want := range map[bool][]float32{true: {11, 20}, false: {10, -40}} {
		got, err := run(g, map[string]*tensor.Tensor{"x": tensor.Vector[float32](1, -2), "c": tensor.Scalar(cond)})
		if err != nil {
			t.Fatal(err)
		}
		if err := (tolerance{}).differ(got["y"], tensor.Vector(want...)); err != nil {
			t.Errorf("%v: %v", cond, err)
		}
	}
}

// TestNamesAreUnique checks that nodes without a name or with the name of another get one of their own, and that nodes out of
// order are sorted.
func TestNamesAreUnique(t *testing.T) {
	named := protoNode("Relu", names("b"), names("y"))
	named.Name = "same"
	other := protoNode("Abs", names("x"), names("a"))
	other.Name = "same"
	g, err := readProto(t, protoModel(named, protoNode("Neg", names("a"), names("b")), other))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range g.Nodes {
		got = append(got, n.Name+" "+n.Op.Kind())
	}
	if s := strings.Join(got, ", "); s != "same Abs, Neg_1 Neg, same_1 Relu" {
		t.Error(s)
	}
}
