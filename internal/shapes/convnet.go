package shapes

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// convnet builds convolutional networks with normalized layers. energy is the mean square of the newest activations, which the
// stored variances of BatchNormalization are drawn around, so that activations keep their scale as in a trained network.
type convnet struct {
	*builder
	energy float64
}

func newConvnet(name string, seed uint64, side int) (*convnet, *graph.Value) {
	c := &convnet{builder: newBuilder(name, seed), energy: 1}
	return c, c.Input("images", graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Known(3), graph.Known(side), graph.Known(side)))
}

// conv is a convolution without bias, padded so that stride 1 keeps the size, with its BatchNormalization.
func (c *convnet) conv(name string, x *graph.Value, in, out, kernel, stride, group int) *graph.Value {
	k, s, p := int64(kernel), int64(stride), int64(kernel/2)
	fanIn := in / group * kernel * kernel
	y := c.node(name, "Conv", attrs{"kernel_shape": []int64{k, k}, "strides": []int64{s, s}, "pads": []int64{p, p, p, p}, "group": int64(group)},
		x, c.normal(name+".weight", 0, he(fanIn), out, in/group, kernel, kernel))
	variance := 2 * c.energy
	norm := name + ".norm"
	y = c.node(norm, "BatchNormalization", nil, y, c.uniform(norm+".weight", 0.5, 1.5, out), c.normal(norm+".bias", 0, 0.1, out),
		c.normal(norm+".running_mean", 0, 0.1, out), c.uniform(norm+".running_var", 0.8*variance, 1.25*variance, out))
	c.energy = 13.0 / 12 // the mean square of the scales
	return y
}

func (c *convnet) relu(name string, x *graph.Value) *graph.Value {
	c.energy /= 2
	return c.node(name, "Relu", nil, x)
}

// classify averages over the image and ends in a linear layer with the output "logits".
func (c *convnet) classify(x *graph.Value, features, classes int) (*graph.Graph, error) {
	x = c.node("pool", "GlobalAveragePool", nil, x)
	x = c.node("flatten", "Flatten", attrs{"axis": int64(1)}, x)
	x = c.node("classifier", "Gemm", attrs{"transB": int64(1)}, x, c.normal("classifier.weight", 0, he(features), classes, features), c.normal("classifier.bias", 0, 0.1, classes))
	c.Output("logits", x)
	return c.Builder.Graph()
}

// ResNet is the size of a residual network (He et al., "Deep Residual Learning for Image Recognition", 2015) for images
// [batch, 3, side, side]; strides of bottlenecks lie in their 3x3 convolution, as frameworks have it.
type ResNet struct {
	Blocks     [4]int
	Bottleneck bool
	Width      int // channels of the first stage; 64 in the paper
	Classes    int
	Side       int
	Seed       uint64
}

// ResNet18 has 11,689,512 trained parameters.
func ResNet18() ResNet {
	return ResNet{Blocks: [4]int{2, 2, 2, 2}, Width: 64, Classes: 1000, Side: 224, Seed: 1}
}

// ResNet50 has 25,557,032 trained parameters.
func ResNet50() ResNet {
	return ResNet{Blocks: [4]int{3, 4, 6, 3}, Bottleneck: true, Width: 64, Classes: 1000, Side: 224, Seed: 1}
}

// Graph builds the network: input images, output logits [batch, classes].
func (r ResNet) Graph() (*graph.Graph, error) {
	err := check("ResNet", map[string]int{
		"blocks": min(r.Blocks[0], r.Blocks[1], r.Blocks[2], r.Blocks[3]), "width": r.Width, "classes": r.Classes, "side": r.Side,
	})
	if err != nil {
		return nil, err
	}
	c, x := newConvnet("resnet", r.Seed, r.Side)
	x = c.relu("stem.relu", c.conv("stem", x, 3, r.Width, 7, 2, 1))
	x = c.node("stem.pool", "MaxPool", attrs{"kernel_shape": []int64{3, 3}, "strides": []int64{2, 2}, "pads": []int64{1, 1, 1, 1}}, x)
	c.energy *= 2 // the largest of nine
	channels := r.Width
	for stage, blocks := range r.Blocks {
		width := r.Width << stage
		for i := range blocks {
			stride := 1
			if i == 0 && stage > 0 {
				stride = 2
			}
			c.Scope(fmt.Sprintf("layer%d.%d", stage+1, i), func() { x, channels = r.block(c, x, channels, width, stride) })
		}
	}
	return c.classify(x, channels, r.Classes)
}

