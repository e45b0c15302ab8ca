package pass

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// FuseDynamicQuant turns the chains that dynamic quantization writes, DynamicQuantizeLinear, MatMulInteger or ConvInteger, Cast,
// Mul by the product of both scales, and an Add of a bias, a residual and an activation behind it, into one operator that
// computes the same bits.
func FuseDynamicQuant(g *graph.Graph) error {
	f := newFuser(g)
	type key struct{ w, scale, zero *graph.Value }
	packed := map[key]*op.QuantMatMulWeight{}
	found := map[*graph.Node][]*dynamicChain{} // by DynamicQuantizeLinear node
	var order []*dynamicChain
	for _, n := range g.Nodes {
		switch n.Op.(type) {
		case *op.MatMulInteger, *op.ConvInteger:
		default:
			continue
		}
		c := f.dynamicChain(n)
		if f.err != nil {
			return f.err
		}
		if c != nil {
			found[c.quantize] = append(found[c.quantize], c)
			order = append(order, c)
		}
	}
	for _, c := range order {
		var o graph.Op
		var err error
		n := c.nodes[0]
		chain := c.nodes
		var residual *graph.Value
		switch i := n.Op.(type) {
		case *op.ConvInteger:
			w := c.weight
			spatial := len(w.Shape) - 2
			scale := perChannel(c.scale, w.Shape[0], spatial)
			if scale == nil || c.zero != nil && c.zero.Len() != 1 {
				continue
			}
			var bias *tensor.Tensor
			var a op.Activation
			chain, bias, residual, a = f.tail(chain, nil, channelBias(w.Shape[0], spatial), len(w.Shape))
			o, err = op.NewDynamicQuantConv(i, w, scale, c.zero, bias, residual != nil, a)
		case *op.MatMulInteger:
			cols := c.weight.Shape[1]
			scale := rowBias(cols)(c.scale)
			if scale == nil {
				continue
			}
			k := key{n.In[1], c.scaleValue, nil}
			if len(n.In) > 3 {
				k.zero = n.In[3]
			}
			if packed[k] == nil {
				if packed[k], err = op.NewQuantMatMulWeight(c.weight, false, scale, c.zero); err != nil {
					return fmt.Errorf("node %q (MatMulInteger): %w", n.Name, err)
				}
			}
			var bias *tensor.Tensor
			var a op.Activation
			chain, bias, residual, a = f.tail(chain, nil, rowBias(cols), 0)
			o, err = op.NewDynamicQuantMatMul(packed[k], bias, residual != nil, a)
		}
		if err != nil {
			return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
		}
		letGo(n.In[1])
		// Codes that several products share are computed once; those of a single one inside it.
		in := c.quantize.Out
		if len(found[c.quantize]) == 1 && f.readers(c.quantize) == 3 {
			in = c.quantize.In[:1]
		}
		in = append([]*graph.Value(nil), in...)
		if residual != nil {
			in = append(in, residual)
		}
		f.replace(chain, o, in...)
	}
	return f.finish()
}

// readers counts the reads of all outputs of a node; a single product reads each of DynamicQuantizeLinear's three once.
func (f *fuser) readers(n *graph.Node) int {
	count := 0
	for _, v := range n.Out {
		if v == nil {
			continue
		}
		count += len(f.uses[v])
		if f.g.IsOutput(v) {
			count++
		}
	}
	return count
}

// dynamicChain is an integer product of a dynamically quantized value and a constant, with its scaling back to float32.
type dynamicChain struct {
	quantize            *graph.Node
	nodes               []*graph.Node // product, Cast, Mul
	weight, scale, zero *tensor.Tensor
	scaleValue          *graph.Value
}

// dynamicChain matches the chain that begins at the product n, or returns nil.
func (f *fuser) dynamicChain(n *graph.Node) *dynamicChain {
	q := n.In[0].Node
	if q == nil || q.Op.Kind() != "DynamicQuantizeLinear" || len(n.In) < 3 || len(q.Out) < 3 || n.In[0] != q.Out[0] || n.In[2] == nil || n.In[2] != q.Out[2] {
		return nil
	}
	c := &dynamicChain{quantize: q, weight: f.constant(n.In[1])}
	if c.weight == nil || c.weight.Packed != nil || q.In[0].Type.DType != tensor.Float32 {
		return nil
	}
	if _, ok := n.Op.(*op.MatMulInteger); ok && len(c.weight.Shape) != 2 {
		return nil
	}
	if len(n.In) > 3 && n.In[3] != nil {
		if c.zero = f.constant(n.In[3]); c.zero == nil || len(c.zero.Shape) > 1 {
			return nil
		}
	}
	cast := f.next(n)
	if cast == nil || cast.Op.Kind() != "Cast" || cast.Out[0].Type.DType != tensor.Float32 {
		return nil
	}
	mul := f.next(cast)
	if mul == nil || mul.Op.Kind() != "Mul" {
		return nil
	}
	s := other(mul, cast.Out[0])
	if s == nil || s.Node == nil || s.Node.Op.Kind() != "Mul" {
		return nil
	}
	switch q.Out[1] {
	case s.Node.In[0]:
		c.scaleValue = s.Node.In[1]
	case s.Node.In[1]:
		c.scaleValue = s.Node.In[0]
	default:
		return nil
	}
	if c.scale = f.constant(c.scaleValue); c.scale == nil || c.scale.DType != tensor.Float32 {
		return nil
	}
	if len(f.uses[s]) != 1 {
		return nil
	}
	c.nodes = []*graph.Node{n, cast, mul}
	return c
}

// perChannel returns the scales of output channels, from [channels, 1...] or one value; nil for any other shape.
func perChannel(t *tensor.Tensor, channels, spatial int) *tensor.Tensor {
	if t.Len() == 1 && len(t.Shape) <= 1 {
		return t.Reshape(1)
	}
	return channelBias(channels, spatial)(t)
}
