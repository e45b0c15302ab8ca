// Package archtest has small models of the architectures with the logits that transformers computes, for tests.
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

// Case is a model. It is its own weights, which follow from their names as golden.py says.
type Case struct {
	Name   string
	Config map[string]any
	Shapes map[string]tensor.Shape
	Logits []float64 // of the last token of IDs
	IDs    []int64
}

// Golden returns the models of golden.json.
func Golden(t testing.TB) []*Case {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(golden))
	d.UseNumber()
	var all struct {
		IDs   []int64
		Cases []*Case
	}
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all.Cases {
		c.IDs, c.Name = all.IDs, c.Type()+", "+c.Name
	}
	return all.Cases
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
	return tensor.InMemory(t)
}

// Check runs a graph of the model and compares its logits.
func (c *Case) Check(t testing.TB, g *graph.Graph) {
	t.Helper()
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	defer s.Close()
	out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(c.IDs)}, c.IDs)})
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	got := tensor.Data[float32](out[0])
	got = got[len(got)-len(c.Logits):]
	low, high, off := math.Inf(1), math.Inf(-1), 0.0
	for i, w := range c.Logits {
		low, high, off = min(low, w), max(high, w), max(off, math.Abs(float64(got[i])-w))
	}
	if !(off < 1e-4*(high-low)) {
		t.Errorf("%s: logits from %v to %v are off by %v", c.Name, low, high, off)
	}
}