func (r ResNet) block(c *convnet, x *graph.Value, in, width, stride int) (*graph.Value, int) {
	before, out := c.energy, width
	var y *graph.Value
	if r.Bottleneck {
		out = 4 * width
		y = c.relu("relu1", c.conv("conv1", x, in, width, 1, 1, 1))
		y = c.relu("relu2", c.conv("conv2", y, width, width, 3, stride, 1))
		y = c.conv("conv3", y, width, out, 1, 1, 1)
	} else {
		y = c.relu("relu1", c.conv("conv1", x, in, width, 3, stride, 1))
		y = c.conv("conv2", y, width, width, 3, 1, 1)
	}
	added := c.energy
	c.energy = before
	if stride != 1 || in != out {
		x = c.conv("shortcut", x, in, out, 1, stride, 1)
	}
	c.energy += added
	return c.relu("relu", c.node("sum", "Add", nil, y, x)), out
}

// MobileNetV2 is the size of a network of inverted residuals with depthwise convolutions (Sandler et al., "MobileNetV2", 2018)
// for images [batch, 3, side, side].
type MobileNetV2 struct {
	Multiplier float64 // of all channel counts but the classes; 1 in the paper
	Classes    int
	Side       int
	Seed       uint64
}

// MobileNetV2Full has 3,504,872 trained parameters.
func MobileNetV2Full() MobileNetV2 {
	return MobileNetV2{Multiplier: 1, Classes: 1000, Side: 224, Seed: 1}
}

// inverted lists the stages of table 2 of the paper: expansion, channels, repetitions, first stride.
var inverted = [...][4]int{{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}

// Graph builds the network: input images, output logits [batch, classes].
func (m MobileNetV2) Graph() (*graph.Graph, error) {
	if !(m.Multiplier > 0 && m.Multiplier <= 16) {
		return nil, fmt.Errorf("MobileNetV2: multiplier is %v; want a number above 0, at most 16", m.Multiplier)
	}
	if err := check("MobileNetV2", map[string]int{"classes": m.Classes, "side": m.Side}); err != nil {
		return nil, err
	}
	c, x := newConvnet("mobilenet", m.Seed, m.Side)
	relu6 := func(name string, v *graph.Value) *graph.Value {
		c.energy /= 2
		return c.node(name, "Clip", nil, v, c.scalar(name+".min", 0), c.scalar(name+".max", 6))
	}
	channels := m.channels(32)
	x = relu6("stem.relu", c.conv("stem", x, 3, channels, 3, 2, 1))
	for stage, s := range inverted {
		expansion, out := s[0], m.channels(s[1])
		for i := range s[2] {
			stride := 1
			if i == 0 {
				stride = s[3]
			}
			c.Scope(fmt.Sprintf("features%d.%d", stage, i), func() {
				y, wide, before := x, channels*expansion, c.energy
				if expansion != 1 {
					y = relu6("expand.relu", c.conv("expand", y, channels, wide, 1, 1, 1))
				}
				y = relu6("depthwise.relu", c.conv("depthwise", y, wide, wide, 3, stride, wide))
				y = c.conv("project", y, wide, out, 1, 1, 1)
				if stride == 1 && channels == out {
					y = c.node("sum", "Add", nil, x, y)
					c.energy += before
				}
				x, channels = y, out
			})
		}
	}
	last := max(m.channels(1280), 1280) // narrow networks keep the last layer wide
	x = relu6("last.relu", c.conv("last", x, channels, last, 1, 1, 1))
	return c.classify(x, last, m.Classes)
}

// channels scales a channel count to a multiple of eight that is at most a tenth smaller than asked for.
func (m MobileNetV2) channels(n int) int {
	want := float64(n) * m.Multiplier
	c := max(8, int(want+4)/8*8)
	if float64(c) < 0.9*want {
		c += 8
	}
	return c
}
