package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/tensor"
)

// Element types and dimensions of ONNX messages.
const (
	onnxFloat = 1
	onnxInt64 = 7
)

func dims(list ...any) *protobuf.Shape {
	s := &protobuf.Shape{}
	for _, d := range list {
		switch d := d.(type) {
		case int:
			s.Dims = append(s.Dims, protobuf.Dim{Value: int64(d), HasValue: true})
		case string:
			s.Dims = append(s.Dims, protobuf.Dim{Param: d})
		}
	}
	return s
}

func value(name string, elem int32, shape *protobuf.Shape) *protobuf.ValueInfo {
	return &protobuf.ValueInfo{Name: name, Type: &protobuf.Type{Tensor: &protobuf.TensorType{ElemType: elem, Shape: shape}}}
}

func node(op, name string, in, out []string, attrs ...*protobuf.Attribute) *protobuf.Node {
	return &protobuf.Node{OpType: op, Name: name, Inputs: in, Outputs: out, Attributes: attrs}
}

func floats(name string, shape []int64, v ...float32) *protobuf.Tensor {
	t := &protobuf.Tensor{Name: name, Dims: shape, DataType: onnxFloat, HasRaw: true}
	for _, x := range v {
		t.RawData = binary.LittleEndian.AppendUint32(t.RawData, math.Float32bits(x))
	}
	return t
}

func ints(name string, v ...int64) *protobuf.Tensor {
	t := &protobuf.Tensor{Name: name, Dims: []int64{int64(len(v))}, DataType: onnxInt64, HasRaw: true}
	for _, x := range v {
		t.RawData = binary.LittleEndian.AppendUint64(t.RawData, uint64(x))
	}
	return t
}

// perceptron is a valid model of one layer: y = x w + b, with x of 4 and y of 3 values.
func perceptron() *protobuf.Model {
	w := make([]float32, 12)
	for i := range w {
		w[i] = float32(i%5) - 2
	}
	return &protobuf.Model{
		IRVersion: 8, ProducerName: "test", OpsetImport: []protobuf.OperatorSetID{{Version: 17}},
		Graph: &protobuf.Graph{
			Name:         "perceptron",
			Inputs:       []*protobuf.ValueInfo{value("x", onnxFloat, dims("batch", 4))},
			Outputs:      []*protobuf.ValueInfo{value("y", onnxFloat, dims("batch", 3))},
			Initializers: []*protobuf.Tensor{floats("w", []int64{4, 3}, w...), floats("b", []int64{3}, 1, 2, 3)},
			Nodes: []*protobuf.Node{
				node("MatMul", "product", []string{"x", "w"}, []string{"xw"}),
				node("Add", "sum", []string{"xw", "b"}, []string{"y"}),
			},
		},
	}
}

