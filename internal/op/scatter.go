package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ScatterElements writes single elements into a copy of data: output[indices[i][j]][j] = updates[i][j] for Axis 0, and so on.
// Reduction (none, add, mul, max, min) says how an update meets what is there.
type ScatterElements struct {
	Axis      int    `attr:"axis,0"`
	Reduction string `attr:"reduction,none"`
}

func (*ScatterElements) Kind() string { return "ScatterElements" }

func (s *ScatterElements) Infer(in []graph.Type) ([]graph.Type, error) {
	if in0 := arg(in, 0); in0.Ranked {
		if _, err := tensor.Axis(s.Axis, len(in0.Dims)); err != nil {
			return nil, err
		}
	}
	return inferScatter(in, s.Reduction)
}

func inferScatter(in []graph.Type, reduction string) ([]graph.Type, error) {
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, in[1].DType); err != nil {
		return nil, err
	}
	d, err := sameDType(in[0], in[2])
	if err != nil {
		return nil, err
	}
	if err := checkReduction(reduction, d); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

func checkReduction(r string, d tensor.DType) error {
	switch r {
	case "none":
		return nil
	case "add", "mul", "max", "min":
		if d == tensor.String || d == tensor.Complex64 || d == tensor.Complex128 {
			return fmt.Errorf("reduction: %q is not defined on %v", r, d)
		}
		return nil
	}
	return fmt.Errorf("reduction: %q is none of none, add, mul, max, min", r)
}

func (s *ScatterElements) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 3, 3)
	if err != nil {
		return nil, err
	}
	if !in[2].Shape.Equal(in[1].Shape) {
		return nil, fmt.Errorf("updates of shape %v for indices of shape %v", in[2].Shape, in[1].Shape)
	}
	at, err := elementOffsets(e, in[1], in[0].Shape, s.Axis)
	if err != nil {
		return nil, err
	}
	return one(scatter(e, in[0], in[2], s.Reduction, 1, at))
}

// ScatterND writes the slices of updates into a copy of data, at the leading coordinates that the rows of indices give.
type ScatterND struct {
	Reduction string `attr:"reduction,none"`
}

func (*ScatterND) Kind() string { return "ScatterND" }

func (s *ScatterND) Infer(in []graph.Type) ([]graph.Type, error) {
	return inferScatter(in, s.Reduction)
}

func (s *ScatterND) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 3, 3)
	if err != nil {
		return nil, err
	}
	data, indices, updates := in[0], in[1], in[2]
	q := indices.Rank()
	if q == 0 || indices.Shape[q-1] > data.Rank() {
		return nil, fmt.Errorf("indices of shape %v for data of shape %v", indices.Shape, data.Shape)
	}
	if shape := append(indices.Shape[:q-1].Clone(), data.Shape[indices.Shape[q-1]:]...); !updates.Shape.Equal(shape) {
		return nil, fmt.Errorf("updates: want shape %v, got %v", shape, updates.Shape)
	}
	at, width, err := rowOffsets(indices, data.Shape, 0)
	if err != nil {
		return nil, err
	}
	return one(scatter(e, data, updates, s.Reduction, width, at))
}

// scatter returns a copy of data in which row i of updates, width elements, is written at or joined with what begins at at[i].
// Updates of the same place are applied in order.
func scatter(e *graph.Env, data, updates *tensor.Tensor, reduction string, width int, at []int) (*tensor.Tensor, error) {
	if err := sameElems(data, updates); err != nil {
		return nil, err
	}
	if err := checkReduction(reduction, data.DType); err != nil {
		return nil, err
	}
	if reduction == "none" {
		out, err := newElems(e, data.DType, data.Shape.Clone())
		if err != nil {
			return nil, err
		}
		copyElems(e, out.elems, 0, elemsOf(data), 0, []copyLoop{{data.Len(), 1, 1}})
		src := elemsOf(updates)
		for i, o := range at {
			copyRun(out.elems, o, src, i*width, width)
		}
		return out.done(), nil
	}
	switch data.DType {
	case tensor.Float32:
		return scatterReduce[float32](e, data, updates, reduction, width, at), nil
	case tensor.Float64:
		return scatterReduce[float64](e, data, updates, reduction, width, at), nil
	case tensor.Int8:
		return scatterReduce[int8](e, data, updates, reduction, width, at), nil
	case tensor.Int16:
		return scatterReduce[int16](e, data, updates, reduction, width, at), nil
	case tensor.Int32:
		return scatterReduce[int32](e, data, updates, reduction, width, at), nil
	case tensor.Int64:
		return scatterReduce[int64](e, data, updates, reduction, width, at), nil
	case tensor.Uint8:
		return scatterReduce[uint8](e, data, updates, reduction, width, at), nil
	case tensor.Uint16:
		return scatterReduce[uint16](e, data, updates, reduction, width, at), nil
	case tensor.Uint32:
		return scatterReduce[uint32](e, data, updates, reduction, width, at), nil
	case tensor.Uint64:
		return scatterReduce[uint64](e, data, updates, reduction, width, at), nil
	}
	// Half-precision, small and bool elements are reduced as float64 and rounded after each step.
	sum, err := data.Float64s()
	if err != nil {
		return nil, err
	}
	upd, err := updates.Float64s()
	if err != nil {
		return nil, err
	}
	round := func(v float64) float64 { return v }
	if data.DType == tensor.Float16 || data.DType == tensor.BFloat16 {
		round = halfRounding(data.DType)
	}
	join := reducer[float64](reduction)
	for i, o := range at {
		for k := range width {
			sum[o+k] = round(join(sum[o+k], upd[i*width+k]))
		}
	}
	return tensor.FromFloat64s(data.DType, data.Shape.Clone(), sum)
}

