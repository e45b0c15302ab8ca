package quantize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// codesEnd is what the names of weights in codes end in where [ToMatMulNBits] wrote them.
const codesEnd = "_codes"

// FromMatMulNBits returns the weights of the nodes com.microsoft.MatMulNBits of a graph, by the names that they had as floats.
func FromMatMulNBits(g *graph.Graph) (map[string]*packed.Affine, error) {
	out := map[string]*packed.Affine{}
	for _, n := range g.Nodes {
		o, ok := n.Op.(*op.MatMulNBits)
		if !ok {
			continue
		}
		a, err := affineOf(g, o, n.In)
		if err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", n.Name, o.Kind(), err)
		}
		out[strings.TrimSuffix(n.In[1].Name, codesEnd)] = a
	}
	return out, nil
}

func affineOf(g *graph.Graph, o *op.MatMulNBits, in []*graph.Value) (*packed.Affine, error) {
	constant := func(i int) (*tensor.Tensor, error) {
		if i >= len(in) || in[i] == nil {
			return nil, nil
		}
		if !g.IsParam(in[i]) {
			return nil, fmt.Errorf("input %d is no constant", i)
		}
		return in[i].Data.Load()
	}
	var t [5]*tensor.Tensor
	for i := 1; i < 5; i++ {
		var err error
		if t[i], err = constant(i); err != nil {
			return nil, err
		}
	}
	groups := (o.K + o.BlockSize - 1) / o.BlockSize
	perByte := 8 / o.Bits
	if t[1] == nil || t[2] == nil || t[1].DType != tensor.Uint8 || t[1].Len() != o.N*groups*o.BlockSize/perByte || t[2].Len() != o.N*groups {
		return nil, fmt.Errorf("codes or scales do not fit %d x %d in blocks of %d", o.N, o.K, o.BlockSize)
	}
	unpack := func(src []byte, i int) byte { return src[i/perByte] >> (i % perByte * o.Bits) & (1<<o.Bits - 1) }
	codes := make([]byte, o.N*o.K)
	for r := range o.N {
		for c := range o.K {
			codes[r*o.K+c] = unpack(t[1].Bytes(), r*groups*o.BlockSize+c)
		}
	}
	scales, err := t[2].Floats()
	if err != nil {
		return nil, err
	}
	var zeros []byte
	if t[3] != nil {
		width := (groups + perByte - 1) / perByte
		if t[3].DType != tensor.Uint8 || t[3].Len() != o.N*width {
			return nil, fmt.Errorf("zero points of %v; want uint8, packed like the codes", t[3])
		}
		for r := range o.N {
			for i := range groups {
				zeros = append(zeros, unpack(t[3].Bytes()[r*width:], i))
			}
		}
	}
	var index []int32
	if t[4] != nil {
		whole, err := t[4].Ints()
		if err != nil {
			return nil, err
		}
		for _, v := range whole {
			index = append(index, int32(v))
		}
	}
	return packed.NewAffine(o.Bits, o.N, o.K, o.BlockSize, codes, slices.Clone(scales), t[2].DType, zeros, index)
}
