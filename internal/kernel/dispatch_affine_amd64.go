//go:build !purego

package kernel

import (
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/impl"
)

var useAffineVNNI, useAffineAVXVNNI, useAffineAVX2 bool

func init() {
	impl.Register("affine", impl.AVX512VNNI, &useAffineVNNI)
	impl.Register("affine", impl.AVXVNNI, &useAffineAVXVNNI)
	impl.Register("affine", impl.AVX2, &useAffineAVX2)
}

// The tables are indexed by affineForm.
type (
	vectorsAffine [affineFormCount]func(groups, inner, header int, scale, w, x, info *byte, factor, dst *float32)
	unpacksAffine [affineFormCount]func(groups, inner, header int, dst, src *byte)
)

var (
	vectorVNNI = vectorsAffine{
		vectorAffine4x32AVX512VNNI,
		vectorAffine4x16AVX512VNNI,
		vectorAffine5x32AVX512VNNI,
		vectorAffine6x16AVX512VNNI,
		vectorAffine8x32AVX512VNNI,
		vectorAffine8x16AVX512VNNI,
	}
	vectorAVXVNNI = vectorsAffine{
		vectorAffine4x32AVXVNNI,
		vectorAffine4x16AVXVNNI,
		vectorAffine5x32AVXVNNI,
		vectorAffine6x16AVXVNNI,
		vectorAffine8x32AVXVNNI,
		vectorAffine8x16AVXVNNI,
	}
	vectorAVX2 = vectorsAffine{
		vectorAffine4x32AVX2,
		vectorAffine4x16AVX2,
		vectorAffine5x32AVX2,
		vectorAffine6x16AVX2,
		vectorAffine8x32AVX2,
		vectorAffine8x16AVX2,
	}
	unpackAVX512 = unpacksAffine{
		unpackAffine4x32AVX512, unpackAffine4x16AVX512, unpackAffine5x32AVX512, unpackAffine6x16AVX512, unpackAffine8x32AVX512, unpackAffine8x16AVX512,
	}
	unpackAVX2 = unpacksAffine{
		unpackAffine4x32AVX2, unpackAffine4x16AVX2, unpackAffine5x32AVX2, unpackAffine6x16AVX2, unpackAffine8x32AVX2, unpackAffine8x16AVX2,
	}
)

// affineBias is what a code of the given width counts less than it says in vectorAffine: without VNNI those of 8 bits are taken with a sign.
func affineBias(bits int) int {
	if bits == 8 && useAffineAVX2 && !useAffineAVXVNNI && !useAffineVNNI {
		return 128
	}
	return 0
}

// wordActivations reports whether tiles of codes of the given width take activations as wordsOfCodes leaves them: where a sum of two products
// of bytes may be too much for 16 bits, as in affineBias.
func wordActivations(bits int) bool { return affineBias(bits) != 0 }

// wordsOfCodes widens codes, a multiple of 16: of each four those of the even columns are first.
func wordsOfCodes(words, codes []byte) {
	needLen("affine words", len(words), 2*len(codes))
	if len(codes) > 0 {
		wordsOfCodesAVX2(len(codes)/16, &words[0], &codes[0])
	}
}

func vectorAffine(f affineForm, codes *[16]byte, groups, inner, header int, unit, x []byte, info []blockInfo, factor, dst []float32) {
	needLen("affine unit", len(unit), groups*(header+inner*unitStrips*f.blockBytes()))
	needLen("affine x", len(x), groups*inner*f.block())
	needLen("affine infos", len(info), groups*inner)
	needLen("affine factors", len(factor), unitStrips*affineRows)
	needLen("affine sums", len(dst), unitStrips*affineRows)
	table, byTable := &vectorAVX2, vectorTable4x32AVX2
	switch {
	case useAffineVNNI:
		table, byTable = &vectorVNNI, vectorTable4x32AVX512VNNI
	case useAffineAVXVNNI:
		table, byTable = &vectorAVXVNNI, vectorTable4x32AVXVNNI
	case useAffineAVX2:
	default:
		vectorAffineGeneric(f, codes, groups, inner, header, unit, x, info, factor, dst)
		return
	}
	if f == table4x32 {
		byTable(groups, inner, header, &unit[0], &unit[header], &x[0], infoBytes(info), &factor[0], &dst[0], &codes[0])
	} else {
		table[f](groups, inner, header, &unit[0], &unit[header], &x[0], infoBytes(info), &factor[0], &dst[0])
	}
}

