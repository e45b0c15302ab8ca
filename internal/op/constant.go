package op

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Constant yields the tensor that one of its attributes gives; without any other attribute it is the scalar string ValueString.
type Constant struct {
	Value        *tensor.Tensor `attr:"value"`
	ValueFloat   *float32       `attr:"value_float"`
	ValueFloats  []float32      `attr:"value_floats"`
	ValueInt     *int           `attr:"value_int"`
	ValueInts    []int          `attr:"value_ints"`
	ValueString  string         `attr:"value_string"`
	ValueStrings []string       `attr:"value_strings"`
}

func (*Constant) Kind() string { return "Constant" }

// Tensor returns the constant.
func (c *Constant) Tensor() (*tensor.Tensor, error) {
	var given []*tensor.Tensor
	if c.Value != nil {
		given = append(given, c.Value)
	}
	if c.ValueFloat != nil {
		given = append(given, tensor.Scalar(*c.ValueFloat))
	}
	if c.ValueFloats != nil {
		given = append(given, tensor.Vector(c.ValueFloats...))
	}
	if c.ValueInt != nil {
		given = append(given, tensor.Scalar(int64(*c.ValueInt)))
	}
	if c.ValueInts != nil {
		given = append(given, int64Vector(c.ValueInts))
	}
	if c.ValueStrings != nil {
		given = append(given, tensor.Strings(tensor.Shape{len(c.ValueStrings)}, c.ValueStrings))
	}
	if c.ValueString != "" || len(given) == 0 {
		given = append(given, tensor.Strings(tensor.Shape{}, []string{c.ValueString}))
	}
	if len(given) > 1 {
		return nil, errors.New("more than one of the value attributes is set")
	}
	return given[0], nil
}

func (c *Constant) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 0, 0); err != nil {
		return nil, err
	}
	t, err := c.Tensor()
	if err != nil {
		return nil, err
	}
	return []graph.Type{graph.TypeOf(t)}, nil
}

func (c *Constant) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 0, 0); err != nil {
		return nil, err
	}
	return one(c.Tensor())
}

// int64Vector returns a rank-1 int64 tensor.
func int64Vector(v []int) *tensor.Tensor {
	t := tensor.New(tensor.Int64, len(v))
	data := tensor.Data[int64](t)
	for i, n := range v {
		data[i] = int64(n)
	}
	return t
}

// ConstantOfShape makes a tensor of the shape that its input gives, filled with the one element of Value (float32 zero if nil).
type ConstantOfShape struct {
	Value *tensor.Tensor `attr:"value"`
}

func (*ConstantOfShape) Kind() string { return "ConstantOfShape" }

func (c *ConstantOfShape) dtype() (tensor.DType, error) {
	if c.Value == nil {
		return tensor.Float32, nil
	}
	if c.Value.Len() != 1 || c.Value.Packed != nil {
		return tensor.Invalid, fmt.Errorf("value: want one element, got %v", c.Value)
	}
	return c.Value.DType, nil
}

func (c *ConstantOfShape) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := c.dtype()
	if err != nil {
		return nil, err
	}
	return one(typeOfShape(d, in[0]))
}

// typeOfShape returns the type of a tensor whose shape is the value of an input.
func typeOfShape(d tensor.DType, shape graph.Type) (graph.Type, error) {
	if dims, ok := knownInts(shape); ok {
		if err := checkSize(dims); err != nil {
			return graph.Type{}, err
		}
		return graph.Shaped(d, dims), nil
	}
	if n, ok := rankOfShape(shape); ok {
		return graph.Ranked(d, unknownDims(n)...), nil
	}
	return graph.Unranked(d), nil
}

func (c *ConstantOfShape) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	d, err := c.dtype()
	if err != nil {
		return nil, err
	}
	shape, err := intsOf(in[0])
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	out, err := newElems(e, d, shape)
	if err != nil {
		return nil, err
	}
	if c.Value == nil {
		clear(out.data)
	} else {
		fillElems(e, out.elems, elemsOf(c.Value), out.t.Len())
	}
	return []*tensor.Tensor{out.done()}, nil
}

// Identity passes its input through, containers included.
type Identity struct{ viewing }

func (*Identity) Kind() string { return "Identity" }

func (*Identity) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	return []graph.Type{in[0]}, nil
}

func (*Identity) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	return e.One(in[0]), nil
}

// Shape yields the dimensions [Start, End) of its input as an int64 vector; negative positions count from the end.
type Shape struct {
	Start int  `attr:"start,0"`
	End   *int `attr:"end"`
}

func (*Shape) Kind() string { return "Shape" }

func (s *Shape) bounds(rank int) (lo, hi int) {
	at := func(i int) int {
		if i < 0 {
			i += rank
		}
		return min(max(i, 0), rank)
	}
	lo, hi = at(s.Start), rank
	if s.End != nil {
		hi = at(*s.End)
	}
	return lo, max(lo, hi)
}

func (s *Shape) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Ranked(tensor.Int64, graph.Unknown)}, nil
	}
	lo, hi := s.bounds(len(in[0].Dims))
	part := graph.Type{Ranked: true, Dims: in[0].Dims[lo:hi]}
	if shape, ok := part.Shape(); ok {
		return []graph.Type{graph.TypeOf(int64Vector(shape))}, nil
	}
	return []graph.Type{graph.Ranked(tensor.Int64, graph.Known(hi-lo))}, nil
}

func (s *Shape) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	lo, hi := s.bounds(in[0].Rank())
	return []*tensor.Tensor{int64Vector(in[0].Shape[lo:hi])}, nil
}

// Size yields the number of elements of its input as an int64 scalar.
type Size struct{}

func (*Size) Kind() string { return "Size" }

func (*Size) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if shape, ok := in[0].Shape(); ok {
		if n, ok := shape.CheckedLen(); ok {
			return []graph.Type{graph.TypeOf(tensor.Scalar(int64(n)))}, nil
		}
	}
	return []graph.Type{graph.Ranked(tensor.Int64)}, nil
}

func (*Size) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	return []*tensor.Tensor{tensor.Scalar(int64(in[0].Len()))}, nil
}
