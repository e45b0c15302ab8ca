package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// contribOps are operators of the domain com.microsoft, with the meaning that ONNX Runtime gives them.
var contribOps = table{
	"com.microsoft.QuantizeLinear":   func() graph.Op { return &QuantizeLinear{Contrib: true} },
	"com.microsoft.DequantizeLinear": func() graph.Op { return &DequantizeLinear{Contrib: true} },

	"com.microsoft.QLinearAdd":               fresh[QLinearAdd],
	"com.microsoft.QLinearMul":               fresh[QLinearMul],
	"com.microsoft.QLinearSigmoid":           fresh[QLinearSigmoid],
	"com.microsoft.QLinearLeakyRelu":         fresh[QLinearLeakyRelu],
	"com.microsoft.QLinearAveragePool":       fresh[QLinearAveragePool],
	"com.microsoft.QLinearGlobalAveragePool": fresh[QLinearGlobalAveragePool],
	"com.microsoft.QLinearConcat":            fresh[QLinearConcat],
	"com.microsoft.QLinearSoftmax":           fresh[QLinearSoftmax],
	"com.microsoft.QLinearWhere":             fresh[QLinearWhere],

	"com.microsoft.QGemm":                 fresh[QGemm],
	"com.microsoft.DynamicQuantizeMatMul": fresh[DynamicQuantizeMatMul],
	"com.microsoft.MatMulIntegerToFloat":  fresh[MatMulIntegerToFloat],
	"com.microsoft.DynamicQuantizeLSTM":   fresh[DynamicQuantizeLSTM],
	"com.microsoft.MatMulNBits":           fresh[MatMulNBits],
	"com.microsoft.MatMulBnb4":            fresh[MatMulBnb4],
	"com.microsoft.GatherBlockQuantized":  fresh[GatherBlockQuantized],

	"com.microsoft.FusedMatMul":                      fresh[FusedMatMul],
	"com.microsoft.Gelu":                             fresh[ContribGelu],
	"com.microsoft.FastGelu":                         fresh[FastGelu],
	"com.microsoft.BiasGelu":                         fresh[BiasGelu],
	"com.microsoft.QuickGelu":                        fresh[QuickGelu],
	"com.microsoft.SkipLayerNormalization":           fresh[SkipLayerNormalization],
	"com.microsoft.SkipSimplifiedLayerNormalization": fresh[SkipSimplifiedLayerNormalization],
	"com.microsoft.EmbedLayerNormalization":          fresh[EmbedLayerNormalization],
}

// FusedMatMul is com.microsoft.FusedMatMul: Alpha*op(A)*op(B) by numpy's matmul rules. TransA and TransB transpose the last
// two dimensions; TransBatchA and TransBatchB first bring the first dimension behind the batch dimensions.
type FusedMatMul struct {
	Alpha       float32 `attr:"alpha,1"`
	TransA      bool    `attr:"transA,0"`
	TransB      bool    `attr:"transB,0"`
	TransBatchA bool    `attr:"transBatchA,0"`
	TransBatchB bool    `attr:"transBatchB,0"`
}

func (*FusedMatMul) Kind() string { return "com.microsoft.FusedMatMul" }

func (o *FusedMatMul) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 2, floats)
	if err != nil {
		return nil, err
	}
	arrange := func(t graph.Type, batch, last bool) graph.Type {
		n := len(t.Dims)
		if !t.Ranked || n < 2 {
			return t
		}
		dims := append([]graph.Dim{}, t.Dims...)
		if batch {
			dims = append(append(append([]graph.Dim{}, dims[1:n-1]...), dims[0]), dims[n-1])
		}
		if last {
			dims[n-2], dims[n-1] = dims[n-1], dims[n-2]
		}
		t.Dims = dims
		return t
	}
	return one(inferMatMul(d, arrange(in[0], o.TransBatchA, o.TransA), arrange(in[1], o.TransBatchB, o.TransB)))
}

func (o *FusedMatMul) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	if o.TransBatchA {
		a = batchFirst(e, a)
	}
	if o.TransBatchB {
		b = batchFirst(e, b)
	}
	return one(evalMatMul(e, a, b, o.TransA, o.TransB, float64(o.Alpha)))
}

// batchFirst moves the first dimension behind the second to last: [M, batch..., K] becomes [batch..., M, K].
func batchFirst(e *graph.Env, t *tensor.Tensor) *tensor.Tensor {
	n := t.Rank()
	if n < 3 {
		return t
	}
	strides := t.Shape.Strides()
	shape := append(append(t.Shape[1:n-1].Clone(), t.Shape[0]), t.Shape[n-1])
	order := append(append(append([]int{}, strides[1:n-1]...), strides[0]), strides[n-1])
	y := e.New(t.DType, shape...)
	size := t.DType.Size()
	// Elements move as bytes: one more, innermost dimension.
	for i := range order {
		order[i] *= size
	}
	gatherStrided(y.Bytes(), t.Bytes(), append(shape.Clone(), size), append(order, 1))
	return y
}

