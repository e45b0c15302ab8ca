package vision

import (
	"strconv"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// mnasNet are the networks of Tan et al. ("MnasNet", 2018), variant B1.
var mnasNet = Arch{
	Name: "mnasnet", Names: []string{"mnasnet*"}, Stem: "layers.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("layers.0") > 0 && l.Rows("layers.8.0.layers.0") > 0 && l.Rows("layers.14") > 0 && l.Rows("classifier.1") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("layers")
		x = f.Relu("2", f.BatchNorm("1", f.Conv("0", x, conv(2, 1)), 1e-5))
		x = f.Relu("5", f.BatchNorm("4", f.Conv("3", x, conv(1, 1)), 1e-5))
		x = f.BatchNorm("7", f.Conv("6", x, conv(1, 0)), 1e-5)
		for i, stride := range []int{2, 2, 2, 1, 2, 1} {
			x = f.Each(strconv.Itoa(8+i), x, func(i int, l *torchnn.Layer, x *graph.Value) *graph.Value {
				if i == 0 {
					return mnasBlock(l, x, stride, false)
				}
				return mnasBlock(l, x, 1, true)
			})
		}
		x = f.Relu("16", f.BatchNorm("15", f.Conv("14", x, conv(1, 0)), 1e-5))
		return l.Child("classifier").Linear("1", l.Mean(x, false, 2, 3))
	},
}

var mnasNetClasses = map[string]torchnn.Forward{
	"models.mnasnet.MNASNet": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return l.Child("classifier").Apply(l.Mean(l.Child("layers").Apply(x), false, 2, 3))
	},
	"models.mnasnet._InvertedResidual": invertedModule("layers", "apply_residual"),
}

func mnasBlock(l *torchnn.Layer, x *graph.Value, stride int, skip bool) *graph.Value {
	y := l.Or("layers", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		x = l.Relu("2", l.BatchNorm("1", l.Conv("0", x, conv(1, 0)), 1e-5))
		x = l.Relu("5", l.BatchNorm("4", l.Conv("3", x, conv(stride, l.Kernel("3")/2)), 1e-5))
		return l.BatchNorm("7", l.Conv("6", x, conv(1, 0)), 1e-5)
	})
	if skip {
		return add(l, y, x)
	}
	return shortcut(l, x, y, stride)
}
