package neuroquant

import (
	"strings"

	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// OperatorInfo says what becomes of the operators of a kind.
type OperatorInfo struct {
	Name   string `json:"name"`
	Domain string `json:"domain,omitempty"` // empty: ONNX's own
	// Static is how method static, and training with rounding in place, compute it; empty: in float. What single nodes allow is in
	// their plan.
	Static string `json:"static,omitempty"`
	// Dynamic: method dynamic quantizes its weights.
	Dynamic bool `json:"dynamic"`
	// Gradient: it can be trained through.
	Gradient bool `json:"gradient"`
	// Runtime: ONNX Runtime has it on a CPU.
	Runtime bool `json:"onnx_runtime"`
}

// Operators lists the operators that are computed here, by domain and name.
func Operators() []OperatorInfo {
	var own, others []OperatorInfo
	for _, kind := range op.Kinds() {
		i := OperatorInfo{Name: kind, Static: quantize.StaticForm(kind), Dynamic: quantize.DynamicForm(kind), Runtime: onnx.HasKernel(kind)}
		if o, ok := op.New(kind); ok {
			_, i.Gradient = o.(graph.Differentiable)
		}
		if at := strings.LastIndex(kind, "."); at >= 0 {
			i.Domain, i.Name = kind[:at], kind[at+1:]
			others = append(others, i)
			continue
		}
		own = append(own, i)
	}
	return append(own, others...)
}

// RuntimeVersion is the version of ONNX Runtime that is spoken of where nothing else is said.
func RuntimeVersion() string { return onnx.RuntimeVersion() }
