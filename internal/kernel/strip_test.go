package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Strips equal their definitions, at every number of rows and columns.
func TestStripsInt8(t *testing.T) {
	onEach(t, func(t *testing.T) {
		if !useStrips() {
			return // their callers take another way
		}
		r := rand.New(rand.NewPCG(31, 32))
		for count := 1; count <= 20; count++ {
			for _, width := range []int{16, 32, 48} {
				n, words, offs := width-r.IntN(16), 1+r.IntN(9), []int{0, 100, 60}[:1+r.IntN(3)]
				rows := make([]int, count+stripRows)
				for i := range rows {
					rows[i] = 4 * min(i, count-1)
				}
				src := randomBytes(r, make([]byte, 4*count+100+4*words))
				b := randomBytes(r, make([]byte, len(offs)*words*4*width))
				start, scale, bias := make([]int32, width), randomF32(r, make([]float32, width)), randomF32(r, make([]float32, width))
				for j := range start {
					start[j], scale[j] = r.Int32N(2000)-1000, scale[j]/500
				}
				reach, ldd := slices.Max(rows)+slices.Max(offs), n+r.IntN(5)
				q := randomRequant(r, n, 4*words)
				lo, hi := q.check(n)
				other := randomBytes(r, make([]byte, count*ldd))
				code := Code{Scale: 0.3, Zero: q.Zero, Signed: q.Signed}
				for _, add := range []*AddedCodes{nil, {Codes: other, Conv: code, Code: code, Sum: code}} {
					end := newCodesEnd(q, lo, hi, add)
					var added []byte
					if add != nil {
						added = other
					}
					got, check := guarded[byte](count*ldd, r.IntN(64))
					want := slices.Clone(got)
					strip(count, n, width, words, src, rows, offs, reach, b, start, scale, &end, got, added, ldd)
					stripGeneric(count, n, width, words, src, rows, offs, b, start, scale, &end, want, added, ldd)
					if err := check(); err != nil || !slices.Equal(got, want) {
						t.Fatalf("%d rows of %d columns, added %v: codes differ (%v)", count, n, add != nil, err)
					}
				}
				residual := randomF32(r, make([]float32, count*ldd))
				for _, other := range [][]float32{nil, residual} {
					got, check := guarded[float32](count*ldd, r.IntN(16))
					want := slices.Clone(got)
					stripFloats(count, n, width, words, src, rows, offs, reach, b, start, scale, bias, -1, 2, got, other, ldd)
					stripFloatsGeneric(count, n, width, words, src, rows, offs, b, start, scale, bias, -1, 2, want, other, ldd)
					if err := check(); err != nil {
						t.Fatal(err)
					}
					for i := range count {
						if !slices.Equal(got[i*ldd:i*ldd+n], want[i*ldd:i*ldd+n]) {
							t.Fatalf("%d rows of %d columns: floats differ", count, n)
						}
					}
				}
			}
		}
	})
}
