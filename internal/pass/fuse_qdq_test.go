package pass

import (
	"fmt"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// qdqNet builds graphs in QDQ form.
type qdqNet struct {
	*net
	count int
}

func (b *qdqNet) name(s string) string {
	b.count++
	return fmt.Sprintf("%s%d", s, b.count)
}

// params are a scale and a zero point; of a zero point of 0 in uint8 only the scale.
func (b *qdqNet) params(c op.Codes) []*graph.Value {
	out := []*graph.Value{b.Param(b.name("scale"), tensor.Scalar(c.Scale))}
	if c.DType == tensor.Uint8 && c.Zero == 0 {
		return out
	}
	return append(out, b.Param(b.name("zero"), codeScalar(c)))
}

func (b *qdqNet) quantize(v *graph.Value, c op.Codes) *graph.Value {
	return b.node(b.name("q"), "QuantizeLinear", nil, append([]*graph.Value{v}, b.params(c)...)...)
}

func (b *qdqNet) dequantize(v *graph.Value, c op.Codes) *graph.Value {
	return b.node(b.name("dq"), "DequantizeLinear", nil, append([]*graph.Value{v}, b.params(c)...)...)
}

// pair holds v in codes.
func (b *qdqNet) pair(v *graph.Value, c op.Codes) *graph.Value {
	return b.dequantize(b.quantize(v, c), c)
}

// bytes is a random weight in codes, dequantized with a scale and zero point per tensor or along axis.
func (b *qdqNet) bytes(d tensor.DType, axis int, zero bool, shape ...int) *graph.Value {
	t := tensor.New(d, shape...)
	for i := range t.Bytes() {
		t.Bytes()[i] = byte(b.r.Uint32())
	}
	in := []*graph.Value{b.Param(b.name("w"), t)}
	var a map[string]any
	s := tensor.Scalar[float32](0.01)
	if axis >= 0 {
		a = map[string]any{"axis": int64(axis)}
		s = tensor.New(tensor.Float32, shape[axis])
		for i := range tensor.Data[float32](s) {
			tensor.Data[float32](s)[i] = 0.005 + 0.01*b.r.Float32()
		}
	}
	in = append(in, b.Param(b.name("ws"), s))
	if zero {
		z := tensor.New(d, s.Shape...)
		for i := range z.Bytes() {
			z.Bytes()[i] = byte(100 + b.r.IntN(20))
		}
		in = append(in, b.Param(b.name("wz"), z))
	}
	return b.node(b.name("weight"), "DequantizeLinear", a, in...)
}

// bias is an int32 bias of the scale x.Scale times that of the weight.
func (b *qdqNet) bias(w *graph.Value, x op.Codes, n int) *graph.Value {
	ws, err := w.Node.In[1].Data.Load()
	if err != nil {
		b.t.Fatal(err)
	}
	s := tensor.New(tensor.Float32, ws.Shape...)
	for i, v := range tensor.Data[float32](ws) {
		tensor.Data[float32](s)[i] = v * x.Scale
	}
	codes := make([]int32, n)
	for i := range codes {
		codes[i] = b.r.Int32N(4000) - 2000
	}
	return b.node(b.name("bias"), "DequantizeLinear", map[string]any{"axis": int64(0)}, b.Param(b.name("bq"), tensor.Vector(codes...)), b.Param(b.name("bs"), s))
}

var (
	codesU = op.Codes{DType: tensor.Uint8, Scale: 0.02, Zero: 128}
	codesS = op.Codes{DType: tensor.Int8, Scale: 0.025, Zero: -7}
	codes0 = op.Codes{DType: tensor.Uint8, Scale: 0.03}
	wideU  = op.Codes{DType: tensor.Uint8, Scale: 0.1, Zero: 120}
	coarse = op.Codes{DType: tensor.Uint8, Scale: 10, Zero: 120}
	wideS  = op.Codes{DType: tensor.Int8, Scale: 0.1}
)

// qdqCase is a graph in QDQ form, with the operators that it is fused to.
type qdqCase struct {
	name, want string
	build      func(b *qdqNet) []*graph.Value
}

func qdqCases() []qdqCase {
	unary := func(kind string, a map[string]any, from, to op.Codes, shape []any, in ...func(b *qdqNet) *graph.Value) func(b *qdqNet) []*graph.Value {
		return func(b *qdqNet) []*graph.Value {
			args := []*graph.Value{b.pair(b.input("x", shape...), from)}
			for _, f := range in {
				args = append(args, f(b))
			}
			return []*graph.Value{b.quantize(b.node("n", kind, a, args...), to)}
		}
	}
	ints := func(v ...int64) func(b *qdqNet) *graph.Value {
		return func(b *qdqNet) *graph.Value { return b.ints(b.name("ints"), v...) }
	}
	scalar := func(v float32) func(b *qdqNet) *graph.Value {
		return func(b *qdqNet) *graph.Value { return b.Param(b.name("c"), tensor.Scalar(v)) }
	}
	conv := func(wd tensor.DType, axis int, zero bool, from, to op.Codes, act string, limits ...float32) func(b *qdqNet) []*graph.Value {
		return func(b *qdqNet) []*graph.Value {
			x := b.pair(b.input("x", "batch", 6, 9, 11), from)
			w := b.bytes(wd, axis, zero, 8, 3, 3, 3)
			y := b.node("conv", "Conv", map[string]any{"group": int64(2), "pads": []int64{1, 1, 1, 1}, "strides": []int64{2, 1}}, x, w, b.bias(w, from, 8))
			if act != "" {
				args := []*graph.Value{y}
				for _, l := range limits {
					args = append(args, b.Param(b.name("limit"), tensor.Scalar(l)))
				}
				y = b.node("act", act, nil, args...)
			}
			return []*graph.Value{b.quantize(y, to)}
		}
	}
	image := []any{"batch", 3, 8, 8}
	q := "QuantizeLinear "
	return []qdqCase{
		{"conv", q + "PackedQLinearConv", conv(tensor.Int8, 0, false, codesU, wideU, "")},
		{"conv of int4 weights", q + "PackedQLinearConv", conv(tensor.Int4, 0, false, codesU, wideU, "")},
		{"conv of uint4 weights per tensor", q + "PackedQLinearConv", conv(tensor.Uint4, -1, true, codesS, wideS, "")},
		{"conv of uint8 weights per tensor", q + "PackedQLinearConv", conv(tensor.Uint8, -1, true, codesS, wideS, "")},
		{"conv from uint8 to int8, Relu", q + "PackedQLinearConv", conv(tensor.Int8, 0, false, codes0, wideS, "Relu")},
		{"conv with Clip", q + "PackedQLinearConv", conv(tensor.Int8, 0, false, codesU, wideU, "Clip", -1, 6)},
		{"conv with Sigmoid", q + "DynamicQuantConvSigmoid QuantizeLinear", conv(tensor.Int8, 0, false, codesS, codes0, "Sigmoid")},
		{"conv of a float bias, residual", q + "DynamicQuantConvAddRelu", func(b *qdqNet) []*graph.Value {
			x := b.pair(b.input("x", "batch", 4, 5, 5), codesU)
			y := b.node("conv", "Conv", nil, x, b.bytes(tensor.Int8, 0, false, 4, 4, 1, 1), b.weight("bias", 4))
			return []*graph.Value{b.node("relu", "Relu", nil, b.node("add", "Add", nil, y, b.input("r", "batch", 4, 5, 5)))}
		}},
		{"conv of a float bias", q + "PackedQLinearConv", func(b *qdqNet) []*graph.Value {
			x := b.pair(b.input("x", "batch", 4, 5, 5), codesU)
			return []*graph.Value{b.quantize(b.node("conv", "Conv", nil, x, b.bytes(tensor.Int8, 0, false, 4, 4, 1, 1), b.weight("bias", 4)), wideU)}
		}},
		{"gemm", q + "PackedQLinearMatMul", func(b *qdqNet) []*graph.Value {
			w := b.bytes(tensor.Int8, 0, false, 10, 33)
			y := b.node("gemm", "Gemm", map[string]any{"transB": int64(1)}, b.pair(b.input("x", "batch", 33), codesS), w, b.bias(w, codesS, 10))
			return []*graph.Value{b.quantize(b.node("relu", "Relu", nil, y), wideS)}
		}},
		{"gemm to float, alpha and beta", q + "DynamicQuantMatMul", func(b *qdqNet) []*graph.Value {
			w := b.bytes(tensor.Uint8, -1, true, 33, 10)
			return []*graph.Value{b.node("gemm", "Gemm", map[string]any{"alpha": float32(0.5), "beta": float32(2)}, b.pair(b.input("x", "batch", 33), codesS), w, b.weight("c", 10))}
		}},
		{"matmul, bias, Relu", q + "PackedQLinearMatMul", func(b *qdqNet) []*graph.Value {
			y := b.node("matmul", "MatMul", nil, b.pair(b.input("x", "batch", 7, 33), codesU), b.bytes(tensor.Int8, 1, false, 33, 10))
			return []*graph.Value{b.quantize(b.node("relu", "Relu", nil, b.node("add", "Add", nil, b.weight("bias", 10), y)), codes0)}
		}},
		{"matmul of a transposed weight", q + "PackedQLinearMatMul", func(b *qdqNet) []*graph.Value {
			w := b.node("t", "Transpose", map[string]any{"perm": []int64{1, 0}}, b.bytes(tensor.Int8, 0, false, 10, 33))
			return []*graph.Value{b.quantize(b.node("matmul", "MatMul", nil, b.pair(b.input("x", "batch", 7, 33), codesU), w), wideU)}
		}},
		{"matmul of activations", q + q + "QLinearMatMul", func(b *qdqNet) []*graph.Value {
			x, y := b.pair(b.input("x", "batch", 2, 5, 33), codesU), b.pair(b.input("y", "batch", 2, 33, 6), codesS)
			return []*graph.Value{b.quantize(b.node("matmul", "MatMul", nil, x, y), wideU)}
		}},
		{"matmul of activations to float", q + q + "com.microsoft.MatMulIntegerToFloat", func(b *qdqNet) []*graph.Value {
			x, y := b.pair(b.input("x", "batch", 2, 5, 33), codesU), b.pair(b.input("y", "batch", 2, 33, 6), codes0)
			return []*graph.Value{b.node("matmul", "MatMul", nil, x, y)}
		}},
		{"add of one value in two forms", q + "CodeTable QuantizedAdd", func(b *qdqNet) []*graph.Value {
			x := b.pair(b.input("x", image...), codesU)
			return []*graph.Value{b.quantize(b.node("relu", "Relu", nil, b.node("add", "Add", nil, x, b.pair(x, codesS))), wideS)}
		}},
		{"mul, broadcast", q + q + "QuantizedMul", func(b *qdqNet) []*graph.Value {
			x, y := b.pair(b.input("x", image...), codesU), b.pair(b.input("y", "batch", 3, 1, 1), codesS)
			return []*graph.Value{b.quantize(b.node("mul", "Mul", nil, x, y), wideU)}
		}},
		{"mul by a constant", q + "CodeTableMul", unary("Mul", nil, codesU, wideS, image, scalar(1.7))},
		{"sigmoid", q + "CodeTableSigmoid", unary("Sigmoid", nil, codesU, op.Codes{DType: tensor.Uint8, Scale: 1.0 / 256}, image)},
		{"leaky relu", q + "CodeTableLeakyRelu", unary("LeakyRelu", map[string]any{"alpha": float32(0.2)}, codesU, codesS, image)},
		{"average pool", q + "com.microsoft.QLinearAveragePool", unary("AveragePool", map[string]any{"kernel_shape": []int64{3, 3}, "pads": []int64{1, 1, 1, 1}, "strides": []int64{2, 2}}, codesU, wideU, image)},
		{"global average pool", q + "com.microsoft.QLinearGlobalAveragePool", unary("GlobalAveragePool", nil, codesS, op.Codes{DType: tensor.Int8, Scale: 0.01, Zero: 3}, image)},
		{"average pool to another type", q + "DequantizeLinear GlobalAveragePool QuantizeLinear", unary("GlobalAveragePool", nil, codesS, codesU, image)},
		{"max pool", q + "MaxPool", unary("MaxPool", map[string]any{"kernel_shape": []int64{3, 3}, "pads": []int64{1, 1, 1, 1}}, codesS, codesS, image)},
		{"max pool, other parameters", q + "MaxPool CodeTable", unary("MaxPool", map[string]any{"kernel_shape": []int64{2, 2}}, codesS, wideU, image)},
		{"reshape", q + "Reshape", unary("Reshape", nil, codesU, codesU, image, ints(0, -1))},
		{"transpose", q + "Transpose", unary("Transpose", map[string]any{"perm": []int64{0, 2, 3, 1}}, codesU, codesU, image)},
		{"flatten", q + "Flatten", unary("Flatten", nil, codesU, codesU, image)},
		{"slice", q + "Slice", unary("Slice", nil, codesU, codesU, image, ints(1), ints(7), ints(3), ints(2))},
		{"gather", q + "Gather", unary("Gather", map[string]any{"axis": int64(1)}, codesS, codesS, image, ints(2, 0))},
		{"pad", q + "Pad", unary("Pad", nil, codesU, codesU, image, ints(0, 0, 1, 1, 0, 0, 2, 2))},
		{"pad by 0", q + "Pad", unary("Pad", nil, codesS, codesS, image, ints(0, 0, 1, 1, 0, 0, 2, 2), scalar(0))},
		{"pad by 1", q + "DequantizeLinear Pad QuantizeLinear", unary("Pad", nil, codesS, codesS, image, ints(0, 0, 1, 1, 0, 0, 2, 2), scalar(1))},
		{"resize", q + "Resize", unary("Resize", map[string]any{"mode": "nearest"}, codesU, codesU, image, func(*qdqNet) *graph.Value { return nil },
			func(b *qdqNet) *graph.Value { return b.Param("scales", tensor.Vector[float32](1, 1, 2, 1.5)) })},
		{"resize, linear", q + "DequantizeLinear Resize QuantizeLinear", unary("Resize", map[string]any{"mode": "linear"}, codesU, codesU, image, func(*qdqNet) *graph.Value { return nil },
			func(b *qdqNet) *graph.Value { return b.Param("scales", tensor.Vector[float32](1, 1, 2, 1.5)) })},
		{"split", q + "Split CodeTable", func(b *qdqNet) []*graph.Value {
			y := b.AddN("split", 2, b.op("Split", map[string]any{"axis": int64(3), "num_outputs": int64(2)}), b.pair(b.input("x", image...), codesU))
			return []*graph.Value{b.quantize(y[0], codesU), b.quantize(y[1], codesS)}
		}},
		{"concat", q + q + "Concat", func(b *qdqNet) []*graph.Value {
			return []*graph.Value{b.quantize(b.node("concat", "Concat", map[string]any{"axis": int64(1)}, b.pair(b.input("x", image...), codesU), b.pair(b.input("y", image...), codesU)), codesU)}
		}},
		{"concat of other parameters", q + q + "com.microsoft.QLinearConcat", func(b *qdqNet) []*graph.Value {
			return []*graph.Value{b.quantize(b.node("concat", "Concat", map[string]any{"axis": int64(1)}, b.pair(b.input("x", image...), codes0), b.pair(b.input("y", image...), codesU)), wideU)}
		}},
		{"a softmax between", q + "DequantizeLinear Softmax QuantizeLinear", unary("Softmax", nil, codesU, codes0, image)},
		{"shape of a value in codes", q + "Shape", func(b *qdqNet) []*graph.Value {
			return []*graph.Value{b.node("shape", "Shape", nil, b.pair(b.input("x", image...), codesU))}
		}},
		{"the same twice", q + "DequantizeLinear", func(b *qdqNet) []*graph.Value {
			return []*graph.Value{b.dequantize(b.quantize(b.pair(b.input("x", image...), codesU), codesU), codesU)}
		}},
		{"a result that is read in float too", q + "DequantizeLinear Relu QuantizeLinear", func(b *qdqNet) []*graph.Value {
			y := b.node("relu", "Relu", nil, b.pair(b.input("x", image...), codesU))
			return []*graph.Value{b.quantize(y, codesU), y}
		}},
		{"weights in blocks", q + "DequantizeLinear DequantizeLinear MatMul QuantizeLinear", func(b *qdqNet) []*graph.Value {
			x := b.pair(b.input("x", "batch", 32), codesU)
			codes, err := b.bytes(tensor.Int8, -1, false, 32, 4).Node.In[0].Data.Load()
			if err != nil {
				b.t.Fatal(err)
			}
			w := b.node("w", "DequantizeLinear", map[string]any{"axis": int64(0), "block_size": int64(16)}, b.Param("codes", codes), b.weight("scales", 2, 4))
			return []*graph.Value{b.quantize(b.node("matmul", "MatMul", nil, x, w), coarse)}
		}},
		{"16 bits", q + "DequantizeLinear Relu QuantizeLinear", func(b *qdqNet) []*graph.Value {
			s, z := b.Param("s", tensor.Scalar[float32](0.001)), b.Param("z", tensor.Scalar[uint16](30000))
			x := b.node("dq", "DequantizeLinear", nil, b.node("q", "QuantizeLinear", nil, b.input("x", image...), s, z), s, z)
			return []*graph.Value{b.node("q2", "QuantizeLinear", nil, b.node("relu", "Relu", nil, x), s, z)}
		}},
	}
}

// Every operator between codes runs on them, and gives the codes that its float form gives to within one.
func TestFuseQDQ(t *testing.T) {
	for _, c := range qdqCases() {
		t.Run(c.name, func(t *testing.T) {
			b := &qdqNet{net: newNet(t, c.name)}
			g := b.graph(c.build(b)...)
			if err := g.Infer(); err != nil {
				t.Fatal(err)
			}
			in := feed(g)
			want := evaluate(t, g, in)
			low := g.Clone()
			for _, p := range []graph.Pass{WidenCodes, FuseQDQ, RemoveDead, (*graph.Graph).Verify, (*graph.Graph).Infer} {
				if err := p(low); err != nil {
					t.Fatal(err)
				}
			}
			if got := kinds(low); got != c.want {
				t.Errorf("fused to %s, want %s", got, c.want)
			}
			got := evaluate(t, low, in)
			for name, w := range want {
				nearCodes(t, name, got[name], w)
			}
		})
	}
}

// nearCodes fails unless codes agree within one, nearly all exactly; floats within rounding.
func nearCodes(t *testing.T, name string, got, want *tensor.Tensor) {
	t.Helper()
	if want.DType != tensor.Uint8 && want.DType != tensor.Int8 {
		same(t, name, map[string]*tensor.Tensor{name: want}, map[string]*tensor.Tensor{name: got})
		return
	}
	if got.DType != want.DType || !got.Shape.Equal(want.Shape) {
		t.Fatalf("%s: got %v, want %v", name, got, want)
	}
	a, _ := got.Ints()
	b, _ := want.Ints()
	off, kinds := 0, map[int64]bool{}
	for i := range a {
		kinds[b[i]] = true
		if a[i] != b[i] {
			off++
			if d := a[i] - b[i]; d < -1 || d > 1 {
				t.Fatalf("%s: code %d is %d, want %d", name, i, a[i], b[i])
			}
		}
	}
	if off > len(a)/50 || len(kinds) < 5 {
		t.Errorf("%s: %d of %d codes are off by one; %d different codes", name, off, len(a), len(kinds))
	}
}
