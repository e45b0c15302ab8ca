package gguf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/packed"
)

// Mixture says which tensors of a file are of which block type. The rules are those of llama-quant.cpp of
// github.com/ggml-org/llama.cpp, commit 007dbbf.
type Mixture struct {
	Name     string
	fileType uint32 // general.file_type
	base     packed.Kind
}

var mixtures = []Mixture{
	{"F32", 0, packed.F32},
	{"F16", 1, packed.F16},
	{"BF16", 32, packed.BF16},
	{"Q8_0", 7, packed.Q8_0},
	{"Q4_0", 2, packed.Q4_0},
	{"Q4_1", 3, packed.Q4_1},
	{"Q5_0", 8, packed.Q5_0},
	{"Q5_1", 9, packed.Q5_1},
	{"Q2_K", 10, packed.Q2_K},
	{"Q3_K_S", 11, packed.Q3_K},
	{"Q3_K_M", 12, packed.Q3_K},
	{"Q3_K_L", 13, packed.Q3_K},
	{"Q4_K_S", 14, packed.Q4_K},
	{"Q4_K_M", 15, packed.Q4_K},
	{"Q5_K_S", 16, packed.Q5_K},
	{"Q5_K_M", 17, packed.Q5_K},
	{"Q6_K", 18, packed.Q6_K},
	{"IQ4_NL", 25, packed.IQ4NL},
}

// Mixtures lists the names that [ParseMixture] takes.
func Mixtures() []string {
	var out []string
	for _, m := range mixtures {
		out = append(out, m.Name)
	}
	return out
}

// ParseMixture returns the mixture of a name, in any letter case; Q3_K, Q4_K and Q5_K are short for Q3_K_M and so on.
func ParseMixture(name string) (Mixture, error) {
	for _, n := range []string{name, name + "_M"} {
		for _, m := range mixtures {
			if strings.EqualFold(m.Name, n) {
				return m, nil
			}
		}
	}
	return Mixture{}, fmt.Errorf("unknown type %q; types are %s", name, strings.Join(Mixtures(), ", "))
}

// mixed is what the rules look at beside the tensor.
type mixed struct {
	Mixture
	layers, heads, kvHeads, experts int
	tied, copied, weighted, pure    bool
}

// quantizable reports whether a tensor of a file may be of another type than float32.
func quantizable(name string, shape []int) bool {
	if len(shape) < 2 || !strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, "_norm.weight") {
		return false
	}
	return !strings.HasSuffix(name, "ffn_gate_inp.weight") && name != "position_embd.weight"
}

// more says which layers get more bits: the first and last eighth, and every third between.
func more(i, n int) bool { return i < n/8 || i >= 7*n/8 || (i-n/8)%3 == 2 }

// kind returns the type of a tensor.
func (m *mixed) kind(name string, layer int, shape []int) packed.Kind {
	if !quantizable(name, shape) {
		return packed.F32
	}
	if m.base.DType() != 0 {
		return m.base
	}
	cols := shape[len(shape)-1]
	k := m.base
	if !m.pure {
		k = m.choose(name, layer, cols)
	}
	if cols%k.BlockSize() == 0 {
		return k
	}
	switch k {
	case packed.Q2_K, packed.Q3_K:
		k = packed.Q4_0
	case packed.Q4_K:
		k = packed.Q5_0
	case packed.Q5_K:
		k = packed.Q5_1
	case packed.Q6_K:
		k = packed.Q8_0
	}
	if cols%k.BlockSize() != 0 {
		return packed.F16
	}
	return k
}

func (m *mixed) choose(name string, layer, cols int) packed.Kind {
	k, n := m.base, m.layers
	grouped := m.kvHeads > 0 && m.heads/m.kvHeads >= 4
	part := strings.TrimSuffix(name[strings.LastIndex(strings.TrimSuffix(name, ".weight"), ".")+1:], ".weight")
	switch {
	case name == "output.weight" || m.tied && name == "token_embd.weight":
		if cols%k.BlockSize() != 0 || k == packed.Q8_0 {
			return packed.Q8_0
		}
		return packed.Q6_K
	case part == "attn_v" || part == "attn_qkv":
		switch {
		case m.Name == "Q2_K" && grouped:
			k = packed.Q4_K
		case m.Name == "Q2_K":
			k = packed.Q3_K
		case m.Name == "Q3_K_M" && layer < 2, m.Name == "Q3_K_L", m.Name == "IQ4_NL" && grouped, m.Name == "Q4_K_S" && layer < 4:
			k = packed.Q5_K
		case m.Name == "Q3_K_M":
			k = packed.Q4_K
		case (m.Name == "Q4_K_M" || m.Name == "Q5_K_M") && more(layer, n):
			k = packed.Q6_K
		}
		// Models of 70 billion parameters share values among eight heads.
		if n == 80 && m.heads != m.kvHeads && (k == packed.Q3_K || k == packed.Q4_K) {
			k = packed.Q5_K
		}
		if m.experts == 8 {
			k = packed.Q8_0
		}
	case part == "attn_k" && m.experts == 8:
		k = packed.Q8_0
	case strings.HasPrefix(part, "ffn_down"):
		switch {
		case m.Name == "Q2_K":
			k = packed.Q3_K
		case m.Name == "Q3_K_M" && layer < n/16, m.Name == "Q3_K_L", m.Name == "Q4_K_S" && layer < n/8, m.Name == "IQ4_NL" && layer < n/8 && !m.weighted:
			k = packed.Q5_K
		case m.Name == "Q3_K_M":
			k = packed.Q4_K
		case (m.Name == "Q4_K_M" || m.Name == "Q5_K_M") && more(layer, n):
			k = packed.Q6_K
		case m.Name == "Q4_0" && m.weighted && layer < n/8:
			k = packed.Q4_1
		case m.Name == "Q5_0" && m.weighted && layer < n/8:
			k = packed.Q5_1
		}
	case part == "attn_output" && m.experts == 8:
		if slices.Contains([]string{"Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M"}, m.Name) {
			k = packed.Q5_K
		}
	case part == "attn_output":
		switch m.Name {
		case "Q2_K":
			k = packed.Q3_K
		case "Q3_K_M":
			k = packed.Q4_K
		case "Q3_K_L":
			k = packed.Q5_K
		}
	}
	return k
}
