package op

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/impl"
	"github.com/neurotrain/neuroquant/tensor"
)

// fresh is a table entry: fresh[Add] makes an *Add.
func fresh[T any, P interface {
	*T
	graph.Op
}]() graph.Op {
	return P(new(T))
}

// Arguments.

// want checks the number of inputs: the first required ones must be there, and there are at most most (negative: any number).
// Among types an omitted input looks like one of which nothing is known, so there only the number is checked.
func want[T graph.Type | *tensor.Tensor](in []T, required, most int) error {
	if len(in) < required || most >= 0 && len(in) > most {
		switch {
		case most < 0:
			return fmt.Errorf("want at least %d inputs, got %d", required, len(in))
		case required == most:
			return fmt.Errorf("want %d inputs, got %d", required, len(in))
		}
		return fmt.Errorf("want %d to %d inputs, got %d", required, most, len(in))
	}
	for i := range required {
		if t, ok := any(in[i]).(*tensor.Tensor); ok && t == nil {
			return fmt.Errorf("input %d is missing", i)
		}
	}
	return nil
}

// arg returns input i, or the zero value if it is omitted.
func arg[T any](in []T, i int) T {
	if i < len(in) {
		return in[i]
	}
	var zero T
	return zero
}

// args is [want] followed by [dense]: what most operators do first in Eval.
func args(in []*tensor.Tensor, required, most int) ([]*tensor.Tensor, error) {
	if err := want(in, required, most); err != nil {
		return nil, err
	}
	return dense(in)
}

// dense returns the inputs with packed matrices decoded to their element type.
func dense(in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out := in
	for i, t := range in {
		if t == nil || t.Packed == nil {
			continue
		}
		if len(out) > 0 && &out[0] == &in[0] {
			out = slices.Clone(in)
		}
		f, err := t.Floats()
		if err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
		d := tensor.Of(t.Shape, f)
		if t.DType != tensor.Float32 {
			if d, err = castTensor(&graph.Env{}, d, t.DType, castMode{saturate: true}); err != nil {
				return nil, fmt.Errorf("input %d: %w", i, err)
			}
		}
		out[i] = d
	}
	return out, nil
}

// scalarInt returns the only element of an integer tensor, whatever its shape.
func scalarInt(t *tensor.Tensor) (int, error) {
	v, err := intsOf(t)
	if err != nil {
		return 0, err
	}
	if len(v) != 1 {
		return 0, fmt.Errorf("want one value, got shape %v", t.Shape)
	}
	return v[0], nil
}

