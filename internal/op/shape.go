package op

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// shapeOps are the operators that make, describe, rename and rearrange dimensions.
var shapeOps = table{
	"Constant":        fresh[Constant],
	"ConstantOfShape": fresh[ConstantOfShape],
	"Identity":        fresh[Identity],
	"Reshape":         fresh[Reshape],
	"Flatten":         fresh[Flatten],
	"Squeeze":         fresh[Squeeze],
	"Unsqueeze":       fresh[Unsqueeze],
	"Shape":           fresh[Shape],
	"Size":            fresh[Size],
	"Transpose":       fresh[Transpose],
	"DepthToSpace":    fresh[DepthToSpace],
	"SpaceToDepth":    fresh[SpaceToDepth],
	"Expand":          fresh[Expand],
	"Tile":            fresh[Tile],
	"Concat":          fresh[Concat],
	"Split":           fresh[Split],
	"Slice":           fresh[Slice],
	"Pad":             fresh[Pad],
	"CenterCropPad":   fresh[CenterCropPad],
	"Range":           fresh[Range],
	"EyeLike":         fresh[EyeLike],
	"Trilu":           fresh[Trilu],
	"OneHot":          fresh[OneHot],
	"Col2Im":          fresh[Col2Im],
	"ReverseSequence": fresh[ReverseSequence],
	"Compress":        fresh[Compress],
	"NonZero":         fresh[NonZero],
	"Unique":          fresh[Unique],
}

// Reshape gives the data another shape, in which 0 (unless AllowZero) copies the input's dimension and one -1 is computed.
type Reshape struct {
	viewing
	AllowZero bool `attr:"allowzero,0"`
}

func (*Reshape) Kind() string { return "Reshape" }

func (r *Reshape) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	target, ok := knownInts(in[1])
	if !ok {
		if n, ok := rankOfShape(in[1]); ok {
			out.Ranked, out.Dims = true, unknownDims(n)
		}
		return []graph.Type{out}, nil
	}
	dims, err := r.dims(in[0], target)
	if err != nil {
		return nil, err
	}
	out.Ranked, out.Dims = true, dims
	return []graph.Type{out}, nil
}

// dims resolves 0 and -1 in the target shape. Names cancel: of [n,4,8] to [0,-1] the rest is 32 whatever n is.
func (r *Reshape) dims(in graph.Type, target []int) ([]graph.Dim, error) {
	rest := append([]graph.Dim(nil), in.Dims...) // what the other target dimensions leave of the input
	dims := make([]graph.Dim, len(target))
	free, count := -1, 1
	cancel := func(d graph.Dim, at int) {
		if at >= 0 && rest[at] == d {
			rest[at] = graph.Known(1)
			return
		}
		if i := slices.Index(rest, d); i >= 0 && d != graph.Unknown {
			rest[i] = graph.Known(1)
		} else if d.IsKnown() {
			count *= d.Size
		} else {
			count = 0
		}
	}
	zero := false
	for i, n := range target {
		switch {
		case n == -1:
			if free >= 0 {
				return nil, fmt.Errorf("shape %v has more than one -1", target)
			}
			free = i
		case n < -1:
			return nil, fmt.Errorf("shape %v has the negative dimension %d", target, n)
		case n == 0 && !r.AllowZero:
			dims[i] = graph.Unknown
			if in.Ranked {
				if i >= len(in.Dims) {
					return nil, fmt.Errorf("shape %v copies dimension %d of an input of rank %d", target, i, len(in.Dims))
				}
				dims[i] = in.Dims[i]
				cancel(dims[i], i)
			}
		default:
			dims[i] = graph.Known(n)
			zero = zero || n == 0
			if in.Ranked {
				cancel(dims[i], -1)
			}
		}
	}
	if shape, ok := in.Shape(); ok {
		return dims, r.fit(shape, target, dims, free)
	}
	if free < 0 {
		return dims, nil
	}
	if zero {
		return nil, fmt.Errorf("shape %v has both 0 and -1", target)
	}
	dims[free] = graph.Unknown
	if in.Ranked && count > 0 {
		dims[free] = quotient(rest, count)
	}
	return dims, nil
}

