package op

import (
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestLinearGolden(t *testing.T)    { runGolden(t, "linear.json") }
func TestConvGolden(t *testing.T)      { runGolden(t, "conv.json") }
func TestQuantizeGolden(t *testing.T)  { runGolden(t, "quantize.json") }
func TestQLinearGolden(t *testing.T)   { runGolden(t, "qlinear.json") }
func TestMicrosoftGolden(t *testing.T) { runGolden(t, "microsoft.json") }

// TestInferKeepsNames checks that the names of dimensions pass through operators that do not change them.
func TestInferKeepsNames(t *testing.T) {
	batch, tokens, side := graph.Named("batch"), graph.Named("tokens"), graph.Named("side")
	f := func(dims ...graph.Dim) graph.Type { return graph.Ranked(tensor.Float32, dims...) }
	u := func(dims ...graph.Dim) graph.Type { return graph.Ranked(tensor.Uint8, dims...) }
	k := graph.Known
	same := Window{KernelShape: []int{3, 3}, Pads: []int{1, 1, 1, 1}}
	for _, c := range []struct {
		op   graph.Op
		in   []graph.Type
		want string
	}{
		{&MatMul{}, []graph.Type{f(batch, tokens, k(8)), f(k(8), k(4))}, "float32[batch,tokens,4]"},
		{&MatMul{}, []graph.Type{f(batch, k(2), tokens, k(8)), f(batch, k(2), k(8), tokens)}, "float32[batch,2,tokens,tokens]"},
		{&MatMulInteger{}, []graph.Type{u(batch, k(8)), u(k(8), k(4))}, "int32[batch,4]"},
		{&Gemm{TransB: true}, []graph.Type{f(batch, k(8)), f(k(4), k(8)), f(k(4))}, "float32[batch,4]"},
		{&Einsum{Equation: "bhqd,bhkd->bhqk"}, []graph.Type{f(batch, k(2), tokens, k(8)), f(batch, k(2), k(5), k(8))}, "float32[batch,2,tokens,5]"},
		{&Conv{Window: same, Group: 1}, []graph.Type{f(batch, k(3), side, k(8)), f(k(6), k(3), k(3), k(3))}, "float32[batch,6,side,8]"},
		{&Conv{Window: Window{Strides: []int{2, 2}}, Group: 1}, []graph.Type{f(batch, k(3), side, k(8)), f(k(6), k(3), k(1), k(1))}, "float32[batch,6,?,4]"},
		{&MaxPool{Window: same}, []graph.Type{f(batch, k(3), side, k(8))}, "float32[batch,3,side,8]"},
		{&GlobalAveragePool{}, []graph.Type{f(batch, k(3), side, side)}, "float32[batch,3,1,1]"},
		{&QuantizeLinear{}, []graph.Type{f(batch, tokens), f(), graph.Ranked(tensor.Int8)}, "int8[batch,tokens]"},
		{&DequantizeLinear{}, []graph.Type{u(batch, tokens), f()}, "float32[batch,tokens]"},
		{&DynamicQuantizeLinear{}, []graph.Type{f(batch, tokens)}, "uint8[batch,tokens]"},
		{&LayerNormalization{Axis: -1, StashType: 1}, []graph.Type{f(batch, tokens, k(8)), f(k(8))}, "float32[batch,tokens,8]"},
		{&MatMulNBits{K: 32, N: 4, Bits: 4, BlockSize: 16}, []graph.Type{f(batch, tokens, k(32)), u(k(4), k(2), k(8)), f(k(4), k(2))}, "float32[batch,tokens,4]"},
		{&QLinearConv{Window: same, Group: 1}, []graph.Type{u(batch, k(3), side, side), f(), u(), u(k(6), k(3), k(3), k(3)), f(), u(), f(), u()}, "uint8[batch,6,side,side]"},
	} {
		got, err := c.op.Infer(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.op.Kind(), err)
		} else if got[0].String() != c.want {
			t.Errorf("%s: got %v, want %s", c.op.Kind(), got[0], c.want)
		}
	}
}

