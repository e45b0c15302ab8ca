package packed

import (
	"encoding/binary"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// half reads a binary16 at the front of b.
func half(b []byte) float32 { return tensor.Half(binary.LittleEndian.Uint16(b)).Float32() }

// putHalf stores v rounded to binary16 at the front of b, and returns what is stored.
func putHalf(b []byte, v float32) float32 {
	h := tensor.ToHalf(v)
	binary.LittleEndian.PutUint16(b, uint16(h))
	return h.Float32()
}

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// widen converts elements of two bytes, which need not be aligned, in pieces.
func widen(dst []float32, src []byte, convert func(dst []float32, src []uint16)) {
	var piece [512]uint16
	for len(dst) > 0 {
		n := min(len(dst), len(piece))
		for i := range piece[:n] {
			piece[i] = binary.LittleEndian.Uint16(src[2*i:])
		}
		convert(dst[:n], piece[:n])
		dst, src = dst[n:], src[2*n:]
	}
}

func decodeF16(dst []float32, src []byte)  { widen(dst, src, kernel.F16ToF32[uint16]) }
func decodeBF16(dst []float32, src []byte) { widen(dst, src, kernel.BF16ToF32[uint16]) }

// Q8_0: scale, 32 signed codes.
func decodeQ8_0(dst []float32, src []byte) {
	d := half(src)
	for i, q := range src[2:34] {
		dst[i] = d * float32(int8(q))
	}
}

// Q4_0: scale, 32 codes of 4 bits biased by 8; byte j holds codes j and j+16.
func decodeQ4_0(dst []float32, src []byte) {
	d := half(src)
	for j, q := range src[2:18] {
		dst[j] = d * float32(int(q&15)-8)
		dst[j+16] = d * float32(int(q>>4)-8)
	}
}

// Q4_1: scale, minimum, codes as Q4_0 without bias.
func decodeQ4_1(dst []float32, src []byte) {
	d, m := half(src), half(src[2:])
	for j, q := range src[4:20] {
		dst[j] = float32(d*float32(q&15)) + m
		dst[j+16] = float32(d*float32(q>>4)) + m
	}
}

// fifth returns codes j and j+16 of 5 bits from their low bits and the word of high ones.
func fifth(low byte, high uint32, j int) (a, b int) {
	return int(low&15) | int(high>>j&1)<<4, int(low>>4) | int(high>>(j+16)&1)<<4
}

// Q5_0: scale, 32 high bits, low bits as Q4_0; biased by 16.
func decodeQ5_0(dst []float32, src []byte) {
	d, high := half(src), binary.LittleEndian.Uint32(src[2:])
	for j, q := range src[6:22] {
		a, b := fifth(q, high, j)
		dst[j], dst[j+16] = d*float32(a-16), d*float32(b-16)
	}
}

// Q5_1: scale, minimum, 32 high bits, low bits.
func decodeQ5_1(dst []float32, src []byte) {
	d, m, high := half(src), half(src[2:]), binary.LittleEndian.Uint32(src[4:])
	for j, q := range src[8:24] {
		a, b := fifth(q, high, j)
		dst[j], dst[j+16] = float32(d*float32(a))+m, float32(d*float32(b))+m
	}
}

// Q2_K: 16 bytes of scale and minimum codes (4 bits each), 64 bytes of codes, scale of the scales, scale of the minima. Byte 32h+l of
// the codes holds elements 128h+l+32t at bits 2t.
func decodeQ2K(dst []float32, src []byte) {
	d, dmin := half(src[80:]), half(src[82:])
	for e := range dst {
		sc := src[e/16]
		q := src[16+e/128*32+e%32] >> (e % 128 / 32 * 2) & 3
		dst[e] = float32(float32(d*float32(sc&15))*float32(q)) - float32(dmin*float32(sc>>4))
	}
}

// scalesQ3K returns the 16 scale codes of 6 bits, with their bias taken off.
func scalesQ3K(s []byte) (out [16]int) {
	for j := range out {
		low := s[j%8] >> (j / 8 * 4) & 15
		high := s[8+j%4] >> (j / 4 * 2) & 3
		out[j] = int(low|high<<4) - 32
	}
	return out
}

// Q3_K: 32 bytes of high bits (bit e/32 of byte e%32), 64 bytes of low ones as Q2_K, 12 bytes of scale codes, scale of the scales.
func decodeQ3K(dst []float32, src []byte) {
	d, scales := half(src[108:]), scalesQ3K(src[96:108])
	for e := range dst {
		q := int(src[32+e/128*32+e%32] >> (e % 128 / 32 * 2) & 3)
		if src[e%32]>>(e/32)&1 == 0 {
			q -= 4
		}
		dst[e] = float32(d*float32(scales[e/16])) * float32(q)
	}
}

// scaleMin returns scale and minimum code of sub-block j from the 12 bytes that Q4_K and Q5_K keep them in.
func scaleMin(s []byte, j int) (sc, m byte) {
	if j < 4 {
		return s[j] & 63, s[j+4] & 63
	}
	return s[j+4]&15 | s[j-4]>>6<<4, s[j+4]>>4 | s[j]>>6<<4
}

// putScaleMin is the inverse of [scaleMin], for j in ascending order.
func putScaleMin(s []byte, j int, sc, m byte) {
	if j < 4 {
		s[j], s[j+4] = sc, m
		return
	}
	s[j+4] = sc&15 | m&15<<4
	s[j-4] |= sc >> 4 << 6
	s[j] |= m >> 4 << 6
}

// Q4_K: scale of the scales, scale of the minima, 12 bytes of their codes (6 bits each), 128 bytes of codes: byte 32c+l holds elements
// 64c+l and 64c+32+l.
func decodeQ4K(dst []float32, src []byte) {
	d, dmin := half(src), half(src[2:])
	for j := range 8 {
		sc, m := scaleMin(src[4:16], j)
		scale, low := d*float32(sc), dmin*float32(m)
		codes := src[16+j/2*32:][:32]
		for l, q := range codes {
			dst[32*j+l] = float32(scale*float32(q>>(j%2*4)&15)) - low
		}
	}
}

// Q5_K: as Q4_K, with 32 bytes of high bits before the low ones: bit j of byte l belongs to element 32j+l.
func decodeQ5K(dst []float32, src []byte) {
	d, dmin := half(src), half(src[2:])
	high := src[16:48]
	for j := range 8 {
		sc, m := scaleMin(src[4:16], j)
		scale, low := d*float32(sc), dmin*float32(m)
		codes := src[48+j/2*32:][:32]
		for l, q := range codes {
			dst[32*j+l] = float32(scale*float32(q>>(j%2*4)&15|high[l]>>j&1<<4)) - low
		}
	}
}

// Q6_K: 128 bytes of low bits, 64 of high ones, 16 signed scale codes, scale of the scales; biased by 32. Of each half of 128 elements,
// low byte l holds elements l and l+64, low byte 32+l elements l+32 and l+96, high byte l the four at bits 0, 2, 4, 6.
func decodeQ6K(dst []float32, src []byte) {
	d := half(src[208:])
	scales := src[192:208]
	for h := range 2 {
		low, high := src[64*h:][:64], src[128+32*h:][:32]
		for t := range 4 {
			for l := range 32 {
				q := int(low[t%2*32+l]>>(t/2*4)&15|high[l]>>(2*t)&3<<4) - 32
				e := 128*h + 32*t + l
				dst[e] = float32(d*float32(int8(scales[e/16]))) * float32(q)
			}
		}
	}
}

// Q1_0: scale, 128 signs.
func decodeQ1_0(dst []float32, src []byte) {
	d := half(src)
	for i := range dst {
		dst[i] = d
		if src[2+i/8]>>(i%8)&1 == 0 {
			dst[i] = -d
		}
	}
}

// Q2_0: scale, 64 codes of 2 bits for -1, 0, 1, 2.
func decodeQ2_0(dst []float32, src []byte) {
	d := half(src)
	for i := range dst {
		dst[i] = d * float32(int(src[2+i/4]>>(i%4*2)&3)-1)
	}
}

// ternary returns digit n of a byte that holds five digits of base 3 as a fraction of 256, less one.
func ternary(b byte, n int) float32 {
	for range n {
		b *= 3
	}
	return float32(int(uint16(b)*3>>8) - 1)
}

// TQ1_0: 48 bytes of five digits of base 3, 4 bytes of four, scale. Digit n of the first 32 bytes are elements 32n.., of the next
// 16 elements 160+16n.., of the last four elements 240+4n...
func decodeTQ1_0(dst []float32, src []byte) {
	d := half(src[52:])
	for _, part := range []struct{ at, bytes, digits, e int }{{0, 32, 5, 0}, {32, 16, 5, 160}, {48, 4, 4, 240}} {
		for n := range part.digits {
			for i := range part.bytes {
				dst[part.e+n*part.bytes+i] = ternary(src[part.at+i], n) * d
			}
		}
	}
}

// TQ2_0: 64 bytes of codes of 2 bits for -1, 0, 1 as Q2_K's, scale.
func decodeTQ2_0(dst []float32, src []byte) {
	d := half(src[64:])
	for e := range dst {
		dst[e] = float32(int(src[e/128*32+e%32]>>(e%128/32*2)&3)-1) * d
	}
}

// levelsFP4 are twice the values of the codes of float4e2m1.
var levelsFP4 = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// MXFP4: power of two biased by 127, codes of float4e2m1 in the order of Q4_0.
func decodeMXFP4(dst []float32, src []byte) {
	d := scaleMXFP4(src[0])
	for j, q := range src[1:17] {
		dst[j] = levelsFP4[q&15] * d
		dst[j+16] = levelsFP4[q>>4] * d
	}
}

// scaleMXFP4 is half the scale, since the levels are doubled: 2^(e-128), subnormal for e < 2.
func scaleMXFP4(e byte) float32 {
	if e >= 2 {
		return math.Float32frombits(uint32(e-1) << 23)
	}
	return math.Float32frombits(0x00200000 << (e & 1))
}

// NVFP4: four scales of float8e4m3 without sign, 32 bytes of codes of float4e2m1: eight a scale, byte j of them holds elements j and j+8.
func decodeNVFP4(dst []float32, src []byte) {
	for s := range 4 {
		d := scaleNVFP4(src[s])
		for j, q := range src[4+8*s:][:8] {
			dst[16*s+j] = levelsFP4[q&15] * d
			dst[16*s+8+j] = levelsFP4[q>>4] * d
		}
	}
}

// scaleNVFP4 is half the scale; there is no infinity and no number that is none.
func scaleNVFP4(c byte) float32 {
	if c &= 0x7f; c == 0x7f {
		return 0
	}
	return tensor.DecodeSmall(tensor.Float8E4M3FN, c) * 0.5
}
