package torchop

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
)

// resizeOps change the size of images. The size of the result is given, or the factor.
var resizeOps = table{
	"upsample_nearest1d":        {"input output_size=None scales=None scale_factors=None", resize("nearest", false)},
	"upsample_nearest2d":        {"input output_size=None scales_h=None scales_w=None scale_factors=None", resize("nearest", false)},
	"upsample_nearest3d":        {"input output_size=None scales_d=None scales_h=None scales_w=None scale_factors=None", resize("nearest", false)},
	"_upsample_nearest_exact1d": {"input output_size=None scales=None scale_factors=None", resize("nearest-exact", false)},
	"_upsample_nearest_exact2d": {"input output_size=None scales_h=None scales_w=None scale_factors=None", resize("nearest-exact", false)},
	"_upsample_nearest_exact3d": {"input output_size=None scales_d=None scales_h=None scales_w=None scale_factors=None", resize("nearest-exact", false)},
	"upsample_linear1d":         {"input output_size=None align_corners=False scales=None scale_factors=None", resize("linear", false)},
	"upsample_bilinear2d":       {"input output_size=None align_corners=False scales_h=None scales_w=None scale_factors=None", resize("linear", false)},
	"upsample_trilinear3d":      {"input output_size=None align_corners=False scales_d=None scales_h=None scales_w=None scale_factors=None", resize("linear", false)},
	"upsample_bicubic2d":        {"input output_size=None align_corners=False scales_h=None scales_w=None scale_factors=None", resize("bicubic", false)},
	"_upsample_bilinear2d_aa":   {"input output_size=None align_corners=False scales_h=None scales_w=None scale_factors=None", resize("linear", true)},
	"_upsample_bicubic2d_aa":    {"input output_size=None align_corners=False scales_h=None scales_w=None scale_factors=None", resize("bicubic", true)},
	"grid_sampler":              {"input grid interpolation_mode padding_mode align_corners", gridSample},
	"grid_sampler_2d":           {"input grid interpolation_mode padding_mode align_corners", gridSample},
	"grid_sampler_3d":           {"input grid interpolation_mode padding_mode align_corners", gridSample},
	"affine_grid_generator": {"theta size align_corners", func(c *call) any {
		return Of(c.Node("AffineGrid", aten.Attrs{"align_corners": c.bool("align_corners")}, c.tensor("theta"), c.sym.Vector(c.sizes("size"))))
	}},
}

func resize(mode string, antialias bool) func(c *call) any {
	return func(c *call) any {
		x := c.tensor("input")
		p := aten.Interpolate{Mode: mode, Antialias: antialias}
		corners := false
		if v, ok := c.args["align_corners"]; ok {
			corners, _ = v.(bool)
		}
		p.AlignCorners = corners
		var scale []float64
		for _, name := range []string{"scale_factors", "scales", "scales_d", "scales_h", "scales_w"} {
			v := c.args[name]
			if _, list := Items(v); list {
				scale = c.floats(name)
				break
			}
			if f, ok := v.(float64); ok {
				scale = append(scale, f)
			}
		}
		axes := c.Rank(x) - 2
		if c.bad || axes < 1 {
			return nil
		}
		sizes := c.sym.Sizes(x)
		if c.has("output_size") {
			out := c.sizes("output_size")
			if c.bad || len(out) != axes {
				return c.failf("a size of %d axes of %v", len(out), x.Type)
			}
			if known, ok := consts(out); ok {
				p.Size = known
				return Of(c.named(c.Interpolate(x, p), append(sizes[:2:2], out...)))
			}
			for i, n := range out { // a multiple of the size of x is a factor
				f, ok := n.over(sizes[2+i])
				k, known := f.Const()
				if !ok || !known {
					return Of(c.named(c.InterpolateTo(x, p, c.sym.Vector(append(sizes[:2:2], out...))), append(sizes[:2:2], out...)))
				}
				p.Scale = append(p.Scale, float64(k))
			}
			return Of(c.named(c.Interpolate(x, p), append(sizes[:2:2], out...)))
		}
		if len(scale) == 0 {
			return c.failf("neither size nor factor")
		}
		p.Scale = scale
		return Of(c.Interpolate(x, p))
	}
}

func gridSample(c *call) any {
	x, grid := c.tensor("input"), c.tensor("grid")
	mode, pad := c.known("interpolation_mode"), c.known("padding_mode")
	if c.bad || mode < 0 || mode > 2 || pad < 0 || pad > 2 {
		return c.failf("mode %d with pads of mode %d", mode, pad)
	}
	return Of(c.Node("GridSample", aten.Attrs{
		"mode": []string{"linear", "nearest", "cubic"}[mode], "padding_mode": []string{"zeros", "border", "reflection"}[pad], "align_corners": c.bool("align_corners"),
	}, x, grid))
}

// sortOps put elements in order.
var sortOps = table{
	"topk": {"self k dim=-1 largest=True sorted=True", topK},
	"sort": {"self dim=-1 descending=False stable=None", sortAll},
	"argsort": {"self dim=-1 descending=False stable=None", func(c *call) any {
		if t, ok := sortAll(c).(Tuple); ok {
			return t[1]
		}
		return nil
	}},
}

func (c *call) ordered(x *graph.Value, k Int, axis int, largest bool) any {
	sizes := c.sym.Sizes(x)
	sizes[axis] = k
	out := c.Nodes(2, "TopK", aten.Attrs{"axis": axis, "largest": largest, "sorted": 1}, x, c.sym.Value(k))
	return of(c.named(out[0], sizes), c.named(out[1], sizes))
}

func topK(c *call) any {
	x, k := c.tensor("self"), c.int("k")
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	return c.ordered(x, k, axis, c.bool("largest"))
}

func sortAll(c *call) any {
	x := c.tensor("self")
	if b, ok := c.args["dim"].(bool); ok { // sort.stable(self, stable, dim, descending)
		c.args["stable"], c.args["dim"], c.args["descending"] = b, c.args["descending"], c.args["stable"]
	}
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	return c.ordered(x, c.sym.Size(x, axis), axis, c.bool("descending"))
}
