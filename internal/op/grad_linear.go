package op

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Backward implements [graph.Differentiable]: dA = dY*op(B)', dB = op(A)'*dY, summed over what the operands were repeated along.
func (*MatMul) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return matMulGrad(e, in[0], in[1], dOut[0], 1)
}

// matMulGrad returns the gradients of both operands of alpha*A*B by numpy's rules.
func matMulGrad(e *graph.Env, a, b, d *tensor.Tensor, alpha float64) ([]*tensor.Tensor, error) {
	// As matrices: a vector on the left is a row, one on the right a column.
	am, bm, dm := a, b, d
	shape := d.Shape.Clone()
	if a.Rank() == 1 {
		am = a.Reshape(1, a.Shape[0])
		at := len(shape)
		if b.Rank() > 1 {
			at--
		}
		shape = append(shape[:at:at], append(tensor.Shape{1}, shape[at:]...)...)
	}
	if b.Rank() == 1 {
		bm = b.Reshape(b.Shape[0], 1)
		shape = append(shape, 1)
	}
	dm = d.Reshape(shape...)
	out := make([]*tensor.Tensor, 2)
	if e.Wants(0) {
		da, err := evalMatMul(e, dm, bm, false, true, alpha)
		if err == nil {
			da, err = sumTo(e, da, am.Shape)
		}
		if err != nil {
			return nil, err
		}
		out[0] = da.Reshape(a.Shape...)
	}
	if !e.Wants(1) {
		return out, nil
	}
	if bm.Rank() == 2 && am.Rank() > 2 { // all rows at once, instead of a product for each matrix
		k, n := bm.Shape[0], bm.Shape[1]
		rows := am.Len() / max(k, 1)
		am, dm = am.Reshape(rows, k), dm.Reshape(rows, n)
	}
	db, err := evalMatMul(e, am, dm, true, false, alpha)
	if err == nil {
		db, err = sumTo(e, db, bm.Shape)
	}
	if err != nil {
		return nil, err
	}
	out[1] = db.Reshape(b.Shape...)
	return out, nil
}

// Backward implements [graph.Differentiable].
func (o *Gemm) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	a, b, d := in[0], in[1], dOut[0]
	alpha := float64(o.Alpha)
	out := make([]*tensor.Tensor, len(in))
	var err error
	if e.Wants(0) {
		if o.TransA { // Y = A'*B: dA = B*dY'
			out[0], err = evalMatMul(e, b, d, o.TransB, true, alpha)
		} else {
			out[0], err = evalMatMul(e, d, b, false, !o.TransB, alpha)
		}
	}
	if err == nil && e.Wants(1) {
		if o.TransB {
			out[1], err = evalMatMul(e, d, a, true, o.TransA, alpha)
		} else {
			out[1], err = evalMatMul(e, a, d, !o.TransA, false, alpha)
		}
	}
	if err == nil && arg(in, 2) != nil && e.Wants(2) {
		if out[2], err = sumTo(e, d, in[2].Shape); err == nil && o.Beta != 1 {
			out[2], err = scaledGrad(e, out[2], float64(o.Beta))
		}
	}
	return out, err
}

// Backward implements [graph.Differentiable].
func (o *FusedMatMul) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := dense(in)
	if err != nil {
		return nil, err
	}
	a, b, d, alpha := in[0], in[1], dOut[0], float64(o.Alpha)
	if min(a.Rank(), b.Rank()) < 2 {
		if o.TransA || o.TransB || o.TransBatchA || o.TransBatchB {
			return nil, fmt.Errorf("there is no gradient of a transposed operand beside a vector: %v and %v", a, b)
		}
		return matMulGrad(e, a, b, d, alpha)
	}
	if o.TransBatchA {
		a = batchFirst(e, a)
	}
	if o.TransBatchB {
		b = batchFirst(e, b)
	}
	out := make([]*tensor.Tensor, 2)
	if e.Wants(0) {
		if o.TransA { // Y = A'*op(B): dA = op(B)*dY'
			out[0], err = evalMatMul(e, b, d, o.TransB, true, alpha)
		} else {
			out[0], err = evalMatMul(e, d, b, false, !o.TransB, alpha)
		}
		if err == nil {
			out[0], err = sumTo(e, out[0], a.Shape)
		}
		if err == nil && o.TransBatchA {
			out[0], err = batchBack(e, out[0])
		}
	}
	if err != nil || !e.Wants(1) {
		return out, err
	}
	if b.Rank() == 2 && a.Rank() > 2 && !o.TransA { // all rows at once, instead of a product for each matrix
		k, n := a.Shape[a.Rank()-1], d.Shape[d.Rank()-1]
		rows := a.Len() / max(k, 1)
		a, d = a.Reshape(rows, k), d.Reshape(rows, n)
	}
	if o.TransB {
		out[1], err = evalMatMul(e, d, a, true, o.TransA, alpha)
	} else {
		out[1], err = evalMatMul(e, a, d, !o.TransA, false, alpha)
	}
	if err == nil {
		out[1], err = sumTo(e, out[1], b.Shape)
	}
	if err == nil && o.TransBatchB {
		out[1], err = batchBack(e, out[1])
	}
	return out, err
}

