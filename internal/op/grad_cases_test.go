package op_test

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

type attr = map[string]any

// gradCases are the operators that are trained through, with broadcasting and edge cases.
func gradCases(r draws) []gradCase {
	n, m, k := 1+r.IntN(4), 1+r.IntN(4), 1+r.IntN(4)
	cases := []gradCase{
		{kind: "Add", in: []*tensor.Tensor{r.real(n, m), r.real(m)}},
		{kind: "Add", in: []*tensor.Tensor{r.real(n, 1, k), r.real(m, 1)}},
		{kind: "Add", in: []*tensor.Tensor{r.real(), r.real(n, m)}},
		{kind: "Sub", in: []*tensor.Tensor{r.real(n, m), r.real(n, 1)}},
		{kind: "Mul", in: []*tensor.Tensor{r.real(2, n, m), r.real(n, 1)}},
		{kind: "Mul", in: []*tensor.Tensor{r.real(n), r.real(m, 1)}},
		{kind: "Div", in: []*tensor.Tensor{r.real(n, m), r.real(m)}},
		{kind: "Pow", in: []*tensor.Tensor{r.positive(n, m), r.real(m)}},
		{kind: "Min", in: []*tensor.Tensor{r.real(n, m), r.real(m), r.real(n, 1)}},
		{kind: "Max", in: []*tensor.Tensor{r.real(n, m), r.real(n, m)}},
		{kind: "Sum", in: []*tensor.Tensor{r.real(n, m), r.real(m), r.real()}},
		{kind: "Mean", in: []*tensor.Tensor{r.real(n, m), r.real(m)}},
		{kind: "Where", in: []*tensor.Tensor{tensor.Of(tensor.Shape{3, 1}, []bool{true, false, true}), r.real(3, m), r.real(m)}},
		{kind: "Clip", in: []*tensor.Tensor{r.real(n, m, 5), tensor.Scalar(-0.6), tensor.Scalar(0.7)}},
		{kind: "PRelu", in: []*tensor.Tensor{r.real(2, n, m), r.real(n, 1)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(n, m), r.real(m, k)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(2, n, m), r.real(m, k)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(2, 1, n, m), r.real(3, m, k)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(m), r.real(m, k)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(n, m), r.real(m)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(m), r.real(m)}},
		{kind: "MatMul", in: []*tensor.Tensor{r.real(m), r.real(2, m, k)}},
		{kind: "Gemm", in: []*tensor.Tensor{r.real(n, m), r.real(m, k), r.real(k)}},
		{kind: "Gemm", attrs: attr{"alpha": float32(0.5), "beta": float32(2), "transA": int64(1)}, in: []*tensor.Tensor{r.real(m, n), r.real(m, k), r.real(n, 1)}},
		{kind: "Gemm", attrs: attr{"transB": int64(1)}, in: []*tensor.Tensor{r.real(n, m), r.real(k, m)}},
		{kind: "Gemm", attrs: attr{"transA": int64(1), "transB": int64(1)}, in: []*tensor.Tensor{r.real(m, n), r.real(k, m), r.real()}},
		{kind: "Conv", in: []*tensor.Tensor{r.real(2, 3, 5, 4), r.real(4, 3, 3, 3), r.real(4)}},
		{kind: "Conv", attrs: attr{"pads": []int64{1, 1, 0, 2}, "strides": []int64{2, 1}}, in: []*tensor.Tensor{r.real(1, 2, 6, 5), r.real(3, 2, 3, 2)}},
		{kind: "Conv", attrs: attr{"group": int64(2), "dilations": []int64{2}}, in: []*tensor.Tensor{r.real(2, 4, 7), r.real(6, 2, 3), r.real(6)}},
		{kind: "Conv", attrs: attr{"group": int64(3), "pads": []int64{1, 1, 1, 1}}, in: []*tensor.Tensor{r.real(1, 3, 4, 4), r.real(3, 1, 3, 3)}},
		{kind: "Conv", attrs: attr{"auto_pad": "SAME_UPPER", "strides": []int64{2, 2}}, in: []*tensor.Tensor{r.real(1, 1, 5, 5), r.real(2, 1, 3, 3)}},
		{kind: "ConvTranspose", in: []*tensor.Tensor{r.real(2, 3, 4), r.real(3, 2, 3), r.real(2)}},
		{kind: "ConvTranspose", attrs: attr{"strides": []int64{2, 2}, "pads": []int64{1, 1, 1, 1}, "output_padding": []int64{1, 1}}, in: []*tensor.Tensor{r.real(1, 2, 3, 3), r.real(2, 2, 3, 3)}},
		{kind: "ConvTranspose", attrs: attr{"group": int64(2), "dilations": []int64{2, 1}}, in: []*tensor.Tensor{r.real(1, 4, 3, 2), r.real(4, 2, 2, 2), r.real(4)}},
		{kind: "BatchNormalization", in: []*tensor.Tensor{r.real(3, 2, 4), r.real(2), r.real(2), r.real(2), r.positive(2)}, fixed: []int{3, 4}},
		{
			kind: "BatchNormalization", attrs: attr{"training_mode": int64(1)}, adjust: func(o graph.Op) { o.(*op.BatchNormalization).Saved = true },
			in: []*tensor.Tensor{r.real(3, 2, 4), r.real(2), r.real(2), r.real(2), r.positive(2)}, fixed: []int{3, 4},
		},
		{kind: "LayerNormalization", in: []*tensor.Tensor{r.real(n, m, 5), r.real(5), r.real(5)}},
		{kind: "LayerNormalization", attrs: attr{"axis": int64(1)}, in: []*tensor.Tensor{r.real(2, 3, 4), r.real(4), r.real(3, 4)}},
		{kind: "RMSNormalization", in: []*tensor.Tensor{r.real(n, m, 5), r.real(5)}},
		{kind: "InstanceNormalization", in: []*tensor.Tensor{r.real(2, 3, 2, 3), r.real(3), r.real(3)}},
		{kind: "GroupNormalization", attrs: attr{"num_groups": int64(2)}, in: []*tensor.Tensor{r.real(2, 4, 3), r.real(4), r.real(4)}},
		{kind: "MaxPool", attrs: attr{"kernel_shape": []int64{2, 2}, "strides": []int64{2, 2}}, in: []*tensor.Tensor{r.real(2, 2, 5, 4)}},
		{kind: "MaxPool", attrs: attr{"kernel_shape": []int64{3}, "pads": []int64{1, 1}, "ceil_mode": int64(1), "strides": []int64{2}}, in: []*tensor.Tensor{r.real(1, 2, 6)}},
		{kind: "AveragePool", attrs: attr{"kernel_shape": []int64{3, 2}, "pads": []int64{1, 0, 1, 1}}, in: []*tensor.Tensor{r.real(2, 2, 5, 4)}},
		{kind: "AveragePool", attrs: attr{"kernel_shape": []int64{3}, "pads": []int64{1, 1}, "count_include_pad": int64(1), "strides": []int64{2}}, in: []*tensor.Tensor{r.real(1, 2, 6)}},
		{kind: "GlobalAveragePool", in: []*tensor.Tensor{r.real(n, m, 3, 2)}},
		{kind: "GlobalMaxPool", in: []*tensor.Tensor{r.real(n, m, 3, 2)}},
		{kind: "Flatten", in: []*tensor.Tensor{r.real(n, m, k)}},
		{kind: "Reshape", in: []*tensor.Tensor{r.real(n, m, 2), ints(2, -1)}},
		{kind: "Squeeze", in: []*tensor.Tensor{r.real(n, 1, m), ints(1)}},
		{kind: "Unsqueeze", in: []*tensor.Tensor{r.real(n, m), ints(0, 2)}},
		{kind: "Identity", in: []*tensor.Tensor{r.real(n, m)}},
		{kind: "Transpose", attrs: attr{"perm": []int64{2, 0, 1}}, in: []*tensor.Tensor{r.real(n, m, k)}},
		{kind: "Expand", in: []*tensor.Tensor{r.real(n, 1), ints(2, 1, 3)}},
		{kind: "Tile", in: []*tensor.Tensor{r.real(n, m), ints(2, 3)}},
		{kind: "Slice", in: []*tensor.Tensor{r.real(4, 5), ints(1, 4), ints(4, 0), ints(0, 1), ints(2, -2)}},
		{kind: "Slice", in: []*tensor.Tensor{r.real(3, 4), ints(1), ints(1)}},
		{kind: "Pad", in: []*tensor.Tensor{r.real(3, 4), ints(1, 0, 0, 2)}},
		{kind: "Pad", in: []*tensor.Tensor{r.real(3, 4), ints(-1, 2, 1, -1)}},
		{kind: "Pad", attrs: attr{"mode": "reflect"}, in: []*tensor.Tensor{r.real(3, 4), ints(1, 2, 2, 1)}},
		{kind: "Pad", attrs: attr{"mode": "edge"}, in: []*tensor.Tensor{r.real(3, 4), ints(1, 2, 2, 1)}},
		{kind: "Concat", attrs: attr{"axis": int64(1)}, in: []*tensor.Tensor{r.real(n, 2, m), r.real(n, 1, m), r.real(n, 3, m)}},
		{kind: "Split", attrs: attr{"axis": int64(1)}, in: []*tensor.Tensor{r.real(n, 5), ints(2, 0, 3)}, out: []int{0, 2}},
		{kind: "Gather", attrs: attr{"axis": int64(1)}, in: []*tensor.Tensor{r.real(n, 4, m), tensor.Of(tensor.Shape{2, 2}, []int64{0, -1, 3, 1})}},
		{kind: "GatherElements", attrs: attr{"axis": int64(0)}, in: []*tensor.Tensor{r.real(3, 2), tensor.Of(tensor.Shape{2, 2}, []int64{0, 2, 2, 2})}},
		{kind: "TopK", in: []*tensor.Tensor{r.real(n, 5), ints(2)}, out: []int{0}},
		{kind: "TopK", attrs: attr{"axis": int64(0), "largest": int64(0)}, in: []*tensor.Tensor{r.real(4, m), ints(3)}, out: []int{0}},
		{kind: "GatherND", in: []*tensor.Tensor{r.real(3, 2), tensor.Of(tensor.Shape{2, 1}, []int64{2, 2})}},
		{kind: "DepthToSpace", attrs: attr{"blocksize": int64(2)}, in: []*tensor.Tensor{r.real(1, 8, 2, 3)}},
		{kind: "SpaceToDepth", attrs: attr{"blocksize": int64(2)}, in: []*tensor.Tensor{r.real(1, 2, 4, 2)}},
		{kind: "Trilu", in: []*tensor.Tensor{r.real(2, 3, 3)}},
		{kind: "Resize", attrs: attr{"mode": "nearest"}, in: []*tensor.Tensor{r.real(1, 2, 3, 2), nil, tensor.Vector[float32](1, 1, 2, 1.5)}},
		{kind: "Resize", attrs: attr{"mode": "linear"}, in: []*tensor.Tensor{r.real(1, 2, 3, 4), nil, nil, ints(1, 2, 5, 3)}},
		{kind: "Resize", attrs: attr{"mode": "cubic", "coordinate_transformation_mode": "align_corners"}, in: []*tensor.Tensor{r.real(1, 1, 4, 4), nil, nil, ints(1, 1, 6, 7)}},
		{kind: "Softmax", in: []*tensor.Tensor{r.real(n, 5)}},
		{kind: "Softmax", attrs: attr{"axis": int64(1)}, in: []*tensor.Tensor{r.real(n, 4, m)}},
		{kind: "LogSoftmax", attrs: attr{"axis": int64(0)}, in: []*tensor.Tensor{r.real(4, m)}},
		{kind: "Dropout", in: []*tensor.Tensor{r.real(n, m)}},
	}
	lens := tensor.Vector[int32](4, 2)
	cases = append(cases,
		gradCase{kind: "RNN", in: []*tensor.Tensor{r.real(4, 2, 3), r.real(1, 2, 3), r.real(1, 2, 2), r.real(1, 4)}, out: []int{0, 1}},
		gradCase{kind: "RNN", attrs: attr{"direction": "bidirectional", "layout": int64(1)}, in: []*tensor.Tensor{r.real(2, 4, 3), r.real(2, 2, 3), r.real(2, 2, 2)}, out: []int{0}},
		gradCase{kind: "LSTM", in: []*tensor.Tensor{r.real(4, 2, 3), r.real(1, 8, 3), r.real(1, 8, 2), r.real(1, 16), lens, r.real(1, 2, 2), r.real(1, 2, 2), r.real(1, 6)}, out: []int{0, 1, 2}},
		gradCase{kind: "LSTM", attrs: attr{"direction": "bidirectional"}, in: []*tensor.Tensor{r.real(3, 2, 2), r.real(2, 8, 2), r.real(2, 8, 2)}, out: []int{0, 2}},
		gradCase{kind: "GRU", attrs: attr{"direction": "reverse"}, in: []*tensor.Tensor{r.real(4, 2, 3), r.real(1, 6, 3), r.real(1, 6, 2), r.real(1, 12), lens, r.real(1, 2, 2)}, out: []int{0, 1}},
		gradCase{kind: "GRU", attrs: attr{"linear_before_reset": int64(1)}, in: []*tensor.Tensor{r.real(4, 2, 3), r.real(1, 6, 3), r.real(1, 6, 2), r.real(1, 12)}, out: []int{0, 1}},
	)
	for _, kind := range []string{"ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"} {
		cases = append(cases,
			gradCase{kind: kind, in: []*tensor.Tensor{r.real(n, m, 3), ints(0, 2)}},
			gradCase{kind: kind, attrs: attr{"keepdims": int64(0)}, in: []*tensor.Tensor{r.real(2, m, 3), ints(1)}},
			gradCase{kind: kind, in: []*tensor.Tensor{r.real(n, 3)}})
	}
	for _, kind := range []string{"ReduceLogSum", "ReduceLogSumExp"} {
		cases = append(cases, gradCase{kind: kind, in: []*tensor.Tensor{r.positive(n, m, 3), ints(0, 2)}})
	}
	for _, kind := range []string{
		"Abs", "Neg", "Sign", "Ceil", "Floor", "Round", "Reciprocal", "Exp", "Erf", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Relu", "LeakyRelu",
		"Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Mish", "Swish", "Gelu",
	} {
		c := gradCase{kind: kind, in: []*tensor.Tensor{r.between(0.1, 0.9, true, n, m)}}
		if kind == "Sign" || kind == "Ceil" || kind == "Floor" || kind == "Round" {
			c.fixed = []int{0}
		}
		cases = append(cases, c)
	}
	for _, kind := range []string{"Sqrt", "Log"} {
		cases = append(cases, gradCase{kind: kind, in: []*tensor.Tensor{r.positive(n, m)}})
	}
	for _, kind := range []string{"Asin", "Acos", "Atanh"} {
		cases = append(cases, gradCase{kind: kind, in: []*tensor.Tensor{r.between(0.1, 0.8, true, n, m)}})
	}
	return append(cases,
		gradCase{kind: "Acosh", in: []*tensor.Tensor{r.between(1.2, 3, false, n, m)}},
		gradCase{kind: "Gelu", attrs: attr{"approximate": "tanh"}, in: []*tensor.Tensor{r.real(n, m)}},
		gradCase{kind: "Swish", attrs: attr{"alpha": float32(1.5)}, in: []*tensor.Tensor{r.real(n, m)}},
		gradCase{kind: "HardSwish", in: []*tensor.Tensor{r.between(3.1, 4, true, n, m)}},
		gradCase{kind: "ThresholdedRelu", attrs: attr{"alpha": float32(0.05)}, in: []*tensor.Tensor{r.real(n, m)}},
		gradCase{kind: "Shrink", attrs: attr{"lambd": float32(0.05), "bias": float32(0.01)}, in: []*tensor.Tensor{r.real(n, m)}},
	)
}
