package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var castOps = table{
	"Cast":     fresh[Cast],
	"CastLike": fresh[CastLike],
	"BitCast":  fresh[BitCast],
}

// Cast converts elements to another type. Floats are cut towards zero when they become integers, and an integer that does
// not fit keeps its low bits; a float beyond the int64 range saturates first, NaN becomes 0.
type Cast struct {
	To        int    `attr:"to"` // tensor.DType
	Saturate  bool   `attr:"saturate,1"`
	RoundMode string `attr:"round_mode,up"`
}

// Kind implements [graph.Op].
func (*Cast) Kind() string { return "Cast" }

// Infer implements [graph.Op].
func (o *Cast) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if err := checkRound(o.RoundMode); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

// Eval implements [graph.Op].
func (o *Cast) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if in[0].Packed != nil && in[0].DType == d {
		return in[:1:1], nil
	}
	if in, err = dense(in); err != nil {
		return nil, err
	}
	return e.Single(castTensor(e, in[0], d, castMode{o.Saturate, o.RoundMode}))
}

// CastLike is [Cast] to the element type of the second input.
type CastLike struct {
	Saturate  bool   `attr:"saturate,1"`
	RoundMode string `attr:"round_mode,up"`
}

// Kind implements [graph.Op].
func (*CastLike) Kind() string { return "CastLike" }

// Infer implements [graph.Op].
func (o *CastLike) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := checkRound(o.RoundMode); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], in[1].DType)}, nil
}

// Eval implements [graph.Op].
func (o *CastLike) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	return one(castTensor(e, in[0], in[1].DType, castMode{o.Saturate, o.RoundMode}))
}

// BitCast gives the bits of the elements another type of the same width.
type BitCast struct {
	To int `attr:"to"` // tensor.DType
}

// Kind implements [graph.Op].
func (*BitCast) Kind() string { return "BitCast" }

// Infer implements [graph.Op].
func (o *BitCast) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if err := sameWidth(in[0].DType, d); in[0].DType != tensor.Invalid && err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

// Eval implements [graph.Op].
func (o *BitCast) Eval(_ *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if err := sameWidth(in[0].DType, d); err != nil {
		return nil, err
	}
	return one(tensor.FromBytes(d, in[0].Shape, in[0].Bytes()))
}

func sameWidth(from, to tensor.DType) error {
	if from.Bits() == 0 || from.Bits() != to.Bits() {
		return fmt.Errorf("%v and %v differ in width", from, to)
	}
	return nil
}

// dtypeAttr checks an attribute that names an element type.
func dtypeAttr(name string, v int) (tensor.DType, error) {
	if v <= 0 || v > int(tensor.Int2) || !tensor.DType(v).Valid() {
		return tensor.Invalid, fmt.Errorf("%s: unknown element type %d", name, v)
	}
	return tensor.DType(v), nil
}

func checkRound(mode string) error {
	switch mode {
	case "", "up", "down", "nearest":
		return nil
	}
	return fmt.Errorf("round_mode: want up, down or nearest, got %q", mode)
}
