package torchop

import (
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// scatterOps put elements in places.
var scatterOps = table{
	"copy":              {"self src non_blocking=False", func(c *call) any { return Of(c.fitted("src")) }},
	"_set_item":         {"l idx el", setItem},
	"fill":              {"self value", func(c *call) any { return Of(c.fitted("value")) }},
	"zero":              {"self", func(c *call) any { c.args["value"] = N(0); return Of(c.fitted("value")) }},
	"masked_fill":       {"self mask value", maskedFill},
	"masked_scatter":    {"self mask source", maskedScatter},
	"index_put":         {"self indices values accumulate=False", indexPut},
	"_unsafe_index_put": {"self indices values accumulate=False", indexPut},
	"index_copy":        {"self dim index source", indexCopy},
	"index_fill":        {"self dim index value", indexFill},
	"index_add":         {"self dim index source alpha=1", indexAdd},
	"scatter":           {"self dim index src=None reduce=None value=None", scatter("")},
	"scatter_add":       {"self dim index src", scatter("add")},
	"scatter_reduce":    {"self dim index src reduce include_self=True", scatter("")},
	"select_scatter":    {"self src dim index", selectScatter},
	"slice_scatter":     {"self src dim=0 start=None end=None step=1", sliceScatter},
}

// fitted returns an argument in the sizes and the element type of self.
func (c *call) fitted(name string) *graph.Value {
	x := c.tensor("self")
	if c.bad {
		return placeholder
	}
	v := c.operand(c.args[name], x.Type.DType)
	return c.expanded(v, c.sym.Sizes(x))
}

func setItem(c *call) any {
	l, ok := c.args["l"].(*List)
	i, known := c.int("idx").Const()
	if !ok || !known {
		return c.failf("an element of a %s at a place that is not known", TypeName(c.args["l"]))
	}
	if i < 0 {
		i += int64(len(l.Items))
	}
	if i < 0 || i >= int64(len(l.Items)) {
		return c.failf("element %d of a list of %d", i, len(l.Items))
	}
	l.Items[i] = c.args["el"]
	return l
}

func maskedFill(c *call) any {
	x, mask := c.tensor("self"), c.tensor("mask")
	if c.bad {
		return nil
	}
	v := c.operand(c.args["value"], x.Type.DType)
	return Of(c.Node("Where", nil, c.cast(mask, tensor.Bool), v, x))
}

// maskedScatter puts the elements of source in order where the mask holds.
func maskedScatter(c *call) any {
	x, mask, src := c.tensor("self"), c.tensor("mask"), c.tensor("source")
	if c.bad {
		return nil
	}
	sizes := c.sym.Sizes(x)
	places := c.Transpose(c.Node("NonZero", nil, c.expanded(mask, sizes)), 0, 1)
	n := c.Node("Shape", aten.Attrs{"start": 0, "end": 1}, places)
	flat := c.Node("Slice", nil, c.reshape(src, []Int{N(-1)}), c.Ints(0), n, c.Ints(0), c.Ints(1))
	return Of(c.Node("ScatterND", nil, x, places, flat))
}

// indexPut is self[i, :, j] = values.
func indexPut(c *call) any {
	x := c.tensor("self")
	items, _ := Items(c.args["indices"])
	if len(items) == 1 { // a mask with one value for all
		if t, ok := items[0].(*Tensor); ok && c.typeOf(t).DType == tensor.Bool {
			v := c.operand(c.args["values"], x.Type.DType)
			if product(c.sym.Sizes(v)).Is(1) {
				mask := c.Of(t)
				for r := c.Rank(mask); r < c.Rank(x); r++ {
					mask = c.Unsqueeze(mask, r)
				}
				if c.bool("accumulate") {
					return c.failf("a sum at the places of a mask")
				}
				return Of(c.Node("Where", nil, mask, c.reshape(v, nil), x))
			}
		}
	}
	in, ok := c.indices(x)
	if !ok || c.bad {
		return nil
	}
	var axes []int
	for i, v := range in {
		if v != nil {
			axes = append(axes, i)
		}
	}
	if len(axes) == 0 || axes[len(axes)-1] != axes[0]+len(axes)-1 {
		return c.failf("axes %v; accepted are neighbours", axes)
	}
	tuples, r := c.tuples(in, axes)
	idx := c.sym.Sizes(tuples)[:r]
	sizes := c.sym.Sizes(x)
	first, after := axes[0], sizes[axes[len(axes)-1]+1:]
	values := c.expanded(c.operand(c.args["values"], x.Type.DType), slices.Concat(sizes[:first], idx, after))
	perm, vperm := slices.Clone(axes), []int{}
	for i := range sizes {
		if in[i] == nil {
			perm = append(perm, i)
		}
	}
	for i := range r {
		vperm = append(vperm, first+i)
	}
	for i := range first {
		vperm = append(vperm, i)
	}
	for i := range after {
		vperm = append(vperm, first+r+i)
	}
	a := aten.Attrs{}
	if c.bool("accumulate") {
		a["reduction"] = "add"
	}
	if first == 0 {
		return Of(c.Node("ScatterND", a, x, tuples, values))
	}
	inverse := make([]int, len(perm))
	for i, p := range perm {
		inverse[p] = i
	}
	y := c.Node("ScatterND", a, c.Permute(x, perm...), tuples, c.Permute(values, vperm...))
	return Of(c.Permute(y, inverse...))
}

// alongIndex spreads a vector of indices of an axis over the sizes of v.
func (c *call) alongIndex(axis int, sizes []Int) *graph.Value {
	i := c.tensor("index")
	shape := slices.Repeat([]Int{N(1)}, len(sizes))
	shape[axis] = product(c.sym.Sizes(i))
	return c.expanded(c.reshape(c.cast(i, tensor.Int64), shape), sizes)
}

func indexCopy(c *call) any {
	x, v := c.tensor("self"), c.tensor("source")
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	return Of(c.Node("ScatterElements", aten.Attrs{"axis": axis}, x, c.alongIndex(axis, c.sym.Sizes(v)), c.cast(v, x.Type.DType)))
}

func indexFill(c *call) any {
	x := c.tensor("self")
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	sizes := c.sym.Sizes(x)
	sizes[axis] = product(c.sym.Sizes(c.tensor("index")))
	return Of(c.Node("ScatterElements", aten.Attrs{"axis": axis}, x, c.alongIndex(axis, sizes), c.expanded(c.operand(c.args["value"], x.Type.DType), sizes)))
}

func indexAdd(c *call) any {
	x, v := c.tensor("self"), c.tensor("source")
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	v = c.times(c.cast(v, x.Type.DType), c.args["alpha"])
	return Of(c.Node("ScatterElements", aten.Attrs{"axis": axis, "reduction": "add"}, x, c.alongIndex(axis, c.sym.Sizes(v)), v))
}

var reductions = map[string]string{"add": "add", "sum": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min"}

func scatter(reduce string) func(c *call) any {
	return func(c *call) any {
		x, i := c.tensor("self"), c.tensor("index")
		axis := c.axis("dim", c.Rank(x))
		kind := reduce
		if kind == "" {
			if r, ok := c.args["reduce"]; ok && r != nil {
				kind = c.text("reduce")
			}
		}
		if c.bad {
			return nil
		}
		a := aten.Attrs{"axis": axis}
		if kind != "" {
			if reductions[kind] == "" {
				return c.failf("the reduction %q", kind)
			}
			a["reduction"] = reductions[kind]
		}
		if v, ok := c.args["include_self"]; ok && v == false {
			return c.failf("a reduction without what is there")
		}
		if v, ok := c.args["value"]; ok && v != nil {
			c.args["src"] = v
		}
		sizes := c.sym.Sizes(i)
		src := c.operand(c.args["src"], x.Type.DType)
		if c.Rank(src) == 0 {
			src = c.expanded(src, sizes)
		}
		for k, n := range c.sym.Sizes(src) { // PyTorch takes the part of src that the index covers
			if k < len(sizes) && !n.Equal(sizes[k]) {
				src = c.Node("Slice", nil, src, c.Ints(0), c.sym.Value(sizes[k]), c.Ints(k), c.Ints(1))
			}
		}
		return Of(c.Node("ScatterElements", a, x, i, src))
	}
}

func selectScatter(c *call) any {
	x, v := c.tensor("self"), c.tensor("src")
	axis, i := c.axis("dim", c.Rank(x)), c.int("index")
	if c.bad {
		return nil
	}
	if k, ok := i.Const(); ok && k < 0 {
		i = c.sym.Size(x, axis).Add(i)
	}
	return Of(c.write(x, c.cast(c.Unsqueeze(v, axis), x.Type.DType), axis, i, i.Add(N(1)), 1))
}

func sliceScatter(c *call) any {
	x, v := c.tensor("self"), c.tensor("src")
	axis, step := c.axis("dim", c.Rank(x)), c.known("step")
	start, end := N(0), N(int64(math.MaxInt64))
	if c.has("start") {
		start = c.int("start")
	}
	if c.has("end") {
		end = c.int("end")
	}
	if c.bad || step < 1 {
		return nil
	}
	n := c.sym.Size(x, axis)
	return Of(c.write(x, c.cast(v, x.Type.DType), axis, c.bound(start, n), c.bound(end, n), step))
}
