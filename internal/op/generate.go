package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Range yields start, start+delta, start+2*delta, ... up to but without limit; its inputs are start, limit and delta.
// StashType is the element type in which float16 and bfloat16 are computed (1: float32).
type Range struct {
	StashType int `attr:"stash_type,1"`
}

func (*Range) Kind() string { return "Range" }

var rangeTypes = floats | dtypes(tensor.Int16, tensor.Int32, tensor.Int64)

func (r *Range) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 3, 3, rangeTypes)
	if err != nil {
		return nil, err
	}
	out := graph.Ranked(d, graph.Unknown)
	if in[0].Const != nil && in[1].Const != nil && in[2].Const != nil {
		_, n, err := r.count([]*tensor.Tensor{in[0].Const, in[1].Const, in[2].Const})
		if err != nil {
			return nil, err
		}
		out.Dims[0] = graph.Known(n)
	}
	return []graph.Type{out}, nil
}

// count returns the inputs as floats and the number of elements.
func (r *Range) count(in []*tensor.Tensor) (v [3]float64, n int, err error) {
	for i, t := range in {
		if v[i], err = scalarFloat(t); err != nil {
			return v, 0, fmt.Errorf("input %d: %w", i, err)
		}
	}
	count := math.Ceil((v[1] - v[0]) / v[2])
	if in[0].DType == tensor.Int64 {
		count, err = countInt64(tensor.Item[int64](in[0]), tensor.Item[int64](in[1]), tensor.Item[int64](in[2]))
	}
	switch {
	case err != nil:
		return v, 0, err
	case v[2] == 0:
		return v, 0, errors.New("delta is zero")
	case math.IsNaN(count) || count > float64(maxElems):
		return v, 0, fmt.Errorf("the range from %v to %v by %v is too long", v[0], v[1], v[2])
	}
	return v, max(int(count), 0), nil
}

// countInt64 is exact where the bounds do not fit a float64.
func countInt64(start, limit, delta int64) (float64, error) {
	if delta == 0 {
		return 0, errors.New("delta is zero")
	}
	if (limit > start) != (delta > 0) || limit == start {
		return 0, nil
	}
	span, step := uint64(limit)-uint64(start), uint64(delta)
	if delta < 0 {
		span, step = -span, -step
	}
	return float64((span-1)/step + 1), nil
}

func (r *Range) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 3, 3)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	d := in[0].DType
	if err := rangeTypes.check(0, d); err != nil {
		return nil, err
	}
	v, n, err := r.count(in)
	if err != nil {
		return nil, err
	}
	out := e.New(d, n)
	switch d {
	case tensor.Int64:
		x, step := tensor.Item[int64](in[0]), tensor.Item[int64](in[2])
		for i := range n {
			tensor.Data[int64](out)[i] = x
			x += step
		}
		return []*tensor.Tensor{out}, nil
	case tensor.Float32:
		start, step := float32(v[0]), float32(v[2])
		for i := range tensor.Data[float32](out) {
			tensor.Data[float32](out)[i] = start + float32(float32(i)*step)
		}
		return []*tensor.Tensor{out}, nil
	}
	round := func(x float64) float64 { return float64(float32(x)) }
	if d != tensor.Float16 && d != tensor.BFloat16 || r.StashType == int(tensor.Float64) {
		round = func(x float64) float64 { return x }
	} else if r.StashType == int(d) {
		round = halfRounding(d)
	}
	vals := make([]float64, n)
	for i := range vals {
		vals[i] = round(v[0] + round(float64(i)*v[2]))
	}
	return one(tensor.FromFloat64s(d, tensor.Shape{n}, vals))
}

// halfRounding rounds values to a 16-bit floating-point type.
func halfRounding(d tensor.DType) func(float64) float64 {
	if d == tensor.Float16 {
		return func(x float64) float64 { return float64(tensor.ToHalf(float32(x)).Float32()) }
	}
	return func(x float64) float64 { return float64(tensor.ToBF16(float32(x)).Float32()) }
}

// EyeLike makes a matrix of its input's shape with ones on diagonal K (above the main one if positive) and zeros elsewhere.
// DType is an element type as ONNX numbers them, nil for the input's.
type EyeLike struct {
	DType *int `attr:"dtype"`
	K     int  `attr:"k,0"`
}

func (*EyeLike) Kind() string { return "EyeLike" }

func (o *EyeLike) dtype(in tensor.DType) (tensor.DType, error) {
	d := in
	if o.DType != nil {
		if *o.DType < 1 || *o.DType > math.MaxUint8 {
			return d, fmt.Errorf("dtype: %d is not an element type", *o.DType)
		}
		d = tensor.DType(*o.DType)
	}
	if d != tensor.Invalid && !d.IsFloat() && !d.IsInt() && d != tensor.Bool {
		return d, fmt.Errorf("dtype: %v has no one", d)
	}
	return d, nil
}

func (o *EyeLike) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := o.dtype(in[0].DType)
	if err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Ranked(d, unknownDims(2)...)}, nil
	}
	if len(in[0].Dims) != 2 {
		return nil, fmt.Errorf("want a matrix, got rank %d", len(in[0].Dims))
	}
	return []graph.Type{graph.Ranked(d, in[0].Dims...)}, nil
}

