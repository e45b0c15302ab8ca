package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// affineCase is a random matrix of codes in groups and what its weights are.
type affineCase struct {
	shape   AffineShape
	codes   []byte
	scale   []float32
	mins    []float32
	weights []float32
}

func randomAffine(r *rand.Rand, s AffineShape) *affineCase {
	group := s.Group
	if group < 1 || group > s.Cols {
		group = s.Cols
	}
	groups := (s.Cols + group - 1) / group
	c := &affineCase{shape: s, codes: randomBytes(r, make([]byte, s.Rows*s.Cols)), weights: make([]float32, s.Rows*s.Cols)}
	for range s.Rows * groups {
		// What a 16-bit float holds, so that the packed matrix is the same one.
		c.scale = append(c.scale, f16ToF32(f32ToF16(float32(r.NormFloat64())/16)))
		if s.Mins {
			c.mins = append(c.mins, f16ToF32(f32ToF16(float32(r.NormFloat64()))))
		}
	}
	for i := range c.codes {
		c.codes[i] &= byte(1<<s.Bits - 1)
		g := i/s.Cols*groups + i%s.Cols/group
		if c.weights[i] = c.scale[g] * float32(int(c.codes[i])-s.Offset); s.Values != nil {
			c.weights[i] = c.scale[g] * float32(s.Values[c.codes[i]])
		}
		if s.Mins {
			c.weights[i] += c.mins[g]
		}
	}
	return c
}

func (c *affineCase) pack(p *Pool) *PackedAffine {
	return PackAffine(p, c.shape, func(row int, into AffineRow) {
		copy(into.Codes, c.codes[row*c.shape.Cols:])
		copy(into.Scale, c.scale[row*len(into.Scale):])
		if into.Mins != nil {
			copy(into.Mins, c.mins[row*len(into.Scale):])
		}
	})
}

