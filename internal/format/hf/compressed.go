package hf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// compressedLayout is the pack-quantized layout of compressed-tensors, which vLLM and llm-compressor have: codes packed along the inputs
// of each row, in words of 32 bits that no code straddles.
var compressedLayout = layout{
	name: "compressed-tensors",
	refuse: func(a *packed.Affine) string {
		if a.Index == nil && a.Groups() > 1 && a.Cols%a.Group != 0 {
			return fmt.Sprintf("%d inputs; layout compressed-tensors has multiples of the group, %d", a.Cols, a.Group)
		}
		return ""
	},
	parts: []part{
		{
			end: "weight_packed", dtype: tensor.Int32,
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Rows, padded(a.Cols, a.Bits)} },
			data: func(a *packed.Affine) *tensor.Tensor {
				per, width := 32/a.Bits, padded(a.Cols, a.Bits)
				words := make([]uint32, a.Rows*width)
				row := make([]byte, a.Cols)
				for r := range a.Rows {
					a.RowCodes(row, r)
					for c, q := range row {
						words[r*width+c/per] |= uint32(q) << (c % per * a.Bits)
					}
				}
				return int32s(words, tensor.Shape{a.Rows, width})
			},
		},
		{
			end: "weight_scale", dtype: tensor.Float16,
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Rows, a.Groups()} },
			data: func(a *packed.Affine) *tensor.Tensor {
				out := make([]tensor.Half, len(a.Scales))
				kernel.F32ToF16(out, a.Scales)
				return tensor.Of(tensor.Shape{a.Rows, a.Groups()}, out)
			},
		},
		{
			end: "weight_zero_point", dtype: tensor.Int32, has: func(a *packed.Affine) bool { return a.Zeros != nil },
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{padded(a.Rows, a.Bits), a.Groups()} },
			data: func(a *packed.Affine) *tensor.Tensor {
				per, groups := 32/a.Bits, a.Groups()
				words := make([]uint32, padded(a.Rows, a.Bits)*groups)
				for r := range a.Rows {
					for g := range groups {
						words[r/per*groups+g] |= uint32(a.Zero(r, g)) << (r % per * a.Bits)
					}
				}
				return int32s(words, tensor.Shape{padded(a.Rows, a.Bits), groups})
			},
		},
		{
			end: "weight_g_idx", dtype: tensor.Int32, has: func(a *packed.Affine) bool { return a.Index != nil },
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Cols} },
			data:  func(a *packed.Affine) *tensor.Tensor { return tensor.Of(tensor.Shape{a.Cols}, a.Index) },
		},
		{
			end: "weight_shape", dtype: tensor.Int64,
			shape: func(*packed.Affine) tensor.Shape { return tensor.Shape{2} },
			data:  func(a *packed.Affine) *tensor.Tensor { return tensor.Vector(int64(a.Rows), int64(a.Cols)) },
		},
	},
	config: func(a *packed.Affine, kept []string, _ map[string]any) map[string]any {
		weights := map[string]any{
			"num_bits": a.Bits, "type": "int", "symmetric": a.Zeros == nil, "strategy": "group", "group_size": a.Group, "dynamic": false,
			"actorder": nil, "block_structure": nil, "observer": "minmax", "observer_kwargs": map[string]any{},
		}
		if a.Groups() == 1 {
			weights["strategy"], weights["group_size"] = "channel", nil
		}
		if a.Index != nil {
			weights["actorder"] = "group"
		}
		return map[string]any{
			"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
			"global_compression_ratio": nil, "kv_cache_scheme": nil, "ignore": append([]string{}, unquantized(kept)...),
			"config_groups": map[string]any{"group_0": map[string]any{
				"targets": []string{"Linear"}, "input_activations": nil, "output_activations": nil, "weights": weights,
			}},
		}
	},
}

// padded is how many words n codes take of which none straddles two.
func padded(n, bits int) int { return (n + 32/bits - 1) / (32 / bits) }

