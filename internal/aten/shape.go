package aten

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Unsqueeze is torch.unsqueeze for several axes of the result.
func (b *Builder) Unsqueeze(x *graph.Value, axes ...int) *graph.Value {
	return b.Node("Unsqueeze", nil, x, b.Ints(axes...))
}

// Squeeze is torch.squeeze of axes that have size one.
func (b *Builder) Squeeze(x *graph.Value, axes ...int) *graph.Value {
	return b.Node("Squeeze", nil, x, b.Ints(axes...))
}

// Permute is torch.permute.
func (b *Builder) Permute(x *graph.Value, perm ...int) *graph.Value {
	p := slices.Clone(perm)
	for i, a := range p {
		if a < 0 {
			p[i] = a + len(p)
		}
	}
	return b.Node("Transpose", Attrs{"perm": p}, x)
}

// Transpose is torch.transpose.
func (b *Builder) Transpose(x *graph.Value, i, j int) *graph.Value {
	r := b.Rank(x)
	if r == 0 {
		return x
	}
	i, j = b.Axis(x, i), b.Axis(x, j)
	perm := make([]int, r)
	for k := range perm {
		perm[k] = k
	}
	perm[i], perm[j] = j, i
	return b.Node("Transpose", Attrs{"perm": perm}, x)
}

// Reshape is torch.reshape with sizes that are numbers, one of which may be -1.
func (b *Builder) Reshape(x *graph.Value, sizes ...int) *graph.Value {
	return b.Node("Reshape", Attrs{"allowzero": slices.Contains(sizes, 0)}, x, b.Ints(sizes...))
}

// ReshapeTo is torch.reshape with sizes that are vectors of one, such as [Builder.Size] and [Builder.Ints] give.
func (b *Builder) ReshapeTo(x *graph.Value, sizes ...*graph.Value) *graph.Value {
	return b.Node("Reshape", nil, x, b.Concat(0, sizes...))
}

// Flatten is torch.flatten.
func (b *Builder) Flatten(x *graph.Value, start, end int) *graph.Value {
	if start == 1 && end == -1 {
		if x.Type.Ranked && len(x.Type.Dims) == 2 {
			return x
		}
		return b.Node("Flatten", Attrs{"axis": 1}, x)
	}
	r := b.Rank(x)
	if r == 0 {
		return b.Reshape(x, -1)
	}
	start, end = b.Axis(x, start), b.Axis(x, end)
	if start == end {
		return x
	}
	var sizes []*graph.Value
	for i := range start {
		sizes = append(sizes, b.Size(x, i))
	}
	sizes = append(sizes, b.Ints(-1))
	for i := end + 1; i < r; i++ {
		sizes = append(sizes, b.Size(x, i))
	}
	return b.ReshapeTo(x, sizes...)
}

// Unflatten is torch.unflatten.
func (b *Builder) Unflatten(x *graph.Value, axis int, sizes []int) *graph.Value {
	r := b.Rank(x)
	axis = b.Axis(x, axis)
	var all []*graph.Value
	for i := range r {
		if i == axis {
			all = append(all, b.Ints(sizes...))
		} else {
			all = append(all, b.Size(x, i))
		}
	}
	return b.ReshapeTo(x, all...)
}

// Concat is torch.cat.
func (b *Builder) Concat(axis int, xs ...*graph.Value) *graph.Value {
	if len(xs) == 1 {
		return xs[0]
	}
	return b.Node("Concat", Attrs{"axis": axis}, xs...)
}

// Stack is torch.stack.
func (b *Builder) Stack(axis int, xs ...*graph.Value) *graph.Value {
	parts := make([]*graph.Value, len(xs))
	for i, x := range xs {
		parts[i] = b.Unsqueeze(x, axis)
	}
	return b.Concat(axis, parts...)
}

// Slice is x[..., start:end:step, ...] along an axis; an end beyond the last counts as the last.
func (b *Builder) Slice(x *graph.Value, axis, start, end, step int) *graph.Value {
	return b.Node("Slice", nil, x, b.Ints(start), b.Ints(end), b.Ints(axis), b.Ints(step))
}

