package vision

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
	"github.com/neurotrain/neuroquant/tensor"
)

// googLeNet is the network of Szegedy et al. ("Going Deeper with Convolutions", 2014), without its auxiliary classifiers, which
// serve to train it.
var googLeNet = Arch{
	Name: "googlenet", Stem: "conv1.conv", Side: 224,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("inception3a.branch1.conv") > 0 && l.Rows("inception5b.branch4.1.conv") > 0 && l.Rows("fc") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value { return googLeNetForward(l, x) },
}

var googLeNetClasses = map[string]torchnn.Forward{
	"models.googlenet.GoogLeNet": googLeNetForward,
	"models.googlenet.Inception": inceptionBlock,
	// Auxiliary classifiers take part in training alone.
	"models.googlenet.InceptionAux": auxiliary, "models.inception.InceptionAux": auxiliary,
	"models.googlenet.BasicConv2d": func(l *torchnn.Layer, x *graph.Value) *graph.Value { return basicConv(l, x, aten.Conv{}) },
}

func auxiliary(l *torchnn.Layer, _ *graph.Value) *graph.Value {
	return l.Fail("%s: an auxiliary classifier takes part in training alone", l.Path)
}

// basicConv is a convolution with normalization and activation.
func basicConv(l *torchnn.Layer, x *graph.Value, p aten.Conv) *graph.Value {
	return l.Net.Relu(l.BatchNorm("bn", l.Conv("conv", x, p), 1e-3))
}

// basic is [basicConv] of a layer below l.
func basic(l *torchnn.Layer, name string, x *graph.Value, p aten.Conv) *graph.Value {
	return l.Or(name, x, func(l *torchnn.Layer, x *graph.Value) *graph.Value { return basicConv(l, x, p) })
}

// whitened turns images that are normalized as ImageNet's are into what the networks that were trained elsewhere take.
func whitened(l *torchnn.Layer, x *graph.Value) *graph.Value {
	if !l.Bool("transform_input", false) {
		return x
	}
	scale := l.Param("scale", tensor.Of(tensor.Shape{1, 3, 1, 1}, []float32{0.229 / 0.5, 0.224 / 0.5, 0.225 / 0.5}))
	shift := l.Param("shift", tensor.Of(tensor.Shape{1, 3, 1, 1}, []float32{(0.485 - 0.5) / 0.5, (0.456 - 0.5) / 0.5, (0.406 - 0.5) / 0.5}))
	return l.Node("Add", nil, l.Node("Mul", nil, x, scale), shift)
}

func googLeNetForward(l *torchnn.Layer, x *graph.Value) *graph.Value {
	pooled := func(name string, kernel int, x *graph.Value) *graph.Value {
		return l.MaxPool(name, x, aten.Pool{Kernel: []int{kernel}, Stride: []int{2}, Ceil: true})
	}
	x = pooled("maxpool1", 3, basic(l, "conv1", whitened(l, x), conv(2, 3)))
	x = pooled("maxpool2", 3, basic(l, "conv3", basic(l, "conv2", x, conv(1, 0)), conv(1, 1)))
	blocks := func(names ...string) {
		for _, n := range names {
			x = l.Or("inception"+n, x, inceptionBlock)
		}
	}
	blocks("3a", "3b")
	x = pooled("maxpool3", 3, x)
	blocks("4a", "4b", "4c", "4d", "4e")
	x = pooled("maxpool4", 2, x)
	blocks("5a", "5b")
	return classify(l, x, "fc")
}

func inceptionBlock(l *torchnn.Layer, x *graph.Value) *graph.Value {
	two := func(l *torchnn.Layer, x *graph.Value) *graph.Value {
		return basic(l, "1", basic(l, "0", x, conv(1, 0)), conv(1, 1))
	}
	return l.Concat(1,
		basic(l, "branch1", x, conv(1, 0)),
		l.Or("branch2", x, two),
		l.Or("branch3", x, two),
		l.Or("branch4", x, func(l *torchnn.Layer, x *graph.Value) *graph.Value {
			return basic(l, "1", l.MaxPool("0", x, aten.Pool{Kernel: []int{3}, Stride: []int{1}, Pad: []int{1}, Ceil: true}), conv(1, 0))
		}))
}

