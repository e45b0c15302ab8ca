package graph_test

import (
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestStages cuts a block with a path around it: two layers that share an input, their product, a third layer, and a sum.
func TestStages(t *testing.T) {
	b := graph.NewBuilder("block")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("tokens"), graph.Known(4)))
	w := func(name string) *graph.Value { return b.Param(name, tensor.New(tensor.Float32, 4, 4)) }
	h := b.Add("before", &op.Relu{}, x)
	p := b.Add("a", &op.MatMul{}, h, w("wa"))
	q := b.Add("b", &op.MatMul{}, h, w("wb"))
	m := b.Add("times", &op.Mul{}, p, q)
	y := b.Add("c", &op.MatMul{}, m, w("wc"))
	b.Output("y", b.Add("sum", &op.Add{}, x, y))
	b.Output("z", b.Add("last", &op.Relu{}, h))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	layer := func(n *graph.Node) (*graph.Value, bool) {
		_, ok := n.Op.(*op.MatMul)
		if !ok {
			return nil, false
		}
		return n.In[0], true
	}
	stages := graph.Stages(g, layer)
	names := func(v []*graph.Value) (out []string) {
		for _, x := range v {
			out = append(out, x.Name)
		}
		slices.Sort(out)
		return out
	}
	nodes := func(v []*graph.Node) (out []string) {
		for _, x := range v {
			out = append(out, x.Name)
		}
		return out
	}
	want := []struct{ nodes, in, out, layers []string }{
		{[]string{"before", "last"}, []string{"x"}, names([]*graph.Value{h, g.Outputs[1]}), []string{"a", "b"}},
		{[]string{"a", "b", "times"}, names([]*graph.Value{h}), names([]*graph.Value{m}), []string{"c"}},
		{[]string{"c", "sum"}, names([]*graph.Value{x, m}), names([]*graph.Value{g.Outputs[0]}), nil},
	}
	if len(stages) != len(want) {
		t.Fatalf("%d stages, want %d", len(stages), len(want))
	}
	for i, s := range stages {
		if !slices.Equal(nodes(s.Graph.Nodes), want[i].nodes) || !slices.Equal(names(s.In), want[i].in) || !slices.Equal(names(s.Out), want[i].out) || !slices.Equal(nodes(s.Layers), want[i].layers) {
			t.Errorf("stage %d: nodes %v, in %v, out %v, layers %v; want %+v", i, nodes(s.Graph.Nodes), names(s.In), names(s.Out), nodes(s.Layers), want[i])
		}
		if len(s.In) != len(s.Graph.Inputs) || len(s.Out) != len(s.Graph.Outputs) {
			t.Errorf("stage %d has other inputs or outputs than its graph", i)
		}
	}
	// What a layer becomes is what the stage computes with.
	n := stages[0].Layers[0]
	changed := b.Param("wa2", tensor.New(tensor.Float32, 4, 4))
	n.In[1] = changed
	stages[1].Refresh(map[string]*graph.Node{n.Name: n})
	if stages[1].Graph.Nodes[0].In[1] != changed {
		t.Error("the stage computes with the old weight")
	}
}
