package aten

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Window are the parameters of sliding windows over images, each of two numbers.
type Window struct{ Kernel, Dilation, Pad, Stride []int }

// maxWindow bounds the rows that windows are laid out as.
const maxWindow = 1 << 14

// Unfold is torch.nn.functional.unfold: the windows of images [batch, channels, height, width], with or without the batch, as
// columns. It is a convolution whose kernels each take one element of the window.
func (b *Builder) Unfold(x *graph.Value, w Window) *graph.Value {
	return b.unbatched(x, 3, func(x *graph.Value) *graph.Value {
		channels := dim(x, 1)
		if channels < 0 {
			return b.Fail("windows of images whose number of channels is not known; give the shape of the input")
		}
		n := count(w.Kernel)
		if channels < 1 || n < 1 || n > maxWindow || channels*n > maxWindow {
			return b.Fail("windows of %v of %d channels", w.Kernel, channels)
		}
		one := tensor.New(tensor.Float32, channels*n, 1, w.Kernel[0], w.Kernel[1])
		for i := range channels * n {
			tensor.Data[float32](one)[i*n+i%n] = 1
		}
		kernels := b.Param("windows", one)
		if x.Type.DType != tensor.Float32 {
			kernels = b.Node("CastLike", nil, kernels, x)
		}
		y := b.Conv(x, kernels, nil, Conv{Stride: w.Stride, Pad: w.Pad, Dilation: w.Dilation, Groups: channels})
		return b.Flatten(y, 2, -1)
	})
}

// Fold is torch.nn.functional.fold, the sum of windows where they overlap, in images of a size: a vector of two numbers.
func (b *Builder) Fold(x, size *graph.Value, w Window) *graph.Value {
	return b.unbatched(x, 2, func(x *graph.Value) *graph.Value {
		a := Attrs{"dilations": w.Dilation, "pads": append(append([]int{}, w.Pad...), w.Pad...), "strides": w.Stride}
		return b.Node("Col2Im", a, x, size, b.Ints(w.Kernel...))
	})
}
