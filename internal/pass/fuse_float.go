package pass

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// FuseConv packs the weights of float32 convolutions once and takes bias, residual Add and activation into them.
func FuseConv(g *graph.Graph) error { return fuseConv(g, false) }

// fuseConvSecond is [FuseConv] of convolutions that go on computing on images [batch, channels, spatial...].
func fuseConvSecond(g *graph.Graph) error { return fuseConv(g, true) }

func fuseConv(g *graph.Graph, second bool) error {
	f := newFuser(g)
	defer f.close()
	for _, n := range g.Nodes {
		c, ok := n.Op.(*op.Conv)
		if !ok || f.gone[n] {
			continue
		}
		w := f.passing(n.In[1])
		if w == nil || w.DType != tensor.Float32 || n.In[0].Type.DType != tensor.Float32 || len(w.Shape) < 3 {
			continue
		}
		var bias *tensor.Tensor
		if len(n.In) > 2 && n.In[2] != nil {
			if bias = f.constant(n.In[2]); bias == nil {
				continue
			}
		}
		chain, bias, residual, a := f.tail([]*graph.Node{n}, bias, channelBias(w.Shape[0], len(w.Shape)-2), len(w.Shape))
		o, err := op.NewPackedConv(c, w, bias, residual != nil, a, second)
		if err != nil {
			return fmt.Errorf("node %q (Conv): %w", n.Name, err)
		}
		letGo(n.In[1])
		in := []*graph.Value{n.In[0]}
		if residual != nil {
			in = append(in, residual)
		}
		f.replace(chain, o, in...)
	}
	return f.finish()
}

// FuseMatMul packs the constant right operands of float32 products once, shared ones together, and takes bias and activation
// into them.
func FuseMatMul(g *graph.Graph) error {
	f := newFuser(g)
	type key struct {
		v     *graph.Value
		trans bool
	}
	packed := map[key]*op.MatMulWeight{}
	for _, n := range g.Nodes {
		if f.gone[n] {
			continue
		}
		alpha, trans := float32(1), false
		var bias *tensor.Tensor
		switch o := n.Op.(type) {
		case *op.MatMul:
		case *op.Gemm:
			if o.TransA {
				continue
			}
			alpha, trans = o.Alpha, o.TransB
		case *op.FusedMatMul:
			if o.TransA || o.TransBatchA || o.TransBatchB {
				continue
			}
			alpha, trans = o.Alpha, o.TransB
		default:
			continue
		}
		w := f.constant(n.In[1])
		if w == nil || w.DType != tensor.Float32 || w.Packed != nil && !trans || len(w.Shape) != 2 || n.In[0].Type.DType != tensor.Float32 {
			continue
		}
		cols := w.Shape[1]
		if trans {
			cols = w.Shape[0]
		}
		if o, ok := n.Op.(*op.Gemm); ok && len(n.In) > 2 && n.In[2] != nil && o.Beta != 0 {
			c := f.constant(n.In[2])
			if c == nil || c.DType != tensor.Float32 {
				continue
			}
			if bias = rowBias(cols)(c); bias == nil {
				continue
			}
			if o.Beta != 1 {
				scaled := tensor.New(tensor.Float32, bias.Shape...)
				for i, v := range tensor.Data[float32](bias) {
					tensor.Data[float32](scaled)[i] = o.Beta * v
				}
				bias = scaled
			}
		}
		k := key{n.In[1], trans}
		if packed[k] == nil {
			p, err := op.NewMatMulWeight(w, trans, func() { letGo(n.In[1]) })
			if err != nil {
				return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
			packed[k] = p
			if !p.InPlace() {
				letGo(n.In[1])
			}
		}
		chain, bias, residual, a := f.tail([]*graph.Node{n}, bias, rowBias(cols), 0)
		o, err := op.NewPackedMatMul(packed[k], alpha, bias, residual != nil, a)
		if err != nil {
			return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
		}
		in := []*graph.Value{n.In[0]}
		if residual != nil {
			in = append(in, residual)
		}
		f.replace(chain, o, in...)
	}
	return f.finish()
}