func (o *EyeLike) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := o.dtype(in[0].DType)
	if err != nil {
		return nil, err
	}
	if in[0].Rank() != 2 {
		return nil, fmt.Errorf("want a matrix, got shape %v", in[0].Shape)
	}
	unit, err := tensor.FromFloat64s(d, tensor.Shape{1}, []float64{1})
	if err != nil {
		return nil, err
	}
	out, err := newElems(e, d, in[0].Shape.Clone())
	if err != nil {
		return nil, err
	}
	clear(out.data)
	rows, cols := in[0].Shape[0], in[0].Shape[1]
	if row, col := max(-o.K, 0), max(o.K, 0); o.K > -rows && o.K < cols {
		copyElems(e, out.elems, row*cols+col, elemsOf(unit), 0, []copyLoop{{min(rows-row, cols-col), cols + 1, 0}})
	}
	return []*tensor.Tensor{out.done()}, nil
}

// Trilu keeps the upper (or lower) triangle of each matrix, diagonal k of its second input included, and clears the rest.
type Trilu struct {
	Upper bool `attr:"upper,1"`
}

func (*Trilu) Kind() string { return "Trilu" }

func (o *Trilu) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	if in[0].Ranked && len(in[0].Dims) < 2 {
		return nil, fmt.Errorf("want a rank of at least 2, got %d", len(in[0].Dims))
	}
	return []graph.Type{retyped(in[0], in[0].DType)}, nil
}

func (o *Trilu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 2)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if x.Rank() < 2 {
		return nil, fmt.Errorf("want a rank of at least 2, got shape %v", x.Shape)
	}
	k := 0
	if t := arg(in, 1); t != nil {
		if k, err = scalarInt(t); err != nil {
			return nil, fmt.Errorf("k: %w", err)
		}
	}
	rows, cols := x.Shape[x.Rank()-2], x.Shape[x.Rank()-1]
	k = min(max(k, -rows-1), cols+1)
	out, err := newElems(e, x.DType, x.Shape.Clone())
	if err != nil {
		return nil, err
	}
	src := elemsOf(x)
	e.For(x.Shape[:x.Rank()-1].Len(), max(1, moveGrain/max(1, cols)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			// Columns from..to of the row stay.
			from, to := min(max(r%rows+k, 0), cols), cols
			if !o.Upper {
				from, to = 0, min(max(r%rows+k+1, 0), cols)
			}
			clearRun(out.elems, r*cols, from)
			copyRun(out.elems, r*cols+from, src, r*cols+from, to-from)
			clearRun(out.elems, r*cols+to, cols-to)
		}
	})
	return []*tensor.Tensor{out.done()}, nil
}

// OneHot inserts a dimension of size depth at Axis that holds values[1] where its position is the index and values[0]
// elsewhere. Inputs: indices (any numbers, truncated), depth, values. Indices outside of [-depth, depth) select nothing.
type OneHot struct {
	Axis int `attr:"axis,-1"`
}

func (*OneHot) Kind() string { return "OneHot" }

func (o *OneHot) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(in[2].DType)}, nil
	}
	axis, err := tensor.Axis(o.Axis, len(in[0].Dims)+1)
	if err != nil {
		return nil, err
	}
	depth := graph.Unknown
	if in[1].Const != nil {
		n, err := o.depth(in[1].Const)
		if err != nil {
			return nil, err
		}
		depth = graph.Known(n)
	}
	return []graph.Type{graph.Ranked(in[2].DType, slices.Insert(slices.Clone(in[0].Dims), axis, depth)...)}, nil
}

func (o *OneHot) depth(t *tensor.Tensor) (int, error) {
	v, err := scalarFloat(t)
	if err != nil {
		return 0, fmt.Errorf("depth: %w", err)
	}
	if !(v >= 0 && v <= float64(maxElems)) {
		return 0, fmt.Errorf("depth: %v is out of range", v)
	}
	return int(v), nil
}

func (o *OneHot) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 3, 3)
	if err != nil {
		return nil, err
	}
	indices, values := in[0], in[2]
	axis, err := tensor.Axis(o.Axis, indices.Rank()+1)
	if err != nil {
		return nil, err
	}
	depth, err := o.depth(in[1])
	if err != nil {
		return nil, err
	}
	if values.Len() != 2 {
		return nil, fmt.Errorf("values: want 2 elements, got shape %v", values.Shape)
	}
	at, err := indices.Float64s()
	if err != nil {
		return nil, fmt.Errorf("indices: %w", err)
	}
	out, err := newElems(e, values.DType, slices.Insert(indices.Shape.Clone(), axis, depth))
	if err != nil {
		return nil, err
	}
	src := elemsOf(values)
	fillElems(e, out.elems, src, out.t.Len())
	inner := indices.Shape[axis:].Len()
	for i, f := range at {
		if !(f > float64(-depth-1) && f < float64(depth)) {
			continue
		}
		k := int(f)
		if k < 0 {
			k += depth
		}
		if k < depth {
			copyRun(out.elems, (i/inner*depth+k)*inner+i%inner, src, 1, 1)
		}
	}
	return []*tensor.Tensor{out.done()}, nil
}
