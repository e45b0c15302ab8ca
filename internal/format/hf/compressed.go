package hf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// compressedLayout is the pack-quantized layout of compressed-tensors, which vLLM and llm-compressor have: codes packed along the inputs
// of each row, zero points along the outputs, without gaps.
var compressedLayout = layout{
	name: "compressed-tensors",
	refuse: func(a *packed.Affine) string {
		switch {
		case a.Index != nil:
			return "columns in an order of their own, which compressed-tensors has given up; with static_groups they need none"
		case a.Groups() > 1 && a.Cols%a.Group != 0:
			return fmt.Sprintf("%d inputs; layout compressed-tensors has multiples of the group, %d", a.Cols, a.Group)
		}
		return ""
	},
	parts: []part{
		{
			end: "weight_packed", dtype: tensor.Int32,
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Rows, wordsFor(a.Cols, a.Bits)} },
			data: func(a *packed.Affine) *tensor.Tensor {
				width := wordsFor(a.Cols, a.Bits)
				words := make([]uint32, a.Rows*width)
				row := make([]byte, a.Cols)
				for r := range a.Rows {
					a.RowCodes(row, r)
					for c, q := range row {
						putCode(words[r*width:(r+1)*width], 1, c, a.Bits, uint32(q))
					}
				}
				return int32s(words, tensor.Shape{a.Rows, width})
			},
		},
		{
			end: "weight_scale", dtype: tensor.Float16, typed: func(a *packed.Affine) tensor.DType { return a.ScaleType },
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{a.Rows, a.Groups()} },
			data:  func(a *packed.Affine) *tensor.Tensor { return floatsAs(a.ScaleType, a.Scales, a.Rows, a.Groups()) },
		},
		{
			end: "weight_zero_point", dtype: tensor.Int32, has: func(a *packed.Affine) bool { return a.Zeros != nil },
			shape: func(a *packed.Affine) tensor.Shape { return tensor.Shape{wordsFor(a.Rows, a.Bits), a.Groups()} },
			data: func(a *packed.Affine) *tensor.Tensor {
				groups := a.Groups()
				words := make([]uint32, wordsFor(a.Rows, a.Bits)*groups)
				for r := range a.Rows {
					for g := range groups {
						putCode(words[g:], groups, r, a.Bits, uint32(a.Zero(r, g)))
					}
				}
				return int32s(words, tensor.Shape{wordsFor(a.Rows, a.Bits), groups})
			},
		},
		{
			end: "weight_shape", dtype: tensor.Int64,
			shape: func(*packed.Affine) tensor.Shape { return tensor.Shape{2} },
			data:  func(a *packed.Affine) *tensor.Tensor { return tensor.Vector(int64(a.Rows), int64(a.Cols)) },
		},
	},
	config: func(d *described) map[string]any {
		weights := map[string]any{
			"num_bits": d.Bits, "type": "int", "symmetric": d.Symmetric, "strategy": "group", "group_size": d.Group, "dynamic": false,
			"actorder": nil, "block_structure": nil, "observer": "minmax", "observer_kwargs": map[string]any{},
		}
		if d.Group == 0 {
			weights["strategy"], weights["group_size"] = "channel", nil
		}
		return compressedConfig("pack-quantized", weights, nil, unquantized(d.coded, d.kept))
	},
}

// compressedConfig is the quantization_config of compressed-tensors; activations may be nil. left are the modules that loaders have to leave alone.
func compressedConfig(format string, weights, activations map[string]any, left []string) map[string]any {
	group := map[string]any{"targets": []string{"Linear"}, "input_activations": nil, "output_activations": nil, "weights": weights}
	if activations != nil {
		group["input_activations"] = activations
	}
	return map[string]any{
		"quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", "global_compression_ratio": nil,
		"kv_cache_scheme": nil, "ignore": append([]string{}, left...), "config_groups": map[string]any{"group_0": group},
	}
}

// wordsFor is how many words n codes take that follow each other without gaps, the last filled up.
func wordsFor(n, bits int) int { return (n*bits + 31) / 32 }

// gapped is how many words they take where none straddles two, as earlier versions of compressed-tensors have 3, 5, 6 and 7 bits.
func gapped(n, bits int) int { return (n + 32/bits - 1) / (32 / bits) }

