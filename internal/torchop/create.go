package torchop

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// createOps make tensors.
var createOps = table{
	"zeros":          {"size dtype=None", filled(0)},
	"ones":           {"size dtype=None", filled(1)},
	"empty":          {"size dtype=None", filled(0)},
	"empty_permuted": {"size physical_layout dtype=None", filled(0)},
	"empty_strided":  {"size stride dtype=None", filled(0)},
	"full":           {"size fill_value dtype=None", full},
	"zeros_like":     {"self dtype=None", filledLike(0)},
	"ones_like":      {"self dtype=None", filledLike(1)},
	"empty_like":     {"self dtype=None", filledLike(0)},
	"full_like":      {"self fill_value dtype=None", fullLike},
	"new_zeros":      {"self size dtype=None", newFilled(0)},
	"new_ones":       {"self size dtype=None", newFilled(1)},
	"new_empty":      {"self size dtype=None", newFilled(0)},
	"new_full":       {"self size fill_value dtype=None", newFull},
	"arange":         {"start=None end=None step=None dtype=None", arange},
	"linspace":       {"start end steps dtype=None", linspace},
	"eye":            {"n m=None dtype=None", eye},
	"scalar_tensor":  {"s dtype=None", scalarTensor("s")},
	"tensor":         {"data dtype=None", scalarTensor("data")},
	"as_tensor":      {"data dtype=None", scalarTensor("data")},
	"NumToTensor":    {"a", func(c *call) any { return c.args["a"] }},
}

// maxFilled bounds a tensor of one number that becomes a parameter.
const maxFilled = 1 << 12

// fill returns a tensor of one number.
func (b *Builder) fill(sizes []Int, d tensor.DType, value float64) *graph.Value {
	if known, ok := consts(sizes); ok {
		n := tensor.Shape(known)
		if count, ok := n.CheckedLen(); ok && count <= maxFilled {
			v := make([]float64, count)
			for i := range v {
				v[i] = value
			}
			if t, err := tensor.FromFloat64s(d, n, v); err == nil {
				return b.Param("fill", t)
			}
		}
	}
	v := b.Node("Expand", nil, b.NumberOf(d, value), b.sym.Vector(sizes))
	return b.named(v, sizes)
}

func filled(value float64) func(c *call) any {
	return func(c *call) any {
		sizes, d := c.sizes("size"), c.dtype("dtype", tensor.Float32)
		if c.bad {
			return nil
		}
		return Of(c.fill(sizes, d, value))
	}
}

// valueType returns the element type that a number gives a tensor.
func valueType(v any) tensor.DType {
	switch v.(type) {
	case Int:
		return tensor.Int64
	case bool:
		return tensor.Bool
	}
	return tensor.Float32
}

// fullOf returns a tensor of the number that the argument fill_value is.
func (c *call) fullOf(sizes []Int, d tensor.DType) any {
	if c.bad {
		return nil
	}
	v := c.args["fill_value"]
	if n, ok := v.(Int); ok {
		if _, known := n.Const(); !known {
			return Of(c.expanded(c.operand(v, d), sizes))
		}
	}
	if _, ok := v.(*Tensor); ok {
		return Of(c.expanded(c.operand(v, d), sizes))
	}
	return Of(c.fill(sizes, d, c.float("fill_value")))
}

func full(c *call) any {
	return c.fullOf(c.sizes("size"), c.dtype("dtype", valueType(c.args["fill_value"])))
}

func filledLike(value float64) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		d := c.dtype("dtype", x.Type.DType)
		if c.bad {
			return nil
		}
		return Of(c.fill(c.sym.Sizes(x), d, value))
	}
}

func fullLike(c *call) any {
	x := c.tensor("self")
	return c.fullOf(c.sym.Sizes(x), c.dtype("dtype", x.Type.DType))
}

func newFilled(value float64) func(c *call) any {
	return func(c *call) any {
		x, sizes := c.tensor("self"), c.sizes("size")
		d := c.dtype("dtype", x.Type.DType)
		if c.bad {
			return nil
		}
		return Of(c.fill(sizes, d, value))
	}
}

func newFull(c *call) any {
	return c.fullOf(c.sizes("size"), c.dtype("dtype", c.tensor("self").Type.DType))
}

