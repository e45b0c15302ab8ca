// Package archtest has small models of the architectures with what transformers computes, for tests.
package archtest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

//go:embed golden.json
var golden []byte

//go:embed encoders.json
var encoders []byte

// Case is a model. It is its own weights, which follow from their names as golden.py says.
type Case struct {
	Name   string
	Config map[string]any
	Shapes map[string]tensor.Shape
	Logits []float64 // of the last token of IDs
	IDs    []int64
}

// Golden returns the decoders of golden.json.
func Golden(t testing.TB) []*Case {
	t.Helper()
	var all struct {
		IDs   []int64
		Cases []*Case
	}
	parse(t, golden, &all)
	for _, c := range all.Cases {
		c.IDs, c.Name = all.IDs, c.Type()+", "+c.Name
	}
	return all.Cases
}

func parse(t testing.TB, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

// Type is the model_type.
func (c *Case) Type() string {
	s, _ := c.Config["model_type"].(string)
	return s
}

// Names lists the tensors.
func (c *Case) Names() []string { return slices.Sorted(maps.Keys(c.Shapes)) }

// Tensor returns the tensor of a name, or nil.
func (c *Case) Tensor(name string) tensor.Source {
	shape, ok := c.Shapes[name]
	if !ok {
		return nil
	}
	return tensor.InMemory(values(name, shape))
}

// values are those that follow from a name.
func values(name string, shape tensor.Shape) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	scale, mean := 4/math.Sqrt(float64(shape[len(shape)-1])), 0.0
	if len(shape) == 1 {
		if scale = 0.5; strings.HasSuffix(name, "weight") {
			mean = 1
		}
	}
	first := uint64(crc32.ChecksumIEEE([]byte(name))) + 1
	for i := range tensor.Data[float32](t) {
		h := (first + uint64(i)) * 0x9E3779B97F4A7C15 >> 32
		tensor.Data[float32](t)[i] = float32((float64(h)/(1<<32)-0.5)*scale + mean)
	}
	return t
}

// Check runs a graph of the model and compares its logits.
func (c *Case) Check(t testing.TB, g *graph.Graph) {
	t.Helper()
	out := c.run(t, g, []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(c.IDs)}, c.IDs)})
	got := tensor.Data[float32](out[0])
	c.compare(t, "logits", got[len(got)-len(c.Logits):], c.Logits, 1)
}

// run computes the outputs of a graph.
func (c *Case) run(t testing.TB, g *graph.Graph, in []*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	return out
}

// compare compares every so many elements of an output with what they are.
func (c *Case) compare(t testing.TB, name string, got []float32, want []float64, every int) {
	t.Helper()
	low, high, off := math.Inf(1), math.Inf(-1), 0.0
	for i, w := range want {
		low, high, off = min(low, w), max(high, w), max(off, math.Abs(float64(got[i*every])-w))
	}
	if !(off < 1e-4*(high-low)) {
		t.Errorf("%s: %s from %v to %v are off by %v", c.Name, name, low, high, off)
	}
}

// Encoder is a model that sees all of its input at once.
type Encoder struct {
	Case
	Inputs  map[string][][]int64 // none for images, whose values follow from the name of the input
	Outputs map[string]struct {
		Count  int // of elements, of which Values are some, evenly spread from the first
		Values []float64
	}
}

// Encoders returns the models of encoders.json.
func Encoders(t testing.TB) []*Encoder {
	t.Helper()
	var all struct{ Cases []*Encoder }
	parse(t, encoders, &all)
	for _, c := range all.Cases {
		c.Name = c.Type() + ", " + c.Name
	}
	return all.Cases
}

// Check runs a graph of the model and compares its outputs.
func (c *Encoder) Check(t testing.TB, g *graph.Graph) {
	t.Helper()
	var in []*tensor.Tensor
	for _, v := range g.Inputs {
		rows, ok := c.Inputs[v.Name]
		if !ok {
			shape := tensor.Shape{1}
			for _, d := range v.Type.Dims[1:] {
				shape = append(shape, d.Size)
			}
			in = append(in, values(v.Name, shape))
			continue
		}
		shape := tensor.Shape{len(rows), len(rows[0])}
		if len(v.Type.Dims) == 3 {
			shape = slices.Insert(shape, 0, 1) // the texts are the choices of one example
		}
		in = append(in, tensor.Of(shape, slices.Concat(rows...)))
	}
	if len(g.Outputs) != len(c.Outputs) {
		t.Errorf("%s: want %d outputs, got %d", c.Name, len(c.Outputs), len(g.Outputs))
	}
	for i, out := range c.run(t, g, in) {
		name := g.Outputs[i].Name
		got, want := tensor.Data[float32](out), c.Outputs[name]
		if len(got) != want.Count || want.Count == 0 {
			t.Errorf("%s: output %s has shape %v; want %d elements", c.Name, name, out.Shape, want.Count)
			continue
		}
		c.compare(t, name, got, want.Values, max(want.Count/24, 1))
	}
}
