package packed

import (
	"encoding/binary"

	"github.com/neurotrain/neuroquant/internal/kernel"
)

// super is room for one or two super-blocks while they are encoded.
type super struct {
	fit
	weights [2 * superSize]float32
	codes   [superSize]byte
	scales  [16]float32 // of the sub-blocks of one super-block
	lows    [16]float32
	sums    [16]float32 // of the weights of the sub-blocks
	first   int         // group of the super-block in the fit
}

// take copies what the fit found of the super-block that begins at group first, of n groups, but for the codes.
func (s *super) take(first, n int) {
	s.first = first
	for g := range n {
		s.scales[g], s.lows[g] = s.fit.scale[first+g], s.fit.low[first+g]
	}
}

// sumWeights adds up the weights of each sub-block of size values of the super-block at weight first.
func (s *super) sumWeights(first, size int) {
	for g := range superSize / size {
		sum := float32(0)
		for _, w := range s.weights[first+g*size:][:size] {
			sum += w
		}
		s.sums[g] = sum
	}
}

// variance returns the mean square of a super-block times factor.
func variance(x []float32, factor float32) float32 {
	sum := float32(0)
	for _, v := range x {
		sum += float32(v * v)
	}
	return float32(factor*sum) / superSize
}

// requantize computes the codes of sub-block g of size values x again, from the scale and minimum as they are stored. Where the scale
// is zero they are those of the fit.
func (s *super) requantize(g, size int, x []float32, d, m float32, least, most int) {
	codes := s.codes[g*size : (g+1)*size]
	if d == 0 {
		s.fit.group(codes, size, s.first+g)
		return
	}
	kernel.Requantize(codes, x[g*size:], d, m, least, most)
}

// affineK says how a K type with minima is encoded.
type affineK struct {
	bytes         int // of a block
	at            int // of the scale of the scales there; that of the minima follows
	size          int // of a sub-block
	most          int // largest code
	mostScale     int // largest code of a scale
	plain, fitted *kernel.AffineSearch
	deviations    bool    // weights without importance: root mean square plus magnitude, or the magnitude alone
	factor        float32 // of the variance
	write         func(dst []byte, s *super, ls, lm *[16]byte)
}

var (
	kindQ2K = &affineK{
		bytes: 84, at: 80, size: 16, most: 3, mostScale: 15, factor: 1,
		plain: affineSearch(3, -0.5, 0.1, 15, true), fitted: weighted3, write: writeQ2K,
	}
	kindQ4K = &affineK{
		bytes: 144, size: 32, most: 15, mostScale: 63, factor: 2,
		plain: affineSearch(15, -1, 0.1, 20, false), fitted: weighted15, deviations: true, write: writeQ4K,
	}
	kindQ5K = &affineK{
		bytes: 176, size: 32, most: 31, mostScale: 63, factor: 2,
		plain: affineSearch(31, -0.5, 0.1, 15, false), fitted: weighted31, deviations: true, write: writeQ5K,
	}
)

func encodeQ2K(dst []byte, row, importance []float32) { kindQ2K.encode(dst, row, importance) }
func encodeQ4K(dst []byte, row, importance []float32) { kindQ4K.encode(dst, row, importance) }
func encodeQ5K(dst []byte, row, importance []float32) { kindQ5K.encode(dst, row, importance) }

func (a *affineK) encode(dst []byte, row, importance []float32) {
	var s super
	groups := superSize / a.size
	piece := kernel.FitLanes / groups * superSize // what one fit takes
	search := a.plain
	if importance != nil {
		search = a.fitted
	}
	for at := 0; at < len(row); at += piece {
		x := row[at:min(at+piece, len(row))]
		s.fit.set(a.size, x, nil)
		switch {
		case importance != nil:
			w := s.weights[:len(x)]
			for i := 0; i < len(x); i += superSize {
				weights(w[i:], x[i:i+superSize], importance[at+i:], variance(x[i:i+superSize], a.factor))
			}
			kernel.Interleave(s.fit.w[:], w, a.size)
		case a.deviations:
			kernel.FitDeviations(a.size, s.fit.w[:], s.fit.x[:])
		default:
			for i, v := range s.fit.x[:a.size*kernel.FitLanes] {
				s.fit.w[i] = abs(v)
			}
		}
		kernel.FitAffine(search, a.size, &s.fit.scale, &s.fit.low, s.fit.codes[:], s.fit.x[:], s.fit.w[:])
		for i := 0; i < len(x); i += superSize {
			s.take(i/a.size, groups)
			if importance != nil {
				s.sumWeights(i, a.size)
			}
			a.finish(dst, &s, x[i:i+superSize], importance != nil)
			dst = dst[a.bytes:]
		}
	}
}

