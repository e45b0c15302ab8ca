package packed

import (
	"encoding/binary"
	"slices"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// affineKind says how the blocks of a type are codes on an even scale: the value of a code q is scale*(q-offset) + min.
type affineKind struct {
	bits, group, offset int
	mins                bool
	values              *[16]int8 // what codes stand for, if that is no even scale
	// read takes a block apart, rows those of several. Where there is neither, the kernels know the blocks.
	read func(src, codes []byte, scale, mins []float32)
	rows func(src, codes []byte, scale []float32)
	// largest returns the largest magnitude that a scale or min of a block has, or a number above it.
	largest func(src []byte) float32
	// holds says whether the kernels, whose scales are of float16, have those of a block; nil: of all.
	holds func(src []byte) bool
}

var affineKinds = map[Kind]affineKind{
	Q8_0:  {bits: 8, group: 32, offset: 128},
	Q4_0:  {bits: 4, group: 32, offset: 8},
	IQ4NL: {bits: 4, group: 32, values: &bytesIQ4},
	IQ4XS: {bits: 4, group: 32, values: &bytesIQ4, read: func(src, codes []byte, scale, _ []float32) {
		d, high := half(src), binary.LittleEndian.Uint16(src[2:])
		for b := range 8 {
			code := int(src[4+b/2]>>(b%2*4)&15) | int(high>>(2*b)&3)<<4
			scale[b] = d * float32(code-32)
			splitNibbles(codes[32*b:][:16], codes[32*b+16:][:16], src[8+16*b:][:16])
		}
	}, largest: func(src []byte) float32 { return 32 * largestHalf(src[:2]) }},
	MXFP4: {bits: 4, group: 32, values: &bytesFP4, rows: func(src, codes []byte, scale []float32) {
		for b := range scale {
			scale[b] = scaleMXFP4(src[17*b])
			splitNibbles(codes[32*b:][:16], codes[32*b+16:][:16], src[17*b+1:][:16])
		}
	}, largest: func(src []byte) float32 { return scaleMXFP4(src[0]) }, holds: func(src []byte) bool {
		if src[0] >= 128-24 && src[0] < 128+16 {
			return true
		}
		return !slices.ContainsFunc(src[1:17], func(q byte) bool { return q&0x77 != 0 }) // zeros, of whatever scale
	}},
	NVFP4: {bits: 5, group: 16, offset: 12, read: func(src, codes []byte, scale, _ []float32) {
		for s := range scale {
			scale[s] = scaleNVFP4(src[s])
			for j, q := range src[4+8*s:][:8] {
				codes[16*s+j], codes[16*s+8+j] = codesFP4[q&15], codesFP4[q>>4]
			}
		}
	}, largest: func(src []byte) float32 {
		return max(scaleNVFP4(src[0]), scaleNVFP4(src[1]), scaleNVFP4(src[2]), scaleNVFP4(src[3]))
	}},
	Q4_1: {bits: 4, group: 32, offset: 0, mins: true, read: func(src, codes []byte, scale, mins []float32) {
		scale[0], mins[0] = half(src), half(src[2:])
		splitNibbles(codes[:16], codes[16:32], src[4:20])
	}, largest: func(src []byte) float32 { return largestHalf(src[:4]) }},
	Q5_0: {bits: 5, group: 32, offset: 16, read: func(src, codes []byte, scale, _ []float32) {
		scale[0] = half(src)
		codes5(codes, src[6:22], binary.LittleEndian.Uint32(src[2:]))
	}, largest: func(src []byte) float32 { return largestHalf(src[:2]) }},
	Q5_1: {bits: 5, group: 32, offset: 0, mins: true, read: func(src, codes []byte, scale, mins []float32) {
		scale[0], mins[0] = half(src), half(src[2:])
		codes5(codes, src[8:24], binary.LittleEndian.Uint32(src[4:]))
	}, largest: func(src []byte) float32 { return largestHalf(src[:4]) }},
	Q2_K: {bits: 2, group: 16, offset: 0, mins: true, read: func(src, codes []byte, scale, mins []float32) {
		d, dmin := half(src[80:]), half(src[82:])
		for j, sc := range src[:16] {
			scale[j], mins[j] = d*float32(sc&15), -dmin*float32(sc>>4)
		}
		for e := range codes {
			codes[e] = src[16+e/128*32+e%32] >> (e % 128 / 32 * 2) & 3
		}
	}, largest: func(src []byte) float32 { return 15 * largestHalf(src[80:84]) }},
	Q3_K: {bits: 3, group: 16, offset: 4, read: func(src, codes []byte, scale, _ []float32) {
		d := half(src[108:])
		for j, sc := range scalesQ3K(src[96:108]) {
			scale[j] = d * float32(sc)
		}
		for e := range codes {
			codes[e] = src[32+e/128*32+e%32]>>(e%128/32*2)&3 | src[e%32]>>(e/32)&1<<2
		}
	}, largest: func(src []byte) float32 { return 32 * largestHalf(src[108:110]) }},
	Q4_K: {bits: 4, group: 32, offset: 0, mins: true, read: func(src, codes []byte, scale, mins []float32) {
		scalesK(src, scale, mins)
		for c := range 4 {
			splitNibbles(codes[64*c:64*c+32], codes[64*c+32:64*c+64], src[16+32*c:48+32*c])
		}
	}, largest: func(src []byte) float32 { return 63 * largestHalf(src[:4]) }},
	Q5_K: {bits: 5, group: 32, offset: 0, mins: true, read: func(src, codes []byte, scale, mins []float32) {
		scalesK(src, scale, mins)
		high := src[16:48]
		for c := range 4 {
			splitNibbles(codes[64*c:64*c+32], codes[64*c+32:64*c+64], src[48+32*c:80+32*c])
			for l, h := range high {
				codes[64*c+l] |= h >> (2 * c) & 1 << 4
				codes[64*c+32+l] |= h >> (2*c + 1) & 1 << 4
			}
		}
	}, largest: func(src []byte) float32 { return 63 * largestHalf(src[:4]) }},
	Q6_K: {bits: 6, group: 16, offset: 32, read: func(src, codes []byte, scale, _ []float32) {
		d := half(src[208:])
		for j, sc := range src[192:208] {
			scale[j] = d * float32(int8(sc))
		}
		for h := range 2 {
			low, high, to := src[64*h:64*h+64], src[128+32*h:160+32*h], codes[128*h:128*h+128]
			splitNibbles(to[:64], to[64:], low)
			for l := 0; l < 32; l += 8 {
				b := binary.LittleEndian.Uint64(high[l:])
				const mask = 0x3030303030303030
				for q, v := range [4]uint64{b << 4 & mask, b << 2 & mask, b & mask, b >> 2 & mask} {
					at := to[l+32*q:]
					binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)|v)
				}
			}
		}
	}, largest: func(src []byte) float32 { return 128 * largestHalf(src[208:210]) }},
}

