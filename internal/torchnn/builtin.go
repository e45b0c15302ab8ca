package torchnn

import (
	"maps"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/graph"
)

// builtin maps the classes of torch.nn, and those that wrap others, to what they compute.
var builtin = builtinClasses()

// builtinClasses joins the tables of this package, which name a class below torch.nn.modules.
func builtinClasses() map[string]Forward {
	all := table(wrappers)
	for name, f := range table(containers, linears, convs, norms, activations, pools, shapes, recurrents, transformers) {
		all[nnModules+name] = f
	}
	return all
}

func table(parts ...map[string]Forward) map[string]Forward {
	all := map[string]Forward{}
	for _, p := range parts {
		maps.Copy(all, p)
	}
	return all
}

// same is what a layer computes that does nothing in a network that is evaluated.
func same(_ *Layer, x *graph.Value) *graph.Value { return x }

// unary returns what an ONNX operator without attributes computes.
func unary(kind string) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value { return l.Node(kind, nil, x) }
}

var containers = map[string]Forward{
	"container.Sequential": sequential,
	"linear.Identity":      same,
	"dropout.Dropout":      same, "dropout.Dropout1d": same, "dropout.Dropout2d": same, "dropout.Dropout3d": same,
	"dropout.AlphaDropout": same, "dropout.FeatureAlphaDropout": same,
}

// wrappers hold a module that they apply.
var wrappers = map[string]Forward{
	"torch.nn.parallel.data_parallel.DataParallel":          inner("module"),
	"torch.nn.parallel.distributed.DistributedDataParallel": inner("module"),
	"torch._dynamo.eval_frame.OptimizedModule":              inner("_orig_mod"),
}

// sequential applies what it holds in order. Classes that derive from Sequential without a forward of their own are the same.
func sequential(l *Layer, x *graph.Value) *graph.Value { return l.Sequence(x, nil) }

// Sequential is [Forward] of a class that is a torch.nn.Sequential.
func Sequential(l *Layer, x *graph.Value) *graph.Value { return sequential(l, x) }

// inner applies the module that another wraps.
func inner(name string) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value { return l.Child(name).Apply(x) }
}

var linears = map[string]Forward{
	"linear.Linear": linear, "linear.NonDynamicallyQuantizableLinear": linear,
	"sparse.Embedding": func(l *Layer, x *graph.Value) *graph.Value {
		if l.attr("max_norm") != nil {
			return l.Fail("%s: an embedding with max_norm changes its weight when it is used", l.what())
		}
		return l.Embedding(l.need("weight"), x)
	},
	"sparse.EmbeddingBag": embeddingBag,
}

// embeddingBag is the sum, mean or maximum of the rows of each bag, given as [batch, size].
func embeddingBag(l *Layer, x *graph.Value) *graph.Value {
	if l.attr("max_norm") != nil || l.attr("padding_idx") != nil {
		return l.Fail("%s: max_norm and padding_idx of an EmbeddingBag", l.what())
	}
	kind := map[string]string{"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax"}[l.Text("mode", "mean")]
	if kind == "" {
		return l.Fail("%s: mode %q", l.what(), l.Text("mode", "mean"))
	}
	return l.Node(kind, aten.Attrs{"keepdims": 0}, l.Embedding(l.need("weight"), x), l.Net.Ints(1))
}

var convs = map[string]Forward{
	"conv.Conv1d": conv, "conv.Conv2d": conv, "conv.Conv3d": conv,
	"conv.ConvTranspose1d": convTranspose, "conv.ConvTranspose2d": convTranspose, "conv.ConvTranspose3d": convTranspose,
}

// convParams reads the attributes of a convolution.
func (l *Layer) convParams() aten.Conv {
	p := aten.Conv{Stride: l.Ints("stride", 3), Dilation: l.Ints("dilation", 3), Groups: l.Int("groups", 1), PadMode: l.Text("padding_mode", "zeros")}
	switch pad := l.attr("padding").(type) {
	case string:
		if p.Same = pad == "same"; !p.Same && pad != "valid" {
			l.errorf("%s: padding %q", l.what(), pad)
		}
	default:
		p.Pad = l.Ints("padding", 3)
	}
	return p
}

func conv(l *Layer, x *graph.Value) *graph.Value {
	return l.Net.Conv(x, l.need("weight"), l.Weight("bias"), l.convParams())
}

func convTranspose(l *Layer, x *graph.Value) *graph.Value {
	p := l.convParams()
	p.OutputPad = l.Ints("output_padding", 3)
	return l.ConvTranspose(x, l.need("weight"), l.Weight("bias"), p)
}