func reducer[T number](reduction string) func(a, b T) T {
	switch reduction {
	case "add":
		return func(a, b T) T { return a + b }
	case "mul":
		return func(a, b T) T { return a * b }
	case "max":
		return func(a, b T) T { return max(a, b) }
	}
	return func(a, b T) T { return min(a, b) }
}

func scatterReduce[T number](e *graph.Env, data, updates *tensor.Tensor, reduction string, width int, at []int) *tensor.Tensor {
	out := e.New(data.DType, data.Shape.Clone()...)
	dst, upd, join := tensor.Data[T](out), tensor.Data[T](updates), reducer[T](reduction)
	copy(dst, tensor.Data[T](data))
	for i, o := range at {
		row := dst[o : o+width]
		for k, v := range upd[i*width : (i+1)*width] {
			row[k] = join(row[k], v)
		}
	}
	return out
}

// TensorScatter writes an update into a copy of a key or value cache along Axis, for batch entry b from position
// write_indices[b] (0 if omitted) on. In mode "circular" positions wrap around the end of the cache.
type TensorScatter struct {
	Axis int    `attr:"axis,-2"`
	Mode string `attr:"mode,linear"`
}

func (*TensorScatter) Kind() string { return "TensorScatter" }

func (s *TensorScatter) axis(rank int) (int, error) {
	axis, err := tensor.Axis(s.Axis, rank)
	if err == nil && axis == 0 {
		err = fmt.Errorf("axis: %d is the batch", s.Axis)
	}
	return axis, err
}

func (s *TensorScatter) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 3); err != nil {
		return nil, err
	}
	d, err := sameDType(in[:2]...)
	if err != nil {
		return nil, err
	}
	if in[0].Ranked {
		if _, err := s.axis(len(in[0].Dims)); err != nil {
			return nil, err
		}
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

func (s *TensorScatter) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 2, 3)
	if err != nil {
		return nil, err
	}
	past, update := in[0], in[1]
	axis, err := s.axis(past.Rank())
	if err != nil {
		return nil, err
	}
	if s.Mode != "linear" && s.Mode != "circular" {
		return nil, fmt.Errorf("mode: %q is neither linear nor circular", s.Mode)
	}
	if update.Rank() != past.Rank() {
		return nil, fmt.Errorf("update of shape %v for a cache of shape %v", update.Shape, past.Shape)
	}
	for d, n := range update.Shape {
		if n != past.Shape[d] && (d != axis || n > past.Shape[d]) {
			return nil, fmt.Errorf("update of shape %v for a cache of shape %v", update.Shape, past.Shape)
		}
	}
	starts := make([]int64, past.Shape[0])
	if t := arg(in, 2); t != nil {
		if starts, err = indicesOf(2, t); err != nil {
			return nil, err
		}
		if len(starts) != past.Shape[0] {
			return nil, fmt.Errorf("write_indices: want %d values, got %d", past.Shape[0], len(starts))
		}
	}
	size, steps, width := past.Shape[axis], update.Shape[axis], past.Shape[axis+1:].Len()
	prefixes := past.Shape[:axis].Len()
	perBatch := past.Shape[1:axis].Len()
	at := make([]int, 0, prefixes*steps)
	for p := range prefixes {
		first := starts[p/perBatch]
		for t := range steps {
			k := first + int64(t)
			if s.Mode == "circular" {
				k = (k%int64(size) + int64(size)) % int64(size)
			}
			if k < 0 || k >= int64(size) {
				return nil, fmt.Errorf("write_indices: position %d is out of range for a cache of %d", k, size)
			}
			at = append(at, (p*size+int(k))*width)
		}
	}
	return one(scatter(e, past, update, "none", width, at))
}
