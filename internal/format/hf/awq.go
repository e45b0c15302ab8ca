package hf

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// awqOrder says which of eight output columns lies in each nibble of a word of AutoAWQ's GEMM layout.
var awqOrder = [8]int{0, 2, 4, 6, 1, 3, 5, 7}

// awqLayout is AutoAWQ's GEMM layout: 4-bit codes packed along the outputs, zero points as they are.
var awqLayout = layout{
	name: "awq",
	refuse: func(a *packed.Affine) string {
		switch {
		case a.Bits != 4:
			return fmt.Sprintf("%d bits; layout awq has 4", a.Bits)
		case a.Index != nil:
			return "columns in an order of their own, which layout awq has no index for"
		case a.Rows%8 != 0:
			return fmt.Sprintf("%d outputs; layout awq has multiples of 8", a.Rows)
		case a.Cols%a.Group != 0:
			return fmt.Sprintf("%d inputs; layout awq has multiples of the group, %d", a.Cols, a.Group)
		}
		return ""
	},
	parts: []part{
		{
			end: "qweight", dtype: tensor.Int32,
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Cols, a.Rows / 8} },
			data: func(a *packed.Affine) *tensor.Tensor {
				words := make([]uint32, a.Cols*a.Rows/8)
				row := make([]byte, a.Cols)
				for r := range a.Rows {
					a.RowCodes(row, r)
					shift := awqShift(r)
					for c, q := range row {
						words[c*(a.Rows/8)+r/8] |= uint32(q) << shift
					}
				}
				return int32s(words, tensor.Shape{a.Cols, a.Rows / 8})
			},
		},
		{
			end: "qzeros", dtype: tensor.Int32,
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Groups(), a.Rows / 8} },
			data: func(a *packed.Affine) *tensor.Tensor {
				words := make([]uint32, a.Groups()*a.Rows/8)
				for g := range a.Groups() {
					for r := range a.Rows {
						words[g*(a.Rows/8)+r/8] |= uint32(a.Zero(r, g)) << awqShift(r)
					}
				}
				return int32s(words, tensor.Shape{a.Groups(), a.Rows / 8})
			},
		},
		{end: "scales", dtype: tensor.Float16, shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Groups(), a.Rows} }, data: turnedScales},
	},
	config: func(d *described) map[string]any {
		c := map[string]any{"quant_method": "awq", "bits": 4, "group_size": groupSize(d.Scheme), "zero_point": true, "version": "gemm", "modules_to_not_convert": nil}
		if slices.Contains(d.coded, headModule) {
			c["lm_head"] = true
		}
		if list := unquantized(d.coded, d.kept); len(list) > 0 {
			c["modules_to_not_convert"] = list
		}
		return c
	},
}

// awqShift is where the code of an output lies in its word.
func awqShift(row int) int {
	for nibble, c := range awqOrder {
		if c == row%8 {
			return 4 * nibble
		}
	}
	return 0
}

// readAWQ is the layout's entry in the table of those that can be read.
func readAWQ(config map[string]any, w *Weights) (arch.Weights, error) {
	n := &numbers{config: config}
	bits, group, version := n.integer(0, "bits", "w_bit"), n.integer(0, "group_size", "q_group_size"), n.text("gemm", "version")
	if len(n.errs) > 0 {
		return nil, n.errs[0]
	}
	if bits != 4 || version != "gemm" {
		return nil, fmt.Errorf("quantization_config: AWQ of %d bits in version %q; want 4 bits in version gemm", bits, version)
	}
	return coded(w, []string{"qweight", "qzeros", "scales"}, func(_ string, t []tensor.Source) (tensor.Source, error) {
		if err := wants("qweight", t[0], nil, tensor.Int32); err != nil {
			return nil, err
		}
		s := t[0].Shape()
		if len(s) != 2 || s[0] < 1 || s[1] < 1 {
			return nil, fmt.Errorf("qweight has shape %v; want [inputs, outputs/8]", []int(s))
		}
		cols, rows := s[0], s[1]*8
		size := group
		if size < 1 {
			size = cols
		}
		groups := (cols + size - 1) / size
		if err := wants("qzeros", t[1], tensor.Shape{groups, rows / 8}, tensor.Int32); err != nil {
			return nil, err
		}
		if err := wants("scales", t[2], tensor.Shape{groups, rows}, tensor.Float16, tensor.BFloat16, tensor.Float32); err != nil {
			return nil, err
		}
		return newCoded(rows, cols, t, func(t []*tensor.Tensor) (*packed.Affine, error) {
			words, zeroWords := uint32s(t[0]), uint32s(t[1])
			scales, err := t[2].Floats()
			if err != nil {
				return nil, err
			}
			codes, zeros, turned := make([]byte, rows*cols), make([]byte, rows*groups), make([]float32, rows*groups)
			middle := true
			for r := range rows {
				shift := awqShift(r)
				for c := range cols {
					codes[r*cols+c] = byte(words[c*(rows/8)+r/8] >> shift & 15)
				}
				for g := range groups {
					zeros[r*groups+g], turned[r*groups+g] = byte(zeroWords[g*(rows/8)+r/8]>>shift&15), scales[g*rows+r]
					middle = middle && zeros[r*groups+g] == 8
				}
			}
			if middle {
				zeros = nil
			}
			return packed.NewAffine(4, rows, cols, size, codes, turned, t[2].DType, zeros, nil)
		}), nil
	})
}
