package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// MatMulInteger is the ONNX operator MatMulInteger: the exact int32 product of 8-bit matrices less their zero points, by
// numpy's matmul rules. a_zero_point has one value or one a row, b_zero_point one or one a column.
type MatMulInteger struct{}

func (*MatMulInteger) Kind() string { return "MatMulInteger" }

func (*MatMulInteger) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 4); err != nil {
		return nil, err
	}
	for i, t := range in {
		if err := bytes8.check(i, t.DType); err != nil {
			return nil, err
		}
	}
	return one(inferMatMul(tensor.Int32, in[0], in[1]))
}

func (*MatMulInteger) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 4)
	if err != nil {
		return nil, err
	}
	p, err := newProduct(in[0].Shape, in[1].Shape, false, false)
	if err != nil {
		return nil, err
	}
	prod, err := newIntegerProduct(e, p, in[0], arg(in, 2), in[1], arg(in, 3))
	if err != nil {
		return nil, err
	}
	y := e.New(tensor.Int32, p.out...)
	dst := tensor.Data[int32](y)
	prod.each(e, func(out, i, _ int, b *kernel.PackedInt8) { prod.multiply(e, i, b, dst[out*p.m*p.n:(out+1)*p.m*p.n]) })
	return []*tensor.Tensor{y}, nil
}

// rows is the number of rows of all left matrices, columns that of columns of all right ones.
func (p *product) rows() int    { return p.aCount * p.m }
func (p *product) columns() int { return p.bCount * p.n }

// integerProduct holds the operands of a batched integer product.
type integerProduct struct {
	p               *product
	a, b            []byte
	signed, bSigned bool
	azp             []int32              // empty, one, or one per row of all left matrices
	bzp             []int32              // empty, one, one a column, or one per column of all right matrices
	packed          []*kernel.PackedInt8 // the right matrices; empty if each is packed when it is multiplied, once
}

// newIntegerProduct checks 8-bit operands and their zero points (nil: 0) and packs right ones that are multiplied more than once.
func newIntegerProduct(e *graph.Env, p *product, a, azp, b, bzp *tensor.Tensor) (*integerProduct, error) {
	for i, t := range []*tensor.Tensor{a, b} {
		if err := bytes8.check(i, t.DType); err != nil {
			return nil, err
		}
	}
	q := &integerProduct{p: p, a: a.Bytes(), b: b.Bytes(), signed: a.DType == tensor.Int8, bSigned: b.DType == tensor.Int8}
	if azp != nil {
		if azp.DType != a.DType {
			return nil, fmt.Errorf("a zero point: element type %v differs from %v", azp.DType, a.DType)
		}
		z, err := alongRows(azp, a, p.rows())
		if err != nil {
			return nil, fmt.Errorf("a zero point: %w", err)
		}
		q.azp = wholeNumbers(z)
	}
	if bzp != nil {
		if bzp.DType != b.DType {
			return nil, fmt.Errorf("b zero point: element type %v differs from %v", bzp.DType, b.DType)
		}
		z, err := alongColumns(bzp, b, p.columns())
		if err != nil {
			return nil, fmt.Errorf("b zero point: %w", err)
		}
		q.bzp = wholeNumbers(z)
	}
	if p.bCount < p.count || p.count < e.Workers().Threads() {
		q.packed = make([]*kernel.PackedInt8, p.bCount)
		e.For(p.bCount, 1, func(lo, hi int) {
			for j := lo; j < hi; j++ {
				q.packed[j] = kernel.PackInt8(p.k, p.n, q.right(j), max(p.n, 1), q.bSigned, false, q.columnZeros(j))
			}
		})
	}
	return q, nil
}

// each calls f for every product: the number of the result, of the left and of the right matrix, and the latter packed.
func (q *integerProduct) each(e *graph.Env, f func(out, i, j int, b *kernel.PackedInt8)) {
	q.p.each(e, func(out, i, j int) {
		if len(q.packed) > 0 {
			f(out, i, j, q.packed[j])
			return
		}
		b := kernel.TemporaryInt8(q.p.k, q.p.n, q.right(j), max(q.p.n, 1), q.bSigned, false, q.columnZeros(j))
		defer b.Release()
		f(out, i, j, b)
	})
}

// left and right are the codes of a matrix.
func (q *integerProduct) left(i int) []byte  { return q.a[i*q.p.m*q.p.k:][:q.p.m*q.p.k] }
func (q *integerProduct) right(j int) []byte { return q.b[j*q.p.k*q.p.n:][:q.p.k*q.p.n] }

