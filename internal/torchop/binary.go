package torchop

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// binaryOps are functions of the elements of two tensors, or of a tensor and a number.
var binaryOps = table{
	"add":           {"self other alpha=1", func(c *call) any { return c.sum("self", "other", "Add") }},
	"sub":           {"self other alpha=1", func(c *call) any { return c.sum("self", "other", "Sub") }},
	"subtract":      {"self other alpha=1", func(c *call) any { return c.sum("self", "other", "Sub") }},
	"rsub":          {"self other alpha=1", func(c *call) any { return c.sum("other", "self", "Sub") }},
	"mul":           {"self other", arithmetic("Mul")},
	"multiply":      {"self other", arithmetic("Mul")},
	"div":           {"self other rounding_mode=None", divide},
	"divide":        {"self other rounding_mode=None", divide},
	"true_divide":   {"self other rounding_mode=None", divide},
	"floor_divide":  {"self other", func(c *call) any { return c.quotient("floor") }},
	"floordiv":      {"self other", func(c *call) any { return c.quotient("floor") }},
	"remainder":     {"self other", remainder(false)},
	"fmod":          {"self other", remainder(true)},
	"pow":           {"self exponent", power},
	"float_power":   {"self exponent", power},
	"maximum":       {"self other", arithmetic("Max")},
	"fmax":          {"self other", arithmetic("Max")},
	"minimum":       {"self other", arithmetic("Min")},
	"fmin":          {"self other", arithmetic("Min")},
	"atan2":         {"self other", atan2},
	"eq":            {"self other", comparison("Equal", false)},
	"ne":            {"self other", comparison("Equal", true)},
	"not_equal":     {"self other", comparison("Equal", true)},
	"lt":            {"self other", comparison("Less", false)},
	"less":          {"self other", comparison("Less", false)},
	"le":            {"self other", comparison("LessOrEqual", false)},
	"less_equal":    {"self other", comparison("LessOrEqual", false)},
	"gt":            {"self other", comparison("Greater", false)},
	"greater":       {"self other", comparison("Greater", false)},
	"ge":            {"self other", comparison("GreaterOrEqual", false)},
	"greater_equal": {"self other", comparison("GreaterOrEqual", false)},
	"logical_and":   {"self other", logical("And")},
	"logical_or":    {"self other", logical("Or")},
	"logical_xor":   {"self other", logical("Xor")},
	"bitwise_and":   {"self other", bitwise("And")},
	"bitwise_or":    {"self other", bitwise("Or")},
	"bitwise_xor":   {"self other", bitwise("Xor")},
	"__and__":       {"self other", bitwise("And")},
	"__or__":        {"self other", bitwise("Or")},
	"__xor__":       {"self other", bitwise("Xor")},
	"__lshift__":    {"self other", shift("LEFT")},
	"__rshift__":    {"self other", shift("RIGHT")},
	"addcmul":       {"self tensor1 tensor2 value=1", addTerm("Mul")},
	"addcdiv":       {"self tensor1 tensor2 value=1", addTerm("Div")},
	"lerp":          {"self end weight", lerp},
	"where":         {"condition self=None other=None", where},
	"logaddexp":     {"self other", logAddExp},
	"hypot":         {"self other", hypot},
	"mse_loss":      {"self target reduction=1", mseLoss},
}

// pair returns two arguments in their common element type.
func (c *call) pair(x, y string) (*graph.Value, *graph.Value, tensor.DType) {
	d := c.resultType(c.args[x], c.args[y])
	if c.bad {
		return placeholder, placeholder, d
	}
	return c.operand(c.args[x], d), c.operand(c.args[y], d), d
}

// broadcastNode records an operator of two operands and tells the sizes of its result.
func (b *Builder) broadcastNode(kind string, x, y *graph.Value) *graph.Value {
	v := b.Node(kind, nil, x, y)
	if !x.Type.Ranked || !y.Type.Ranked {
		return v
	}
	for _, d := range v.Type.Dims {
		if d == graph.Unknown {
			return b.named(v, b.broadcast(x, y))
		}
	}
	return v
}

