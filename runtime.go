package neuroquant

import (
	"context"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/model"
)

// MissingKernel is a node that a runtime cannot compute, and why.
type MissingKernel = onnx.MissingKernel

// RuntimeSupport says whether ONNX Runtime can run a model on a CPU, as the model would be written to an ONNX file. It is judged by
// operators and element types; some operators have attributes that a kernel refuses all the same.
type RuntimeSupport struct {
	Version string          `json:"version"` // of ONNX Runtime
	Missing []MissingKernel `json:"missing"`
	// Why is set if the model cannot be written to an ONNX file at all.
	Why string `json:"why,omitempty"`
}

// RuntimeSupport compares the operators of the model with the kernels that ONNX Runtime has. No weights are read.
func (m *Model) RuntimeSupport(ctx context.Context) *RuntimeSupport {
	s := &RuntimeSupport{Version: onnx.RuntimeVersion(), Missing: []MissingKernel{}}
	missing, err := onnx.Missing(ctx, m.m, model.SaveOptions{})
	if err != nil {
		s.Why = err.Error()
	}
	s.Missing = append(s.Missing, missing...)
	return s
}

// checkRuntime returns an error if ONNX Runtime cannot compute nodes of a result although it can compute the original.
func (r *Result) checkRuntime(ctx context.Context) error {
	missing, err := onnx.Missing(ctx, r.m, model.SaveOptions{})
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	before, _ := onnx.Missing(ctx, r.original, model.SaveOptions{}) // none of an original that ONNX cannot hold
	known := map[string]int{}                                       // nodes are renamed, so they are told apart by what they are
	for _, k := range before {
		known[k.Op+k.Why]++
	}
	var lost []string
	for _, k := range missing {
		if known[k.Op+k.Why]--; known[k.Op+k.Why] < 0 {
			lost = append(lost, k.String())
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("ONNX Runtime %s would not load the quantized model: %s", onnx.RuntimeVersion(), strings.Join(lost, "; "))
	}
	return nil
}
