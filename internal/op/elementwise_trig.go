package op

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Sin is the sine, of angles in radians.
type Sin struct{ real1 }

func (*Sin) Kind() string { return "Sin" }

func (*Sin) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Sin)
}

// Cos is the cosine, of angles in radians.
type Cos struct{ real1 }

func (*Cos) Kind() string { return "Cos" }

func (*Cos) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Cos)
}

// Tan is the tangent, of angles in radians.
type Tan struct{ real1 }

func (*Tan) Kind() string { return "Tan" }

func (*Tan) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Tan)
}

// Asin is the inverse sine, in radians.
type Asin struct{ real1 }

func (*Asin) Kind() string { return "Asin" }

func (*Asin) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Asin)
}

// Acos is the inverse cosine, in radians.
type Acos struct{ real1 }

func (*Acos) Kind() string { return "Acos" }

func (*Acos) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Acos)
}

// Atan is the inverse tangent, in radians.
type Atan struct{ real1 }

func (*Atan) Kind() string { return "Atan" }

func (*Atan) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Atan)
}

// Sinh is the hyperbolic sine.
type Sinh struct{ real1 }

func (*Sinh) Kind() string { return "Sinh" }

func (*Sinh) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Sinh)
}

// Cosh is the hyperbolic cosine.
type Cosh struct{ real1 }

func (*Cosh) Kind() string { return "Cosh" }

func (*Cosh) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Cosh)
}

// Tanh is the hyperbolic tangent.
type Tanh struct{ real1 }

func (*Tanh) Kind() string { return "Tanh" }

func (*Tanh) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, kernel.Tanh, math.Tanh)
}

// Asinh is the inverse hyperbolic sine.
type Asinh struct{ real1 }

func (*Asinh) Kind() string { return "Asinh" }

func (*Asinh) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Asinh)
}

// Acosh is the inverse hyperbolic cosine.
type Acosh struct{ real1 }

func (*Acosh) Kind() string { return "Acosh" }

func (*Acosh) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Acosh)
}

// Atanh is the inverse hyperbolic tangent.
type Atanh struct{ real1 }

func (*Atanh) Kind() string { return "Atanh" }

func (*Atanh) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, nil, math.Atanh)
}
