package pass

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// Standard writes what graphs of checkpoints have in a form of their own as runtimes of ONNX take it.
func Standard(g *graph.Graph) error {
	standardProducts(g)
	return wholeMasks(g)
}

// standardProducts writes products with the transpose of a matrix of floats, as graphs of checkpoints have them, as MatMul with the transposed
// matrix, which every runtime has and which has integer forms. Matrices of codes and those that are used elsewhere too, such as embeddings,
// stay as they are.
func standardProducts(g *graph.Graph) {
	uses := g.Uses()
	for _, n := range g.Nodes {
		o, ok := n.Op.(*op.FusedMatMul)
		if !ok || *o != (op.FusedMatMul{Alpha: 1, TransB: true}) {
			continue
		}
		w := n.In[1]
		if !g.IsParam(w) || len(uses[w]) != 1 || g.IsOutput(w) || w.Data.DType() != tensor.Float32 || len(w.Data.Shape()) != 2 {
			continue
		}
		if _, codes := w.Data.(packed.Coded); codes {
			continue
		}
		n.Op, n.In[1] = &op.MatMul{}, graph.FromSource(w.Name, packed.Turned(w.Data))
	}
}

// wholeMasks gives masks of attention that are the same for all queries a row for each: ONNX lets them be broadcast, ONNX Runtime does not.
func wholeMasks(g *graph.Graph) error {
	x := &expander{fuser: newFuser(g), names: g.ValueNames()}
	names, whole := g.NodeNames(), map[*graph.Value]*graph.Value{}
	for _, n := range g.Nodes {
		if _, ok := n.Op.(*op.Attention); !ok || len(n.In) < 4 || n.In[3] == nil || !oneRow(n.In[0].Type, n.In[3].Type) {
			continue
		}
		mask := n.In[3]
		if whole[mask] == nil {
			x.n, x.nodes = n, nil
			ones := func(count int) *graph.Value {
				return graph.Param(x.names.Fresh("ones"), tensor.Vector(slices.Repeat([]int64{1}, count)...))
			}
			end := 2
			rows := x.add(&op.Shape{Start: 1, End: &end}, n.In[0])
			shape := x.add(&op.Concat{}, ones(len(mask.Type.Dims)-2), rows, ones(1))
			if whole[mask] = x.add(&op.Expand{}, mask, shape); whole[mask] == nil {
				return fmt.Errorf("node %q (Attention): a mask %v cannot be given rows", n.Name, mask.Type)
			}
			for _, m := range x.nodes {
				m.Name = names.Fresh(n.Name + ".mask")
			}
			x.at[n] = append(x.nodes, n)
		}
		n.In[3] = whole[mask]
	}
	return x.finish()
}

// oneRow reports whether a mask has one row for queries [batch, tokens, heads*size] of which there are more.
func oneRow(query, mask graph.Type) bool {
	if !query.Ranked || len(query.Dims) != 3 || query.Dims[1].IsKnown() && query.Dims[1].Size == 1 || !mask.Ranked || len(mask.Dims) < 2 {
		return false
	}
	rows := mask.Dims[len(mask.Dims)-2]
	return rows.IsKnown() && rows.Size == 1
}
