package graph

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/tensor"
)

// maxConst bounds the values that are carried in [Type.Const] through inference: shape arithmetic, not weights.
const maxConst = 1 << 12

// InferNode returns the output types of a node from the types of its inputs. Where all inputs are known constants and the
// result is small, it is computed, so that shape arithmetic is known before a run.
func InferNode(n *Node) ([]Type, error) {
	in := make([]Type, len(n.In))
	for i, v := range n.In {
		if v != nil {
			in[i] = v.Type
			if in[i].Const == nil && v.Data != nil && v.Type.DType != tensor.Invalid && v.Data.Shape().Len() <= maxConst {
				t, err := v.Data.Load()
				if err != nil {
					return nil, fmt.Errorf("parameter %q: %w", v.Name, err)
				}
				in[i].Const = t
			}
		}
	}
	return InferOp(n.Op, in)
}

// InferOp is [InferNode] on bare types.
func InferOp(op Op, in []Type) ([]Type, error) {
	out, err := op.Infer(in)
	if err != nil || !foldable(op, in, out) {
		return out, err
	}
	ts := make([]*tensor.Tensor, len(in))
	for i := range in {
		ts[i] = in[i].Const
	}
	res, err := op.Eval(&Env{}, ts)
	if err != nil {
		return nil, err
	}
	for i, t := range res {
		if t != nil && i < len(out) && t.DType != tensor.Sequence && t.DType != tensor.Optional {
			out[i] = TypeOf(t)
		}
	}
	return out, nil
}

func foldable(op Op, in, out []Type) bool {
	if _, ok := op.(Random); ok {
		return false
	}
	if _, ok := op.(Body); ok {
		return false
	}
	if _, ok := op.(Stateful); ok {
		return false
	}
	if len(in) == 0 {
		return false
	}
	for _, t := range in {
		if t.Const == nil && !t.IsNone() || t.Const != nil && (t.Const.Len() > maxConst || t.Const.Packed != nil) {
			return false
		}
	}
	for _, t := range out {
		if t.Const != nil {
			return false
		}
		if s, ok := t.Shape(); ok {
			if n, ok := s.CheckedLen(); !ok || n > maxConst {
				return false
			}
		}
	}
	return true
}

// Infer sets the types of all values in order. Declared types of values that inference cannot tell are kept. It reports every
// node that cannot be valid; values after such a node keep what was declared.
func (g *Graph) Infer() error {
	var errs []error
	for _, n := range g.Nodes {
		types, err := InferNode(n)
		if err != nil {
			errs = append(errs, fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err))
			continue
		}
		for i, v := range n.Out {
			if v != nil && i < len(types) {
				v.Type = merge(v.Type, types[i])
			}
		}
	}
	return errors.Join(errs...)
}

// merge refines a declared type by an inferred one; the inferred one wins where both say something.
func merge(declared, inferred Type) Type {
	if inferred.DType == tensor.Invalid {
		inferred.DType = declared.DType
	}
	switch {
	case inferred.Elem == nil:
		inferred.Elem = declared.Elem
	case declared.Elem != nil:
		e := merge(*declared.Elem, *inferred.Elem)
		inferred.Elem = &e
	}
	if !inferred.Ranked {
		if declared.Ranked {
			inferred.Ranked, inferred.Dims = true, declared.Dims
		}
		return inferred
	}
	if declared.Ranked && len(declared.Dims) == len(inferred.Dims) {
		dims := make([]Dim, len(inferred.Dims))
		for i, d := range inferred.Dims {
			dims[i] = d
			if !d.IsKnown() && (declared.Dims[i].IsKnown() || d.Name == "") {
				dims[i] = declared.Dims[i]
			}
		}
		inferred.Dims = dims
	}
	return inferred
}
