package packed

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neurotrain/neuroquant/tensor"
)

// drawAffine is a matrix of codes with scales that float16 holds.
func drawAffine(t *rapid.T, reordered bool) *Affine {
	bits := rapid.SampledFrom([]int{2, 3, 4, 5, 6, 7, 8}).Draw(t, "bits")
	rows, blocks := rapid.IntRange(1, 5).Draw(t, "rows"), rapid.IntRange(1, 4).Draw(t, "blocks")
	cols := 32 * blocks
	group := 32 * rapid.IntRange(1, blocks).Draw(t, "group")
	groups := (cols + group - 1) / group
	draw := func(n, most int, what string) []byte {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) byte { return byte(rapid.IntRange(0, most).Draw(t, "")) }), n, n).Draw(t, what)
	}
	codes := draw(rows*cols, 1<<bits-1, "codes")
	scales := make([]float32, rows*groups)
	for i := range scales {
		scales[i] = float32(rapid.IntRange(0, 2047).Draw(t, "scale")) / 4096
	}
	var zeros []byte
	if rapid.Bool().Draw(t, "zero points") {
		zeros = draw(rows*groups, 1<<bits-1, "zeros")
	}
	var index []int32
	if reordered && rapid.Bool().Draw(t, "reordered") {
		for c := range cols {
			index = append(index, int32((c*7+3)%cols/group))
		}
	}
	a, err := NewAffine(bits, rows, cols, group, codes, scales, tensor.Float16, zeros, index)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sameValues checks that two matrices are the same as floats.
func sameValues(t interface{ Fatalf(string, ...any) }, a, b tensor.Packed, rows, cols int) {
	x, y := make([]float32, cols), make([]float32, cols)
	for r := range rows {
		a.Row(x, r)
		b.Row(y, r)
		if !slices.Equal(x, y) {
			t.Fatalf("row %d: %v became %v", r, x, y)
		}
	}
}

func TestRegridKeepsValues(t *testing.T) {
	held := 0
	rapid.Check(t, func(t *rapid.T) {
		a := drawAffine(t, true)
		g := Grid{
			Bits: rapid.IntRange(1, 8).Draw(t, "to bits"), Group: 32 * rapid.IntRange(0, 4).Draw(t, "to group"),
			Symmetric: rapid.Bool().Draw(t, "to symmetric"), LeastZero: rapid.IntRange(0, 1).Draw(t, "least"), ScaleType: tensor.Float16,
		}
		b, err := a.Regrid(g)
		if err != nil {
			return // it says that there are no such codes; the next test knows where there are
		}
		held++
		sameValues(t, a, b, a.Rows, a.Cols)
		for _, z := range b.Zeros {
			if int(z) < g.LeastZero {
				t.Fatalf("zero point %d", z)
			}
		}
		if b.Bits != g.Bits || (b.Zeros == nil) != g.Symmetric {
			t.Fatalf("%v for %+v", b.Scheme(), g)
		}
	})
	if held == 0 {
		t.Error("no grid held anything")
	}
}

// Codes fit their own grid, finer groups, and as many bits more as zero points ask for; and what was refined comes back.
func TestRegridFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAffine(t, false)
		fine, err := a.Regrid(Grid{Bits: a.Bits, Group: 32, Symmetric: a.Zeros == nil, ScaleType: tensor.Float16})
		if err != nil {
			t.Fatal(err)
		}
		back, err := fine.Regrid(Grid{Bits: a.Bits, Group: a.Group, Symmetric: a.Zeros == nil, ScaleType: tensor.Float16})
		if err != nil {
			t.Fatal(err)
		}
		sameValues(t, a, back, a.Rows, a.Cols)
		if a.Bits < 8 {
			if _, err := a.Regrid(Grid{Bits: a.Bits + 1, Group: a.Group, Symmetric: true, ScaleType: tensor.Float16}); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Regrid(Grid{Bits: a.Bits + 1, Group: a.Group, LeastZero: 1, ScaleType: tensor.Float16}); err != nil {
				t.Fatal(err)
			}
		}
		b, err := a.AsBlocks()
		if err != nil {
			if a.Bits == 8 && a.Zeros != nil {
				return // differences of bytes take nine bits
			}
			t.Fatal(err)
		}
		sameValues(t, a, b, a.Rows, a.Cols)
		again, err := b.Affine()
		if err != nil {
			t.Fatal(err)
		}
		sameValues(t, b, again, a.Rows, a.Cols)
	})
}

func TestRegridRefuses(t *testing.T) {
	make := func(bits, group int, zeros []byte, index []int32, scales ...float32) *Affine {
		codes := slices.Repeat([]byte{0, 1<<bits - 1}, 32)
		a, err := NewAffine(bits, 1, 64, group, codes, scales, tensor.Float32, zeros, index)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	index := slices.Repeat([]int32{0, 1}, 32)
	for _, c := range []struct {
		a    *Affine
		g    Grid
		want string
	}{
		{make(4, 32, nil, nil, 1, 2), Grid{Bits: 4, Symmetric: true, ScaleType: tensor.Float16}, "scales of 1 and 2 in one group"},
		{make(4, 64, []byte{0}, nil, 1), Grid{Bits: 4, Symmetric: true, ScaleType: tensor.Float16}, "levels of 0 to 15"},
		{make(4, 64, []byte{0}, nil, 1), Grid{Bits: 4, LeastZero: 1, ScaleType: tensor.Float16}, "zero points of at least 1"},
		{make(4, 64, nil, nil, 1.0001), Grid{Bits: 4, Symmetric: true, ScaleType: tensor.Float16}, "is no float16"},
		{make(4, 32, nil, index, 1, 2), Grid{Bits: 4, Group: 16, Symmetric: true, ScaleType: tensor.Float16}, "an order of their own"},
	} {
		if _, err := c.a.Regrid(c.g); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v to %+v: %v, want %q", c.a.Scheme(), c.g, err, c.want)
		}
	}
	if _, err := make(4, 32, nil, index, 1, 2).AsBlocks(); err == nil || !strings.Contains(err.Error(), "order") {
		t.Error(err)
	}
}
