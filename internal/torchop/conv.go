package torchop

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// convOps are the convolutions.
var convOps = table{
	"conv1d":            {"input weight bias=None stride=1 padding=0 dilation=1 groups=1", conv},
	"conv2d":            {"input weight bias=None stride=1 padding=0 dilation=1 groups=1", conv},
	"conv3d":            {"input weight bias=None stride=1 padding=0 dilation=1 groups=1", conv},
	"_convolution":      {"input weight bias stride padding dilation transposed output_padding groups benchmark=None deterministic=None cudnn_enabled=None allow_tf32=None", convolution},
	"convolution":       {"input weight bias stride padding dilation transposed output_padding groups", convolution},
	"_convolution_mode": {"input weight bias stride padding dilation groups", conv},
	"conv_transpose1d":  {"input weight bias=None stride=1 padding=0 output_padding=0 groups=1 dilation=1", convTranspose},
	"conv_transpose2d":  {"input weight bias=None stride=1 padding=0 output_padding=0 groups=1 dilation=1", convTranspose},
	"conv_transpose3d":  {"input weight bias=None stride=1 padding=0 output_padding=0 groups=1 dilation=1", convTranspose},
	"im2col":            {"self kernel_size dilation padding stride", im2col},
	"col2im":            {"self output_size kernel_size dilation padding stride", col2im},
}

func (c *call) conv() aten.Conv {
	p := aten.Conv{Stride: c.ints("stride"), Dilation: c.ints("dilation"), Groups: c.known("groups")}
	switch mode, is := c.args["padding"].(string); {
	case is && mode == "same":
		p.Same = true
	case is && mode == "valid":
	default:
		p.Pad = c.ints("padding")
	}
	return p
}

func conv(c *call) any {
	x, w, bias := c.tensor("input"), c.tensor("weight"), c.optional("bias")
	p := c.conv()
	if c.bad {
		return nil
	}
	return Of(c.Conv(x, w, bias, p))
}

func convTranspose(c *call) any {
	x, w, bias := c.tensor("input"), c.tensor("weight"), c.optional("bias")
	p := c.conv()
	p.OutputPad = c.ints("output_padding")
	if c.bad {
		return nil
	}
	return Of(c.ConvTranspose(x, w, bias, p))
}

func convolution(c *call) any {
	if c.bool("transposed") {
		return convTranspose(c)
	}
	return conv(c)
}

// window reads the arguments of an operator that slides over two axes.
func (c *call) window() (kernel, dilation, pad, stride []int) {
	two := func(name string) []int {
		v := c.ints(name)
		if len(v) == 1 {
			v = append(v, v[0])
		}
		if len(v) != 2 && !c.bad {
			c.fail(name, "two whole numbers")
		}
		return v
	}
	return two("kernel_size"), two("dilation"), two("padding"), two("stride")
}

// im2col lays the windows of an image out as columns: a convolution whose kernels each take one element of the window.
func im2col(c *call) any {
	x := c.tensor("self")
	kernel, dilation, pad, stride := c.window()
	if c.bad {
		return nil
	}
	if c.Rank(x) == 3 {
		x = c.Unsqueeze(x, 0)
	}
	channels, ok := c.sym.Size(x, 1).Const()
	if !ok {
		return c.failf("the number of channels is not known")
	}
	n := kernel[0] * kernel[1]
	if channels < 1 || n < 1 || int(channels)*n > 1<<14 {
		return c.failf("windows of %v of %d channels", kernel, channels)
	}
	one := tensor.New(tensor.Float32, int(channels)*n, 1, kernel[0], kernel[1])
	for i := range int(channels) * n {
		tensor.Data[float32](one)[i*n+i%n] = 1
	}
	y := c.Conv(x, c.cast(c.Param("windows", one), x.Type.DType), nil, aten.Conv{Stride: stride, Pad: pad, Dilation: dilation, Groups: int(channels)})
	y = c.Flatten(y, 2, -1)
	if t := c.cell("self"); c.Rank(c.Of(t)) == 3 {
		y = c.Squeeze(y, 0)
	}
	return Of(y)
}

func col2im(c *call) any {
	x := c.tensor("self")
	kernel, dilation, pad, stride := c.window()
	size := c.sizes("output_size")
	if c.bad {
		return nil
	}
	single := c.Rank(x) == 2
	if single {
		x = c.Unsqueeze(x, 0)
	}
	y := c.Node("Col2Im", aten.Attrs{"dilations": dilation, "pads": append(pad, pad...), "strides": stride}, x, c.sym.Vector(size), c.Ints(kernel...))
	if single {
		y = c.Squeeze(y, 0)
	}
	return Of(y)
}

// of2 gives the results of an operator as a tuple of tensors; those that are not made are absent under a name.
func of(values ...*graph.Value) Tuple {
	t := make(Tuple, len(values))
	for i, v := range values {
		t[i] = Of(v)
	}
	return t
}