// TestBadInput checks that operands that do not fit are errors, in Infer where it can know and in Eval always.
func TestBadInput(t *testing.T) {
	f := func(shape ...int) *tensor.Tensor { return tensor.New(tensor.Float32, shape...) }
	u := func(shape ...int) *tensor.Tensor { return tensor.New(tensor.Uint8, shape...) }
	window := Window{KernelShape: []int{3, 3}}
	for name, c := range map[string]struct {
		op graph.Op
		in []*tensor.Tensor
	}{
		"inner dimensions":         {&MatMul{}, []*tensor.Tensor{f(2, 3), f(4, 5)}},
		"scalar operand":           {&MatMul{}, []*tensor.Tensor{f(), f(4, 5)}},
		"mixed types":              {&MatMul{}, []*tensor.Tensor{f(2, 2), u(2, 2)}},
		"missing operand":          {&MatMul{}, []*tensor.Tensor{f(2, 3), nil}},
		"gemm rank":                {&Gemm{Alpha: 1, Beta: 1}, []*tensor.Tensor{f(2, 3, 4), f(4, 5)}},
		"gemm bias":                {&Gemm{Alpha: 1, Beta: 1}, []*tensor.Tensor{f(2, 3), f(3, 5), f(4)}},
		"einsum operands":          {&Einsum{Equation: "ij,jk->ik"}, []*tensor.Tensor{f(2, 3)}},
		"einsum sizes":             {&Einsum{Equation: "ij,jk->ik"}, []*tensor.Tensor{f(2, 3), f(4, 5)}},
		"einsum output":            {&Einsum{Equation: "ij->iz"}, []*tensor.Tensor{f(2, 3)}},
		"determinant":              {&Det{}, []*tensor.Tensor{f(2, 3)}},
		"groups":                   {&Conv{Group: 2}, []*tensor.Tensor{f(1, 3, 5, 5), f(4, 3, 3, 3)}},
		"group zero":               {&Conv{}, []*tensor.Tensor{f(1, 3, 5, 5), f(4, 3, 3, 3)}},
		"kernel beyond input":      {&Conv{Group: 1}, []*tensor.Tensor{f(1, 3, 2, 2), f(4, 3, 3, 3)}},
		"bias":                     {&Conv{Group: 1}, []*tensor.Tensor{f(1, 3, 5, 5), f(4, 3, 3, 3), f(3)}},
		"pads":                     {&Conv{Window: Window{Pads: []int{1, 1}}, Group: 1}, []*tensor.Tensor{f(1, 3, 5, 5), f(4, 3, 3, 3)}},
		"huge pads":                {&Conv{Window: Window{Pads: []int{1 << 30, 1 << 30, 1 << 30, 1 << 30}}, Group: 1}, []*tensor.Tensor{f(1, 3, 5, 5), f(4, 3, 3, 3)}},
		"strides":                  {&MaxPool{Window: Window{KernelShape: []int{3, 3}, Strides: []int{0, 1}}}, []*tensor.Tensor{f(1, 3, 5, 5)}},
		"kernel rank":              {&AveragePool{Window: window}, []*tensor.Tensor{f(1, 3, 5)}},
		"transposed channels":      {&ConvTranspose{Group: 1}, []*tensor.Tensor{f(1, 3, 5, 5), f(4, 3, 3, 3)}},
		"scale count":              {&QuantizeLinear{Axis: 1}, []*tensor.Tensor{f(2, 3), f(2)}},
		"block scale":              {&QuantizeLinear{Axis: 1, BlockSize: 2}, []*tensor.Tensor{f(2, 3), f(2, 3)}},
		"zero point count":         {&QuantizeLinear{Axis: 1}, []*tensor.Tensor{f(2, 3), f(3), u(2)}},
		"zero point type":          {&DequantizeLinear{Axis: 1}, []*tensor.Tensor{u(2, 3), f(), tensor.New(tensor.Int8)}},
		"output type":              {&QuantizeLinear{OutputDType: int(tensor.Int64)}, []*tensor.Tensor{f(2), f()}},
		"row zero point":           {&MatMulInteger{}, []*tensor.Tensor{u(2, 3), u(3, 4), u(3)}},
		"float operand":            {&MatMulInteger{}, []*tensor.Tensor{f(2, 3), u(3, 4)}},
		"channel scale":            {&QLinearConv{Group: 1}, []*tensor.Tensor{u(1, 1, 3, 3), f(), u(), u(4, 1, 1, 1), f(3), u(), f(), u()}},
		"nbits weight":             {&MatMulNBits{K: 32, N: 4, Bits: 4, BlockSize: 16}, []*tensor.Tensor{f(2, 32), u(4, 1, 8), f(4, 2)}},
		"nbits block":              {&MatMulNBits{K: 32, N: 4, Bits: 4, BlockSize: 24}, []*tensor.Tensor{f(2, 32), u(4, 2, 8), f(4, 2)}},
		"bnb4 absmax":              {&MatMulBnb4{K: 32, N: 4, BlockSize: 16}, []*tensor.Tensor{f(2, 32), u(64), f(3)}},
		"gather scales":            {&GatherBlockQuantized{Bits: 4, BlockSize: 16, QuantizeAxis: 1}, []*tensor.Tensor{u(3, 16), tensor.Vector[int64](0), f(3, 1)}},
		"normalized shape":         {&LayerNormalization{Axis: -1, StashType: 1}, []*tensor.Tensor{f(2, 3), f(2)}},
		"channel parameters":       {&BatchNormalization{}, []*tensor.Tensor{f(2, 3, 4), f(3), f(3), f(2), f(3)}},
		"group count":              {&GroupNormalization{NumGroups: 2}, []*tensor.Tensor{f(2, 3, 4), f(3), f(3)}},
		"unpool index":             {&MaxUnpool{KernelShape: []int{2, 2}, Strides: []int{2, 2}}, []*tensor.Tensor{f(1, 1, 1, 1), tensor.Of(tensor.Shape{1, 1, 1, 1}, []int64{4})}},
		"region image":             {&RoiAlign{Mode: "avg", OutputHeight: 1, OutputWidth: 1, SpatialScale: 1}, []*tensor.Tensor{f(1, 1, 3, 3), f(1, 4), tensor.Vector[int64](1)}},
		"embedding row":            {&EmbedLayerNormalization{}, []*tensor.Tensor{tensor.Of(tensor.Shape{1, 1}, []int32{5}), nil, f(5, 2), f(5, 2), nil, f(2), f(2)}},
		"mixed quantized operands": {&QLinearAdd{}, []*tensor.Tensor{u(2), f(), u(), tensor.New(tensor.Int8, 2), f(), tensor.New(tensor.Int8), f()}},
	} {
		if out, err := c.op.Eval(&graph.Env{}, c.in); err == nil {
			t.Errorf("%s: no error, got %v", name, out)
		}
	}
}