// bytesIQ4 and bytesFP4 are levelsIQ4 and levelsFP4 as whole numbers, codesFP4 these as codes of 5 bits with the offset 12.
var (
	bytesIQ4 = wholeLevels(levelsIQ4)
	bytesFP4 = wholeLevels(levelsFP4)
	codesFP4 = func() (v [16]byte) {
		for i, l := range bytesFP4 {
			v[i] = byte(l + 12)
		}
		return v
	}()
)

func wholeLevels(levels [16]float32) (v [16]int8) {
	for i, l := range levels {
		v[i] = int8(l)
	}
	return v
}

// splitNibbles sets low and high, whose length is a multiple of 8, to the halves of the bytes of src.
func splitNibbles(low, high, src []byte) {
	const mask = 0x0f0f0f0f0f0f0f0f
	for i := 0; i < len(src); i += 8 {
		v := binary.LittleEndian.Uint64(src[i:])
		binary.LittleEndian.PutUint64(low[i:], v&mask)
		binary.LittleEndian.PutUint64(high[i:], v>>4&mask)
	}
}

// codes5 joins the halves of 16 bytes with a fifth bit from high.
func codes5(codes, src []byte, high uint32) {
	splitNibbles(codes[:16], codes[16:32], src)
	for i := 0; i < 32; i += 8 {
		// A byte for each bit, with that bit or zero, becomes 16 or zero.
		const each, carry, fifth = 0x8040201008040201, 0x7f7f7f7f7f7f7f7f, 0x1010101010101010
		bits := uint64(byte(high>>i)) * 0x0101010101010101 & each
		binary.LittleEndian.PutUint64(codes[i:], binary.LittleEndian.Uint64(codes[i:])|(bits+carry)>>3&fifth)
	}
}

