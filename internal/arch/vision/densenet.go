package vision

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// denseNet are the networks of Huang et al. ("Densely Connected Convolutional Networks", 2016).
var denseNet = Arch{
	Name: "densenet", Names: []string{"densenet*"}, Stem: "features.conv0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Kernel("features.conv0") == 7 && l.At("features.denseblock1").Has("denselayer1") && l.Rows("classifier") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("features")
		x = f.MaxPool("pool0", f.Relu("relu0", f.BatchNorm("norm0", f.Conv("conv0", x, conv(2, 3)), 1e-5)), pool(3, 2, 1))
		for i := 1; f.Has(fmt.Sprintf("denseblock%d", i)); i++ {
			x = f.Or(fmt.Sprintf("denseblock%d", i), x, denseBlock)
			if t := fmt.Sprintf("transition%d", i); f.Has(t) {
				x = f.Or(t, x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
					x = l.Conv("conv", l.Relu("relu", l.BatchNorm("norm", x, 1e-5)), conv(1, 0))
					return l.Net.AvgPool(x, 2, pool(2, 2, 0))
				})
			}
		}
		return denseEnd(l, f.BatchNorm("norm5", x, 1e-5))
	},
}

var denseNetClasses = map[string]torchnn.Forward{
	"models.densenet.DenseNet": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return denseEnd(l, l.Child("features").Apply(x))
	},
	"models.densenet._DenseBlock": denseBlock,
	"models.densenet._DenseLayer": denseLayer,
	"models.densenet._Transition": torchnn.Sequential,
}

func denseEnd(l *torchnn.Layer, x *graph.Value) *graph.Value {
	x = l.AdaptiveAvgPool(l.Net.Relu(x), []int{1, 1})
	return l.Linear("classifier", l.Flatten(x, 1, -1))
}

// denseBlock gives every layer what all layers before it made.
func denseBlock(l *torchnn.Layer, x *graph.Value) *graph.Value {
	all := []*graph.Value{x}
	for _, c := range l.Children() {
		in := l.Concat(1, all...)
		all = append(all, l.Or(c.Name(), in, denseLayer))
	}
	return l.Concat(1, all...)
}

// denseLayer is a bottleneck.
func denseLayer(l *torchnn.Layer, x *graph.Value) *graph.Value {
	for i := 1; i <= 2; i++ {
		x = part(l, "norm", i, x, func(l *torchnn.Layer, name string, x *graph.Value) *graph.Value { return l.BatchNorm(name, x, 1e-5) })
		x = part(l, "relu", i, x, (*torchnn.Layer).Relu)
		x = part(l, "conv", i, x, func(l *torchnn.Layer, name string, x *graph.Value) *graph.Value { return l.Conv(name, x, conv(1, i-1)) })
	}
	return x
}

// part applies a numbered part of a dense layer. Files from before PyTorch 0.4 have a dot in its name.
func part(l *torchnn.Layer, kind string, i int, x *graph.Value, f func(*torchnn.Layer, string, *graph.Value) *graph.Value) *graph.Value {
	name, dotted := fmt.Sprintf("%s%d", kind, i), fmt.Sprintf("%s.%d", kind, i)
	switch {
	case l.Module != nil && l.Has(dotted):
		return f(l, dotted, x)
	case l.Module == nil && l.Has(kind):
		return l.Or(kind, x, func(c *torchnn.Layer, x *graph.Value) *graph.Value { return f(c, fmt.Sprint(i), x) })
	}
	return f(l, name, x)
}
