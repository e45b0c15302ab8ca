package torchop

import (
	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
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
func (c *call) window() aten.Window {
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
	return aten.Window{Kernel: two("kernel_size"), Dilation: two("dilation"), Pad: two("padding"), Stride: two("stride")}
}

func im2col(c *call) any {
	x, w := c.tensor("self"), c.window()
	if c.bad {
		return nil
	}
	return Of(c.Unfold(x, w))
}

func col2im(c *call) any {
	x, w, size := c.tensor("self"), c.window(), c.sizes("output_size")
	if c.bad {
		return nil
	}
	return Of(c.Fold(x, c.sym.Vector(size), w))
}

// of gives the results of an operator as a tuple of tensors; those that are not made are absent under a name.
func of(values ...*graph.Value) Tuple {
	t := make(Tuple, len(values))
	for i, v := range values {
		t[i] = Of(v)
	}
	return t
}
