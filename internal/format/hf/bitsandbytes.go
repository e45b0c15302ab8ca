package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// bitsAndBytes is the layout of bitsandbytes: 4-bit weights with their scales and a description in JSON, or 8-bit weights with a scale a row.
const bitsAndBytes = "bitsandbytes"

const quantStateEnd = "weight.quant_state.bitsandbytes__"

// quantState describes a 4-bit weight.
type quantState struct {
	Type         string   `json:"quant_type"`
	Block        int      `json:"blocksize"`
	DType        string   `json:"dtype"`
	Shape        []int    `json:"shape"`
	NestedBlock  int      `json:"nested_blocksize,omitempty"`
	NestedDType  string   `json:"nested_dtype,omitempty"`
	NestedOffset *float64 `json:"nested_offset,omitempty"`
}

// bitsAndBytesLayout is the layout's entry for writing.
var bitsAndBytesLayout = &roundedLayout{bitsAndBytes, func(r *packed.Rounded, add addPart) {
	if r.Type == nil {
		addInt8(r, add)
	} else {
		addFourBit(r, add)
	}
}, bitsAndBytesConfig}

func addInt8(r *packed.Rounded, add addPart) {
	rows, cols := r.Shape()[0], r.Shape()[1]
	add("weight", tensor.Int8, func(p tensor.Packed) (*tensor.Tensor, error) {
		return tensor.FromBytes(tensor.Int8, tensor.Shape{rows, cols}, p.(*packed.RowInt8).Codes)
	}, rows, cols)
	add("SCB", tensor.Float32, func(p tensor.Packed) (*tensor.Tensor, error) {
		return tensor.Of(tensor.Shape{rows}, p.(*packed.RowInt8).Max), nil
	}, rows)
	add("weight_format", tensor.Uint8, func(tensor.Packed) (*tensor.Tensor, error) { return tensor.New(tensor.Uint8), nil }) // 0: rows
}

func addFourBit(r *packed.Rounded, add addPart) {
	rows, cols := r.Shape()[0], r.Shape()[1]
	size := (rows*cols + 1) / 2
	blocks := (rows*cols + r.Block - 1) / r.Block
	of := func(p tensor.Packed) *packed.FourBit { return p.(*packed.FourBit) }
	bytes := func(b []byte, shape ...int) (*tensor.Tensor, error) { return tensor.FromBytes(tensor.Uint8, shape, b) }
	floats := func(f []float32) (*tensor.Tensor, error) { return tensor.Of(tensor.Shape{len(f)}, f), nil }
	add("weight", tensor.Uint8, func(p tensor.Packed) (*tensor.Tensor, error) { return bytes(of(p).Codes, size, 1) }, size, 1)
	if r.Double {
		nested := (blocks + packed.NestedBlock - 1) / packed.NestedBlock
		add("weight.absmax", tensor.Uint8, func(p tensor.Packed) (*tensor.Tensor, error) { return bytes(of(p).Nested.Codes, blocks) }, blocks)
		add("weight.nested_absmax", tensor.Float32, func(p tensor.Packed) (*tensor.Tensor, error) { return floats(of(p).Nested.Max) }, nested)
		add("weight.nested_quant_map", tensor.Float32, func(p tensor.Packed) (*tensor.Tensor, error) { return floats(of(p).Nested.Map) }, 256)
	} else {
		add("weight.absmax", tensor.Float32, func(p tensor.Packed) (*tensor.Tensor, error) { return floats(of(p).Scales) }, blocks)
	}
	add("weight.quant_map", tensor.Float32, func(p tensor.Packed) (*tensor.Tensor, error) {
		return floats(slices.Clone(of(p).Type.Table.Values[:]))
	}, 16)
	// The offset is known only once the matrix is rounded, so the description is padded to one length.
	const length = 192
	add(quantStateEnd+r.Type.Name, tensor.Uint8, func(p tensor.Packed) (*tensor.Tensor, error) {
		s := quantState{Type: r.Type.Name, Block: r.Block, DType: r.Stored.String(), Shape: []int{rows, cols}}
		if n := of(p).Nested; n != nil {
			offset := float64(n.Offset)
			s.NestedBlock, s.NestedDType, s.NestedOffset = packed.NestedBlock, "float32", &offset
		}
		text, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		if len(text) > length {
			return nil, fmt.Errorf("a description of %d bytes", len(text))
		}
		return bytes([]byte(string(text)+strings.Repeat(" ", length-len(text))), length)
	}, length)
}

