package hf

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// int8Layout is the int-quantized layout of compressed-tensors: 8-bit weights with a scale for each output, and activations that are rounded
// to 8 bits by tokens when a product is computed.
var int8Layout = &roundedLayout{compressedLayout.name, func(r *packed.Rounded, add addPart) {
	rows, cols := r.Shape()[0], r.Shape()[1]
	add("weight", tensor.Int8, func(p tensor.Packed) (*tensor.Tensor, error) {
		return tensor.FromBytes(tensor.Int8, tensor.Shape{rows, cols}, p.(*packed.RowInt8).Codes)
	}, rows, cols)
	add("weight_scale", r.Scales, func(p tensor.Packed) (*tensor.Tensor, error) {
		return floatsAs(r.Scales, p.(*packed.RowInt8).Scales, rows, 1), nil
	}, rows, 1)
}, func(_ packed.Rounding, coded, kept []string, _ map[string]any) map[string]any {
	args := func(strategy string, dynamic bool) map[string]any {
		a := map[string]any{
			"num_bits": 8, "type": "int", "symmetric": true, "strategy": strategy, "group_size": nil, "dynamic": dynamic,
			"actorder": nil, "block_structure": nil, "observer": "minmax", "observer_kwargs": map[string]any{},
		}
		if dynamic {
			a["observer"] = nil
		}
		return a
	}
	return compressedConfig("int-quantized", args("channel", false), args("token", true), unquantized(coded, kept))
}}

// isRounded reports whether a tensor is a matrix that [int8Layout] stores.
func isRounded(e model.Entry) bool {
	r, ok := e.Source.(*packed.Rounded)
	return ok && r.Scales != tensor.Invalid
}

// readCompressedInt8 reads matrices of 8-bit codes: where activations are rounded, by tokens, else of weights alone.
func readCompressedInt8(scheme, activations map[string]any, w *Weights) (arch.Weights, error) {
	s := &numbers{config: scheme}
	bits, symmetric, strategy := s.integer(0, "num_bits"), s.boolean(true, "symmetric"), s.text("", "strategy")
	var errs []error
	if bits != 8 || !symmetric || strategy != "channel" {
		errs = append(errs, fmt.Errorf("weights of %d bits, symmetric %v, by %s; want 8 bits, symmetric, by channel", bits, symmetric, strategy))
	}
	if activations != nil {
		a := &numbers{config: activations}
		bits, symmetric, strategy, dynamic := a.integer(0, "num_bits"), a.boolean(true, "symmetric"), a.text("", "strategy"), a.boolean(false, "dynamic")
		if bits != 8 || !symmetric || strategy != "token" || !dynamic {
			errs = append(errs, fmt.Errorf("activations of %d bits, symmetric %v, by %s, dynamic %v; want 8 bits, symmetric, by token, dynamic", bits, symmetric, strategy, dynamic))
		}
		errs = append(errs, a.errs...)
	}
	if err := errors.Join(append(errs, s.errs...)...); err != nil {
		return nil, fmt.Errorf("quantization_config: int-quantized: %w", err)
	}
	return coded(w, []string{"weight_scale", "weight_zero_point", "weight"}, func(_ string, t []tensor.Source) (tensor.Source, error) {
		if err := wants("weight", t[2], nil, tensor.Int8); err != nil {
			return nil, err
		}
		shape := t[2].Shape()
		if len(shape) != 2 {
			return nil, fmt.Errorf("weight: want a matrix, found shape %v", []int(shape))
		}
		rows, cols := shape[0], shape[1]
		if err := wants("weight_scale", t[0], tensor.Shape{rows, 1}, tensor.Float16, tensor.BFloat16, tensor.Float32); err != nil {
			return nil, err
		}
		if activations == nil {
			return newCoded(rows, cols, t, func(t []*tensor.Tensor) (*packed.Affine, error) {
				scales, err := t[0].Floats()
				if err != nil {
					return nil, err
				}
				codes := make([]byte, rows*cols)
				for i, c := range t[2].Bytes() {
					codes[i] = c + 128
				}
				return packed.NewAffine(8, rows, cols, max(cols, 1), codes, scales, t[0].DType, nil, nil)
			}), nil
		}
		if t[1] != nil {
			return nil, errors.New("weight_zero_point: codes that the configuration calls symmetric have none")
		}
		return &joinedSource{shape, t, func(t []*tensor.Tensor) (tensor.Packed, error) {
			scales, err := t[0].Floats()
			if err != nil {
				return nil, err
			}
			m := &packed.RowInt8{Rows: rows, Cols: cols, Codes: t[2].Bytes(), Scales: scales, ScaleType: t[0].DType}
			return m, m.Check()
		}}, nil
	})
}