// finish encodes scales and minima of a super-block, then its codes again with them, and writes it.
func (a *affineK) finish(dst []byte, s *super, x []float32, weighted bool) {
	var ls, lm [16]byte
	groups := superSize / a.size
	var d, m float32
	if weighted {
		d = positiveCodes(ls[:groups], s.scales[:groups], s.sums[:groups], a.mostScale)
		m = positiveCodes(lm[:groups], s.lows[:groups], s.sums[:groups], a.mostScale)
	} else {
		d = scaleCodes(ls[:groups], s.scales[:groups], a.mostScale)
		m = scaleCodes(lm[:groups], s.lows[:groups], a.mostScale)
	}
	d, m = putHalf(dst[a.at:], d), putHalf(dst[a.at+2:], m)
	for g := range groups {
		s.requantize(g, a.size, x, float32(d*float32(ls[g])), float32(m*float32(lm[g])), 0, a.most)
	}
	a.write(dst, s, &ls, &lm)
}

// scaleCodes gives the largest value the code most, and returns the scale.
func scaleCodes(codes []byte, v []float32, most int) float32 {
	largest := float32(0)
	for _, s := range v {
		if s > largest {
			largest = s
		}
	}
	if largest == 0 {
		clear(codes)
		return 0
	}
	id := float32(most) / largest
	for i, s := range v {
		codes[i] = byte(min(most, int(uint8(kernel.Nearest(float32(id*s))))))
	}
	return largest / float32(most)
}

// positiveCodes finds the scale such that v is near scale*code with codes from 0 to most, errors weighted by w: the best of nine
// scales, then up to five sweeps that change one code at a time where that helps. The arithmetic is that of make_qp_quants in
// ggml-quants.c, bit for bit.
func positiveCodes(codes []byte, v, w []float32, most int) float32 {
	largest := float32(0)
	for _, s := range v {
		largest = max(largest, s)
	}
	if largest < 1e-15 {
		clear(codes)
		return 0
	}
	loss := func(factor float32, most int) (sum float32) {
		scale := 1 / factor
		for i, s := range v {
			diff := s - float32(scale*float32(min(most, kernel.Nearest(float32(factor*s)))))
			sum += float32(float32(w[i]*diff) * diff)
		}
		return sum
	}
	factor := float32(most) / largest
	best := loss(factor, 255)
	for i := -4; i <= 4; i++ {
		if i == 0 {
			continue
		}
		f := (float32(0.1*float32(i)) + float32(most)) / largest
		if l := loss(f, most); l < best {
			best, factor = l, f
		}
	}
	var sumLX, sumL2 float32
	for i, s := range v {
		codes[i] = byte(min(most, kernel.Nearest(float32(factor*s))))
		l := float32(codes[i])
		sumLX += float32(float32(w[i]*s) * l)
		sumL2 += float32(float32(w[i]*l) * l)
	}
	for range 5 {
		changed := false
		for i, s := range v {
			l := float32(codes[i])
			lx, l2 := sumLX-float32(float32(w[i]*s)*l), sumL2-float32(float32(w[i]*l)*l)
			if !(lx > 0 && l2 > 0) {
				continue
			}
			c := min(most, kernel.Nearest(float32(s*l2)/lx))
			if c == int(codes[i]) {
				continue
			}
			l = float32(c)
			lx += float32(float32(w[i]*s) * l)
			l2 += float32(float32(w[i]*l) * l)
			if float32(float32(lx*lx)*sumL2) > float32(float32(sumLX*sumLX)*l2) {
				codes[i], sumLX, sumL2, changed = byte(c), lx, l2, true
			}
		}
		if !changed {
			break
		}
	}
	if sumL2 > 0 {
		return sumLX / sumL2
	}
	return 0
}

// quarters stores the low two bits of the codes of a super-block as Q2_K and Q3_K do.
func quarters(dst []byte, codes *[superSize]byte) {
	const low = 0x0303030303030303
	le := binary.LittleEndian
	for h := range 2 {
		for l := 0; l < 32; l += 8 {
			c := codes[128*h+l:]
			le.PutUint64(dst[32*h+l:], le.Uint64(c)&low|le.Uint64(c[32:])&low<<2|le.Uint64(c[64:])&low<<4|le.Uint64(c[96:])&low<<6)
		}
	}
}

func writeQ2K(dst []byte, s *super, ls, lm *[16]byte) {
	for j := range 16 {
		dst[j] = ls[j] | lm[j]<<4
	}
	quarters(dst[16:80], &s.codes)
}

func writeQ4K(dst []byte, s *super, ls, lm *[16]byte) {
	clear(dst[4:16])
	for j := range 8 {
		putScaleMin(dst[4:16], j, ls[j], lm[j])
	}
	for c := range 4 {
		for l := 0; l < 32; l += 8 {
			binary.LittleEndian.PutUint64(dst[16+32*c+l:], binary.LittleEndian.Uint64(s.codes[64*c+l:])|binary.LittleEndian.Uint64(s.codes[64*c+32+l:])<<4)
		}
	}
}