// bitsAndBytesConfig is the quantization_config. kept lists the modules that stay in float, the head among them unless it is in codes: a list
// that is there, be it empty, takes the place of what loaders would leave by themselves.
func bitsAndBytesConfig(r packed.Rounding, _, kept []string, settings map[string]any) map[string]any {
	four, compute := r.Type != nil, "float32"
	if c, ok := settings["bnb_4bit_compute_dtype"].(string); ok {
		compute = c
	}
	kind := "fp4"
	if four {
		kind = r.Type.Name
	}
	threshold := float64(r.Threshold)
	if four {
		threshold = 6
	}
	return map[string]any{
		"quant_method": bitsAndBytes, "load_in_4bit": four, "load_in_8bit": !four, "_load_in_4bit": four, "_load_in_8bit": !four,
		"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": r.Double, "bnb_4bit_compute_dtype": compute, "bnb_4bit_quant_storage": "uint8",
		"llm_int8_threshold": json.RawMessage(floatText(threshold)), "llm_int8_skip_modules": append([]string{}, kept...), "llm_int8_enable_fp32_cpu_offload": false,
		"llm_int8_has_fp16_weight": false,
	}
}

// floatText is a number that readers take for a float.
func floatText(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprint(v)
}

// readBitsAndBytes is the layout's entry in the table of those that can be read.
func readBitsAndBytes(config map[string]any, w *Weights) (arch.Weights, error) {
	n := &numbers{config: config}
	eight := n.boolean(n.boolean(false, "load_in_8bit"), "_load_in_8bit")
	threshold := float32(6)
	if v, ok := config["llm_int8_threshold"]; ok {
		f, err := numberOf(v)
		if err != nil || !(f >= 0) {
			return nil, fmt.Errorf("quantization_config: llm_int8_threshold: want a number of 0 or more, found %v", v)
		}
		threshold = float32(f)
	}
	if err := errors.Join(n.errs...); err != nil {
		return nil, err
	}
	if eight {
		return coded(w, []string{"SCB", "weight_format", "weight"}, func(_ string, t []tensor.Source) (tensor.Source, error) { return readInt8(t, threshold) })
	}
	return coded(w, []string{"weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", quantStateEnd + "nf4", quantStateEnd + "fp4", "weight"},
		func(_ string, t []tensor.Source) (tensor.Source, error) { return readFourBit(t) })
}

// numberOf reads a number of a configuration.
func numberOf(v any) (float64, error) {
	switch v := v.(type) {
	case float64:
		return v, nil
	case int:
		return float64(v), nil
	case json.Number:
		return v.Float64()
	}
	return 0, fmt.Errorf("want a number, found %v", v)
}

// readInt8 joins SCB, weight_format and weight.
func readInt8(t []tensor.Source, threshold float32) (tensor.Source, error) {
	if t[2] == nil {
		return nil, errors.New("weight is missing")
	}
	shape := t[2].Shape()
	if len(shape) != 2 {
		return nil, fmt.Errorf("weight: want a matrix, found shape %v", []int(shape))
	}
	if err := errors.Join(wants("weight", t[2], nil, tensor.Int8), wants("SCB", t[0], tensor.Shape{shape[0]}, tensor.Float32)); err != nil {
		return nil, err
	}
	if t[1] != nil {
		f, err := t[1].Load()
		if err != nil {
			return nil, err
		}
		if v, err := f.Float64s(); err != nil || len(v) != 1 || v[0] != 0 {
			return nil, fmt.Errorf("weight_format: want 0 (rows), found %v", v)
		}
	}
	return &joinedSource{shape, t, func(t []*tensor.Tensor) (tensor.Packed, error) {
		m := &packed.RowInt8{Rows: shape[0], Cols: shape[1], Codes: t[2].Bytes(), ScaleType: tensor.Float32, Max: tensor.Data[float32](t[0]), Threshold: threshold}
		for _, s := range m.Max {
			m.Scales = append(m.Scales, s/127)
		}
		return m, m.Check()
	}}, nil
}

