package hf

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// The GPTQ layout (AutoGPTQ, GPTQModel): codes packed along the inputs in 32-bit words, zero points along the outputs, in version 1 stored less
// one.

// wordsOf returns how many 32-bit words n codes of a number of bits take; 3 bits go without gaps through three words.
func wordsOf(n, bits int) int { return n * bits / 32 }

// putCode sets the i-th code of a run of words, each stride apart.
func putCode(words []uint32, stride, i, bits int, code uint32) {
	at := i * bits
	words[at/32*stride] |= code << (at % 32)
	if at%32+bits > 32 {
		words[(at/32+1)*stride] |= code >> (32 - at%32)
	}
}

func getCode(words []uint32, stride, i, bits int) byte {
	at := i * bits
	v := words[at/32*stride] >> (at % 32)
	if at%32+bits > 32 {
		v |= words[(at/32+1)*stride] << (32 - at%32)
	}
	return byte(v & (1<<bits - 1))
}

func int32s(words []uint32, shape tensor.Shape) *tensor.Tensor {
	return tensor.Of(shape, unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(words))), len(words)))
}

func uint32s(t *tensor.Tensor) []uint32 {
	out := make([]uint32, t.Len())
	for i, v := range tensor.Data[int32](t) {
		out[i] = uint32(v)
	}
	return out
}

// turnedScales are the scales [groups, rows] in float16.
func turnedScales(a *packed.Affine) *tensor.Tensor {
	g := a.Groups()
	out := make([]tensor.Half, g*a.Rows)
	column := make([]float32, a.Rows)
	for i := range g {
		for r := range a.Rows {
			column[r] = a.Scales[r*g+i]
		}
		kernel.F32ToF16(out[i*a.Rows:(i+1)*a.Rows], column)
	}
	return tensor.Of(tensor.Shape{g, a.Rows}, out)
}

// gptqLayout is the layout with zero points stored less so much.
func gptqLayout(name string, less int) layout {
	return layout{
		name: name,
		refuse: func(a *packed.Affine) string {
			switch {
			case a.Bits != 2 && a.Bits != 3 && a.Bits != 4 && a.Bits != 8:
				return fmt.Sprintf("%d bits; layout %s has 2, 3, 4 and 8", a.Bits, name)
			case a.Cols%32 != 0 || a.Rows%32 != 0:
				return fmt.Sprintf("%d inputs and %d outputs; layout %s has multiples of 32", a.Cols, a.Rows, name)
			}
			for _, z := range a.Zeros {
				if int(z) < less {
					return fmt.Sprintf("a zero point of 0, which layout %s, that stores it less one, cannot hold; gptq_v2 can", name)
				}
			}
			return ""
		},
		parts: []part{
			{
				end: "qweight", dtype: tensor.Int32,
				shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{wordsOf(a.Cols, a.Bits), a.Rows} },
				data: func(a *packed.Affine) *tensor.Tensor {
					words := make([]uint32, wordsOf(a.Cols, a.Bits)*a.Rows)
					row := make([]byte, a.Cols)
					for r := range a.Rows {
						a.RowCodes(row, r)
						for c, q := range row {
							putCode(words[r:], a.Rows, c, a.Bits, uint32(q))
						}
					}
					return int32s(words, tensor.Shape{wordsOf(a.Cols, a.Bits), a.Rows})
				},
			},
			{
				end: "qzeros", dtype: tensor.Int32,
				shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Groups(), wordsOf(a.Rows, a.Bits)} },
				data: func(a *packed.Affine) *tensor.Tensor {
					width := wordsOf(a.Rows, a.Bits)
					words := make([]uint32, a.Groups()*width)
					for g := range a.Groups() {
						for r := range a.Rows {
							putCode(words[g*width:], 1, r, a.Bits, uint32(int(a.Zero(r, g))-less))
						}
					}
					return int32s(words, tensor.Shape{a.Groups(), width})
				},
			},
			{end: "scales", dtype: tensor.Float16, shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Groups(), a.Rows} }, data: turnedScales},
			{
				end: "g_idx", dtype: tensor.Int32,
				shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Cols} },
				data: func(a *packed.Affine) *tensor.Tensor {
					out := make([]int32, a.Cols)
					for c := range out {
						if out[c] = int32(c / a.Group); a.Index != nil {
							out[c] = a.Index[c]
						}
					}
					return tensor.Of(tensor.Shape{a.Cols}, out)
				},
			},
		},
		config: func(d *described) map[string]any {
			c := map[string]any{
				"quant_method": "gptq", "bits": d.Bits, "group_size": groupSize(d.Scheme), "desc_act": d.Reordered, "sym": d.Symmetric, "damp_percent": 0.01,
				"static_groups": false, "true_sequential": true, "checkpoint_format": name, "lm_head": slices.Contains(d.coded, headModule), "model_name_or_path": nil, "model_file_base_name": "model",
			}
			// Loaders take every linear layer of a block for one of codes unless told otherwise: GPTQModel by patterns, transformers and vLLM by a list.
			left := map[string]any{}
			for _, m := range unquantized(d.coded, d.kept) {
				if m != headModule {
					left["-:^"+regexp.QuoteMeta(m)+"$"] = map[string]any{}
				}
			}
			if len(left) > 0 {
				c["dynamic"], c["modules_in_block_to_quantize"] = left, [][]string{d.inBlocks()}
			}
			for _, k := range []string{"damp_percent", "static_groups", "meta"} {
				if v, ok := d.settings[k]; ok {
					c[k] = v
				}
			}
			return c
		},
	}
}

