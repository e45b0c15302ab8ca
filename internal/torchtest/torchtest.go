// Package torchtest makes PyTorch files for tests: objects as PyTorch pickles them, and modules with what PyTorch computes from
// them, which testdata/cases.py wrote.
package torchtest

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed" // the cases
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

//go:embed testdata/layers.json.gz
var layers []byte

//go:embed testdata/networks.json.gz
var networks []byte

// Case is a module, its inputs and what PyTorch computes.
type Case struct {
	Name    string   `json:"name"`
	Module  *Node    `json:"module"`
	Inputs  []Input  `json:"inputs"`
	Outputs []Output `json:"outputs"`
}

// Input is an input: float32 values that follow from its number, or whole numbers.
type Input struct {
	Shape  []int     `json:"shape"`
	Values [][]int64 `json:"values"`
}

// Output is every step-th value of an output.
type Output struct {
	Shape  []int     `json:"shape"`
	Step   int       `json:"step"`
	Values []float64 `json:"values"`
}

// Node is a module: its class and attributes, the types and shapes of its tensors, the modules below it. They are pairs in order.
type Node struct {
	Class   string     `json:"class"`
	Attrs   object     `json:"attrs"`
	Params  object     `json:"params"`
	Buffers object     `json:"buffers"`
	Modules []NodePair `json:"-"`
}

// NodePair is a module under a name; nil for one that is absent.
type NodePair struct {
	Name string
	Node *Node
}

// object is a JSON object with its keys in order.
type object []pair

type pair struct {
	key   string
	value json.RawMessage
}

// UnmarshalJSON keeps the order of keys.
func (o *object) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return err
		}
		p := pair{key: fmt.Sprint(k)}
		if err := d.Decode(&p.value); err != nil {
			return err
		}
		*o = append(*o, p)
	}
	return nil
}

// UnmarshalJSON reads the modules in their order.
func (n *Node) UnmarshalJSON(b []byte) error {
	type plain Node
	x := struct {
		*plain
		Modules object `json:"modules"`
	}{plain: (*plain)(n)}
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	for _, p := range x.Modules {
		var c *Node
		if err := json.Unmarshal(p.value, &c); err != nil {
			return err
		}
		n.Modules = append(n.Modules, NodePair{p.key, c})
	}
	return nil
}

// Layers returns the cases of torch.nn.
func Layers(t testing.TB) []Case { return read(t, layers) }

// Networks returns the cases of torchvision.
func Networks(t testing.TB) []Case { return read(t, networks) }

