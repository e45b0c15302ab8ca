package arch_test

import (
	"context"
	"encoding/json"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/tensor"
)

// golden are the models of testdata/golden.py.
type golden struct {
	Ids   []int64
	Cases []struct {
		Name   string
		Config map[string]any
		Shapes map[string]tensor.Shape
		Logits []float64
	}
}

// computed are weights that follow from names, as testdata/golden.py says.
type computed map[string]tensor.Shape

func (c computed) Names() []string {
	var out []string
	for n := range c {
		out = append(out, n)
	}
	return out
}

func (c computed) Tensor(name string) tensor.Source {
	shape, ok := c[name]
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

func readGolden(t *testing.T) golden {
	t.Helper()
	f, err := os.Open("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.UseNumber()
	var g golden
	if err := d.Decode(&g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestLogitsOfTransformers compares small models of every architecture with what transformers computes.
func TestLogitsOfTransformers(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Cases {
		name := c.Config["model_type"].(string)
		graph, info, err := arch.Build(c.Config, computed(c.Shapes))
		if err != nil {
			t.Errorf("%s, %s: %v", name, c.Name, err)
			continue
		}
		s, err := exec.NewSession(graph, exec.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Run(context.Background(), []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(g.Ids)}, g.Ids)})
		if err != nil {
			t.Fatalf("%s, %s: %v", name, c.Name, err)
		}
		got := tensor.Data[float32](out[0])
		got = got[len(got)-info.Vocab:]
		low, high, off := math.Inf(1), math.Inf(-1), 0.0
		for i, w := range c.Logits {
			low, high, off = min(low, w), max(high, w), max(off, math.Abs(float64(got[i])-w))
		}
		if !(off < 1e-4*(high-low)) {
			t.Errorf("%s, %s: logits from %v to %v are off by %v", name, c.Name, low, high, off)
		}
		s.Close()
	}
}