// inBlocks names the modules of codes: as they are called inside a block where that says which they are, else each by its whole name.
func (d *described) inBlocks() []string {
	inside := func(name string) string {
		parts := strings.Split(name, ".")
		for i, p := range parts {
			if _, err := strconv.Atoi(p); err == nil {
				return strings.Join(parts[i+1:], ".")
			}
		}
		return name
	}
	names := map[string]bool{}
	coded := slices.DeleteFunc(slices.Clone(d.coded), func(m string) bool { return m == headModule }) // which has a key of its own
	for _, m := range coded {
		names[inside(m)] = true
	}
	for _, m := range d.kept {
		if names[inside(m)] {
			return coded
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// groupSize is a group as configurations write it.
func groupSize(s tensor.Scheme) int {
	if s.Group == 0 {
		return -1
	}
	return s.Group
}

// readGPTQ is the layout's entry in the table of those that can be read.
func readGPTQ(config map[string]any, w *Weights) (arch.Weights, error) {
	n := &numbers{config: config}
	bits, group := n.integer(0, "bits", "w_bit"), n.integer(-1, "group_size", "q_group_size")
	symmetric := n.boolean(true, "sym")
	format := n.text("gptq", "checkpoint_format")
	if len(n.errs) > 0 {
		return nil, n.errs[0]
	}
	if bits != 2 && bits != 3 && bits != 4 && bits != 8 {
		return nil, fmt.Errorf("quantization_config: bits: want 2, 3, 4 or 8, found %d", bits)
	}
	if format != "gptq" && format != "gptq_v2" {
		return nil, fmt.Errorf("quantization_config: checkpoint_format: want gptq or gptq_v2, found %q", format)
	}
	if group == 0 || group < -1 {
		return nil, fmt.Errorf("quantization_config: group_size: want -1 or more than 0, found %d", group)
	}
	return coded(w, []string{"qweight", "qzeros", "scales", "g_idx"}, func(_ string, t []tensor.Source) (tensor.Source, error) {
		if err := wants("qweight", t[0], nil, tensor.Int32); err != nil {
			return nil, err
		}
		s := t[0].Shape()
		if len(s) != 2 || s[0] < 1 || s[1] < 1 || s[0]*32%bits != 0 {
			return nil, fmt.Errorf("qweight has shape %v; want [inputs*%d/32, outputs]", []int(s), bits)
		}
		cols, rows := s[0]*32/bits, s[1]
		size := group
		if size < 0 || size > cols {
			size = cols
		}
		groups := (cols + size - 1) / size
		if err := wants("qzeros", t[1], tensor.Shape{groups, wordsOf(rows, bits)}, tensor.Int32); err != nil {
			return nil, err
		}
		if err := wants("scales", t[2], tensor.Shape{groups, rows}, tensor.Float16, tensor.BFloat16, tensor.Float32); err != nil {
			return nil, err
		}
		if t[3] != nil {
			if err := wants("g_idx", t[3], tensor.Shape{cols}, tensor.Int32); err != nil {
				return nil, err
			}
		}
		return newCoded(rows, cols, t, func(t []*tensor.Tensor) (*packed.Affine, error) {
			return joinGPTQ(t, bits, rows, cols, size, symmetric, format == "gptq")
		}), nil
	})
}

func joinGPTQ(t []*tensor.Tensor, bits, rows, cols, group int, symmetric, lessOne bool) (*packed.Affine, error) {
	groups := (cols + group - 1) / group
	words, zeroWords := uint32s(t[0]), uint32s(t[1])
	scales, err := t[2].Floats()
	if err != nil {
		return nil, err
	}
	codes := make([]byte, rows*cols)
	for r := range rows {
		for c := range cols {
			codes[r*cols+c] = getCode(words[r:], rows, c, bits)
		}
	}
	width := wordsOf(rows, bits)
	fields := make([]byte, rows*groups)
	middle, below := true, true // whether all fields are the middle code, and that less one
	for g := range groups {
		for r := range rows {
			f := getCode(zeroWords[g*width:], 1, r, bits)
			fields[r*groups+g] = f
			middle, below = middle && f == 1<<(bits-1), below && f == 1<<(bits-1)-1
		}
	}
	// Files of symmetric codes tell their version themselves: some say the other.
	if symmetric && (middle || below) {
		fields = nil
	}
	turned := make([]float32, rows*groups)
	for g := range groups {
		for r := range rows {
			turned[r*groups+g] = scales[g*rows+r]
		}
	}
	if lessOne {
		for i, f := range fields {
			if int(f) == 1<<bits-1 {
				return nil, fmt.Errorf("a zero point field of %d, which stands for %d: more than %d bits hold", f, int(f)+1, bits)
			}
			fields[i] = f + 1
		}
	}
	var index []int32
	if t[3] != nil {
		given := tensor.Data[int32](t[3])
		for c, g := range given {
			if int(g) != c/group {
				index = given
				break
			}
		}
	}
	return packed.NewAffine(bits, rows, cols, group, codes, turned, t[2].DType, fields, index)
}
