package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// sequenceOps are the operators on containers. Elements are shared between containers, never copied.
var sequenceOps = table{
	"SequenceEmpty":      fresh[SequenceEmpty],
	"SequenceConstruct":  fresh[SequenceConstruct],
	"SequenceAt":         fresh[SequenceAt],
	"SequenceInsert":     fresh[SequenceInsert],
	"SequenceErase":      fresh[SequenceErase],
	"SequenceLength":     fresh[SequenceLength],
	"SplitToSequence":    fresh[SplitToSequence],
	"ConcatFromSequence": fresh[ConcatFromSequence],
	"SequenceMap":        fresh[SequenceMap],
	"Optional":           fresh[Optional],
	"OptionalGetElement": fresh[OptionalGetElement],
	"OptionalHasElement": fresh[OptionalHasElement],
}

// sequenceOf returns the type of a sequence of elements of type t.
func sequenceOf(t graph.Type) graph.Type {
	t.Const = nil
	return graph.Type{DType: tensor.Sequence, Elem: &t}
}

// elemOf returns the type of a container's elements; the zero type if unknown.
func elemOf(t graph.Type) graph.Type {
	if t.Elem == nil {
		return graph.Type{}
	}
	e := *t.Elem
	e.Const = nil
	return e
}

// commonType returns what is certain about a value that is of type a or of type b.
func commonType(a, b graph.Type) graph.Type {
	out := graph.Type{}
	if a.DType == b.DType {
		out.DType = a.DType
	}
	if a.Elem != nil && b.Elem != nil {
		e := commonType(*a.Elem, *b.Elem)
		out.Elem = &e
	}
	if a.Ranked && b.Ranked && len(a.Dims) == len(b.Dims) {
		out.Ranked, out.Dims = true, slices.Clone(a.Dims)
		for i, d := range b.Dims {
			if d != a.Dims[i] {
				out.Dims[i] = graph.Unknown
			}
		}
	}
	return out
}

// wantSequence checks that input i is a sequence.
func wantSequence(in []*tensor.Tensor, i int) error {
	if in[i].DType != tensor.Sequence {
		return fmt.Errorf("input %d: want a sequence, got %v", i, in[i].DType)
	}
	return nil
}

// inferSequence checks the inputs of an operator whose first input is a sequence.
func inferSequence(in []graph.Type, required, most int) error {
	if err := want(in, required, most); err != nil {
		return err
	}
	if d := in[0].DType; d != tensor.Invalid && d != tensor.Sequence {
		return fmt.Errorf("input 0: want a sequence, got %v", d)
	}
	return nil
}

// SequenceEmpty makes an empty sequence of tensors of the element type that DType numbers (nil: float32).
type SequenceEmpty struct {
	DType *int `attr:"dtype"`
}

func (*SequenceEmpty) Kind() string { return "SequenceEmpty" }

func (o *SequenceEmpty) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 0, 0); err != nil {
		return nil, err
	}
	d := tensor.Float32
	if o.DType != nil {
		if *o.DType < 1 || *o.DType > math.MaxUint8 || !tensor.DType(*o.DType).Valid() {
			return nil, fmt.Errorf("dtype: %d is not an element type", *o.DType)
		}
		d = tensor.DType(*o.DType)
	}
	return []graph.Type{sequenceOf(graph.Unranked(d))}, nil
}

func (o *SequenceEmpty) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 0, 0); err != nil {
		return nil, err
	}
	return []*tensor.Tensor{tensor.NewSequence()}, nil
}

// SequenceConstruct makes a sequence of its inputs.
type SequenceConstruct struct{}

func (*SequenceConstruct) Kind() string { return "SequenceConstruct" }

func (*SequenceConstruct) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, -1); err != nil {
		return nil, err
	}
	d, err := sameDType(in...)
	if err != nil {
		return nil, err
	}
	t := in[0]
	for _, o := range in[1:] {
		t = commonType(t, o)
	}
	t.DType = d
	return []graph.Type{sequenceOf(t)}, nil
}

