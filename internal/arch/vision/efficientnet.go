package vision

import (
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// efficientNet are the networks of Tan and Le ("EfficientNet", 2019, and "EfficientNetV2", 2021).
var efficientNet = Arch{
	Name: "efficientnet", Names: []string{"efficientnet_*"}, Stem: "features.0.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return efficientStages(l) > 0 && l.Rows("classifier.1") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, member string) *graph.Value {
		f := l.Child("features")
		n := efficientStages(l)
		second := !f.At("1.0.block").Has("2") // version 2 begins with blocks that have no excitation
		eps := 1e-5
		// B5 to B7 and version 2 are trained with another epsilon; B5 has three blocks where B4 has two.
		if second || len(f.Child("1").Children()) > 2 || strings.HasPrefix(member, "efficientnet_v2") {
			eps = 1e-3
		}
		x = f.ConvNorm("0", x, conv(2, 1), eps, l.Silu)
		for i := 1; i <= n; i++ {
			x = f.Each(strconv.Itoa(i), x, func(j int, l *torchnn.Layer, x *graph.Value) *graph.Value {
				stride := 1
				if j == 0 {
					stride = efficientStrides[i-1]
				}
				sigmoid := func(x *graph.Value) *graph.Value { return l.Node("Sigmoid", nil, x) }
				return mbConv(l, x, mbParams{stride: stride, eps: eps, activation: l.Silu, inner: l.Silu, outer: sigmoid})
			})
		}
		x = f.ConvNorm(strconv.Itoa(n+1), x, conv(1, 0), eps, l.Silu)
		return l.Child("classifier").Linear("1", l.Flatten(l.AvgPool("avgpool", x, 1), 1, -1))
	},
}

// efficientStrides are those of the stages of both versions; the smallest network of version 2 has one stage less.
var efficientStrides = []int{1, 2, 2, 2, 1, 2, 1}

// efficientStages counts the stages of blocks between the first and the last convolution; 0 for another network.
func efficientStages(l *torchnn.Layer) int {
	f := l.Child("features")
	n := len(f.Children()) - 2
	if n != 6 && n != 7 || f.Rows("0.0") == 0 || !f.At("1.0").Has("block") || !f.At("4.0.block").Has("2") || f.Rows(strconv.Itoa(n+1)+".0") == 0 {
		return 0
	}
	return n
}

var efficientNetClasses = map[string]torchnn.Forward{
	"models.efficientnet.EfficientNet": featuresForward(1),
	"models.efficientnet.MBConv":       invertedModule("block", "use_res_connect"),
	"models.efficientnet.FusedMBConv":  invertedModule("block", "use_res_connect"),
}