// times multiplies a value by a factor that may be one.
func (b *Builder) times(v *graph.Value, factor any) *graph.Value {
	switch f := factor.(type) {
	case nil:
		return v
	case Int:
		if f.Is(1) {
			return v
		}
	case float64:
		if f == 1 {
			return v
		}
	}
	return b.Node("Mul", nil, v, b.operand(factor, v.Type.DType))
}

// sum is x + alpha*y, or x - alpha*y.
func (c *call) sum(x, y, kind string) any {
	v, w, d := c.pair(x, y)
	if d == tensor.Bool {
		if kind == "Add" {
			return Of(c.Node("Or", nil, v, w))
		}
		return c.failf("a difference of bools")
	}
	return Of(c.broadcastNode(kind, v, c.times(w, c.args["alpha"])))
}

func arithmetic(kind string) func(c *call) any {
	return func(c *call) any {
		x, y, d := c.pair("self", "other")
		if d == tensor.Bool {
			return Of(c.Node(map[string]string{"Mul": "And", "Max": "Or", "Min": "And"}[kind], nil, x, y))
		}
		return Of(c.broadcastNode(kind, x, y))
	}
}

func divide(c *call) any {
	if mode := c.text("rounding_mode"); mode != "" {
		return c.quotient(mode)
	}
	x, y, d := c.pair("self", "other")
	if category(d) < 2 {
		x, y = c.cast(x, tensor.Float32), c.cast(y, tensor.Float32)
	}
	return Of(c.broadcastNode("Div", x, y))
}

// quotient rounds to a whole number: "floor" down, "trunc" toward zero.
func (c *call) quotient(mode string) any {
	x, y, d := c.pair("self", "other")
	q := c.broadcastNode("Div", x, y)
	switch {
	case category(d) > 1 && mode == "floor":
		q = c.Node("Floor", nil, q)
	case category(d) > 1:
		q = c.trunc(q)
	case mode == "floor" && d.IsSigned(): // ONNX divides whole numbers toward zero: one less where the rest has the other sign
		rest := c.Node("Sub", nil, x, c.Node("Mul", nil, q, y))
		other := c.Node("Less", nil, c.Node("Mul", nil, c.Node("Sign", nil, rest), c.Node("Sign", nil, y)), c.NumberOf(d, 0))
		q = c.Node("Sub", nil, q, c.cast(other, d))
	}
	return Of(q)
}

// remainder has the sign of the divisor, or with fmod of the dividend.
func remainder(fmod bool) func(c *call) any {
	return func(c *call) any {
		x, y, d := c.pair("self", "other")
		if fmod {
			return Of(c.Node("Mod", aten.Attrs{"fmod": 1}, x, y))
		}
		if category(d) < 2 {
			return Of(c.Node("Mod", nil, x, y))
		}
		return Of(c.Node("Sub", nil, x, c.Node("Mul", nil, c.Node("Floor", nil, c.Node("Div", nil, x, y)), y)))
	}
}

func power(c *call) any {
	d := c.resultType(c.args["self"], c.args["exponent"])
	if c.bad {
		return nil
	}
	if e, ok := c.args["exponent"].(*Tensor); !ok || c.sourceOf(e) != nil {
		switch f := c.float("exponent"); {
		case c.bad:
			return nil
		case f == 1:
			return Of(c.operand(c.args["self"], d))
		case f == 2:
			x := c.operand(c.args["self"], d)
			return Of(c.Node("Mul", nil, x, x))
		case f == 0.5:
			return Of(c.Node("Sqrt", nil, c.operand(c.args["self"], d)))
		}
	}
	return Of(c.broadcastNode("Pow", c.operand(c.args["self"], d), c.operand(c.args["exponent"], d)))
}

func comparison(kind string, not bool) func(c *call) any {
	return func(c *call) any {
		x, y, d := c.pair("self", "other")
		if d == tensor.Bool && kind != "Equal" {
			x, y = c.cast(x, tensor.Int32), c.cast(y, tensor.Int32)
		}
		v := c.broadcastNode(kind, x, y)
		if not {
			v = c.Node("Not", nil, v)
		}
		return Of(v)
	}
}

func logical(kind string) func(c *call) any {
	return func(c *call) any {
		x, y := c.tensor("self"), c.tensor("other")
		return Of(c.broadcastNode(kind, c.cast(x, tensor.Bool), c.cast(y, tensor.Bool)))
	}
}