// unquantized are the modules of a list that loaders would look for codes of: all but embeddings, and the head where the list has it.
func unquantized(modules []string) []string {
	var out []string
	head := false
	for _, m := range modules {
		last := m[strings.LastIndexByte(m, '.')+1:]
		if strings.Contains(last, "embed") || slices.Contains([]string{"wte", "wpe", "embed_in"}, last) {
			continue
		}
		head = head || m == "lm_head"
		out = append(out, m)
	}
	if !head {
		out = append(out, "lm_head")
	}
	return out
}

// readCompressed is the layout's entry in the table of those that can be read.
func readCompressed(config map[string]any, w *Weights) (arch.Weights, error) {
	n := &numbers{config: config}
	format := n.text("", "format")
	if format != "pack-quantized" {
		return nil, fmt.Errorf("quantization_config: compressed-tensors of format %q; want pack-quantized", format)
	}
	groups, _ := config["config_groups"].(map[string]any)
	if len(groups) != 1 {
		return nil, fmt.Errorf("quantization_config: %d config_groups; want 1", len(groups))
	}
	var scheme map[string]any
	for _, g := range groups {
		m, _ := g.(map[string]any)
		if m["input_activations"] != nil {
			return nil, fmt.Errorf("quantization_config: quantized activations in format %q", format)
		}
		scheme, _ = m["weights"].(map[string]any)
	}
	s := &numbers{config: scheme}
	bits := s.integer(0, "num_bits")
	size := s.integer(-1, "group_size")
	if kind := s.text("", "type"); kind != "int" || bits < 2 || bits > 8 {
		return nil, fmt.Errorf("quantization_config: weights of %d bits of type %q; want int of 2 to 8", bits, kind)
	}
	if len(s.errs) > 0 {
		return nil, s.errs[0]
	}
	return coded(w, []string{"weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx", "weight_shape"}, func(_ string, t []tensor.Source) (tensor.Source, error) {
		if err := wants("weight_shape", t[4], tensor.Shape{2}, tensor.Int64, tensor.Int32); err != nil {
			return nil, err
		}
		shape, err := t[4].Load()
		if err != nil {
			return nil, err
		}
		f, err := shape.Float64s()
		if err != nil {
			return nil, err
		}
		if !(f[0] >= 1 && f[0] < 1<<30 && f[1] >= 1 && f[1] < 1<<30) {
			return nil, fmt.Errorf("weight_shape says %v", f)
		}
		rows, cols := int(f[0]), int(f[1])
		group := size
		if group < 1 || group > cols {
			group = cols
		}
		groups := (cols + group - 1) / group
		if err := wants("weight_packed", t[0], tensor.Shape{rows, padded(cols, bits)}, tensor.Int32); err != nil {
			return nil, err
		}
		if err := wants("weight_scale", t[1], tensor.Shape{rows, groups}, tensor.Float16, tensor.BFloat16, tensor.Float32); err != nil {
			return nil, err
		}
		if t[2] != nil {
			if err := wants("weight_zero_point", t[2], tensor.Shape{padded(rows, bits), groups}, tensor.Int32); err != nil {
				return nil, err
			}
		}
		if t[3] != nil {
			if err := wants("weight_g_idx", t[3], tensor.Shape{cols}, tensor.Int32); err != nil {
				return nil, err
			}
		}
		return &codedSource{tensor.Shape{rows, cols}, t[:4], func(t []*tensor.Tensor) (*packed.Affine, error) {
			per, width, mask := 32/bits, padded(cols, bits), uint32(1)<<bits-1
			words := uint32s(t[0])
			codes := make([]byte, rows*cols)
			for i := range codes {
				r, c := i/cols, i%cols
				codes[i] = byte(words[r*width+c/per] >> (c % per * bits) & mask)
			}
			scales, err := t[1].Floats()
			if err != nil {
				return nil, err
			}
			var zeros []byte
			if t[2] != nil {
				words := uint32s(t[2])
				zeros = make([]byte, rows*groups)
				for i := range zeros {
					r, g := i/groups, i%groups
					zeros[i] = byte(words[r/per*groups+g] >> (r % per * bits) & mask)
				}
			}
			var index []int32
			if t[3] != nil {
				index = tensor.Data[int32](t[3])
			}
			return packed.NewAffine(bits, rows, cols, group, codes, slices.Clone(scales), t[1].DType, zeros, index)
		}}, nil
	})
}
