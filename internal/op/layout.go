package op

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Transpose permutes dimensions: output dimension i is input dimension Perm[i]; nil reverses them.
type Transpose struct {
	Perm []int `attr:"perm"`
}

func (*Transpose) Kind() string { return "Transpose" }

func (t *Transpose) perm(rank int) ([]int, error) {
	if t.Perm == nil {
		perm := make([]int, rank)
		for i := range perm {
			perm[i] = rank - 1 - i
		}
		return perm, nil
	}
	if len(t.Perm) != rank {
		return nil, fmt.Errorf("perm: want %d values, got %v", rank, t.Perm)
	}
	for i, p := range t.Perm {
		if p < 0 || p >= rank || slices.Contains(t.Perm[:i], p) {
			return nil, fmt.Errorf("perm: %v is not a permutation of %d dimensions", t.Perm, rank)
		}
	}
	return t.Perm, nil
}

func (t *Transpose) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		if t.Perm == nil {
			return []graph.Type{graph.Unranked(in[0].DType)}, nil
		}
		return []graph.Type{graph.Ranked(in[0].DType, unknownDims(len(t.Perm))...)}, nil
	}
	perm, err := t.perm(len(in[0].Dims))
	if err != nil {
		return nil, err
	}
	dims := make([]graph.Dim, len(perm))
	for i, p := range perm {
		dims[i] = in[0].Dims[p]
	}
	return []graph.Type{graph.Ranked(in[0].DType, dims...)}, nil
}

func (t *Transpose) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x := in[0]
	perm, err := t.perm(x.Rank())
	if err != nil {
		return nil, err
	}
	return e.Single(permute(e, x, x.Shape, perm, nil))
}

// permute reads x as a tensor of shape from, permutes its dimensions and returns the result in the shape to (nil: as permuted).
// Where no element moves, the data is shared.
func permute(e *graph.Env, x *tensor.Tensor, from tensor.Shape, perm []int, to tensor.Shape) (*tensor.Tensor, error) {
	kept := graph.Keep[permutation](e)
	defer kept.Done()
	k := &kept.V
	if !k.from.Equal(from) || !slices.Equal(k.perm, perm) || k.from == nil {
		*k = newPermutation(from, perm)
	}
	if to == nil {
		to = k.shape
	}
	if k.still {
		return e.View(x, to...), nil
	}
	out, err := newElems(e, x.DType, to)
	if err != nil {
		return nil, err
	}
	moveLoops(e, out.elems, 0, elemsOf(x), 0, k.loops)
	return out.done(), nil
}

// permutation is how the elements of a tensor of shape from move.
type permutation struct {
	from, shape tensor.Shape
	perm        []int
	loops       []copyLoop // merged
	still       bool       // none moves
}

func newPermutation(from tensor.Shape, perm []int) permutation {
	k := permutation{from: from.Clone(), perm: slices.Clone(perm), shape: make(tensor.Shape, len(perm))}
	strides, st := make([]int, len(perm)), from.Strides()
	for i, p := range perm {
		k.shape[i], strides[i] = from[p], st[p]
	}
	merged, some := mergeLoops(copyNest(k.shape, strides))
	k.loops, k.still = merged, !some || len(merged) == 0 || len(merged) == 1 && merged[0].src == 1
	return k
}

// DepthToSpace moves blocks of channels of an NCHW tensor into squares of BlockSize x BlockSize pixels. The channel index is
// row, column, depth of the block in mode DCR and depth, row, column in mode CRD.
type DepthToSpace struct {
	BlockSize int    `attr:"blocksize"`
	Mode      string `attr:"mode,DCR"`
}

func (*DepthToSpace) Kind() string { return "DepthToSpace" }

func checkBlock(size int, mode string) error {
	if size < 1 || size > 1<<20 {
		return fmt.Errorf("blocksize: %d is out of range", size)
	}
	if mode != "DCR" && mode != "CRD" {
		return fmt.Errorf("mode: %q is neither DCR nor CRD", mode)
	}
	return nil
}

func scaledDim(d graph.Dim, mul, div int) (graph.Dim, error) {
	if !d.IsKnown() {
		if mul == div {
			return d, nil
		}
		return graph.Unknown, nil
	}
	if d.Size > maxElems || mul > maxElems {
		return d, fmt.Errorf("dimension %d times %d is too large", d.Size, mul)
	}
	if d.Size*mul%div != 0 {
		return d, fmt.Errorf("dimension %d is not a multiple of %d", d.Size, div)
	}
	return graph.Known(d.Size * mul / div), nil
}

// inferBlocks returns [N, C*cMul/cDiv, H*sMul/sDiv, W*sMul/sDiv].
func inferBlocks(in []graph.Type, cMul, cDiv, sMul, sDiv int) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	out := graph.Ranked(in[0].DType, unknownDims(4)...)
	if !in[0].Ranked {
		return []graph.Type{out}, nil
	}
	if len(in[0].Dims) != 4 {
		return nil, fmt.Errorf("want rank 4, got %d", len(in[0].Dims))
	}
	out.Dims[0] = in[0].Dims[0]
	var err error
	if out.Dims[1], err = scaledDim(in[0].Dims[1], cMul, cDiv); err != nil {
		return nil, fmt.Errorf("channels: %w", err)
	}
	for i := 2; i < 4; i++ {
		if out.Dims[i], err = scaledDim(in[0].Dims[i], sMul, sDiv); err != nil {
			return nil, fmt.Errorf("dimension %d: %w", i, err)
		}
	}
	return []graph.Type{out}, nil
}

func (o *DepthToSpace) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := checkBlock(o.BlockSize, o.Mode); err != nil {
		return nil, err
	}
	return inferBlocks(in, 1, o.BlockSize*o.BlockSize, o.BlockSize, 1)
}