func checkAffine(t *testing.T, r *rand.Rand, ps []*Pool, s AffineShape, tokens int) {
	t.Helper()
	what := fmt.Sprintf("%+v times %d", s, tokens)
	c := randomAffine(r, s)
	ldx, ldd := s.Cols+r.IntN(3), s.Rows+r.IntN(3)
	x := randomF32(r, make([]float32, (tokens-1)*ldx+s.Cols))
	for i := range x {
		if i%97 == 0 {
			x[i] *= 20
		}
	}
	m := c.pack(ps[len(ps)-1])
	var first []float32
	for _, p := range ps {
		dst, check := guarded[float32]((tokens-1)*ldd+s.Rows, r.IntN(16))
		m.Multiply(p, tokens, x, ldx, dst, ldd)
		if err := check(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if first == nil {
			first = dst
			continue
		}
		for tk := range tokens {
			if err := sameBits(first[tk*ldd:tk*ldd+s.Rows], dst[tk*ldd:]); err != nil {
				t.Fatalf("%s: differs from one thread: %v", what, err)
			}
		}
	}
	// The product with the activations as they are rounded, exactly.
	block, offset := m.form.block(), m.Offset
	for tk := range tokens {
		rounded := make([]float64, s.Cols)
		for b := 0; b < s.Cols; b += block {
			part := x[tk*ldx+b : tk*ldx+min(b+block, s.Cols)]
			largest := float32(0)
			for _, v := range part {
				largest = max(largest, abs32(v))
			}
			scale, inverse := largest/127, 127/largest
			for i, v := range part {
				if q := math.RoundToEven(float64(v * inverse)); largest > 0 {
					rounded[b+i] = q * float64(scale)
				}
			}
		}
		for row := range s.Rows {
			var sum, size float64
			for i, v := range rounded {
				w := float64(c.weights[row*s.Cols+i])
				sum += v * w
				size += math.Abs(v) * (math.Abs(w) + float64(1+offset)/8)
			}
			if d := math.Abs(sum - float64(first[tk*ldd+row])); !(d <= 0x1p-20*size+1e-30) {
				t.Fatalf("%s: row %d of token %d is %v, want %v", what, row, tk, first[tk*ldd+row], sum)
			}
		}
	}
}

func TestPackedAffine(t *testing.T) {
	onEach(t, func(t *testing.T) {
		ps := pools(t)
		r := rand.New(rand.NewPCG(3, 4))
		for _, bits := range []int{1, 2, 3, 4, 5, 6, 7, 8} {
			for _, group := range []int{0, 16, 32, 48, 64, 128} {
				for _, mins := range []bool{false, true} {
					s := AffineShape{Bits: bits, Group: group, Mins: mins}
					if !mins || r.IntN(2) == 0 {
						s.Offset = 1 << (bits - 1)
					}
					for _, tokens := range []int{1, 3, 4, 9} {
						s.Rows, s.Cols = 1+r.IntN(150), 1+r.IntN(300)
						checkAffine(t, r, ps, s, tokens)
					}
				}
			}
		}
		for _, group := range []int{32, 64, 128} {
			values := &[16]int8{-128, -104, -83, -65, -49, -35, -22, -10, 0, 13, 25, 38, 53, 69, 89, 127}
			for _, tokens := range []int{1, 3, 5} {
				checkAffine(t, r, ps, AffineShape{Rows: 70, Cols: 128, Bits: 4, Group: group, Values: values}, tokens)
			}
			checkAffine(t, r, ps, AffineShape{Rows: 33, Cols: 1100, Bits: 4, Group: group, Values: values}, 6)
		}
		checkAffine(t, r, ps, AffineShape{Rows: 200, Cols: 1100, Bits: 4, Group: 32, Offset: 8}, 70)
		checkAffine(t, r, ps, AffineShape{Rows: 65, Cols: 1024, Bits: 8, Group: 32, Offset: 128}, 13)
		checkAffine(t, r, ps[:1], AffineShape{Rows: 1, Cols: 1, Bits: 8, Offset: 128}, 1)
	})
}

// Codes and activations at the ends of their ranges do not saturate on the way.
func TestPackedAffineExtremes(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, bits := range []int{4, 5, 6, 8} {
			for _, group := range []int{16, 32} {
				for _, tokens := range []int{1, 4} {
					for sign := range 4 {
						checkExtremes(t, bits, group, tokens, sign)
					}
				}
			}
		}
	})
}

func checkExtremes(t *testing.T, bits, group, tokens, sign int) {
	t.Helper()
	const rows, cols = 20, 64
	m := PackAffine(nil, AffineShape{Rows: rows, Cols: cols, Bits: bits, Group: group}, func(row int, into AffineRow) {
		for i := range into.Codes {
			into.Codes[i] = byte(1<<bits-1) * byte(sign&1)
		}
		for i := range into.Scale {
			into.Scale[i] = 1
		}
	})
	x, dst := make([]float32, tokens*cols), make([]float32, tokens*rows)
	for i := range x {
		x[i] = float32(254*(sign/2) - 127)
	}
	m.Multiply(nil, tokens, x, cols, dst, rows)
	for i, v := range dst {
		if want := x[0] * float32(cols*(1<<bits-1)*(sign&1)); v != want {
			t.Fatalf("%d bits in groups of %d, %d tokens: dst[%d] = %v, want %v", bits, group, tokens, i, v, want)
		}
	}
}

func TestPackedAffineSpecialValues(t *testing.T) {
	onEach(t, func(t *testing.T) {
		const rows, cols = 17, 70
		r := rand.New(rand.NewPCG(3, 5))
		m := randomAffine(r, AffineShape{Rows: rows, Cols: cols, Bits: 4, Group: 32, Offset: 8}).pack(nil)
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for _, tokens := range []int{1, 5} {
				x, dst := randomF32(r, make([]float32, tokens*cols)), make([]float32, tokens*rows)
				x[cols-1] = float32(bad)
				m.Multiply(nil, tokens, x, cols, dst, rows)
				for i, v := range dst {
					if finite := !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0); finite != (i >= rows) {
						t.Fatalf("%v in the first of %d rows: dst[%d] = %v", bad, tokens, i, v)
					}
				}
			}
		}
		x, dst := make([]float32, cols), make([]float32, rows)
		for i := range x {
			x[i] = 0x1p-140
		}
		m.Multiply(nil, 1, x, cols, dst, rows)
		for i, v := range dst {
			if v != 0 {
				t.Fatalf("of numbers near zero: dst[%d] = %v", i, v)
			}
		}
	})
}

