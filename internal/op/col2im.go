package op

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Col2Im adds the columns of its input, [batch, channels*block elements, blocks], back into images of which they are sliding
// blocks. Further inputs: the image's spatial shape and the block's. Nil attributes are strides and dilations of 1, no padding.
type Col2Im struct {
	Dilations []int `attr:"dilations"`
	Pads      []int `attr:"pads"`
	Strides   []int `attr:"strides"`
}

func (*Col2Im) Kind() string { return "Col2Im" }

var col2imTypes = numbers | dtypes(tensor.Complex64, tensor.Complex128)

// folding is the geometry of one Col2Im.
type folding struct {
	image, block, grid             tensor.Shape // grid: how often the block fits along each dimension
	strides, dilations, pads       []int
	imageLen, blockLen, gridBlocks int
}

func (c *Col2Im) folding(image, block []int) (*folding, error) {
	n := len(image)
	if n == 0 || len(block) != n {
		return nil, fmt.Errorf("image shape %v and block shape %v differ in rank", image, block)
	}
	orOnes := func(name string, v []int) ([]int, error) {
		if v == nil {
			return slices.Repeat([]int{1}, n), nil
		}
		if len(v) != n {
			return nil, fmt.Errorf("%s: want %d values, got %d", name, n, len(v))
		}
		for _, x := range v {
			if x < 1 || x > maxElems {
				return nil, fmt.Errorf("%s: %d is out of range", name, x)
			}
		}
		return v, nil
	}
	f := &folding{image: image, block: block, grid: make(tensor.Shape, n), pads: c.Pads}
	var err error
	if f.strides, err = orOnes("strides", c.Strides); err != nil {
		return nil, err
	}
	if f.dilations, err = orOnes("dilations", c.Dilations); err != nil {
		return nil, err
	}
	if f.pads == nil {
		f.pads = make([]int, 2*n)
	}
	if len(f.pads) != 2*n {
		return nil, fmt.Errorf("pads: want %d values, got %d", 2*n, len(f.pads))
	}
	for i := range n {
		if image[i] < 0 || block[i] < 1 || image[i] > maxElems || block[i] > maxElems {
			return nil, fmt.Errorf("image shape %v or block shape %v is out of range", image, block)
		}
		if f.pads[i] < 0 || f.pads[n+i] < 0 || f.pads[i] > maxElems || f.pads[n+i] > maxElems {
			return nil, fmt.Errorf("pads: %v has a value that is out of range", f.pads)
		}
		if (block[i]-1)*f.dilations[i] < 0 {
			return nil, fmt.Errorf("dilations: %v are too large", f.dilations)
		}
		room := image[i] + f.pads[i] + f.pads[n+i] - (block[i]-1)*f.dilations[i] - 1
		if room >= 0 {
			f.grid[i] = room/f.strides[i] + 1
		}
	}
	for _, s := range []tensor.Shape{f.image, f.block, f.grid} {
		if err := checkSize(s); err != nil {
			return nil, err
		}
	}
	f.imageLen, f.blockLen, f.gridBlocks = f.image.Len(), f.block.Len(), f.grid.Len()
	return f, nil
}

func (c *Col2Im) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	if err := col2imTypes.check(0, in[0].DType); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	batch, channels := graph.Unknown, graph.Unknown
	if in[0].Ranked {
		if len(in[0].Dims) != 3 {
			return nil, fmt.Errorf("want rank 3, got %d", len(in[0].Dims))
		}
		batch = in[0].Dims[0]
	}
	image, known := knownInts(in[1])
	if block, ok := knownInts(in[2]); ok && in[0].Ranked && in[0].Dims[1].IsKnown() {
		var err error
		if channels, err = blockChannels(in[0].Dims[1].Size, block); err != nil {
			return nil, err
		}
	}
	if known {
		for _, n := range image {
			if n < 0 {
				return nil, fmt.Errorf("image shape %v has a negative size", image)
			}
		}
		return []graph.Type{graph.Ranked(out.DType, append([]graph.Dim{batch, channels}, graph.Shaped(0, image).Dims...)...)}, nil
	}
	if n, ok := rankOfShape(in[1]); ok {
		return []graph.Type{graph.Ranked(out.DType, append([]graph.Dim{batch, channels}, unknownDims(n)...)...)}, nil
	}
	return []graph.Type{out}, nil
}