func (o *DepthToSpace) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	types, err := o.Infer([]graph.Type{graph.Shaped(in[0].DType, in[0].Shape)})
	if err != nil {
		return nil, err
	}
	to := sizesOf(types[0].Dims)
	n, c, h, w, b := in[0].Shape[0], to[1], in[0].Shape[2], in[0].Shape[3], o.BlockSize
	if o.Mode == "CRD" {
		return one(permute(e, in[0], tensor.Shape{n, c, b, b, h, w}, []int{0, 1, 4, 2, 5, 3}, to))
	}
	return one(permute(e, in[0], tensor.Shape{n, b, b, c, h, w}, []int{0, 3, 4, 1, 5, 2}, to))
}

// SpaceToDepth is the inverse of [DepthToSpace].
type SpaceToDepth struct {
	BlockSize int    `attr:"blocksize"`
	Mode      string `attr:"mode,DCR"`
}

func (*SpaceToDepth) Kind() string { return "SpaceToDepth" }

func (o *SpaceToDepth) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := checkBlock(o.BlockSize, o.Mode); err != nil {
		return nil, err
	}
	return inferBlocks(in, o.BlockSize*o.BlockSize, 1, 1, o.BlockSize)
}

func (o *SpaceToDepth) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	types, err := o.Infer([]graph.Type{graph.Shaped(in[0].DType, in[0].Shape)})
	if err != nil {
		return nil, err
	}
	to := sizesOf(types[0].Dims)
	from := tensor.Shape{to[0], in[0].Shape[1], to[2], o.BlockSize, to[3], o.BlockSize}
	if o.Mode == "CRD" {
		return one(permute(e, in[0], from, []int{0, 1, 3, 5, 2, 4}, to))
	}
	return one(permute(e, in[0], from, []int{0, 3, 5, 1, 2, 4}, to))
}

// Expand broadcasts its input to the given shape, which is broadcast to the input's in turn.
type Expand struct{}

func (*Expand) Kind() string { return "Expand" }

func (*Expand) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	target, known := knownInts(in[1])
	rank, ranked := rankOfShape(in[1])
	switch {
	case !in[0].Ranked:
	case known:
		if err := checkSize(target); err != nil {
			return nil, err
		}
		dims, err := broadcastDims(in[0].Dims, graph.Shaped(in[0].DType, target).Dims)
		if err != nil {
			return nil, err
		}
		out.Ranked, out.Dims = true, dims
	case ranked:
		dims := unknownDims(max(len(in[0].Dims), rank))
		for i, d := range in[0].Dims {
			// A target dimension is 1 or the same where the input's is known and not 1.
			if d.IsKnown() && d.Size != 1 {
				dims[len(dims)-len(in[0].Dims)+i] = d
			}
		}
		out.Ranked, out.Dims = true, dims
	}
	return []graph.Type{out}, nil
}

func (*Expand) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	target, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("shape: %w", err)
	}
	shape, err := tensor.Broadcast(in[0].Shape, target)
	if err != nil {
		return nil, err
	}
	return one(expand(e, in[0], shape))
}

// expand repeats x to a shape that it broadcasts to.
func expand(e *graph.Env, x *tensor.Tensor, shape tensor.Shape) (*tensor.Tensor, error) {
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	if shape.Len() == x.Len() {
		return x.Reshape(shape...), nil
	}
	strides := make([]int, len(shape))
	for i, st := range x.Shape.Strides() {
		if x.Shape[i] != 1 {
			strides[len(shape)-x.Rank()+i] = st
		}
	}
	out, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	copyElems(e, out.elems, 0, elemsOf(x), 0, copyNest(shape, strides))
	return out.done(), nil
}

// Tile repeats its input as often along each dimension as the repeats input says.
type Tile struct{}

func (*Tile) Kind() string { return "Tile" }

func (*Tile) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	out := graph.Ranked(in[0].DType, unknownDims(len(in[0].Dims))...)
	if repeats, ok := knownInts(in[1]); ok {
		if err := checkRepeats(repeats, len(in[0].Dims)); err != nil {
			return nil, err
		}
		for i, d := range in[0].Dims {
			var err error
			if out.Dims[i], err = scaledDim(d, repeats[i], 1); err != nil {
				return nil, err
			}
			if repeats[i] == 0 {
				out.Dims[i] = graph.Known(0)
			}
		}
	}
	return []graph.Type{out}, nil
}

func checkRepeats(repeats []int, rank int) error {
	if len(repeats) != rank {
		return fmt.Errorf("repeats: want %d values, got %v", rank, repeats)
	}
	for _, r := range repeats {
		if r < 0 || r > maxElems {
			return fmt.Errorf("repeats: %v has a value that is negative or too large", repeats)
		}
	}
	return nil
}

func (*Tile) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	repeats, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("repeats: %w", err)
	}
	if err := checkRepeats(repeats, x.Rank()); err != nil {
		return nil, err
	}
	shape, wide, strides := make(tensor.Shape, x.Rank()), make(tensor.Shape, 0, 2*x.Rank()), make([]int, 0, 2*x.Rank())
	for i, st := range x.Shape.Strides() {
		if x.Shape[i] > 0 && repeats[i] > maxElems/x.Shape[i] {
			return nil, fmt.Errorf("repeats: %v of shape %v is too large", repeats, x.Shape)
		}
		shape[i] = x.Shape[i] * repeats[i]
		wide = append(wide, repeats[i], x.Shape[i])
		strides = append(strides, 0, st)
	}
	out, err := newElems(e, x.DType, shape)
	if err != nil {
		return nil, err
	}
	copyElems(e, out.elems, 0, elemsOf(x), 0, copyNest(wide, strides))
	return []*tensor.Tensor{out.done()}, nil
}
