package pass

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// foldGrowth is how many bytes a folded result may take when it is larger than the constants it is computed from: a folded
// ConstantOfShape or Expand would otherwise grow the file.
const foldGrowth = 64 << 10

// FoldConstants replaces nodes whose outputs are known by parameters: those whose inputs are all constant, and shape
// arithmetic on dimensions that are numbers. Dequantization stays: a quantized weight is kept as it is stored.
func FoldConstants(g *graph.Graph) error {
	return foldNodes(g, func(n *graph.Node) bool {
		k := n.Op.Kind()
		return k != "DequantizeLinear" && k != "com.microsoft.DequantizeLinear"
	}, func(in int) int { return max(in, foldGrowth) })
}

// decodeGrowth is how many bytes a value that is computed from smaller constants may take in a lowered graph.
const decodeGrowth = 64 << 20

// DecodeWeights replaces what is computed from constants by its values whatever they take, for operators that compute in
// float32 from weights stored in 16 or 8 bits.
func DecodeWeights(g *graph.Graph) error {
	return foldNodes(g, func(*graph.Node) bool { return true }, func(in int) int { return max(16*in, decodeGrowth) })
}

// foldNodes folds the nodes that may says may be, if their outputs do not take more bytes than limit gives for their inputs.
func foldNodes(g *graph.Graph, may func(*graph.Node) bool, limit func(in int) int) error {
	env := &graph.Env{Pool: kernel.Shared()}
	kept := g.Nodes[:0:0]
	for _, n := range g.Nodes {
		var res []*tensor.Tensor
		var err error
		if may(n) {
			res, err = fold(g, env, n, limit)
		}
		if err != nil {
			return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
		}
		if res == nil {
			kept = append(kept, n)
			continue
		}
		for i, v := range n.Out {
			if v != nil {
				v.Node, v.Data, v.Type = nil, tensor.InMemory(res[i]), graph.TypeOf(res[i])
			}
		}
	}
	g.Nodes = kept
	return nil
}

// fold returns the outputs of n, or nil if it is not to be folded.
func fold(g *graph.Graph, env *graph.Env, n *graph.Node, growth func(in int) int) ([]*tensor.Tensor, error) {
	switch n.Op.(type) {
	case graph.Random, graph.Body, graph.Stateful:
		return nil, nil
	}
	if res := known(n); res != nil {
		return res, nil
	}
	if res, err := pickedDims(g, n); res != nil || err != nil {
		return res, err
	}
	in := make([]*tensor.Tensor, len(n.In))
	bytes := 0
	for i, v := range n.In {
		if v == nil {
			continue
		}
		t, err := g.Constant(v)
		if err != nil {
			return nil, err
		}
		if t == nil || t.Packed != nil || t.Elems() != nil {
			return nil, nil
		}
		in[i] = t
		bytes += t.ByteLen()
	}
	limit := growth(bytes)
	if size, ok := outputBytes(n); ok && size > limit && len(n.In) > 0 {
		return nil, nil
	}
	res, err := n.Op.Eval(env, in)
	if err != nil {
		return nil, err
	}
	size := 0
	for i, v := range n.Out {
		if v == nil {
			continue
		}
		t := res[i]
		if t == nil || t.DType == tensor.Sequence || t.DType == tensor.Optional {
			return nil, nil
		}
		size += t.ByteLen()
	}
	if size > limit && len(n.In) > 0 {
		return nil, nil
	}
	return res, nil
}

// known returns the outputs that type inference already computed, or nil if it did not compute all that are used.
func known(n *graph.Node) []*tensor.Tensor {
	res := make([]*tensor.Tensor, len(n.Out))
	for i, v := range n.Out {
		if v == nil {
			continue
		}
		if v.Type.Const == nil {
			return nil
		}
		res[i] = v.Type.Const
	}
	return res
}

// pickedDims returns the result of a Gather from a Shape node where the dimensions that it picks are numbers though others,
// such as the batch, are not.
func pickedDims(g *graph.Graph, n *graph.Node) ([]*tensor.Tensor, error) {
	if _, ok := n.Op.(*op.Gather); !ok || n.In[0].Node == nil {
		return nil, nil
	}
	shape, ok := n.In[0].Node.Op.(*op.Shape)
	if !ok || shape.Start != 0 || shape.End != nil || !n.In[0].Node.In[0].Type.Ranked {
		return nil, nil
	}
	index, err := g.Constant(n.In[1])
	if err != nil || index == nil {
		return nil, err
	}
	at, err := index.Ints()
	if err != nil {
		return nil, err
	}
	dims := n.In[0].Node.In[0].Type.Dims
	out := make([]int64, len(at))
	for i, a := range at {
		if a < 0 {
			a += int64(len(dims))
		}
		if a < 0 || a >= int64(len(dims)) || !dims[a].IsKnown() {
			return nil, nil
		}
		out[i] = int64(dims[a].Size)
	}
	return []*tensor.Tensor{tensor.Of(index.Shape, out)}, nil
}

func outputBytes(n *graph.Node) (bytes int, ok bool) {
	for _, v := range n.Out {
		if v == nil {
			continue
		}
		s, ok := v.Type.Shape()
		if !ok {
			return 0, false
		}
		l, ok := s.CheckedLen()
		if !ok {
			return 0, false
		}
		bytes += v.Type.DType.ByteLen(l)
	}
	return bytes, true
}
