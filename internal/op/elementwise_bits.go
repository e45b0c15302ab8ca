package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// logical is Infer of a binary operator on bools, bitwise of one on the bits of integers.
type (
	logical struct{}
	bitwise struct{}
)

func (logical) Infer(in []graph.Type) ([]graph.Type, error) { return inferBinary(in, booleans) }

func (bitwise) Infer(in []graph.Type) ([]graph.Type, error) { return inferBinary(in, ints) }

// And is A and B with broadcasting.
type And struct{ logical }

func (*And) Kind() string { return "And" }

func (*And) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalBits(e, in, booleans, bitAnd)
}

// Or is A or B with broadcasting.
type Or struct{ logical }

func (*Or) Kind() string { return "Or" }

func (*Or) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalBits(e, in, booleans, bitOr)
}

// Xor tells where exactly one of A and B holds, with broadcasting.
type Xor struct{ logical }

func (*Xor) Kind() string { return "Xor" }

func (*Xor) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalBits(e, in, booleans, bitXor)
}

// BitwiseAnd is A & B with broadcasting.
type BitwiseAnd struct{ bitwise }

func (*BitwiseAnd) Kind() string { return "BitwiseAnd" }

func (*BitwiseAnd) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalBits(e, in, ints, bitAnd)
}

// BitwiseOr is A | B with broadcasting.
type BitwiseOr struct{ bitwise }

func (*BitwiseOr) Kind() string { return "BitwiseOr" }

func (*BitwiseOr) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalBits(e, in, ints, bitOr)
}

// BitwiseXor is A ^ B with broadcasting.
type BitwiseXor struct{ bitwise }

func (*BitwiseXor) Kind() string { return "BitwiseXor" }

func (*BitwiseXor) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalBits(e, in, ints, bitXor)
}

// BitShift shifts X by Y bits, with broadcasting. The right shift of a signed integer is arithmetic; a shift by a negative
// amount or by more than the width moves every bit out.
type BitShift struct {
	bitwise
	Direction string `attr:"direction"` // "LEFT" or "RIGHT"
}

func (*BitShift) Kind() string { return "BitShift" }

func (o *BitShift) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := o.op(); err != nil {
		return nil, err
	}
	return o.bitwise.Infer(in)
}

func (o *BitShift) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	op, err := o.op()
	if err != nil {
		return nil, err
	}
	return evalBits(e, in, ints, op)
}

func (o *BitShift) op() (bitOp, error) {
	switch o.Direction {
	case "LEFT":
		return bitLeft, nil
	case "RIGHT":
		return bitRight, nil
	}
	return 0, fmt.Errorf("direction: want LEFT or RIGHT, got %q", o.Direction)
}

type bitOp uint8

const (
	bitAnd bitOp = iota
	bitOr
	bitXor
	bitLeft
	bitRight
)

func evalBits(e *graph.Env, in []*tensor.Tensor, set dtypeSet, op bitOp) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	if err := set.check(0, in[0].DType); err != nil {
		return nil, err
	}
	shape, err := broadcastShapes(in...)
	if err != nil {
		return nil, err
	}
	w := newBroadcast(shape, in[0].Shape, in[1].Shape)
	out := e.New(in[0].DType, shape...)
	switch in[0].DType {
	case tensor.Bool, tensor.Uint8:
		zipBits[uint8](e, w, out, in, op)
	case tensor.Int8:
		zipBits[int8](e, w, out, in, op)
	case tensor.Int16:
		zipBits[int16](e, w, out, in, op)
	case tensor.Int32:
		zipBits[int32](e, w, out, in, op)
	case tensor.Int64:
		zipBits[int64](e, w, out, in, op)
	case tensor.Uint16:
		zipBits[uint16](e, w, out, in, op)
	case tensor.Uint32:
		zipBits[uint32](e, w, out, in, op)
	case tensor.Uint64:
		zipBits[uint64](e, w, out, in, op)
	}
	return []*tensor.Tensor{out}, nil
}

func zipBits[T integer](e *graph.Env, w *broadcast, out *tensor.Tensor, in []*tensor.Tensor, op bitOp) {
	var row func(dst, a, b []T)
	switch op {
	case bitAnd:
		row = func(dst, a, b []T) {
			for i := range dst {
				dst[i] = a[i] & b[i]
			}
		}
	case bitOr:
		row = func(dst, a, b []T) {
			for i := range dst {
				dst[i] = a[i] | b[i]
			}
		}
	case bitXor:
		row = func(dst, a, b []T) {
			for i := range dst {
				dst[i] = a[i] ^ b[i]
			}
		}
	case bitLeft: // Go's shifts fill as the operator does; a negative amount becomes a large one
		row = func(dst, a, b []T) {
			for i := range dst {
				dst[i] = a[i] << uint64(b[i])
			}
		}
	case bitRight:
		row = func(dst, a, b []T) {
			for i := range dst {
				dst[i] = a[i] >> uint64(b[i])
			}
		}
	}
	zip(e, w, tensor.Data[T](out), tensor.Data[T](in[0]), tensor.Data[T](in[1]), row)
}

// Not turns bools around.
type Not struct{}

func (*Not) Kind() string { return "Not" }

func (*Not) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, booleans) }

func (*Not) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := booleans.check(0, in[0].DType); err != nil {
		return nil, err
	}
	out := e.New(tensor.Bool, in[0].Shape...)
	eachRow(e, tensor.Data[bool](out), tensor.Data[uint8](in[0]), func(dst []bool, x []uint8) {
		for i, v := range x {
			dst[i] = v == 0
		}
	})
	return []*tensor.Tensor{out}, nil
}

// BitwiseNot inverts every bit.
type BitwiseNot struct{}

func (*BitwiseNot) Kind() string { return "BitwiseNot" }

func (*BitwiseNot) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, ints) }

func (*BitwiseNot) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := ints.check(0, in[0].DType); err != nil {
		return nil, err
	}
	out := e.New(in[0].DType, in[0].Shape...)
	dst := out.Bytes()
	eachRow(e, dst, in[0].Bytes(), func(dst, x []byte) {
		for i, v := range x {
			dst[i] = ^v
		}
	})
	return []*tensor.Tensor{out}, nil
}