// multiply computes the product of left matrix i and a right matrix.
func (q *integerProduct) multiply(e *graph.Env, i int, b *kernel.PackedInt8, c []int32) {
	p := q.p
	kernel.GemmInt8(e.Workers(), p.m, p.n, p.k, q.left(i), max(p.k, 1), q.signed, q.rowZeros(i), b, c, max(p.n, 1))
}

// rowZeros returns the zero points of left matrix i.
func (q *integerProduct) rowZeros(i int) []int32 {
	if len(q.azp) <= 1 {
		return q.azp
	}
	return q.azp[i*q.p.m : (i+1)*q.p.m]
}

// columnZeros returns the zero points of right matrix j.
func (q *integerProduct) columnZeros(j int) []int32 { return columnsOf(q.bzp, j, q.p.n) }

// columnsOf returns what a parameter of the right operand is for matrix j of n columns.
func columnsOf[T any](v []T, j, n int) []T {
	if len(v) <= n {
		return v
	}
	return v[j*n : (j+1)*n]
}

// alongRows returns a parameter of the left operand: one value, or one for each of rows rows, which the specification gives
// as [M] or as [..., M, 1].
func alongRows(t, a *tensor.Tensor, rows int) ([]float32, error) {
	v, err := t.Floats()
	if err != nil || len(v) == 1 {
		return v, err
	}
	m := 1
	if a.Rank() > 1 {
		m = a.Shape[a.Rank()-2]
	}
	switch len(v) {
	case m:
		full := make([]float32, rows)
		for i := range full {
			full[i] = v[i%m]
		}
		return full, nil
	case rows:
		return v, nil
	}
	return nil, fmt.Errorf("want 1 or %d values, got shape %v", m, t.Shape)
}

// alongColumns returns a parameter of the right operand: one value, one for each column, or one for each column of all
// matrices, which the specification gives as [N] or [..., 1, N].
func alongColumns(t, b *tensor.Tensor, columns int) ([]float32, error) {
	v, err := t.Floats()
	if err != nil || len(v) == 1 {
		return v, err
	}
	n := 1
	if b.Rank() > 1 {
		n = b.Shape[b.Rank()-1]
	}
	if len(v) != n && len(v) != columns {
		return nil, fmt.Errorf("want 1 or %d values, got shape %v", n, t.Shape)
	}
	return v, nil
}

// wholeNumbers converts zero points, which are exact in float32.
func wholeNumbers(v []float32) []int32 {
	out := make([]int32, len(v))
	for i, x := range v {
		out[i] = int32(x)
	}
	return out
}

// ConvInteger is the ONNX operator ConvInteger: the exact int32 convolution of 8-bit tensors less their zero points; padding
// counts as x_zero_point. w_zero_point has one value or one a channel.
type ConvInteger struct {
	Window
	Group int `attr:"group,1"`
}

func (*ConvInteger) Kind() string { return "ConvInteger" }

func (o *ConvInteger) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 4); err != nil {
		return nil, err
	}
	for i, t := range in {
		if err := bytes8.check(i, t.DType); err != nil {
			return nil, err
		}
	}
	return one(inferConv(tensor.Int32, &o.Window, o.Group, in[0], in[1]))
}

func (o *ConvInteger) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 4)
	if err != nil {
		return nil, err
	}
	x, w, xzp, wzp := in[0], in[1], arg(in, 2), arg(in, 3)
	for i, t := range in {
		if t == nil {
			continue
		}
		if err := bytes8.check(i, t.DType); err != nil {
			return nil, err
		}
		if i > 1 && t.DType != in[i-2].DType {
			return nil, fmt.Errorf("zero point: element type %v differs from %v", t.DType, in[i-2].DType)
		}
	}
	s, shape, err := newConvShape(&o.Window, o.Group, x.Shape, w.Shape)
	if err != nil {
		return nil, err
	}
	zx, zw := int32(0), []int32(nil)
	if xzp != nil {
		z, err := scalarInt(xzp)
		if err != nil {
			return nil, fmt.Errorf("x zero point: %w", err)
		}
		zx = int32(z)
	}
	if wzp != nil {
		if n := wzp.Len(); n != 1 && n != s.OutC {
			return nil, fmt.Errorf("w zero point: want 1 or %d values, got shape %v", s.OutC, wzp.Shape)
		}
		if zw, err = zeroPoints(wzp, wzp.Len()); err != nil {
			return nil, err
		}
	}
	y := e.New(tensor.Int32, shape...)
	packed := kernel.PackConvInt8(s, w.Bytes(), w.DType == tensor.Int8, zw)
	kernel.ConvInt8(e.Workers(), s, x.Bytes(), x.DType == tensor.Int8, zx, packed, tensor.Data[int32](y))
	return []*tensor.Tensor{y}, nil
}