func save(t *testing.T, m *protobuf.Model, path string) {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// files lists everything below dir with its contents.
func files(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			rel = fmt.Sprintf("%s (%d bytes, sum %x)", rel, len(b), sum(b))
		}
		list = append(list, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

func sum(b []byte) (h uint64) {
	for _, x := range b {
		h = h*1099511628211 + uint64(x)
	}
	return h
}

// failing runs a command line that must fail with the exit code and a message with all parts, leave the folder dir as it is,
// and say the same as one JSON document.
func failing(t *testing.T, dir string, code int, parts []string, args ...string) {
	t.Helper()
	before := files(t, dir)
	var stdout, stderr bytes.Buffer
	if got := run(args, &stdout, &stderr); got != code {
		t.Errorf("%s: exit code %d, want %d; stdout %q, stderr %q", args, got, code, &stdout, &stderr)
		return
	}
	if stdout.Len() > 0 {
		t.Errorf("%s: wrote to stdout: %s", args, &stdout)
	}
	for _, part := range parts {
		if !strings.Contains(stderr.String(), part) {
			t.Errorf("%s: the message lacks %q: %s", args, part, &stderr)
		}
	}
	stderr.Reset()
	if got := run(append(slices.Clone(args), "--json"), &stdout, &stderr); got != code {
		t.Errorf("%s --json: exit code %d, want %d", args, got, code)
	}
	var doc struct{ Error struct{ Message string } }
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
		t.Errorf("%s --json: %v in %q", args, err, &stdout)
	}
	for _, part := range parts {
		if !strings.Contains(doc.Error.Message, part) {
			t.Errorf("%s --json: the message lacks %q: %s", args, part, doc.Error.Message)
		}
	}
	if after := files(t, dir); after != before {
		t.Errorf("%s: left behind:\n%s\nwas:\n%s", args, after, before)
	}
}

// Whatever is wrong with a model, no command accepts it, each says what is wrong, and nothing is left behind.
func TestBadModels(t *testing.T) {
	external := func(location string) func(t *testing.T, dir string, m *protobuf.Model) {
		return func(t *testing.T, dir string, m *protobuf.Model) {
			w := m.Graph.Initializers[0]
			w.RawData, w.HasRaw, w.DataLocation = nil, false, protobuf.External
			w.ExternalData = []protobuf.StringEntry{{Key: "location", Value: location}, {Key: "offset", Value: "0"}, {Key: "length", Value: "48"}}
		}
	}
	edit := func(f func(g *protobuf.Graph)) func(*testing.T, string, *protobuf.Model) {
		return func(_ *testing.T, _ string, m *protobuf.Model) { f(m.Graph) }
	}
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, dir string, m *protobuf.Model)
		want   []string
	}{
		{"dimensions overflow", edit(func(g *protobuf.Graph) { g.Initializers[0].Dims = []int64{1 << 40, 1 << 40} }), []string{`"w"`}},
		{"dimensions beyond the data", edit(func(g *protobuf.Graph) { g.Initializers[0].Dims = []int64{1 << 33} }), []string{`"w"`, "48"}},
		{"negative dimension", edit(func(g *protobuf.Graph) { g.Initializers[0].Dims = []int64{-4, -3} }), []string{`"w"`, "-4"}},
		{"data shorter than dimensions", edit(func(g *protobuf.Graph) { g.Initializers[0].RawData = g.Initializers[0].RawData[:47] }), []string{`"w"`, "48", "47"}},
		{"data longer than dimensions", edit(func(g *protobuf.Graph) { g.Initializers[0].RawData = make([]byte, 52) }), []string{`"w"`, "48", "52"}},
		{"unknown element type", edit(func(g *protobuf.Graph) { g.Initializers[0].DataType = 99 }), []string{`"w"`, "99"}},
		{"cycle", edit(func(g *protobuf.Graph) {
			g.Nodes = append(g.Nodes, node("Add", "left", []string{"q", "b"}, []string{"p"}), node("Add", "right", []string{"p", "b"}, []string{"q"}))
		}), []string{"cycle", "left", "right"}},
		{"node that reads itself", edit(func(g *protobuf.Graph) { g.Nodes[1].Inputs[0] = "y" }), []string{"cycle", "sum"}},
		{"value that nothing computes", edit(func(g *protobuf.Graph) { g.Nodes[1].Inputs[0] = "nowhere" }), []string{"sum", "nowhere"}},
		{"value computed twice", edit(func(g *protobuf.Graph) { g.Nodes[1].Outputs[0] = "xw" }), []string{`"xw"`}},
		{"output that nothing computes", edit(func(g *protobuf.Graph) { g.Outputs[0].Name = "z" }), []string{`"z"`}},
		{"unknown operators", func(t *testing.T, dir string, m *protobuf.Model) {
			m.OpsetImport = append(m.OpsetImport, protobuf.OperatorSetID{Domain: "acme", Version: 1})
			m.Graph.Nodes = append(m.Graph.Nodes,
				node("Frobnicate", "f1", []string{"y"}, []string{"f1"}),
				&protobuf.Node{OpType: "Twist", Domain: "acme", Name: "t1", Inputs: []string{"f1"}, Outputs: []string{"t1"}},
				node("Frobnicate", "f2", []string{"t1"}, []string{"f2"}),
				node("Wibble", "w1", []string{"f2"}, []string{"w1"}))
		}, []string{"Frobnicate", "Twist", "acme", "Wibble"}},
		{"wrong attribute", edit(func(g *protobuf.Graph) {
			g.Nodes = append(g.Nodes, node("Softmax", "soft", []string{"y"}, []string{"s"}, &protobuf.Attribute{Name: "axis", Type: protobuf.AttrInt, I: 7}))
		}), []string{"soft", "Softmax", "axis", "7"}},
		{"shapes that do not fit", edit(func(g *protobuf.Graph) { g.Inputs[0] = value("x", onnxFloat, dims("batch", 5)) }), []string{"product", "MatMul", "5", "4"}},
		{"not a number among weights", edit(func(g *protobuf.Graph) {
			copy(g.Initializers[0].RawData[8:], floats("", nil, float32(math.NaN())).RawData)
		}), []string{`"w"`, "NaN"}},
		{"an infinity among weights", edit(func(g *protobuf.Graph) {
			copy(g.Initializers[0].RawData[8:], floats("", nil, float32(math.Inf(-1))).RawData)
		}), []string{`"w"`, "Inf"}},
		{"external data that is missing", external("w.bin"), []string{`"w"`, `"w.bin"`, "missing", "copy it there"}},
		{"external data above the folder", external("../secret.bin"), []string{`"w"`, `"../secret.bin"`, "not a file below the folder of the model"}},
		{"external data above the folder by detours", external("a/../../secret.bin"), []string{`"w"`, "not a file below"}},
		{"external data at an absolute path", external("/etc/passwd"), []string{`"w"`, `"/etc/passwd"`, "not a file below"}},
		{"external data through a link", func(t *testing.T, dir string, m *protobuf.Model) {
			secret := filepath.Join(t.TempDir(), "secret.bin")
			if err := os.WriteFile(secret, make([]byte, 48), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(secret, filepath.Join(dir, "link.bin")); err != nil {
				t.Skip(err)
			}
			external("link.bin")(t, dir, m)
		}, []string{`"w"`, `"link.bin"`, "leads out of the folder of the model"}},
		{"external data in a folder", func(t *testing.T, dir string, m *protobuf.Model) {
			if err := os.Mkdir(filepath.Join(dir, "w.bin"), 0o755); err != nil {
				t.Fatal(err)
			}
			external("w.bin")(t, dir, m)
		}, []string{`"w"`, "not a regular file"}},
		{"external data that is too short", func(t *testing.T, dir string, m *protobuf.Model) {
			if err := os.WriteFile(filepath.Join(dir, "w.bin"), make([]byte, 40), 0o644); err != nil {
				t.Fatal(err)
			}
			external("w.bin")(t, dir, m)
		}, []string{`"w"`, "w.bin has 40 bytes", "48"}},
		{"newer operator set", func(t *testing.T, dir string, m *protobuf.Model) { m.OpsetImport[0].Version = 99 }, []string{"operator set 99", "not supported", "newest"}},
		{"newer file format", func(t *testing.T, dir string, m *protobuf.Model) { m.IRVersion = 99 }, []string{"IR version 99", "not supported", "newest"}},
		{"no graph", func(t *testing.T, dir string, m *protobuf.Model) { m.Graph = nil }, []string{"no graph"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			m := perceptron()
			test.damage(t, dir, m)
			path := filepath.Join(dir, "bad.onnx")
			save(t, m, path)
			want := append([]string{"bad.onnx"}, test.want...)
			failing(t, dir, exitFailed, want, "quantize", path, filepath.Join(dir, "deep", "out"))
			if !strings.HasSuffix(test.name, " weights") { // a dry run does not read them
				failing(t, dir, exitFailed, want, "quantize", path, filepath.Join(dir, "out"), "--dry-run")
			}
		})
	}
}

