package torchop

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// activationOps are the activations.
var activationOps = table{
	"relu":          {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Relu(x) })},
	"relu6":         {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Clamp(x, 0, 6) })},
	"leaky_relu":    {"self negative_slope=0.01", on(func(c *call, x *graph.Value) *graph.Value { return c.LeakyRelu(x, c.float("negative_slope")) })},
	"elu":           {"self alpha=1 scale=1 input_scale=1", on(elu)},
	"celu":          {"self alpha=1", on(func(c *call, x *graph.Value) *graph.Value { return c.Celu(x, c.float("alpha")) })},
	"selu":          {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Selu", nil, x) })},
	"gelu":          {"self approximate=none", on(func(c *call, x *graph.Value) *graph.Value { return c.Gelu(x, c.text("approximate")) })},
	"silu":          {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Silu(x) })},
	"swish":         {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Silu(x) })},
	"mish":          {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Mish", nil, x) })},
	"sigmoid":       {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Sigmoid", nil, c.asFloat(x)) })},
	"special_expit": {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Sigmoid", nil, c.asFloat(x)) })},
	"tanh":          {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Tanh", nil, c.asFloat(x)) })},
	"softplus": {"self beta=1 threshold=20", on(func(c *call, x *graph.Value) *graph.Value {
		return c.Softplus(x, c.float("beta"), c.float("threshold"))
	})},
	"hardswish":     {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Hardswish(x) })},
	"hardsigmoid":   {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Hardsigmoid(x) })},
	"hardtanh":      {"self min_val=-1 max_val=1", on(func(c *call, x *graph.Value) *graph.Value { return c.Clamp(x, c.float("min_val"), c.float("max_val")) })},
	"prelu":         {"self weight", on(func(c *call, x *graph.Value) *graph.Value { return c.PRelu(x, c.tensor("weight")) })},
	"_prelu_kernel": {"self weight", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("PRelu", nil, x, c.tensor("weight")) })},
	"log_sigmoid":   {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.LogSigmoid(x) })},
	"log_sigmoid_forward": {"self", func(c *call) any {
		return Tuple{Of(c.LogSigmoid(c.tensor("self"))), Absent("the buffer of log_sigmoid_forward")}
	}},
	"hardshrink": {"self lambd=0.5", on(func(c *call, x *graph.Value) *graph.Value { return c.Hardshrink(x, c.float("lambd")) })},
	"softshrink": {"self lambd=0.5", on(func(c *call, x *graph.Value) *graph.Value { return c.Softshrink(x, c.float("lambd")) })},
	"glu":        {"self dim=-1", on(func(c *call, x *graph.Value) *graph.Value { return c.Glu(x, c.known("dim")) })},
	"threshold": {"self threshold value", on(func(c *call, x *graph.Value) *graph.Value {
		return c.Threshold(x, c.float("threshold"), c.float("value"))
	})},
	"rrelu":            {"self lower=0.125 upper=0.3333333333333333 training=False", on(rrelu)},
	"rrelu_with_noise": {"self noise lower=0.125 upper=0.3333333333333333 training=False", on(rrelu)},
	"softmax":          {"self dim dtype=None", on(softmax("Softmax"))},
	"_softmax":         {"self dim half_to_float=False dtype=None", on(softmax("Softmax"))},
	"_safe_softmax":    {"self dim dtype=None", on(softmax("Softmax"))},
	"log_softmax":      {"self dim dtype=None", on(softmax("LogSoftmax"))},
	"_log_softmax":     {"self dim half_to_float=False dtype=None", on(softmax("LogSoftmax"))},
}

// on is for operators whose first argument is a tensor named self.
func on(f func(c *call, x *graph.Value) *graph.Value) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		if c.bad {
			return nil
		}
		return Of(f(c, x))
	}
}

// asFloat converts whole numbers, as functions of real numbers take them.
func (b *Builder) asFloat(x *graph.Value) *graph.Value {
	if d := x.Type.DType; d == tensor.Invalid || category(d) > 1 {
		return x
	}
	return b.cast(x, tensor.Float32)
}

func elu(c *call, x *graph.Value) *graph.Value {
	scale, input := c.float("scale"), c.float("input_scale")
	if input != 1 {
		c.failf("an input scale of %v; accepted is 1", input)
		return x
	}
	y := c.Elu(x, c.float("alpha"))
	if scale != 1 {
		y = c.Node("Mul", nil, y, c.Number(y, scale))
	}
	return y
}

// rrelu has the mean of its slopes in evaluation.
func rrelu(c *call, x *graph.Value) *graph.Value {
	if c.bool("training") {
		c.failf("the model was saved in training mode, in which results are random; save it after model.eval()")
	}
	return c.LeakyRelu(x, (c.float("lower")+c.float("upper"))/2)
}

func softmax(kind string) func(c *call, x *graph.Value) *graph.Value {
	return func(c *call, x *graph.Value) *graph.Value {
		x = c.cast(x, c.dtype("dtype", x.Type.DType))
		if kind == "Softmax" {
			return c.Softmax(x, c.known("dim"))
		}
		return c.LogSoftmax(x, c.known("dim"))
	}
}