// fit completes dims for a known input shape and checks that the element counts agree.
func (r *Reshape) fit(in tensor.Shape, target []int, dims []graph.Dim, free int) error {
	total, ok := in.CheckedLen()
	if !ok {
		return fmt.Errorf("input shape %v is too large", in)
	}
	shape := make(tensor.Shape, 0, len(dims))
	for i, d := range dims {
		if i != free {
			shape = append(shape, d.Size)
		}
	}
	n, ok := shape.CheckedLen()
	switch {
	case !ok:
		return fmt.Errorf("shape %v is too large", target)
	case free < 0 && n != total, free >= 0 && n == 0, free >= 0 && total%n != 0:
		return fmt.Errorf("cannot reshape %v (%d elements) to %v", in, total, target)
	case free >= 0:
		dims[free] = graph.Known(total / n)
	}
	return nil
}

// quotient is the product of dims divided by n, where that is certain: a number, or a name alone.
func quotient(dims []graph.Dim, n int) graph.Dim {
	name := graph.Unknown
	product := 1
	for _, d := range dims {
		switch {
		case d.IsKnown():
			product *= d.Size
		case name != graph.Unknown || d.Name == "":
			return graph.Unknown
		default:
			name = d
		}
	}
	switch {
	case name == graph.Unknown && product%n == 0:
		return graph.Known(product / n)
	case name != graph.Unknown && product == n:
		return name
	}
	return graph.Unknown
}

func (r *Reshape) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	return resolvedView(e, in[0], in[1], func() ([]graph.Dim, error) {
		target, err := intsOf(in[1])
		if err != nil {
			return nil, fmt.Errorf("shape: %w", err)
		}
		return r.dims(graph.Shaped(in[0].DType, in[0].Shape), target)
	})
}

// knownView is the shape of a view of a tensor of shape x, where the second input is what spec says.
type knownView struct {
	x, y tensor.Shape
	spec []byte
}

// resolvedView returns x in the shape that dims computes from the shape of x and the integers of spec, which may be omitted.
func resolvedView(e *graph.Env, x, spec *tensor.Tensor, dims func() ([]graph.Dim, error)) ([]*tensor.Tensor, error) {
	kept := graph.Keep[knownView](e)
	defer kept.Done()
	v := &kept.V
	var given []byte
	if spec != nil {
		given = spec.Bytes()
	}
	if v.y == nil || !v.x.Equal(x.Shape) || !bytes.Equal(v.spec, given) {
		d, err := dims()
		if err != nil {
			return nil, err
		}
		*v = knownView{x.Shape.Clone(), sizesOf(d), bytes.Clone(given)}
	}
	return view(e, x, v.y)
}

// viewing marks the operators whose output lies in the memory of the first input.
type viewing struct{}

// Views implements [graph.Viewing].
func (viewing) Views() {}

// view returns the tensor in another shape of as many elements, as the only output, without a copy of dense data.
func view(e *graph.Env, t *tensor.Tensor, shape tensor.Shape) ([]*tensor.Tensor, error) {
	if t.Packed == nil && t.DType.Bits() > 0 {
		return e.One(e.View(t, shape...)), nil
	}
	in, err := tensors([]*tensor.Tensor{t}, 1, 1)
	if err != nil {
		return nil, err
	}
	if t.Packed != nil && t.Rank() > 0 && len(shape) > 0 && shape[len(shape)-1] == t.Shape[t.Rank()-1] {
		in[0] = t // the rows of the matrix stay what they are
	}
	return []*tensor.Tensor{in[0].Reshape(shape...)}, nil
}

// Flatten makes a matrix: the dimensions before Axis become rows, the others columns.
type Flatten struct {
	viewing
	Axis int `attr:"axis,1"`
}

func (*Flatten) Kind() string { return "Flatten" }

func (f *Flatten) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Ranked(in[0].DType, unknownDims(2)...)}, nil
	}
	axis, err := f.split(len(in[0].Dims))
	if err != nil {
		return nil, err
	}
	return []graph.Type{graph.Ranked(in[0].DType, quotient(in[0].Dims[:axis], 1), quotient(in[0].Dims[axis:], 1))}, nil
}

