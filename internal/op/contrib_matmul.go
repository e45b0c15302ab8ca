package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// QGemm is com.microsoft.QGemm: A, a_scale, a_zero_point, B, b_scale, b_zero_point, C (optional int32 of scale Alpha*a_scale*b_scale), y_scale and
// y_zero_point. B may have one scale and zero point a column. Without y_scale the result is float32, else it is requantized.
type QGemm struct {
	Alpha  float32 `attr:"alpha,1"`
	TransA bool    `attr:"transA,0"`
	TransB bool    `attr:"transB,0"`
}

func (*QGemm) Kind() string { return "com.microsoft.QGemm" }

func (o *QGemm) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := inferBytes(in, 6, 9, 0, 3); err != nil {
		return nil, err
	}
	d := tensor.Float32
	if len(in) == 9 {
		d = in[8].DType
	}
	return one(inferGemm(d, in[0], in[3], o.TransA, o.TransB))
}

func (o *QGemm) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := optionalZeros(in, 6, 9, 2, 5)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[3]
	if a.Rank() != 2 || b.Rank() != 2 {
		return nil, fmt.Errorf("A and B: want 2 dimensions, got %v and %v", a, b)
	}
	p, err := newProduct(a.Shape, b.Shape, o.TransA, o.TransB)
	if err != nil {
		return nil, err
	}
	pa, err := newQuantParam("a", a, in[1], in[2], 1)
	if err != nil {
		return nil, err
	}
	pb, err := newQuantParam("b", b, in[4], in[5], p.n)
	if err != nil {
		return nil, err
	}
	rows := a.Bytes()
	if o.TransA {
		rows = make([]byte, len(rows))
		kernel.Transpose(rows, max(p.k, 1), a.Bytes(), max(p.m, 1), p.k, p.m)
	}
	bias, err := broadcastBias(e, arg(in, 6), p.out)
	if err != nil {
		return nil, err
	}
	packed := kernel.PackInt8(p.k, p.n, b.Bytes(), p.ldb(), pb.signed, o.TransB, pb.zero)
	acc := make([]int32, p.m*p.n)
	kernel.GemmInt8(e.Workers(), p.m, p.n, p.k, rows, max(p.k, 1), pa.signed, pa.zero, packed, acc, max(p.n, 1))
	// The product of scales is rounded in the order of ONNX Runtime.
	m := multipliers(float32(o.Alpha*pa.scale[0]), pb.scale, 1, p.n)
	biasRow := func(r int) []int32 {
		if bias == nil {
			return nil
		}
		return bias[r*p.n : (r+1)*p.n]
	}
	grain := max(1, elementGrain/max(p.n, 1))
	if arg(in, 7) == nil {
		if arg(in, 8) != nil {
			return nil, fmt.Errorf("y_zero_point without y_scale")
		}
		y := e.New(tensor.Float32, p.out...)
		dst := tensor.Data[float32](y)
		e.For(p.m, grain, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				extra := biasRow(r)
				for j := range p.n {
					dst[r*p.n+j] = float32(acc[r*p.n+j]+atOr(extra, j)) * m[j]
				}
			}
		})
		return []*tensor.Tensor{y}, nil
	}
	zero := arg(in, 8)
	if zero == nil {
		return nil, fmt.Errorf("y_zero_point is missing")
	}
	py, err := newQuantParam("y", zero, in[7], zero, 1)
	if err != nil {
		return nil, err
	}
	for j := range m {
		m[j] /= py.scale[0]
	}
	y := e.New(zero.DType, p.out...)
	e.For(p.m, grain, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			requantizeColumns(y.Bytes()[r*p.n:(r+1)*p.n], acc[r*p.n:], biasRow(r), m, py.zeroAt(), py.signed)
		}
	})
	return []*tensor.Tensor{y}, nil
}

// broadcastBias spreads an optional int32 bias over a matrix.
func broadcastBias(e *graph.Env, c *tensor.Tensor, shape tensor.Shape) ([]int32, error) {
	if c == nil {
		return nil, nil
	}
	if c.DType != tensor.Int32 {
		return nil, fmt.Errorf("C: want int32, got %v", c)
	}
	if s, err := tensor.Broadcast(shape, c.Shape); err != nil || !s.Equal(shape) {
		return nil, fmt.Errorf("C: shape %v does not broadcast to %v", c.Shape, shape)
	}
	full := make([]int32, shape.Len())
	fillBroadcast(e, full, shape, tensor.Data[int32](c), c.Shape)
	return full, nil
}

