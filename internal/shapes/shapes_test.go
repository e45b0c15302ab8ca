package shapes

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

var full = flag.Bool("full", false, "measure the encoder of bert-base-uncased and ResNet-50 themselves and print the figures")

// trained counts the parameters that training changes: weights, biases, scales; not running statistics, shapes or scalars.
func trained(g *graph.Graph) int {
	n := 0
	for _, v := range g.Params() {
		if v.Type.DType == tensor.Float32 && len(v.Type.Dims) > 0 && !strings.Contains(v.Name, ".running_") {
			n += v.Data.Shape().Len()
		}
	}
	return n
}

// TestParameterCounts compares with the counts that the frameworks publish for these networks.
func TestParameterCounts(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func() (*graph.Graph, error)
		want  int
	}{
		{"bert-base-uncased", BERTBase().Graph, 109482240},
		{"ResNet-18", ResNet18().Graph, 11689512},
		{"ResNet-50", ResNet50().Graph, 25557032},
		{"MobileNetV2", MobileNetV2Full().Graph, 3504872},
	} {
		g, err := c.build()
		if err != nil {
			t.Fatal(err)
		}
		if got := trained(g); got != c.want {
			t.Errorf("%s: %d parameters, want %d", c.name, got, c.want)
		}
	}
}

func TestSizesAreChecked(t *testing.T) {
	for _, c := range []struct {
		build func() (*graph.Graph, error)
		want  string
	}{
		{BERT{Layers: 1, Hidden: 8, Heads: 2, Vocabulary: 5, Positions: 5}.Graph, "intermediate is 0"},
		{BERT{Layers: 1, Hidden: 8, Heads: 3, Intermediate: 8, Vocabulary: 5, Positions: 5}.Graph, "not a multiple of 3 heads"},
		{ResNet{Blocks: [4]int{1, 1, 0, 1}, Width: 8, Classes: 2, Side: 32}.Graph, "blocks is 0"},
		{MobileNetV2{Multiplier: math.NaN(), Classes: 2, Side: 32}.Graph, "multiplier is NaN"},
		{MobileNetV2{Multiplier: 1}.Graph, "classes is 0"},
	} {
		if _, err := c.build(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

// TestActivationsKeepTheirScale runs narrow versions of the networks, whose scores must have the scale of a trained network's.
func TestActivationsKeepTheirScale(t *testing.T) {
	image := tensor.New(tensor.Float32, 2, 3, 64, 64)
	for i := range image.Len() {
		tensor.Data[float32](image)[i] = float32(math.Sin(float64(i*i%1009))) * math.Sqrt2
	}
	tokens := tensor.Of(tensor.Shape{2, 5}, []int64{3, 1, 4, 1, 5, 9, 2, 6, 5, 3})
	ones := tensor.Of(tensor.Shape{2, 5}, []int64{1, 1, 1, 1, 1, 1, 1, 1, 0, 0})
	for _, c := range []struct {
		name  string
		build func() (*graph.Graph, error)
		in    map[string]*tensor.Tensor
	}{
		{
			"bert", BERT{Layers: 2, Hidden: 32, Heads: 4, Intermediate: 64, Vocabulary: 20, Positions: 8, Seed: 1}.Graph,
			map[string]*tensor.Tensor{"input_ids": tokens, "attention_mask": ones, "token_type_ids": ones},
		},
		{"resnet18", ResNet{Blocks: ResNet18().Blocks, Width: 8, Classes: 10, Side: 64, Seed: 1}.Graph, map[string]*tensor.Tensor{"images": image}},
		{"resnet50", ResNet{Blocks: ResNet50().Blocks, Bottleneck: true, Width: 8, Classes: 10, Side: 64, Seed: 1}.Graph, map[string]*tensor.Tensor{"images": image}},
		{"mobilenet", MobileNetV2{Multiplier: 0.25, Classes: 10, Side: 64, Seed: 1}.Graph, map[string]*tensor.Tensor{"images": image}},
	} {
		g, err := c.build()
		if err != nil {
			t.Fatal(err)
		}
		out := run(t, g, c.in)
		for name, y := range out {
			var sum, most float64
			for _, v := range tensor.Data[float32](y) {
				sum += float64(v) * float64(v)
				most = max(most, math.Abs(float64(v)))
			}
			if rms := math.Sqrt(sum / float64(y.Len())); !(rms > 0.05 && most < 100) {
				t.Errorf("%s: %s %v: root mean square %v, largest %v", c.name, name, y.Shape, rms, most)
			}
		}
		again, err := c.build()
		if err != nil {
			t.Fatal(err)
		}
		for name, y := range run(t, again, c.in) {
			if string(y.Bytes()) != string(out[name].Bytes()) {
				t.Errorf("%s: %s differs between two networks of one seed", c.name, name)
			}
		}
	}
}

func run(t *testing.T, g *graph.Graph, in map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	t.Helper()
	g, err := pass.Lower(g)
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(g, exec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.RunNamed(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSize asserts how much smaller the written files of an encoder are. With -full it is bert-base itself.
func TestSize(t *testing.T) {
	c := BERT{Layers: 2, Hidden: 256, Heads: 4, Intermediate: 1024, Vocabulary: 4000, Positions: 128, Seed: 1}
	if *full {
		c = BERTBase()
	}
	g, err := c.Graph()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	float := written(t, filepath.Join(dir, "float.onnx"), g)
	if *full {
		fmt.Printf("encoder with %d layers, hidden size %d, vocabulary %d: %d parameters\n", c.Layers, c.Hidden, c.Vocabulary, trained(g))
		fmt.Printf("%-9s %12s %8s %8s\n%-9s %12d\n", "dtype", "bytes", "ratio", "limit", "float32", float)
	}
	for _, q := range []struct {
		weight string
		limit  float64
	}{{"qint8", 3.8}, {"quint8", 3.8}, {"float16", 1.99}, {"bfloat16", 1.99}} {
		m := &model.Model{Graph: g.Clone()}
		if err := pass.Clean(m.Graph); err != nil {
			t.Fatal(err)
		}
		p, err := quantize.NewPlan(m, quantize.Recipe{Method: "dynamic", Weight: q.weight})
		if err != nil {
			t.Fatal(err)
		}
		if err := quantize.Run(context.Background(), m, p, quantize.Samples{}); err != nil {
			t.Fatal(err)
		}
		n := written(t, filepath.Join(dir, q.weight+".onnx"), m.Graph)
		ratio := float64(float) / float64(n)
		if ratio < q.limit {
			t.Errorf("%s: %d bytes against %d: %.3f times smaller, want at least %v", q.weight, n, float, ratio, q.limit)
		}
		if *full {
			fmt.Printf("%-9s %12d %8.3f %8.2f\n", q.weight, n, ratio, q.limit)
		}
	}
}

// TestStaticSize asserts how much smaller a statically quantized residual network is. With -full it is ResNet-50 itself.
func TestStaticSize(t *testing.T) {
	net := ResNet{Blocks: ResNet50().Blocks, Bottleneck: true, Width: 32, Classes: 100, Side: 32, Seed: 1}
	if *full {
		net = ResNet50()
	}
	g, err := net.Graph()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	float := written(t, filepath.Join(dir, "float.onnx"), g)
	for _, form := range quantize.Formats {
		m := &model.Model{Graph: g.Clone()}
		if err := pass.Clean(m.Graph); err != nil {
			t.Fatal(err)
		}
		p, err := quantize.NewPlan(m, quantize.Recipe{Method: "static", Format: form, Calibrator: quantize.Calibrator{Method: "minmax"}})
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.New(tensor.Float32, 1, 3, net.Side, net.Side)
		for i := range x.Len() {
			tensor.Data[float32](x)[i] = float32(math.Sin(float64(i)))
		}
		one := quantize.Samples{Len: 1, All: func(context.Context) iter.Seq2[quantize.Call, error] {
			return func(yield func(quantize.Call, error) bool) {
				yield(quantize.Call{In: []*tensor.Tensor{x}, Samples: 1}, nil)
			}
		}}
		if err := quantize.Run(context.Background(), m, p, one); err != nil {
			t.Fatal(err)
		}
		n := written(t, filepath.Join(dir, form+".onnx"), m.Graph)
		ratio := float64(float) / float64(n)
		if *full {
			fmt.Printf("residual network, static %s: %d bytes of %d, %.3f times smaller\n", form, n, float, ratio)
		}
		if ratio < 3.5 {
			t.Errorf("%s: %d bytes against %d: %.3f times smaller, want at least 3.5", form, n, float, ratio)
		}
	}
}

// written returns the size of the graph as a file, external data included.
func written(t *testing.T, path string, g *graph.Graph) int64 {
	t.Helper()
	if err := onnx.Write(context.Background(), path, &model.Model{Graph: g}, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}
