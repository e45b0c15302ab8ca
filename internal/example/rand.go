package example

import "math/bits"

// random is the splitmix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the
// same numbers on every platform and in every release.
type random uint64

// newRandom returns the generator of one sample, so that a sample does not depend on how many others are asked for.
func newRandom(seed uint64, sample int) *random {
	r := random(seed)
	r = random(r.next() + uint64(sample))
	return &r
}

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number in [0, n).
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// between returns a number in [lo, hi].
func (r *random) between(lo, hi int) int { return lo + r.below(hi-lo+1) }
