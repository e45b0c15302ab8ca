package train

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
)

// frozen are the encoded matrices of a task that training goes through and does not change, as the kernels take them, by the names of
// the parameters. All programs of the task share them.
type frozen map[string]*op.MatMulWeight

// apply makes products with encoded parameters that are not trained products with their codes: there is no float copy of such a matrix, and
// its gradient towards the other operand decodes it a few rows at a time.
func (f frozen) apply(g *graph.Graph, trained []*graph.Value) error {
	names := map[string]bool{}
	for _, v := range trained {
		names[v.Name] = true
	}
	for _, n := range g.Nodes {
		o, ok := n.Op.(*op.FusedMatMul)
		if !ok || !o.TransB || o.TransA || o.TransBatchA || o.TransBatchB {
			continue
		}
		v := n.In[1]
		if !g.IsParam(v) || names[v.Name] || len(v.Data.Shape()) != 2 {
			continue
		}
		w, known := f[v.Name]
		if !known {
			t, err := v.Data.Load()
			if err != nil {
				return fmt.Errorf("parameter %q: %w", v.Name, err)
			}
			if t.Packed != nil {
				if w, err = op.NewFrozenWeight(t); err != nil {
					return fmt.Errorf("parameter %q: %w", v.Name, err)
				}
			}
			f[v.Name] = w
		}
		if w == nil {
			continue
		}
		p, err := op.NewPackedMatMul(w, o.Alpha, nil, false, op.Activation{})
		if err != nil {
			return fmt.Errorf("parameter %q: %w", v.Name, err)
		}
		n.Op, n.In = p, slices.Clone(n.In[:1])
	}
	return nil
}
