package vision

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// regNet are the networks of Radosavovic et al. ("Designing Network Design Spaces", 2020): X, and Y with excitation.
var regNet = Arch{
	Name: "regnet", Names: []string{"regnet_*"}, Stem: "stem.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("stem.0") > 0 && l.Rows("trunk_output.block1.block1-0.f.a.0") > 0 && l.Rows("fc") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		x = l.ConvNorm("stem", x, conv(2, 1), 1e-5, l.Net.Relu)
		x = l.Each("trunk_output", x, func(_ int, l *torchnn.Layer, x *graph.Value) *graph.Value {
			return l.Sequence(x, func(i int, l *torchnn.Layer, x *graph.Value) *graph.Value { return regBlock(l, x, 2-min(i, 1)) })
		})
		return classify(l, x, "fc")
	},
}

var regNetClasses = map[string]torchnn.Forward{
	"models.regnet.RegNet": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return classify(l, l.Child("trunk_output").Apply(l.Child("stem").Apply(x)), "fc")
	},
	"models.regnet.ResBottleneckBlock":  func(l *torchnn.Layer, x *graph.Value) *graph.Value { return regBlock(l, x, 1) },
	"models.regnet.BottleneckTransform": torchnn.Sequential, "models.regnet.AnyStage": torchnn.Sequential,
	"models.regnet.SimpleStemIN": torchnn.Sequential,
}

// regBlock is a residual bottleneck. The stride, that of its 3x3 convolution, counts for state dicts only.
func regBlock(l *torchnn.Layer, x *graph.Value, stride int) *graph.Value {
	y := l.Or("f", x, func(f *torchnn.Layer, y *graph.Value) *graph.Value {
		y = f.ConvNorm("a", y, conv(1, 0), 1e-5, f.Net.Relu)
		y = f.ConvNorm("b", y, conv(stride, 1), 1e-5, f.Net.Relu)
		if f.Has("se") {
			y = f.Or("se", y, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
				return excite(l, x, "activation", l.Net.Relu, func(x *graph.Value) *graph.Value { return l.Node("Sigmoid", nil, x) })
			})
		}
		return f.ConvNorm("c", y, conv(1, 0), 1e-5, nil)
	})
	if l.Has("proj") {
		x = l.ConvNorm("proj", x, conv(stride, 0), 1e-5, nil)
	}
	return l.Relu("activation", add(l, x, y))
}
