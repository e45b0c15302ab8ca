package aten

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Interpolate are the parameters of torch.nn.functional.interpolate.
type Interpolate struct {
	Mode         string    // nearest, nearest-exact, linear, bilinear, trilinear, bicubic, area
	Size         []int     // of the result; nil: by Scale
	Scale        []float64 // of each spatial axis; one stands for all
	AlignCorners bool
	Antialias    bool
}

// InterpolateTo is [Builder.Interpolate] to sizes, of all axes, that are computed in the graph.
func (b *Builder) InterpolateTo(x *graph.Value, p Interpolate, sizes *graph.Value) *graph.Value {
	p.Size = nil
	a, err := p.attrs()
	if err != nil {
		return b.Fail("%w", err)
	}
	return b.Node("Resize", a, x, nil, nil, sizes)
}

// attrs returns the attributes of ONNX's operator.
func (p Interpolate) attrs() (Attrs, error) {
	a := Attrs{}
	switch p.Mode {
	case "nearest", "":
		a["mode"], a["coordinate_transformation_mode"], a["nearest_mode"] = "nearest", "asymmetric", "floor"
	case "nearest-exact":
		a["mode"], a["coordinate_transformation_mode"], a["nearest_mode"] = "nearest", "half_pixel", "round_prefer_ceil"
	case "linear", "bilinear", "trilinear":
		a["mode"] = "linear"
	case "bicubic":
		a["mode"], a["cubic_coeff_a"] = "cubic", -0.75
	default:
		return nil, fmt.Errorf("interpolation mode %q; modes are nearest, nearest-exact, linear, bilinear, trilinear, bicubic and area", p.Mode)
	}
	if a["mode"] != "nearest" {
		a["coordinate_transformation_mode"] = "half_pixel"
		if p.AlignCorners {
			a["coordinate_transformation_mode"] = "align_corners"
		}
		if p.Antialias {
			a["antialias"] = 1
		}
	}
	return a, nil
}

// Interpolate is torch.nn.functional.interpolate: x [batch, channels, spatial...].
func (b *Builder) Interpolate(x *graph.Value, p Interpolate) *graph.Value {
	axes := b.Rank(x) - 2
	if axes < 1 {
		return b.Fail("an interpolation of %v", x.Type)
	}
	if p.Mode == "area" {
		if p.Size == nil {
			return b.Fail("an interpolation of mode area by a scale")
		}
		return b.AdaptiveAvgPool(x, each(p.Size, axes, 1))
	}
	a, err := p.attrs()
	if err != nil {
		return b.Fail("%w", err)
	}
	if p.Size != nil {
		sizes := []*graph.Value{b.Size(x, 0), b.Size(x, 1), b.Ints(each(p.Size, axes, 1)...)}
		return b.Node("Resize", a, x, nil, nil, b.Concat(0, sizes...))
	}
	if len(p.Scale) == 0 {
		return b.Fail("an interpolation without size and scale")
	}
	scales := []float32{1, 1}
	for i := range axes {
		s := p.Scale[0]
		if len(p.Scale) == axes {
			s = p.Scale[i]
		}
		scales = append(scales, float32(s))
	}
	return b.Node("Resize", a, x, nil, b.floats(scales))
}
