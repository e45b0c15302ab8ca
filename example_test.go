package neuroquant_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/tensor"
)

// dir holds the files of the examples; TestMain makes and removes it.
var dir string

// modelFile writes the embedded convolutional network, which names ten rendered shapes, to a file.
func modelFile() string {
	path := filepath.Join(dir, "shapes.onnx")
	if err := os.WriteFile(path, example.Models()[0].ONNX, 0o644); err != nil {
		log.Fatal(err)
	}
	return path
}

// The main job: quantize a model, save it, load it again, run it.
func Example() {
	ctx := context.Background()
	m := neuroquant.NewManager(neuroquant.DynamicConfig())
	res, err := m.Quantize(ctx, modelFile())
	if err != nil {
		log.Fatal(err)
	}
	defer res.Close()
	out := filepath.Join(dir, "first")
	if err := m.Save(ctx, res, out, false); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d layers quantized, %.1fx smaller\n", len(res.Decisions), float64(res.InputBytes())/float64(res.DiskBytes()))

	small, err := neuroquant.Open(ctx, out)
	if err != nil {
		log.Fatal(err)
	}
	defer small.Close()
	images := tensor.New(tensor.Float32, 2, 3, 32, 32)
	result, err := small.Run(ctx, map[string]*tensor.Tensor{"images": images})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result["logits"].Shape)
	// Output:
	// 9 layers quantized, 3.8x smaller
	// 2x10
}

// A plan says what would be done to every layer. Patterns keep layers in float.
func ExampleManager_Plan() {
	c := neuroquant.DynamicConfig()
	c.Keep = []string{"block*", "head"}
	p, err := neuroquant.NewManager(c).Plan(context.Background(), modelFile())
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range p.Decisions {
		fmt.Printf("%s (%s %v): %s\n", d.Layer, d.Op, d.Shape, d.Stored)
	}
	// Output:
	// stem (Conv [32 3 3 3]): int8 per-channel sym
	// block1a (Conv [32 32 3 3]): float32
	// block1b (Conv [32 32 3 3]): float32
	// depthwise (Conv [32 1 3 3]): int8 per-channel sym
	// pointwise (Conv [64 32 1 1]): int8 per-channel sym
	// block2a (Conv [64 64 3 3]): float32
	// block2b (Conv [64 64 3 3]): float32
	// widen (Conv [128 64 3 3]): int8 per-channel sym
	// head (Gemm [10 128]): float32
}

// Quantize in another type, and see the settings and what was done.
func ExampleManager_Quantize() {
	c := neuroquant.DefaultConfig()
	c.DType = "float16"
	m := neuroquant.NewManager(c)
	res, err := m.Quantize(context.Background(), modelFile())
	if err != nil {
		log.Fatal(err)
	}
	defer res.Close()
	info := m.Info()
	fmt.Println(info.Config.Method, info.Config.DType, info.Input, info.Layers > 0)
	for _, t := range m.SizeInfo(res.Model).ByType {
		fmt.Println(t.DType, t.Parameters > 0)
	}
	// Output:
	// dynamic float16 shapes.onnx true
	// float16 true
	// float32 true
}

// All mistakes of a file come at once, with line and column.
func ExampleLoadConfig() {
	path := filepath.Join(dir, "run.yaml")
	text := "quantization:\n  method: dynamic\n  dtype: int8\n  group_sice: 64\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
	_, err := neuroquant.LoadConfig(path)
	fmt.Println(trim(err))
	// Output:
	// run.yaml:3:10: quantization.dtype: want one of qint8, quint8, qint4, float16, bfloat16, found "int8" (did you mean "qint8"?)
	//   3 |   dtype: int8
	//     |          ^
	// run.yaml:4:3: quantization: unknown key "group_sice" (did you mean "group_size"?)
	//   4 |   group_sice: 64
	//     |   ^
}

func ExampleConfig_Validate() {
	c := neuroquant.DefaultConfig()
	c.Method = "dynamik"
	fmt.Println(c.Validate())
	// Output:
	// method: unknown method "dynamik" (did you mean "dynamic"?); the methods are dynamic, static, qat, gptq, awq, rtn, w8a8, bitsandbytes
}

func ExampleRecommend() {
	r, err := neuroquant.Recommend("transformer", "inference")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Method, r.Available)
	// Output: dynamic true
}

func ExampleRecommendFor() {
	r, err := neuroquant.RecommendFor(context.Background(), modelFile(), "inference")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.ModelType, r.Traits[1])
	// Output: cnn 98 % of the parameters in convolutions
}

func ExampleModel_Inspect() {
	m, err := neuroquant.Open(context.Background(), modelFile())
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	i := m.Inspect()
	fmt.Println(i.Inputs[0].Name, i.Inputs[0].DType, i.Inputs[0].Shape)
	fmt.Println(i.Outputs[0].Name, i.Outputs[0].Shape, i.Operators["Conv"])
	// Output:
	// images float32 [batch 3 32 32]
	// logits [batch 10] 8
}

func ExampleAnalyzer_CompareAccuracy() {
	ctx := context.Background()
	orig, err := neuroquant.Open(ctx, modelFile())
	if err != nil {
		log.Fatal(err)
	}
	defer orig.Close()
	res, err := neuroquant.NewManager(neuroquant.DynamicConfig()).Quantize(ctx, modelFile())
	if err != nil {
		log.Fatal(err)
	}
	defer res.Close()
	a := &neuroquant.Analyzer{Original: orig, Quantized: res.Model}
	x, err := a.CompareAccuracy(ctx, testSet(200)) // labelled samples; nil would be random ones
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(x.Samples, x.Original.Top1 > 0.95, *x.Agreement > 0.98, *x.Outputs[0].SQNR > 29)
	// Output: 200 true true true
}