func blockChannels(rows int, block tensor.Shape) (graph.Dim, error) {
	n, ok := block.CheckedLen()
	if !ok || n == 0 || rows%n != 0 {
		return graph.Unknown, fmt.Errorf("%d rows are not a multiple of the block %v", rows, []int(block))
	}
	return graph.Known(rows / n), nil
}

func (c *Col2Im) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 3, 3)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := col2imTypes.check(0, x.DType); err != nil {
		return nil, err
	}
	image, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("image_shape: %w", err)
	}
	block, err := intsOf(in[2])
	if err != nil {
		return nil, fmt.Errorf("block_shape: %w", err)
	}
	f, err := c.folding(image, block)
	if err != nil {
		return nil, err
	}
	if x.Rank() != 3 || x.Shape[1]%f.blockLen != 0 || x.Shape[2] != f.gridBlocks {
		return nil, fmt.Errorf("input shape %v does not hold %d blocks of %d elements", x.Shape, f.gridBlocks, f.blockLen)
	}
	shape := append(tensor.Shape{x.Shape[0], x.Shape[1] / f.blockLen}, image...)
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	if x.DType == tensor.Float16 || x.DType == tensor.BFloat16 {
		v, err := x.Floats()
		if err != nil {
			return nil, err
		}
		sum := make([]float32, shape.Len())
		foldColumns(e, f, sum, v)
		out := e.New(x.DType, shape...)
		if x.DType == tensor.Float16 {
			narrow(tensor.Data[tensor.Half](out), sum)
		} else {
			narrow(tensor.Data[tensor.BF16](out), sum)
		}
		return []*tensor.Tensor{out}, nil
	}
	out := e.Zeros(x.DType, shape...)
	switch x.DType {
	case tensor.Float32:
		foldColumns(e, f, tensor.Data[float32](out), tensor.Data[float32](x))
	case tensor.Float64:
		foldColumns(e, f, tensor.Data[float64](out), tensor.Data[float64](x))
	case tensor.Complex64:
		foldColumns(e, f, tensor.Data[complex64](out), tensor.Data[complex64](x))
	case tensor.Complex128:
		foldColumns(e, f, tensor.Data[complex128](out), tensor.Data[complex128](x))
	default:
		// Sums of integers do not depend on their sign.
		switch d, s := elemsOf(out), elemsOf(x); d.size {
		case 1:
			foldColumns(e, f, d.data, s.data)
		case 2:
			foldColumns(e, f, slots[uint16](d), slots[uint16](s))
		case 4:
			foldColumns(e, f, slots[uint32](d), slots[uint32](s))
		default:
			foldColumns(e, f, slots[uint64](d), slots[uint64](s))
		}
	}
	return []*tensor.Tensor{out}, nil
}

// foldColumns adds every element of every block to the pixel that it covers: dst[plane][g*stride+k*dilation-pad] += src[plane][k][g].
func foldColumns[T number | complex64 | complex128](e *graph.Env, f *folding, dst, src []T) {
	if f.imageLen == 0 || f.gridBlocks == 0 {
		return
	}
	rank := len(f.image)
	strides := f.image.Strides()
	e.For(len(dst)/f.imageLen, max(1, moveGrain/(f.blockLen*f.gridBlocks)), func(lo, hi int) {
		k, g := make([]int, rank), make([]int, rank)
		for plane := lo; plane < hi; plane++ {
			img := dst[plane*f.imageLen : (plane+1)*f.imageLen]
			col := src[plane*f.blockLen*f.gridBlocks:]
			clear(k)
			for range f.blockLen {
				clear(g)
				for i := range f.gridBlocks {
					at, inside := 0, true
					for d := range rank {
						p := g[d]*f.strides[d] + k[d]*f.dilations[d] - f.pads[d]
						inside = inside && p >= 0 && p < f.image[d]
						at += p * strides[d]
					}
					if inside {
						img[at] += col[i]
					}
					advance(g, f.grid)
				}
				col = col[f.gridBlocks:]
				advance(k, f.block)
			}
		}
	})
}

// advance steps a row-major index over a shape.
func advance(index []int, shape tensor.Shape) {
	for d := len(index) - 1; d >= 0; d-- {
		if index[d]++; index[d] < shape[d] {
			return
		}
		index[d] = 0
	}
}