var norms = map[string]Forward{
	"batchnorm.BatchNorm1d": batchNorm, "batchnorm.BatchNorm2d": batchNorm, "batchnorm.BatchNorm3d": batchNorm, "batchnorm.SyncBatchNorm": batchNorm,
	"instancenorm.InstanceNorm1d": instanceNorm(2), "instancenorm.InstanceNorm2d": instanceNorm(3), "instancenorm.InstanceNorm3d": instanceNorm(4),
	"normalization.LayerNorm": LayerNorm,
	"normalization.GroupNorm": func(l *Layer, x *graph.Value) *graph.Value {
		return l.GroupNorm(x, l.Weight("weight"), l.Weight("bias"), l.Int("num_groups", 1), l.Int("num_channels", 0), l.Number("eps", 1e-5))
	},
	"normalization.RMSNorm": func(l *Layer, x *graph.Value) *graph.Value {
		return l.RMSNorm(x, l.Weight("weight"), l.Ints("normalized_shape", 8), l.Number("eps", float32Eps))
	},
	"normalization.LocalResponseNorm": localResponse,
}

// float32Eps is torch.finfo(torch.float32).eps, which RMSNorm takes where it is given no eps.
const float32Eps = 1.1920928955078125e-07

func batchNorm(l *Layer, x *graph.Value) *graph.Value {
	return l.Net.BatchNorm(x, l.Weight("weight"), l.Weight("bias"), l.Weight("running_mean"), l.Weight("running_var"), l.Number("eps", 1e-5))
}

// instanceNorm normalizes each image by itself, or by stored statistics where it has them. rank counts the dimensions without
// the batch.
func instanceNorm(rank int) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		single := l.Rank(x) == rank
		if single {
			x = l.Unsqueeze(x, 0)
		}
		if l.Bool("track_running_stats", false) {
			x = batchNorm(l, x)
		} else {
			x = l.InstanceNorm(x, l.Weight("weight"), l.Weight("bias"), l.Int("num_features", 0), l.Number("eps", 1e-5))
		}
		if single {
			x = l.Squeeze(x, 0)
		}
		return x
	}
}

// LayerNorm is torch.nn.LayerNorm.
func LayerNorm(l *Layer, x *graph.Value) *graph.Value {
	shape := l.Ints("normalized_shape", 8)
	if len(shape) == 0 {
		return l.Fail("%s: normalized_shape is missing", l.what())
	}
	return l.Net.LayerNorm(x, l.Weight("weight"), l.Weight("bias"), shape, l.Number("eps", 1e-5))
}

func localResponse(l *Layer, x *graph.Value) *graph.Value {
	return l.LocalResponseNorm(x, l.Int("size", 5), l.Number("alpha", 1e-4), l.Number("beta", 0.75), l.Number("k", 1))
}

