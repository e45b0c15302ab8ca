package vision

import (
	"strconv"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// alexNet is the network of Krizhevsky ("One weird trick for parallelizing convolutional neural networks", 2014).
var alexNet = Arch{
	Name: "alexnet", Stem: "features.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Kernel("features.0") == 11 && l.Rows("features.10") > 0 && l.Rows("classifier.6") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("features")
		x = f.Relu("1", f.Conv("0", x, conv(4, 2)))
		x = f.Relu("4", f.Conv("3", f.MaxPool("2", x, pool(3, 2, 0)), conv(1, 2)))
		x = f.Relu("7", f.Conv("6", f.MaxPool("5", x, pool(3, 2, 0)), conv(1, 1)))
		x = f.Relu("9", f.Conv("8", x, conv(1, 1)))
		x = f.Relu("11", f.Conv("10", x, conv(1, 1)))
		x = l.Flatten(l.AvgPool("avgpool", f.MaxPool("12", x, pool(3, 2, 0)), 6), 1, -1)
		c := l.Child("classifier")
		return c.Linear("6", c.Relu("5", c.Linear("4", c.Relu("2", c.Linear("1", x)))))
	},
}

// featuresForward is a network of features, an average to a size and a classifier, each a Sequential.
func featuresForward(size int) torchnn.Forward {
	return func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		x = l.AvgPool("avgpool", l.Child("features").Apply(x), size)
		return l.Child("classifier").Apply(l.Flatten(x, 1, -1))
	}
}

var alexNetClasses = map[string]torchnn.Forward{"models.alexnet.AlexNet": featuresForward(6)}

// vggLayers are the convolutions of each stage by their number (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014,
// table 1).
var vggLayers = map[int][5]int{8: {1, 1, 2, 2, 2}, 10: {2, 2, 2, 2, 2}, 13: {2, 2, 3, 3, 3}, 16: {2, 2, 4, 4, 4}}

// vgg are networks of 3x3 convolutions in five stages, with or without batch normalization.
var vgg = Arch{
	Name: "vgg", Names: []string{"vgg*"}, Stem: "features.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		n, _ := vggConvs(l)
		_, ok := vggLayers[n]
		return ok && l.Kernel("features.0") == 3 && l.Rows("classifier.6") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		n, norm := vggConvs(l)
		f, at := l.Child("features"), 0
		for _, convs := range vggLayers[n] {
			for range convs {
				x = f.Conv(strconv.Itoa(at), x, conv(1, 1))
				at++
				if norm {
					x = f.BatchNorm(strconv.Itoa(at), x, 1e-5)
					at++
				}
				x = f.Relu(strconv.Itoa(at), x)
				at++
			}
			x = f.MaxPool(strconv.Itoa(at), x, pool(2, 2, 0))
			at++
		}
		x = l.Flatten(l.AvgPool("avgpool", x, 7), 1, -1)
		c := l.Child("classifier")
		return c.Linear("6", c.Relu("4", c.Linear("3", c.Relu("1", c.Linear("0", x)))))
	},
}

// vggConvs counts the convolutions and says whether they are normalized.
func vggConvs(l *torchnn.Layer) (n int, norm bool) {
	for _, c := range l.Child("features").Children() {
		if t := c.Tensor("weight"); t != nil && len(t.Shape()) == 4 {
			n++
		}
	}
	return n, l.At("features.1").Has("running_mean")
}

var vggClasses = map[string]torchnn.Forward{"models.vgg.VGG": featuresForward(7)}

// squeezeNet are the networks of Iandola et al. ("SqueezeNet", 2016), versions 1.0 and 1.1.
var squeezeNet = Arch{
	Name: "squeezenet", Names: []string{"squeezenet*"}, Stem: "features.0", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("features.12.squeeze") > 0 && l.Rows("classifier.1") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		f := l.Child("features")
		x = f.Relu("1", f.Conv("0", x, conv(2, 0)))
		for i := 2; i <= 12; i++ {
			name := strconv.Itoa(i)
			if f.Has(name) {
				x = f.Or(name, x, fire)
			} else { // what has no weights between them
				x = f.MaxPool(name, x, aten.Pool{Kernel: []int{3}, Stride: []int{2}, Ceil: true})
			}
		}
		c := l.Child("classifier")
		x = c.AvgPool("3", c.Relu("2", c.Conv("1", x, conv(1, 0))), 1)
		return l.Flatten(x, 1, -1)
	},
}

var squeezeNetClasses = map[string]torchnn.Forward{
	"models.squeezenet.SqueezeNet": func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return l.Flatten(l.Child("classifier").Apply(l.Child("features").Apply(x)), 1, -1)
	},
	"models.squeezenet.Fire": fire,
}

// fire squeezes channels and expands them by convolutions of two sizes.
func fire(l *torchnn.Layer, x *graph.Value) *graph.Value {
	x = l.Relu("squeeze_activation", l.Conv("squeeze", x, conv(1, 0)))
	return l.Concat(1,
		l.Relu("expand1x1_activation", l.Conv("expand1x1", x, conv(1, 0))),
		l.Relu("expand3x3_activation", l.Conv("expand3x3", x, conv(1, 1))))
}