func writeQ5K(dst []byte, s *super, ls, lm *[16]byte) {
	clear(dst[4:48])
	for j := range 8 {
		putScaleMin(dst[4:16], j, ls[j], lm[j])
	}
	const low, one = 0x0f0f0f0f0f0f0f0f, 0x0101010101010101
	le := binary.LittleEndian
	for l := 0; l < 32; l += 8 {
		high := uint64(0)
		for c := range 4 {
			a, b := le.Uint64(s.codes[64*c+l:]), le.Uint64(s.codes[64*c+32+l:])
			le.PutUint64(dst[48+32*c+l:], a&low|b&low<<4)
			high |= a>>4&one<<(2*c) | b>>4&one<<(2*c+1)
		}
		le.PutUint64(dst[16+l:], high)
	}
}

func encodeQ6K(dst []byte, row, importance []float32) {
	var s super
	for at := 0; at < len(row); at += superSize {
		x := row[at : at+superSize]
		if importance != nil {
			s.fit.set(16, x, importance[at:at+superSize])
			kernel.FitSymmetric(search32, 16, &s.fit.scale, s.fit.codes[:], s.fit.x[:], s.fit.w[:])
		} else {
			s.fit.set(16, x, nil)
			kernel.FitSymmetric(search32, 16, &s.fit.scale, s.fit.codes[:], s.fit.x[:], nil)
		}
		s.take(0, 16)
		finishQ6K(dst[:210], &s, x)
		dst = dst[210:]
	}
}

func finishQ6K(dst []byte, s *super, x []float32) {
	largest := farthest(s.scales[:])
	if abs(largest) < 1e-15 {
		clear(dst)
		return
	}
	factor := -128 / largest
	d := putHalf(dst[208:], 1/factor)
	for j, scale := range s.scales {
		code := int8(min(127, kernel.Nearest(float32(factor*scale))))
		dst[192+j] = byte(code)
		s.requantize(j, 16, x, float32(d*float32(code)), 0, -32, 31)
	}
	const low, two = 0x0f0f0f0f0f0f0f0f, 0x0303030303030303
	le := binary.LittleEndian
	for h := range 2 {
		for l := 0; l < 32; l += 8 {
			q := s.codes[128*h+l:]
			a, b, c, d := le.Uint64(q), le.Uint64(q[32:]), le.Uint64(q[64:]), le.Uint64(q[96:])
			le.PutUint64(dst[64*h+l:], a&low|c&low<<4)
			le.PutUint64(dst[64*h+32+l:], b&low|d&low<<4)
			le.PutUint64(dst[128+32*h+l:], a>>4&two|b>>4&two<<2|c>>4&two<<4|d>>4&two<<6)
		}
	}
}

func encodeQ3K(dst []byte, row, importance []float32) {
	var s super
	for at := 0; at < len(row); at += superSize {
		x := row[at : at+superSize]
		var ls [16]byte
		var d float32
		if importance != nil {
			weights(s.weights[:superSize], x, importance[at:], variance(x, 2))
			s.sumWeights(0, 16)
			s.fit.set(16, x, s.weights[:superSize])
			kernel.FitSymmetric(search4, 16, &s.fit.scale, s.fit.codes[:], s.fit.x[:], s.fit.w[:])
			s.take(0, 16)
			d = kernel.FitSymmetricOne(search32, 16, 0, 1, ls[:], s.scales[:], s.sums[:])
		} else {
			s.fit.set(16, x, nil)
			kernel.FitSweeps(4, 16, &s.fit.scale, s.fit.codes[:], s.fit.x[:])
			s.take(0, 16)
			if largest := farthest(s.scales[:]); largest != 0 {
				factor := -32 / largest
				d = 1 / factor
				for j, scale := range s.scales {
					ls[j] = byte(min(max(int(int8(kernel.Nearest(float32(factor*scale)))), -32), 31) + 32)
				}
			}
		}
		finishQ3K(dst[:110], &s, x, d, &ls)
		dst = dst[110:]
	}
}

func finishQ3K(dst []byte, s *super, x []float32, d float32, ls *[16]byte) {
	clear(dst)
	d = putHalf(dst[108:], d)
	for j, c := range ls {
		dst[96+j%8] |= c & 15 << (j / 8 * 4)
		dst[104+j%4] |= c >> 4 << (j / 4 * 2)
	}
	for j, c := range scalesQ3K(dst[96:108]) {
		s.requantize(j, 16, x, float32(d*float32(c)), 0, -4, 3)
	}
	for e, c := range s.codes {
		dst[e%32] |= c >> 2 << (e / 32)
	}
	quarters(dst[32:96], &s.codes)
}
