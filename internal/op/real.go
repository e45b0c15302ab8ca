package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// realData returns the elements of a floating-point tensor in the type that is computed with: without a copy where that is
// the type of the tensor, else converted.
func realData[T float32 | float64](t *tensor.Tensor) ([]T, error) {
	if !t.DType.IsFloat() {
		return nil, fmt.Errorf("want a floating-point tensor, got %v", t)
	}
	var out any
	var err error
	switch any(T(0)).(type) {
	case float32:
		out, err = t.Floats()
	default:
		if t.DType == tensor.Float64 && t.Packed == nil {
			out = tensor.Data[float64](t)
		} else {
			out, err = t.Float64s()
		}
	}
	if err != nil {
		return nil, err
	}
	return out.([]T), nil
}

// realOutput returns memory for an output of element type d that is computed in T, with undefined contents, and a function
// that makes the tensor of it once it is filled.
func realOutput[T float32 | float64](e *graph.Env, d tensor.DType, shape []int) ([]T, func() *tensor.Tensor) {
	t := e.New(d, shape...)
	if d == tensor.DTypeOf[T]() {
		return tensor.Data[T](t), func() *tensor.Tensor { return t }
	}
	buf := make([]T, t.Len())
	return buf, func() *tensor.Tensor {
		f, ok := any(buf).([]float32)
		if !ok {
			f = make([]float32, len(buf))
			for i, v := range buf {
				f[i] = float32(v)
			}
		}
		switch d {
		case tensor.Float16:
			kernel.F32ToF16(tensor.Data[tensor.Half](t), f)
		case tensor.BFloat16:
			kernel.F32ToBF16(tensor.Data[tensor.BF16](t), f)
		case tensor.Float32:
			copy(tensor.Data[float32](t), f)
		case tensor.Float64:
			for i, v := range f {
				tensor.Data[float64](t)[i] = float64(v)
			}
		default:
			panic(fmt.Sprintf("op: no conversion to %v", d))
		}
		return t
	}
}

// byReal runs f64 if the first input is float64 and f32 if it is of a floating-point type that is computed in float32.
func byReal(in []*tensor.Tensor, f32, f64 func() ([]*tensor.Tensor, error)) ([]*tensor.Tensor, error) {
	if err := want(in, 1, -1); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if in[0].DType == tensor.Float64 {
		return f64()
	}
	return f32()
}

// gemmReal is GemmF32 or GemmF64.
func gemmReal[T float32 | float64](p *kernel.Pool, transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int, beta T, c []T, ldc int) {
	switch a := any(a).(type) {
	case []float32:
		kernel.GemmF32(p, transA, transB, m, n, k, float32(alpha), a, lda, any(b).([]float32), ldb, float32(beta), any(c).([]float32), ldc)
	case []float64:
		kernel.GemmF64(p, transA, transB, m, n, k, float64(alpha), a, lda, any(b).([]float64), ldb, float64(beta), any(c).([]float64), ldc)
	}
}