// scalesK reads the scales and mins of Q4_K and Q5_K.
func scalesK(src []byte, scale, mins []float32) {
	d, dmin := half(src), half(src[2:])
	for j := range 8 {
		sc, m := scaleMin(src[4:16], j)
		scale[j], mins[j] = d*float32(sc), -dmin*float32(m)
	}
}

// prepare packs the blocks for the kernels, or returns nil if there is none for the type.
func (b *Blocks) prepare(p *kernel.Pool) Multiplier {
	k, ok := affineKinds[b.Kind]
	s := kernel.AffineShape{Rows: b.Rows, Cols: b.Cols, Bits: k.bits, Group: k.group, Offset: k.offset, Mins: k.mins, Values: k.values}
	if !ok || b.Rows == 0 || !kernel.CanPackAffine(s) {
		return nil
	}
	size, bytes := b.Kind.BlockSize(), b.Kind.BlockBytes()
	if k.rows == nil && k.read == nil && kernel.CanPackAffineBlocks(s) {
		return kernel.PackAffineBlocks(s, b.Data, kernel.Lasting)
	}
	for at := 0; k.holds != nil && at < len(b.Data); at += bytes {
		if !k.holds(b.Data[at : at+bytes]) {
			return nil
		}
	}
	rows := &affineBlockRows{b.Data, b.Cols / size * bytes, k, bytes, size / k.group}
	if !kernel.CanPackAffineRows(s) {
		return kernel.PackAffine(p, s, func(row int, into kernel.AffineRow) { rows.Read(row, 0, into) }, kernel.Lasting)
	}
	return kernel.PackAffineRows(s, rows, kernel.Lasting)
}

// affineBlockRows reads a matrix of blocks for the kernels.
type affineBlockRows struct {
	data  []byte
	row   int // bytes of a row
	kind  affineKind
	bytes int // of a block
	per   int // groups of a block
}

// Read implements [kernel.AffineRows].
func (r *affineBlockRows) Read(row, group int, into kernel.AffineRow) {
	src := r.data[row*r.row+group/r.per*r.bytes : (row+1)*r.row]
	if r.kind.rows != nil {
		r.kind.rows(src, into.Codes, into.Scale)
		return
	}
	size := r.per * r.kind.group
	for i := range len(into.Scale) / r.per {
		var mins []float32
		if r.kind.mins {
			mins = into.Mins[i*r.per : (i+1)*r.per]
		}
		r.kind.read(src[i*r.bytes:(i+1)*r.bytes], into.Codes[i*size:(i+1)*size], into.Scale[i*r.per:(i+1)*r.per], mins)
	}
}

// Largest implements [kernel.AffineRows].
func (r *affineBlockRows) Largest(row int) float32 {
	var largest float32
	for src := r.data[row*r.row : (row+1)*r.row]; len(src) > 0; src = src[r.bytes:] {
		largest = max(largest, r.kind.largest(src[:r.bytes]))
	}
	return largest
}

// largestHalf is the largest magnitude of some numbers of binary16; not a number where one is not.
func largestHalf(src []byte) float32 {
	bits := binary.LittleEndian.Uint16(src) & 0x7fff
	for i := 2; i < len(src); i += 2 {
		bits = max(bits, binary.LittleEndian.Uint16(src[i:])&0x7fff)
	}
	return tensor.Half(bits).Float32()
}
