package quantize

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// smallestBlock is the smallest block that runtimes have kernels for.
const smallestBlock = 16

// checkBlockSize reports block sizes that runtimes do not take.
func checkBlockSize(n int) error {
	if n != 0 && (n < smallestBlock || n&(n-1) != 0) {
		return fmt.Errorf("block size: want a power of two of at least %d, or 0, got %d", smallestBlock, n)
	}
	return nil
}

// blocking says which weights share a scale: runs of size along an axis, as in ONNX's blocked DequantizeLinear.
type blocking struct {
	axis, size int
	shape      tensor.Shape // of the scales
	of         tensor.Shape // of the weight
}

// blocks returns the blocks that a layer's weight is cut into along the inputs that it sums over; nil if one block would hold all of
// a channel, or if the layer takes none.
func (l *placedLayer) blocks(size int) *blocking {
	if size == 0 || l.x == nil || l.weight == nil || l.channel < 0 {
		return nil
	}
	shape := l.weight.Data.Shape()
	axis := 1 - l.channel // of a matrix, and of a Conv, whose channels come first
	if _, ok := l.node.Op.(*op.Conv); !ok && len(shape) != 2 || shape[axis] <= size {
		return nil
	}
	b := &blocking{axis: axis, size: size, of: shape, shape: shape.Clone()}
	b.shape[axis] = (shape[axis] + size - 1) / size
	return b
}

// at returns the index of the scale of weight i.
func (b *blocking) at(i int) int {
	inner := b.of[b.axis+1:].Len()
	row := i / inner
	return (row/b.of[b.axis]*b.shape[b.axis]+row%b.of[b.axis]/b.size)*inner + i%inner
}

// each calls f with the indices of the weights of a scale.
func (b *blocking) each(scale int, f func(i int)) {
	inner := b.of[b.axis+1:].Len()
	row, block := scale/inner/b.shape[b.axis], scale/inner%b.shape[b.axis]
	for k := block * b.size; k < min((block+1)*b.size, b.of[b.axis]); k++ {
		f((row*b.of[b.axis]+k)*inner + scale%inner)
	}
}

// channel returns the index, along an axis of the weight that is not cut, that a scale belongs to.
func (b *blocking) channel(scale, axis int) int {
	return scale / b.shape[axis+1:].Len() % b.shape[axis]
}

// scaleOf returns the scale of value i, which is of a channel.
func (c *codes) scaleOf(i, channel int) float32 {
	if c.blocks != nil {
		return c.scale[c.blocks.at(i)]
	}
	return c.scale[channel%len(c.scale)]
}

// roundBlocks rounds a weight to signed codes with a scale for every block.
func roundBlocks(name string, t *tensor.Tensor, b *blocking, form weightForm) (*codes, error) {
	w, err := t.Floats()
	if err != nil {
		return nil, fmt.Errorf("weight %q: %w", name, err)
	}
	if err := checkFinite(name, t.Shape, w); err != nil {
		return nil, err
	}
	c := &codes{dtype: tensor.Int8, shape: t.Shape, data: make([]byte, len(w)), scale: make([]float32, b.shape.Len()), packed: form.four, blocks: b}
	kernel.Shared().For(len(c.scale), max(1, 1<<14/b.size), func(lo, hi int) {
		for k := lo; k < hi; k++ {
			form.round(func(f func(int)) { b.each(k, f) }, w, c, k)
		}
	})
	return c, nil
}

// blocked is layer for a weight with a scale for every block. Sums then have no scale of their own, so that a bias stays in float.
func (w *staticRun) blocked(l placedLayer, in []*graph.Value, r *roundedLayer, by Correction) ([]*graph.Value, error) {
	added, b := w.place.addedBias(l.node), r.bias
	switch {
	case by.Bias != nil && added != nil:
		if err := w.correct(w.place.only(l.node.Out[0]), added, Correction{Bias: by.Bias}); err != nil {
			return in, err
		}
	case by.Bias != nil:
		if b == nil {
			b = tensor.New(tensor.Float32, len(by.Bias))
		}
		var err error
		if b, err = by.of(b); err != nil {
			return in, fmt.Errorf("bias of %q: %w", l.node.Name, err)
		}
	}
	if n := r.codes.blocks; !r.codes.packed && l.multipliesBlocks(b) {
		return w.multiplyBlocks(l, in, r, b), nil
	} else if b == nil && l.node.Op.Kind() != "MatMul" { // ONNX Runtime takes a layer without one for one with a scale per channel
		b = tensor.New(tensor.Float32, n.of[l.channel])
	}
	c := r.codes
	scale := w.param(l.weight.Name+"_scale", tensor.Of(c.blocks.shape, c.scale))
	in[1] = w.emit("_weight", 1, "DequantizeLinear", attrs{"axis": int64(c.blocks.axis), "block_size": int64(c.blocks.size)},
		graph.FromSource(w.values.Fresh(l.weight.Name+"_q"), c.source()), scale)[0]
	if b != nil {
		in = append(in[:2], w.param(l.node.Name+"_bias", b))
	}
	return in, nil
}

// multipliesBlocks reports whether a layer with 8-bit weights is a MatMulNBits. ONNX Runtime finds that for itself behind a
// DequantizeLinear of 4 bits, but takes one of 8 bits for one with a scale per channel.
func (l *placedLayer) multipliesBlocks(bias *tensor.Tensor) bool {
	switch o := l.node.Op.(type) {
	case *op.MatMul:
		return true
	case *op.Gemm:
		return !o.TransA && (bias == nil || bias.Rank() == 1 && bias.Len() == l.weight.Data.Shape()[l.channel])
	}
	return false
}

// multiplyBlocks makes a layer a MatMulNBits with 8-bit codes.
func (w *staticRun) multiplyBlocks(l placedLayer, in []*graph.Value, r *roundedLayer, bias *tensor.Tensor) []*graph.Value {
	const middle = 128 // the zero point where none is given
	b, n := r.codes.blocks, r.codes.blocks.of[l.channel]
	blocks, depth := b.shape[b.axis], b.of[b.axis]
	codes, scale := make([]byte, n*blocks*b.size), make([]float32, n*blocks)
	at := func(shape tensor.Shape, channel, k int) int { // in the weight or its scales
		if b.axis == 0 {
			return k*n + channel
		}
		return channel*shape[1] + k
	}
	for c := range n {
		for k := range blocks * b.size {
			v := byte(middle)
			if k < depth {
				v += r.codes.data[at(b.of, c, k)]
			}
			codes[c*blocks*b.size+k] = v
		}
		for k := range blocks {
			scale[c*blocks+k] = r.codes.scale[at(b.shape, c, k)]
		}
	}
	l.node.Op = w.op("com.microsoft.MatMulNBits", attrs{"K": int64(depth), "N": int64(n), "bits": int64(8), "block_size": int64(b.size)})
	in = []*graph.Value{
		in[0], w.param(l.weight.Name+"_q", tensor.Of(tensor.Shape{n, blocks, b.size}, codes)), w.param(l.weight.Name+"_scale", tensor.Of(tensor.Shape{n, blocks}, scale)),
	}
	if bias != nil {
		in = append(in, nil, nil, w.param(l.node.Name+"_bias", bias))
	}
	return in
}