// gappedCode is the i-th code of such words, each stride apart.
func gappedCode(words []uint32, stride, i, bits int) byte {
	per := 32 / bits
	return byte(words[i/per*stride] >> (i % per * bits) & (1<<bits - 1))
}

// floatsAs are values as a tensor of an element type.
func floatsAs(d tensor.DType, v []float32, shape ...int) *tensor.Tensor {
	t := tensor.Of(tensor.Shape(shape), v)
	if d == tensor.Float32 {
		return t
	}
	wide, err := t.Float64s()
	if err == nil {
		t, err = tensor.FromFloat64s(d, t.Shape, wide)
	}
	if err != nil {
		panic(err) // not a type that scales have
	}
	return t
}

// headModule is what loaders call the linear layer that gives logits.
const headModule = "lm_head"

// unquantized are the modules of those kept in float that loaders would look for codes of: all but embeddings. The head is among them, also
// where the embedding is its weight, unless it is one of those in codes.
func unquantized(coded, kept []string) []string {
	var out []string
	head := slices.Contains(coded, headModule)
	for _, m := range kept {
		last := m[strings.LastIndexByte(m, '.')+1:]
		if strings.Contains(last, "embed") || slices.Contains([]string{"wte", "wpe", "embed_in"}, last) {
			continue
		}
		head = head || m == headModule
		out = append(out, m)
	}
	if !head {
		out = append(out, headModule)
	}
	return out
}

// readCompressed is the layout's entry in the table of those that can be read.
func readCompressed(config map[string]any, w *Weights) (arch.Weights, error) {
	n := &numbers{config: config}
	format := n.text("", "format")
	if format != "pack-quantized" && format != "int-quantized" {
		return nil, fmt.Errorf("quantization_config: compressed-tensors of format %q; want pack-quantized or int-quantized", format)
	}
	groups, _ := config["config_groups"].(map[string]any)
	if len(groups) != 1 {
		return nil, fmt.Errorf("quantization_config: %d config_groups; want 1", len(groups))
	}
	var scheme, activations map[string]any
	for _, g := range groups {
		m, _ := g.(map[string]any)
		activations, _ = m["input_activations"].(map[string]any)
		scheme, _ = m["weights"].(map[string]any)
	}
	if format == "int-quantized" {
		return readCompressedInt8(scheme, activations, w)
	}
	if activations != nil {
		return nil, fmt.Errorf("quantization_config: quantized activations in format %q", format)
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
		if err := wants("weight_packed", t[0], nil, tensor.Int32); err != nil {
			return nil, err
		}
		get, width, wide := getCode, wordsFor(cols, bits), wordsFor(rows, bits)
		if t[0].Shape().Equal(tensor.Shape{rows, gapped(cols, bits)}) && gapped(cols, bits) != width {
			get, width, wide = gappedCode, gapped(cols, bits), gapped(rows, bits)
		}
		if err := wants("weight_packed", t[0], tensor.Shape{rows, width}, tensor.Int32); err != nil {
			return nil, err
		}
		if err := wants("weight_scale", t[1], tensor.Shape{rows, groups}, tensor.Float16, tensor.BFloat16, tensor.Float32); err != nil {
			return nil, err
		}
		if t[2] != nil {
			if err := wants("weight_zero_point", t[2], tensor.Shape{wide, groups}, tensor.Int32); err != nil {
				return nil, err
			}
		}
		if t[3] != nil {
			if err := wants("weight_g_idx", t[3], tensor.Shape{cols}, tensor.Int32); err != nil {
				return nil, err
			}
		}
		return newCoded(rows, cols, t[:4], func(t []*tensor.Tensor) (*packed.Affine, error) {
			words := uint32s(t[0])
			codes := make([]byte, rows*cols)
			for r := range rows {
				for c := range cols {
					codes[r*cols+c] = get(words[r*width:(r+1)*width], 1, c, bits)
				}
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
					zeros[i] = get(words[i%groups:], groups, i/groups, bits)
				}
			}
			var index []int32
			if t[3] != nil {
				index = tensor.Data[int32](t[3])
			}
			return packed.NewAffine(bits, rows, cols, group, codes, slices.Clone(scales), t[1].DType, zeros, index)
		}), nil
	})
}
