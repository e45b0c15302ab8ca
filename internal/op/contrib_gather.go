package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// GatherBlockQuantized is com.microsoft.GatherBlockQuantized: Gather of a block-quantized table, dequantized on the way. Inputs are data,
// indices, scales and zero_points (optional). data is int4, uint4, an 8-bit or 4-bit float, or uint8 holding codes of Bits bits, packed
// along the last dimension with the low bits first. Scales have the logical shape of the data with QuantizeAxis divided by
// BlockSize; zero points are stored like the data. An index out of range gives zeros.
type GatherBlockQuantized struct {
	Bits         int `attr:"bits,4"` // of codes in uint8 data
	BlockSize    int `attr:"block_size,128"`
	GatherAxis   int `attr:"gather_axis,0"`
	QuantizeAxis int `attr:"quantize_axis,1"`
}

func (*GatherBlockQuantized) Kind() string { return "com.microsoft.GatherBlockQuantized" }

// gatherTypes are the element types of the table.
var gatherTypes = smallFloats | dtypes(tensor.Int4, tensor.Uint4, tensor.Uint8)

// per returns how many codes an element of data holds.
func (o *GatherBlockQuantized) per(d tensor.DType) (int, error) {
	if d != tensor.Uint8 {
		return 1, nil
	}
	switch o.Bits {
	case 2, 4, 8:
		return 8 / o.Bits, nil
	}
	return 0, fmt.Errorf("bits: want 2, 4 or 8, got %d", o.Bits)
}

func (o *GatherBlockQuantized) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 4); err != nil {
		return nil, err
	}
	data, indices, out := in[0], in[1], in[2].DType
	if err := gatherTypes.check(0, data.DType); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, indices.DType); err != nil {
		return nil, err
	}
	if err := scaleTypes.check(2, out); err != nil {
		return nil, err
	}
	if !data.Ranked || !indices.Ranked || data.DType == tensor.Invalid {
		return []graph.Type{graph.Unranked(out)}, nil
	}
	axis, err := tensor.Axis(o.GatherAxis, len(data.Dims))
	if err != nil {
		return nil, fmt.Errorf("gather_axis: %w", err)
	}
	if _, err := tensor.Axis(o.QuantizeAxis, len(data.Dims)); err != nil {
		return nil, fmt.Errorf("quantize_axis: %w", err)
	}
	per, err := o.per(data.DType)
	if err != nil {
		return nil, err
	}
	dims := append([]graph.Dim{}, data.Dims...)
	if last := len(dims) - 1; dims[last].IsKnown() {
		dims[last].Size *= per
	} else if per > 1 {
		dims[last] = graph.Unknown
	}
	shape := append(append([]graph.Dim{}, dims[:axis]...), indices.Dims...)
	return []graph.Type{graph.Ranked(out, append(shape, dims[axis+1:]...)...)}, nil
}

func (o *GatherBlockQuantized) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 4)
	if err != nil {
		return nil, err
	}
	t, err := o.table(e, in[0], in[2], arg(in, 3))
	if err != nil {
		return nil, err
	}
	indices, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("indices: %w", err)
	}
	if err := scaleTypes.check(2, in[2].DType); err != nil {
		return nil, err
	}
	axis, err := tensor.Axis(o.GatherAxis, len(t.shape))
	if err != nil {
		return nil, fmt.Errorf("gather_axis: %w", err)
	}
	outer, n, inner := t.shape[:axis].Len(), t.shape[axis], t.shape[axis+1:].Len()
	shape := append(append(t.shape[:axis].Clone(), in[1].Shape...), t.shape[axis+1:]...)
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	y, done := realOutput[float32](e, in[2].DType, shape)
	e.For(outer*len(indices), max(1, elementGrain/max(inner, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst := y[r*inner : (r+1)*inner]
			index := indices[r%len(indices)]
			if index < 0 {
				index += n
			}
			if index < 0 || index >= n {
				clear(dst)
				continue
			}
			t.read(dst, (r/len(indices)*n+index)*inner)
		}
	})
	return []*tensor.Tensor{done()}, nil
}

// blockTable is a block-quantized tensor of a logical shape that is read in runs.
type blockTable struct {
	shape                      tensor.Shape
	axis, size, blocks, stride int // the quantized axis, elements of a block, blocks along the axis, elements behind the axis
	code                       func(i int) float32
	scales, zeros              []float32 // of shape with axis divided into blocks; zeros nil: zero
	zero                       float32   // where zeros is nil
}