// scalarFloat returns the only element of a tensor of real numbers, whatever its shape.
func scalarFloat(t *tensor.Tensor) (float64, error) {
	if t.Len() != 1 {
		return 0, fmt.Errorf("want one value, got shape %v", t.Shape)
	}
	v, err := t.Float64s()
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// intsOf returns the values of an axes, shape or similar input. Nil for an omitted one.
func intsOf(t *tensor.Tensor) ([]int, error) {
	if t == nil {
		return nil, nil
	}
	if !t.DType.IsInt() {
		return nil, fmt.Errorf("want integers, got %v", t.DType)
	}
	v, err := t.Ints()
	if err != nil {
		return nil, err
	}
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out, nil
}

// knownInts returns the values of an axes, shape or similar input as far as inference knows them.
func knownInts(t graph.Type) ([]int, bool) {
	if t.Const == nil || t.Const.Packed != nil {
		return nil, false
	}
	v, err := intsOf(t.Const)
	return v, err == nil
}

// axisOrFlat resolves an axis; without one the tensor is taken as one-dimensional.
func axisOrFlat(t *tensor.Tensor, axis *int) (*tensor.Tensor, int, error) {
	if axis == nil {
		return t.Reshape(t.Len()), 0, nil
	}
	a, err := tensor.Axis(*axis, t.Rank())
	return t, a, err
}

// axesOf resolves axes against a rank: negative ones count from the end; the result is sorted. An axis given twice is an error.
func axesOf(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		var err error
		if out[i], err = tensor.Axis(a, rank); err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	for i := 1; i < len(out); i++ {
		if out[i] == out[i-1] {
			return nil, fmt.Errorf("axis %d is given twice", out[i])
		}
	}
	return out, nil
}

// maxElems bounds the element count of an output whose size comes from the values of inputs: what half of this machine's
// memory holds in float32. A hostile shape is an error then, and not the end of the process.
var maxElems = func() int {
	total, _ := impl.Memory()
	if total == 0 {
		total = 4 << 30
	}
	return int(min(total/2/4, math.MaxInt))
}()

// checkSize reports a shape that is negative or too large to allocate.
func checkSize(shape tensor.Shape) error {
	n, ok := shape.CheckedLen()
	if !ok || n > maxElems {
		return fmt.Errorf("output shape %v is negative or too large (this machine takes up to %d values)", []int(shape), maxElems)
	}
	return nil
}

// Element types.

// dtypeSet is a set of element types.
type dtypeSet uint64

func dtypes(d ...tensor.DType) dtypeSet {
	var s dtypeSet
	for _, x := range d {
		s |= 1 << x
	}
	return s
}

// Sets that operator specifications use again and again.
var (
	floats    = dtypes(tensor.Float16, tensor.BFloat16, tensor.Float32, tensor.Float64)
	signed    = dtypes(tensor.Int8, tensor.Int16, tensor.Int32, tensor.Int64)
	unsigned  = dtypes(tensor.Uint8, tensor.Uint16, tensor.Uint32, tensor.Uint64)
	ints      = signed | unsigned
	numbers   = floats | ints
	wideInts  = dtypes(tensor.Int32, tensor.Int64, tensor.Uint32, tensor.Uint64)
	float8s   = dtypes(tensor.Float8E4M3FN, tensor.Float8E4M3FNUZ, tensor.Float8E5M2, tensor.Float8E5M2FNUZ)
	booleans  = dtypes(tensor.Bool)
	indexInts = dtypes(tensor.Int32, tensor.Int64)
)

func (s dtypeSet) has(d tensor.DType) bool { return s>>d&1 == 1 }

// check reports an element type that is known and not in the set, for input i.
func (s dtypeSet) check(i int, d tensor.DType) error {
	if d == tensor.Invalid || s.has(d) {
		return nil
	}
	return fmt.Errorf("input %d: element type %v is not one of %v", i, d, s)
}

func (s dtypeSet) String() string {
	var names []string
	for d := tensor.DType(1); d < 64; d++ {
		if s.has(d) {
			names = append(names, d.String())
		}
	}
	return strings.Join(names, ", ")
}

// number lists the Go types that arithmetic is done in.
type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// integer lists the integer types among [number].
type integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// cells views dense elements as values of a Go type of the same width, for operators that only move data:
// uint8, uint16, uint32, uint64 or [2]uint64. It panics if the widths differ.
func cells[W any](t *tensor.Tensor) []W {
	var w W
	if int(unsafe.Sizeof(w)) != t.DType.Size() {
		panic(fmt.Sprintf("op: cells of %d bytes asked of a %v tensor", unsafe.Sizeof(w), t.DType))
	}
	b := t.Bytes()
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*W)(unsafe.Pointer(&b[0])), len(b)/int(unsafe.Sizeof(w)))
}

// Types.

// retyped returns t with another element type and no known value.
func retyped(t graph.Type, d tensor.DType) graph.Type {
	t.DType, t.Const, t.Elem = d, nil, nil
	return t
}

// one is the result of an Infer or Eval with a single output.
func one[T any](v T, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return []T{v}, nil
}

// inferUnary is Infer of an operator whose output is like its input, of the given element types.
func inferUnary(in []graph.Type, set dtypeSet) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := set.check(0, in[0].DType); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], in[0].DType)}, nil
}

// sameDType returns the element type that all inputs share, Invalid where none is known.
func sameDType(in ...graph.Type) (tensor.DType, error) {
	d := tensor.Invalid
	for i, t := range in {
		switch {
		case t.DType == tensor.Invalid:
		case d == tensor.Invalid:
			d = t.DType
		case d != t.DType:
			return d, fmt.Errorf("input %d: element type %v differs from %v", i, t.DType, d)
		}
	}
	return d, nil
}

// inferCommon checks the number of inputs (see [want]) and returns the element type that they share, which must be one of set.
func inferCommon(in []graph.Type, required, most int, set dtypeSet) (tensor.DType, error) {
	if err := want(in, required, most); err != nil {
		return tensor.Invalid, err
	}
	d, err := sameDType(in...)
	if err == nil {
		err = set.check(0, d)
	}
	return d, err
}

// single returns the only input of an operator, whose element type must be one of set.
func single(in []*tensor.Tensor, set dtypeSet) (*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	return in[0], set.check(0, in[0].DType)
}

// sameElems is [sameDType] for tensors; nil ones are skipped.
func sameElems(in ...*tensor.Tensor) error {
	d := tensor.Invalid
	for i, t := range in {
		switch {
		case t == nil:
		case d == tensor.Invalid:
			d = t.DType
		case d != t.DType:
			return fmt.Errorf("input %d: element type %v differs from %v", i, t.DType, d)
		}
	}
	return nil
}
