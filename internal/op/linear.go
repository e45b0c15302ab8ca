package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var linearOps = table{
	"MatMul": fresh[MatMul],
	"Gemm":   fresh[Gemm],
	"Einsum": fresh[Einsum],
	"Det":    fresh[Det],
}

// linearTypes are the element types of MatMul, Gemm and Einsum; the specification leaves out the 8- and 16-bit integers.
var linearTypes = floats | ints

// MatMul is the ONNX operator MatMul: numpy's matmul, A [..., M, K] by B [..., K, N] with the leading dimensions broadcast. A
// one-dimensional operand is a row (A) or a column (B) whose dimension of 1 the output drops.
type MatMul struct{}

func (*MatMul) Kind() string { return "MatMul" }

func (*MatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 2, linearTypes)
	if err != nil {
		return nil, err
	}
	return one(inferMatMul(d, in[0], in[1]))
}

func (*MatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	return one(evalMatMul(e, in[0], in[1], false, false, 1))
}

// evalMatMul computes alpha*op(A)*op(B) by numpy's rules, op being a transposition of the last two dimensions.
func evalMatMul(e *graph.Env, a, b *tensor.Tensor, transA, transB bool, alpha float64) (*tensor.Tensor, error) {
	if err := sameElems(a, b); err != nil {
		return nil, err
	}
	p, err := newProduct(a.Shape, b.Shape, transA, transB)
	if err != nil {
		return nil, err
	}
	switch a.DType {
	case tensor.Float32, tensor.Float16, tensor.BFloat16:
		return productReal[float32](e, p, a, b, alpha)
	case tensor.Float64:
		return productReal[float64](e, p, a, b, alpha)
	case tensor.Int8:
		return productInt[int8](e, p, a, b)
	case tensor.Int16:
		return productInt[int16](e, p, a, b)
	case tensor.Int32:
		return productInt[int32](e, p, a, b)
	case tensor.Int64:
		return productInt[int64](e, p, a, b)
	case tensor.Uint8:
		return productInt[uint8](e, p, a, b)
	case tensor.Uint16:
		return productInt[uint16](e, p, a, b)
	case tensor.Uint32:
		return productInt[uint32](e, p, a, b)
	case tensor.Uint64:
		return productInt[uint64](e, p, a, b)
	}
	return nil, linearTypes.check(0, a.DType)
}

// inferMatMul returns the type of a matrix product of element type d.
func inferMatMul(d tensor.DType, a, b graph.Type) (graph.Type, error) {
	if !a.Ranked || !b.Ranked {
		return graph.Unranked(d), nil
	}
	if len(a.Dims) == 0 || len(b.Dims) == 0 {
		return graph.Type{}, fmt.Errorf("want operands of at least one dimension, got %v and %v", a, b)
	}
	da, db := a.Dims, b.Dims
	row, col := len(da) == 1, len(db) == 1
	if row {
		da = []graph.Dim{graph.Known(1), da[0]}
	}
	if col {
		db = []graph.Dim{db[0], graph.Known(1)}
	}
	na, nb := len(da), len(db)
	if x, y := da[na-1], db[nb-2]; x.IsKnown() && y.IsKnown() && x != y {
		return graph.Type{}, fmt.Errorf("inner dimensions of %v and %v differ", a, b)
	}
	dims, err := broadcastDims(da[:na-2], db[:nb-2])
	if err != nil {
		return graph.Type{}, err
	}
	if !row {
		dims = append(dims, da[na-2])
	}
	if !col {
		dims = append(dims, db[nb-1])
	}
	return graph.Ranked(d, dims...), nil
}

// product is a batched matrix product resolved against the shapes of its operands: count products of m x k by k x n.
type product struct {
	m, n, k, count int
	transA, transB bool
	out            tensor.Shape
	batch          *broadcast // walks the operands' matrices in step with the output's
	aCount, bCount int        // matrices in each operand
}