// arange counts from start to end, or from zero to the only number given. The number of an element type may come in the place of
// the step, and that of the end may be the start.
func arange(c *call) any {
	start, end, step := c.args["start"], c.args["end"], c.args["step"]
	if end == nil {
		start, end = nil, start
	}
	if start == nil {
		start = N(0)
	}
	if step == nil {
		step = N(1)
	}
	d := tensor.Int64
	for _, v := range []any{start, end, step} {
		if f, ok := v.(float64); ok {
			d = tensor.Float32
			if f == math.Trunc(f) && c.has("dtype") {
				continue
			}
		}
		if t, ok := v.(*Tensor); ok && category(c.typeOf(t).DType) > 1 {
			d = tensor.Float32
		}
	}
	d = c.dtype("dtype", d)
	if c.bad {
		return nil
	}
	lo, ok1 := c.toInt(start)
	hi, ok2 := c.toInt(end)
	by, ok3 := c.toInt(step)
	if ok1 && ok2 && ok3 {
		k, ok := by.Const()
		if !ok || k == 0 {
			return c.failf("a step that is not known before a run")
		}
		n := hi.Sub(lo)
		if k < 0 {
			n = n.Mul(N(-1))
			k = -k
		}
		n = c.sym.FloorDiv(n.Add(N(k-1)), N(k))
		scalar := func(i Int) *graph.Value { return c.operand(i, tensor.Int64) }
		v := c.named(c.Node("Range", nil, scalar(lo), scalar(hi), scalar(by)), []Int{n})
		return Of(c.cast(v, d))
	}
	number := func(v any) *graph.Value { return c.operand(v, tensor.Float32) }
	return Of(c.cast(c.Node("Range", nil, number(start), number(end), number(step)), d))
}

func linspace(c *call) any {
	lo, hi, n := c.float("start"), c.float("end"), c.known("steps")
	d := c.dtype("dtype", tensor.Float32)
	if c.bad || n < 1 || n > 1<<22 {
		return c.failf("%d steps", n)
	}
	v := make([]float64, n)
	for i := range v {
		v[i] = lo
		if n > 1 { // from both ends, as PyTorch has it
			step := (hi - lo) / float64(n-1)
			v[i] = lo + step*float64(i)
			if i >= n/2 {
				v[i] = hi - step*float64(n-1-i)
			}
		}
	}
	t, err := tensor.FromFloat64s(d, tensor.Shape{n}, v)
	if err != nil {
		return c.failf("%w", err)
	}
	return Of(c.Param("linspace", t))
}

func eye(c *call) any {
	n := c.int("n")
	m := n
	if c.has("m") {
		m = c.int("m")
	}
	d := c.dtype("dtype", tensor.Float32)
	if c.bad {
		return nil
	}
	return Of(c.Node("EyeLike", aten.Attrs{"dtype": int(d)}, c.fill([]Int{n, m}, tensor.Float32, 0)))
}

// scalarTensor makes a tensor of a number, or of lists of them.
func scalarTensor(name string) func(c *call) any {
	return func(c *call) any {
		v := c.args[name]
		if items, ok := Items(v); ok {
			return c.listTensor(items)
		}
		d := valueType(v)
		if t, ok := v.(*Tensor); ok {
			d = c.typeOf(t).DType
		}
		d = c.dtype("dtype", d)
		if c.bad {
			return nil
		}
		return Of(c.operand(v, d))
	}
}

// listTensor is a tensor of lists in one another.
func (c *call) listTensor(items []any) any {
	var numbers []float64
	var sizes []Int
	d := tensor.Invalid
	symbolic := false
	shape := tensor.Shape{}
	var walk func(items []any, depth int) bool
	walk = func(items []any, depth int) bool {
		if depth > 16 {
			return false
		}
		if len(shape) == depth {
			shape = append(shape, len(items))
		}
		if shape[depth] != len(items) {
			return false
		}
		for _, v := range items {
			if sub, ok := Items(v); ok {
				if !walk(sub, depth+1) {
					return false
				}
				continue
			}
			d = promote(d, valueType(v))
			n, f := N(0), 0.0
			switch v := v.(type) {
			case Int:
				n = v
				k, ok := v.Const()
				symbolic, f = symbolic || !ok, float64(k)
			case float64:
				f = v
			case bool:
				if v {
					f = 1
				}
			default:
				return false
			}
			sizes, numbers = append(sizes, n), append(numbers, f)
		}
		return true
	}
	if !walk(items, 0) {
		return c.failf("lists that are no tensor")
	}
	if d == tensor.Invalid {
		d = tensor.Float32
	}
	d = c.dtype("dtype", d)
	if symbolic {
		return Of(c.cast(c.reshape(c.sym.Vector(sizes), ints(shape)), d))
	}
	t, err := tensor.FromFloat64s(d, shape, numbers)
	if err != nil {
		return c.failf("%w", err)
	}
	return Of(c.Param("list", t))
}

func ints(shape []int) []Int {
	out := make([]Int, len(shape))
	for i, n := range shape {
		out[i] = N(n)
	}
	return out
}