func (f *Flatten) split(rank int) (int, error) {
	axis := f.Axis
	if axis < 0 {
		axis += rank
	}
	if axis < 0 || axis > rank {
		return 0, fmt.Errorf("axis %d is out of range for rank %d", f.Axis, rank)
	}
	return axis, nil
}

func (f *Flatten) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	axis, err := f.split(in[0].Rank())
	if err != nil {
		return nil, err
	}
	shape := e.Ints(2)
	shape[0], shape[1] = in[0].Shape[:axis].Len(), in[0].Shape[axis:].Len()
	return view(e, in[0], shape)
}

// Squeeze drops dimensions of size 1: those that the axes input names, or all of them.
type Squeeze struct{ viewing }

func (*Squeeze) Kind() string { return "Squeeze" }

func (s *Squeeze) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	axes, known := knownInts(arg(in, 1))
	if !in[0].Ranked || !known && !arg(in, 1).IsNone() {
		return []graph.Type{out}, nil
	}
	if !known {
		shape, ok := in[0].Shape()
		if !ok {
			return []graph.Type{out}, nil
		}
		axes = unitAxes(shape)
	}
	dims, err := s.drop(in[0].Dims, axes)
	if err != nil {
		return nil, err
	}
	out.Ranked, out.Dims = true, dims
	return []graph.Type{out}, nil
}

func unitAxes(shape tensor.Shape) []int {
	axes := []int{}
	for i, n := range shape {
		if n == 1 {
			axes = append(axes, i)
		}
	}
	return axes
}

func (s *Squeeze) drop(dims []graph.Dim, axes []int) ([]graph.Dim, error) {
	axes, err := axesOf(axes, len(dims))
	if err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	out := []graph.Dim{}
	for i, d := range dims {
		if !slices.Contains(axes, i) {
			out = append(out, d)
		} else if d.IsKnown() && d.Size != 1 {
			return nil, fmt.Errorf("dimension %d has size %d, not 1", i, d.Size)
		}
	}
	return out, nil
}

func (s *Squeeze) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	return resolvedView(e, in[0], arg(in, 1), func() ([]graph.Dim, error) {
		axes, err := intsOf(arg(in, 1))
		if err != nil {
			return nil, fmt.Errorf("axes: %w", err)
		}
		if arg(in, 1) == nil {
			axes = unitAxes(in[0].Shape)
		}
		return s.drop(graph.Shaped(in[0].DType, in[0].Shape).Dims, axes)
	})
}

// Unsqueeze inserts dimensions of size 1 so that they lie at the given axes of the result.
type Unsqueeze struct{ viewing }

func (*Unsqueeze) Kind() string { return "Unsqueeze" }

func (u *Unsqueeze) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	out := graph.Unranked(in[0].DType)
	axes, known := knownInts(in[1])
	if !in[0].Ranked || !known {
		return []graph.Type{out}, nil
	}
	dims, err := u.insert(in[0].Dims, axes)
	if err != nil {
		return nil, err
	}
	out.Ranked, out.Dims = true, dims
	return []graph.Type{out}, nil
}

func (u *Unsqueeze) insert(dims []graph.Dim, axes []int) ([]graph.Dim, error) {
	axes, err := axesOf(axes, len(dims)+len(axes))
	if err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	out := slices.Clone(dims)
	for _, a := range axes {
		out = slices.Insert(out, a, graph.Known(1))
	}
	return out, nil
}

func (u *Unsqueeze) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	return resolvedView(e, in[0], in[1], func() ([]graph.Dim, error) {
		axes, err := intsOf(in[1])
		if err != nil {
			return nil, fmt.Errorf("axes: %w", err)
		}
		return u.insert(graph.Shaped(in[0].DType, in[0].Shape).Dims, axes)
	})
}

// sizesOf returns dimensions that are all numbers as a shape.
func sizesOf(dims []graph.Dim) tensor.Shape {
	shape := make(tensor.Shape, len(dims))
	for i, d := range dims {
		shape[i] = d.Size
	}
	return shape
}
