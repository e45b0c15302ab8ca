package aten

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Pool are the parameters of a pooling over windows. A nil Stride is the kernel; a list of one stands for all axes.
type Pool struct {
	Kernel, Stride, Pad, Dilation []int
	Ceil                          bool
	ExcludePad                    bool // averages leave pads out of the count
	Divisor                       int  // of an average, instead of the size of the window; 0: none
}

// attrs returns the attributes for n spatial axes.
func (p Pool) attrs(n int) Attrs {
	kernel := each(p.Kernel, n, 1)
	stride := kernel
	if len(p.Stride) > 0 {
		stride = each(p.Stride, n, 1)
	}
	pads := each(p.Pad, n, 0)
	a := Attrs{"kernel_shape": kernel}
	setUnless(a, "strides", stride, 1)
	setUnless(a, "pads", append(pads, pads...), 0)
	setUnless(a, "dilations", each(p.Dilation, n, 1), 1)
	if p.Ceil {
		a["ceil_mode"] = 1
	}
	return a
}

// MaxPool is torch.max_pool1d to 3d: axes is the number of spatial axes.
func (b *Builder) MaxPool(x *graph.Value, axes int, p Pool) *graph.Value {
	return b.unbatched(x, axes+1, func(x *graph.Value) *graph.Value { return b.Node("MaxPool", p.attrs(axes), x) })
}

// MaxPoolIndices is MaxPool with the place of each largest element within its channel as well.
func (b *Builder) MaxPoolIndices(x *graph.Value, axes int, p Pool) (y, index *graph.Value) {
	single := x.Type.Ranked && len(x.Type.Dims) == axes+1
	if single {
		x = b.Unsqueeze(x, 0)
	}
	out := b.Nodes(2, "MaxPool", p.attrs(axes), x)
	per := b.Node("ReduceProd", Attrs{"keepdims": 0}, b.Node("Shape", Attrs{"start": 2}, x)) // ONNX counts over the whole batch
	y, index = out[0], b.Node("Mod", nil, out[1], per)
	if single {
		y, index = b.Squeeze(y, 0), b.Squeeze(index, 0)
	}
	return y, index
}

// AvgPool is torch.avg_pool1d to 3d.
func (b *Builder) AvgPool(x *graph.Value, axes int, p Pool) *graph.Value {
	return b.unbatched(x, axes+1, func(x *graph.Value) *graph.Value {
		p.Dilation = nil
		a := p.attrs(axes)
		// Without pads the windows that reach beyond the end count what is inside, as those without padding do.
		if !p.ExcludePad && slices.ContainsFunc(p.Pad, func(n int) bool { return n != 0 }) {
			a["count_include_pad"] = 1
		}
		if p.Divisor == 0 {
			return b.Node("AveragePool", a, x)
		}
		if p.Ceil {
			return b.Fail("an average pooling with a divisor and rounding up")
		}
		a["count_include_pad"] = 1
		size := count(each(p.Kernel, axes, 1))
		return b.Node("Mul", nil, b.Node("AveragePool", a, x), b.Number(x, float64(size)/float64(p.Divisor)))
	})
}

// LPPool is torch.nn.functional.lp_pool1d to 3d.
func (b *Builder) LPPool(x *graph.Value, axes int, norm int, p Pool) *graph.Value {
	return b.unbatched(x, axes+1, func(x *graph.Value) *graph.Value {
		a := p.attrs(axes)
		a["p"] = norm
		return b.Node("LpPool", a, x)
	})
}

// AdaptiveAvgPool is torch.adaptive_avg_pool1d to 3d: one size of the result for each spatial axis, -1 for that of x.
func (b *Builder) AdaptiveAvgPool(x *graph.Value, out []int) *graph.Value {
	n := len(out)
	if !targets(out) {
		return b.Fail("an adaptive pooling to %v; sizes are at most %d", out, maxTarget)
	}
	return b.unbatched(x, n+1, func(x *graph.Value) *graph.Value {
		if allOne(out) {
			return b.Node("GlobalAveragePool", nil, x)
		}
		if kernel, ok := even(x, out); ok {
			if allOne(kernel) {
				return x
			}
			return b.Node("AveragePool", Pool{Kernel: kernel}.attrs(n), x)
		}
		for i, size := range out {
			if axis := 2 + i; size >= 0 && dim(x, axis) != size {
				x = b.averageAxis(x, axis, n+1, size)
			}
		}
		return x
	})
}

