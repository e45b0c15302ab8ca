package neuroquant_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/tensor"
)

// One model serves several goroutines, whose results do not mix.
func TestRunConcurrently(t *testing.T) {
	ctx := context.Background()
	for i, m := range example.Models() {
		path := put(t, i)
		orig := open(t, path)
		for what, model := range map[string]*neuroquant.Model{"original": orig, "quantized": quantize(t, neuroquant.NewManager(neuroquant.DefaultConfig()), path).Model} {
			const n = 12
			x, _ := m.Test(n)
			sample := func(j int) map[string]*tensor.Tensor {
				return map[string]*tensor.Tensor{m.Input: row(x, j, m.DType)}
			}
			want := make([][]float32, n)
			for j := range want {
				out, err := model.Run(ctx, sample(j))
				if err != nil {
					t.Fatal(err)
				}
				want[j] = tensor.Data[float32](out["logits"])
			}
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for j := range n {
						j = (j + 3*g) % n
						out, err := model.Run(ctx, sample(j))
						if err != nil {
							t.Error(err)
							return
						}
						if got := tensor.Data[float32](out["logits"]); !reflect.DeepEqual(got, want[j]) {
							t.Errorf("%s %s: sample %d gives %v beside others, %v alone", m.Name, what, j, got, want[j])
						}
					}
				})
			}
			wg.Wait()
		}
	}
}

// row returns sample j of a batch as a batch of one.
func row(x *tensor.Tensor, j int, d tensor.DType) *tensor.Tensor {
	shape := append(tensor.Shape{1}, x.Shape[1:]...)
	n := shape.Len()
	if d == tensor.Int64 {
		return tensor.Of(shape, tensor.Data[int64](x)[j*n:(j+1)*n])
	}
	return tensor.Of(shape, tensor.Data[float32](x)[j*n:(j+1)*n])
}

