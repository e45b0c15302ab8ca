package kernel

import (
	"math"
	"math/rand/v2"
)

// randomRequant makes scales for sums of terms products of bytes that use the range of codes, with some beyond it.
func randomRequant(r *rand.Rand, channels, terms int) *Requant {
	q := &Requant{Signed: r.IntN(2) == 1, Scale: make([]float32, []int{1, max(channels, 1)}[r.IntN(2)])}
	if channels == 0 {
		q.Scale = q.Scale[:1]
	}
	for i := range q.Scale {
		q.Scale[i] = float32(r.NormFloat64() * 60 / (5000 * math.Sqrt(float64(terms+1))))
	}
	if r.IntN(8) == 0 {
		q.Scale[0] = []float32{float32(math.Inf(1)), float32(math.NaN()), 0, 1e30, 0.5}[r.IntN(5)]
	}
	q.Zero = widen(byte(r.Uint32()), q.Signed)
	if r.IntN(2) == 1 {
		q.Min, q.Max = widen(byte(r.Uint32()), q.Signed), widen(byte(r.Uint32()), q.Signed)
		if q.Min > q.Max {
			q.Min, q.Max = q.Max, q.Min
		}
	}
	return q
}

// code is the definition of requantization, step by step in float64 where that is exact.
func (q *Requant) code(sum int32, channel int) byte {
	v := float64(float32(float32(sum) * at(q.Scale, channel)))
	lo, hi := q.Min, q.Max
	if lo == 0 && hi == 0 {
		lo, hi = 0, 255
		if q.Signed {
			lo, hi = -128, 127
		}
	}
	if v != v {
		return byte(lo)
	}
	return byte(int32(min(max(math.RoundToEven(v)+float64(q.Zero), float64(lo)), float64(hi))))
}
