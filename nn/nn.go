// Package nn holds layers for building a model in Go, to be trained, quantized and saved like one that was read from a file. A layer is a
// description; [Build] makes the graph of it, with parameters that a seed gives.
//
//	m := nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
//
// Parameters begin as those of PyTorch's layers do: weights and biases evenly from -1/sqrt(n) to 1/sqrt(n) for n inputs of a neuron, scales
// of normalizations at one.
package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Layer is a part of a model: what it makes of one value.
type Layer interface {
	build(b *builder, x *graph.Value) *graph.Value
}

// builder builds a graph with parameters drawn at random.
type builder struct {
	*graph.Builder
	random *rand.Rand
}

// Build returns the graph of a model for samples of a shape, without the batch: an input "input" [batch, shape...] and an output "output".
func Build(name string, m Layer, seed uint64, shape ...int) (*graph.Graph, error) {
	b := &builder{graph.NewBuilder(name), rand.New(rand.NewPCG(seed, 0x6e6e))}
	dims := []graph.Dim{graph.Named("batch")}
	for _, n := range shape {
		if n < 1 {
			return nil, fmt.Errorf("nn: shape %v of a sample: want sizes of at least 1", shape)
		}
		dims = append(dims, graph.Known(n))
	}
	b.Output("output", m.build(b, b.Input("input", graph.Ranked(tensor.Float32, dims...))))
	return b.Graph()
}

// node adds an operator.
func (b *builder) node(kind string, attrs map[string]any, in ...*graph.Value) *graph.Value {
	o, ok := op.New(kind)
	if !ok {
		b.Errorf("there is no operator %s", kind)
		return in[0]
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		b.Errorf("%s: %w", kind, err)
	}
	return b.Add(kind, o, in...)
}

// uniform makes a parameter of values between -1/sqrt(n) and 1/sqrt(n).
func (b *builder) uniform(name string, n int, shape ...int) *graph.Value {
	bound := 1 / math.Sqrt(float64(max(n, 1)))
	v := make([]float32, tensor.Shape(shape).Len())
	for i := range v {
		v[i] = float32((2*b.random.Float64() - 1) * bound)
	}
	return b.Param(name, tensor.Of(shape, v))
}

// filled makes a parameter of n equal values.
func (b *builder) filled(name string, n int, value float32) *graph.Value {
	v := make([]float32, n)
	for i := range v {
		v[i] = value
	}
	return b.Param(name, tensor.Vector(v...))
}

// size returns dimension i of x, which must be want.
func (b *builder) size(x *graph.Value, i, want int) {
	if !x.Type.Ranked || i >= len(x.Type.Dims) || x.Type.Dims[i].IsKnown() && x.Type.Dims[i].Size != want {
		b.Errorf("want %d values along dimension %d, got %v", want, i, x.Type)
	}
}

type sequential []Layer

// Sequential is layers one after the other. Their parameters are named by their numbers, as in "2.weight".
func Sequential(layers ...Layer) Layer { return sequential(layers) }

func (s sequential) build(b *builder, x *graph.Value) *graph.Value {
	for i, l := range s {
		b.Scope(strconv.Itoa(i), func() { x = l.build(b, x) })
	}
	return x
}

type residual struct{ of Layer }

// Residual is x + layer(x).
func Residual(of Layer) Layer { return residual{of} }

func (r residual) build(b *builder, x *graph.Value) *graph.Value {
	return b.node("Add", nil, r.of.build(b, x), x)
}

type linear struct{ in, out int }

// Linear is x*W' + b for rows of in values, with W [out, in].
func Linear(in, out int) Layer { return linear{in, out} }

func (l linear) build(b *builder, x *graph.Value) *graph.Value {
	if l.in < 1 || l.out < 1 {
		b.Errorf("linear: want sizes of at least 1, got %d and %d", l.in, l.out)
		return x
	}
	b.size(x, len(x.Type.Dims)-1, l.in)
	if len(x.Type.Dims) == 2 {
		return b.node("Gemm", map[string]any{"transB": int64(1)}, x, b.uniform("weight", l.in, l.out, l.in), b.uniform("bias", l.in, l.out))
	}
	return b.node("Add", nil, b.node("MatMul", nil, x, b.uniform("weight", l.in, l.in, l.out)), b.uniform("bias", l.in, l.out))
}

// Conv says how a convolution slides; the zero value is stride 1 without pads, in one group, with a bias.
type Conv struct {
	Stride, Padding, Dilation, Groups int
	NoBias                            bool
}

