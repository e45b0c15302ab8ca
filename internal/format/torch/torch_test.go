package torch

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/torchtest"
	"github.com/neurotrain/neuroquant/tensor"
)

// saved writes an object to a file of the test.
func saved(t *testing.T, v any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.pt")
	if err := os.WriteFile(path, torchtest.Saved(t, v), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sequential(modules ...any) *pickle.Object {
	return torchtest.Module("torch.nn.modules.container.Sequential", "_modules", torchtest.Dict(modules...))
}

func open(t *testing.T, path string, o model.OpenOptions) *model.Model {
	t.Helper()
	m, err := Open(model.WithOpenOptions(context.Background(), o), path)
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

// compute runs a model on one row of four values.
func compute(t *testing.T, m *model.Model) []float32 {
	t.Helper()
	s, err := exec.NewSession(m.Graph, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Of(tensor.Shape{1, 4}, []float32{1, 1, 1, 2})})
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Data[float32](out[0])
}

// What the linear layer of torchtest gives for that row.
var want = []float32{15, -12, 4}

func TestOpensWhatHoldsTheSameWeights(t *testing.T) {
	linear := torchtest.Linear()
	weights := linear.State.(*pickle.Dict).Values[1].(*pickle.Dict)
	state := func(prefix string) *pickle.Dict {
		d := torchtest.Dict()
		for i, k := range weights.Keys {
			if err := d.Set(prefix+k.(string), weights.Values[i].(*pickle.Object).Args[0]); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	for name, c := range map[string]struct {
		v     any
		arch  string
		names []string // of the state dict that is written again
	}{
		"module":               {sequential("fc", linear), "", []string{"fc.weight", "fc.bias"}},
		"module of a layer":    {linear, "", []string{"weight", "bias"}},
		"DataParallel":         {torchtest.Module("torch.nn.parallel.data_parallel.DataParallel", "_modules", torchtest.Dict("module", sequential("fc", linear))), "", []string{"module.fc.weight", "module.fc.bias"}},
		"state dict":           {state("fc."), "mlp", []string{"fc.weight", "fc.bias"}},
		"prefix":               {state("module.fc."), "mlp", []string{"module.fc.weight", "module.fc.bias"}},
		"checkpoint":           {torchtest.Dict("epoch", 3, "state_dict", state("fc."), "optimizer", torchtest.Dict("state", torchtest.Dict())), "mlp", []string{"fc.weight", "fc.bias"}},
		"module in checkpoint": {torchtest.Dict("epoch", 3, "model", sequential("fc", linear)), "", []string{"fc.weight", "fc.bias"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := open(t, saved(t, c.v), model.OpenOptions{Arch: c.arch})
			if got := compute(t, m); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			var names []string
			for _, e := range m.State {
				names = append(names, e.Name)
			}
			if !slices.Equal(names, c.names) {
				t.Errorf("names %v, want %v", names, c.names)
			}
			again := filepath.Join(t.TempDir(), "again.pt")
			if err := Save(context.Background(), again, m, model.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(names, "weight") {
				return // a layer without a name is no perceptron
			}
			if got := compute(t, open(t, again, model.OpenOptions{Arch: "mlp"})); !slices.Equal(got, want) {
				t.Errorf("written again: got %v, want %v", got, want)
			}
		})
	}
}

func TestInputShapesAreTaken(t *testing.T) {
	m := open(t, saved(t, torchtest.Linear()), model.OpenOptions{Inputs: map[string][]graph.Dim{"": {graph.Known(2), graph.Named("steps"), graph.Known(4)}}})
	if d := m.Graph.Inputs[0].Type.Dims; len(d) != 3 || d[0].Size != 2 || d[1].Name != "steps" {
		t.Errorf("input %v", m.Graph.Inputs[0].Type)
	}
}

// Refusals say what was found and what can be done.
func TestRefusals(t *testing.T) {
	w := tensor.InMemory(tensor.New(tensor.Float32, 2, 3))
	unknown := &pickle.Object{Class: pickle.Global{Module: "mynet", Name: "Callback"}}
	many := torchtest.Dict()
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if err := many.Set(name, w); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		v    any
		arch string
		want []string
	}{
		"custom class":        {torchtest.Module("mynet.Net", "_modules", torchtest.Dict("fc", torchtest.Linear())), "", []string{"a module of class mynet.Net with 2 tensors of 15 values", "mynet.Net (made)", "torch.jit.trace", "torch.export.save", "torch.onnx.export"}},
		"custom class within": {sequential("0", torchtest.Module("mynet.Block"), "1", torchtest.Linear()), "", []string{"these classes are not known: mynet.Block"}},
		"state dict":          {many, "", []string{"8 tensors of 48 values", "a float32[2x3]", "and 2 more", "--arch"}},
		"nested":              {torchtest.Dict("state_dict", many, "callback", unknown), "", []string{"under state_dict", "mynet.Callback (made)"}},
		"no weights":          {torchtest.Dict("epoch", 3), "", []string{"no dictionary of tensors"}},
		"two weights":         {torchtest.Dict("a", many, "b", many), "", []string{`weights under "a" and under "b"`}},
		"unknown --arch":      {many, "mynet", []string{`unknown architecture "mynet"`}},
		"wrong --arch":        {many, "resnet50", []string{"architecture resnet", "conv1.weight"}},
	} {
		_, err := Open(model.WithOpenOptions(context.Background(), model.OpenOptions{Arch: c.arch}), saved(t, c.v))
		if err == nil {
			t.Errorf("%s: it opens", name)
			continue
		}
		for _, part := range append(c.want, "net.pt") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
	}
}

// A state dict keeps element types, tied tensors and the versions of modules.
func TestStateDictsAreWrittenAsTheyWere(t *testing.T) {
	var state []model.Entry
	for _, d := range []tensor.DType{
		tensor.Float64, tensor.Float32, tensor.Float16, tensor.BFloat16, tensor.Int64, tensor.Int32, tensor.Int16, tensor.Int8, tensor.Uint8, tensor.Bool,
		tensor.Complex64, tensor.Uint16, tensor.Uint32, tensor.Uint64, tensor.Float8E4M3FN, tensor.Float8E5M2,
	} {
		x := tensor.New(d, 2, 3)
		for i := range x.Bytes() {
			x.Bytes()[i] = byte(i % 2)
		}
		state = append(state, model.Entry{Name: d.String(), Source: tensor.InMemory(x)})
	}
	scalar := tensor.Scalar[int64](7)
	state = append(state, model.Entry{Name: "tied", Source: state[1].Source}, model.Entry{Name: "scalar", Source: tensor.InMemory(scalar)}, model.Entry{Name: "empty", Source: tensor.InMemory(tensor.New(tensor.Float32, 0, 3))})
	path := filepath.Join(t.TempDir(), "s.pt")
	m := &model.Model{State: state, Versions: map[string]int{"": 1, "bn1": 2}}
	if err := Save(context.Background(), path, m, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := f.Object()
	if err != nil || len(f.Refused()) > 0 {
		t.Fatal(err, f.Refused())
	}
	s, err := checkpoint.StateDict(v)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Versions) != 2 || s.Versions["bn1"] != 2 {
		t.Errorf("versions %v", s.Versions)
	}
	for i, e := range state {
		x, err := s.Tensors[i].Load()
		if err != nil {
			t.Fatal(err)
		}
		y, err := e.Load()
		if err != nil {
			t.Fatal(err)
		}
		if s.Tensors[i].Name != e.Name || x.DType != y.DType || !x.Shape.Equal(y.Shape) || !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("%s: %v, want %v", e.Name, x, y)
		}
		if at := s.Tensors[i].Storage; at != nil && e.Name != "empty" && !aligned(t, path, y.Bytes()) {
			t.Errorf("%s: its bytes are not at a multiple of 64", e.Name)
		}
	}
	if s.Get("tied") != s.Get("float32") {
		t.Error("tied tensors are two")
	}
}

// Linear layers in codes are written as PyTorch's quantized ones, and read again under the names of layers of floats.
func TestLinearLayersAreWrittenInCodes(t *testing.T) {
	w := tensor.Of(tensor.Shape{2, 3}, []float32{0.5, -1, 63.5, -12.8, 0, 0.1})
	bias := tensor.Vector[float32](1, 2)
	path := filepath.Join(t.TempDir(), "s.pt")
	m := &model.Model{Versions: map[string]int{"": 1}, State: []model.Entry{
		{Name: "conv.weight", Source: tensor.InMemory(tensor.New(tensor.Float32, 1, 1, 3, 3))},
		{Name: "fc.weight", Source: tensor.InMemory(w), Scales: []float32{0.5, 0.1}},
		{Name: "fc.bias", Source: tensor.InMemory(bias)},
		{Name: "head.weight", Source: tensor.InMemory(tensor.Of(tensor.Shape{1, 2}, []float32{0.25, -0.5})), Scales: []float32{0.25}},
	}}
	if err := Save(context.Background(), path, m, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := f.Object()
	if err != nil || len(f.Refused()) > 0 {
		t.Fatal(err, f.Refused())
	}
	d := v.(*pickle.Dict)
	var names []any
	names = append(names, d.Keys...)
	if len(names) != 9 || !slices.Contains(names, any("fc._packed_params._packed_params")) || slices.Contains(names, any("fc.bias")) {
		t.Errorf("the file has %v", names)
	}
	s, err := checkpoint.StateDict(v)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Tensors) != 4 || len(s.Other) != 0 || s.Versions["fc"] != 4 || s.Versions["fc._packed_params"] != 3 {
		t.Errorf("read as %v, %v, %v", s.Tensors, s.Other, s.Versions)
	}
	for i, e := range m.State {
		got := s.Get(e.Name)
		if got == nil || s.Tensors[i].Name != e.Name {
			t.Fatalf("tensor %d is %v, want %s", i, s.Tensors[i], e.Name)
		}
		x, err := got.Real()
		if err != nil {
			t.Fatal(err)
		}
		want, err := e.Load()
		if err != nil {
			t.Fatal(err)
		}
		if a, b := tensor.Data[float32](x), tensor.Data[float32](want); !slices.Equal(a, b) {
			t.Errorf("%s is %v, want %v", e.Name, a, b)
		}
		if (got.Quant != nil) != (e.Scales != nil) {
			t.Errorf("%s: quantized %v", e.Name, got.Quant != nil)
		}
	}
	// A value that no code stands for is an error, not another value.
	m.State[1].Scales = []float32{0.5, 0.01}
	if err := Save(context.Background(), path, m, model.SaveOptions{}); err == nil || !strings.Contains(err.Error(), "is none of theirs") {
		t.Errorf("error %v", err)
	}
}

// aligned reports whether the bytes of a tensor occur in a file at a multiple of 64.
func aligned(t *testing.T, path string, b []byte) bool {
	t.Helper()
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+len(b) <= len(all); at += 64 {
		if bytes.HasPrefix(all[at:], b) {
			return true
		}
	}
	return false
}

// A file that cannot be written whole is not there.
func TestSaveLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	w := tensor.InMemory(tensor.Vector[float32](1))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for want, c := range map[string]struct {
		ctx context.Context
		m   *model.Model
	}{
		"no tensors":             {context.Background(), &model.Model{State: []model.Entry{}, Graph: &graph.Graph{}}},
		`two tensors are called`: {context.Background(), &model.Model{State: []model.Entry{{Name: "a", Source: w}, {Name: "a", Source: w}}}},
		"no elements of type":    {context.Background(), &model.Model{State: []model.Entry{{Name: "a", Source: tensor.InMemory(tensor.New(tensor.Uint4, 2))}}}},
		"disk is gone":           {context.Background(), &model.Model{State: []model.Entry{{Name: "a", Source: broken{w}}}}},
		context.Canceled.Error(): {cancelled, &model.Model{State: []model.Entry{{Name: "a", Source: w}}}},
	} {
		err := Save(c.ctx, filepath.Join(dir, "m.pt"), c.m, model.SaveOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind %v, %v", left, err)
	}
}

// broken is a tensor that cannot be read.
type broken struct{ tensor.Source }

func (broken) Load() (*tensor.Tensor, error) { return nil, errors.New("the disk is gone") }

// A description names tensors wherever they are, and ends though the file holds itself or repeats itself without end.
func TestDescribe(t *testing.T) {
	w := tensor.InMemory(tensor.New(tensor.Float16, 2, 3))
	path := saved(t, &pickle.List{Items: []any{w, torchtest.Dict("a", pickle.Tuple{w, "text"}, "b", &pickle.Object{Class: pickle.Global{Module: "mynet", Name: "State"}, State: torchtest.Dict("w", w)})}})
	c, err := Describe(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range c.Tensors {
		names = append(names, x.Name)
		if x.Bytes != 12 || x.DType != "float16" || x.Storage != "data/0" {
			t.Errorf("%+v", x)
		}
	}
	if !slices.Equal(names, []string{"0", "1.a.0", "1.b.w"}) {
		t.Errorf("tensors %v", names)
	}
	if len(c.Refused) != 1 || c.Refused[0].Name != "mynet.State" || len(c.Other) != 2 || c.Other[1].Value != "object of class mynet.State" {
		t.Errorf("refused %v, other %v", c.Refused, c.Other)
	}

	laughs := []byte("\x80\x02]q\x00")
	for i := range 30 { // each list holds the one before ten times
		laughs = append(laughs, '0', ']', 'q', byte(i+1), '(')
		laughs = append(laughs, bytes.Repeat([]byte{'h', byte(i)}, 10)...)
		laughs = append(laughs, 'e')
	}
	for name, b := range map[string][]byte{"laughs": append(laughs, '.'), "itself": []byte("\x80\x02]q\x00h\x00a.")} {
		path := filepath.Join(t.TempDir(), "x.pt")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Describe(context.Background(), path); err != nil || len(c.Tensors) > 0 {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestMatchLeavesOtherArchives(t *testing.T) {
	zip := []byte("PK\x03\x04")
	for path, want := range map[string]bool{"m.pt": true, "m": true, "m.bin": true, "a.npz": false, "photos.ZIP": false, "x.docx": false} {
		if Match(path, zip) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
	if Match("m.pt", []byte("\x08\x07")) {
		t.Error("an ONNX file is taken for one of PyTorch")
	}
}
