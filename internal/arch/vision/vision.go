// Package vision knows image classifiers: those of torchvision, whole modules and state dicts, and a few that are met as state
// dicts only. One file holds one family: what it is built of, and how its weights give it away.
package vision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/torchnn"
)

// Arch is a family of networks whose state dicts are told by their names and shapes.
type Arch struct {
	Name string
	// Names are the members of the family by the names that torchvision has for them, as far as they differ by more than what
	// the weights say; a name ends in * where it stands for all that begin so.
	Names []string
	// Match reports whether a state dict is one of the family.
	Match func(l *torchnn.Layer) bool
	// Build records the network. The member is the name that a caller gave, or the family's.
	Build func(l *torchnn.Layer, x *graph.Value, member string) *graph.Value
	// Stem is the path of the convolution that takes the image, which says how many channels that has.
	Stem string
	// Side is the usual size of the images.
	Side int
	// Fixed says that the network takes images of one size only.
	Fixed bool
}

// Archs lists the families in the order in which they are tried.
var Archs = []*Arch{
	&cifarResNet, &resNet, &alexNet, &vgg, &squeezeNet, &denseNet, &googLeNet, &inception, &shuffleNet,
	&mobileNetV2, &mobileNetV3, &mnasNet, &efficientNet, &regNet, &convNeXt, &vit, &swin, &digits, &leNet, &mlp,
}

// Classes maps the classes of torchvision to what they compute.
var Classes = join(
	common, alexNetClasses, vggClasses, resNetClasses, squeezeNetClasses, denseNetClasses, googLeNetClasses, inceptionClasses, shuffleNetClasses,
	mobileNetV2Classes, mobileNetV3Classes, mnasNetClasses, efficientNetClasses, regNetClasses, convNeXtClasses, vitClasses, swinClasses,
)

func join(parts ...map[string]torchnn.Forward) map[string]torchnn.Forward {
	all := map[string]torchnn.Forward{}
	for _, p := range parts {
		for name, f := range p {
			all["torchvision."+name] = f
		}
	}
	return all
}

// Find returns the family that a state dict is of by its names and shapes, or nil.
func Find(l *torchnn.Layer) *Arch {
	for _, a := range Archs {
		if a.Match(l) {
			return a
		}
	}
	return nil
}

// ByName returns the family of a name: its own or that of a member.
func ByName(name string) (*Arch, error) {
	for _, a := range Archs {
		if a.Name == name {
			return a, nil
		}
		for _, m := range a.Names {
			if prefix, all := strings.CutSuffix(m, "*"); m == name || all && strings.HasPrefix(name, prefix) {
				return a, nil
			}
		}
	}
	var names []string
	for _, a := range Archs {
		names = append(names, a.Name)
	}
	return nil, fmt.Errorf("unknown architecture %q; known are %s, and what torchvision names its members", name, strings.Join(names, ", "))
}

// SideOf returns the usual size of the images of a whole module of torchvision by its class; 0 where it is not known.
func SideOf(m string) (side int, fixed bool) {
	switch {
	case m == "torchvision.models.inception.Inception3":
		return inception.Side, false
	case strings.HasPrefix(m, "torchvision.models.vision_transformer."):
		return vit.Side, true
	case slices.Contains(slices.Collect(maps.Keys(Classes)), m):
		return 224, false
	}
	return 0, false
}

// common are the classes that several families are built of.
var common = map[string]torchnn.Forward{
	"ops.misc.ConvNormActivation": torchnn.Sequential, "ops.misc.Conv2dNormActivation": torchnn.Sequential, "ops.misc.Conv3dNormActivation": torchnn.Sequential,
	"ops.misc.MLP": torchnn.Sequential, "ops.stochastic_depth.StochasticDepth": same,
	"ops.misc.SqueezeExcitation": squeezeExcite, "models.mobilenetv3.SqueezeExcitation": squeezeExcite,
	"ops.misc.FrozenBatchNorm2d": frozenBatchNorm,
	"ops.misc.Permute":           permute,
}

func same(_ *torchnn.Layer, x *graph.Value) *graph.Value { return x }

// squeezeExcite scales channels by a factor computed from their means (Hu et al., "Squeeze-and-Excitation Networks", 2017).
// Before torchvision 0.11 its two activations were functions.
func squeezeExcite(l *torchnn.Layer, x *graph.Value) *graph.Value {
	outer := l.Hardsigmoid
	if l.Module != nil && l.Module.Class == "torchvision.ops.misc.SqueezeExcitation" {
		outer = func(x *graph.Value) *graph.Value { return l.Node("Sigmoid", nil, x) }
	}
	name := "activation"
	if l.Has("relu") {
		name = "relu"
	}
	return excite(l, x, name, l.Net.Relu, outer)
}

// excite is [squeezeExcite] with the activations of a state dict.
func excite(l *torchnn.Layer, x *graph.Value, name string, inner, outer func(*graph.Value) *graph.Value) *graph.Value {
	s := l.AvgPool("avgpool", x, 1)
	s = fn(l, name, l.Conv("fc1", s, conv(1, 0)), inner)
	s = fn(l, "scale_activation", l.Conv("fc2", s, conv(1, 0)), outer)
	return l.Node("Mul", nil, s, x)
}

// fn is a layer that is a function where it is not said to be something else.
func fn(l *torchnn.Layer, name string, x *graph.Value, f func(*graph.Value) *graph.Value) *graph.Value {
	return l.Or(name, x, func(_ *torchnn.Layer, x *graph.Value) *graph.Value { return f(x) })
}

// frozenBatchNorm is a batch normalization whose weights are all buffers.
func frozenBatchNorm(l *torchnn.Layer, x *graph.Value) *graph.Value {
	return l.Net.BatchNorm(x, l.Weight("weight"), l.Weight("bias"), l.Weight("running_mean"), l.Weight("running_var"), l.Number("eps", 1e-5))
}

func permute(l *torchnn.Layer, x *graph.Value) *graph.Value {
	return l.Permute(x, l.Ints("dims", 8)...)
}

// classify is how most of the networks end: the mean over the image and a linear layer.
func classify(l *torchnn.Layer, x *graph.Value, fc string) *graph.Value {
	return l.Linear(fc, l.Flatten(l.AvgPool("avgpool", x, 1), 1, -1))
}

// add is the sum of a block and its shortcut.
func add(l *torchnn.Layer, x, y *graph.Value) *graph.Value { return l.Node("Add", nil, x, y) }
