package hf

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// Acceptance says whether a program loads a folder of a layout with matrices of a scheme, from what is known of its versions of 2026.
type Acceptance struct {
	Loader  string `json:"loader"`
	Accepts bool   `json:"accepts"`
	Why     string `json:"why,omitempty"` // why not, or what it does not do
}

// Loaders lists the programs that load a layout, and whether they take a scheme, with the head in codes as well if that is set.
func Loaders(layout string, s tensor.Scheme, head bool) []Acceptance {
	out := loadersOf(layout, s)
	if !head {
		return out
	}
	takes, refusal := len(out) > 0 && out[0].Accepts, ""
	if len(out) > 0 {
		refusal = out[0].Why
	}
	for i := range out {
		if why := noHead[layout][out[i].Loader]; why != "" {
			out[i].Accepts, out[i].Why = false, why
		}
	}
	if layout == "gptq" || layout == "gptq_v2" || layout == "awq" { // which is what GPTQModel does by itself, without transformers
		own := Acceptance{Loader: "gptqmodel", Accepts: takes}
		if !takes {
			own.Why = refusal
		}
		out = append(out, own)
	}
	return out
}

// noHead says by layout which programs do not take a head in codes.
var noHead = map[string]map[string]string{
	"gptq":       {transformersGPTQ: blocksAlone},
	"gptq_v2":    {transformersGPTQ: blocksAlone},
	"awq":        {transformersGPTQ: blocksAlone},
	bitsAndBytes: {"vLLM": "codes of lm_head; it takes those of blocks alone"},
}

const (
	transformersGPTQ = "transformers with gptqmodel"
	// blocksAlone is what transformers 5.23 with optimum 2.3 and gptqmodel 7.7 does.
	blocksAlone = "codes of lm_head: it takes those of blocks alone and leaves the head at random values without an error"
)

func loadersOf(layout string, s tensor.Scheme) []Acceptance {
	var out []Acceptance
	add := func(loader, refusal, remark string) {
		a := Acceptance{Loader: loader, Accepts: refusal == "", Why: refusal}
		if a.Accepts {
			a.Why = remark
		}
		out = append(out, a)
	}
	if s.Reordered && (layout == "gptq" || layout == "gptq_v2") {
		defer func() {
			for i := range out {
				if out[i].Accepts && out[i].Why == "" {
					out[i].Why = "columns in an order of their own have no fast kernels"
				}
			}
		}()
	}
	switch layout {
	case "gptq", "gptq_v2":
		refusal := ""
		if !slices.Contains([]int{-1, 0, 16, 32, 64, 128, 256, 512, 1024}, s.Group) {
			refusal = fmt.Sprintf("groups of %d; it takes whole rows and powers of two from 16 to 1024", s.Group)
		}
		add(transformersGPTQ, refusal, "")
		remark := ""
		switch {
		case s.Group > 0 && !slices.Contains([]int{32, 64, 128}, s.Group), s.Bits != 4 && s.Bits != 8, !s.Symmetric:
			remark = "its general kernels compute, slower than Marlin's for 4 and 8 symmetric bits with groups of 32, 64, 128 or whole rows"
		}
		add("vLLM", "", remark)
	case "awq":
		refusal := ""
		if !slices.Contains([]int{-1, 0, 16, 32, 64, 128}, s.Group) {
			refusal = fmt.Sprintf("groups of %d; it takes whole rows, 16, 32, 64 and 128", s.Group)
		}
		add(transformersGPTQ, refusal, "")
		refusal = ""
		if s.Group > 0 && !slices.Contains([]int{32, 64, 128}, s.Group) {
			refusal = fmt.Sprintf("groups of %d; it takes whole rows, 32, 64 and 128", s.Group)
		}
		add("vLLM", refusal, "")
	case compressedLayout.name:
		if s.Code == packed.W8A8 {
			add("transformers with compressed-tensors", "", "activations are not rounded on a CPU")
			add("vLLM", "", "")
			return out
		}
		refusal := ""
		if !s.Symmetric {
			refusal = "packed zero points, which its versions 0.19 and 0.20 refuse"
		}
		add("transformers with compressed-tensors", refusal, "")
		refusal = ""
		if s.Bits != 4 && s.Bits != 8 {
			refusal = fmt.Sprintf("%d bits; it takes 4 and 8", s.Bits)
		}
		add("vLLM", refusal, "")
	case bitsAndBytes:
		add("transformers with bitsandbytes", "", "")
		add("vLLM", "", "one device: matrices that are in codes already are not split")
	}
	return out
}
