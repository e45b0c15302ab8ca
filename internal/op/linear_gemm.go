package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gemm is the ONNX operator Gemm: alpha*op(A)*op(B) + beta*C, with C broadcast to the product [M, N].
type Gemm struct {
	Alpha  float32 `attr:"alpha,1"`
	Beta   float32 `attr:"beta,1"`
	TransA bool    `attr:"transA,0"`
	TransB bool    `attr:"transB,0"`
}

func (*Gemm) Kind() string { return "Gemm" }

func (o *Gemm) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 3, linearTypes)
	if err != nil {
		return nil, err
	}
	out, err := inferGemm(d, in[0], in[1], o.TransA, o.TransB)
	if c := arg(in, 2); err == nil && c.Ranked && out.Ranked {
		if len(c.Dims) > 2 {
			return nil, fmt.Errorf("C: want at most 2 dimensions, got %v", c)
		}
		_, err = broadcastDims(out.Dims, c.Dims)
	}
	return one(out, err)
}

// inferGemm returns the type of the product of two matrices.
func inferGemm(d tensor.DType, a, b graph.Type, transA, transB bool) (graph.Type, error) {
	m, n, k := graph.Unknown, graph.Unknown, [2]graph.Dim{graph.Unknown, graph.Unknown}
	for i, t := range []graph.Type{a, b} {
		if !t.Ranked {
			continue
		}
		if len(t.Dims) != 2 {
			return graph.Type{}, fmt.Errorf("input %d: want 2 dimensions, got %v", i, t)
		}
		switch {
		case i == 0 && transA:
			m, k[0] = t.Dims[1], t.Dims[0]
		case i == 0:
			m, k[0] = t.Dims[0], t.Dims[1]
		case transB:
			n, k[1] = t.Dims[0], t.Dims[1]
		default:
			n, k[1] = t.Dims[1], t.Dims[0]
		}
	}
	if k[0].IsKnown() && k[1].IsKnown() && k[0] != k[1] {
		return graph.Type{}, fmt.Errorf("inner dimensions differ: %v and %v", k[0], k[1])
	}
	return graph.Ranked(d, m, n), nil
}

func (o *Gemm) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	a, b, c := in[0], in[1], arg(in, 2)
	if err := sameElems(a, b, c); err != nil {
		return nil, err
	}
	if a.Rank() != 2 || b.Rank() != 2 {
		return nil, fmt.Errorf("A and B: want 2 dimensions, got %v and %v", a, b)
	}
	p, err := newProduct(a.Shape, b.Shape, o.TransA, o.TransB)
	if err != nil {
		return nil, err
	}
	if c != nil {
		if s, err := tensor.Broadcast(p.out, c.Shape); err != nil || !s.Equal(p.out) {
			return nil, fmt.Errorf("C: shape %v does not broadcast to %v", c.Shape, p.out)
		}
	}
	switch a.DType {
	case tensor.Float32, tensor.Float16, tensor.BFloat16:
		return one(gemmBias[float32](e, o, p, a, b, c))
	case tensor.Float64:
		return one(gemmBias[float64](e, o, p, a, b, c))
	}
	return one(gemmWhole(e, o, a, b, c))
}

func gemmBias[T float32 | float64](e *graph.Env, o *Gemm, p *product, a, b, c *tensor.Tensor) (*tensor.Tensor, error) {
	x, err := realData[T](a)
	if err != nil {
		return nil, err
	}
	w, err := realData[T](b)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, a.DType, p.out)
	beta := T(0)
	if c != nil && o.Beta != 0 {
		v, err := realData[T](c)
		if err != nil {
			return nil, err
		}
		beta = T(o.Beta)
		fillBroadcast(e, y, p.out, v, c.Shape)
	}
	gemmReal(e.Workers(), p.transA, p.transB, p.m, p.n, p.k, T(o.Alpha), x, p.lda(), w, p.ldb(), beta, y, max(p.n, 1))
	return done(), nil
}

// fillBroadcast sets dst of the given shape to v broadcast.
func fillBroadcast[T any](e *graph.Env, dst []T, shape tensor.Shape, v []T, from tensor.Shape) {
	w := newBroadcast(shape, from)
	e.For(w.n, elementGrain, func(lo, hi int) {
		w.each(lo, hi, func(out, n int, at []int) {
			if w.step[0] == 0 {
				spread(dst[out:out+n], v[at[0]])
			} else {
				copy(dst[out:out+n], v[at[0]:])
			}
		})
	})
}

// gemmWhole computes Gemm on integers: the product wraps, scaling by alpha and beta is done in float64 and truncates.
func gemmWhole(e *graph.Env, o *Gemm, a, b, c *tensor.Tensor) (*tensor.Tensor, error) {
	y, err := evalMatMul(e, a, b, o.TransA, o.TransB, 1)
	if err != nil {
		return nil, err
	}
	switch y.DType {
	case tensor.Int8:
		addScaled[int8](e, y, c, o)
	case tensor.Int16:
		addScaled[int16](e, y, c, o)
	case tensor.Int32:
		addScaled[int32](e, y, c, o)
	case tensor.Int64:
		addScaled[int64](e, y, c, o)
	case tensor.Uint8:
		addScaled[uint8](e, y, c, o)
	case tensor.Uint16:
		addScaled[uint16](e, y, c, o)
	case tensor.Uint32:
		addScaled[uint32](e, y, c, o)
	case tensor.Uint64:
		addScaled[uint64](e, y, c, o)
	}
	return y, nil
}

// addScaled sets y = alpha*y + beta*c in place.
func addScaled[T integer](e *graph.Env, y, c *tensor.Tensor, o *Gemm) {
	v := tensor.Data[T](y)
	scale := func(x []T, s float32) {
		if s != 1 {
			for i := range x {
				x[i] = T(float64(x[i]) * float64(s))
			}
		}
	}
	scale(v, o.Alpha)
	if c == nil {
		return
	}
	add := make([]T, len(v))
	fillBroadcast(e, add, y.Shape, tensor.Data[T](c), c.Shape)
	scale(add, o.Beta)
	for i := range v {
		v[i] += add[i]
	}
}
