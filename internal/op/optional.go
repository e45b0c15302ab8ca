package op

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Optional wraps its input, or makes an empty optional of element type Type if there is none.
type Optional struct {
	Type *graph.Type `attr:"type"`
}

func (*Optional) Kind() string { return "Optional" }

func (o *Optional) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 0, 1); err != nil {
		return nil, err
	}
	out := graph.Type{DType: tensor.Optional}
	if t := arg(in, 0); !t.IsNone() {
		t.Const = nil
		out.Elem = &t
	} else if o.Type != nil {
		out.Elem = o.Type
	}
	return []graph.Type{out}, nil
}

func (o *Optional) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 0, 1); err != nil {
		return nil, err
	}
	if o.Type == nil && arg(in, 0) == nil {
		return nil, errors.New("neither the input nor the type attribute is given")
	}
	return []*tensor.Tensor{tensor.NewOptional(arg(in, 0))}, nil
}

// OptionalGetElement unwraps an optional; any other value passes through. An empty optional is an error.
type OptionalGetElement struct{}

func (*OptionalGetElement) Kind() string { return "OptionalGetElement" }

func (*OptionalGetElement) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if in[0].DType == tensor.Optional {
		return []graph.Type{elemOf(in[0])}, nil
	}
	return []graph.Type{in[0]}, nil
}

func (*OptionalGetElement) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if in[0].DType != tensor.Optional {
		return []*tensor.Tensor{in[0]}, nil
	}
	if len(in[0].Elems()) != 1 {
		return nil, fmt.Errorf("the optional is empty")
	}
	return []*tensor.Tensor{in[0].Elems()[0]}, nil
}

// OptionalHasElement yields a bool scalar: whether there is an input and it is not an empty optional.
type OptionalHasElement struct{}

func (*OptionalHasElement) Kind() string { return "OptionalHasElement" }

func (*OptionalHasElement) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 0, 1); err != nil {
		return nil, err
	}
	return []graph.Type{graph.Ranked(tensor.Bool)}, nil
}

func (*OptionalHasElement) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 0, 1); err != nil {
		return nil, err
	}
	t := arg(in, 0)
	return []*tensor.Tensor{tensor.Scalar(t != nil && (t.DType != tensor.Optional || len(t.Elems()) > 0))}, nil
}