var activations = map[string]Forward{
	"activation.ReLU": unary("Relu"), "activation.Sigmoid": unary("Sigmoid"), "activation.Tanh": unary("Tanh"), "activation.Softsign": unary("Softsign"),
	"activation.SELU": unary("Selu"), "activation.Mish": unary("Mish"),
	"activation.ReLU6": func(l *Layer, x *graph.Value) *graph.Value { return l.Clamp(x, 0, 6) },
	"activation.Hardtanh": func(l *Layer, x *graph.Value) *graph.Value {
		return l.Clamp(x, l.Number("min_val", -1), l.Number("max_val", 1))
	},
	"activation.LeakyReLU": func(l *Layer, x *graph.Value) *graph.Value { return l.LeakyRelu(x, l.Number("negative_slope", 0.01)) },
	"activation.RReLU": func(l *Layer, x *graph.Value) *graph.Value {
		return l.LeakyRelu(x, (l.Number("lower", 1.0/8)+l.Number("upper", 1.0/3))/2)
	},
	"activation.ELU":  func(l *Layer, x *graph.Value) *graph.Value { return l.Elu(x, l.Number("alpha", 1)) },
	"activation.CELU": func(l *Layer, x *graph.Value) *graph.Value { return l.Celu(x, l.Number("alpha", 1)) },
	"activation.GELU": func(l *Layer, x *graph.Value) *graph.Value { return l.Gelu(x, l.Text("approximate", "none")) },
	"activation.SiLU": func(l *Layer, x *graph.Value) *graph.Value { return l.Silu(x) },
	"activation.Softplus": func(l *Layer, x *graph.Value) *graph.Value {
		return l.Softplus(x, l.Number("beta", 1), l.Number("threshold", 20))
	},
	"activation.Hardswish":   func(l *Layer, x *graph.Value) *graph.Value { return l.Hardswish(x) },
	"activation.Hardsigmoid": func(l *Layer, x *graph.Value) *graph.Value { return l.Hardsigmoid(x) },
	"activation.Hardshrink":  func(l *Layer, x *graph.Value) *graph.Value { return l.Hardshrink(x, l.Number("lambd", 0.5)) },
	"activation.Softshrink":  func(l *Layer, x *graph.Value) *graph.Value { return l.Softshrink(x, l.Number("lambd", 0.5)) },
	"activation.Tanhshrink":  func(l *Layer, x *graph.Value) *graph.Value { return l.Tanhshrink(x) },
	"activation.LogSigmoid":  func(l *Layer, x *graph.Value) *graph.Value { return l.LogSigmoid(x) },
	"activation.PReLU":       func(l *Layer, x *graph.Value) *graph.Value { return l.PRelu(x, l.need("weight")) },
	"activation.Threshold": func(l *Layer, x *graph.Value) *graph.Value {
		return l.Net.Threshold(x, l.Number("threshold", 0), l.Number("value", 0))
	},
	"activation.GLU":        func(l *Layer, x *graph.Value) *graph.Value { return l.Glu(x, l.Int("dim", -1)) },
	"activation.Softmax":    func(l *Layer, x *graph.Value) *graph.Value { return l.Net.Softmax(x, l.softmaxAxis(x)) },
	"activation.LogSoftmax": func(l *Layer, x *graph.Value) *graph.Value { return l.Net.LogSoftmax(x, l.softmaxAxis(x)) },
	"activation.Softmin": func(l *Layer, x *graph.Value) *graph.Value {
		return l.Net.Softmax(l.Node("Neg", nil, x), l.softmaxAxis(x))
	},
	"activation.Softmax2d": func(l *Layer, x *graph.Value) *graph.Value { return l.Net.Softmax(x, -3) },
}

// softmaxAxis is the axis of a softmax; one without takes the first of scalars, vectors and 3 dimensions, and else the second.
func (l *Layer) softmaxAxis(x *graph.Value) int {
	if l.attr("dim") != nil {
		return l.Int("dim", -1)
	}
	if r := l.Rank(x); r == 0 || r == 1 || r == 3 {
		return 0
	}
	return 1
}

var pools = map[string]Forward{
	"pooling.MaxPool1d": maxPool(1), "pooling.MaxPool2d": maxPool(2), "pooling.MaxPool3d": maxPool(3),
	"pooling.AvgPool1d": avgPool(1), "pooling.AvgPool2d": avgPool(2), "pooling.AvgPool3d": avgPool(3),
	"pooling.AdaptiveAvgPool1d": adaptive((*aten.Builder).AdaptiveAvgPool, 1), "pooling.AdaptiveAvgPool2d": adaptive((*aten.Builder).AdaptiveAvgPool, 2), "pooling.AdaptiveAvgPool3d": adaptive((*aten.Builder).AdaptiveAvgPool, 3),
	"pooling.AdaptiveMaxPool1d": adaptive((*aten.Builder).AdaptiveMaxPool, 1), "pooling.AdaptiveMaxPool2d": adaptive((*aten.Builder).AdaptiveMaxPool, 2), "pooling.AdaptiveMaxPool3d": adaptive((*aten.Builder).AdaptiveMaxPool, 3),
	"pooling.LPPool1d": lpPool(1), "pooling.LPPool2d": lpPool(2), "pooling.LPPool3d": lpPool(3),
}

func (l *Layer) pool() aten.Pool {
	return aten.Pool{
		Kernel: l.Ints("kernel_size", 3), Stride: l.Ints("stride", 3), Pad: l.Ints("padding", 3), Dilation: l.Ints("dilation", 3),
		Ceil: l.Bool("ceil_mode", false),
	}
}

func maxPool(axes int) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		if l.Bool("return_indices", false) {
			return l.Fail("%s: return_indices", l.what())
		}
		return l.Net.MaxPool(x, axes, l.pool())
	}
}

func avgPool(axes int) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		p := l.pool()
		p.ExcludePad = !l.Bool("count_include_pad", true)
		p.Divisor = l.Int("divisor_override", 0)
		return l.Net.AvgPool(x, axes, p)
	}
}

func lpPool(axes int) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		norm := l.Number("norm_type", 2)
		if norm != math.Trunc(norm) || norm < 1 || norm > 16 {
			return l.Fail("%s: norm_type %v; want a whole number from 1 to 16", l.what(), norm)
		}
		return l.LPPool(x, axes, int(norm), l.pool())
	}
}

