package pass

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// WidenCodes gives constants in codes of less than 8 bits a byte for each, which integer kernels multiply: DequantizeLinear makes
// the same values of them. Codes with a scale for every block stay, since no integer kernel takes them.
func WidenCodes(g *graph.Graph) error {
	wide := map[*graph.Value]*graph.Value{}
	widen := func(v *graph.Value) *graph.Value {
		d := widened(v.Data.DType())
		if d == tensor.Invalid {
			return nil
		}
		if wide[v] == nil {
			wide[v] = graph.FromSource(v.Name, &bytesOf{v.Data, d})
		}
		return wide[v]
	}
	for _, n := range g.Nodes {
		o, ok := n.Op.(*op.DequantizeLinear)
		if !ok || o.BlockSize != 0 || !g.IsParam(n.In[0]) {
			continue
		}
		zero := optional(n.In, 2)
		if zero != nil && !g.IsParam(zero) {
			continue
		}
		codes := widen(n.In[0])
		if codes == nil {
			continue
		}
		in := append([]*graph.Value(nil), n.In...)
		in[0] = codes
		if zero != nil {
			if in[2] = widen(zero); in[2] == nil {
				continue
			}
		}
		n.In = in
	}
	return nil
}

// widened returns the type of one byte that holds the codes of a smaller one, Invalid if d is none.
func widened(d tensor.DType) tensor.DType {
	switch d {
	case tensor.Int4, tensor.Int2:
		return tensor.Int8
	case tensor.Uint4, tensor.Uint2:
		return tensor.Uint8
	}
	return tensor.Invalid
}

// bytesOf is a packed parameter with a byte for each code.
type bytesOf struct {
	tensor.Source
	dtype tensor.DType
}

func (b *bytesOf) DType() tensor.DType { return b.dtype }

// Load returns a new tensor.
func (b *bytesOf) Load() (*tensor.Tensor, error) {
	t, err := b.Source.Load()
	if err != nil {
		return nil, err
	}
	return tensor.FromBytes(b.dtype, t.Shape, tensor.Unpack(t.DType, t.Bytes(), t.Len()))
}

// Release lets go of the packed parameter.
func (b *bytesOf) Release() { tensor.Release(b.Source) }
