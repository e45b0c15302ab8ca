package op

import (
	"fmt"
	"sync/atomic"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// indexOps are the operators that address elements by the values of another input.
var indexOps = table{
	"Gather":            fresh[Gather],
	"GatherElements":    fresh[GatherElements],
	"GatherND":          fresh[GatherND],
	"ScatterElements":   fresh[ScatterElements],
	"ScatterND":         fresh[ScatterND],
	"TensorScatter":     fresh[TensorScatter],
	"TopK":              fresh[TopK],
	"NonMaxSuppression": fresh[NonMaxSuppression],
}

// indicesOf returns the values of an indices input of type int32 or int64.
func indicesOf(i int, t *tensor.Tensor) ([]int64, error) {
	if err := indexInts.check(i, t.DType); err != nil {
		return nil, err
	}
	return t.Ints()
}

// wrapIndex resolves an index that counts from the end if negative.
func wrapIndex(k int64, n int) (int, bool) {
	if k < 0 {
		k += int64(n)
	}
	return int(k), k >= 0 && k < int64(n)
}

// Gather takes slices of its first input along Axis: output[..., i, ...] = data[..., indices[i], ...], where i may be an index
// of any rank.
type Gather struct {
	Axis int `attr:"axis,0"`
}

func (*Gather) Kind() string { return "Gather" }

func (g *Gather) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, in[1].DType); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	axis, err := tensor.Axis(g.Axis, len(in[0].Dims))
	if err != nil {
		return nil, err
	}
	if !in[1].Ranked {
		return []graph.Type{graph.Unranked(in[0].DType)}, nil
	}
	out := graph.Ranked(in[0].DType)
	out.Dims = append(out.Dims, in[0].Dims[:axis]...)
	out.Dims = append(out.Dims, in[1].Dims...)
	out.Dims = append(out.Dims, in[0].Dims[axis+1:]...)
	return []graph.Type{out}, nil
}

func (g *Gather) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	data, indices := in[0], in[1]
	axis, err := tensor.Axis(g.Axis, data.Rank())
	if err != nil {
		return nil, err
	}
	at, err := indicesOf(1, indices)
	if err != nil {
		return nil, err
	}
	width := data.Shape[axis+1:].Len()
	rows := e.Ints(len(at))
	for i, k := range at {
		r, ok := wrapIndex(k, data.Shape[axis])
		if !ok {
			return nil, fmt.Errorf("index %d is out of range for dimension %d of size %d", k, axis, data.Shape[axis])
		}
		rows[i] = r * width
	}
	shape := e.Ints(data.Rank() - 1 + indices.Rank())
	copy(shape[copy(shape[copy(shape, data.Shape[:axis]):], indices.Shape)+axis:], data.Shape[axis+1:])
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	if data.Packed != nil && axis == 0 && data.Rank() > 1 {
		return one(gatherPacked(e, data, shape, width, rows))
	}
	if in, err = tensors(in, 2, 2); err != nil {
		return nil, err
	}
	out, err := newElems(e, data.DType, shape)
	if err != nil {
		return nil, err
	}
	gatherRows(e, out.elems, elemsOf(in[0]), data.Shape[:axis].Len(), data.Shape[axis]*width, width, rows)
	return e.One(out.done()), nil
}

// gatherPacked decodes only the rows of a packed matrix that are asked for: slices of width elements that begin at rows.
func gatherPacked(e *graph.Env, data *tensor.Tensor, shape tensor.Shape, width int, rows []int) (*tensor.Tensor, error) {
	out := e.New(tensor.Float32, shape...)
	cols := data.Shape[data.Rank()-1]
	if out.Len() > 0 {
		dst := tensor.Data[float32](out)
		e.For(len(rows), max(1, moveGrain/width), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				for at := 0; at < width; at += cols {
					data.Packed.Row(dst[i*width+at:i*width+at+cols], (rows[i]+at)/cols)
				}
			}
		})
	}
	if data.DType == tensor.Float32 {
		return out, nil
	}
	return castTensor(e, out, data.DType, castMode{saturate: true})
}

// GatherElements takes single elements: output[i][j][k] = data[indices[i][j][k]][j][k] for Axis 0, and so on.
type GatherElements struct {
	Axis int `attr:"axis,0"`
}

func (*GatherElements) Kind() string { return "GatherElements" }

func (g *GatherElements) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, in[1].DType); err != nil {
		return nil, err
	}
	if in[0].Ranked {
		if _, err := tensor.Axis(g.Axis, len(in[0].Dims)); err != nil {
			return nil, err
		}
		if in[1].Ranked && len(in[1].Dims) != len(in[0].Dims) {
			return nil, fmt.Errorf("indices of rank %d for data of rank %d", len(in[1].Dims), len(in[0].Dims))
		}
		if !in[1].Ranked {
			return []graph.Type{graph.Ranked(in[0].DType, unknownDims(len(in[0].Dims))...)}, nil
		}
	}
	return []graph.Type{retyped(in[1], in[0].DType)}, nil
}

func (g *GatherElements) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	at, err := elementOffsets(e, in[1], in[0].Shape, g.Axis)
	if err != nil {
		return nil, err
	}
	out, err := newElems(e, in[0].DType, in[1].Shape.Clone())
	if err != nil {
		return nil, err
	}
	gatherRows(e, out.elems, elemsOf(in[0]), 1, 0, 1, at)
	return []*tensor.Tensor{out.done()}, nil
}

