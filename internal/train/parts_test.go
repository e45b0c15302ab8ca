package train

import (
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Cuts lie where one narrow value is handed on, and not where a wide one is, or two are.
func TestCutsAreNarrow(t *testing.T) {
	b := graph.NewBuilder("blocks")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Known(2), graph.Known(3)))
	h := x
	for range 4 { // Relu, Concat, Slice of it by a split, and the way around
		h = b.Add("relu", newOp(t, "Relu", nil), h)
		wide := b.Add("wide", newOp(t, "Concat", map[string]any{"axis": int64(1)}), h, h, h)
		parts := b.AddN("parts", 3, newOp(t, "Split", map[string]any{"axis": int64(1), "num_outputs": int64(3)}), wide)
		h = b.Add("sum", newOp(t, "Add", nil), h, b.Add("product", newOp(t, "Mul", nil), parts[0], parts[1]))
	}
	b.Output("y", h)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if got := handedOn(g.Nodes)[:7]; !slices.Equal(got, []int{0, 24, 96, 72, 48, 24, 24}) {
		t.Errorf("bytes handed on %v", got)
	}
	if got := cutsOf(g.Nodes, 1); !slices.Equal(got, []int{0, 20}) {
		t.Errorf("one part: %v", got)
	}
	for _, parts := range []int{2, 3, 4} {
		cuts := cutsOf(g.Nodes, parts)
		if len(cuts) != parts+1 {
			t.Errorf("%d parts: %v", parts, cuts)
		}
		for _, c := range cuts[1 : len(cuts)-1] {
			if c%5 > 1 {
				t.Errorf("%d parts: cut before node %q", parts, g.Nodes[c].Name)
			}
		}
	}
}