func TestRunRefusesWrongInputs(t *testing.T) {
	m := open(t, put(t, 0))
	for _, test := range []struct {
		name string
		in   map[string]*tensor.Tensor
		want string
	}{
		{"none", nil, `input "images"`},
		{"another name", map[string]*tensor.Tensor{"pixels": tensor.New(tensor.Float32, 1, 3, 32, 32)}, `no input "pixels"; it has "images"`},
		{"another rank", map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 3, 32, 32)}, `input "images": want float32[batch,3,32,32], got shape 3x32x32`},
		{"another size", map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 1, 3, 32, 31)}, "dimension 3: want 32, got 31"},
		{"another type", map[string]*tensor.Tensor{"images": tensor.New(tensor.Uint8, 1, 3, 32, 32)}, "want element type float32, got uint8"},
	} {
		if _, err := m.Run(context.Background(), test.in); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Run(ctx, map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 1, 3, 32, 32)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestInspect(t *testing.T) {
	for i, m := range example.Models() {
		model := open(t, put(t, i))
		info := model.Inspect()
		want := []any{"batch"}
		for _, d := range m.Shape {
			want = append(want, d)
		}
		if len(info.Inputs) != 1 || info.Inputs[0].Name != m.Input || info.Inputs[0].DType != m.DType.String() || !reflect.DeepEqual(info.Inputs[0].Shape, want) {
			t.Errorf("inputs %+v", info.Inputs)
		}
		if len(info.Outputs) != 1 || info.Outputs[0].Name != "logits" || !reflect.DeepEqual(info.Outputs[0].Shape, []any{"batch", len(m.Classes)}) {
			t.Errorf("outputs %+v", info.Outputs)
		}
		parameters, bytes := 0, int64(0)
		for _, x := range info.Tensors {
			n := 1
			for _, d := range x.Shape {
				n *= d
			}
			parameters, bytes = parameters+n, bytes+x.Bytes
		}
		if info.Parameters != parameters || info.Size.Parameters != parameters || info.Size.MemoryBytes != bytes || info.Size.DiskBytes != int64(len(m.ONNX)) {
			t.Errorf("%d parameters and %d bytes in %d tensors: %+v", parameters, bytes, len(info.Tensors), info.Size)
		}
		if info.Format != "onnx" || info.File != model.Path() || info.Opset[""] == 0 || info.Operators["Softmax"]+info.Operators["Conv"] == 0 {
			t.Errorf("%+v", info)
		}
		if text := model.GraphText(); !strings.Contains(text, m.Input) || !strings.Contains(text, "logits") {
			t.Errorf("graph %s", text)
		}
	}
}

// The scores of Evaluate and of the Analyzer are those that the outputs give when they are counted by hand.
func TestScoresAgainstOutputs(t *testing.T) {
	ctx := context.Background()
	const n = 100
	m := example.Models()[0]
	path := put(t, 0)
	orig := open(t, path)
	quant := quantize(t, neuroquant.NewManager(neuroquant.DefaultConfig()), path).Model
	x, labels := m.Test(n)
	type result struct {
		classes []int
		logits  []float32
		top1    float64
		loss    float64
	}
	count := func(model *neuroquant.Model) (r result) {
		for j, label := range labels {
			out, err := model.Run(ctx, map[string]*tensor.Tensor{m.Input: row(x, j, m.DType)})
			if err != nil {
				t.Fatal(err)
			}
			logits := tensor.Data[float32](out["logits"])
			best, z := 0, 0.0
			for c, v := range logits {
				if v > logits[best] {
					best = c
				}
				z += math.Exp(float64(v))
			}
			if best == label {
				r.top1 += 1.0 / n
			}
			r.loss += (math.Log(z) - float64(logits[label])) / n
			r.classes, r.logits = append(r.classes, best), append(r.logits, logits...)
		}
		return r
	}
	a, b := count(orig), count(quant)
	same, signal, noise := 0.0, 0.0, 0.0
	for j := range labels {
		if a.classes[j] == b.classes[j] {
			same += 1.0 / n
		}
	}
	for j, v := range a.logits {
		d := float64(v) - float64(b.logits[j])
		signal, noise = signal+float64(v)*float64(v), noise+d*d
	}
	set, err := data.Arrays([]string{m.Input}, []*tensor.Tensor{x}, labels)
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-4*(1+math.Abs(want)) {
			t.Errorf("%s is %v, counted %v", what, got, want)
		}
	}
	s, err := neuroquant.Evaluate(ctx, orig, set, 16, "")
	if err != nil {
		t.Fatal(err)
	}
	near("top-1", s.Top1, a.top1)
	near("loss", s.Loss, a.loss)
	acc, err := (&neuroquant.Analyzer{Original: orig, Quantized: quant}).CompareAccuracy(ctx, set)
	if err != nil {
		t.Fatal(err)
	}
	near("original top-1", acc.Original.Top1, a.top1)
	near("quantized top-1", acc.Quantized.Top1, b.top1)
	near("quantized loss", acc.Quantized.Loss, b.loss)
	near("agreement", *acc.Agreement, same)
	near("SQNR", *acc.Outputs[0].SQNR, 10*math.Log10(signal/noise))
	if acc.Samples != n || acc.Outputs[0].Values != len(a.logits) {
		t.Errorf("%+v", acc)
	}
	if _, err := neuroquant.Evaluate(ctx, orig, set, 1, "nothing"); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("an output that is not there: %v", err)
	}
	bare, err := data.Arrays([]string{m.Input}, []*tensor.Tensor{x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := neuroquant.Evaluate(ctx, orig, bare, 1, ""); err == nil || !strings.Contains(err.Error(), "no labels") {
		t.Errorf("without labels: %v", err)
	}
}

func TestAnalyzer(t *testing.T) {
	ctx := context.Background()
	path := put(t, 0)
	m := neuroquant.NewManager(neuroquant.DefaultConfig())
	out := t.TempDir() + "/out"
	if err := m.Save(ctx, quantize(t, m, path), out, false); err != nil {
		t.Fatal(err)
	}
	a := &neuroquant.Analyzer{Original: open(t, path), Quantized: open(t, out), Runs: 5, WarmUp: 1, Threads: 1}
	orig, quant, ratio := a.CompareSizes()
	if ratio != float64(orig.DiskBytes)/float64(quant.DiskBytes) || ratio < 3.5 || orig.DiskBytes != int64(len(example.Models()[0].ONNX)) {
		t.Errorf("ratio %v of %d and %d bytes", ratio, orig.DiskBytes, quant.DiskBytes)
	}
	s, err := a.CompareSpeed(ctx, nil, 4)
	if err != nil || s.Batch != 4 || s.Runs != 5 || s.Threads != 1 || s.Speedup <= 0 || s.Original.P10 > s.Original.Median || s.Original.Median > s.Original.P90 {
		t.Errorf("speed %+v, %v", s, err)
	}
	layers, err := a.CompareLayers(ctx, testSet(8))
	if err != nil || len(layers) < 20 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	quantized := 0
	for _, l := range layers {
		if l.Quantized {
			quantized++
		}
		if l.SQNR != nil && *l.SQNR < 20 {
			t.Errorf("layer %s (%s): %v dB", l.Layer, l.Op, *l.SQNR)
		}
	}
	if quantized == 0 {
		t.Error("no layer counts as quantized")
	}

	// Without samples inputs are random, seeded, and the report says so.
	x, err := a.CompareAccuracy(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	y, err := a.CompareAccuracy(ctx, nil)
	if err != nil || !reflect.DeepEqual(x, y) || x.Original != nil {
		t.Errorf("random inputs: %+v then %+v, %v", x, y, err)
	}
	r, err := a.Analyze(ctx, testSet(16), "shapes")
	if err != nil {
		t.Fatal(err)
	}
	if r.Data != "shapes" || len(r.Speed) != 2 || r.Speed[0].Batch != 1 || r.Speed[1].Batch != 8 || r.Accuracy.Samples != 16 || r.Original.File != "shapes.onnx" || len(r.Notes) != 0 {
		t.Errorf("report %+v", r)
	}

	// A model is its own quantized form without any error.
	same, err := (&neuroquant.Analyzer{Original: a.Original, Quantized: a.Original}).CompareAccuracy(ctx, testSet(4))
	if err != nil || same.Outputs[0].SQNR != nil || same.Outputs[0].MaxDiff != 0 || *same.Agreement != 1 {
		t.Errorf("a model against itself: %+v, %v", same, err)
	}
	other := &neuroquant.Analyzer{Original: a.Original, Quantized: open(t, put(t, 1))}
	if _, err := other.CompareAccuracy(ctx, testSet(2)); err == nil || !strings.Contains(err.Error(), "quantized model") {
		t.Errorf("another model: %v", err)
	}
}

func ExampleModel_Run() {
	m, err := neuroquant.Open(context.Background(), modelFile())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	m.SetThreads(1)
	out, err := m.Run(context.Background(), map[string]*tensor.Tensor{"images": tensor.New(tensor.Float32, 1, 3, 32, 32)})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out["logits"].Shape, out["logits"].DType)
	// Output: 1x10 float32
}
