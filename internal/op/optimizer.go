package op

import (
	"errors"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// optimizerOps are the operators of ONNX's domain for training steps.
var optimizerOps = table{
	"ai.onnx.preview.training.Adagrad":  fresh[Adagrad],
	"ai.onnx.preview.training.Adam":     fresh[Adam],
	"ai.onnx.preview.training.Momentum": fresh[Momentum],
}

// step is what an optimizer step shares: the learning rate, the number of steps before it, and lists of tensors of equal
// length, the optimized tensors first, then their gradients, then their states.
type optimizerStep struct {
	rate  float64
	count float64
	lists [][]*tensor.Tensor
}

// newOptimizerStep splits the inputs R, T, lists... into the given number of lists.
func newOptimizerStep(in []*tensor.Tensor, lists int) (*optimizerStep, error) {
	in, err := args(in, 2+lists, -1)
	if err != nil {
		return nil, err
	}
	if (len(in)-2)%lists != 0 {
		return nil, fmt.Errorf("want R, T and a multiple of %d tensors, got %d inputs", lists, len(in))
	}
	s := &optimizerStep{}
	if s.rate, err = scalarFloat(in[0]); err != nil {
		return nil, fmt.Errorf("R: %w", err)
	}
	if s.count, err = scalarFloat(in[1]); err != nil {
		return nil, fmt.Errorf("T: %w", err)
	}
	n := (len(in) - 2) / lists
	for l := range lists {
		s.lists = append(s.lists, in[2+l*n:2+(l+1)*n])
		for i, t := range s.lists[l] {
			x := s.lists[0][i]
			if t == nil || t.DType != x.DType || !t.Shape.Equal(x.Shape) {
				return nil, fmt.Errorf("input %d: want %v like the tensor it belongs to, got %v", 2+l*n+i, x, t)
			}
			if t.DType != tensor.Float32 && t.DType != tensor.Float64 {
				return nil, fmt.Errorf("input %d: want float32 or float64, got %v", 2+l*n+i, t)
			}
		}
	}
	return s, nil
}

// run calls update with the elements of each tensor of all lists, which it changes in place except for the gradient (list 1),
// and returns the new tensors list by list, without the gradients.
func (s *optimizerStep) run(update func(v []float64)) ([]*tensor.Tensor, error) {
	out := make([][]*tensor.Tensor, len(s.lists))
	for i, x := range s.lists[0] {
		values := make([][]float64, len(s.lists))
		for l := range s.lists {
			var err error
			if values[l], err = s.lists[l][i].Float64s(); err != nil {
				return nil, err
			}
		}
		v := make([]float64, len(s.lists))
		for k := range x.Len() {
			for l := range v {
				v[l] = values[l][k]
			}
			update(v)
			for l := range v {
				values[l][k] = v[l]
			}
		}
		for l := range out {
			if l == 1 {
				continue
			}
			t, err := tensor.FromFloat64s(x.DType, x.Shape, values[l])
			if err != nil {
				return nil, err
			}
			out[l] = append(out[l], t)
		}
	}
	var flat []*tensor.Tensor
	for _, l := range out {
		flat = append(flat, l...)
	}
	return flat, nil
}

// inferOptimizer returns the types of all inputs but R, T and the gradients.
func inferOptimizer(in []graph.Type, lists int) ([]graph.Type, error) {
	if err := want(in, 2+lists, -1); err != nil {
		return nil, err
	}
	if (len(in)-2)%lists != 0 {
		return nil, fmt.Errorf("want R, T and a multiple of %d tensors, got %d inputs", lists, len(in))
	}
	n := (len(in) - 2) / lists
	var out []graph.Type
	for i, t := range in[2:] {
		if i/n != 1 {
			out = append(out, retyped(t, t.DType))
		}
	}
	return out, nil
}

// Adagrad is the ONNX training operator Adagrad (Duchi et al., 2011). Lists: X, gradient, accumulated squared gradient.
type Adagrad struct {
	DecayFactor     float32 `attr:"decay_factor,0"`
	Epsilon         float32 `attr:"epsilon,1e-6"`
	NormCoefficient float32 `attr:"norm_coefficient,0"`
}

func (*Adagrad) Kind() string { return "ai.onnx.preview.training.Adagrad" }

func (*Adagrad) Infer(in []graph.Type) ([]graph.Type, error) { return inferOptimizer(in, 3) }

func (o *Adagrad) Eval(_ *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	s, err := newOptimizerStep(in, 3)
	if err != nil {
		return nil, err
	}
	rate := s.rate / (1 + s.count*float64(o.DecayFactor))
	return s.run(func(v []float64) {
		g := float64(o.NormCoefficient)*v[0] + v[1]
		v[2] += g * g
		v[0] -= rate * g / (math.Sqrt(v[2]) + float64(o.Epsilon))
	})
}

// Adam is the ONNX training operator Adam (Kingma and Ba, arXiv:1412.6980). Lists: X, gradient, first and second moment.
type Adam struct {
	Alpha               float32 `attr:"alpha,0.9"`  // decay of the first moment
	Beta                float32 `attr:"beta,0.999"` // decay of the second moment
	Epsilon             float32 `attr:"epsilon,1e-6"`
	NormCoefficient     float32 `attr:"norm_coefficient,0"`
	NormCoefficientPost float32 `attr:"norm_coefficient_post,0"`
}

func (*Adam) Kind() string { return "ai.onnx.preview.training.Adam" }

func (*Adam) Infer(in []graph.Type) ([]graph.Type, error) { return inferOptimizer(in, 4) }

func (o *Adam) Eval(_ *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	s, err := newOptimizerStep(in, 4)
	if err != nil {
		return nil, err
	}
	alpha, beta := float64(o.Alpha), float64(o.Beta)
	rate := s.rate
	if s.count > 0 { // bias correction
		rate *= math.Sqrt(1-math.Pow(beta, s.count)) / (1 - math.Pow(alpha, s.count))
	}
	return s.run(func(v []float64) {
		g := float64(o.NormCoefficient)*v[0] + v[1]
		v[2] = alpha*v[2] + (1-alpha)*g
		v[3] = beta*v[3] + (1-beta)*g*g
		v[0] = (1 - float64(o.NormCoefficientPost)) * (v[0] - rate*v[2]/(math.Sqrt(v[3])+float64(o.Epsilon)))
	})
}

// Momentum is the ONNX training operator Momentum: stochastic gradient descent with standard or Nesterov momentum. Lists: X,
// gradient, momentum.
type Momentum struct {
	Alpha           float32 `attr:"alpha"` // decay of the momentum
	Beta            float32 `attr:"beta"`  // weight of the gradient after the first step
	Mode            string  `attr:"mode"`
	NormCoefficient float32 `attr:"norm_coefficient"`
}

func (*Momentum) Kind() string { return "ai.onnx.preview.training.Momentum" }

func (*Momentum) Infer(in []graph.Type) ([]graph.Type, error) { return inferOptimizer(in, 3) }

func (o *Momentum) Eval(_ *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if o.Mode != "standard" && o.Mode != "nesterov" {
		return nil, errors.New("mode: want standard or nesterov")
	}
	s, err := newOptimizerStep(in, 3)
	if err != nil {
		return nil, err
	}
	alpha, beta := float64(o.Alpha), float64(o.Beta)
	if s.count == 0 {
		beta = 1
	}
	return s.run(func(v []float64) {
		g := float64(o.NormCoefficient)*v[0] + v[1]
		v[2] = alpha*v[2] + beta*g
		if o.Mode == "nesterov" {
			v[0] -= s.rate * (g + alpha*v[2])
		} else {
			v[0] -= s.rate * v[2]
		}
	})
}
