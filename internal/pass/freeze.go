package pass

import "github.com/neurotrain/neuroquant/internal/graph"

// FreezeInputs makes graph inputs that have a default constants of the graph, and returns their names. Files of the older kind
// list every weight among the inputs, which nobody overrides and which keeps the weights from being quantized or folded.
func FreezeInputs(g *graph.Graph) []string {
	var frozen []string
	kept := g.Inputs[:0:0]
	for _, v := range g.Inputs {
		if v.Data != nil {
			frozen = append(frozen, v.Name)
			continue
		}
		kept = append(kept, v)
	}
	g.Inputs = kept
	return frozen
}
