package op

import (
	"fmt"
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/kernel"
)

// cellActivations resolves the activation names: perDir of them for each direction, defaults where none are given. Alpha and
// beta values are consumed in order by the functions that take them.
func cellActivations[T float32 | float64](a *recurrent, dirs, perDir int) ([]func([]T), error) {
	names := a.Activations
	if len(names) == 0 {
		names = []string{"Tanh"}
		if perDir > 1 {
			names = []string{"Sigmoid", "Tanh", "Tanh"}[:perDir]
		}
		if dirs == 2 {
			names = append(names[:len(names):len(names)], names...)
		}
	}
	if len(names) < dirs*perDir {
		return nil, fmt.Errorf("activations: want %d names, got %d", dirs*perDir, len(names))
	}
	alphas, betas := a.ActivationAlpha, a.ActivationBeta
	take := func(from *[]float32, otherwise float64) float64 {
		if len(*from) == 0 {
			return otherwise
		}
		v := (*from)[0]
		*from = (*from)[1:]
		return float64(v)
	}
	var out []func([]T)
	for _, name := range names[:dirs*perDir] {
		var f func(float64) float64
		var alpha, beta float64
		switch strings.ToLower(name) {
		case "sigmoid":
			out = append(out, sigmoidInPlace[T])
			continue
		case "tanh":
			out = append(out, tanhInPlace[T])
			continue
		case "relu":
			f = func(x float64) float64 { return max(x, 0) }
		case "softsign":
			f = func(x float64) float64 { return x / (1 + math.Abs(x)) }
		case "softplus":
			f = func(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
		case "affine":
			alpha, beta = take(&alphas, 1), take(&betas, 0)
			f = func(x float64) float64 { return alpha*x + beta }
		case "leakyrelu":
			alpha = take(&alphas, 0.01)
			f = func(x float64) float64 { return max(x, 0) + alpha*min(x, 0) }
		case "thresholdedrelu":
			alpha = take(&alphas, 1)
			f = func(x float64) float64 {
				if x >= alpha {
					return x
				}
				return 0
			}
		case "scaledtanh":
			alpha, beta = take(&alphas, 1), take(&betas, 1)
			f = func(x float64) float64 { return alpha * math.Tanh(beta*x) }
		case "hardsigmoid":
			alpha, beta = take(&alphas, 0.2), take(&betas, 0.5)
			f = func(x float64) float64 { return min(max(alpha*x+beta, 0), 1) }
		case "elu":
			alpha = take(&alphas, 1)
			f = func(x float64) float64 { return max(x, 0) + alpha*math.Expm1(min(x, 0)) }
		default:
			return nil, fmt.Errorf("activations: unknown function %q", name)
		}
		out = append(out, func(x []T) {
			for i, v := range x {
				x[i] = T(f(float64(v)))
			}
		})
	}
	return out, nil
}

func sigmoidInPlace[T float32 | float64](x []T) {
	switch x := any(x).(type) {
	case []float32:
		kernel.Sigmoid(x, x)
	case []float64:
		for i, v := range x {
			x[i] = 1 / (1 + math.Exp(-v))
		}
	}
}

func tanhInPlace[T float32 | float64](x []T) {
	switch x := any(x).(type) {
	case []float32:
		kernel.Tanh(x, x)
	case []float64:
		for i, v := range x {
			x[i] = math.Tanh(v)
		}
	}
}
