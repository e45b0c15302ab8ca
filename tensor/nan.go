package tensor

import (
	endian "encoding/binary"
	"math"
)

// exponents are, for a type of floats, the bits of the exponents in 64 bits of elements, and in each element the lowest of them: what is not a
// finite number has all of them set, and their sum carries into the sign.
var exponents = map[DType][2]uint64{
	Float16: {0x7C007C007C007C00, 0x0400040004000400}, BFloat16: {0x7F807F807F807F80, 0x0080008000800080},
	Float32: {0x7F8000007F800000, 0x0080000000800000}, Float64: {0x7FF0000000000000, 0x0010000000000000},
}

// NaN returns the index of the first element that is not a number, -1 if there is none. Elements that are no floats of 16 bits or more, and
// packed ones, are not looked at.
func (t *Tensor) NaN() int {
	masks, ok := exponents[t.DType]
	if !ok || t.Packed != nil {
		return -1
	}
	b, size := t.Bytes(), t.DType.ByteLen(1)
	exponent, low := masks[0], masks[1]
	sign := exponent + low
	for at := 0; at < len(b); {
		n := min(len(b)-at, 32)
		if n == 32 {
			p := b[at : at+32 : at+32]
			found := (word(p)&exponent + low) | (word(p[8:])&exponent + low) | (word(p[16:])&exponent + low) | (word(p[24:])&exponent + low)
			if found&sign == 0 {
				at += 32
				continue
			}
		}
		for end := at + n; at < end; at += size {
			if isNaN(t.DType, b[at:]) {
				return at / size
			}
		}
	}
	return -1
}

func word(b []byte) uint64 { return endian.LittleEndian.Uint64(b) }

func isNaN(d DType, b []byte) bool {
	switch d {
	case Float16:
		return endian.LittleEndian.Uint16(b)&0x7FFF > 0x7C00
	case BFloat16:
		return endian.LittleEndian.Uint16(b)&0x7FFF > 0x7F80
	case Float32:
		return endian.LittleEndian.Uint32(b)&0x7FFFFFFF > 0x7F800000
	}
	return math.IsNaN(math.Float64frombits(endian.LittleEndian.Uint64(b)))
}