func bitwise(kind string) func(c *call) any {
	return func(c *call) any {
		x, y, d := c.pair("self", "other")
		if d == tensor.Bool {
			return Of(c.broadcastNode(kind, x, y))
		}
		return Of(c.broadcastNode("Bitwise"+kind, x, y))
	}
}

// shift multiplies or divides by powers of two; ONNX shifts unsigned numbers alone.
func shift(direction string) func(c *call) any {
	return func(c *call) any {
		x, y, d := c.pair("self", "other")
		if category(d) != 1 {
			return c.failf("a shift of %v", d)
		}
		f := c.cast(c.Node("Pow", nil, c.NumberOf(tensor.Float64, 2), c.cast(y, tensor.Float64)), d)
		if direction == "LEFT" {
			return Of(c.Node("Mul", nil, x, f))
		}
		c.args["self"], c.args["other"] = Of(x), Of(f)
		return c.quotient("floor")
	}
}

// addTerm is self + value * (tensor1 op tensor2).
func addTerm(kind string) func(c *call) any {
	return func(c *call) any {
		x, t1, t2 := c.tensor("self"), c.tensor("tensor1"), c.tensor("tensor2")
		if c.bad {
			return nil
		}
		return Of(c.broadcastNode("Add", x, c.times(c.broadcastNode(kind, t1, t2), c.args["value"])))
	}
}

func lerp(c *call) any {
	x, end := c.tensor("self"), c.tensor("end")
	if c.bad {
		return nil
	}
	w := c.operand(c.args["weight"], x.Type.DType)
	return Of(c.broadcastNode("Add", x, c.broadcastNode("Mul", w, c.broadcastNode("Sub", end, x))))
}

func where(c *call) any {
	cond := c.tensor("condition")
	if !c.has("self") { // the places, one tensor an axis
		out := &List{}
		places := c.Node("NonZero", nil, cond)
		for i := range c.Rank(cond) {
			out.Items = append(out.Items, Of(c.Select(places, 0, i)))
		}
		return out
	}
	x, y, _ := c.pair("self", "other")
	if c.bad {
		return nil
	}
	v := c.Node("Where", nil, c.cast(cond, tensor.Bool), x, y)
	return Of(c.named(v, c.broadcast(cond, x, y)))
}

func logAddExp(c *call) any {
	x, y, _ := c.pair("self", "other")
	most := c.broadcastNode("Max", x, y)
	exp := func(v *graph.Value) *graph.Value { return c.Node("Exp", nil, c.Node("Sub", nil, v, most)) }
	return Of(c.Node("Add", nil, most, c.Node("Log", nil, c.Node("Add", nil, exp(x), exp(y)))))
}

func hypot(c *call) any {
	x, y, _ := c.pair("self", "other")
	return Of(c.Node("Sqrt", nil, c.broadcastNode("Add", c.Node("Mul", nil, x, x), c.Node("Mul", nil, y, y))))
}

func mseLoss(c *call) any {
	d := c.Node("Sub", nil, c.tensor("self"), c.tensor("target"))
	d = c.Node("Mul", nil, d, d)
	switch c.known("reduction") {
	case 0:
		return Of(d)
	case 1:
		return Of(c.Node("ReduceMean", aten.Attrs{"keepdims": 0}, d))
	}
	return Of(c.Node("ReduceSum", aten.Attrs{"keepdims": 0}, d))
}

// atan2 is the angle of a point in the plane.
func atan2(c *call) any {
	y, x, d := c.pair("self", "other")
	if category(d) < 2 {
		x, y, d = c.cast(x, tensor.Float32), c.cast(y, tensor.Float32), tensor.Float32
	}
	const pi = 3.141592653589793
	zero := c.NumberOf(d, 0)
	base := c.Node("Atan", nil, c.broadcastNode("Div", y, x))
	turn := c.Node("Where", nil, c.Node("Less", nil, y, zero), c.NumberOf(d, -pi), c.NumberOf(d, pi))
	base = c.broadcastNode("Add", base, c.Node("Where", nil, c.Node("Less", nil, x, zero), turn, zero))
	none := c.Node("And", nil, c.Node("Equal", nil, x, zero), c.Node("Equal", nil, y, zero)) // 0/0 is not a number
	return Of(c.Node("Where", nil, none, zero, base))
}
