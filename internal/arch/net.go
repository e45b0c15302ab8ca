package arch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// net records a graph from the weights of a checkpoint. Parameters have their names there.
type net struct {
	*aten.Builder
	w    Weights
	used map[string]bool
	base string // what the checkpoint leaves out of names

	ids, positions *graph.Value // [batch, tokens]
	alibi          *graph.Value
	words, mask    *graph.Value              // of encoders: the embedding; what is added to the scores of attention, [batch, 1 or heads, 1 or tokens, tokens]
	choices        bool                      // several texts, of which one is to be chosen, are one example
	count          *graph.Value              // of those, [1]
	rotary         map[*Rope][2]*graph.Value // cosines and sines
	narrow         map[tensor.Source]tensor.Source
}

func newNet(name string, w Weights) *net {
	return &net{Builder: aten.New(name), w: w, used: map[string]bool{}, rotary: map[*Rope][2]*graph.Value{}, narrow: map[tensor.Source]tensor.Source{}}
}

// at runs f with nodes named below a path of the model.
func (n *net) at(path string, f func()) { n.Scope(path, f) }

// name is what the checkpoint calls a tensor.
func (n *net) name(name string) string {
	name = strings.TrimPrefix(name, n.base)
	if end, old := "weight", ""; n.w.Tensor(name) == nil {
		// Checkpoints converted from TensorFlow call the parameters of normalizations gamma and beta.
		if old = "gamma"; strings.HasSuffix(name, ".bias") {
			end, old = "bias", "beta"
		}
		if other := strings.TrimSuffix(name, end) + old; strings.HasSuffix(name, "."+end) && n.w.Tensor(other) != nil {
			return other
		}
	}
	return name
}

// without leaves the base out of all names if the checkpoint has none with it.
func (n *net) without(base string) {
	has := func(name string) bool { return strings.HasPrefix(name, base) }
	if base != "" && !slices.ContainsFunc(n.w.Names(), has) {
		n.base = base
	}
}

// source returns the tensor of a name, whose dimensions must be as given; nil after an error.
func (n *net) source(name string, dims ...int) tensor.Source {
	name = n.name(name)
	s := n.w.Tensor(name)
	n.used[name] = true
	switch {
	case s == nil:
		n.Errorf("tensor %q is missing in the checkpoint", name)
		return nil
	case !s.Shape().Equal(dims):
		n.Errorf("tensor %q: the configuration wants shape %v, the checkpoint has %v", name, tensor.Shape(dims), s.Shape())
		return nil
	case !s.DType().IsFloat():
		n.Errorf("tensor %q: want floats, the checkpoint has %v", name, s.DType())
		return nil
	}
	return s
}

// declare returns the parameter of a source under its name in the checkpoint.
func (n *net) declare(name string, s tensor.Source) *graph.Value {
	name = n.name(name)
	n.Declare(name, s)
	return n.Weight(name, s)
}

// matrix returns a parameter of rows of float32 values, which are decoded where they are used if the checkpoint has them
// narrower; nil after an error.
func (n *net) matrix(name string, rows, cols int) *graph.Value {
	s := n.source(name, rows, cols)
	if s == nil {
		return nil
	}
	switch d := s.DType(); {
	case d == tensor.Float32:
	case d == tensor.Float16 || d == tensor.BFloat16 || d.IsFloat8():
		if n.narrow[s] == nil {
			n.narrow[s] = packed.NarrowSource(s)
		}
		s = n.narrow[s]
	default:
		if n.narrow[s] == nil {
			n.narrow[s] = aten.Float32(s)
		}
		s = n.narrow[s]
	}
	return n.declare(name, s)
}

// vector returns a parameter of float32 values, one added to each with plusOne; nil after an error.
func (n *net) vector(name string, plusOne bool, dims ...int) *graph.Value {
	s := n.source(name, dims...)
	if s == nil {
		return nil
	}
	if n.narrow[s] == nil {
		wide := aten.Float32(s)
		if plusOne {
			wide = aten.PlusOne(wide)
		}
		n.narrow[s] = wide
	}
	return n.declare(name, n.narrow[s])
}

// linear records the linear layer of a name: x [..., in].
func (n *net) linear(x *graph.Value, prefix string, l Linear, in, out int) *graph.Value {
	name := prefix + l.Name
	var w, bias, y *graph.Value
	if l.Conv1D {
		w = n.matrix(name+".weight", in, out)
	} else {
		w = n.matrix(name+".weight", out, in)
	}
	if l.Bias {
		bias = n.vector(name+".bias", false, out)
	}
	if x == nil || w == nil || l.Bias && bias == nil {
		return nil
	}
	n.at(name, func() {
		if l.Conv1D {
			y = n.Node("MatMul", nil, x, w)
		} else {
			y = n.Rows(x, w)
		}
		if bias != nil {
			y = n.Node("Add", nil, y, bias)
		}
	})
	return y
}

// norm records a normalization over the last dimension of x, which has n elements.
func (n *net) norm(x *graph.Value, prefix string, p *Norm, size int) *graph.Value {
	if p == nil || x == nil {
		return x
	}
	var w, bias, y *graph.Value
	name := prefix + p.Name
	if !p.Plain {
		if w = n.vector(name+".weight", p.PlusOne, size); w == nil {
			return nil
		}
	}
	if p.Bias {
		if bias = n.vector(name+".bias", false, size); bias == nil {
			return nil
		}
	}
	n.at(name, func() {
		if p.Mean {
			y = n.LayerNorm(x, w, bias, []int{size}, p.Epsilon)
		} else {
			y = n.RMSNorm(x, w, []int{size}, p.Epsilon)
		}
	})
	return y
}

// scale multiplies by a number, unless that is 0 or 1.
func (n *net) scale(x *graph.Value, by float64) *graph.Value {
	if x == nil || by == 0 || by == 1 {
		return x
	}
	return n.Node("Mul", nil, x, n.Number(x, by))
}

// add is the sum of two values.
func (n *net) add(x, y *graph.Value) *graph.Value {
	if x == nil || y == nil {
		return nil
	}
	return n.Node("Add", nil, x, y)
}

// leftovers are names of tensors that checkpoints hold and that no model needs: what can be computed.
var leftovers = []string{"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "position_ids"}

// unused reports tensors of the checkpoint that the graph has no place for, those that end in ignored or are known to be
// of no use left out.
func (n *net) unused(ignored []string) error {
	var out []string
	for _, name := range n.w.Names() {
		ends := func(suffix string) bool { return strings.HasSuffix("."+name, suffix) }
		if !n.used[name] && !slices.ContainsFunc(leftovers, ends) && !slices.ContainsFunc(ignored, ends) {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return nil
	}
	slices.Sort(out)
	more := ""
	if len(out) > 8 {
		more = fmt.Sprintf(" and %d more", len(out)-8)
	}
	return fmt.Errorf("the configuration has no place for %d tensors of the checkpoint: %s%s", len(out), strings.Join(out[:min(len(out), 8)], ", "), more)
}

// expand returns the operator that repeats its input to a shape.
func expand() graph.Op {
	o, _ := op.New("Expand")
	return o
}

// sorted joins names in order.
func sorted(names []string) string {
	slices.Sort(names)
	return strings.Join(names, ", ")
}