func (*SequenceConstruct) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, max(1, len(in)), -1); err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	return []*tensor.Tensor{tensor.NewSequence(slices.Clone(in)...)}, nil
}

// sequencePosition resolves a position input against n places.
func sequencePosition(t *tensor.Tensor, n int) (int, error) {
	k, err := scalarInt(t)
	if err != nil {
		return 0, fmt.Errorf("position: %w", err)
	}
	at, ok := wrapIndex(int64(k), n)
	if !ok {
		return 0, fmt.Errorf("position: %d is out of range for %d", k, n)
	}
	return at, nil
}

// SequenceAt yields the element at a position; negative ones count from the end.
type SequenceAt struct{}

func (*SequenceAt) Kind() string { return "SequenceAt" }

func (*SequenceAt) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferSequence(in, 2, 2); err != nil {
		return nil, err
	}
	return []graph.Type{elemOf(in[0])}, nil
}

func (*SequenceAt) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := wantSequence(in, 0); err != nil {
		return nil, err
	}
	k, err := sequencePosition(in[1], len(in[0].Elems()))
	if err != nil {
		return nil, err
	}
	return []*tensor.Tensor{in[0].Elems()[k]}, nil
}

// SequenceInsert puts a tensor before a position, at the end if no position is given.
type SequenceInsert struct{}

func (*SequenceInsert) Kind() string { return "SequenceInsert" }

func (*SequenceInsert) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferSequence(in, 2, 3); err != nil {
		return nil, err
	}
	t := commonType(elemOf(in[0]), in[1])
	t.DType = in[1].DType
	return []graph.Type{sequenceOf(t)}, nil
}

func (*SequenceInsert) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 3); err != nil {
		return nil, err
	}
	if err := wantSequence(in, 0); err != nil {
		return nil, err
	}
	elems := in[0].Elems()
	if len(elems) > 0 && elems[0].DType != in[1].DType {
		return nil, fmt.Errorf("cannot insert %v into a sequence of %v", in[1].DType, elems[0].DType)
	}
	k := len(elems)
	if t := arg(in, 2); t != nil {
		n, err := scalarInt(t)
		if err != nil {
			return nil, fmt.Errorf("position: %w", err)
		}
		if n < 0 {
			n += len(elems)
		}
		if n < 0 || n > len(elems) {
			return nil, fmt.Errorf("position: %d is out of range for %d elements", n, len(elems))
		}
		k = n
	}
	return []*tensor.Tensor{tensor.NewSequence(slices.Insert(slices.Clone(elems), k, in[1])...)}, nil
}

// SequenceErase drops the element at a position, the last one if no position is given.
type SequenceErase struct{}

func (*SequenceErase) Kind() string { return "SequenceErase" }

func (*SequenceErase) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferSequence(in, 1, 2); err != nil {
		return nil, err
	}
	return []graph.Type{sequenceOf(elemOf(in[0]))}, nil
}

func (*SequenceErase) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 2); err != nil {
		return nil, err
	}
	if err := wantSequence(in, 0); err != nil {
		return nil, err
	}
	elems := in[0].Elems()
	k := len(elems) - 1
	if t := arg(in, 1); t != nil {
		var err error
		if k, err = sequencePosition(t, len(elems)); err != nil {
			return nil, err
		}
	}
	if k < 0 {
		return nil, errors.New("the sequence is empty")
	}
	return []*tensor.Tensor{tensor.NewSequence(slices.Delete(slices.Clone(elems), k, k+1)...)}, nil
}

// SequenceLength yields the number of elements as an int64 scalar.
type SequenceLength struct{}

func (*SequenceLength) Kind() string { return "SequenceLength" }

func (*SequenceLength) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := inferSequence(in, 1, 1); err != nil {
		return nil, err
	}
	return []graph.Type{graph.Ranked(tensor.Int64)}, nil
}

func (*SequenceLength) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := wantSequence(in, 0); err != nil {
		return nil, err
	}
	return []*tensor.Tensor{tensor.Scalar(int64(len(in[0].Elems())))}, nil
}