// first is the address of the first element, nil for none.
func first[T any](x []T) *T {
	if x == nil {
		return nil
	}
	return &x[0]
}

func infoBytes(info []blockInfo) *byte { return (*byte)(unsafe.Pointer(&info[0])) }

func unpackAffine(f affineForm, table *[16]byte, groups, inner, header int, dst, src []byte) {
	needLen("affine bytes", len(dst), groups*inner*16*f.block())
	needLen("affine codes", len(src), (groups*inner-1)*unitStrips*f.blockBytes()+(groups-1)*header+f.blockBytes())
	switch {
	case groups*inner == 0:
	case useAffineVNNI && f == table4x32:
		unpackTable4x32AVX512(groups, inner, header, &dst[0], &src[0], &table[0])
	case useAffineAVX2 && f == table4x32:
		unpackTable4x32AVX2(groups, inner, header, &dst[0], &src[0], &table[0])
	case useAffineVNNI:
		unpackAVX512[f](groups, inner, header, &dst[0], &src[0])
	case useAffineAVX2:
		unpackAVX2[f](groups, inner, header, &dst[0], &src[0])
	default:
		unpackAffineGeneric(f, table, groups, inner, header, dst, src)
	}
}

// packAffine packs the codes of inner blocks of a strip; see packAffineGeneric.
func packAffine(f affineForm, inner int, dst, src []byte) {
	if f == table4x32 {
		f = affine4x32 // the codes lie in the same places
	}
	needLen("affine codes", len(dst), (inner-1)*unitStrips*f.blockBytes()+f.blockBytes())
	needLen("affine bytes", len(src), inner*16*f.block())
	pack := [affineFormCount]func(inner int, dst, src *byte){packAffine4x32AVX512, packAffine4x16AVX512, packAffine5x32AVX512, packAffine6x16AVX512}[f]
	if pack == nil || !useAffineVNNI || inner == 0 {
		packAffineGeneric(f, inner, dst, src)
		return
	}
	pack(inner, &dst[0], &src[0])
}

// packBlocks packs a strip from blocks, as packBlocksGeneric does for each; it reports whether it has done so. With stream codes go past the
// caches.
func packBlocks(f affineForm, groups int, src []byte, row, ahead int, scale, codes *byte, step int, stream bool) bool {
	if !useAffineAVX2 {
		return false
	}
	k := &[2]func(groups int, src *byte, row, ahead int, scale, codes *byte, step int){packBlocks4AVX2, packBlocks8AVX2}
	switch aligned := uintptr(unsafe.Pointer(codes))%64 == 0; {
	case useAffineVNNI && stream && aligned:
		k = &[2]func(groups int, src *byte, row, ahead int, scale, codes *byte, step int){packBlocks4StreamAVX512, packBlocks8StreamAVX512}
	case useAffineVNNI:
		k = &[2]func(groups int, src *byte, row, ahead int, scale, codes *byte, step int){packBlocks4AVX512, packBlocks8AVX512}
	}
	k[f.bits()/8](groups, &src[0], row, ahead, scale, codes, step)
	return true
}

// distance is how far the codes of strip s are from those of the first.
func (c *stripCodes) distance(s int) int {
	return int(uintptr(unsafe.Pointer(&c.strips[s][0])) - uintptr(unsafe.Pointer(&c.strips[0][0])))
}