// batchBack undoes batchFirst: [batch..., M, K] becomes [M, batch..., K].
func batchBack(e *graph.Env, t *tensor.Tensor) (*tensor.Tensor, error) {
	n := t.Rank()
	if n < 3 {
		return t, nil
	}
	perm := []int{n - 2}
	for i := range n - 2 {
		perm = append(perm, i)
	}
	return onlyOne((&Transpose{Perm: append(perm, n-1)}).Eval(e, []*tensor.Tensor{t}))
}

// encodedRows are together when a gradient is multiplied by an encoded matrix.
const encodedRows = 256

// encodedGrad returns alpha*dY*W for an encoded matrix W [N, K] of which decode gives row n in float32; a few rows are decoded at a time. It is
// the gradient of X where Y = alpha*X*W' and W does not change.
func encodedGrad(e *graph.Env, d *tensor.Tensor, n, k int, alpha float32, decode func(dst []float32, row int)) (*tensor.Tensor, error) {
	if d.DType != tensor.Float32 {
		return nil, fmt.Errorf("the gradient through an encoded weight is of float32, got %v", d)
	}
	shape := append(d.Shape[:d.Rank()-1].Clone(), k)
	m := d.Shape[:d.Rank()-1].Len()
	out := e.Zeros(tensor.Float32, shape...)
	ds, dx := tensor.Data[float32](d), tensor.Data[float32](out)
	if m == 0 {
		return out, nil
	}
	room := kernel.Borrow[float32](min(n, encodedRows) * k)
	defer room.Release()
	for first := 0; first < n; first += encodedRows {
		rows := min(encodedRows, n-first)
		e.For(rows, 8, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				decode(room.Data[r*k:(r+1)*k], first+r)
			}
		})
		kernel.GemmF32(e.Workers(), false, false, m, k, rows, alpha, ds[first:], n, room.Data, max(k, 1), 1, dx, max(k, 1))
	}
	return out, nil
}

// biasGrad returns the sum of a gradient [..., N] over all but the last dimension.
func biasGrad(e *graph.Env, d, bias *tensor.Tensor) (*tensor.Tensor, error) {
	rows := d.Len() / max(d.Shape[d.Rank()-1], 1)
	sum, err := sumTo(e, d.Reshape(rows, d.Shape[d.Rank()-1]), tensor.Shape{1, d.Shape[d.Rank()-1]})
	if err != nil {
		return nil, err
	}
	return sum.Reshape(bias.Shape...), nil
}

// Backward implements [graph.Differentiable]: towards A and the bias; codes do not change.
func (o *MatMulNBits) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	w, err := newBlockWeight(o, in[1], in[2], arg(in, 3), arg(in, 4))
	if err != nil {
		return nil, err
	}
	if e.Out != nil && (e.Wants(2) || e.Wants(3)) {
		return nil, errors.New("there is no gradient of scales and zero points")
	}
	out := make([]*tensor.Tensor, len(in))
	if e.Wants(0) {
		if out[0], err = encodedGrad(e, dOut[0], o.N, o.K, 1, w.row); err != nil {
			return nil, err
		}
	}
	if bias := arg(in, 5); bias != nil && e.Wants(5) {
		out[5], err = biasGrad(e, dOut[0], bias)
	}
	return out, err
}

// Backward implements [graph.Differentiable]: towards A; codes do not change.
func (o *MatMulBnb4) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if e.Out != nil && e.Wants(2) {
		return nil, errors.New("there is no gradient of absmax")
	}
	decode, err := o.decoder(in)
	if err != nil {
		return nil, err
	}
	dx, err := encodedGrad(e, dOut[0], o.N, o.K, 1, decode)
	return gradList(len(in), dx), err
}

// Backward implements [graph.Differentiable]: towards x, through a weight that does not change.
func (o *PackedMatMul) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	w := o.weight
	if w.rows == nil || o.residual || o.bias != nil || o.activation.name != "" {
		return nil, errors.New("there is a gradient only through the plain product with an encoded weight")
	}
	dx, err := encodedGrad(e, dOut[0], w.n, w.k, o.alpha, w.rows.Row)
	return e.Single(dx, err)
}

// Recalls implements [graph.Recalling].
func (*PackedMatMul) Recalls() (in, out uint64) { return 0, 0 }