type conv2d struct {
	in, out, kernel int
	Conv
}

// Conv2d is a convolution of images [batch, in, height, width] with kernels of kernel x kernel.
func Conv2d(in, out, kernel int, c Conv) Layer {
	c.Stride, c.Dilation, c.Groups = max(c.Stride, 1), max(c.Dilation, 1), max(c.Groups, 1)
	return conv2d{in, out, kernel, c}
}

func (l conv2d) build(b *builder, x *graph.Value) *graph.Value {
	if l.in < 1 || l.out < 1 || l.kernel < 1 || l.in%l.Groups != 0 || l.out%l.Groups != 0 {
		b.Errorf("conv2d: %d to %d channels in %d groups with kernels of %d", l.in, l.out, l.Groups, l.kernel)
		return x
	}
	b.size(x, 1, l.in)
	pair := func(n int) []int64 { return []int64{int64(n), int64(n)} }
	fanIn := l.in / l.Groups * l.kernel * l.kernel
	in := []*graph.Value{x, b.uniform("weight", fanIn, l.out, l.in/l.Groups, l.kernel, l.kernel)}
	if !l.NoBias {
		in = append(in, b.uniform("bias", fanIn, l.out))
	}
	return b.node("Conv", map[string]any{
		"kernel_shape": pair(l.kernel), "strides": pair(l.Stride), "dilations": pair(l.Dilation), "group": int64(l.Groups),
		"pads": append(pair(l.Padding), pair(l.Padding)...),
	}, in...)
}

type batchNorm struct{ channels int }

// BatchNorm normalizes each channel of [batch, channels, ...] by the batch in training, and by what it remembers of batches afterwards.
func BatchNorm(channels int) Layer { return batchNorm{channels} }

func (l batchNorm) build(b *builder, x *graph.Value) *graph.Value {
	b.size(x, 1, l.channels)
	n := l.channels
	return b.node("BatchNormalization", nil, x, b.filled("weight", n, 1), b.filled("bias", n, 0), b.filled("running_mean", n, 0), b.filled("running_var", n, 1))
}

type layerNorm struct{ features int }

// LayerNorm normalizes rows of so many features.
func LayerNorm(features int) Layer { return layerNorm{features} }

func (l layerNorm) build(b *builder, x *graph.Value) *graph.Value {
	b.size(x, len(x.Type.Dims)-1, l.features)
	return b.node("LayerNormalization", nil, x, b.filled("weight", l.features, 1), b.filled("bias", l.features, 0))
}

type function struct {
	kind  string
	attrs map[string]any
}

func (f function) build(b *builder, x *graph.Value) *graph.Value { return b.node(f.kind, f.attrs, x) }

// ReLU is max(x, 0).
func ReLU() Layer { return function{kind: "Relu"} }

// GELU is the Gaussian error linear unit.
func GELU() Layer { return function{kind: "Gelu"} }

// SiLU is x times its logistic function.
func SiLU() Layer { return function{kind: "Swish"} }

// Sigmoid is the logistic function.
func Sigmoid() Layer { return function{kind: "Sigmoid"} }

// Tanh is the hyperbolic tangent.
func Tanh() Layer { return function{kind: "Tanh"} }

// Flatten makes rows of samples.
func Flatten() Layer { return function{kind: "Flatten"} }

// GlobalAvgPool averages each channel over the image: [batch, channels, 1, 1].
func GlobalAvgPool() Layer { return function{kind: "GlobalAveragePool"} }

// MaxPool2d is the greatest value of windows of size x size that lie stride apart.
func MaxPool2d(size, stride int) Layer {
	return function{"MaxPool", map[string]any{"kernel_shape": []int64{int64(size), int64(size)}, "strides": []int64{int64(stride), int64(stride)}}}
}

// AvgPool2d is the mean of windows of size x size that lie stride apart.
func AvgPool2d(size, stride int) Layer {
	return function{"AveragePool", map[string]any{"kernel_shape": []int64{int64(size), int64(size)}, "strides": []int64{int64(stride), int64(stride)}}}
}

type dropout struct{ ratio float64 }

// Dropout sets a share of the values to zero in training, and scales the others up.
func Dropout(ratio float64) Layer { return dropout{ratio} }

func (l dropout) build(b *builder, x *graph.Value) *graph.Value {
	if !(l.ratio >= 0 && l.ratio < 1) {
		b.Errorf("dropout: want a share from 0 to below 1, got %v", l.ratio)
	}
	return b.node("Dropout", nil, x, b.Param("ratio", tensor.Scalar(float32(l.ratio))))
}