func TestQuantizeBlocks(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 6))
		for _, block := range []int{16, 32} {
			for blocks := range 9 {
				x := randomF32(r, make([]float32, block*blocks))
				for i := range x {
					if i/block == 1 {
						x[i] = 0
					}
					x[i] *= float32(math.Ldexp(1, i/block*7-20))
				}
				want, wantInfo := make([]byte, len(x)), make([]blockInfo, blocks)
				got, check := guarded[byte](len(x), r.IntN(16))
				gotInfo, checkInfo := guarded[blockInfo](blocks, 0)
				clear(gotInfo)
				quantizeBlocksGeneric(block, blocks, want, wantInfo, x, -8)
				quantizeBlocks(block, blocks, got, gotInfo, x, -8)
				for _, f := range []func() error{check, checkInfo} {
					if err := f(); err != nil {
						t.Fatal(err)
					}
				}
				if string(got) != string(want) || fmt.Sprint(gotInfo) != fmt.Sprint(wantInfo) {
					t.Fatalf("%d blocks of %d: got %v %v, want %v %v", blocks, block, got, gotInfo, want, wantInfo)
				}
			}
		}
	})
}

// readCase reads the matrix of a case; its numbers above the largest magnitudes of rows are by far above.
type readCase struct{ *affineCase }

func (c readCase) Read(row, group int, into AffineRow) {
	s, groups := c.shape, c.shape.Cols/c.shape.Group
	copy(into.Codes, c.codes[row*s.Cols+group*s.Group:])
	copy(into.Scale, c.scale[row*groups+group:])
	if into.Mins != nil {
		copy(into.Mins, c.mins[row*groups+group:])
	}
}

func (c readCase) Largest(row int) float32 {
	groups, largest := c.shape.Cols/c.shape.Group, largestOf(c.scale)
	if c.mins != nil {
		largest = max(largest, largestOf(c.mins[row*groups:(row+1)*groups]))
	}
	return 60 * largest
}

// TestPackAffineRows multiplies by matrices that are read, before and after they are packed, and by the same ones packed at once.
func TestPackAffineRows(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 7))
		p := NewPool(2)
		defer p.Close()
		for _, s := range []AffineShape{
			{Bits: 4, Group: 32, Mins: true},
			{Bits: 2, Group: 16, Mins: true},
			{Bits: 3, Group: 16, Offset: 4},
			{Bits: 5, Group: 32, Offset: 16},
			{Bits: 6, Group: 16, Offset: 32},
			{Bits: 8, Group: 32, Offset: 128},
			{Bits: 4, Group: 32, Values: &[16]int8{-128, -7, 8: 1, 127}},
		} {
			for _, size := range [][2]int{{1, 32}, {17, 96}, {70, 1056}} {
				s.Rows, s.Cols = size[0], size[1]
				c := randomAffine(r, s)
				got, want := PackAffineRows(s, readCase{c}), c.pack(nil)
				x := randomF32(r, make([]float32, (readRows+1)*s.Cols))
				for i, tokens := range []int{5, readRows, 1, 5} { // while it is read, packed with the third and packed before
					a, b := make([]float32, tokens*s.Rows), make([]float32, tokens*s.Rows)
					got.Multiply(p, tokens, x, s.Cols, a, s.Rows)
					want.Multiply(p, tokens, x, s.Cols, b, s.Rows)
					if err := sameBits(b, a); err != nil {
						t.Fatalf("%+v: products of %d rows: %v", s, tokens, err)
					}
					if packed := got.file.Load() == nil; packed != (i >= 2) {
						t.Fatalf("%+v: packed after a product of %d rows: %v", s, tokens, packed)
					}
				}
				for _, tokens := range []int{readRows + 1, 5} {
					again := PackAffineRows(s, readCase{c})
					a, b := make([]float32, tokens*s.Rows), make([]float32, tokens*s.Rows)
					want.Multiply(p, tokens, x, s.Cols, b, s.Rows)
					products := 1
					for again.Multiply(p, tokens, x, s.Cols, a, s.Rows); again.file.Load() != nil; products++ {
						again.Multiply(p, tokens, x, s.Cols, a, s.Rows)
					}
					if err := sameBits(b, a); err != nil || tokens > readRows && products > 1 || tokens < readRows && products != mostReads+1 {
						t.Fatalf("%+v: packed for product %d of %d rows: %v", s, products, tokens, err)
					}
				}
			}
		}
	})
}

