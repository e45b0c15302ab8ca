package packed

import (
	"encoding/binary"
	"math/bits"
)

// levelsIQ4 are the values of the codes of IQ4_NL and IQ4_XS.
var levelsIQ4 = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// IQ4_NL: scale, codes of 4 bits in the order of Q4_0.
func decodeIQ4NL(dst []float32, src []byte) {
	d := half(src)
	for j, q := range src[2:18] {
		dst[j] = d * levelsIQ4[q&15]
		dst[j+16] = d * levelsIQ4[q>>4]
	}
}

// IQ4_XS: scale, 16 high bits of the eight scale codes, 4 bytes of their low bits, codes of each 32 elements as IQ4_NL's.
func decodeIQ4XS(dst []float32, src []byte) {
	d, high := half(src), binary.LittleEndian.Uint16(src[2:])
	for b := range 8 {
		code := int(src[4+b/2]>>(b%2*4)&15) | int(high>>(2*b)&3)<<4
		scale := d * float32(code-32)
		for j, q := range src[8+16*b:][:16] {
			dst[32*b+j] = scale * levelsIQ4[q&15]
			dst[32*b+16+j] = scale * levelsIQ4[q>>4]
		}
	}
}

// parity completes seven signs by an eighth that makes the number of minus signs even.
func parity(seven uint32) byte {
	s := byte(seven & 127)
	return s | byte(bits.OnesCount8(s)&1)<<7
}

// signed writes scale times the levels of a vector of a codebook, where bit j of signs makes element j negative.
func signed(dst []float32, scale float32, vector []int8, signs byte) {
	for j, v := range vector {
		x := scale * float32(v)
		if signs>>j&1 == 1 {
			x = -x
		}
		dst[j] = x
	}
}

// twoBit is the scale of a code of 4 bits.
func twoBit(d float32, code uint32) float32 { return float32(d*(0.5+float32(code))) * 0.25 }

// IQ2_XXS: scale; for each 32 elements four bytes of vectors and a word of four times seven signs and a scale code.
func decodeIQ2XXS(dst []float32, src []byte) {
	d, book := half(src), gridIQ2XXS()
	for b := range 8 {
		part := src[2+8*b:]
		word := binary.LittleEndian.Uint32(part[4:])
		scale := twoBit(d, word>>28)
		for l := range 4 {
			signed(dst[32*b+8*l:], scale, book[8*int(part[l]):][:8], parity(word>>(7*l)))
		}
	}
}

// IQ2_XS: scale; 32 words of a vector (9 bits) and seven signs; 8 bytes of two scale codes.
func decodeIQ2XS(dst []float32, src []byte) {
	d, book := half(src), gridIQ2XS()
	for v := range 32 {
		word := uint32(binary.LittleEndian.Uint16(src[2+2*v:]))
		scale := twoBit(d, uint32(src[66+v/4]>>(v%4/2*4)&15))
		signed(dst[8*v:], scale, book[8*(word&511):][:8], parity(word>>9))
	}
}

// IQ2_S: scale; 32 bytes of vectors, 32 of signs, 8 of two high bits of four vectors each, 8 of two scale codes.
func decodeIQ2S(dst []float32, src []byte) {
	d, book := half(src), gridIQ2S()
	for v := range 32 {
		at := int(src[2+v]) | int(src[66+v/4])>>(v%4*2)&3<<8
		scale := twoBit(d, uint32(src[74+v/4]>>(v%4/2*4)&15))
		signed(dst[8*v:], scale, book[8*at:][:8], src[34+v])
	}
}

// IQ3_XXS: scale; 64 bytes of vectors of four; for each 32 elements a word of four times seven signs and a scale code.
func decodeIQ3XXS(dst []float32, src []byte) {
	d, book := half(src), gridIQ3XXS()
	for b := range 8 {
		word := binary.LittleEndian.Uint32(src[66+4*b:])
		scale := float32(d*(0.5+float32(word>>28))) * 0.5
		for l := range 8 {
			signs := parity(word>>(7*(l/2))) >> (l % 2 * 4)
			signed(dst[32*b+4*l:], scale, book[4*int(src[2+8*b+l]):][:4], signs)
		}
	}
}

// IQ3_S: scale; 64 bytes of vectors of four, 8 of their ninth bits, 32 of signs, 4 of two scale codes.
func decodeIQ3S(dst []float32, src []byte) {
	d, book := half(src), gridIQ3S()
	for v := range 64 {
		at := int(src[2+v]) | int(src[66+v/8])>>(v%8)&1<<8
		scale := d * float32(1+2*int(src[106+v/16]>>(v/8%2*4)&15))
		signed(dst[4*v:], scale, book[4*at:][:4], src[74+v/2]>>(v%2*4))
	}
}

// shifted writes scale times the levels of a vector moved by an eighth, up or down.
func shifted(dst []float32, scale float32, vector []int8, down bool) {
	delta := float32(0.125)
	if down {
		delta = -delta
	}
	for j, v := range vector {
		dst[j] = scale * (float32(v) + delta)
	}
}

// IQ1_S: scale; 32 bytes of vectors; for each 32 elements a word of three high bits of its four vectors, a scale code and the shift.
func decodeIQ1S(dst []float32, src []byte) {
	d, book := half(src), gridIQ1S()
	for v := range 32 {
		word := int(binary.LittleEndian.Uint16(src[34+v/4*2:]))
		at := int(src[2+v]) | word>>(v%4*3)&7<<8
		shifted(dst[8*v:], d*float32(2*(word>>12&7)+1), book[8*at:][:8], word>>15 == 1)
	}
}

// IQ1_M: 32 bytes of vectors, 16 of three high bits and a shift of two vectors each, four words of four scale codes and a quarter of the
// scale.
func decodeIQ1M(dst []float32, src []byte) {
	book := gridIQ1S()
	var words [4]int
	var scale [2]byte
	for i := range words {
		words[i] = int(binary.LittleEndian.Uint16(src[48+2*i:]))
		scale[i/2] |= byte(words[i]>>12) << (i % 2 * 4)
	}
	d := half(scale[:])
	for v := range 32 {
		high := int(src[32+v/2]) >> (v % 2 * 4)
		at := int(src[v]) | high&7<<8
		code := words[v/8] >> (v / 2 % 4 * 3) & 7
		shifted(dst[8*v:], d*float32(2*code+1), book[8*at:][:8], high&8 != 0)
	}
}
