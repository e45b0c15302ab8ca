package torchop

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// poolOps are the poolings.
var poolOps = table{
	"max_pool1d":              {maxPoolParams, maxPool(1)},
	"max_pool2d":              {maxPoolParams, maxPool(2)},
	"max_pool3d":              {maxPoolParams, maxPool(3)},
	"max_pool1d_with_indices": {maxPoolParams, maxPoolIndices(1)},
	"max_pool2d_with_indices": {maxPoolParams, maxPoolIndices(2)},
	"max_pool3d_with_indices": {maxPoolParams, maxPoolIndices(3)},
	"max_unpool2d":            {"self indices output_size", maxUnpool},
	"avg_pool1d":              {avgPoolParams, avgPool(1)},
	"avg_pool2d":              {avgPoolParams, avgPool(2)},
	"avg_pool3d":              {avgPoolParams, avgPool(3)},
	"adaptive_avg_pool1d":     {"self output_size", adaptiveAvg(1)},
	"adaptive_avg_pool2d":     {"self output_size", adaptiveAvg(2)},
	"adaptive_avg_pool3d":     {"self output_size", adaptiveAvg(3)},
	"_adaptive_avg_pool2d":    {"self output_size", adaptiveAvg(2)},
	"_adaptive_avg_pool3d":    {"self output_size", adaptiveAvg(3)},
	"adaptive_max_pool1d":     {"self output_size", adaptiveMax(1)},
	"adaptive_max_pool2d":     {"self output_size", adaptiveMax(2)},
	"adaptive_max_pool3d":     {"self output_size", adaptiveMax(3)},
}

const (
	maxPoolParams = "self kernel_size stride=[] padding=0 dilation=1 ceil_mode=False"
	avgPoolParams = "self kernel_size stride=[] padding=0 ceil_mode=False count_include_pad=True divisor_override=None"
)

func (c *call) pool() aten.Pool {
	return aten.Pool{Kernel: c.ints("kernel_size"), Stride: c.ints("stride"), Pad: c.ints("padding"), Ceil: c.bool("ceil_mode")}
}

func maxPool(axes int) func(c *call) any {
	return func(c *call) any {
		x, p := c.tensor("self"), c.pool()
		p.Dilation = c.ints("dilation")
		if c.bad {
			return nil
		}
		return Of(c.MaxPool(x, axes, p))
	}
}

// maxPoolIndices gives the places of the largest elements as well, each within its channel.
func maxPoolIndices(axes int) func(c *call) any {
	return func(c *call) any {
		x, p := c.tensor("self"), c.pool()
		p.Dilation = c.ints("dilation")
		if c.bad {
			return nil
		}
		y, index := c.MaxPoolIndices(x, axes, p)
		return of(y, index)
	}
}

// maxUnpool puts elements where a pooling took them from.
func maxUnpool(c *call) any {
	x, index, size := c.tensor("self"), c.tensor("indices"), c.sizes("output_size")
	if c.bad || c.Rank(x) != 4 || len(size) < 2 {
		return c.failf("an input of %v", x.Type)
	}
	size = size[len(size)-2:]
	n, ch := c.sym.Size(x, 0), c.sym.Size(x, 1)
	flat := c.Node("ConstantOfShape", aten.Attrs{"value": tensor.Vector[float32](0)}, c.sym.Vector([]Int{n, ch, size[0].Mul(size[1])}))
	flat = c.Node("ScatterElements", aten.Attrs{"axis": 2}, c.cast(flat, x.Type.DType), c.Flatten(index, 2, -1), c.Flatten(x, 2, -1))
	return Of(c.reshape(flat, []Int{n, ch, size[0], size[1]}))
}

func avgPool(axes int) func(c *call) any {
	return func(c *call) any {
		x, p := c.tensor("self"), c.pool()
		p.ExcludePad = !c.bool("count_include_pad")
		if c.has("divisor_override") {
			p.Divisor = c.known("divisor_override")
		}
		if c.bad {
			return nil
		}
		return Of(c.AvgPool(x, axes, p))
	}
}

// targets returns the sizes that an adaptive pooling gives, -1 for those that x has.
func (c *call) targets(x *graph.Value, axes int) ([]int, bool) {
	items, ok := Items(c.args["output_size"])
	if !ok {
		items = []any{c.args["output_size"]}
	}
	out := make([]int, axes)
	for i := range out {
		v := items[min(i, len(items)-1)]
		if v == nil {
			out[i] = -1
			continue
		}
		n, ok := c.toInt(v)
		if k, known := n.Const(); ok && known {
			out[i] = int(k)
			continue
		}
		if !ok || !n.Equal(c.sym.Size(x, i-axes)) {
			c.failf("the size %v is not known before a run", v)
			return nil, false
		}
		out[i] = -1
	}
	return out, true
}

func adaptiveAvg(axes int) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		out, ok := c.targets(x, axes)
		if !ok || c.bad {
			return nil
		}
		return Of(c.AdaptiveAvgPool(x, out))
	}
}

func adaptiveMax(axes int) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("self")
		out, ok := c.targets(x, axes)
		if !ok || c.bad {
			return nil
		}
		return Tuple{Of(c.AdaptiveMaxPool(x, out)), Absent("the indices of " + c.op)}
	}
}
