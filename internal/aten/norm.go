package aten

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// BatchNorm is torch.batch_norm with stored statistics: x [batch, channels, ...]. A nil weight is ones, a nil bias zeros.
func (b *Builder) BatchNorm(x, weight, bias, mean, variance *graph.Value, eps float64) *graph.Value {
	if mean == nil || variance == nil {
		return b.Fail("a batch normalization without stored statistics depends on what else is in the batch; it cannot be evaluated")
	}
	if len(mean.Type.Dims) != 1 {
		return b.Fail("batch normalization: the stored mean: want a vector, got %v", mean.Type)
	}
	channels := mean.Type.Dims[0].Size
	weight, bias = b.orFill(weight, channels, 1), b.orFill(bias, channels, 0)
	return b.Node("BatchNormalization", Attrs{"epsilon": eps}, x, weight, bias, mean, variance)
}

// maxFill bounds vectors of equal numbers.
const maxFill = 1 << 24

// count returns the number of elements of a shape, -1 if it is none.
func count(shape []int) int {
	n, ok := tensor.Shape(shape).CheckedLen()
	if !ok {
		return -1
	}
	return n
}

// orFill returns v, or a vector of n equal numbers where it is absent.
func (b *Builder) orFill(v *graph.Value, n int, number float32) *graph.Value {
	if v != nil {
		return v
	}
	if n < 0 || n > maxFill {
		return b.Fail("a normalization without weights of %d values; want 0 to %d", n, maxFill)
	}
	f := make([]float32, n)
	for i := range f {
		f[i] = number
	}
	return b.Param("fill", tensor.Vector(f...))
}

// LayerNorm is torch.nn.functional.layer_norm over the last dimensions, as many as shape has.
func (b *Builder) LayerNorm(x, weight, bias *graph.Value, shape []int, eps float64) *graph.Value {
	n := count(shape)
	if weight == nil {
		weight = b.reshaped(b.orFill(nil, n, 1), shape)
	}
	return b.Node("LayerNormalization", Attrs{"axis": -len(shape), "epsilon": eps}, inputs(x, weight, bias)...)
}

// reshaped is x in a known shape, x itself where it has that.
func (b *Builder) reshaped(x *graph.Value, shape []int) *graph.Value {
	if s, ok := x.Type.Shape(); ok && s.Equal(shape) {
		return x
	}
	return b.Node("Reshape", nil, x, b.Ints(shape...))
}

// RMSNorm is torch.nn.functional.rms_norm over the last dimensions.
func (b *Builder) RMSNorm(x, weight *graph.Value, shape []int, eps float64) *graph.Value {
	if weight == nil {
		weight = b.reshaped(b.orFill(nil, count(shape), 1), shape)
	}
	return b.Node("RMSNormalization", Attrs{"axis": -len(shape), "epsilon": eps}, x, weight)
}

// GroupNorm is torch.nn.functional.group_norm: x [batch, channels, ...].
func (b *Builder) GroupNorm(x, weight, bias *graph.Value, groups, channels int, eps float64) *graph.Value {
	return b.Node("GroupNormalization", Attrs{"num_groups": groups, "epsilon": eps}, x, b.orFill(weight, channels, 1), b.orFill(bias, channels, 0))
}

// InstanceNorm is torch.nn.functional.instance_norm without stored statistics.
func (b *Builder) InstanceNorm(x, weight, bias *graph.Value, channels int, eps float64) *graph.Value {
	return b.Node("InstanceNormalization", Attrs{"epsilon": eps}, x, b.orFill(weight, channels, 1), b.orFill(bias, channels, 0))
}

// LocalResponseNorm is torch.nn.functional.local_response_norm. PyTorch takes an even window one further to the front, ONNX to the back.
func (b *Builder) LocalResponseNorm(x *graph.Value, size int, alpha, beta, k float64) *graph.Value {
	if size%2 == 1 {
		return b.Node("LRN", Attrs{"size": size, "alpha": alpha, "beta": beta, "bias": k}, x)
	}
	// The mean of the squares over the window, along the channels as an image of one row a channel.
	r := b.Rank(x)
	sq := b.Unsqueeze(b.Flatten(b.Node("Mul", nil, x, x), 2, -1), 1) // [batch, 1, channels, rest]
	sq = b.Pad(sq, []int{0, 0, size / 2, (size - 1) / 2}, "constant", 0)
	sq = b.Node("AveragePool", Attrs{"kernel_shape": []int{size, 1}}, sq)
	div := b.Node("Pow", nil, b.Node("Add", nil, b.Node("Mul", nil, sq, b.Number(x, alpha)), b.Number(x, k)), b.Number(x, beta))
	if r < 2 {
		return b.Fail("a local response normalization of %d dimensions", r)
	}
	return b.Node("Div", nil, x, b.Node("Reshape", nil, div, b.Node("Shape", nil, x)))
}

// Normalize is torch.nn.functional.normalize: x divided by its norm of order p along an axis, which is at least eps.
func (b *Builder) Normalize(x *graph.Value, p float64, axis int, eps float64) *graph.Value {
	kind := map[float64]string{1: "ReduceL1", 2: "ReduceL2"}[p]
	if kind == "" {
		return b.Fail("a normalization of order %v; orders are 1 and 2", p)
	}
	norm := b.Node(kind, Attrs{"keepdims": 1}, x, b.Ints(axis))
	return b.Node("Div", nil, x, b.Node("Max", nil, norm, b.Number(x, eps)))
}
