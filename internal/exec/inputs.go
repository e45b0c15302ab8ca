package exec

import (
	"errors"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// CheckInputs compares tensors with the declared inputs of a graph: number, element type, rank, dimensions that are numbers,
// and that a named dimension has one size everywhere. It reports every difference.
func CheckInputs(g *graph.Graph, in []*tensor.Tensor) error {
	if len(in) != len(g.Inputs) {
		return fmt.Errorf("want %d inputs (%s), got %d", len(g.Inputs), inputNames(g), len(in))
	}
	var errs []error
	sizes := map[string]int{}
	owner := map[string]string{}
	for i, v := range g.Inputs {
		t := in[i]
		if t == nil {
			if v.Data == nil && v.Type.DType != tensor.Optional {
				errs = append(errs, fmt.Errorf("input %q (%v) is missing", v.Name, v.Type))
			}
			continue
		}
		if v.Type.DType != tensor.Invalid && t.DType != v.Type.DType {
			errs = append(errs, fmt.Errorf("input %q: want element type %v, got %v", v.Name, v.Type.DType, t.DType))
			continue
		}
		if !v.Type.Ranked {
			continue
		}
		if isScalar(v.Type, t) {
			continue
		}
		if len(t.Shape) != len(v.Type.Dims) {
			errs = append(errs, fmt.Errorf("input %q: want %v, got shape %v", v.Name, v.Type, t.Shape))
			continue
		}
		for j, d := range v.Type.Dims {
			switch {
			case d.IsKnown() && d.Size != t.Shape[j]:
				errs = append(errs, fmt.Errorf("input %q: dimension %d: want %d, got %d (declared %v, given %v)", v.Name, j, d.Size, t.Shape[j], v.Type, t.Shape))
			case !d.IsKnown() && d.Name != "":
				if n, ok := sizes[d.Name]; ok && n != t.Shape[j] {
					errs = append(errs, fmt.Errorf("input %q: dimension %q is %d here but %d in input %q", v.Name, d.Name, t.Shape[j], n, owner[d.Name]))
				}
				sizes[d.Name], owner[d.Name] = t.Shape[j], v.Name
			}
		}
	}
	return errors.Join(errs...)
}

// inputsFit reports whether [CheckInputs] finds nothing wrong, or gives up.
func inputsFit(g *graph.Graph, in []*tensor.Tensor) bool {
	if len(in) != len(g.Inputs) {
		return false
	}
	for i, v := range g.Inputs {
		t := in[i]
		if t == nil || v.Type.DType != tensor.Invalid && t.DType != v.Type.DType || v.Type.Ranked && len(t.Shape) != len(v.Type.Dims) {
			return false
		}
		for j, d := range v.Type.Dims {
			if d.IsKnown() && d.Size != t.Shape[j] || !d.IsKnown() && d.Name != "" && named(g, in, d.Name) != t.Shape[j] {
				return false
			}
		}
	}
	return true
}

// named returns the size of the first dimension of a name; the inputs up to there have their declared ranks.
func named(g *graph.Graph, in []*tensor.Tensor, name string) int {
	for i, v := range g.Inputs {
		for j, d := range v.Type.Dims {
			if !d.IsKnown() && d.Name == name {
				return in[i].Shape[j]
			}
		}
	}
	return -1
}

// isScalar reports whether a one-element vector stands for a declared scalar, which array libraries without rank-0 arrays write.
func isScalar(declared graph.Type, t *tensor.Tensor) bool {
	return declared.Ranked && len(declared.Dims) == 0 && len(t.Shape) == 1 && t.Shape[0] == 1
}

func inputNames(g *graph.Graph) string {
	names := make([]string, len(g.Inputs))
	for i, v := range g.Inputs {
		names[i] = fmt.Sprintf("%q %v", v.Name, v.Type)
	}
	return strings.Join(names, ", ")
}