// maxTarget bounds the sizes that an adaptive pooling gives.
const maxTarget = 1 << 12

// targets reports whether sizes are those of an adaptive pooling.
func targets(out []int) bool {
	return !slices.ContainsFunc(out, func(n int) bool { return n < -1 || n > maxTarget })
}

func allOne(v []int) bool {
	return !slices.ContainsFunc(v, func(n int) bool { return n != 1 })
}

// even returns the windows of an adaptive pooling if they are all alike.
func even(x *graph.Value, out []int) (kernel []int, ok bool) {
	for i, size := range out {
		have := dim(x, 2+i)
		if size < 0 {
			kernel = append(kernel, 1)
			continue
		}
		if have < 0 || size == 0 || have%size != 0 {
			return nil, false
		}
		kernel = append(kernel, have/size)
	}
	return kernel, true
}

// averageAxis averages an axis of x into out windows, of which window i is from floor(i*n/out) to ceil((i+1)*n/out) for n
// elements: a product with a matrix of the weights 1/length, which is computed in the graph where n is not known.
func (b *Builder) averageAxis(x *graph.Value, axis, last, out int) *graph.Value {
	m := b.windows(b.Size(x, axis), out)
	if axis != last {
		x = b.swap(x, axis, last)
	}
	x = b.Node("MatMul", nil, x, m)
	if axis != last {
		x = b.swap(x, axis, last)
	}
	return x
}

// swap exchanges two axes of x, of which last is the last.
func (b *Builder) swap(x *graph.Value, axis, last int) *graph.Value {
	perm := make([]int, last+1)
	for i := range perm {
		perm[i] = i
	}
	perm[axis], perm[last] = last, axis
	return b.Permute(x, perm...)
}

// windows returns the matrix [n, out] of the weights of adaptive windows, n a vector of one.
func (b *Builder) windows(n *graph.Value, out int) *graph.Value {
	index := make([]int, out)
	next := make([]int, out)
	for i := range out {
		index[i], next[i] = i, i+1
	}
	start := b.Node("Div", nil, b.Node("Mul", nil, b.Ints(index...), n), b.Ints(out))
	end := b.Node("Div", nil, b.Node("Add", nil, b.Node("Mul", nil, b.Ints(next...), n), b.Ints(out-1)), b.Ints(out))
	row := b.Unsqueeze(b.Node("Range", nil, b.Int(0), b.Squeeze(n, 0), b.Int(1)), 1)
	inside := b.Node("And", nil, b.Node("GreaterOrEqual", nil, row, start), b.Node("Less", nil, row, end))
	length := b.Node("Cast", Attrs{"to": int(tensor.Float32)}, b.Node("Sub", nil, end, start))
	return b.Node("Div", nil, b.Node("Cast", Attrs{"to": int(tensor.Float32)}, inside), length)
}

// AdaptiveMaxPool is torch.adaptive_max_pool1d to 3d.
func (b *Builder) AdaptiveMaxPool(x *graph.Value, out []int) *graph.Value {
	n := len(out)
	if !targets(out) {
		return b.Fail("an adaptive pooling to %v; sizes are at most %d", out, maxTarget)
	}
	return b.unbatched(x, n+1, func(x *graph.Value) *graph.Value {
		if allOne(out) {
			return b.Node("GlobalMaxPool", nil, x)
		}
		if kernel, ok := even(x, out); ok {
			return b.Node("MaxPool", Pool{Kernel: kernel}.attrs(n), x)
		}
		for i, size := range out {
			axis := 2 + i
			have := dim(x, axis)
			if size < 0 || have == size {
				continue
			}
			if have < 0 {
				return b.Fail("an adaptive max pooling to %v of an input whose size is not known; give the shape of the input", out)
			}
			parts := make([]*graph.Value, size)
			for j := range size {
				part := b.Slice(x, axis, j*have/size, ((j+1)*have+size-1)/size, 1)
				parts[j] = b.Node("ReduceMax", Attrs{"keepdims": 1}, part, b.Ints(axis))
			}
			x = b.Concat(axis, parts...)
		}
		return x
	})
}
