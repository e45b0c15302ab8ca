package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var castOps = table{
	"Cast":     fresh[Cast],
	"CastLike": fresh[CastLike],
	"BitCast":  fresh[BitCast],
}

// castMode says what a cast does with values that the target type cannot hold.
type castMode struct {
	saturate bool   // clamp to the range of an 8-bit float instead of making NaN or infinity
	round    string // "up", "down" or "nearest"; for float8e8m0 only; empty: "nearest"
}

// Cast converts elements to another type. Floats are cut towards zero when they become integers, and an integer that does
// not fit keeps its low bits; a float beyond the int64 range saturates first, NaN becomes 0.
type Cast struct {
	To        int    `attr:"to"` // tensor.DType
	Saturate  bool   `attr:"saturate,1"`
	RoundMode string `attr:"round_mode,up"`
}

// Kind implements [graph.Op].
func (*Cast) Kind() string { return "Cast" }

// Infer implements [graph.Op].
func (o *Cast) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if err := checkRound(o.RoundMode); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

// Eval implements [graph.Op].
func (o *Cast) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if in[0].Packed != nil && in[0].DType == d {
		return in[:1:1], nil
	}
	if in, err = dense(in); err != nil {
		return nil, err
	}
	return one(castTensor(e, in[0], d, castMode{o.Saturate, o.RoundMode}))
}

// CastLike is [Cast] to the element type of the second input.
type CastLike struct {
	Saturate  bool   `attr:"saturate,1"`
	RoundMode string `attr:"round_mode,up"`
}

// Kind implements [graph.Op].
func (*CastLike) Kind() string { return "CastLike" }

// Infer implements [graph.Op].
func (o *CastLike) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := checkRound(o.RoundMode); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], in[1].DType)}, nil
}

// Eval implements [graph.Op].
func (o *CastLike) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	return one(castTensor(e, in[0], in[1].DType, castMode{o.Saturate, o.RoundMode}))
}

// BitCast gives the bits of the elements another type of the same width.
type BitCast struct {
	To int `attr:"to"` // tensor.DType
}

// Kind implements [graph.Op].
func (*BitCast) Kind() string { return "BitCast" }

// Infer implements [graph.Op].
func (o *BitCast) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if err := sameWidth(in[0].DType, d); in[0].DType != tensor.Invalid && err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

// Eval implements [graph.Op].
func (o *BitCast) Eval(_ *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	d, err := dtypeAttr("to", o.To)
	if err != nil {
		return nil, err
	}
	if err := sameWidth(in[0].DType, d); err != nil {
		return nil, err
	}
	return one(tensor.FromBytes(d, in[0].Shape, in[0].Bytes()))
}

func sameWidth(from, to tensor.DType) error {
	if from.Bits() == 0 || from.Bits() != to.Bits() {
		return fmt.Errorf("%v and %v differ in width", from, to)
	}
	return nil
}

// dtypeAttr checks an attribute that names an element type.
func dtypeAttr(name string, v int) (tensor.DType, error) {
	if v <= 0 || v > int(tensor.Int2) || !tensor.DType(v).Valid() {
		return tensor.Invalid, fmt.Errorf("%s: unknown element type %d", name, v)
	}
	return tensor.DType(v), nil
}

func checkRound(mode string) error {
	switch mode {
	case "", "up", "down", "nearest":
		return nil
	}
	return fmt.Errorf("round_mode: want up, down or nearest, got %q", mode)
}

