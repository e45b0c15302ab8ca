package packed

import (
	"encoding/binary"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
)

func encodeF32(dst []byte, row, _ []float32) {
	for i, v := range row {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

// narrow is the inverse of [widen].
func narrow(dst []byte, row []float32, convert func(dst []uint16, src []float32)) {
	var piece [512]uint16
	for len(row) > 0 {
		n := min(len(row), len(piece))
		convert(piece[:n], row[:n])
		for i, v := range piece[:n] {
			binary.LittleEndian.PutUint16(dst[2*i:], v)
		}
		dst, row = dst[2*n:], row[n:]
	}
}

func encodeF16(dst []byte, row, _ []float32)  { narrow(dst, row, kernel.F32ToF16[uint16]) }
func encodeBF16(dst []byte, row, _ []float32) { narrow(dst, row, kernel.F32ToBF16[uint16]) }

// farthest returns the first value of the largest magnitude; 0 if all are 0.
func farthest(x []float32) float32 {
	var largest, magnitude float32
	for _, v := range x {
		if a := abs(v); a > magnitude {
			largest, magnitude = v, a
		}
	}
	return largest
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// inverse returns 1/d, and 0 for 0.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// pieceBlocks is how many blocks of 32 elements are encoded at once.
const pieceBlocks = 16

// plain is room for the codes of a piece.
type plain struct {
	codes        [32 * pieceBlocks]byte
	scales, lows [pieceBlocks]float32
	halves       [2][pieceBlocks]uint16 // of the scales and lows
}

// pieces calls find for pieces of a row of blocks of 32 elements, writes the scales, and the lows after them if the blocks have such, and calls write
// for the codes of the blocks, of size bytes each, of a piece.
func (p *plain) pieces(size int, lows bool, dst []byte, row []float32, find func(x []float32), write func(dst []byte)) {
	for len(row) > 0 {
		n := min(len(row)/32, pieceBlocks)
		find(row[:32*n])
		kernel.F32ToF16(p.halves[0][:], p.scales[:])
		if lows {
			kernel.F32ToF16(p.halves[1][:], p.lows[:])
		}
		for b := range n {
			binary.LittleEndian.PutUint16(dst[size*b:], p.halves[0][b])
			if lows {
				binary.LittleEndian.PutUint16(dst[size*b+2:], p.halves[1][b])
			}
		}
		write(dst[:size*n])
		dst, row = dst[size*n:], row[32*n:]
	}
}

func encodeQ8_0(dst []byte, row, _ []float32) {
	const size = 34
	var p plain
	p.pieces(size, false, dst, row, func(x []float32) { kernel.RoundedCodes(p.codes[:], p.scales[:], x) },
		func(dst []byte) {
			for b := range len(dst) / size {
				copy(dst[size*b+2:size*b+size], p.codes[32*b:32*b+32])
			}
		})
}

// nibbles stores 32 codes of 4 bits: codes j and j+16 in byte j.
func nibbles(dst, codes []byte) {
	le := binary.LittleEndian
	dst, codes = dst[:16], codes[:32]
	le.PutUint64(dst, le.Uint64(codes)|le.Uint64(codes[16:])<<4)
	le.PutUint64(dst[8:], le.Uint64(codes[8:])|le.Uint64(codes[24:])<<4)
}

// fifths stores 32 codes of 5 bits: the low bits as [nibbles], the fifth ones in a word.
func fifths(dst, high, codes []byte) {
	word := uint32(0)
	for j := range 16 {
		dst[j] = codes[j]&15 | codes[j+16]<<4
		word |= uint32(codes[j]>>4)<<j | uint32(codes[j+16]>>4)<<(j+16)
	}
	binary.LittleEndian.PutUint32(high, word)
}

// The encoders of Q4_0, Q4_1, Q5_0 and Q5_1 without importance take the scale from the largest value, or from the range.

func encodeQ4_0(dst []byte, row, importance []float32) {
	if importance != nil {
		encodeSymmetric(Q4_0, dst, row, importance)
		return
	}
	const size = 18
	var p plain
	p.pieces(size, false, dst, row, func(x []float32) { kernel.LargestCodes(p.codes[:], p.scales[:], x, 8) },
		func(dst []byte) {
			for b := range len(dst) / size {
				nibbles(dst[size*b+2:], p.codes[32*b:])
			}
		})
}

func encodeQ5_0(dst []byte, row, importance []float32) {
	if importance != nil {
		encodeSymmetric(Q5_0, dst, row, importance)
		return
	}
	const size = 22
	var p plain
	p.pieces(size, false, dst, row, func(x []float32) { kernel.LargestCodes(p.codes[:], p.scales[:], x, 16) },
		func(dst []byte) {
			for b := range len(dst) / size {
				block := dst[size*b : size*b+size]
				fifths(block[6:], block[2:6], p.codes[32*b:32*b+32])
			}
		})
}

func encodeQ4_1(dst []byte, row, importance []float32) {
	if importance != nil {
		encodeAffine(Q4_1, dst, row, importance)
		return
	}
	const size = 20
	var p plain
	p.pieces(size, true, dst, row, func(x []float32) { kernel.RangeCodes(p.codes[:], p.scales[:], p.lows[:], x, 15) },
		func(dst []byte) {
			for b := range len(dst) / size {
				nibbles(dst[size*b+4:], p.codes[32*b:])
			}
		})
}

func encodeQ5_1(dst []byte, row, importance []float32) {
	if importance != nil {
		encodeAffine(Q5_1, dst, row, importance)
		return
	}
	const size = 24
	var p plain
	p.pieces(size, true, dst, row, func(x []float32) { kernel.RangeCodes(p.codes[:], p.scales[:], p.lows[:], x, 31) },
		func(dst []byte) {
			for b := range len(dst) / size {
				block := dst[size*b : size*b+size]
				fifths(block[8:], block[4:8], p.codes[32*b:32*b+32])
			}
		})
}

// rowWeights returns importance*sqrt(mean square of the row + x^2), which the types of 32 elements weigh errors by.
func rowWeights(row, importance []float32) []float32 {
	sum := float32(0)
	for _, v := range row {
		sum += float32(v * v)
	}
	return weights(make([]float32, len(row)), row, importance, sum/float32(len(row)))
}

// weights writes importance*sqrt(variance + x^2).
func weights(dst, x, importance []float32, variance float32) []float32 {
	for i, v := range x {
		dst[i] = importance[i] * sqrt(variance+float32(v*v))
	}
	return dst
}

func sqrt(v float32) float32 { return float32(math.Sqrt(float64(v))) }

// symmetricSearch is the search of [kernel.FitSymmetric] that all types use: the scale at which the largest value has the code 0, and
// 18 a little larger and smaller.
func symmetricSearch(half float32) *kernel.SymmetricSearch {
	s := &kernel.SymmetricSearch{Max: half, Steps: []float32{-half}}
	for i := -9; i <= 9; i++ {
		if i != 0 {
			s.Steps = append(s.Steps, -(half + float32(0.1*float32(i))))
		}
	}
	return s
}

// affineSearch tries ranges of codes from most+first on, in n steps beside the first.
func affineSearch(most, first, step float32, n int, absolute bool) *kernel.AffineSearch {
	s := &kernel.AffineSearch{Max: most, Absolute: absolute}
	for i := range n + 1 {
		s.Steps = append(s.Steps, float32(first+float32(step*float32(i)))+most)
	}
	return s
}

var (
	search4, search8, search16, search32 = symmetricSearch(4), symmetricSearch(8), symmetricSearch(16), symmetricSearch(32)

	weighted3  = affineSearch(3, -0.9, 0.05, 36, false)
	weighted15 = affineSearch(15, -0.9, 0.05, 36, false)
	weighted31 = affineSearch(31, -0.9, 0.05, 36, false)
)

// fit is room for groups of up to 32 values side by side, as the fits of package kernel take them.
type fit struct {
	x, w       [32 * kernel.FitLanes]float32
	codes      [32 * kernel.FitLanes]uint8
	scale, low [kernel.FitLanes]float32
}

// set lays groups of n values side by side; lanes without a group are zeroed.
func (f *fit) set(n int, x, w []float32) {
	kernel.Interleave(f.x[:], x, n)
	if w != nil {
		kernel.Interleave(f.w[:], w, n)
	}
}

// group writes the codes of a group of n values.
func (f *fit) group(dst []byte, n, g int) {
	for i := range n {
		dst[i] = f.codes[i*kernel.FitLanes+g]
	}
}

// encodeSymmetric writes Q4_0 or Q5_0 with importance.
func encodeSymmetric(k Kind, dst []byte, row, importance []float32) {
	search, size := search8, 18
	if k == Q5_0 {
		search, size = search16, 22
	}
	w := rowWeights(row, importance)
	var f fit
	for at := 0; at < len(row); at += 32 * kernel.FitLanes {
		end := min(len(row), at+32*kernel.FitLanes)
		f.set(32, row[at:end], w[at:end])
		kernel.FitSymmetric(search, 32, &f.scale, f.codes[:], f.x[:], f.w[:])
		for g := range (end - at) / 32 {
			var codes [32]byte
			f.group(codes[:], 32, g)
			putHalf(dst, f.scale[g])
			if k == Q4_0 {
				nibbles(dst[2:], codes[:])
			} else {
				fifths(dst[6:], dst[2:6], codes[:])
			}
			dst = dst[size:]
		}
	}
}

// encodeAffine writes Q4_1 or Q5_1 with importance.
func encodeAffine(k Kind, dst []byte, row, importance []float32) {
	search, size := weighted15, 20
	if k == Q5_1 {
		search, size = weighted31, 24
	}
	w := rowWeights(row, importance)
	var f fit
	for at := 0; at < len(row); at += 32 * kernel.FitLanes {
		end := min(len(row), at+32*kernel.FitLanes)
		f.set(32, row[at:end], w[at:end])
		kernel.FitAffine(search, 32, &f.scale, &f.low, f.codes[:], f.x[:], f.w[:])
		for g := range (end - at) / 32 {
			var codes [32]byte
			f.group(codes[:], 32, g)
			putHalf(dst, f.scale[g])
			putHalf(dst[2:], -f.low[g])
			if k == Q4_1 {
				nibbles(dst[4:], codes[:])
			} else {
				fifths(dst[8:], dst[4:8], codes[:])
			}
			dst = dst[size:]
		}
	}
}

// triesIQ4 is how many scales above and below the first the encoder of IQ4_NL tries.
const triesIQ4 = 7

func encodeIQ4NL(dst []byte, row, importance []float32) {
	for at := 0; at < len(row); at += 32 {
		x := row[at : at+32]
		var w [32]float32
		var codes [32]byte
		sum := float32(0)
		for i, v := range x {
			w[i] = v * v
			sum += w[i]
		}
		if importance != nil {
			weights(w[:], x, importance[at:], sum*(2.0/32))
		}
		scale := scaleIQ4(x, &w)
		id := inverse(scale)
		putHalf(dst, scale)
		for i, v := range x {
			codes[i] = nearestIQ4(float32(id * v))
		}
		nibbles(dst[2:], codes[:])
		dst = dst[18:]
	}
}

// scaleIQ4 returns the scale at which the levels fit x best.
func scaleIQ4(x []float32, w *[32]float32) (scale float32) {
	largest := farthest(x)
	if abs(largest) < 1e-15 {
		return 0
	}
	sums := func(id float32) (qx, q2 float32) {
		for i, v := range x {
			q := levelsIQ4[nearestIQ4(float32(id*v))]
			wq := float32(w[i] * q)
			qx += float32(wq * v)
			q2 += float32(wq * q)
		}
		return qx, q2
	}
	qx, q2 := sums(1 / (-largest / levelsIQ4[0]))
	if q2 > 0 {
		scale = qx / q2
	}
	best := scale * qx
	for try := -triesIQ4; try <= triesIQ4; try++ {
		qx, q2 = sums((float32(try) + levelsIQ4[0]) / largest)
		if q2 > 0 && float32(qx*qx) > float32(best*q2) {
			scale = qx / q2
			best = scale * qx
		}
	}
	return scale
}

// nearestIQ4 returns the code of the level nearest to v, the upper one on ties.
func nearestIQ4(v float32) byte {
	last := len(levelsIQ4) - 1
	switch {
	case v <= levelsIQ4[0]:
		return 0
	case v >= levelsIQ4[last]:
		return byte(last)
	}
	lo, hi := 0, last
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; v < levelsIQ4[mid] {
			hi = mid
		} else {
			lo = mid
		}
	}
	if v-levelsIQ4[hi-1] < levelsIQ4[hi]-v {
		return byte(hi - 1)
	}
	return byte(hi)
}