func read(t testing.TB, packed []byte) []Case {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	var out []Case
	if err := json.NewDecoder(z).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Fill returns values between -1 and 1 that follow from a name: a hash of it and of the index.
func Fill(name string, n int) []float64 {
	seed := uint32(2166136261)
	for _, b := range []byte(name) {
		seed = (seed ^ uint32(b)) * 16777619
	}
	out := make([]float64, n)
	for i := range out {
		h := uint32(i)*2654435761 + seed
		h = (h ^ h>>15) * 2246822519
		h = (h ^ h>>13) * 3266489917
		h ^= h >> 16
		out[i] = float64(h)/(1<<31) - 1
	}
	return out
}

// weight returns a tensor of a state dict by its full name.
func weight(t testing.TB, name, dtype string, shape tensor.Shape) *tensor.Tensor {
	t.Helper()
	d := map[string]tensor.DType{"float32": tensor.Float32, "int64": tensor.Int64, "bool": tensor.Bool}[dtype]
	if d != tensor.Float32 {
		return tensor.New(d, shape...)
	}
	v := Fill(name, shape.Len())
	out := tensor.New(d, shape...)
	scale, shift := 0.25, 0.0
	switch {
	case strings.HasSuffix(name, "running_var"):
		scale, shift = 0.5, 1
	case len(shape) >= 2:
		scale = math.Sqrt(3 / float64(shape[1:].Len()))
	case strings.HasSuffix(name, "weight"):
		shift = 1
	}
	for i := range v {
		tensor.Data[float32](out)[i] = float32(shift + v[i]*scale)
	}
	return out
}

// Object returns a module as PyTorch pickles it; prefix begins the names of its tensors.
func (n *Node) Object(t testing.TB, prefix string) *pickle.Object {
	t.Helper()
	state := new(pickle.Dict)
	set := func(d *pickle.Dict, key string, v any) {
		if err := d.Set(key, v); err != nil {
			t.Fatal(err)
		}
	}
	set(state, "training", false)
	for _, list := range []struct {
		key   string
		items object
	}{{"_parameters", n.Params}, {"_buffers", n.Buffers}} {
		d := checkpoint.OrderedDict()
		for _, p := range list.items {
			x := n.tensor(t, prefix, p)
			if x != nil && list.key == "_parameters" {
				x = Parameter(x.(*tensor.Tensor))
			} else if x != nil {
				x = tensor.InMemory(x.(*tensor.Tensor))
			}
			set(d, p.key, x)
		}
		set(state, list.key, d)
	}
	modules := checkpoint.OrderedDict()
	for _, c := range n.Modules {
		if c.Node == nil {
			set(modules, c.Name, nil)
			continue
		}
		set(modules, c.Name, c.Node.Object(t, prefix+c.Name+"."))
	}
	set(state, "_modules", modules)
	for _, p := range n.Attrs {
		set(state, p.key, attribute(t, p.value))
	}
	return &pickle.Object{Class: class(n.Class), State: state}
}

// tensor returns a tensor of a module, nil for one that is absent.
func (n *Node) tensor(t testing.TB, prefix string, p pair) any {
	t.Helper()
	var kind []json.RawMessage
	var dtype string
	var shape []int
	err := json.Unmarshal(p.value, &kind)
	if err == nil && kind == nil {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(kind[0], &dtype)
	}
	if err == nil {
		err = json.Unmarshal(kind[1], &shape)
	}
	if err != nil {
		t.Fatal(err)
	}
	return weight(t, prefix+p.key, dtype, shape)
}

// StateDict returns the tensors of a module and of all below it by name, as its state_dict does.
func (n *Node) StateDict(t testing.TB) *pickle.Dict {
	t.Helper()
	out := checkpoint.OrderedDict()
	var walk func(n *Node, prefix string)
	walk = func(n *Node, prefix string) {
		for _, p := range append(append(object{}, n.Params...), n.Buffers...) {
			if x := n.tensor(t, prefix, p); x != nil {
				if err := out.Set(prefix+p.key, tensor.InMemory(x.(*tensor.Tensor))); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, c := range n.Modules {
			if c.Node != nil {
				walk(c.Node, prefix+c.Name+".")
			}
		}
	}
	walk(n, "")
	return out
}

// Parameter returns a torch.nn.Parameter as PyTorch pickles it.
func Parameter(x *tensor.Tensor) *pickle.Object {
	return &pickle.Object{Class: class("torch._utils._rebuild_parameter"), Called: true, Args: []any{tensor.InMemory(x), true, checkpoint.OrderedDict()}}
}

// Module returns a module of a class as PyTorch pickles it, with attributes as names and values that alternate; those that every
// module has, such as _parameters, are empty where they are not given.
func Module(class_ string, attrs ...any) *pickle.Object {
	state := Dict("training", false, "_parameters", checkpoint.OrderedDict(), "_buffers", checkpoint.OrderedDict(), "_modules", checkpoint.OrderedDict())
	state.Class = pickle.Global{}
	for i := 0; i < len(attrs); i += 2 {
		if err := state.Set(attrs[i], attrs[i+1]); err != nil {
			panic(err)
		}
	}
	return &pickle.Object{Class: class(class_), State: state}
}

// Linear returns a torch.nn.Linear of 4 values to 3.
func Linear() *pickle.Object {
	return Module("torch.nn.modules.linear.Linear", "in_features", 4, "out_features", 3, "_parameters", Dict(
		"weight", Parameter(tensor.Of(tensor.Shape{3, 4}, []float32{1, 2, 3, 4, -1, -2, -3, -4, 0.5, 0, 0.25, 0.125})), "bias", Parameter(tensor.Vector[float32](1, 2, 3))))
}

// Dict returns an OrderedDict of keys and values that alternate.
func Dict(pairs ...any) *pickle.Dict {
	d := checkpoint.OrderedDict()
	for i := 0; i < len(pairs); i += 2 {
		if err := d.Set(pairs[i], pairs[i+1]); err != nil {
			panic(err)
		}
	}
	return d
}

// class is a global by its full name.
func class(name string) pickle.Global {
	return pickle.Global{Module: strings.TrimSuffix(name, "."+name[strings.LastIndexByte(name, '.')+1:]), Name: name[strings.LastIndexByte(name, '.')+1:]}
}

// attribute reads an attribute of the cases.
func attribute(t testing.TB, raw json.RawMessage) any {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	case map[string]any:
		for kind, x := range v {
			switch kind {
			case "float":
				if s, ok := x.(string); ok {
					return math.Inf(map[string]int{"inf": 1, "-inf": -1}[s])
				}
				f, err := x.(json.Number).Float64()
				if err != nil {
					t.Fatal(err)
				}
				return f
			case "global":
				parts := x.([]any)
				return pickle.Global{Module: parts[0].(string), Name: parts[1].(string)}
			case "tuple":
				var items []json.RawMessage
				var of struct{ Tuple []json.RawMessage }
				if err := json.Unmarshal(raw, &of); err != nil {
					t.Fatal(err)
				}
				items = of.Tuple
				out := pickle.Tuple{}
				for _, i := range items {
					out = append(out, attribute(t, i))
				}
				return out
			}
		}
		t.Fatalf("an attribute of %s", raw)
	}
	return v
}

// Saved returns what torch.save makes of an object.
func Saved(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := checkpoint.Write(context.Background(), &b, "archive", v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// State reads an object that was saved and returns its weights.
func State(t testing.TB, v any) *checkpoint.State {
	t.Helper()
	f, err := checkpoint.Parse("case.pt", Saved(t, v))
	if err != nil {
		t.Fatal(err)
	}
	object, err := f.Object()
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.StateDict(object)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// In returns the inputs of a case.
func (c *Case) In(t testing.TB) []*tensor.Tensor {
	t.Helper()
	var out []*tensor.Tensor
	for i, in := range c.Inputs {
		if in.Values != nil {
			x := tensor.New(tensor.Int64, len(in.Values), len(in.Values[0]))
			for r, row := range in.Values {
				copy(tensor.Data[int64](x)[r*len(row):], row)
			}
			out = append(out, x)
			continue
		}
		x := tensor.New(tensor.Float32, in.Shape...)
		for k, v := range Fill(fmt.Sprint("input", i), x.Len()) {
			tensor.Data[float32](x)[k] = float32(v)
		}
		out = append(out, x)
	}
	return out
}

// Check compares outputs with those of the case: differences may be tolerance times the largest value.
func (c *Case) Check(t testing.TB, got []*tensor.Tensor, tolerance float64) {
	t.Helper()
	if len(got) < len(c.Outputs) {
		t.Errorf("%d outputs, want %d", len(got), len(c.Outputs))
		return
	}
	for i, want := range c.Outputs {
		if !got[i].Shape.Equal(want.Shape) {
			t.Errorf("output %d: shape %v, want %v", i, got[i].Shape, want.Shape)
			continue
		}
		v, err := got[i].Float64s()
		if err != nil {
			t.Fatal(err)
		}
		most, worst, at := 0.0, 0.0, 0
		for k, w := range want.Values {
			most = max(most, math.Abs(w))
			if d := math.Abs(v[k*want.Step] - w); d > worst || d != d {
				worst, at = d, k*want.Step
			}
		}
		if !(worst <= tolerance*most) {
			t.Errorf("output %d: value %d is %v, off by %.2g of %.2g", i, at, v[at], worst, most)
		}
	}
}
