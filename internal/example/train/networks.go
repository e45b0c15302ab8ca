package main

import (
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// network is a graph under construction, with parameters drawn at random as those of PyTorch's layers are.
type network struct {
	*graph.Builder
	random *rand.Rand
}

func newNetwork(m example.Model) (*network, *graph.Value) {
	b := &network{graph.NewBuilder(m.Name), rand.New(rand.NewPCG(1, 2))}
	dims := []graph.Dim{graph.Named("batch")}
	for _, n := range m.Shape {
		dims = append(dims, graph.Known(n))
	}
	return b, b.Input(m.Input, graph.Ranked(m.DType, dims...))
}

func (b *network) node(kind, name string, attrs map[string]any, in ...*graph.Value) *graph.Value {
	o, ok := op.New(kind)
	if !ok {
		b.Errorf("there is no operator %s", kind)
		return in[0]
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		b.Errorf("%s: %w", name, err)
	}
	return b.Add(name, o, in...)
}

// uniform makes a parameter of values between -1/sqrt(n) and 1/sqrt(n) for n inputs of a neuron.
func (b *network) uniform(name string, n int, shape ...int) *graph.Value {
	bound := 1 / math.Sqrt(float64(n))
	return b.drawn(name, func() float64 { return (2*b.random.Float64() - 1) * bound }, shape...)
}

func (b *network) drawn(name string, draw func() float64, shape ...int) *graph.Value {
	v := make([]float32, tensor.Shape(shape).Len())
	for i := range v {
		v[i] = float32(draw())
	}
	return b.Param(name, tensor.Of(shape, v))
}

func (b *network) filled(name string, v float64, n int) *graph.Value {
	return b.drawn(name, func() float64 { return v }, n)
}

func (b *network) scalar(name string, v float64) *graph.Value {
	return b.Param(name, tensor.Scalar(float32(v)))
}

func (b *network) gemm(name string, x *graph.Value, in, out int) *graph.Value {
	return b.node("Gemm", name, map[string]any{"transB": int64(1)}, x, b.uniform(name+".weight", in, out, in), b.uniform(name+".bias", in, out))
}

// shapeNet is convolutions with batch normalization, two residual blocks and a depthwise step: 32x32 pixels to 10 classes.
func shapeNet(m example.Model) (*graph.Graph, error) {
	b, x := newNetwork(m)
	conv := func(name string, x *graph.Value, in, out, kernel, stride, groups int) *graph.Value {
		k, pad, s := int64(kernel), int64(kernel/2), int64(stride)
		w := b.uniform(name+".weight", in/groups*kernel*kernel, out, in/groups, kernel, kernel)
		x = b.node("Conv", name, map[string]any{"kernel_shape": []int64{k, k}, "strides": []int64{s, s}, "pads": []int64{pad, pad, pad, pad}, "group": int64(groups)}, x, w)
		n := name + ".norm"
		return b.node("BatchNormalization", n, nil, x, b.filled(n+".scale", 1, out), b.filled(n+".bias", 0, out), b.filled(n+".mean", 0, out), b.filled(n+".var", 1, out))
	}
	relu := func(x *graph.Value) *graph.Value { return b.node("Relu", x.Name+".relu", nil, x) }
	residual := func(block string, x *graph.Value, channels int) *graph.Value {
		y := relu(conv(block+"a", x, channels, channels, 3, 1, 1))
		y = conv(block+"b", y, channels, channels, 3, 1, 1)
		return relu(b.node("Add", y.Name+".sum", nil, y, x))
	}
	x = relu(conv("stem", x, 3, 32, 3, 1, 1))
	x = b.node("MaxPool", x.Name+".pool", map[string]any{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}, x)
	x = residual("block1", x, 32)
	x = relu(conv("depthwise", x, 32, 32, 3, 2, 32))
	x = relu(conv("pointwise", x, 32, 64, 1, 1, 1))
	x = residual("block2", x, 64)
	x = relu(conv("widen", x, 64, 128, 3, 2, 1))
	x = b.node("Flatten", "features", nil, b.node("GlobalAveragePool", "average", nil, x))
	b.Output("logits", b.gemm("head", x, 128, len(m.Classes)))
	return b.Graph()
}

// grammarNet is a pre-norm transformer encoder with learned positions that start as waves: 32 token ids to 8 classes.
func grammarNet(m example.Model) (*graph.Graph, error) {
	const vocabulary, width, heads, hidden, layers = 16, 96, 4, 288, 2
	tokens := m.Shape[0]
	b, ids := newNetwork(m)
	linear := func(name string, x *graph.Value, in, out int) *graph.Value {
		x = b.node("MatMul", name, nil, x, b.uniform(name+".weight", in, in, out))
		return b.node("Add", name+".sum", nil, x, b.uniform(name+".bias", in, out))
	}
	norm := func(name string, x *graph.Value) *graph.Value {
		return b.node("LayerNormalization", name, nil, x, b.filled(name+".weight", 1, width), b.filled(name+".bias", 0, width))
	}
	split := b.Param("heads.shape", tensor.Vector[int64](0, 0, heads, width/heads))
	merge := b.Param("width.shape", tensor.Vector[int64](0, 0, width))
	scale, root2, half, one := b.scalar("scale", 1/math.Sqrt(width/heads)), b.scalar("root2", math.Sqrt2), b.scalar("half", 0.5), b.scalar("one", 1)
	waves := make([]float32, 0, tokens*width)
	for t := range tokens {
		for _, wave := range []func(float64) float64{math.Sin, math.Cos} {
			for i := range width / 2 {
				waves = append(waves, float32(wave(float64(t)/math.Pow(100, float64(2*i)/width))))
			}
		}
	}
	x := b.node("Gather", "embedding", nil, b.drawn("embedding.weight", b.random.NormFloat64, vocabulary, width), ids)
	x = b.node("Add", "embedding.sum", nil, x, b.Param("position", tensor.Of(tensor.Shape{tokens, width}, waves)))
	for i := range layers {
		p := "encoder." + strconv.Itoa(i) + "."
		transpose := func(name string, x *graph.Value, perm ...int64) *graph.Value {
			return b.node("Transpose", p+name, map[string]any{"perm": perm}, x)
		}
		headsOf := func(name string, y *graph.Value, perm ...int64) *graph.Value {
			y = b.node("Reshape", p+name+".split", nil, linear(p+name, y, width, width), split)
			return transpose(name+".heads", y, perm...)
		}
		y := norm(p+"norm1", x)
		q, k, v := headsOf("query", y, 0, 2, 1, 3), headsOf("key", y, 0, 2, 3, 1), headsOf("value", y, 0, 2, 1, 3)
		y = b.node("Mul", p+"scores.scaled", nil, b.node("MatMul", p+"scores", nil, q, k), scale)
		y = b.node("MatMul", p+"mixed", nil, b.node("Softmax", p+"attention", nil, y), v)
		y = b.node("Reshape", p+"merged", nil, transpose("mixed.tokens", y, 0, 2, 1, 3), merge)
		x = b.node("Add", p+"residual1", nil, linear(p+"project", y, width, width), x)
		y = linear(p+"up", norm(p+"norm2", x), width, hidden)
		cdf := b.node("Add", p+"gelu.shift", nil, b.node("Erf", p+"gelu.erf", nil, b.node("Div", p+"gelu.scale", nil, y, root2)), one)
		y = b.node("Mul", p+"gelu", nil, b.node("Mul", p+"gelu.half", nil, y, half), cdf)
		x = b.node("Add", p+"residual2", nil, linear(p+"down", y, hidden, width), x)
	}
	x = b.node("ReduceMean", "features", map[string]any{"keepdims": int64(0)}, norm("norm", x), b.Param("features.axes", tensor.Vector[int64](1)))
	b.Output("logits", b.gemm("head", x, width, len(m.Classes)))
	return b.Graph()
}