// evalRowsOf applies f to the elements of t chunk by chunk; start is the index of the first element of a chunk.
func evalRowsOf[T float32 | float64](e *graph.Env, t *tensor.Tensor, f func(dst, x []T, start int)) (*tensor.Tensor, error) {
	x, err := realData[T](t)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, t.DType, t.Shape)
	e.For(len(x), elementGrain, func(lo, hi int) { f(y[lo:hi], x[lo:hi], lo) })
	return done(), nil
}

// gelu64 is x*Phi(x), geluTanh64 its usual approximation.
func gelu64(dst, x []float64) {
	for i, v := range x {
		dst[i] = 0.5 * v * (1 + math.Erf(v/math.Sqrt2))
	}
}

func geluTanh64(dst, x []float64) {
	for i, v := range x {
		dst[i] = 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
	}
}

// ContribGelu is com.microsoft.Gelu, x*Phi(x).
type ContribGelu struct{}

func (*ContribGelu) Kind() string { return "com.microsoft.Gelu" }

func (*ContribGelu) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, floats) }

func (*ContribGelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return (&Gelu{}).Eval(e, in)
}

// FastGelu is com.microsoft.FastGelu: the tanh approximation of Gelu of X, or of X + bias along the last dimension.
type FastGelu struct{}

func (*FastGelu) Kind() string { return "com.microsoft.FastGelu" }

func (*FastGelu) Infer(in []graph.Type) ([]graph.Type, error) { return inferNorm(in, 1, 2) }

func (*FastGelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 2)
	if err != nil {
		return nil, err
	}
	return evalBiased(e, in[0], arg(in, 1), kernel.GeluTanh, geluTanh64)
}

// BiasGelu is com.microsoft.BiasGelu: Gelu of A + B, B along the last dimension.
type BiasGelu struct{}

func (*BiasGelu) Kind() string { return "com.microsoft.BiasGelu" }

func (*BiasGelu) Infer(in []graph.Type) ([]graph.Type, error) { return inferNorm(in, 2, 2) }

func (*BiasGelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	return evalBiased(e, in[0], in[1], kernel.Gelu, gelu64)
}

// evalBiased computes f(x + bias), the bias (which may be nil) repeated along the last dimension.
func evalBiased(e *graph.Env, x, bias *tensor.Tensor, f32 func(dst, x []float32), f64 func(dst, x []float64)) ([]*tensor.Tensor, error) {
	if bias != nil {
		if err := sameElems(x, bias); err != nil {
			return nil, err
		}
		if x.Rank() < 1 || bias.Rank() != 1 || bias.Shape[0] != x.Shape[x.Rank()-1] {
			return nil, fmt.Errorf("bias: shape %v does not fit the last dimension of %v", bias.Shape, x.Shape)
		}
	}
	return byReal([]*tensor.Tensor{x},
		func() ([]*tensor.Tensor, error) { return one(evalBiasedOf(e, x, bias, f32)) },
		func() ([]*tensor.Tensor, error) { return one(evalBiasedOf(e, x, bias, f64)) })
}

func evalBiasedOf[T float32 | float64](e *graph.Env, t, bias *tensor.Tensor, f func(dst, x []T)) (*tensor.Tensor, error) {
	if bias == nil {
		return evalRowsOf(e, t, func(dst, x []T, _ int) { f(dst, x) })
	}
	b, err := realData[T](bias)
	if err != nil {
		return nil, err
	}
	return evalRowsOf(e, t, func(dst, x []T, start int) {
		for i := 0; i < len(x); {
			from := (start + i) % len(b)
			n := min(len(b)-from, len(x)-i)
			for j, v := range x[i : i+n] {
				dst[i+j] = v + b[from+j]
			}
			i += n
		}
		f(dst, dst)
	})
}

// QuickGelu is com.microsoft.QuickGelu: x*sigmoid(Alpha*x).
type QuickGelu struct {
	Alpha float32 `attr:"alpha,1.702"`
}

func (*QuickGelu) Kind() string { return "com.microsoft.QuickGelu" }

func (*QuickGelu) Infer(in []graph.Type) ([]graph.Type, error) { return inferUnary(in, floats) }

func (o *QuickGelu) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return evalReal(e, in, func(dst, x []float32) {
		// dst may be x itself, so the sigmoid passes through a buffer.
		var gate [block]float32
		for i := 0; i < len(x); i += block {
			n := min(block, len(x)-i)
			kernel.Scale(gate[:n], x[i:i+n], o.Alpha)
			kernel.Sigmoid(gate[:n], gate[:n])
			kernel.Mul(dst[i:i+n], x[i:i+n], gate[:n])
		}
	}, func(v float64) float64 { return v / (1 + math.Exp(-float64(o.Alpha)*v)) })
}