// TestPackAffineBlocks packs blocks as files have them and the same codes one by one.
func TestPackAffineBlocks(t *testing.T) {
	onEach(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 7))
		p := NewPool(2)
		defer p.Close()
		for _, s := range []AffineShape{
			{Bits: 8, Offset: 128}, {Bits: 4, Offset: 8}, {Bits: 4, Values: &[16]int8{-128, -104, -83, -65, -49, -35, -22, -10, 0, 13, 25, 38, 53, 69, 89, 127}},
		} {
			for _, size := range [][2]int{{1, 32}, {16, 64}, {17, 96}, {70, 160}, {130, 1056}} {
				s.Rows, s.Cols, s.Group = size[0], size[1], 32
				c := randomAffine(r, s)
				groups, bytes := s.Cols/32, 2+4*s.Bits
				data, check := guarded[byte](s.Rows*groups*bytes, r.IntN(16))
				for i := range s.Rows * groups {
					block, codes := data[i*bytes:][:bytes], c.codes[i*32:][:32]
					binary.LittleEndian.PutUint16(block, f32ToF16(c.scale[i]))
					for j, q := range codes {
						switch {
						case s.Bits == 8:
							block[2+j] = q - 128
						case j < 16:
							block[2+j] = q | codes[16+j]<<4
						}
					}
				}
				got, want := PackAffineBlocks(s, data), c.pack(nil)
				x := randomF32(r, make([]float32, 5*s.Cols))
				for _, tokens := range []int{5, 1, 5} { // from the blocks, packed with the first and packed before
					a, b := make([]float32, tokens*s.Rows), make([]float32, tokens*s.Rows)
					got.Multiply(p, tokens, x, s.Cols, a, s.Rows)
					want.Multiply(p, tokens, x, s.Cols, b, s.Rows)
					if err := sameBits(b, a); err != nil {
						t.Fatalf("%+v: products of %d rows: %v", s, tokens, err)
					}
				}
				if err := check(); err != nil {
					t.Fatal(err)
				}
				for i := range want.strips() {
					for g := range want.groups {
						sg, _, cg := got.group(i, g)
						sw, _, cw := want.group(i, g)
						if n := want.form.blockBytes(); string(cg[:n]) != string(cw[:n]) {
							if s.Rows-i*affineRows >= affineRows { // rows that are not there may have any codes
								t.Fatalf("%+v: strip %d, block %d: codes %v, want %v", s, i, g, cg[:n], cw[:n])
							}
						}
						for k := range min(affineRows, s.Rows-i*affineRows) {
							row := i*affineRows + k
							if a, b := f16ToF32(sg[k])*got.factor[row], f16ToF32(sw[k])*want.factor[row]; a != b {
								t.Fatalf("%+v: row %d, block %d: scale %v, want %v", s, row, g, a, b)
							}
						}
					}
				}
			}
		}
	})
}
