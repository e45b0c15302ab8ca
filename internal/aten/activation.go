package aten

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Relu is torch.relu.
func (b *Builder) Relu(x *graph.Value) *graph.Value { return b.Node("Relu", nil, x) }

// Clamp is torch.clamp; an infinite bound is none.
func (b *Builder) Clamp(x *graph.Value, lo, hi float64) *graph.Value {
	var l, h *graph.Value
	if !math.IsInf(lo, 0) {
		l = b.Number(x, lo)
	}
	if !math.IsInf(hi, 0) {
		h = b.Number(x, hi)
	}
	return b.Node("Clip", nil, inputs(x, l, h)...)
}

// Gelu is torch.nn.functional.gelu; approximate is "none" or "tanh".
func (b *Builder) Gelu(x *graph.Value, approximate string) *graph.Value {
	if approximate == "" {
		approximate = "none"
	}
	return b.Node("Gelu", Attrs{"approximate": approximate}, x)
}

// Silu is torch.nn.functional.silu.
func (b *Builder) Silu(x *graph.Value) *graph.Value {
	return b.Node("Mul", nil, x, b.Node("Sigmoid", nil, x))
}

// Softplus is torch.nn.functional.softplus: log(1 + exp(beta*x))/beta, and x where beta*x is above the threshold.
func (b *Builder) Softplus(x *graph.Value, beta, threshold float64) *graph.Value {
	scaled := x
	if beta != 1 {
		scaled = b.Node("Mul", nil, x, b.Number(x, beta))
	}
	y := b.Node("Softplus", nil, scaled)
	if beta != 1 {
		y = b.Node("Div", nil, y, b.Number(x, beta))
	}
	if threshold >= 17 { // float32 has log(1+exp(x)) = x from there on
		return y
	}
	return b.Node("Where", nil, b.Node("Greater", nil, scaled, b.Number(x, threshold)), x, y)
}

// LeakyRelu is torch.nn.functional.leaky_relu.
func (b *Builder) LeakyRelu(x *graph.Value, slope float64) *graph.Value {
	return b.Node("LeakyRelu", Attrs{"alpha": slope}, x)
}

// Elu is torch.nn.functional.elu.
func (b *Builder) Elu(x *graph.Value, alpha float64) *graph.Value {
	return b.Node("Elu", Attrs{"alpha": alpha}, x)
}

// Celu is torch.nn.functional.celu.
func (b *Builder) Celu(x *graph.Value, alpha float64) *graph.Value {
	return b.Node("Celu", Attrs{"alpha": alpha}, x)
}

// Threshold is torch.nn.functional.threshold: x where it is above the threshold, else value.
func (b *Builder) Threshold(x *graph.Value, threshold, value float64) *graph.Value {
	return b.Node("Where", nil, b.Node("Greater", nil, x, b.Number(x, threshold)), x, b.Number(x, value))
}

// PRelu is torch.prelu: w has one number, or one a channel.
func (b *Builder) PRelu(x, w *graph.Value) *graph.Value {
	n := dim(w, 0)
	if r := b.Rank(x); n > 1 && r > 2 {
		shape := make([]int, r-1)
		for i := range shape {
			shape[i] = 1
		}
		shape[0] = n
		w = b.Node("Reshape", nil, w, b.Ints(shape...))
	}
	return b.Node("PRelu", nil, x, w)
}

// Hardsigmoid is torch.nn.functional.hardsigmoid: x/6 + 1/2 between 0 and 1.
func (b *Builder) Hardsigmoid(x *graph.Value) *graph.Value {
	return b.Node("HardSigmoid", Attrs{"alpha": 1.0 / 6, "beta": 0.5}, x)
}

// Hardswish is torch.nn.functional.hardswish.
func (b *Builder) Hardswish(x *graph.Value) *graph.Value { return b.Node("HardSwish", nil, x) }

// Tanhshrink is x - tanh(x).
func (b *Builder) Tanhshrink(x *graph.Value) *graph.Value {
	return b.Node("Sub", nil, x, b.Node("Tanh", nil, x))
}

// Hardshrink is torch.nn.functional.hardshrink.
func (b *Builder) Hardshrink(x *graph.Value, lambda float64) *graph.Value {
	return b.Node("Shrink", Attrs{"lambd": lambda, "bias": 0.0}, x)
}

// Softshrink is torch.nn.functional.softshrink.
func (b *Builder) Softshrink(x *graph.Value, lambda float64) *graph.Value {
	return b.Node("Shrink", Attrs{"lambd": lambda, "bias": lambda}, x)
}

// LogSigmoid is torch.nn.functional.logsigmoid: -softplus(-x).
func (b *Builder) LogSigmoid(x *graph.Value) *graph.Value {
	return b.Node("Neg", nil, b.Node("Softplus", nil, b.Node("Neg", nil, x)))
}

// Softmax is torch.softmax.
func (b *Builder) Softmax(x *graph.Value, axis int) *graph.Value {
	return b.Node("Softmax", Attrs{"axis": axis}, x)
}

// LogSoftmax is torch.log_softmax.
func (b *Builder) LogSoftmax(x *graph.Value, axis int) *graph.Value {
	return b.Node("LogSoftmax", Attrs{"axis": axis}, x)
}

// Glu is torch.nn.functional.glu: the first half of an axis times the sigmoid of the second.
func (b *Builder) Glu(x *graph.Value, axis int) *graph.Value {
	h := b.Chunk(x, 2, axis)
	return b.Node("Mul", nil, h[0], b.Node("Sigmoid", nil, h[1]))
}