func tileAffine(f affineForm, strips, blocks int, w *stripCodes, scale, mins []float32, x []byte, ldx int, info []blockInfo, ldi int, c []float32) {
	block := f.block()
	for _, codes := range w.strips[:strips] {
		needLen("affine codes", len(codes), (blocks-1)*w.step+16*block)
	}
	needLen("affine scales", len(scale), strips*blocks*affineRows)
	wide := blocks * block
	if wordActivations(f.wide()) {
		wide *= 2
	}
	needLen("affine x", len(x), (tileRowsAffine-1)*ldx+wide)
	needLen("affine infos", len(info), (tileRowsAffine-1)*ldi+blocks)
	needLen("affine sums", len(c), tileRowsAffine*panelWidth)
	const infoSize = int(unsafe.Sizeof(blockInfo{}))
	if useAffineVNNI {
		scale, mins, x, info, c, step := &scale[0], first(mins), &x[0], infoBytes(info), &c[0], w.step
		w, ldw, ldw2 := &w.strips[0][0], w.distance(min(1, strips-1)), w.distance(strips-1)
		switch {
		case block == 32 && strips == 3:
			tileAffine4x3x32AVX512VNNI(blocks, w, ldw, ldw2, step, scale, mins, x, ldx, info, infoSize*ldi, c)
		case block == 32 && strips == 2:
			tileAffine4x2x32AVX512VNNI(blocks, w, ldw, ldw2, step, scale, mins, x, ldx, info, infoSize*ldi, c)
		case block == 32:
			tileAffine4x1x32AVX512VNNI(blocks, w, ldw, ldw2, step, scale, mins, x, ldx, info, infoSize*ldi, c)
		case strips == 3:
			tileAffine4x3x16AVX512VNNI(blocks, w, ldw, ldw2, step, scale, mins, x, ldx, info, infoSize*ldi, c)
		case strips == 2:
			tileAffine4x2x16AVX512VNNI(blocks, w, ldw, ldw2, step, scale, mins, x, ldx, info, infoSize*ldi, c)
		default:
			tileAffine4x1x16AVX512VNNI(blocks, w, ldw, ldw2, step, scale, mins, x, ldx, info, infoSize*ldi, c)
		}
		return
	}
	if !useAffineAVXVNNI && !useAffineAVX2 {
		tileAffineGeneric(block, strips, blocks, w, scale, mins, x, ldx, info, ldi, c)
		return
	}
	narrow := 0
	if block == 16 {
		narrow = 1
	}
	tile := tilesAVX2[f.wide()][narrow]
	if useAffineAVXVNNI {
		tile = [2]tileOfStrip{tileAffine8x4x32AVXVNNI, tileAffine8x4x16AVXVNNI}[narrow]
	}
	for s := range strips {
		var least *float32
		if mins != nil {
			least = &mins[s*affineRows]
		}
		tile(blocks, &w.strips[s][0], w.step, &scale[s*affineRows], least, 4*strips*affineRows, &x[0], ldx, infoBytes(info), infoSize*ldi, &c[s*affineRows])
	}
}

type tileOfStrip func(blocks int, w *byte, step int, scale, min *float32, lds int, x *byte, ldx int, info *byte, ldi int, c *float32)

// tilesAVX2 is by the width of what is multiplied by, and blocks of 32 and 16 columns.
var tilesAVX2 = [9][2]tileOfStrip{
	4: {tileAffine4x4x32AVX2, tileAffine4x4x16AVX2},
	5: {tileAffine6x4x32AVX2, tileAffine6x4x16AVX2},
	6: {tileAffine6x4x32AVX2, tileAffine6x4x16AVX2},
	8: {tileAffine8x4x32AVX2, tileAffine8x4x16AVX2},
}

// affineScales widens the scales of a strip, or its mins: see affineScalesGeneric.
func affineScales(groups, inner int, halves []uint16, step int, factor, dst []float32, ldd int) {
	if groups*inner == 0 {
		return
	}
	needLen("affine scales", 2*len(halves), (groups-1)*step+2*affineRows)
	needLen("affine factors", len(factor), affineRows)
	needLen("affine scales", len(dst), (groups*inner-1)*ldd+affineRows)
	from := (*byte)(unsafe.Pointer(&halves[0]))
	switch {
	case useAffineVNNI:
		affineScalesAVX512(groups, inner, from, step, &factor[0], &dst[0], ldd)
	case useAffineAVX2:
		affineScalesAVX2(groups, inner, from, step, &factor[0], &dst[0], ldd)
	default:
		affineScalesGeneric(groups, inner, halves, step, factor, dst, ldd)
	}
}

// quantizeBlocks rounds blocks of activations; see quantizeBlocksGeneric.
func quantizeBlocks(block, blocks int, codes []byte, info []blockInfo, x []float32, offset int32) {
	needLen("affine x", len(x), block*blocks)
	needLen("affine x codes", len(codes), block*blocks)
	needLen("affine infos", len(info), blocks)
	switch {
	case blocks == 0:
	case useAffineVNNI && block == 32:
		quantizeBlocks32AVX512(blocks, &codes[0], infoBytes(info), &x[0], offset)
	case useAffineVNNI:
		quantizeBlocks16AVX512(blocks, &codes[0], infoBytes(info), &x[0], offset)
	case useAffineAVX2 && block == 32:
		quantizeBlocks32AVX2(blocks, &codes[0], infoBytes(info), &x[0], offset)
	case useAffineAVX2:
		quantizeBlocks16AVX2(blocks, &codes[0], infoBytes(info), &x[0], offset)
	default:
		quantizeBlocksGeneric(block, blocks, codes, info, x, offset)
	}
}