func adaptive(f func(*aten.Builder, *graph.Value, []int) *graph.Value, axes int) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		if l.Bool("return_indices", false) {
			return l.Fail("%s: return_indices", l.what())
		}
		size := l.Ints("output_size", 3)
		if len(size) == 1 {
			size = slices.Repeat(size, axes)
		}
		if len(size) != axes || slices.ContainsFunc(size, func(n int) bool { return n == 0 }) {
			return l.Fail("%s: output_size %v", l.what(), size)
		}
		return f(l.Builder, x, size)
	}
}

var shapes = map[string]Forward{
	"flatten.Flatten": func(l *Layer, x *graph.Value) *graph.Value {
		return l.Flatten(x, l.Int("start_dim", 1), l.Int("end_dim", -1))
	},
	"flatten.Unflatten": func(l *Layer, x *graph.Value) *graph.Value {
		return l.Unflatten(x, l.Int("dim", 0), l.Ints("unflattened_size", 8))
	},
	"pixelshuffle.PixelShuffle": func(l *Layer, x *graph.Value) *graph.Value { return l.PixelShuffle(x, l.Int("upscale_factor", 1)) },
	"pixelshuffle.PixelUnshuffle": func(l *Layer, x *graph.Value) *graph.Value {
		return l.PixelUnshuffle(x, l.Int("downscale_factor", 1))
	},
	"channelshuffle.ChannelShuffle": func(l *Layer, x *graph.Value) *graph.Value { return l.ChannelShuffle(x, l.Int("groups", 1)) },
	"fold.Unfold":                   func(l *Layer, x *graph.Value) *graph.Value { return l.Unfold(x, l.window()) },
	"fold.Fold": func(l *Layer, x *graph.Value) *graph.Value {
		size, w := l.pair("output_size"), l.window()
		return l.Fold(x, l.Net.Ints(size...), w)
	},
	"padding.ZeroPad1d": pad("constant", 1), "padding.ZeroPad2d": pad("constant", 2), "padding.ZeroPad3d": pad("constant", 3),
	"padding.ConstantPad1d": pad("constant", 1), "padding.ConstantPad2d": pad("constant", 2), "padding.ConstantPad3d": pad("constant", 3),
	"padding.ReflectionPad1d": pad("reflect", 1), "padding.ReflectionPad2d": pad("reflect", 2), "padding.ReflectionPad3d": pad("reflect", 3),
	"padding.ReplicationPad1d": pad("replicate", 1), "padding.ReplicationPad2d": pad("replicate", 2), "padding.ReplicationPad3d": pad("replicate", 3),
	"padding.CircularPad1d": pad("circular", 1), "padding.CircularPad2d": pad("circular", 2), "padding.CircularPad3d": pad("circular", 3),
	"upsampling.Upsample": upsample, "upsampling.UpsamplingNearest2d": upsample, "upsampling.UpsamplingBilinear2d": upsample,
}

// pair returns an attribute of one or two whole numbers as two.
func (l *Layer) pair(name string) []int {
	v := l.Ints(name, 2)
	switch len(v) {
	case 1:
		return []int{v[0], v[0]}
	case 2:
		return v
	}
	l.wrong(name, l.attr(name), "two whole numbers")
	return []int{1, 1}
}

// window reads the attributes of what slides over images.
func (l *Layer) window() aten.Window {
	return aten.Window{Kernel: l.pair("kernel_size"), Dilation: l.pair("dilation"), Pad: l.pair("padding"), Stride: l.pair("stride")}
}

func pad(mode string, axes int) Forward {
	return func(l *Layer, x *graph.Value) *graph.Value {
		around := l.Ints("padding", 6)
		if len(around) == 1 {
			around = slices.Repeat(around, 2*axes)
		}
		return l.Pad(x, around, mode, l.Number("value", 0))
	}
}

func upsample(l *Layer, x *graph.Value) *graph.Value {
	p := aten.Interpolate{Mode: l.Text("mode", "nearest"), Size: l.Ints("size", 3), AlignCorners: l.Bool("align_corners", false)}
	switch s := l.attr("scale_factor").(type) {
	case nil:
	case float64, int64:
		p.Scale = []float64{l.Number("scale_factor", 1)}
	default:
		items, ok := pickle.Items(s)
		if !ok {
			l.wrong("scale_factor", s, "a number or several")
		}
		for _, v := range items {
			f, ok := v.(float64)
			if n, whole := v.(int64); whole {
				f, ok = float64(n), true
			}
			if !ok {
				l.wrong("scale_factor", s, "numbers")
			}
			p.Scale = append(p.Scale, f)
		}
	}
	return l.Interpolate(x, p)
}
