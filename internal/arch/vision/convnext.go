package vision

import (
	"strconv"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// convNeXt are the networks of Liu et al. ("A ConvNet for the 2020s", 2022).
var convNeXt = Arch{
	Name: "convnext", Names: []string{"convnext_*"}, Stem: "features.0.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Kernel("features.0.0") == 4 && l.At("features.1.0").Has("layer_scale") && l.Rows("classifier.2") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("features")
		x = f.Or("0", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
			return normChannels(l, "1", l.Conv("0", x, conv(4, 0)))
		})
		for i := 1; i < len(f.Children()); i++ {
			name := strconv.Itoa(i)
			if i%2 == 1 {
				x = f.Each(name, x, func(_ int, l *torchnn.Layer, x *graph.Value) *graph.Value { return nextBlock(l, x) })
				continue
			}
			x = f.Or(name, x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
				return l.Conv("1", normChannels(l, "0", x), conv(2, 0))
			})
		}
		x = l.AvgPool("avgpool", x, 1)
		return l.Or("classifier", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
			return l.Linear("2", l.Flatten(normChannels(l, "0", x), 1, -1))
		})
	},
}

// normChannels is a layer normalization over the channels of images.
func normChannels(l *torchnn.Layer, name string, x *graph.Value) *graph.Value {
	return l.Permute(l.LayerNorm(name, l.Permute(x, 0, 2, 3, 1), 1e-6), 0, 3, 1, 2)
}

var convNeXtClasses = map[string]torchnn.Forward{
	"models.convnext.ConvNeXt": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return l.Child("classifier").Apply(l.AvgPool("avgpool", l.Child("features").Apply(x), 1))
	},
	"models.convnext.LayerNorm2d": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return l.Permute(torchnn.LayerNorm(l, l.Permute(x, 0, 2, 3, 1)), 0, 3, 1, 2)
	},
	"models.convnext.CNBlock": nextBlock,
}

func nextBlock(l *torchnn.Layer, x *graph.Value) *graph.Value {
	y := l.Or("block", x, func(b *torchnn.Layer, y *graph.Value) *graph.Value {
		y = b.Permute(b.Conv("0", y, conv(1, b.Kernel("0")/2)), 0, 2, 3, 1)
		y = b.Linear("3", b.LayerNorm("2", y, 1e-6))
		return b.Permute(b.Linear("5", b.Gelu(y, "none")), 0, 3, 1, 2)
	})
	return add(l, l.Node("Mul", nil, y, l.Weight("layer_scale")), x)
}
