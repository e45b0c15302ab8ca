package neuroquant

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
)

// OpenOptions say what a file does not: a file of weights without a graph leaves open what network they are of, and a PyTorch
// module what it is fed. Everything that opens a model takes them from its context; see [WithOpenOptions].
type OpenOptions struct {
	// Arch names the architecture of the weights, such as "resnet50"; empty: it is told by their names and shapes.
	Arch string
	// InputShapes are the shapes of inputs by name, under "" that of the only one, such as {"N", 3, 224, 224}: a string is the
	// name of a size that is free.
	InputShapes map[string][]any
}

// WithOpenOptions returns a context in which models are opened with o.
func WithOpenOptions(ctx context.Context, o OpenOptions) context.Context {
	inner := model.OpenOptions{Arch: o.Arch, Inputs: map[string][]graph.Dim{}}
	for name, shape := range o.InputShapes {
		dims := make([]graph.Dim, len(shape))
		for i, d := range shape {
			switch d := d.(type) {
			case int:
				dims[i] = graph.Known(d)
			default:
				dims[i] = graph.Named(fmt.Sprint(d))
			}
		}
		inner.Inputs[name] = dims
	}
	return model.WithOpenOptions(ctx, inner)
}

// ParseOpenOptions reads an architecture and shapes of inputs as text: SHAPE or NAME=SHAPE, with a shape such as Nx3x224x224.
func ParseOpenOptions(arch string, shapes []string) (OpenOptions, error) {
	o := OpenOptions{Arch: arch, InputShapes: map[string][]any{}}
	for _, spec := range shapes {
		name, text := "", spec
		if i := strings.LastIndexByte(spec, '='); i >= 0 {
			name, text = spec[:i], spec[i+1:]
		}
		if _, twice := o.InputShapes[name]; twice {
			return o, fmt.Errorf("%q: given twice", spec)
		}
		shape := []any{}
		for word := range strings.SplitSeq(text, "x") {
			n, err := strconv.Atoi(word)
			switch {
			case err == nil && n >= 0:
				shape = append(shape, n)
			case word == "" || err == nil || word[0] >= '0' && word[0] <= '9':
				return o, fmt.Errorf("%q: want sizes like Nx3x224x224, got %q", spec, text)
			default:
				shape = append(shape, word)
			}
		}
		o.InputShapes[name] = shape
	}
	return o, nil
}