// elementOffsets returns, for every element of indices, the offset in data of the element whose position is that of the index,
// with the index in place of the coordinate of axis.
func elementOffsets(e *graph.Env, indices *tensor.Tensor, data tensor.Shape, axis int) ([]int, error) {
	axis, err := tensor.Axis(axis, len(data))
	if err != nil {
		return nil, err
	}
	if indices.Rank() != len(data) {
		return nil, fmt.Errorf("indices of shape %v for data of shape %v", indices.Shape, data)
	}
	for d, n := range indices.Shape {
		if d != axis && n > data[d] {
			return nil, fmt.Errorf("indices of shape %v exceed data of shape %v beside axis %d", indices.Shape, data, axis)
		}
	}
	ks, err := indicesOf(1, indices)
	if err != nil {
		return nil, err
	}
	strides := data.Strides()
	cols := 1
	if len(data) > 0 {
		cols = max(1, indices.Shape[len(data)-1])
	}
	last := len(data) - 1
	out := make([]int, len(ks))
	var bad atomic.Int64
	bad.Store(-1)
	e.For(len(ks)/cols, max(1, moveGrain/cols), func(lo, hi int) {
		for row := lo; row < hi; row++ {
			base, rest := 0, row
			for d := last - 1; d >= 0; d-- {
				if d != axis {
					base += rest % indices.Shape[d] * strides[d]
				}
				rest /= indices.Shape[d]
			}
			for j := range cols {
				i := row*cols + j
				k, ok := wrapIndex(ks[i], data[axis])
				if !ok {
					bad.Store(int64(i))
					return
				}
				out[i] = base + k*strides[axis]
				if axis != last {
					out[i] += j
				}
			}
		}
	})
	if i := bad.Load(); i >= 0 {
		return nil, fmt.Errorf("index %d is out of range for dimension %d of size %d", ks[i], axis, data[axis])
	}
	return out, nil
}

// GatherND takes slices whose leading coordinates are the rows of indices; the first BatchDims dimensions of data and indices
// run together.
type GatherND struct {
	BatchDims int `attr:"batch_dims,0"`
}

func (*GatherND) Kind() string { return "GatherND" }

func (g *GatherND) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, in[1].DType); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	if !in[0].Ranked || !in[1].Ranked || len(in[1].Dims) == 0 {
		return []graph.Type{out}, nil
	}
	q := len(in[1].Dims)
	depth := in[1].Dims[q-1]
	if !depth.IsKnown() {
		return []graph.Type{out}, nil
	}
	if err := g.check(len(in[0].Dims), q, depth.Size); err != nil {
		return nil, err
	}
	out.Ranked = true
	out.Dims = append(out.Dims, in[1].Dims[:q-1]...)
	out.Dims = append(out.Dims, in[0].Dims[g.BatchDims+depth.Size:]...)
	return []graph.Type{out}, nil
}

func (g *GatherND) check(rank, q, depth int) error {
	if b := g.BatchDims; b < 0 || b >= min(rank, q) {
		return fmt.Errorf("batch_dims: %d is out of range for ranks %d and %d", b, rank, q)
	}
	if depth < 1 || depth > rank-g.BatchDims {
		return fmt.Errorf("indices: rows of %d coordinates for data of rank %d after %d batch dimensions", depth, rank, g.BatchDims)
	}
	return nil
}

func (g *GatherND) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 2)
	if err != nil {
		return nil, err
	}
	data, indices := in[0], in[1]
	q := indices.Rank()
	if q == 0 {
		return nil, fmt.Errorf("indices: want a rank of at least 1")
	}
	depth := indices.Shape[q-1]
	if err := g.check(data.Rank(), q, depth); err != nil {
		return nil, err
	}
	if !data.Shape[:g.BatchDims].Equal(indices.Shape[:g.BatchDims]) {
		return nil, fmt.Errorf("batch dimensions differ: data %v, indices %v", data.Shape, indices.Shape)
	}
	at, width, err := rowOffsets(indices, data.Shape, g.BatchDims)
	if err != nil {
		return nil, err
	}
	shape := append(indices.Shape[:q-1].Clone(), data.Shape[g.BatchDims+depth:]...)
	out, err := newElems(e, data.DType, shape)
	if err != nil {
		return nil, err
	}
	gatherRows(e, out.elems, elemsOf(data), 1, 0, width, at)
	return []*tensor.Tensor{out.done()}, nil
}

// rowOffsets returns the offsets in data of the slices that the rows of indices name, after batch dimensions that both
// tensors share, and the number of elements of a slice.
func rowOffsets(indices *tensor.Tensor, data tensor.Shape, batchDims int) (at []int, width int, err error) {
	ks, err := indicesOf(1, indices)
	if err != nil {
		return nil, 0, err
	}
	q := indices.Rank()
	depth := indices.Shape[q-1]
	n := indices.Shape[:q-1].Len()
	perBatch := max(1, indices.Shape[batchDims:q-1].Len())
	batchStride := data[batchDims:].Len()
	strides := data[batchDims:].Strides()
	at = make([]int, n)
	for i := range at {
		o := i / perBatch * batchStride
		for d := range depth {
			k, ok := wrapIndex(ks[i*depth+d], data[batchDims+d])
			if !ok {
				return nil, 0, fmt.Errorf("index %d is out of range for dimension %d of size %d", ks[i*depth+d], batchDims+d, data[batchDims+d])
			}
			o += k * strides[d]
		}
		at[i] = o
	}
	return at, data[batchDims+depth:].Len(), nil
}
