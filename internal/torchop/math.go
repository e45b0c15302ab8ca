package torchop

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// unaryOps are functions of each element.
var unaryOps = table{
	"neg":         {"self", node("Neg")},
	"negative":    {"self", node("Neg")},
	"positive":    {"self", on(func(_ *call, x *graph.Value) *graph.Value { return x })},
	"abs":         {"self", node("Abs")},
	"absolute":    {"self", node("Abs")},
	"sign":        {"self", node("Sign")},
	"sgn":         {"self", node("Sign")},
	"floor":       {"self", rounding("Floor")},
	"ceil":        {"self", rounding("Ceil")},
	"round":       {"self decimals=0", round},
	"trunc":       {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.trunc(x) })},
	"fix":         {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.trunc(x) })},
	"frac":        {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Sub", nil, x, c.trunc(x)) })},
	"exp":         {"self", real("Exp")},
	"log":         {"self", real("Log")},
	"sqrt":        {"self", real("Sqrt")},
	"reciprocal":  {"self", real("Reciprocal")},
	"sin":         {"self", real("Sin")},
	"cos":         {"self", real("Cos")},
	"tan":         {"self", real("Tan")},
	"asin":        {"self", real("Asin")},
	"acos":        {"self", real("Acos")},
	"atan":        {"self", real("Atan")},
	"sinh":        {"self", real("Sinh")},
	"cosh":        {"self", real("Cosh")},
	"asinh":       {"self", real("Asinh")},
	"acosh":       {"self", real("Acosh")},
	"atanh":       {"self", real("Atanh")},
	"erf":         {"self", real("Erf")},
	"special_erf": {"self", real("Erf")},
	"erfc": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Sub", nil, c.Number(x, 1), c.Node("Erf", nil, x)))
	}},
	"rsqrt": {"self", func(c *call) any {
		return Of(c.Node("Reciprocal", nil, c.Node("Sqrt", nil, c.asFloat(c.tensor("self")))))
	}},
	"square": {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Mul", nil, x, x) })},
	"log2":   {"self", logarithm(math.Ln2)},
	"log10":  {"self", logarithm(math.Ln10)},
	"log1p": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Log", nil, c.Node("Add", nil, x, c.Number(x, 1))))
	}},
	"expm1": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Sub", nil, c.Node("Exp", nil, x), c.Number(x, 1)))
	}},
	"exp2": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Exp", nil, c.Node("Mul", nil, x, c.Number(x, math.Ln2))))
	}},
	"logit": {"self eps=None", logit},
	"deg2rad": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Mul", nil, x, c.Number(x, math.Pi/180)))
	}},
	"rad2deg": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Mul", nil, x, c.Number(x, 180/math.Pi)))
	}},
	"logical_not": {"self", on(func(c *call, x *graph.Value) *graph.Value { return c.Node("Not", nil, c.cast(x, tensor.Bool)) })},
	"bitwise_not": {"self", on(func(c *call, x *graph.Value) *graph.Value {
		if x.Type.DType == tensor.Bool {
			return c.Node("Not", nil, x)
		}
		return c.Node("BitwiseNot", nil, x)
	})},
	"isnan": {"self", real("IsNaN")},
	"isinf": {"self", real("IsInf")},
	"isfinite": {"self", func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Not", nil, c.Node("Or", nil, c.Node("IsNaN", nil, x), c.Node("IsInf", nil, x))))
	}},
	"nan_to_num": {"self nan=None posinf=None neginf=None", nanToNum},
	"clamp":      {"self min=None max=None", clamp},
	"clip":       {"self min=None max=None", clamp},
	"clamp_min":  {"self min", func(c *call) any { c.args["max"] = nil; return clamp(c) }},
	"clamp_max":  {"self max", func(c *call) any { c.args["min"] = nil; return clamp(c) }},
}

// node is for an operator without attributes.
func node(kind string) func(c *call) any {
	return on(func(c *call, x *graph.Value) *graph.Value { return c.Node(kind, nil, x) })
}

// real is node for functions of real numbers.
func real(kind string) func(c *call) any {
	return on(func(c *call, x *graph.Value) *graph.Value { return c.Node(kind, nil, c.asFloat(x)) })
}

// rounding leaves whole numbers as they are.
func rounding(kind string) func(c *call) any {
	return on(func(c *call, x *graph.Value) *graph.Value {
		if category(x.Type.DType) < 2 {
			return x
		}
		return c.Node(kind, nil, x)
	})
}

func round(c *call) any {
	if n := c.known("decimals"); n != 0 {
		return c.failf("rounding to %d decimals; accepted are whole numbers", n)
	}
	return rounding("Round")(c)
}

// trunc rounds toward zero.
func (b *Builder) trunc(x *graph.Value) *graph.Value {
	if category(x.Type.DType) < 2 {
		return x
	}
	return b.Node("Mul", nil, b.Node("Sign", nil, x), b.Node("Floor", nil, b.Node("Abs", nil, x)))
}

func logarithm(base float64) func(c *call) any {
	return func(c *call) any {
		x := c.asFloat(c.tensor("self"))
		return Of(c.Node("Div", nil, c.Node("Log", nil, x), c.Number(x, base)))
	}
}

func logit(c *call) any {
	x := c.asFloat(c.tensor("self"))
	if c.has("eps") {
		eps := c.float("eps")
		x = c.Clamp(x, eps, 1-eps)
	}
	return Of(c.Node("Log", nil, c.Node("Div", nil, x, c.Node("Sub", nil, c.Number(x, 1), x))))
}

func nanToNum(c *call) any {
	x := c.tensor("self")
	if c.bad || category(x.Type.DType) < 2 {
		return Of(x)
	}
	number := func(name string, missing float64) *graph.Value {
		if c.has(name) {
			missing = c.float(name)
		}
		return c.Number(x, missing)
	}
	lo, hi := -math.MaxFloat32, math.MaxFloat32
	y := c.Node("Where", nil, c.Node("IsNaN", nil, x), number("nan", 0), x)
	y = c.Node("Where", nil, c.Node("Equal", nil, y, c.Number(x, math.Inf(1))), number("posinf", hi), y)
	return Of(c.Node("Where", nil, c.Node("Equal", nil, y, c.Number(x, math.Inf(-1))), number("neginf", lo), y))
}

// clamp has bounds that are numbers or tensors.
func clamp(c *call) any {
	x := c.tensor("self")
	d := c.resultType(c.args["self"], c.args["min"], c.args["max"])
	if c.bad {
		return nil
	}
	x = c.cast(x, d)
	_, lo := c.args["min"].(*Tensor)
	_, hi := c.args["max"].(*Tensor)
	if !lo && !hi {
		in := []*graph.Value{x, nil, nil}
		for i, name := range []string{"min", "max"} {
			if v := c.args[name]; v != nil {
				if f, ok := v.(float64); ok && math.IsInf(f, 0) {
					continue
				}
				in[1+i] = c.operand(v, d)
			}
		}
		for len(in) > 1 && in[len(in)-1] == nil {
			in = in[:len(in)-1]
		}
		return Of(c.Node("Clip", nil, in...))
	}
	if c.has("min") {
		x = c.Node("Max", nil, x, c.operand(c.args["min"], d))
	}
	if c.has("max") {
		x = c.Node("Min", nil, x, c.operand(c.args["max"], d))
	}
	return Of(x)
}