// table checks data, scales and zero points.
func (o *GatherBlockQuantized) table(e *graph.Env, data, scale, zero *tensor.Tensor) (*blockTable, error) {
	if err := gatherTypes.check(0, data.DType); err != nil {
		return nil, err
	}
	per, err := o.per(data.DType)
	if err != nil {
		return nil, err
	}
	if data.Rank() < 1 {
		return nil, fmt.Errorf("data: want at least one dimension, got %v", data)
	}
	t := &blockTable{shape: data.Shape.Clone(), size: o.BlockSize}
	last := len(t.shape) - 1
	t.shape[last] *= per
	if t.axis, err = tensor.Axis(o.QuantizeAxis, len(t.shape)); err != nil {
		return nil, fmt.Errorf("quantize_axis: %w", err)
	}
	isFloat := smallFloats.has(data.DType)
	if o.BlockSize == 0 && isFloat {
		t.size = max(t.shape[t.axis], 1)
	}
	if t.size < 1 {
		return nil, fmt.Errorf("block_size: want a power of two of at least 16, got %d", o.BlockSize)
	}
	t.blocks = (t.shape[t.axis] + t.size - 1) / t.size
	t.stride = t.shape[t.axis+1:].Len()
	scaleShape := t.shape.Clone()
	scaleShape[t.axis] = t.blocks
	if s, err := tensor.Broadcast(scaleShape, scale.Shape); err != nil || !s.Equal(scaleShape) || scale.Rank() != len(scaleShape) || !isFloat && !scale.Shape.Equal(scaleShape) {
		return nil, fmt.Errorf("scales: want shape %v, got %v", scaleShape, scale.Shape)
	}
	v, err := scale.Floats()
	if err != nil {
		return nil, fmt.Errorf("scales: %w", err)
	}
	t.scales = make([]float32, scaleShape.Len())
	fillBroadcast(e, t.scales, scaleShape, v, scale.Shape)

	codes := data.Bytes()
	switch {
	case isFloat:
		var values [256]float32
		for c := range 1 << data.DType.Bits() {
			values[c] = tensor.DecodeSmall(data.DType, uint8(c))
		}
		bits := data.DType.Bits()
		t.code = func(i int) float32 { return values[bitsAt(codes, i, bits)] }
		if zero != nil {
			return nil, fmt.Errorf("zero_points: not allowed for %v data", data.DType)
		}
		return t, nil
	case data.DType == tensor.Uint8:
		bits := o.Bits
		t.code = func(i int) float32 { return float32(bitsAt(codes, i, bits)) }
		t.zero = float32(int(1) << (bits - 1))
	case data.DType == tensor.Uint4:
		t.code = func(i int) float32 { return float32(bitsAt(codes, i, 4)) }
	default:
		t.code = func(i int) float32 { return float32(int8(bitsAt(codes, i, 4)<<4) >> 4) }
	}
	if zero == nil {
		return t, nil
	}
	if zero.DType != data.DType {
		return nil, fmt.Errorf("zero_points: element type %v differs from %v", zero.DType, data.DType)
	}
	if per == 1 {
		if !zero.Shape.Equal(scaleShape) {
			return nil, fmt.Errorf("zero_points: want shape %v, got %v", scaleShape, zero.Shape)
		}
		t.zeros, err = zero.Floats()
		return t, err
	}
	// Packed like the data: each row of the last dimension is padded to a byte.
	packedShape := scaleShape.Clone()
	packedShape[last] = (scaleShape[last] + per - 1) / per
	if !zero.Shape.Equal(packedShape) {
		return nil, fmt.Errorf("zero_points: want shape %v, got %v", packedShape, zero.Shape)
	}
	t.zeros = make([]float32, len(t.scales))
	for i := range t.zeros {
		row := zero.Bytes()[i/scaleShape[last]*packedShape[last]:]
		t.zeros[i] = float32(bitsAt(row, i%scaleShape[last], o.Bits))
	}
	return t, nil
}

// read dequantizes len(dst) elements from element start on.
func (t *blockTable) read(dst []float32, start int) {
	n := t.shape[t.axis]
	for i := range dst {
		at := start + i
		row, in := at/t.stride, at%t.stride
		k := (row/n*t.blocks+row%n/t.size)*t.stride + in
		z := t.zero
		if t.zeros != nil {
			z = t.zeros[k]
		}
		dst[i] = (t.code(at) - z) * t.scales[k]
	}
}
