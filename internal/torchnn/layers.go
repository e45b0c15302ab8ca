package torchnn

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
)

// The layers that networks are written in, by name: the module of that name, or in a state dict what the arguments say.

// Conv is a convolution. Groups that are not given follow from the shapes.
func (l *Layer) Conv(name string, x *graph.Value, p aten.Conv) *graph.Value {
	return l.Or(name, x, func(c *Layer, x *graph.Value) *graph.Value {
		w := c.need("weight")
		if p.Groups == 0 {
			p.Groups = groups(x, w)
		}
		return c.Net.Conv(x, w, c.Weight("bias"), p)
	})
}

// groups is the number of groups of a convolution: channels of x by columns of the weight. Where the channels of x are not known
// and the weight has one column, each is a group of its own.
func groups(x, w *graph.Value) int {
	if per := w.Type.Dims; len(per) > 1 && per[1].Size == 1 && (!x.Type.Ranked || len(x.Type.Dims) > 1 && !x.Type.Dims[1].IsKnown()) {
		return per[0].Size
	}
	if x.Type.Ranked && len(x.Type.Dims) > 1 && len(w.Type.Dims) > 1 {
		in, per := x.Type.Dims[1].Size, w.Type.Dims[1].Size
		if per > 0 && in > per && in%per == 0 {
			return in / per
		}
	}
	return 1
}

// BatchNorm is a batch normalization.
func (l *Layer) BatchNorm(name string, x *graph.Value, eps float64) *graph.Value {
	return l.Or(name, x, func(c *Layer, x *graph.Value) *graph.Value {
		return c.Net.BatchNorm(x, c.Weight("weight"), c.Weight("bias"), c.need("running_mean"), c.need("running_var"), eps)
	})
}

// LayerNorm is a layer normalization over as many dimensions as its weight has.
func (l *Layer) LayerNorm(name string, x *graph.Value, eps float64) *graph.Value {
	return l.Or(name, x, func(c *Layer, x *graph.Value) *graph.Value {
		w := c.need("weight")
		shape, _ := w.Type.Shape()
		return c.Net.LayerNorm(x, w, c.Weight("bias"), shape, eps)
	})
}

// Linear is a linear layer.
func (l *Layer) Linear(name string, x *graph.Value) *graph.Value {
	return l.Or(name, x, linear)
}

func linear(l *Layer, x *graph.Value) *graph.Value {
	w := l.Source("weight")
	if w == nil {
		return l.need("weight")
	}
	return l.Net.Linear(x, "weight", w, "bias", l.Source("bias"))
}

// Relu is a layer that is a Relu where it is not said to be something else.
func (l *Layer) Relu(name string, x *graph.Value) *graph.Value {
	return l.Or(name, x, func(_ *Layer, x *graph.Value) *graph.Value { return l.Net.Relu(x) })
}

// MaxPool is a max pooling of images.
func (l *Layer) MaxPool(name string, x *graph.Value, p aten.Pool) *graph.Value {
	return l.Or(name, x, func(_ *Layer, x *graph.Value) *graph.Value { return l.Net.MaxPool(x, 2, p) })
}

// AvgPool is an average pooling of images to a size.
func (l *Layer) AvgPool(name string, x *graph.Value, size int) *graph.Value {
	return l.Or(name, x, func(_ *Layer, x *graph.Value) *graph.Value { return l.AdaptiveAvgPool(x, []int{size, size}) })
}

// Skip is a layer that does nothing in a network that is evaluated, such as a dropout, where it is not said to be something else.
func (l *Layer) Skip(name string, x *graph.Value) *graph.Value {
	return l.Or(name, x, func(_ *Layer, x *graph.Value) *graph.Value { return x })
}

// ConvNorm are a convolution, a normalization and an activation in a row, named by numbers, as torchvision's
// Conv2dNormActivation; a nil activation is none.
func (l *Layer) ConvNorm(name string, x *graph.Value, p aten.Conv, eps float64, activation func(*graph.Value) *graph.Value) *graph.Value {
	return l.Or(name, x, func(c *Layer, x *graph.Value) *graph.Value {
		x = c.BatchNorm("1", c.Conv("0", x, p), eps)
		if activation != nil {
			x = activation(x)
		}
		return x
	})
}

// Kernel returns the size of the kernel of a convolution's weight below l, of its last axis; 1 where there is none.
func (l *Layer) Kernel(path string) int {
	t := l.At(path).Tensor("weight")
	if t == nil || len(t.Shape()) < 3 {
		return 1
	}
	return t.Shape()[len(t.Shape())-1]
}

// Rows returns the first dimension of a weight below l, such as the channels that a convolution makes; 0 where there is none.
func (l *Layer) Rows(path string) int {
	t := l.At(path).Tensor("weight")
	if t == nil || len(t.Shape()) == 0 {
		return 0
	}
	return t.Shape()[0]
}
