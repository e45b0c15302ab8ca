package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var quantizeOps = table{
	"QuantizeLinear":        fresh[QuantizeLinear],
	"DequantizeLinear":      fresh[DequantizeLinear],
	"DynamicQuantizeLinear": fresh[DynamicQuantizeLinear],
	"MatMulInteger":         fresh[MatMulInteger],
	"ConvInteger":           fresh[ConvInteger],
	"QLinearConv":           fresh[QLinearConv],
	"QLinearMatMul":         fresh[QLinearMatMul],
}

// Element types of quantized tensors. bytes8 are those that the integer kernels multiply.
var (
	bytes8      = dtypes(tensor.Int8, tensor.Uint8)
	smallInts   = bytes8 | dtypes(tensor.Int16, tensor.Uint16, tensor.Int4, tensor.Uint4, tensor.Int2, tensor.Uint2)
	smallFloats = float8s | dtypes(tensor.Float4E2M1)
	scaleTypes  = dtypes(tensor.Float32, tensor.Float16, tensor.BFloat16)
)

// scales says which scale belongs to which element of a tensor. The tensor is a list of runs of consecutive elements; within
// a run the scales are one, or consecutive.
type scales struct {
	runs  int // number of runs
	width int // elements of a run; the last of a group may be shorter
	count int // scales in all
	// run returns the first element, the number of elements and the first scale of a run, and whether the scale advances
	// with the element.
	run func(i int) (start, n, scale int, each bool)
}

// newScales resolves the granularity of ONNX quantization: a scalar scale (one value of any shape) for the whole tensor, a
// 1-D scale along axis, or with block > 0 a scale of the tensor's rank with every block elements along axis sharing one.
func newScales(x, scale tensor.Shape, axis, block int) (*scales, error) {
	total := x.Len()
	if block < 0 {
		return nil, fmt.Errorf("block_size: want at least 0, got %d", block)
	}
	if block == 0 && scale.Len() == 1 && len(scale) <= 1 {
		const width = elementGrain
		return &scales{runs: (total + width - 1) / width, width: width, count: 1, run: func(i int) (int, int, int, bool) {
			return i * width, min(width, total-i*width), 0, false
		}}, nil
	}
	axis, err := tensor.Axis(axis, len(x))
	if err != nil {
		return nil, err
	}
	n, inner, outer := x[axis], x[axis+1:].Len(), x[:axis].Len()
	if block == 0 {
		if len(scale) != 1 || scale[0] != n {
			return nil, fmt.Errorf("scale: want one value or %d along axis %d, got shape %v", n, axis, scale)
		}
		if inner == 1 {
			return &scales{runs: outer, width: n, count: n, run: func(i int) (int, int, int, bool) { return i * n, n, 0, true }}, nil
		}
		return &scales{runs: outer * n, width: inner, count: n, run: func(i int) (int, int, int, bool) {
			return i * inner, inner, i % n, false
		}}, nil
	}
	blocks := (n + block - 1) / block
	wantShape := x.Clone()
	wantShape[axis] = blocks
	if !scale.Equal(wantShape) {
		return nil, fmt.Errorf("scale: want shape %v for blocks of %d along axis %d, got %v", wantShape, block, axis, scale)
	}
	if inner == 1 {
		return &scales{runs: outer * blocks, width: block, count: outer * blocks, run: func(i int) (int, int, int, bool) {
			at := i % blocks * block
			return i/blocks*n + at, min(block, n-at), i, false
		}}, nil
	}
	return &scales{runs: outer * n, width: inner, count: outer * blocks * inner, run: func(i int) (int, int, int, bool) {
		return i * inner, inner, (i/n*blocks + i%n/block) * inner, true
	}}, nil
}

// each calls f for all runs on all workers, buffer being scratch space of width elements for each call.
func (s *scales) each(e *graph.Env, f func(start, n, scale int, each bool)) {
	e.For(s.runs, max(1, elementGrain/max(s.width, 1)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			f(s.run(i))
		}
	})
}

// zeroPoints returns the values of an integer zero point of the same shape as the scale; nil if it is omitted.
func zeroPoints(t *tensor.Tensor, count int) ([]int32, error) {
	if t == nil {
		return nil, nil
	}
	v, err := t.Ints()
	if err != nil {
		return nil, fmt.Errorf("zero point: %w", err)
	}
	if len(v) != count {
		return nil, fmt.Errorf("zero point: want %d values like the scale, got shape %v", count, t.Shape)
	}
	out := make([]int32, len(v))
	for i, z := range v {
		out[i] = int32(z)
	}
	return out, nil
}

