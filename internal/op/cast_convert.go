package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// castMode says what a cast does with values that the target type cannot hold.
type castMode struct {
	saturate bool   // clamp to the range of an 8-bit float instead of making NaN or infinity
	round    string // "up", "down" or "nearest"; for float8e8m0 only; empty: "nearest"
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
	type conversion = func(dst []D, x []S)
	kept := graph.Keep[conversion](e)
	defer kept.Done()
	if kept.V == nil {
		kept.V = func(dst []D, x []S) {
			for i, v := range x {
				dst[i] = D(v)
			}
		}
	}
	row := kept.V
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
