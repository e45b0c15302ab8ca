package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Min is the least of all inputs, element by element with broadcasting; NaN wins.
type Min struct{}

func (*Min) Kind() string { return "Min" }

func (*Min) Infer(in []graph.Type) ([]graph.Type, error) { return inferVariadic(in, numbers) }

func (*Min) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return one(foldArith(e, in, numbers, minimum))
}

// Max is the greatest of all inputs, element by element with broadcasting; NaN wins.
type Max struct{}

func (*Max) Kind() string { return "Max" }

func (*Max) Infer(in []graph.Type) ([]graph.Type, error) { return inferVariadic(in, numbers) }

func (*Max) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return one(foldArith(e, in, numbers, maximum))
}

// Sum is the sum of all inputs with broadcasting.
type Sum struct{}

func (*Sum) Kind() string { return "Sum" }

func (*Sum) Infer(in []graph.Type) ([]graph.Type, error) { return inferVariadic(in, floats) }

func (*Sum) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return one(foldArith(e, in, floats, addition))
}

// Mean is the mean of all inputs with broadcasting.
type Mean struct{}

func (*Mean) Kind() string { return "Mean" }

func (*Mean) Infer(in []graph.Type) ([]graph.Type, error) { return inferVariadic(in, floats) }

func (*Mean) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	total, err := foldArith(e, in, floats, addition)
	if err != nil || len(in) == 1 {
		return one(total, err)
	}
	count, err := tensor.FromFloat64s(total.DType, nil, []float64{float64(len(in))})
	if err != nil {
		return nil, err
	}
	return one(arithTensor(e, total, count, division))
}

func inferVariadic(in []graph.Type, set dtypeSet) ([]graph.Type, error) {
	if err := want(in, 1, -1); err != nil {
		return nil, err
	}
	return inferSame(in, set)
}

// foldArith applies op to all inputs from left to right. A 16-bit result is rounded once, at the end.
func foldArith(e *graph.Env, in []*tensor.Tensor, set dtypeSet, op arith) (*tensor.Tensor, error) {
	in, err := args(in, 1, -1)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	for i, t := range in {
		if t == nil {
			return nil, fmt.Errorf("input %d is missing", i)
		}
	}
	d := in[0].DType
	if err := set.check(0, d); err != nil {
		return nil, err
	}
	if len(in) > 2 && goType(d) == tensor.Float32 && d != tensor.Float32 {
		wide := make([]*tensor.Tensor, len(in))
		for i, t := range in {
			wide[i] = decoded(e, t)
		}
		total, err := foldArith(e, wide, set, op)
		if err != nil {
			return nil, err
		}
		return encoded(e, total, d, castMode{}), nil
	}
	total := in[0]
	for _, t := range in[1:] {
		if total, err = arithTensor(e, total, t, op); err != nil {
			return nil, err
		}
	}
	return total, nil
}
