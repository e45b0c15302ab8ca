package vision

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// shuffleNet are the networks of Ma et al. ("ShuffleNet V2", 2018).
var shuffleNet = Arch{
	Name: "shufflenet", Names: []string{"shufflenet_v2*"}, Stem: "conv1.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("conv1.0") > 0 && l.Rows("stage2.0.branch1.0") > 0 && l.Rows("conv5.0") > 0 && l.Rows("fc") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value { return shuffleForward(l, x) },
}

var shuffleNetClasses = map[string]torchnn.Forward{
	"models.shufflenetv2.ShuffleNetV2":     shuffleForward,
	"models.shufflenetv2.InvertedResidual": shuffleBlock,
}

func shuffleForward(l *torchnn.Layer, x *graph.Value) *graph.Value {
	x = l.ConvNorm("conv1", x, conv(2, 1), 1e-5, l.Net.Relu)
	x = l.MaxPool("maxpool", x, pool(3, 2, 1))
	for stage := 2; stage <= 4; stage++ {
		x = l.Each(fmt.Sprintf("stage%d", stage), x, func(_ int, l *torchnn.Layer, x *graph.Value) *graph.Value { return shuffleBlock(l, x) })
	}
	x = l.ConvNorm("conv5", x, conv(1, 0), 1e-5, l.Net.Relu)
	return l.Linear("fc", l.Mean(x, false, 2, 3))
}

// shuffleBlock works on one half of the channels, or with stride 2 on all of them in two branches, and mixes the halves.
func shuffleBlock(l *torchnn.Layer, x *graph.Value) *graph.Value {
	stride := 1
	if l.Has("branch1") && len(l.Child("branch1").Children()) > 0 {
		stride = 2
	}
	second := func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		x = l.Relu("2", l.BatchNorm("1", l.Conv("0", x, conv(1, 0)), 1e-5))
		x = l.BatchNorm("4", l.Conv("3", x, conv(stride, 1)), 1e-5)
		return l.Relu("7", l.BatchNorm("6", l.Conv("5", x, conv(1, 0)), 1e-5))
	}
	var y *graph.Value
	if stride == 1 {
		halves := l.Chunk(x, 2, 1)
		y = l.Concat(1, halves[0], l.Or("branch2", halves[1], second))
	} else {
		first := l.Or("branch1", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
			x = l.BatchNorm("1", l.Conv("0", x, conv(2, 1)), 1e-5)
			return l.Relu("4", l.BatchNorm("3", l.Conv("2", x, conv(1, 0)), 1e-5))
		})
		y = l.Concat(1, first, l.Or("branch2", x, second))
	}
	return l.ChannelShuffle(y, 2)
}
