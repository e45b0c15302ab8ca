package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// fusedOps is empty on purpose. The operators of the lowered form ([PackedMatMul], [PackedConv], [DynamicQuantMatMul],
// [DynamicQuantConv], [PackedQLinearConv] ...) hold weights packed for this machine; they are made by their constructors, never by name, and a graph that
// contains them is never saved.
var fusedOps = table{}

// Activation is a pointwise function that a fused operator applies to its float32 result. The zero value does nothing.
type Activation struct {
	name string
	row  func(dst, x []float32) // dst may be x
	conv kernel.Activation      // the same function where the convolution kernel can apply it by itself
}

// String names the function, for the textual form of graphs; empty for none.
func (a Activation) String() string { return a.name }

// NewActivation returns the activation that o computes on float32, or false if o is not one that can be fused. in holds
// the constants among the inputs of its node: nil where an input is no constant, so in[0] is nil, and
// Clip needs those of its limits that are not omitted; given is which inputs are not omitted.
func NewActivation(o graph.Op, in []*tensor.Tensor, given func(i int) bool) (Activation, bool) {
	switch o := o.(type) {
	case *Relu:
		return Activation{"Relu", kernel.ReLU, kernel.Activation{Kind: kernel.ActivationReLU}}, true
	case *Clip:
		lo, hi := float32(math.Inf(-1)), float32(math.Inf(1))
		for i, limit := range []*float32{&lo, &hi} {
			if !given(i + 1) {
				continue
			}
			t := arg(in, i+1)
			if t == nil || t.DType != tensor.Float32 || t.Len() != 1 {
				return Activation{}, false
			}
			*limit = tensor.Item[float32](t)
		}
		return Activation{
			"Clip", func(dst, x []float32) { kernel.Clip(dst, x, lo, hi) },
			kernel.Activation{Kind: kernel.ActivationClip, Lo: lo, Hi: hi},
		}, true
	case *LeakyRelu:
		return Activation{name: "LeakyRelu", row: func(dst, x []float32) {
			for i, v := range x {
				if v < 0 {
					v *= o.Alpha
				}
				dst[i] = v
			}
		}}, true
	case *Sigmoid:
		return Activation{name: "Sigmoid", row: kernel.Sigmoid}, true
	case *Tanh:
		return Activation{name: "Tanh", row: kernel.Tanh}, true
	case *Gelu:
		if o.Approximate == "tanh" {
			return Activation{name: "GeluTanh", row: kernel.GeluTanh}, true
		}
		return Activation{name: "Gelu", row: kernel.Gelu}, true
	case *ContribGelu:
		return Activation{name: "Gelu", row: kernel.Gelu}, true
	case *Swish:
		if o.Alpha == 1 {
			return Activation{name: "Swish", row: kernel.SiLU}, true
		}
	}
	return Activation{}, false
}

// rowEpilogue adds the bias to each row of y [rows, cols], then other, and applies the activation; both may be nil.
func (a Activation) rowEpilogue(e *graph.Env, y []float32, cols int, bias, other []float32) {
	if bias == nil && other == nil && a.row == nil || cols == 0 {
		return
	}
	epilogues.For(e.Workers(), len(y)/cols, max(1, elementGrain/4/cols), epilogue{a.row, y, cols, bias, other}, (*epilogue).rows)
}

var epilogues kernel.Jobs[epilogue]

// epilogue is what follows a product.
type epilogue struct {
	row         func(dst, x []float32)
	y           []float32
	cols        int
	bias, other []float32
}

func (a *epilogue) rows(lo, hi int) {
	for r := lo; r < hi; r++ {
		row := a.y[r*a.cols : (r+1)*a.cols]
		if a.bias != nil {
			kernel.Add(row, row, a.bias)
		}
		if a.other != nil {
			kernel.Add(row, row, a.other[r*a.cols:(r+1)*a.cols])
		}
		if a.row != nil {
			a.row(row, row)
		}
	}
}

// addEpilogue adds other to y, if it is there, and applies the activation.
func (a Activation) addEpilogue(e *graph.Env, y, other []float32) {
	if other == nil && a.row == nil {
		return
	}
	epilogues.For(e.Workers(), len(y), elementGrain/4, epilogue{row: a.row, y: y, other: other}, func(a *epilogue, lo, hi int) {
		row := a.y[lo:hi]
		if a.other != nil {
			kernel.Add(row, row, a.other[lo:hi])
		}
		if a.row != nil {
			a.row(row, row)
		}
	})
}

// finish adds a residual to y, which is fresh and has rows of cols values, after the bias, and applies the activation. A
// residual of another shape is broadcast with y.
func (a Activation) finish(e *graph.Env, y *tensor.Tensor, cols int, bias []float32, residual *tensor.Tensor) (*tensor.Tensor, error) {
	data := tensor.Data[float32](y)
	if residual == nil {
		a.rowEpilogue(e, data, cols, bias, nil)
		return y, nil
	}
	if err := wantFloat32(1, residual.DType); err != nil {
		return nil, err
	}
	if residual.Shape.Equal(y.Shape) {
		a.rowEpilogue(e, data, cols, bias, tensor.Data[float32](residual))
		return y, nil
	}
	Activation{}.rowEpilogue(e, data, cols, bias, nil)
	sum, err := (&Add{}).Eval(e, []*tensor.Tensor{y, residual})
	if err != nil {
		return nil, fmt.Errorf("residual: %w", err)
	}
	a.addEpilogue(e, tensor.Data[float32](sum[0]), nil)
	return sum[0], nil
}

// withResidual is the type of y with a residual added to it.
func withResidual(y, residual graph.Type) (graph.Type, error) {
	if err := wantFloat32(1, residual.DType); err != nil {
		return y, err
	}
	return broadcastTypes(tensor.Float32, y, residual)
}

// biasFloats reads a constant bias of a fused operator: n values, or one that is repeated. Nil stays nil.
func biasFloats(t *tensor.Tensor, n int) ([]float32, error) {
	if t == nil {
		return nil, nil
	}
	v, err := t.Floats()
	if err != nil {
		return nil, fmt.Errorf("bias: %w", err)
	}
	if len(v) == 1 && n != 1 {
		full := make([]float32, n)
		spread(full, v[0])
		return full, nil
	}
	if len(v) != n {
		return nil, fmt.Errorf("bias: want %d values, got shape %v", n, t.Shape)
	}
	return v, nil
}

// leadingRows checks that x is [..., k] and returns the number of rows and the shape with k replaced by n.
func leadingRows(e *graph.Env, x tensor.Shape, k, n int) (rows int, out tensor.Shape, err error) {
	last := len(x) - 1
	if last < 0 || x[last] != k {
		return 0, nil, fmt.Errorf("want %d columns, got shape %v", k, x)
	}
	out = e.Ints(len(x))
	copy(out, x[:last])
	out[last] = n
	return x[:last].Len(), out, checkSize(out)
}

// inferRows is x [..., k] with k replaced by n.
func inferRows(x graph.Type, k, n int) (graph.Type, error) {
	t, err := inferMatMul(tensor.Float32, x, graph.Shaped(tensor.Float32, tensor.Shape{k, n}))
	if !x.Ranked {
		return graph.Unranked(tensor.Float32), nil
	}
	return t, err
}

// wantFloat32 reports an input that is known not to be float32.
func wantFloat32(i int, d tensor.DType) error { return dtypes(tensor.Float32).check(i, d) }
