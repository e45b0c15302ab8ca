package torchop

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// castOps change the element type.
var castOps = table{
	"to":                             {"self a=None b=None c=None d=None e=None dtype=None other=None", to},
	"_to_copy":                       {"self dtype=None", to},
	"_to_cpu":                        {"self", same},
	"type_as":                        {"self other", func(c *call) any { return c.as(c.tensor("other").Type.DType) }},
	"_autocast_to_full_precision":    {"self a=None b=None", same},
	"_autocast_to_reduced_precision": {"self a=None b=None c=None d=None", same},
	"float":                          {"self", func(c *call) any { return c.as(tensor.Float32) }},
	"double":                         {"self", func(c *call) any { return c.as(tensor.Float64) }},
	"half":                           {"self", func(c *call) any { return c.as(tensor.Float32) }},
	"bfloat16":                       {"self", func(c *call) any { return c.as(tensor.Float32) }},
	"long":                           {"self", func(c *call) any { return c.as(tensor.Int64) }},
	"int":                            {"self", func(c *call) any { return c.as(tensor.Int32) }},
	"short":                          {"self", func(c *call) any { return c.as(tensor.Int16) }},
	"char":                           {"self", func(c *call) any { return c.as(tensor.Int8) }},
	"byte":                           {"self", func(c *call) any { return c.as(tensor.Uint8) }},
	"bool":                           {"self", func(c *call) any { return c.as(tensor.Bool) }},
	"_cast_Float":                    {"self non_blocking=False", func(c *call) any { return c.as(tensor.Float32) }},
	"_cast_Double":                   {"self non_blocking=False", func(c *call) any { return c.as(tensor.Float64) }},
	"_cast_Long":                     {"self non_blocking=False", func(c *call) any { return c.as(tensor.Int64) }},
	"_cast_Int":                      {"self non_blocking=False", func(c *call) any { return c.as(tensor.Int32) }},
	"item":                           {"self", item},
	"_local_scalar_dense":            {"self", item},
}

// as converts self to an element type; self where it is of that.
func (c *call) as(d tensor.DType) any {
	t := c.cell("self")
	if c.bad {
		return nil
	}
	x := c.Of(t)
	if x.Type.DType == d {
		return t
	}
	if category(d) == 1 && category(x.Type.DType) == 2 { // ONNX and PyTorch cut off what follows the point
		return Of(c.cast(x, d))
	}
	return Of(c.cast(x, d))
}

// to has the element type in one of several places, beside devices and flags; or another tensor to be like.
func to(c *call) any {
	if c.has("dtype") {
		return c.as(c.dtype("dtype", tensor.Invalid))
	}
	for _, name := range []string{"other", "a", "b"} {
		switch v := c.args[name].(type) {
		case *Tensor:
			return c.as(c.Of(v).Type.DType)
		case Int:
			return c.as(c.dtype(name, tensor.Invalid))
		}
	}
	return same(c)
}

// item returns the only element as a number.
func item(c *call) any {
	t := c.cell("self")
	if c.bad {
		return nil
	}
	x := c.Of(t)
	if category(x.Type.DType) < 2 {
		n, ok := c.item(t)
		if ok && x.Type.DType == tensor.Bool {
			if k, known := n.Const(); known {
				return k != 0
			}
		}
		if ok {
			return n
		}
	}
	if k, ok := constant(x); ok {
		if f, ok := number(k); ok {
			return f
		}
	}
	return t // a tensor of one number serves as one
}

// ignoredOps do nothing in a network that is evaluated.
var ignoredOps = table{
	"dropout":                      {"input p=0.5 train=False", dropout},
	"feature_dropout":              {"input p=0.5 train=False", dropout},
	"alpha_dropout":                {"input p=0.5 train=False", dropout},
	"feature_alpha_dropout":        {"input p=0.5 train=False", dropout},
	"native_dropout":               {"input p=0.5 train=False", func(c *call) any { return Tuple{dropout(c), Absent("the mask of native_dropout")} }},
	"clone":                        {"self memory_format=None", func(c *call) any { return Of(c.tensor("self")) }},
	"contiguous":                   {"self memory_format=None", contiguous},
	"detach":                       {"self", same},
	"alias":                        {"self", same},
	"data":                         {"self", same},
	"lift_fresh":                   {"self", same},
	"lift_fresh_copy":              {"self", func(c *call) any { return Of(c.tensor("self")) }},
	"requires_grad_":               {"self requires_grad=True", same},
	"pin_memory":                   {"self device=None", same},
	"cpu":                          {"self", same},
	"cuda":                         {"self device=None", same},
	"resolve_conj":                 {"self", same},
	"resolve_neg":                  {"self", same},
	"_conj":                        {"self", same},
	"_assert_tensor_metadata":      {"a size=None stride=None dtype=None device=None layout=None", nothing},
	"_assert_async":                {"self assert_msg=None", nothing},
	"_assert_scalar":               {"self assert_msg=None", nothing},
	"sym_constrain_range_for_size": {"size min=None max=None", nothing},
	"sym_constrain_range":          {"size min=None max=None", nothing},
	"warn":                         {"message stacklevel=2", nothing},
	"broadcast_inplace":            {"a b c=None", nothing},
}

func same(c *call) any {
	for _, name := range []string{"self", "input"} {
		if _, ok := c.args[name]; ok {
			return c.args[name]
		}
	}
	return nil
}

func nothing(*call) any { return nil }