// atOr returns v[i], or 0 where v is nil.
func atOr(v []int32, i int) int32 {
	if v == nil {
		return 0
	}
	return v[i]
}

// quantizeValue is sat(rne(q) + zp) for a quotient q; NaN gives lo.
func quantizeValue(q float32, zp, lo, hi int32) int32 {
	r := math.RoundToEven(float64(q))
	switch {
	case !(r >= float64(lo-zp)):
		return lo
	case r > float64(hi-zp):
		return hi
	}
	return int32(r) + zp
}

// DynamicQuantizeLinear is the ONNX operator DynamicQuantizeLinear: x float32 to uint8 over the range of the whole tensor
// extended to 0, with the scale and zero point as further outputs.
type DynamicQuantizeLinear struct{}

func (*DynamicQuantizeLinear) Kind() string { return "DynamicQuantizeLinear" }

func (*DynamicQuantizeLinear) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := dtypes(tensor.Float32).check(0, in[0].DType); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], tensor.Uint8), graph.Ranked(tensor.Float32), graph.Ranked(tensor.Uint8)}, nil
}

func (*DynamicQuantizeLinear) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	if err := dtypes(tensor.Float32).check(0, in[0].DType); err != nil {
		return nil, err
	}
	y := e.New(tensor.Uint8, in[0].Shape...)
	scale, zp := dynamicQuantize(e, y.Bytes(), tensor.Data[float32](in[0]))
	s, z := e.New(tensor.Float32), e.New(tensor.Uint8)
	tensor.Data[float32](s)[0] = scale
	z.Bytes()[0] = byte(zp)
	kept := graph.Keep[[3]*tensor.Tensor](e)
	defer kept.Done()
	kept.V = [3]*tensor.Tensor{y, s, z}
	return kept.V[:], nil
}

// dynamicQuantize quantizes x to uint8 by the formulas of DynamicQuantizeLinear:
//
//	lo = min(0, min x), hi = max(0, max x), scale = (hi-lo)/255 (1 if that is 0), zp = sat(rne(-lo/scale)),
//	dst = sat(rne(x/scale) + zp)
//
// all in float32. NaN is left out of the range.
func dynamicQuantize(e *graph.Env, dst []byte, x []float32) (scale float32, zp int32) {
	scale, zp = dynamicRange(e, x)
	quantizing.For(e.Workers(), len(x), elementGrain, quantizeArgs{dst: dst, x: x, scale: scale, zero: zp}, (*quantizeArgs).codes)
	return scale, zp
}

var quantizing kernel.Jobs[quantizeArgs]

// quantizeArgs is the quantization of floats with one scale, or in los and his the extremes of chunks of them.
type quantizeArgs struct {
	dst      []byte
	x        []float32
	scale    float32
	zero     int32
	signed   bool
	los, his []float32
}

func (a *quantizeArgs) codes(lo, hi int) {
	if a.signed {
		kernel.QuantizeS8(a.dst[lo:hi], a.x[lo:hi], a.scale, a.zero)
	} else {
		kernel.QuantizeU8(a.dst[lo:hi], a.x[lo:hi], a.scale, a.zero)
	}
}

func (a *quantizeArgs) extremes(lo, hi int) {
	for c := lo; c < hi; c++ {
		a.los[c], a.his[c] = kernel.MinMax(a.x[c*elementGrain : min((c+1)*elementGrain, len(a.x))])
	}
}

// dynamicRange returns the scale and zero point of [dynamicQuantize].
func dynamicRange(e *graph.Env, x []float32) (scale float32, zp int32) {
	chunks := (len(x) + elementGrain - 1) / elementGrain
	both := kernel.Borrow[float32](2 * chunks)
	defer both.Release()
	los, his := both.Data[:chunks], both.Data[chunks:]
	quantizing.For(e.Workers(), chunks, 1, quantizeArgs{x: x, los: los, his: his}, (*quantizeArgs).extremes)
	var lo, hi float32
	for c := range los {
		lo, hi = min(lo, los[c]), max(hi, his[c])
	}
	scale = (hi - lo) / 255
	if scale == 0 {
		return 1, 0
	}
	return scale, quantizeValue(-lo/scale, 0, 0, 255)
}
