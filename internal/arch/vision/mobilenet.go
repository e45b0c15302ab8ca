package vision

import (
	"fmt"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// mobileNetV2 are the networks of Sandler et al. ("MobileNetV2", 2018).
var mobileNetV2 = Arch{
	Name: "mobilenet_v2", Stem: "features.0.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("features.18.0") > 0 && l.Rows("features.1.conv.1") > 0 && l.Rows("features.2.conv.2") > 0 && l.Rows("classifier.1") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		relu6 := func(x *graph.Value) *graph.Value { return l.Clamp(x, 0, 6) }
		f := l.Child("features")
		for i, c := range f.Children() {
			name := c.Name()
			if !c.Has("conv") {
				x = f.ConvNorm(name, x, conv(2-min(i, 1), 1-min(i, 1)), 1e-5, relu6) // the first halves the image
				continue
			}
			x = f.Or(name, x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
				return v2Block(l, x, mobileV2Strides[i])
			})
		}
		return l.Child("classifier").Linear("1", l.Flatten(l.AvgPool("avgpool", x, 1), 1, -1))
	},
}

// mobileV2Strides are the blocks of table 2 of the paper that halve the image, by their number in features.
var mobileV2Strides = map[int]int{2: 2, 4: 2, 7: 2, 14: 2}

var mobileNetV2Classes = map[string]torchnn.Forward{
	"models.mobilenetv2.MobileNetV2": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		x = l.AdaptiveAvgPool(l.Child("features").Apply(x), []int{1, 1})
		return l.Child("classifier").Apply(l.Flatten(x, 1, -1))
	},
	"models.mobilenet.MobileNetV2": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return l.Child("classifier").Apply(l.Mean(l.Child("features").Apply(x), false, 2, 3))
	},
	"models.mobilenetv2.InvertedResidual": invertedModule("conv", "use_res_connect"), "models.mobilenet.InvertedResidual": invertedModule("conv", "use_res_connect"),
	"models.mobilenetv2.ConvBNReLU": torchnn.Sequential, "models.mobilenet.ConvBNReLU": torchnn.Sequential, "models.mobilenetv2.ConvBNActivation": torchnn.Sequential,
}

// invertedModule is a whole module that adds its input to what its layers make where an attribute says so.
func invertedModule(layers, skip string) torchnn.Forward {
	return func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		y := l.Child(layers).Apply(x)
		if l.Bool(skip, false) {
			return add(l, y, x)
		}
		return y
	}
}

// shortcut adds x to y where a block keeps size and channels.
func shortcut(l *torchnn.Layer, x, y *graph.Value, stride int) *graph.Value {
	if stride == 1 && x.Type.Ranked && y.Type.Ranked && x.Type.Dims[1] == y.Type.Dims[1] {
		return add(l, y, x)
	}
	return y
}

func v2Block(l *torchnn.Layer, x *graph.Value, stride int) *graph.Value {
	stride = max(stride, 1)
	y := l.Or("conv", x, func(c *torchnn.Layer, y *graph.Value) *graph.Value {
		relu6 := func(x *graph.Value) *graph.Value { return c.Clamp(x, 0, 6) }
		at := 0
		if c.Has("3") { // expanded first
			y = c.ConvNorm("0", y, conv(1, 0), 1e-5, relu6)
			at = 1
		}
		y = c.ConvNorm(strconv.Itoa(at), y, conv(stride, 1), 1e-5, relu6)
		return c.BatchNorm(strconv.Itoa(at+2), c.Conv(strconv.Itoa(at+1), y, conv(1, 0)), 1e-5)
	})
	return shortcut(l, x, y, stride)
}

// mobileNetV3 are the networks of Howard et al. ("Searching for MobileNetV3", 2019), large and small.
var mobileNetV3 = Arch{
	Name: "mobilenet_v3", Names: []string{"mobilenet_v3*"}, Stem: "features.0.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		n := len(l.Child("features").Children())
		return mobileV3Blocks[n] != nil && l.At("features.1").Has("block") && l.Rows("classifier.3") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("features")
		blocks := mobileV3Blocks[len(f.Children())]
		x = f.ConvNorm("0", x, conv(2, 1), 1e-3, l.Hardswish)
		for i, b := range blocks {
			activation := l.Net.Relu
			if b.hardswish {
				activation = l.Hardswish
			}
			x = f.Or(strconv.Itoa(i+1), x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
				return mbConv(l, x, mbParams{stride: b.stride, eps: 1e-3, activation: activation, inner: l.Net.Relu, outer: l.Hardsigmoid})
			})
		}
		x = f.ConvNorm(fmt.Sprint(len(blocks)+1), x, conv(1, 0), 1e-3, l.Hardswish)
		c := l.Child("classifier")
		x = c.Linear("0", l.Flatten(l.AvgPool("avgpool", x, 1), 1, -1))
		return c.Linear("3", fn(c, "1", x, l.Hardswish))
	},
}

type mobileV3Block struct {
	stride    int
	hardswish bool
}

// mobileV3Blocks are tables 1 and 2 of the paper, by the number of layers of features.
var mobileV3Blocks = map[int][]mobileV3Block{
	17: {{1, false}, {2, false}, {1, false}, {2, false}, {1, false}, {1, false}, {2, true}, {1, true}, {1, true}, {1, true}, {1, true}, {1, true}, {2, true}, {1, true}, {1, true}},
	13: {{2, false}, {2, false}, {1, false}, {2, true}, {1, true}, {1, true}, {1, true}, {1, true}, {2, true}, {1, true}, {1, true}},
}

var mobileNetV3Classes = map[string]torchnn.Forward{
	"models.mobilenetv3.MobileNetV3":      featuresForward(1),
	"models.mobilenetv3.InvertedResidual": invertedModule("block", "use_res_connect"),
}

// mbParams are the parameters of an inverted residual block with squeeze and excitation.
type mbParams struct {
	stride                   int
	eps                      float64
	activation, inner, outer func(*graph.Value) *graph.Value
}

// mbConv is such a block of a state dict: convolutions under numbers, the last without activation, and the excitation between
// them. The widest kernel, or the first of a block without one that expands, moves by the stride.
func mbConv(l *torchnn.Layer, x *graph.Value, p mbParams) *graph.Value {
	y := l.Or("block", x, func(b *torchnn.Layer, y *graph.Value) *graph.Value {
		parts := b.Children()
		moved := false
		for i, c := range parts {
			if c.Has("fc1") {
				y = b.Or(c.Name(), y, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
					return excite(l, x, "activation", p.inner, p.outer)
				})
				continue
			}
			activation := p.activation
			if i == len(parts)-1 && len(parts) > 1 {
				activation = nil
			}
			kernel, stride := c.Kernel("0"), 1
			if !moved && kernel > 1 {
				stride, moved = p.stride, true
			}
			y = b.ConvNorm(c.Name(), y, conv(stride, kernel/2), p.eps, activation)
		}
		return y
	})
	return shortcut(l, x, y, p.stride)
}
