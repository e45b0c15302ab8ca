package onnx

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// kernelText says what ONNX Runtime computes on a CPU: schema/kernels.py writes it from the onnxruntime package.
//
//go:embed schema/kernels.txt
var kernelText string

// kernel is a form of an operator that ONNX Runtime has an implementation of.
type kernel struct {
	first, last       int // operator sets
	inTypes, outTypes []typeMask
}

type kernelTable struct {
	version string
	kernels map[string][]kernel
}

var kernels = sync.OnceValue(func() *kernelTable {
	t := &kernelTable{kernels: map[string][]kernel{}}
	for line := range strings.Lines(kernelText) {
		f := strings.Fields(line)
		if len(f) == 1 {
			t.version = f[0]
			continue
		}
		first, err := strconv.Atoi(f[1])
		if err != nil {
			panic(fmt.Sprintf("kernels.txt: %q: %v", line, err))
		}
		last, err := strconv.Atoi(f[2])
		if err != nil {
			panic(fmt.Sprintf("kernels.txt: %q: %v", line, err))
		}
		t.kernels[f[0]] = append(t.kernels[f[0]], kernel{first, last, masks(f[3]), masks(f[4])})
	}
	return t
})

// RuntimeVersion is the version of ONNX Runtime that [Missing] speaks of.
func RuntimeVersion() string { return kernels().version }

// HasKernel reports whether ONNX Runtime computes operators of a kind on a CPU, for some types at least.
func HasKernel(kind string) bool { return len(kernels().kernels[kind]) > 0 }

// MissingKernel is a node that ONNX Runtime cannot compute on a CPU.
type MissingKernel struct {
	Node string `json:"node"`
	Op   string `json:"op"`
	Why  string `json:"why"`
}

func (m MissingKernel) String() string { return fmt.Sprintf("node %q (%s): %s", m.Node, m.Op, m.Why) }

// Missing lists the nodes of m, written with these options, that ONNX Runtime has no kernel for. It is an error if m cannot be
// written.
func Missing(ctx context.Context, m *model.Model, o model.SaveOptions) ([]MissingKernel, error) {
	_, x, err := export(ctx, m, o)
	if err != nil {
		return nil, err
	}
	return x.missing, nil
}

// whyMissing says why ONNX Runtime cannot compute a node in the form of an operator set, or nothing.
func whyMissing(n *outNode, opset int) string {
	if dom, _ := splitKind(n.kind); dom != "" {
		opset = domainVersions[dom]
	}
	list := kernels().kernels[n.kind]
	if len(list) == 0 {
		return "ONNX Runtime has no such operator on a CPU"
	}
	known := false
	in := n.in[:len(n.in)-n.captured]
	for _, k := range list {
		if opset < k.first || opset > k.last {
			continue
		}
		if known = true; admits(k.inTypes, in) && admits(k.outTypes, n.out) {
			return ""
		}
	}
	if !known {
		return fmt.Sprintf("ONNX Runtime has no kernel for operator set %d", opset)
	}
	return fmt.Sprintf("ONNX Runtime has no kernel for %s -> %s", typeList(in), typeList(n.out))
}

// admits reports whether values have the types of a kernel. Half precision is computed in single where there is no kernel.
func admits(types []typeMask, values []*graph.Value) bool {
	for i, v := range values {
		if v == nil || len(types) == 0 {
			continue
		}
		m := types[min(i, len(types)-1)]
		if d := v.Type.DType; !m.has(d) && (d != tensor.Float16 || !m.has(tensor.Float32)) {
			return false
		}
	}
	return true
}

func typeList(values []*graph.Value) string {
	var s []string
	for _, v := range values {
		if v != nil {
			s = append(s, v.Type.DType.String())
		}
	}
	return strings.Join(s, ", ")
}