// inception is version 3 of the network of Szegedy et al. ("Rethinking the Inception Architecture", 2015), without its
// auxiliary classifier.
var inception = Arch{
	Name: "inception", Names: []string{"inception_v3"}, Stem: "Conv2d_1a_3x3.conv", Side: 299,
	Match: func(l *torchnn.Layer) bool {
		return l.Rows("Mixed_5b.branch1x1.conv") > 0 && l.Rows("Mixed_7c.branch_pool.conv") > 0 && l.Rows("fc") > 0
	},
	Build: func(l *torchnn.Layer, x *graph.Value, _ string) *graph.Value { return inceptionForward(l, x) },
}

var inceptionClasses = map[string]torchnn.Forward{
	"models.inception.Inception3":  inceptionForward,
	"models.inception.BasicConv2d": func(l *torchnn.Layer, x *graph.Value) *graph.Value { return basicConv(l, x, aten.Conv{}) },
	"models.inception.InceptionA":  mixed, "models.inception.InceptionB": mixed, "models.inception.InceptionC": mixed,
	"models.inception.InceptionD": mixed, "models.inception.InceptionE": mixed,
}

func inceptionForward(l *torchnn.Layer, x *graph.Value) *graph.Value {
	x = basic(l, "Conv2d_1a_3x3", whitened(l, x), conv(2, 0))
	x = basic(l, "Conv2d_2b_3x3", basic(l, "Conv2d_2a_3x3", x, conv(1, 0)), conv(1, 1))
	x = l.MaxPool("maxpool1", x, pool(3, 2, 0))
	x = basic(l, "Conv2d_4a_3x3", basic(l, "Conv2d_3b_1x1", x, conv(1, 0)), conv(1, 0))
	x = l.MaxPool("maxpool2", x, pool(3, 2, 0))
	for _, name := range []string{"5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"} {
		x = l.Or("Mixed_"+name, x, mixed)
	}
	return classify(l, x, "fc")
}

// chains are the branches of the blocks of Inception v3, by the names of their convolutions: a block has those of which it has
// the first. Where it has convolutions "a" and "b" of a name instead of one, they are side by side.
var chains = [][]string{
	{"branch1x1"},
	{"branch5x5_1", "branch5x5_2"},
	{"branch7x7_1", "branch7x7_2", "branch7x7_3"},
	{"branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"},
	{"branch3x3"},
	{"branch3x3_1", "branch3x3_2"},
	{"branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"},
	{"branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"},
}

// mixed is any of the blocks: branches side by side. A block that makes the image smaller has no branch_pool: it ends its
// branches in convolutions of stride 2 without pads, and takes the largest of its input beside them.
func mixed(l *torchnn.Layer, x *graph.Value) *graph.Value {
	smaller := !l.Has("branch_pool")
	var all []*graph.Value
	for _, chain := range chains {
		if !l.Has(chain[0]) {
			continue
		}
		y := x
		for i, name := range chain {
			if l.Has(name + "a") {
				y = l.Concat(1, step(l, name+"a", y, false), step(l, name+"b", y, false))
				continue
			}
			y = step(l, name, y, smaller && i == len(chain)-1)
		}
		all = append(all, y)
	}
	if smaller {
		all = append(all, l.Net.MaxPool(x, 2, pool(3, 2, 0)))
	} else {
		all = append(all, basic(l, "branch_pool", l.Net.AvgPool(x, 2, pool(3, 1, 1)), conv(1, 0)))
	}
	return l.Concat(1, all...)
}

// step is a convolution of a branch: one of stride 2 without pads, or one that keeps the size.
func step(l *torchnn.Layer, name string, x *graph.Value, smaller bool) *graph.Value {
	p := conv(2, 0)
	if t := l.At(name + ".conv").Tensor("weight"); !smaller && t != nil && len(t.Shape()) == 4 {
		p = aten.Conv{Pad: []int{t.Shape()[2] / 2, t.Shape()[3] / 2}}
	}
	return basic(l, name, x, p)
}
