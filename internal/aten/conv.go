package aten

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Conv are the parameters of a convolution. Nil lists mean ones, and zeros for pads; a list of one stands for all axes.
type Conv struct {
	Stride, Pad, Dilation []int
	Groups                int    // 0: 1
	Same                  bool   // pads that keep the size, the odd one at the end
	PadMode               string // "" or "zeros", "reflect", "replicate", "circular"
	OutputPad             []int  // of a transposed convolution
}

// each returns a value for each of n axes.
func each(v []int, n, missing int) []int {
	switch len(v) {
	case n:
		return slices.Clone(v)
	case 0:
		return slices.Repeat([]int{missing}, n)
	}
	return slices.Repeat(v[:1], n)
}

// spatial returns the number of axes that the kernel of a convolution slides over.
func spatial(w *graph.Value) int { return len(w.Type.Dims) - 2 }

// Conv is torch.conv1d to conv3d: x [batch, in, spatial...], w [out, in/groups, kernel...], bias [out] or nil. An x without
// the batch is taken for one image.
func (b *Builder) Conv(x, w, bias *graph.Value, p Conv) *graph.Value {
	return b.unbatched(x, spatial(w)+1, func(x *graph.Value) *graph.Value { return b.conv(x, w, bias, p) })
}

// unbatched runs f on x with a batch of one put before it where x has but rank dimensions, and takes it off the result.
func (b *Builder) unbatched(x *graph.Value, rank int, f func(x *graph.Value) *graph.Value) *graph.Value {
	if !x.Type.Ranked || len(x.Type.Dims) != rank {
		return f(x)
	}
	return b.Squeeze(f(b.Unsqueeze(x, 0)), 0)
}

func (b *Builder) conv(x, w, bias *graph.Value, p Conv) *graph.Value {
	n := spatial(w)
	if n < 1 {
		return b.Fail("a convolution with a weight of %d dimensions", n+2)
	}
	kernel := make([]int, n)
	for i := range kernel {
		kernel[i] = w.Type.Dims[2+i].Size
	}
	stride, dilation := each(p.Stride, n, 1), each(p.Dilation, n, 1)
	pads := each(p.Pad, n, 0)
	begin, end := pads, slices.Clone(pads)
	if p.Same {
		for i := range n {
			total := dilation[i] * (kernel[i] - 1)
			begin[i], end[i] = total/2, total-total/2
		}
	}
	if p.PadMode != "" && p.PadMode != "zeros" {
		var around []int // as Pad takes them: last axis first
		for i := n - 1; i >= 0; i-- {
			around = append(around, begin[i], end[i])
		}
		x = b.Pad(x, around, p.PadMode, 0)
		clear(begin)
		clear(end)
	}
	a := Attrs{"kernel_shape": kernel, "group": max(p.Groups, 1)}
	setUnless(a, "strides", stride, 1)
	setUnless(a, "dilations", dilation, 1)
	setUnless(a, "pads", append(begin, end...), 0)
	return b.Node("Conv", a, inputs(x, w, bias)...)
}

// setUnless sets an attribute unless all its values are the default.
func setUnless(a Attrs, name string, v []int, usual int) {
	if slices.ContainsFunc(v, func(x int) bool { return x != usual }) {
		a[name] = v
	}
}

// inputs drops trailing inputs that are absent.
func inputs(in ...*graph.Value) []*graph.Value {
	for len(in) > 0 && in[len(in)-1] == nil {
		in = in[:len(in)-1]
	}
	return in
}

// ConvTranspose is torch.conv_transpose1d to 3d: w [in, out/groups, kernel...].
func (b *Builder) ConvTranspose(x, w, bias *graph.Value, p Conv) *graph.Value {
	n := spatial(w)
	if n < 1 {
		return b.Fail("a transposed convolution with a weight of %d dimensions", n+2)
	}
	kernel := make([]int, n)
	for i := range kernel {
		kernel[i] = w.Type.Dims[2+i].Size
	}
	pads := each(p.Pad, n, 0)
	a := Attrs{"kernel_shape": kernel, "group": max(p.Groups, 1)}
	setUnless(a, "strides", each(p.Stride, n, 1), 1)
	setUnless(a, "dilations", each(p.Dilation, n, 1), 1)
	setUnless(a, "pads", append(pads, pads...), 0)
	setUnless(a, "output_padding", each(p.OutputPad, n, 0), 0)
	return b.unbatched(x, n+1, func(x *graph.Value) *graph.Value { return b.Node("ConvTranspose", a, inputs(x, w, bias)...) })
}

// Linear is torch.nn.functional.linear: x [..., in] times the transpose of w [out, in], plus bias [out], which may be nil. The
// parameters are named within the present scope.
func (b *Builder) Linear(x *graph.Value, name string, w tensor.Source, biasName string, bias tensor.Source) *graph.Value {
	if len(w.Shape()) != 2 {
		return b.Fail("%s: a linear layer with a weight of shape %v", name, w.Shape())
	}
	var c *graph.Value
	if bias != nil {
		c = b.Weight(biasName, bias)
	}
	if x.Type.Ranked && len(x.Type.Dims) == 2 {
		return b.Node("Gemm", Attrs{"transB": 1}, inputs(x, b.Weight(name, w), c)...)
	}
	y := b.Node("MatMul", nil, x, b.Transposed(name, w))
	if c == nil {
		return y
	}
	return b.Node("Add", nil, y, c)
}

// Bilinear is torch.nn.functional.bilinear: y[..., k] = x1 W[k] x2 + bias[k], W [out, in1, in2].
func (b *Builder) Bilinear(x1, x2, w, bias *graph.Value) *graph.Value {
	y := b.Node("Einsum", Attrs{"equation": "...i,oij,...j->...o"}, x1, w, x2)
	if bias == nil {
		return y
	}
	return b.Node("Add", nil, y, bias)
}