// castTensor converts a dense tensor. The result is t itself if it has the type already.
func castTensor(e *graph.Env, t *tensor.Tensor, to tensor.DType, mode castMode) (*tensor.Tensor, error) {
	from := t.DType
	if from == to {
		return t, nil
	}
	if from == tensor.Complex64 || from == tensor.Complex128 || to == tensor.Complex64 || to == tensor.Complex128 ||
		from.Bits() == 0 && from != tensor.String || to.Bits() == 0 && to != tensor.String {
		return nil, fmt.Errorf("a cast from %v to %v is not defined", from, to)
	}
	if from == tensor.String {
		return parseStrings(e, t, to, mode)
	}
	if to == tensor.String {
		return formatStrings(t)
	}
	// Types that Go does not have are decoded to one that it has on the way in and encoded on the way out.
	src := decoded(e, t)
	if canon := goType(to); canon != to {
		mid, err := castTensor(e, src, canon, mode)
		if err != nil {
			return nil, err
		}
		return encoded(e, mid, to, mode), nil
	}
	out := e.New(to, t.Shape...)
	switch src.DType {
	case tensor.Float32:
		castFrom[float32](e, out, src)
	case tensor.Float64:
		castFrom[float64](e, out, src)
	case tensor.Int8:
		castFrom[int8](e, out, src)
	case tensor.Int16:
		castFrom[int16](e, out, src)
	case tensor.Int32:
		castFrom[int32](e, out, src)
	case tensor.Int64:
		castFrom[int64](e, out, src)
	case tensor.Uint8:
		castFrom[uint8](e, out, src)
	case tensor.Uint16:
		castFrom[uint16](e, out, src)
	case tensor.Uint32:
		castFrom[uint32](e, out, src)
	case tensor.Uint64:
		castFrom[uint64](e, out, src)
	}
	return out, nil
}

// goType returns the arithmetic Go type through which a type is converted.
func goType(d tensor.DType) tensor.DType {
	switch {
	case d == tensor.Float16, d == tensor.BFloat16, d.IsFloat8(), d == tensor.Float4E2M1:
		return tensor.Float32
	case d == tensor.Int4, d == tensor.Int2:
		return tensor.Int8
	case d == tensor.Uint4, d == tensor.Uint2:
		return tensor.Uint8
	}
	return d
}

// decoded returns t as a tensor of its goType; bools become the numbers 0 and 1.
func decoded(e *graph.Env, t *tensor.Tensor) *tensor.Tensor {
	d := t.DType
	switch {
	case d == tensor.Bool:
		u, _ := tensor.FromBytes(tensor.Uint8, t.Shape, t.Bytes())
		return u
	case d == tensor.Float16:
		f := tensor.New(tensor.Float32, t.Shape...)
		eachRow(e, tensor.Data[float32](f), tensor.Data[tensor.Half](t), widen[tensor.Half])
		return f
	case d == tensor.BFloat16:
		f := tensor.New(tensor.Float32, t.Shape...)
		eachRow(e, tensor.Data[float32](f), tensor.Data[tensor.BF16](t), widen[tensor.BF16])
		return f
	case d.IsFloat8(), d == tensor.Float4E2M1:
		var values [256]float32
		for c := range 1 << d.Bits() {
			values[c] = tensor.DecodeSmall(d, uint8(c))
		}
		codes := t.Bytes()
		if d.Bits() < 8 {
			codes = tensor.Unpack(d, codes, t.Len())
		}
		f := tensor.New(tensor.Float32, t.Shape...)
		eachRow(e, tensor.Data[float32](f), codes, func(dst []float32, x []byte) {
			for i, c := range x {
				dst[i] = values[c]
			}
		})
		return f
	case d.Bits() < 8:
		u, _ := tensor.FromBytes(goType(d), t.Shape, tensor.Unpack(d, t.Bytes(), t.Len()))
		return u
	}
	return t
}

// encoded is the inverse of decoded for a tensor of the target's goType.
func encoded(e *graph.Env, t *tensor.Tensor, to tensor.DType, mode castMode) *tensor.Tensor {
	out := e.New(to, t.Shape...)
	switch {
	case to == tensor.Float16:
		eachRow(e, tensor.Data[tensor.Half](out), tensor.Data[float32](t), narrow[tensor.Half])
	case to == tensor.BFloat16:
		eachRow(e, tensor.Data[tensor.BF16](out), tensor.Data[float32](t), narrow[tensor.BF16])
	case to.IsFloat8():
		eachRow(e, out.Bytes(), tensor.Data[float32](t), func(dst []byte, x []float32) {
			for i, v := range x {
				if to == tensor.Float8E8M0 {
					dst[i] = roundE8M0(v, mode)
				} else {
					dst[i] = tensor.EncodeSmall(to, v, mode.saturate)
				}
			}
		})
	case to == tensor.Float4E2M1:
		codes := make([]byte, t.Len())
		for i, v := range tensor.Data[float32](t) {
			codes[i] = tensor.EncodeSmall(to, v, true)
		}
		copy(out.Bytes(), tensor.Pack(to, codes))
	default:
		copy(out.Bytes(), tensor.Pack(to, t.Bytes()))
	}
	return out
}

