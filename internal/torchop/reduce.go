package torchop

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// reduceOps take axes together.
var reduceOps = table{
	"sum":                {"self dim=None keepdim=False dtype=None", reduceSum},
	"mean":               {"self dim=None keepdim=False dtype=None", reduce("ReduceMean")},
	"amax":               {"self dim=[] keepdim=False", reduce("ReduceMax")},
	"amin":               {"self dim=[] keepdim=False", reduce("ReduceMin")},
	"logsumexp":          {"self dim keepdim=False", reduce("ReduceLogSumExp")},
	"prod":               {"self dim=None keepdim=False dtype=None", reduce("ReduceProd")},
	"max":                {"self dim=None keepdim=False other=None", extreme("ReduceMax", "ArgMax", "Max")},
	"min":                {"self dim=None keepdim=False other=None", extreme("ReduceMin", "ArgMin", "Min")},
	"argmax":             {"self dim=None keepdim=False", argExtreme("ArgMax")},
	"argmin":             {"self dim=None keepdim=False", argExtreme("ArgMin")},
	"any":                {"self dim=None keepdim=False", anyAll("ReduceMax")},
	"all":                {"self dim=None keepdim=False", anyAll("ReduceMin")},
	"count_nonzero":      {"self dim=None", func(c *call) any { return c.reduceOf(c.nonzero(tensor.Int64), "ReduceSum") }},
	"var":                {"self dim=None correction=None keepdim=False unbiased=None", func(c *call) any { v, _ := c.variance(); return Of(v) }},
	"std":                {"self dim=None correction=None keepdim=False unbiased=None", func(c *call) any { v, _ := c.variance(); return Of(c.Node("Sqrt", nil, v)) }},
	"var_mean":           {"self dim=None correction=None keepdim=False unbiased=None", func(c *call) any { v, m := c.variance(); return of(v, m) }},
	"std_mean":           {"self dim=None correction=None keepdim=False unbiased=None", func(c *call) any { v, m := c.variance(); return of(c.Node("Sqrt", nil, v), m) }},
	"norm":               {"self p=2 dim=[] keepdim=False dtype=None", norm("p")},
	"linalg_norm":        {"self ord=None dim=None keepdim=False dtype=None", norm("ord")},
	"linalg_vector_norm": {"self ord=2 dim=None keepdim=False dtype=None", norm("ord")},
	"frobenius_norm":     {"self dim=[] keepdim=False dtype=None ord=2", norm("ord")},
	"cumsum":             {"self dim dtype=None", cumulative("CumSum")},
	"cumprod":            {"self dim dtype=None", cumulative("CumProd")},
}

// reduceOf reduces x over the axes that the argument dim names, all of them where it names none.
func (c *call) reduceOf(x *graph.Value, kind string) any {
	r := c.Rank(x)
	if r == 0 && !c.bad {
		return Of(x)
	}
	var axes []int
	if c.has("dim") {
		axes = c.axes("dim", r)
	}
	keep, _ := c.args["keepdim"].(bool)
	if c.bad {
		return nil
	}
	if len(axes) == 0 {
		return Of(c.Node(kind, aten.Attrs{"keepdims": keep}, x))
	}
	return Of(c.Node(kind, aten.Attrs{"keepdims": keep}, x, c.Ints(axes...)))
}

func reduce(kind string) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		if _, ok := c.args["dtype"]; ok {
			x = c.cast(x, c.dtype("dtype", x.Type.DType))
		}
		if category(x.Type.DType) == 0 && kind != "ReduceMax" && kind != "ReduceMin" {
			x = c.cast(x, tensor.Int64)
		}
		return c.reduceOf(x, kind)
	}
}

func reduceSum(c *call) any {
	x := c.tensor("self")
	d := x.Type.DType
	if category(d) < 2 {
		d = tensor.Int64
	}
	return c.reduceOf(c.cast(x, c.dtype("dtype", d)), "ReduceSum")
}

// extreme is the maximum or minimum of all, of an axis with its place, or of two tensors.
func extreme(kind, place, two string) func(c *call) any {
	return func(c *call) any {
		if other, ok := c.args["dim"].(*Tensor); ok { // given by position
			c.args["other"], c.args["dim"] = other, nil
		}
		if c.has("other") {
			return arithmetic(two)(c)
		}
		if !c.has("dim") {
			return c.reduceOf(c.tensor("self"), kind)
		}
		x := c.tensor("self")
		axis, keep := c.axis("dim", c.Rank(x)), c.bool("keepdim")
		if c.bad {
			return nil
		}
		y := c.Node(kind, aten.Attrs{"keepdims": keep}, x, c.Ints(axis))
		return of(y, c.Node(place, aten.Attrs{"axis": axis, "keepdims": keep}, x))
	}
}