// Sizes that the graph itself computes are bounded like those that a file declares.
func TestHostileSizesInGraphs(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes []*protobuf.Node
		init  []*protobuf.Tensor
		want  string
	}{
		{"ConstantOfShape", []*protobuf.Node{node("ConstantOfShape", "big", []string{"size"}, []string{"big"})}, []*protobuf.Tensor{ints("size", 1<<40, 1<<10)}, "big"},
		{"ConstantOfShape overflow", []*protobuf.Node{node("ConstantOfShape", "big", []string{"size"}, []string{"big"})}, []*protobuf.Tensor{ints("size", 1<<62, 4)}, "big"},
		{"Expand", []*protobuf.Node{node("Expand", "big", []string{"b", "size"}, []string{"big"})}, []*protobuf.Tensor{ints("size", 1<<40, 3)}, "big"},
		{"Tile", []*protobuf.Node{node("Tile", "big", []string{"b", "size"}, []string{"big"})}, []*protobuf.Tensor{ints("size", 1<<60)}, "big"},
		{"Pad", []*protobuf.Node{node("Pad", "big", []string{"b", "size"}, []string{"big"})}, []*protobuf.Tensor{ints("size", 1<<60, 1<<60)}, "big"},
		{"Range", []*protobuf.Node{node("Range", "big", []string{"from", "to", "by"}, []string{"big"})}, []*protobuf.Tensor{scalar("from", 0), scalar("to", 1<<60), scalar("by", 1)}, "big"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			m := perceptron()
			m.Graph.Nodes = append(m.Graph.Nodes, test.nodes...)
			m.Graph.Initializers = append(m.Graph.Initializers, test.init...)
			m.Graph.Outputs = append(m.Graph.Outputs, &protobuf.ValueInfo{Name: "big"})
			path := filepath.Join(dir, "bad.onnx")
			save(t, m, path)
			x := filepath.Join(dir, "x.npy")
			if err := data.WriteNPYFile(x, tensor.New(tensor.Float32, 1, 4)); err != nil {
				t.Fatal(err)
			}
			failing(t, dir, exitFailed, []string{test.want}, "run", path, "--input", "x="+x, "--out", filepath.Join(dir, "out"))
		})
	}
}

func scalar(name string, v int64) *protobuf.Tensor {
	t := ints(name, v)
	t.Dims = nil
	return t
}

// A file that ends early is refused wherever it ends.
func TestTruncatedModels(t *testing.T) {
	dir := t.TempDir()
	whole, err := perceptron().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cut.onnx")
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if code := run([]string{"inspect", path}, &stdout, &stderr); code != exitFailed {
			t.Fatalf("the first %d of %d bytes: exit code %d, %s", n, len(whole), code, &stdout)
		}
		if text := stderr.String(); n > 3 && !strings.Contains(text, "cut short") && !strings.Contains(text, "operator set") {
			t.Errorf("the first %d of %d bytes: %s", n, len(whole), text)
		}
	}
	for _, n := range []int{0, 1, 2, 20, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		failing(t, dir, exitFailed, []string{"cut.onnx"}, "quantize", path, filepath.Join(dir, "out"))
	}
}
