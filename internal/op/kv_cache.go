package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// kvPage is how many tokens a page of a key-value cache holds: few enough for the widened keys of one head to stay in cache.
const kvPage = 64

// CacheTypes are the element types that keys and values may be kept in: 8-bit codes with a scale for each token and head,
// float16, float32.
var CacheTypes = []tensor.DType{tensor.Float16, tensor.Int8, tensor.Float32}

// kvRows is the memory of one sequence: keys and values of the tokens at positions 0, 1, ..., in pages.
type kvRows struct{ pages []*kvTokens }

// kvTokens is a page: for each of keys and values [heads, kvPage, size].
type kvTokens struct {
	halves [2][]uint16
	floats [2][]float32
	codes  [2][]int8
	scales [2][]float32 // of codes: [heads, kvPage]
}

// kvStore keeps the pages of all sequences of a layer. Index 0 is keys, 1 values; their heads may differ in size.
type kvStore struct {
	dtype tensor.DType
	heads int
	size  [2]int
	rows  map[int]*kvRows
	free  []*kvTokens
}

func newKVStore(d tensor.DType, heads, size, vSize int) *kvStore {
	return &kvStore{dtype: d, heads: heads, size: [2]int{size, vSize}, rows: map[int]*kvRows{}}
}

func (s *kvStore) newPage() *kvTokens {
	if n := len(s.free); n > 0 {
		p := s.free[n-1]
		s.free = s.free[:n-1]
		return p
	}
	p := &kvTokens{}
	for i, size := range s.size {
		n := s.heads * kvPage * size
		switch s.dtype {
		case tensor.Float16:
			p.halves[i] = make([]uint16, n)
		case tensor.Int8:
			p.codes[i] = make([]int8, n)
			p.scales[i] = make([]float32, s.heads*kvPage)
		default:
			p.floats[i] = make([]float32, n)
		}
	}
	return p
}

// grow makes room for tokens of a sequence and returns it. Positions below from are not needed any more.
func (s *kvStore) grow(row, tokens, from int) *kvRows {
	r := s.rows[row]
	if r == nil {
		r = &kvRows{}
		s.rows[row] = r
	}
	for len(r.pages)*kvPage < tokens {
		r.pages = append(r.pages, nil)
	}
	for i := range r.pages {
		switch old := (i+1)*kvPage <= from; {
		case old && r.pages[i] != nil:
			s.free = append(s.free, r.pages[i])
			r.pages[i] = nil
		case !old && r.pages[i] == nil && i*kvPage < tokens:
			r.pages[i] = s.newPage()
		}
	}
	return r
}

// truncate forgets what a sequence has from a number of tokens on.
func (s *kvStore) truncate(row, tokens int) {
	r := s.rows[row]
	if r == nil {
		return
	}
	keep := (tokens + kvPage - 1) / kvPage
	for i := keep; i < len(r.pages); i++ {
		if r.pages[i] != nil {
			s.free = append(s.free, r.pages[i])
		}
	}
	r.pages = r.pages[:min(keep, len(r.pages))]
}

// holds reports whether the tokens at positions from lo to hi of a sequence are there.
func (s *kvStore) holds(row, lo, hi int) bool {
	r := s.rows[row]
	for at := lo; at < hi; at = (at/kvPage + 1) * kvPage {
		if r == nil || at/kvPage >= len(r.pages) || r.pages[at/kvPage] == nil {
			return false
		}
	}
	return true
}

// bytes is the memory of all pages.
func (s *kvStore) bytes() int {
	n := len(s.free)
	for _, r := range s.rows {
		for _, p := range r.pages {
			if p != nil {
				n++
			}
		}
	}
	each := s.heads * kvPage * (s.size[0] + s.size[1])
	switch s.dtype {
	case tensor.Float16:
		each *= 2
	case tensor.Int8:
		each += 2 * 4 * s.heads * kvPage
	default:
		each *= 4
	}
	return n * each
}

// put stores the key (i 0) or value (i 1) of a head for the token at a position.
func (s *kvStore) put(r *kvRows, i, head, position int, x []float32) {
	p, size := r.pages[position/kvPage], s.size[i]
	at := head*kvPage + position%kvPage
	switch s.dtype {
	case tensor.Float16:
		kernel.F32ToF16(p.halves[i][at*size:][:size], x)
	case tensor.Int8:
		p.scales[i][at] = quantizeHead(p.codes[i][at*size:][:size], x)
	default:
		copy(p.floats[i][at*size:][:size], x)
	}
}

// quantizeHead sets codes to round(x/scale) for the scale max|x|/127, which it returns.
func quantizeHead(codes []int8, x []float32) float32 {
	top := float32(0)
	for _, v := range x {
		top = max(top, float32(math.Abs(float64(v))))
	}
	if top == 0 || top != top || math.IsInf(float64(top), 0) {
		clear(codes)
		if top == 0 {
			return 0
		}
		return float32(math.NaN())
	}
	for j, v := range x {
		codes[j] = int8(math.RoundToEven(float64(v * (127 / top))))
	}
	return top / 127
}

// halves returns n keys (i 0) or values (i 1) of a head from a position on, which lie in one page; nil if they are not of float16.
func (s *kvStore) halves(r *kvRows, i, head, position, n int) []uint16 {
	h, size := r.pages[position/kvPage].halves[i], s.size[i]
	if h == nil {
		return nil
	}
	return h[(head*kvPage+position%kvPage)*size:][:n*size]
}

// get returns n keys or values of a head from a position on, which lie in one page, as float32: in the page, or in buf.
func (s *kvStore) get(r *kvRows, i, head, position, n int, buf []float32) []float32 {
	p, size := r.pages[position/kvPage], s.size[i]
	at := head*kvPage + position%kvPage
	dst := buf[:n*size]
	switch s.dtype {
	case tensor.Float16:
		kernel.F16ToF32(dst, s.halves(r, i, head, position, n))
	case tensor.Int8:
		codes := p.codes[i][at*size:][:n*size]
		for t, scale := range p.scales[i][at:][:n] {
			for j, c := range codes[t*size : (t+1)*size] {
				dst[t*size+j] = scale * float32(c)
			}
		}
	default:
		return p.floats[i][at*size:][:n*size]
	}
	return dst
}

// checkCacheType refuses other element types.
func checkCacheType(d tensor.DType) error {
	for _, c := range CacheTypes {
		if c == d {
			return nil
		}
	}
	return fmt.Errorf("a key-value cache of %v; accepted: %v", d, CacheTypes)
}
