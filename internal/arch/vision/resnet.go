package vision

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// conv returns the parameters of a convolution of images.
func conv(stride, pad int) aten.Conv { return aten.Conv{Stride: []int{stride}, Pad: []int{pad}} }

// pool returns the parameters of a pooling of images.
func pool(kernel, stride, pad int) aten.Pool {
	return aten.Pool{Kernel: []int{kernel}, Stride: []int{stride}, Pad: []int{pad}}
}

// resNet are residual networks (He et al., "Deep Residual Learning for Image Recognition", 2015), with groups (ResNeXt) and with
// wide bottlenecks.
var resNet = Arch{
	Name: "resnet", Names: []string{"resnet*", "resnext*", "wide_resnet*"}, Stem: "conv1", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("conv1") > 0 && l.Kernel("conv1") == 7 && l.Rows("layer4.0.conv1") > 0 && l.Rows("fc") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value { return resNetForward(l, x) },
}

var resNetClasses = map[string]torchnn.Forward{
	"models.resnet.ResNet":     resNetForward,
	"models.resnet.BasicBlock": func(l *torchnn.Layer, x *graph.Value) *graph.Value { return residual(l, x, 1) },
	"models.resnet.Bottleneck": func(l *torchnn.Layer, x *graph.Value) *graph.Value { return residual(l, x, 1) },
}

func resNetForward(l *torchnn.Layer, x *graph.Value) *graph.Value {
	x = l.Relu("relu", l.BatchNorm("bn1", l.Conv("conv1", x, conv(2, 3)), 1e-5))
	x = l.MaxPool("maxpool", x, pool(3, 2, 1))
	for stage := range 4 {
		x = l.Each(fmt.Sprintf("layer%d", stage+1), x, func(i int, l *torchnn.Layer, x *graph.Value) *graph.Value {
			if i == 0 && stage > 0 {
				return residual(l, x, 2)
			}
			return residual(l, x, 1)
		})
	}
	return classify(l, x, "fc")
}

// residual is a block of two convolutions, or a bottleneck of three, whose stride is that of its 3x3 convolution. The stride
// counts for state dicts only.
func residual(l *torchnn.Layer, x *graph.Value, stride int) *graph.Value {
	y := x
	if l.Has("conv3") {
		y = l.Relu("relu", l.BatchNorm("bn1", l.Conv("conv1", y, conv(1, 0)), 1e-5))
		y = l.Relu("relu", l.BatchNorm("bn2", l.Conv("conv2", y, conv(stride, 1)), 1e-5))
		y = l.BatchNorm("bn3", l.Conv("conv3", y, conv(1, 0)), 1e-5)
	} else {
		y = l.Relu("relu", l.BatchNorm("bn1", l.Conv("conv1", y, conv(stride, 1)), 1e-5))
		y = l.BatchNorm("bn2", l.Conv("conv2", y, conv(1, 1)), 1e-5)
	}
	if l.Has("downsample") {
		x = l.Or("downsample", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
			return l.BatchNorm("1", l.Conv("0", x, conv(stride, 0)), 1e-5)
		})
	}
	return l.Relu("relu", add(l, y, x))
}

// cifarResNet are the residual networks for images of 32x32 (section 4.2 of the paper), of three stages. Shortcuts between stages
// skip every other pixel and pad channels with zeros, or are convolutions where the file has such.
var cifarResNet = Arch{
	Name: "cifar-resnet", Names: []string{"resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet1202"}, Stem: "conv1", Side: 32,
	Match: func(l *torchnn.Layer) bool {
		return l.Kernel("conv1") == 3 && l.Rows("bn1") > 0 && l.Rows("layer1.0.conv2") > 0 && l.Rows("layer3.0.conv2") == 4*l.Rows("conv1") &&
			!l.Has("layer4") && !l.At("layer1.0").Has("conv3") && l.Rows(lastLayer(l)) > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value {
		x = l.Relu("relu", l.BatchNorm("bn1", l.Conv("conv1", x, conv(1, 1)), 1e-5))
		for stage := range 3 {
			x = l.Each(fmt.Sprintf("layer%d", stage+1), x, func(i int, l *torchnn.Layer, x *graph.Value) *graph.Value {
				if i == 0 && stage > 0 {
					return cifarBlock(l, x, 2)
				}
				return cifarBlock(l, x, 1)
			})
		}
		return classify(l, x, lastLayer(l))
	},
}

// lastLayer is the name of the linear layer at the end.
func lastLayer(l *torchnn.Layer) string {
	if l.Has("linear") {
		return "linear"
	}
	return "fc"
}

func cifarBlock(l *torchnn.Layer, x *graph.Value, stride int) *graph.Value {
	y := l.Relu("relu", l.BatchNorm("bn1", l.Conv("conv1", x, conv(stride, 1)), 1e-5))
	y = l.BatchNorm("bn2", l.Conv("conv2", y, conv(1, 1)), 1e-5)
	for _, name := range []string{"shortcut", "downsample"} {
		if l.Has(name) {
			x = l.Or(name, x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
				return l.BatchNorm("1", l.Conv("0", x, conv(stride, 0)), 1e-5)
			})
			stride = 1
		}
	}
	if stride > 1 {
		more := (l.Rows("conv1") - x.Type.Dims[1].Size) / 2
		x = l.Slice(l.Slice(x, 2, 0, end, stride), 3, 0, end, stride)
		x = l.Pad(x, []int{0, 0, 0, 0, more, more}, "constant", 0)
	}
	return l.Relu("relu", add(l, y, x))
}

// end of a slice that goes to the last element.
const end = 1<<31 - 1