// scaled is an integer product whose result is scaled to float32: float32(acc)*(aScale*bScale[j]) + bias[j].
type scaled struct {
	*integerProduct
	aScale       float32
	bScale, bias []float32 // bScale: one value, one a column, or one for each column of all right matrices
}

// newScaled reads the float parameters of an integer product.
func newScaled(q *integerProduct, aScale float32, b, bScale, bias *tensor.Tensor) (*scaled, error) {
	s := &scaled{integerProduct: q, aScale: aScale}
	var err error
	if s.bScale, err = alongColumns(bScale, b, q.p.columns()); err != nil {
		return nil, fmt.Errorf("b scale: %w", err)
	}
	if bias != nil {
		if err := biasOf(bias, q.p.n); err != nil {
			return nil, err
		}
		if s.bias, err = bias.Floats(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// evaluate computes all products into a tensor of element type d.
func (s *scaled) evaluate(e *graph.Env, d tensor.DType) (*tensor.Tensor, error) {
	if !scaleTypes.has(d) {
		return nil, fmt.Errorf("cannot compute in %v", d)
	}
	p := s.p
	y, done := realOutput[float32](e, d, p.out)
	scale := []float32{s.aScale}
	s.each(e, func(out, i, j int, b *kernel.PackedInt8) {
		kernel.GemmInt8F32(e.Workers(), p.m, p.n, p.k, s.left(i), max(p.k, 1), s.signed, s.rowZeros(i), scale, b, columnsOf(s.bScale, j, p.n), s.bias, nil,
			y[out*p.m*p.n:(out+1)*p.m*p.n], max(p.n, 1))
	})
	return done(), nil
}

// DynamicQuantizeMatMul is com.microsoft.DynamicQuantizeMatMul (A, B, b_scale, b_zero_point, bias): A is quantized as a whole as DynamicQuantizeLinear
// does, multiplied in integers, scaled to float32, and the bias [N] added.
type DynamicQuantizeMatMul struct{}

func (*DynamicQuantizeMatMul) Kind() string { return "com.microsoft.DynamicQuantizeMatMul" }

func (*DynamicQuantizeMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := inferBytes(in, 3, 5, 1); err != nil {
		return nil, err
	}
	if err := dtypes(tensor.Float32).check(0, in[0].DType); err != nil {
		return nil, err
	}
	return one(inferMatMul(in[0].DType, in[0], in[1]))
}

func (*DynamicQuantizeMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 5)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if err := dtypes(tensor.Float32).check(0, a.DType); err != nil {
		return nil, err
	}
	p, err := newProduct(a.Shape, b.Shape, false, false)
	if err != nil {
		return nil, err
	}
	codes := tensor.New(tensor.Uint8, a.Shape...)
	scale, zero := dynamicQuantize(e, codes.Bytes(), tensor.Data[float32](a))
	q, err := newIntegerProduct(e, p, codes, tensor.Scalar(uint8(zero)), b, arg(in, 3))
	if err != nil {
		return nil, err
	}
	s, err := newScaled(q, scale, b, in[2], arg(in, 4))
	if err != nil {
		return nil, err
	}
	return one(s.evaluate(e, tensor.Float32))
}

// MatMulIntegerToFloat is com.microsoft.MatMulIntegerToFloat (A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias):
// MatMulInteger scaled to the type of the scales, with a bias [N].
type MatMulIntegerToFloat struct{}

func (*MatMulIntegerToFloat) Kind() string { return "com.microsoft.MatMulIntegerToFloat" }

func (*MatMulIntegerToFloat) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := inferBytes(in, 4, 7, 0, 1); err != nil {
		return nil, err
	}
	if err := scaleTypes.check(2, in[2].DType); err != nil {
		return nil, err
	}
	return one(inferMatMul(in[2].DType, in[0], in[1]))
}

func (*MatMulIntegerToFloat) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 4, 7)
	if err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	p, err := newProduct(a.Shape, b.Shape, false, false)
	if err != nil {
		return nil, err
	}
	q, err := newIntegerProduct(e, p, a, arg(in, 4), b, arg(in, 5))
	if err != nil {
		return nil, err
	}
	scale, err := scalarFloat(in[2])
	if err != nil {
		return nil, fmt.Errorf("a scale: %w", err)
	}
	s, err := newScaled(q, float32(scale), b, in[3], arg(in, 6))
	if err != nil {
		return nil, err
	}
	return one(s.evaluate(e, in[2].DType))
}
