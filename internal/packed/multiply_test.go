package packed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// checkMultiplier compares a multiplier with the product of the decoded rows, within what rounding x to 8 bits in blocks of 32 may
// cost, and half the bits of x and w where those are bfloat16.
func checkMultiplier(t *testing.T, what string, m tensor.Packed, rows, cols int) {
	t.Helper()
	p := kernel.NewPool(2)
	defer p.Close()
	checkProducts(t, what, Prepare(p, m, rows, cols), m, rows, cols)
}

// checkProducts is checkMultiplier of one.
func checkProducts(t *testing.T, what string, k Multiplier, m tensor.Packed, rows, cols int) {
	t.Helper()
	p := kernel.NewPool(2)
	defer p.Close()
	r := rand.New(rand.NewPCG(1, 2))
	w := make([]float32, cols)
	for _, tokens := range []int{1, 6} {
		x, dst := make([]float32, tokens*cols), make([]float32, tokens*rows)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		k.Multiply(p, tokens, x, cols, dst, rows)
		for row := range rows {
			m.Row(w, row)
			for tk := range tokens {
				var sum, room float64
				for b := 0; b < cols; b += 32 {
					largest, size := 0.0, 0.0
					for c := b; c < min(b+32, cols); c++ {
						v := float64(x[tk*cols+c])
						sum += v * float64(w[c])
						size += math.Abs(float64(w[c]))
						largest = max(largest, math.Abs(v))
					}
					room += size * largest / 200
				}
				if d := math.Abs(sum - float64(dst[tk*rows+row])); !(d <= room+1e-5) {
					t.Fatalf("%s: row %d of token %d is %v, want %v within %v", what, row, tk, dst[tk*rows+row], sum, room)
				}
			}
		}
	}
}

func TestMultiplyBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for kind := range blocks {
		const rows, cols = 21, 512
		if !kind.Encodes() {
			continue
		}
		n, err := kind.RowBytes(cols)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, rows*n)
		for row := range rows {
			v := make([]float32, cols)
			for i := range v {
				v[i] = float32(r.NormFloat64() * 0.02)
			}
			kind.Encode(data[row*n:(row+1)*n], v, nil)
		}
		b, err := NewBlocks(kind, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := affineKinds[kind]; ok && b.prepare(nil) == nil {
			t.Errorf("%v has no kernel", kind)
		}
		checkMultiplier(t, kind.String(), b, rows, cols)
	}
}

// TestMultiplyFP4 multiplies by blocks of random codes, and of scales that the kernels have no room for.
func TestMultiplyFP4(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 6))
	const rows, cols = 21, 512
	for kind, scales := range map[Kind][2]int{MXFP4: {128 - 24, 128 + 16}, NVFP4: {0, 128}} {
		n, err := kind.RowBytes(cols)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, rows*n)
		heads := 1
		if kind == NVFP4 {
			heads = 4
		}
		for at := range data {
			if data[at] = byte(r.IntN(256)); at%kind.BlockBytes() < heads {
				data[at] = byte(scales[0] + r.IntN(scales[1]-scales[0]))
				if kind == MXFP4 && at > n { // a row of one order of magnitude, others not far from it
					data[at] = byte(118 + r.IntN(8))
				}
			}
		}
		b, err := NewBlocks(kind, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		if b.prepare(nil) == nil {
			t.Errorf("%v has no kernel", kind)
		}
		checkMultiplier(t, kind.String(), b, rows, cols)
		if kind != MXFP4 {
			continue
		}
		data[0] = 100
		if b.prepare(nil) != nil {
			t.Error("a scale of 2^-28 as float16")
		}
		checkMultiplier(t, "MXFP4 with small scales", b, rows, cols)
		clear(data[:17])
		if data[1] = 0x80; b.prepare(nil) == nil {
			t.Error("a block of zeros has a scale that matters")
		}
	}
}

func TestMultiplyAffine(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for _, bits := range []int{2, 3, 4, 5, 8} {
		for _, group := range []int{16, 20, 64, 200} {
			for form := range 4 {
				const rows, cols = 19, 200
				groups := (cols + group - 1) / group
				codes, scales := make([]byte, rows*cols), make([]float32, rows*groups)
				for i := range codes {
					codes[i] = byte(r.IntN(1 << bits))
				}
				for i := range scales {
					scales[i] = float32(r.Float64())
				}
				var zeros []byte
				if form > 0 {
					zeros = make([]byte, rows*groups)
					for i := range zeros {
						zeros[i] = 1
						if form > 1 {
							zeros[i] = byte(r.IntN(1 << bits))
						}
					}
				}
				var index []int32
				if form == 3 {
					for _, c := range r.Perm(cols) {
						index = append(index, int32(c/group))
					}
				}
				a, err := NewAffine(bits, rows, cols, group, codes, scales, tensor.Float32, zeros, index)
				if err != nil {
					t.Fatal(err)
				}
				if group%16 == 0 && a.prepare(nil) == nil {
					t.Errorf("%d bits, groups of %d, form %d has no kernel", bits, group, form)
				}
				checkMultiplier(t, fmt.Sprintf("%d bits, groups of %d, form %d", bits, group, form), a, rows, cols)
			}
		}
	}
}

// TestMultiplyFourBit holds products by NF4 and FP4 to what rounding x costs, and the values of codes, which have 8 bits in products.
func TestMultiplyFourBit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	for _, kind := range []*FourBitType{NF4, FP4} {
		for i, v := range kind.Table.Values {
			if d := math.Abs(float64(float32(kind.bytes[i])/kind.scale - v)); d > 1.0/250 {
				t.Errorf("%s: code %d is %v in products, %v off", kind.Name, i, float32(kind.bytes[i])/kind.scale, d)
			}
		}
		for _, block := range []int{32, 64, 128, 4096} {
			const rows, cols = 70, 256
			weights := make([]float32, rows*cols)
			for i := range weights {
				weights[i] = float32(r.NormFloat64() * 0.02)
			}
			f, err := NewFourBit(nil, kind, rows, cols, block, block == 64, func(dst []float32, row int) { copy(dst, weights[row*cols:]) })
			if err != nil {
				t.Fatal(err)
			}
			if (f.prepare(nil) != nil) != (block <= cols) {
				t.Errorf("%s, blocks of %d: packed: %v", kind.Name, block, f.prepare(nil) != nil)
			}
			what := fmt.Sprintf("%s, blocks of %d", kind.Name, block)
			checkMultiplier(t, what, f, rows, cols)
			checkProducts(t, what+", rounded", Prepare(nil, f, rows, cols).(Rounder).Rounded(), f, rows, cols)
		}
	}
}

func TestMultiplyNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 6))
	for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float8E4M3FN} {
		w := tensor.New(d, 33, 70)
		for i := range w.Bytes() {
			w.Bytes()[i] = byte(r.IntN(256))
			if d.Bits() == 8 || i%2 == 1 { // neither infinity nor NaN
				w.Bytes()[i] = 0x38 | w.Bytes()[i]&0x83
			}
		}
		n, err := NewNarrow(w)
		if err != nil {
			t.Fatal(err)
		}
		checkMultiplier(t, d.String(), n.Packed, 33, 70)
	}
}
