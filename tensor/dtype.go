package tensor

import "fmt"

// DType is the element type of a tensor. The numeric values up to [Int2] are those of ONNX's TensorProto.DataType, so that
// files need no translation table.
type DType uint8

// Element types. Sub-byte types are stored packed, the first element in the lowest bits of the first byte, as ONNX's
// raw_data holds them.
const (
	Invalid        DType = 0
	Float32        DType = 1
	Uint8          DType = 2
	Int8           DType = 3
	Uint16         DType = 4
	Int16          DType = 5
	Int32          DType = 6
	Int64          DType = 7
	String         DType = 8
	Bool           DType = 9
	Float16        DType = 10
	Float64        DType = 11
	Uint32         DType = 12
	Uint64         DType = 13
	Complex64      DType = 14
	Complex128     DType = 15
	BFloat16       DType = 16
	Float8E4M3FN   DType = 17
	Float8E4M3FNUZ DType = 18
	Float8E5M2     DType = 19
	Float8E5M2FNUZ DType = 20
	Uint4          DType = 21
	Int4           DType = 22
	Float4E2M1     DType = 23
	Float8E8M0     DType = 24
	Uint2          DType = 25
	Int2           DType = 26

	// Sequence and Optional are containers of tensors; see [Tensor.Elems].
	Sequence DType = 64
	Optional DType = 65
)

type dtypeInfo struct {
	name string
	bits int
}

var dtypes = map[DType]dtypeInfo{
	Float32: {"float32", 32}, Uint8: {"uint8", 8}, Int8: {"int8", 8}, Uint16: {"uint16", 16}, Int16: {"int16", 16},
	Int32: {"int32", 32}, Int64: {"int64", 64}, String: {"string", 0}, Bool: {"bool", 8}, Float16: {"float16", 16},
	Float64: {"float64", 64}, Uint32: {"uint32", 32}, Uint64: {"uint64", 64}, Complex64: {"complex64", 64},
	Complex128: {"complex128", 128}, BFloat16: {"bfloat16", 16}, Float8E4M3FN: {"float8e4m3fn", 8},
	Float8E4M3FNUZ: {"float8e4m3fnuz", 8}, Float8E5M2: {"float8e5m2", 8}, Float8E5M2FNUZ: {"float8e5m2fnuz", 8},
	Uint4: {"uint4", 4}, Int4: {"int4", 4}, Float4E2M1: {"float4e2m1", 4}, Float8E8M0: {"float8e8m0", 8},
	Uint2: {"uint2", 2}, Int2: {"int2", 2}, Sequence: {"sequence", 0}, Optional: {"optional", 0},
}

// String returns the lower-case name, such as "float32".
func (d DType) String() string {
	if i, ok := dtypes[d]; ok {
		return i.name
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// ParseDType is the inverse of [DType.String].
func ParseDType(s string) (DType, error) {
	for d, i := range dtypes {
		if i.name == s {
			return d, nil
		}
	}
	return Invalid, fmt.Errorf("unknown element type %q", s)
}

// Valid reports whether d is one of the constants above.
func (d DType) Valid() bool { _, ok := dtypes[d]; return ok }

// Bits returns the width of one element in bits; 0 for strings and containers.
func (d DType) Bits() int { return dtypes[d].bits }

// Size returns the width of one element in bytes; 0 for sub-byte types, strings and containers.
func (d DType) Size() int { return dtypes[d].bits / 8 }

// ByteLen returns how many bytes n elements take: sub-byte types are packed over the whole tensor.
func (d DType) ByteLen(n int) int { return (n*d.Bits() + 7) / 8 }

// IsFloat reports whether d is a real floating-point type of any width.
func (d DType) IsFloat() bool {
	switch d {
	case Float16, Float32, Float64, BFloat16:
		return true
	}
	return d.IsFloat8() || d == Float4E2M1
}

// IsFloat8 reports whether d is one of the 8-bit floating-point types.
func (d DType) IsFloat8() bool {
	return d >= Float8E4M3FN && d <= Float8E5M2FNUZ || d == Float8E8M0
}

// IsInt reports whether d is an integer type of any width, bool excluded.
func (d DType) IsInt() bool {
	switch d {
	case Int2, Uint2, Int4, Uint4, Int8, Uint8, Int16, Uint16, Int32, Uint32, Int64, Uint64:
		return true
	}
	return false
}

// IsSigned reports whether d is a signed integer type.
func (d DType) IsSigned() bool {
	switch d {
	case Int2, Int4, Int8, Int16, Int32, Int64:
		return true
	}
	return false
}

// IntRange returns the least and largest value of an integer type of at most 32 bits.
func (d DType) IntRange() (lo, hi int64) {
	b := d.Bits()
	if d.IsSigned() {
		return -(1 << (b - 1)), 1<<(b-1) - 1
	}
	return 0, 1<<b - 1
}