func newProduct(a, b tensor.Shape, transA, transB bool) (*product, error) {
	if len(a) == 0 || len(b) == 0 {
		return nil, fmt.Errorf("want operands of at least one dimension, got %v and %v", a, b)
	}
	row, col := len(a) == 1, len(b) == 1
	p := &product{transA: transA && !row, transB: transB && !col}
	if row {
		a = tensor.Shape{1, a[0]}
	}
	if col {
		b = tensor.Shape{b[0], 1}
	}
	na, nb := len(a), len(b)
	p.m, p.k = a[na-2], a[na-1]
	if p.transA {
		p.m, p.k = p.k, p.m
	}
	inner := b[nb-2]
	p.n = b[nb-1]
	if p.transB {
		inner, p.n = p.n, inner
	}
	if inner != p.k {
		return nil, fmt.Errorf("inner dimensions of %v and %v differ: %d and %d", a, b, p.k, inner)
	}
	batch, err := tensor.Broadcast(a[:na-2], b[:nb-2])
	if err != nil {
		return nil, err
	}
	p.out = append(tensor.Shape{}, batch...)
	if !row {
		p.out = append(p.out, p.m)
	}
	if !col {
		p.out = append(p.out, p.n)
	}
	if err := checkSize(p.out); err != nil {
		return nil, err
	}
	p.count, p.aCount, p.bCount = batch.Len(), a[:na-2].Len(), b[:nb-2].Len()
	p.batch = newBroadcast(batch, a[:na-2], b[:nb-2])
	if p.bCount == 1 && p.aCount == p.count && !p.transA {
		// One right operand for all: the rows of all batches make one tall matrix.
		p.m *= p.count
		p.count, p.aCount = min(p.count, 1), min(p.aCount, 1)
		p.batch = newBroadcast(tensor.Shape{}, tensor.Shape{}, tensor.Shape{})
	}
	return p, nil
}

// each calls f with the index of every output matrix and of its operands. With parallel the calls are spread over the workers.
func (p *product) each(e *graph.Env, f func(out, a, b int)) {
	walk := func(lo, hi int) {
		p.batch.each(lo, hi, func(out, n int, at []int) {
			for i := range n {
				f(out+i, at[0]+i*p.batch.step[0], at[1]+i*p.batch.step[1])
			}
		})
	}
	if p.count < e.Workers().Threads() {
		walk(0, p.count) // each product is spread over the workers by itself
		return
	}
	e.For(p.count, max(1, (1<<16)/max(1, p.m*p.n*p.k)), walk)
}

func (p *product) lda() int {
	if p.transA {
		return max(p.m, 1)
	}
	return max(p.k, 1)
}

func (p *product) ldb() int {
	if p.transB {
		return max(p.k, 1)
	}
	return max(p.n, 1)
}

func productReal[T float32 | float64](e *graph.Env, p *product, a, b *tensor.Tensor, alpha float64) (*tensor.Tensor, error) {
	x, err := realData[T](a)
	if err != nil {
		return nil, err
	}
	w, err := realData[T](b)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, a.DType, p.out)
	p.each(e, func(out, i, j int) {
		gemmReal(e.Workers(), p.transA, p.transB, p.m, p.n, p.k, T(alpha), x[i*p.m*p.k:], p.lda(), w[j*p.k*p.n:], p.ldb(), 0, y[out*p.m*p.n:], max(p.n, 1))
	})
	return done(), nil
}

func productInt[T integer](e *graph.Env, p *product, a, b *tensor.Tensor) (*tensor.Tensor, error) {
	t := e.New(a.DType, p.out...)
	x, w, y := tensor.Data[T](a), tensor.Data[T](b), tensor.Data[T](t)
	p.each(e, func(out, i, j int) {
		gemmInt(e.Workers(), p.transA, p.transB, p.m, p.n, p.k, x[i*p.m*p.k:], p.lda(), w[j*p.k*p.n:], p.ldb(), y[out*p.m*p.n:])
	})
	return t, nil
}

// gemmInt computes C = op(A)*op(B) on integers that wrap; C is contiguous. Products of 8-bit matrices into 32 bits have
// kernels of their own, this one is for what graphs compute on shapes and indices.
func gemmInt[T integer](p *kernel.Pool, transA, transB bool, m, n, k int, a []T, lda int, b []T, ldb int, c []T) {
	if n == 0 {
		return
	}
	p.For(m, max(1, (1<<14)/max(1, n*k)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := c[i*n : (i+1)*n]
			clear(row)
			for l := range k {
				var v T
				if transA {
					v = a[l*lda+i]
				} else {
					v = a[i*lda+l]
				}
				if transB {
					for j := range row {
						row[j] += v * b[j*ldb+l]
					}
				} else {
					for j, w := range b[l*ldb : l*ldb+n] {
						row[j] += v * w
					}
				}
			}
		}
	})
}
