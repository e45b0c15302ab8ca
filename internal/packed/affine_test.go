package packed

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

func TestAffine(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for bits := 1; bits <= 8; bits++ {
		for _, cols := range []int{0, 1, 7, 8, 33, 128} {
			for _, group := range []int{1, 5, 32, 128} {
				const rows = 3
				groups := (cols + group - 1) / group
				codes, scales, zeros := make([]byte, rows*cols), make([]float32, rows*groups), make([]byte, rows*groups)
				for i := range codes {
					codes[i] = byte(r.IntN(1 << bits))
				}
				for i := range scales {
					scales[i], zeros[i] = r.Float32(), byte(r.IntN(1<<bits))
				}
				var index []int32
				if group == 5 {
					for range cols {
						index = append(index, int32(r.IntN(groups)))
					}
				}
				if group == 32 {
					zeros = nil
				}
				a, err := NewAffine(bits, rows, cols, group, codes, scales, tensor.Float16, zeros, index)
				if err != nil {
					t.Fatal(err)
				}
				row, back := make([]float32, cols), make([]byte, cols)
				for i := range rows {
					a.Row(row, i)
					a.RowCodes(back, i)
					if !bytes.Equal(back, codes[i*cols:(i+1)*cols]) {
						t.Fatalf("%d bits, %d columns: codes of row %d differ", bits, cols, i)
					}
					for c, v := range row {
						g := c / group
						if index != nil {
							g = int(index[c])
						}
						zero := byte(1 << (bits - 1))
						if zeros != nil {
							zero = zeros[i*groups+g]
						}
						if want := scales[i*groups+g] * (float32(back[c]) - float32(zero)); v != want {
							t.Fatalf("%d bits, row %d, column %d: %v, want %v", bits, i, c, v, want)
						}
					}
				}
				if s := a.Scheme(); s.Bits != bits || s.Symmetric != (zeros == nil) || s.Reordered != (index != nil) {
					t.Errorf("scheme %+v", s)
				}
			}
		}
	}
}

func TestAffineRefuses(t *testing.T) {
	one := []float32{1, 1}
	for name, err := range map[string]error{
		"a code of 16 in 4 bits":  second(NewAffine(4, 1, 2, 1, []byte{1, 16}, one, tensor.Float16, nil, nil)),
		"too few codes":           second(NewAffine(4, 1, 2, 1, []byte{1}, one, tensor.Float16, nil, nil)),
		"9 bits":                  second(NewAffine(9, 1, 2, 1, []byte{1, 1}, one, tensor.Float16, nil, nil)),
		"too few scales":          second(NewAffine(4, 1, 2, 1, []byte{1, 1}, one[:1], tensor.Float16, nil, nil)),
		"a zero point of 16":      second(NewAffine(4, 1, 2, 1, []byte{1, 1}, one, tensor.Float16, []byte{16, 0}, nil)),
		"a column of group 2":     second(NewAffine(4, 1, 2, 1, []byte{1, 1}, one, tensor.Float16, nil, []int32{0, 2})),
		"groups of no columns":    second(NewAffine(4, 1, 2, 0, []byte{1, 1}, one, tensor.Float16, nil, nil)),
		"an index for one column": second(NewAffine(4, 1, 2, 1, []byte{1, 1}, one, tensor.Float16, nil, []int32{0})),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func second(_ *Affine, err error) error { return err }
