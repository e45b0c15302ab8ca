package op

import (
	"github.com/neurotrain/neuroquant/internal/graph"
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
