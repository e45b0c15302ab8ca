package kernel

import (
	"encoding/binary"
	"math"
)

// quantizeBlocksGeneric rounds blocks of activations: a code of a block stands for scale, its largest magnitude divided by 127, and is
// x*(127/largest) rounded half to even; it is 0 in a block whose largest magnitude is below 2^-100. start is offset times the sum of
// the codes. Infinity and NaN make the scale so.
func quantizeBlocksGeneric(block, blocks int, codes []byte, info []blockInfo, x []float32, offset int32) {
	for b := range blocks {
		var bits uint32
		for _, v := range x[b*block : (b+1)*block] {
			bits = max(bits, math.Float32bits(v)&0x7fffffff)
		}
		largest := math.Float32frombits(bits)
		inverse := float32(0)
		if largest >= 0x1p-100 {
			inverse = 127 / largest
		}
		sum := int32(0)
		for i, v := range x[b*block : (b+1)*block] {
			c := int32(0)
			if r := math.RoundToEven(float64(v * inverse)); r >= -128 && r <= 127 {
				c = int32(r)
			}
			codes[b*block+i] = byte(c)
			sum += c
		}
		scale := largest / 127
		info[b] = blockInfo{start: sum * offset, scale: scale, sum: float32(sum) * scale}
	}
}

// dotBlock is the sum of the products of a row's codes in a block, as bytes in the order of 8-bit codes, with activations.
func dotBlock(block, row int, codes, x []byte) int32 {
	var sum int32
	for c := range block {
		sum += int32(codes[c/4*64+4*row+c%4]) * int32(int8(x[c]))
	}
	return sum
}

// vectorAffineGeneric is the definition of the product of a unit with one row of activations.
func vectorAffineGeneric(f affineForm, table *[16]byte, groups, inner, header int, unit, x []byte, info []blockInfo, factor, dst []float32) {
	block := f.block()
	size := header + inner*unitStrips*f.blockBytes()
	codes := make([]byte, groups*inner*16*block)
	for s := range unitStrips {
		unpackAffineGeneric(f, table, groups, inner, header, codes, unit[header+s*f.blockBytes():])
		for r := range affineRows {
			var sum float32
			for b := range groups * inner {
				i, at := &info[b], b/inner*size+2*(s*affineRows+r)
				v := i.scale * float32(i.start+dotBlock(block, r, codes[b*16*block:], x[b*block:]))
				sum += f16ToF32(binary.LittleEndian.Uint16(unit[at:])) * v
				if header > headerBytes {
					sum += f16ToF32(binary.LittleEndian.Uint16(unit[at+headerBytes:])) * i.sum
				}
			}
			dst[s*affineRows+r] = factor[s*affineRows+r] * sum
		}
	}
}

// tileAffineGeneric is the definition of the product of strips of unpacked codes with tileRowsAffine rows of activations.
func tileAffineGeneric(block, strips, blocks int, w *stripCodes, scale, mins []float32, x []byte, ldx int, info []blockInfo, ldi int, c []float32) {
	for t := range tileRowsAffine {
		for s := range strips {
			for r := range affineRows {
				sum := c[t*panelWidth+s*affineRows+r]
				for b := range blocks {
					i := &info[t*ldi+b]
					v := i.start + dotBlock(block, r, w.strips[s][b*w.step:], x[t*ldx+b*block:])
					sum += scale[(b*strips+s)*affineRows+r] * (i.scale * float32(v))
				}
				for b := 0; b < blocks && mins != nil; b++ {
					sum += mins[(b*strips+s)*affineRows+r] * info[t*ldi+b].sum
				}
				c[t*panelWidth+s*affineRows+r] = sum
			}
		}
	}
}

// affineScalesGeneric sets dst[(g*inner+i)*ldd+r], for each of 16 rows r and each i below inner, to the scale of the row in group g times
// factor[r]; the scales of a group lie step bytes after those of the one before.
func affineScalesGeneric(groups, inner int, halves []uint16, step int, factor, dst []float32, ldd int) {
	for b := range groups * inner {
		for r := range affineRows {
			dst[b*ldd+r] = f16ToF32(halves[b/inner*step/2+r]) * factor[r]
		}
	}
}