func dropout(c *call) any {
	if c.has("train") && c.bool("train") && c.float("p") > 0 {
		return c.failf("the model was saved in training mode, in which results are random; save it after model.eval()")
	}
	return same(c)
}

// contiguous is a copy of what may be strided in PyTorch, which operators in place then leave alone.
func contiguous(c *call) any {
	t := c.cell("self")
	if c.bad || !t.strided {
		return t
	}
	return Of(c.Of(t))
}

// quantizedOps are those of quantized programs of torch.export.
var quantizedOps = table{
	"quantize_per_tensor":              {"input scale zero_point quant_min quant_max dtype", quantize},
	"dequantize_per_tensor":            {"input scale zero_point quant_min quant_max dtype=None out_dtype=None", dequantize},
	"quantize_per_channel":             {"input scales zero_points axis quant_min quant_max dtype", quantize},
	"dequantize_per_channel":           {"input scales zero_points axis quant_min quant_max dtype=None out_dtype=None", dequantize},
	"choose_qparams":                   {"input quant_min quant_max eps=None dtype=None", chooseParams},
	"fake_quantize_per_tensor_affine":  {"self scale zero_point quant_min quant_max", fakeQuantize},
	"fake_quantize_per_channel_affine": {"self scale zero_point axis quant_min quant_max", fakeQuantize},
}

// qparams returns scale and zero point in the forms ONNX has them, and the axis.
func (c *call) qparams(d tensor.DType) (scale, zero *graph.Value, axis int) {
	s, z := "scale", "zero_point"
	if _, ok := c.args["scales"]; ok {
		s, z = "scales", "zero_points"
	}
	scale, zero = c.operand(c.args[s], tensor.Float32), c.operand(c.args[z], d)
	if _, ok := c.args["axis"]; ok {
		return scale, zero, c.known("axis")
	}
	if c.Rank(scale) == 1 {
		scale, zero = c.reshape(scale, nil), c.reshape(zero, nil)
	}
	return scale, zero, 1
}

// codes returns the element type that ONNX has for codes of a range, and whether the range is narrower than the type.
func (c *call) codes(d tensor.DType) (tensor.DType, bool) {
	lo, hi := c.known("quant_min"), c.known("quant_max")
	for _, t := range []tensor.DType{d, tensor.Int8, tensor.Uint8, tensor.Int16, tensor.Uint16} {
		if !slices.Contains([]tensor.DType{tensor.Int8, tensor.Uint8, tensor.Int16, tensor.Uint16}, t) {
			continue
		}
		if a, b := t.IntRange(); int64(lo) >= a && int64(hi) <= b {
			return t, int64(lo) != a || int64(hi) != b
		}
	}
	return tensor.Invalid, false
}

func quantize(c *call) any {
	x, d := c.tensor("input"), c.dtype("dtype", tensor.Int8)
	code, narrow := c.codes(d)
	if c.bad {
		return nil
	}
	if code == tensor.Invalid {
		return c.failf("codes of %v from %v to %v; accepted are those that 8 or 16 bits hold", d, c.args["quant_min"], c.args["quant_max"])
	}
	scale, zero, axis := c.qparams(code)
	y := c.Node("QuantizeLinear", map[string]any{"axis": axis}, x, scale, zero)
	if narrow {
		wide := c.cast(y, tensor.Int32)
		wide = c.Node("Clip", nil, wide, c.NumberOf(tensor.Int32, float64(c.known("quant_min"))), c.NumberOf(tensor.Int32, float64(c.known("quant_max"))))
		y = c.cast(wide, code)
	}
	return Of(y)
}

func dequantize(c *call) any {
	x := c.tensor("input")
	if c.bad {
		return nil
	}
	d := x.Type.DType
	scale, zero, axis := c.qparams(d)
	return Of(c.Node("DequantizeLinear", map[string]any{"axis": axis}, x, scale, zero))
}

func fakeQuantize(c *call) any {
	x := c.tensor("self")
	c.args["input"] = c.args["self"]
	c.args["dtype"] = nil
	d := tensor.Int8
	if c.known("quant_min") >= 0 {
		d = tensor.Uint8
	}
	c.args["dtype"] = TypeCode(d)
	q, ok := quantize(c).(*Tensor)
	if !ok || c.bad {
		return nil
	}
	c.args["input"] = q
	_ = x
	return dequantize(c)
}

// chooseParams finds scale and zero point of codes that cover a tensor, zero included.
func chooseParams(c *call) any {
	x := c.tensor("input")
	lo, hi := c.float("quant_min"), c.float("quant_max")
	if c.bad || hi <= lo {
		return nil
	}
	zero := c.Number(x, 0)
	least := c.Node("Min", nil, c.Node("ReduceMin", map[string]any{"keepdims": 0}, x), zero)
	most := c.Node("Max", nil, c.Node("ReduceMax", map[string]any{"keepdims": 0}, x), zero)
	scale := c.Node("Div", nil, c.Node("Sub", nil, most, least), c.Number(x, hi-lo))
	eps := 1.1920928955078125e-07
	if c.has("eps") {
		eps = c.float("eps")
	}
	scale = c.Node("Max", nil, scale, c.Number(x, eps))
	z := c.Node("Sub", nil, c.Number(x, lo), c.Node("Round", nil, c.Node("Div", nil, least, scale)))
	z = c.Clamp(z, lo, hi)
	return of(scale, c.cast(z, tensor.Int64))
}