// roundE8M0 rounds the magnitude of v to a power of two, as the table of the ONNX Cast operator says.
func roundE8M0(v float32, mode castMode) uint8 {
	bits := math.Float32bits(v) &^ (1 << 31)
	switch {
	case bits > 0x7f800000: // NaN
		return 0xff
	case bits == 0x7f800000:
		if mode.saturate {
			return 0xfe
		}
		return 0xff
	}
	exp, frac := bits>>23, bits&(1<<23-1)
	if exp == 0 { // at or below 2^-127, half of which is the largest subnormal's leading bit
		if bits == 0 && !mode.saturate && mode.round == "nearest" {
			return 0xff
		}
		if mode.round == "up" && bits > 1<<22 || mode.round != "up" && mode.round != "down" && bits >= 3<<21 {
			return 1
		}
		return 0
	}
	switch mode.round {
	case "up":
		if frac > 0 {
			exp++
		}
	case "down":
	default:
		exp += frac >> 22
	}
	if exp == 0xff && mode.saturate {
		return 0xfe
	}
	return uint8(exp)
}

func castFrom[S number](e *graph.Env, out, t *tensor.Tensor) {
	x := tensor.Data[S](t)
	switch out.DType {
	case tensor.Float32:
		castInto[float32](e, out, x)
	case tensor.Float64:
		castInto[float64](e, out, x)
	case tensor.Int8:
		castInto[int8](e, out, x)
	case tensor.Int16:
		castInto[int16](e, out, x)
	case tensor.Int32:
		castInto[int32](e, out, x)
	case tensor.Int64:
		castInto[int64](e, out, x)
	case tensor.Uint8:
		castInto[uint8](e, out, x)
	case tensor.Uint16:
		castInto[uint16](e, out, x)
	case tensor.Uint32:
		castInto[uint32](e, out, x)
	case tensor.Uint64:
		castInto[uint64](e, out, x)
	case tensor.Bool:
		eachRow(e, tensor.Data[bool](out), x, func(dst []bool, x []S) {
			for i, v := range x {
				dst[i] = v != 0
			}
		})
	}
}

func castInto[D, S number](e *graph.Env, out *tensor.Tensor, x []S) {
	row := func(dst []D, x []S) {
		for i, v := range x {
			dst[i] = D(v)
		}
	}
	// A float that does not fit its integer type has a value in Go that depends on the machine.
	switch {
	case !isFloat[S]() || isFloat[D]():
	case out.DType == tensor.Uint64:
		row = func(dst []D, x []S) {
			for i, v := range x {
				dst[i] = D(floatToUint64(float64(v)))
			}
		}
	default:
		row = func(dst []D, x []S) {
			for i, v := range x {
				dst[i] = D(floatToInt64(float64(v)))
			}
		}
	}
	eachRow(e, tensor.Data[D](out), x, row)
}

// isFloat reports whether T is a floating-point type.
func isFloat[T number]() bool {
	one, two := T(1), T(2)
	return one/two != 0
}

// floatToInt64 cuts towards zero and saturates; NaN gives 0.
func floatToInt64(v float64) int64 {
	switch {
	case v != v:
		return 0
	case v >= 1<<63:
		return math.MaxInt64
	case v < -1<<63:
		return math.MinInt64
	}
	return int64(v)
}

// floatToUint64 is floatToInt64 for uint64; negative values wrap around as they do for narrower types.
func floatToUint64(v float64) uint64 {
	switch {
	case v >= 1<<64:
		return math.MaxUint64
	case v >= 1<<63:
		return uint64(v-1<<63) + 1<<63
	}
	return uint64(floatToInt64(v))
}