// Select is torch.select: one index of an axis, which is gone from the result.
func (b *Builder) Select(x *graph.Value, axis, index int) *graph.Value {
	return b.Node("Gather", Attrs{"axis": axis}, x, b.Int(index))
}

// Chunk is torch.chunk: n parts of an axis, the last of which may be smaller.
func (b *Builder) Chunk(x *graph.Value, n, axis int) []*graph.Value {
	return b.Nodes(n, "Split", Attrs{"axis": axis, "num_outputs": n}, x)
}

// Split is torch.split with a size for each part.
func (b *Builder) Split(x *graph.Value, sizes []int, axis int) []*graph.Value {
	return b.Nodes(len(sizes), "Split", Attrs{"axis": axis}, x, b.Ints(sizes...))
}

// PixelShuffle is torch.pixel_shuffle: channels of factor*factor go to an image that is larger by the factor.
func (b *Builder) PixelShuffle(x *graph.Value, factor int) *graph.Value {
	return b.Node("DepthToSpace", Attrs{"blocksize": factor, "mode": "CRD"}, x)
}

// PixelUnshuffle is torch.pixel_unshuffle, the inverse of [Builder.PixelShuffle].
func (b *Builder) PixelUnshuffle(x *graph.Value, factor int) *graph.Value {
	n, c, h, w := b.Size(x, 0), b.Size(x, 1), b.Size(x, 2), b.Size(x, 3)
	f := b.Ints(factor)
	by := func(v *graph.Value) *graph.Value { return b.Node("Div", nil, v, f) }
	y := b.ReshapeTo(x, n, c, by(h), f, by(w), f)
	y = b.Permute(y, 0, 1, 3, 5, 2, 4)
	return b.ReshapeTo(y, n, b.Node("Mul", nil, c, b.Ints(factor*factor)), by(h), by(w))
}

// ChannelShuffle is torch.channel_shuffle: channels of groups in turn.
func (b *Builder) ChannelShuffle(x *graph.Value, groups int) *graph.Value {
	n, c, h, w := b.Size(x, 0), b.Size(x, 1), b.Size(x, 2), b.Size(x, 3)
	y := b.ReshapeTo(x, n, b.Ints(groups), b.Node("Div", nil, c, b.Ints(groups)), h, w)
	return b.ReshapeTo(b.Permute(y, 0, 2, 1, 3, 4), n, c, h, w)
}

// padModes maps PyTorch's names of pads to ONNX's.
var padModes = map[string]string{"constant": "constant", "zeros": "constant", "": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}

// Pad is torch.nn.functional.pad: around lists (begin, end) of the last axis, then of the one before, and so on. Negative
// numbers cut.
func (b *Builder) Pad(x *graph.Value, around []int, mode string, value float64) *graph.Value {
	m, ok := padModes[mode]
	if !ok {
		return b.Fail("pad mode %q", mode)
	}
	if !slices.ContainsFunc(around, func(n int) bool { return n != 0 }) {
		return x
	}
	r := b.Rank(x)
	n := len(around) / 2
	if n > r {
		return b.Fail("pads of %d axes on %v", n, x.Type)
	}
	begin, end := make([]int, n), make([]int, n)
	axes := make([]int, n)
	for i := range n { // i counts from the last axis
		begin[n-1-i], end[n-1-i] = around[2*i], around[2*i+1]
		axes[n-1-i] = r - 1 - i
	}
	var fill *graph.Value
	if m == "constant" && value != 0 {
		fill = b.Number(x, value)
	}
	return b.Node("Pad", Attrs{"mode": m}, x, b.Ints(append(begin, end...)...), fill, b.Ints(axes...))
}

// Mean is torch.mean over axes.
func (b *Builder) Mean(x *graph.Value, keep bool, axes ...int) *graph.Value {
	return b.Node("ReduceMean", Attrs{"keepdims": keep}, x, b.Ints(axes...))
}

// Embedding is torch.nn.functional.embedding: rows of w by index.
func (b *Builder) Embedding(w, index *graph.Value) *graph.Value {
	return b.Node("Gather", nil, w, index)
}