// readFourBit joins the tensors of a 4-bit weight: absmax, quant_map, nested_absmax, nested_quant_map, the description of NF4 or FP4, codes.
func readFourBit(t []tensor.Source) (tensor.Source, error) {
	about := t[4]
	if about == nil {
		about = t[5]
	}
	if err := errors.Join(wants("the quant_state", about, nil, tensor.Uint8)); err != nil {
		return nil, err
	}
	if n := about.Shape().Len(); n > 1<<16 {
		return nil, fmt.Errorf("a quant_state of %d bytes", n)
	}
	text, err := about.Load()
	if err != nil {
		return nil, err
	}
	var s quantState
	if err := json.Unmarshal(text.Bytes(), &s); err != nil {
		return nil, fmt.Errorf("quant_state: %w", err)
	}
	kind, err := packed.ParseFourBit(s.Type)
	if err != nil {
		return nil, fmt.Errorf("quant_state: %w", err)
	}
	if err := (packed.Rounding{Type: kind, Block: s.Block}).Check(); err != nil {
		return nil, fmt.Errorf("quant_state: %w", err)
	}
	if len(s.Shape) != 2 || s.Shape[0] < 1 || s.Shape[1] < 1 || s.Shape[0] > math.MaxInt32 || s.Shape[1] > math.MaxInt32 {
		return nil, fmt.Errorf("quant_state: want the shape of a matrix, found %v", s.Shape)
	}
	n := s.Shape[0] * s.Shape[1]
	blocks := (n + s.Block - 1) / s.Block
	if t[6] == nil {
		return nil, errors.New("weight is missing")
	}
	if have := t[6].DType().ByteLen(t[6].Shape().Len()); have != (n+1)/2 {
		return nil, fmt.Errorf("weight: want %d bytes for %v, found %d", (n+1)/2, s.Shape, have)
	}
	double := s.NestedOffset != nil
	if double {
		nested := (blocks + packed.NestedBlock - 1) / packed.NestedBlock
		if s.NestedBlock != packed.NestedBlock {
			return nil, fmt.Errorf("quant_state: nested_blocksize: want %d, found %d", packed.NestedBlock, s.NestedBlock)
		}
		err = errors.Join(wants("absmax", t[0], tensor.Shape{blocks}, tensor.Uint8), wants("nested_absmax", t[2], tensor.Shape{nested}, tensor.Float32),
			wants("nested_quant_map", t[3], tensor.Shape{256}, tensor.Float32))
	} else {
		err = wants("absmax", t[0], tensor.Shape{blocks}, tensor.Float32)
	}
	if err != nil {
		return nil, err
	}
	stored, err := tensor.ParseDType(s.DType)
	if err != nil {
		return nil, fmt.Errorf("quant_state: %w", err)
	}
	return &joinedSource{tensor.Shape(s.Shape), t, func(t []*tensor.Tensor) (tensor.Packed, error) {
		if t[1] != nil {
			if m, err := t[1].Floats(); err != nil || !slices.Equal(m, kind.Table.Values[:]) {
				return nil, fmt.Errorf("quant_map: not the values of %s", kind.Name)
			}
		}
		f := &packed.FourBit{Type: kind, Rows: s.Shape[0], Cols: s.Shape[1], Block: s.Block, Codes: t[6].Bytes(), DType: stored}
		if !double {
			f.Scales = tensor.Data[float32](t[0])
			return f, f.Check()
		}
		f.Nested = &packed.NestedMax{Codes: t[0].Bytes(), Max: tensor.Data[float32](t[2]), Map: tensor.Data[float32](t[3]), Offset: float32(*s.NestedOffset)}
		if f.Scales, err = f.Nested.Resolve(); err != nil {
			return nil, err
		}
		return f, f.Check()
	}}, nil
}
