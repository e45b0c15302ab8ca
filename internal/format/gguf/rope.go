package gguf

import (
	"fmt"
	"math"
	"reflect"

	"github.com/neurotrain/neuroquant/internal/packed"
)

// lenOf returns the length of a slice of any type.
func lenOf(v any) int { return reflect.ValueOf(v).Len() }

// llama3Factors returns what the wave lengths of a rotary embedding of Llama 3.1 are multiplied by.
func llama3Factors(theta float64, rotated int, factor, low, high, original float64) []float32 {
	out := make([]float32, rotated/2)
	for i := range out {
		wave := 2 * math.Pi * math.Pow(theta, float64(2*i)/float64(rotated))
		switch {
		case wave < original/high:
			out[i] = 1
		case wave > original/low:
			out[i] = float32(factor)
		default:
			smooth := (original/wave - low) / (high - low)
			out[i] = float32(1 / ((1-smooth)/factor + smooth))
		}
	}
	return out
}

// scaling returns the scaling of the rotary embedding of a configuration, nil where it has none, and its kind.
func scaling(config map[string]any) (s map[string]any, kind string) {
	for _, key := range []string{"rope_parameters", "rope_scaling"} {
		s, ok := config[key].(map[string]any)
		if !ok {
			continue
		}
		if full, ok := s["full_attention"].(map[string]any); ok { // of the other layers llama.cpp knows by itself
			s = full
		}
		for _, k := range []string{"rope_type", "type"} {
			if kind, ok := s[k].(string); ok {
				return s, kind
			}
		}
		return s, "default"
	}
	return nil, "default"
}

// ropeTensors are tensors of factors that a scaled rotary embedding has in GGUF.
func ropeTensors(config map[string]any, rotated int) (names []string, values [][]float32, err error) {
	s, kind := scaling(config)
	f := &fields{config: s}
	number := func(key string, def float64) float64 {
		if v, ok := f.number(key); ok {
			return v
		}
		return def
	}
	switch kind {
	case "llama3":
		theta := 10000.0
		outer := &fields{config: config}
		if v, ok := outer.number("rope_theta"); ok {
			theta = v
		}
		theta = number("rope_theta", theta)
		names = []string{"rope_freqs.weight"}
		values = [][]float32{llama3Factors(theta, rotated, number("factor", 8), number("low_freq_factor", 1), number("high_freq_factor", 4), number("original_max_position_embeddings", 8192))}
	case "longrope", "su":
		for _, l := range []string{"long", "short"} {
			list, ok := s[l+"_factor"].([]any)
			if !ok || len(list) != rotated/2 {
				return nil, nil, fmt.Errorf("config: %s_factor: want %d numbers", l, rotated/2)
			}
			one := &fields{config: map[string]any{}}
			v := make([]float32, len(list))
			for i, x := range list {
				one.config["x"] = x
				n, _ := one.number("x")
				v[i] = float32(n)
			}
			f.errs = append(f.errs, one.errs...)
			names = append(names, "rope_factors_"+l+".weight")
			values = append(values, v)
		}
	}
	if len(f.errs) > 0 {
		return nil, nil, f.errs[0]
	}
	return names, values, nil
}

// ropeFactors puts what the tensors of factors say into a configuration.
func (f *File) ropeFactors(config map[string]any) error {
	read := func(name string) []float32 {
		s := f.tensors[name]
		if s.Tensor == nil || s.kind != packed.F32 || len(s.Shape) != 1 {
			return nil
		}
		v := make([]float32, s.Shape[0])
		packed.F32.Decode(v, s.data)
		return v
	}
	if f.tensors["rope_factors_long.weight"].Tensor != nil {
		long, short := read("rope_factors_long.weight"), read("rope_factors_short.weight")
		arch, _, _ := f.Text("general.architecture")
		s := map[string]any{"rope_type": "longrope", "long_factor": numbers(long), "short_factor": numbers(short)}
		if n, ok, _ := f.Int(arch + ".rope.scaling.original_context_length"); ok {
			config["original_max_position_embeddings"] = n
		}
		if a, ok, _ := f.Float(arch + ".rope.scaling.attn_factor"); ok {
			s["attention_factor"] = shortest(a)
		}
		config["rope_scaling"] = s
		return nil
	}
	if f.tensors["rope_freqs.weight"].Tensor == nil {
		return nil
	}
	have := read("rope_freqs.weight")
	if len(have) == 0 {
		return fmt.Errorf("tensor %q: want a vector of float32", "rope_freqs.weight")
	}
	// The file does not say what the factors were computed from. Those of Llama 3 differ in one number alone; others are said one by one.
	theta, _ := config["rope_theta"].(float64)
	factor := float64(have[len(have)-1])
	for i, v := range llama3Factors(theta, 2*len(have), factor, 1, 4, 8192) {
		if math.Abs(float64(v-have[i])) > 1e-4*float64(v) {
			config["rope_scaling"] = map[string]any{
				"rope_type": "longrope", "short_factor": numbers(have), "long_factor": numbers(have), "attention_factor": 1.0,
				"original_max_position_embeddings": config["max_position_embeddings"],
			}
			return nil
		}
	}
	config["rope_scaling"] = map[string]any{
		"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
	}
	return nil
}

func numbers(v []float32) []any {
	out := make([]any, len(v))
	for i, x := range v {
		out[i] = shortest(float64(x))
	}
	return out
}