func argExtreme(kind string) func(c *call) any {
	return func(c *call) any {
		x, keep := c.tensor("self"), c.bool("keepdim")
		if !c.has("dim") {
			x = c.reshape(x, []Int{N(-1)})
			return Of(c.Node(kind, aten.Attrs{"axis": 0, "keepdims": 0}, x))
		}
		axis := c.axis("dim", c.Rank(x))
		if c.bad {
			return nil
		}
		return Of(c.Node(kind, aten.Attrs{"axis": axis, "keepdims": keep}, x))
	}
}

// nonzero is one where self is not zero.
func (c *call) nonzero(d tensor.DType) *graph.Value {
	return c.cast(c.cast(c.tensor("self"), tensor.Bool), d)
}

func anyAll(kind string) func(c *call) any {
	return func(c *call) any {
		t, ok := c.reduceOf(c.nonzero(tensor.Int32), kind).(*Tensor)
		if !ok {
			return nil
		}
		return Of(c.cast(c.Of(t), tensor.Bool))
	}
}

// variance returns the variance over the axes of dim and the mean.
func (c *call) variance() (v, m *graph.Value) {
	x := c.tensor("self")
	r := c.Rank(x)
	correction := 1.0
	if b, ok := c.args["dim"].(bool); ok { // var(self, unbiased)
		c.args["unbiased"], c.args["dim"] = b, nil
	}
	if b, ok := c.args["correction"].(bool); ok { // var.dim(self, dim, unbiased, keepdim)
		c.args["unbiased"], c.args["correction"] = b, nil
	}
	if c.has("unbiased") && !c.bool("unbiased") {
		correction = 0
	}
	if c.has("correction") {
		correction = c.float("correction")
	}
	var axes []int
	if c.has("dim") {
		axes = c.axes("dim", r)
	}
	if len(axes) == 0 {
		for i := range r {
			axes = append(axes, i)
		}
	}
	keep := c.bool("keepdim")
	if c.bad {
		return placeholder, placeholder
	}
	n := N(1)
	for _, a := range axes {
		n = n.Mul(c.sym.Size(x, a))
	}
	list := c.Ints(axes...)
	mean := c.Node("ReduceMean", aten.Attrs{"keepdims": 1}, x, list)
	d := c.Node("Sub", nil, x, mean)
	d = c.Node("Mul", nil, d, d)
	v = c.Node("ReduceMean", aten.Attrs{"keepdims": keep}, d, list)
	if correction != 0 {
		if k, ok := n.Const(); ok {
			v = c.Node("Mul", nil, v, c.Number(v, float64(k)/math.Max(0, float64(k)-correction)))
		} else {
			count := c.operand(n, x.Type.DType)
			v = c.Node("Mul", nil, v, c.Node("Div", nil, count, c.Node("Sub", nil, count, c.Number(x, correction))))
		}
	}
	m = mean
	if !keep {
		m = c.Squeeze(mean, axes...)
	}
	return v, m
}

func norm(order string) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		if c.has("dtype") {
			x = c.cast(x, c.dtype("dtype", x.Type.DType))
		}
		p := 2.0
		switch v := c.args[order].(type) {
		case nil:
		case string:
			if v != "fro" {
				return c.failf("a norm %q", v)
			}
		default:
			p = c.float(order)
		}
		if c.bad {
			return nil
		}
		switch {
		case p == 1:
			return c.reduceOf(x, "ReduceL1")
		case p == 2:
			return c.reduceOf(x, "ReduceL2")
		case math.IsInf(p, 1):
			return c.reduceOf(c.Node("Abs", nil, x), "ReduceMax")
		case math.IsInf(p, -1):
			return c.reduceOf(c.Node("Abs", nil, x), "ReduceMin")
		case p == 0:
			return c.reduceOf(c.cast(c.cast(x, tensor.Bool), x.Type.DType), "ReduceSum")
		}
		t, ok := c.reduceOf(c.Node("Pow", nil, c.Node("Abs", nil, x), c.Number(x, p)), "ReduceSum").(*Tensor)
		if !ok {
			return nil
		}
		return Of(c.Node("Pow", nil, c.Of(t), c.Number(x, 1/p)))
	}
}

func cumulative(kind string) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		axis := c.axis("dim", c.Rank(x))
		d := x.Type.DType
		if category(d) < 2 {
			d = tensor.Int64
		}
		x = c.cast(x, c.dtype("dtype", d))
		if c.bad {
			return nil
		}
		return Of(c.Node(kind, nil, x, c.Int(axis)))
	}
}
