package arch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// LinearLayer is a linear layer of a graph that [Build] recorded.
type LinearLayer struct {
	Module string // its path in the model: its weight is Module.weight
	// In and Out are the sizes of what it takes and gives.
	In, Out int
	Turned  bool // the weight is [In, Out], as GPT-2 has it, and not [Out, In]
	Head    bool // it gives the logits
	// Expert is set for the networks of a mixture and what chooses between them, which other programs hold as stacks of matrices.
	Expert bool

	node *graph.Node
}

// LinearLayers lists the linear layers of a decoder in the order in which they are computed.
func LinearLayers(g *graph.Graph) []LinearLayer {
	var out []LinearLayer
	for _, n := range g.Nodes {
		turned := false
		switch o := n.Op.(type) {
		case *op.FusedMatMul:
			if o.TransA || o.TransBatchA || o.TransBatchB || !o.TransB {
				continue
			}
		case *op.MatMul:
			turned = true
		default:
			continue
		}
		w := n.In[1]
		name, ok := strings.CutSuffix(w.Name, ".weight")
		if !ok || !g.IsParam(w) || len(w.Data.Shape()) != 2 {
			continue
		}
		l := LinearLayer{Module: name, Out: w.Data.Shape()[0], In: w.Data.Shape()[1], Turned: turned, node: n}
		if turned {
			l.In, l.Out = l.Out, l.In
		}
		l.Expert = strings.Contains(name, ".experts.") || strings.HasSuffix(name, ".gate")
		out = append(out, l)
	}
	if len(out) > 0 {
		out[len(out)-1].Head = true
	}
	return out
}

// Adapt adds to what the layer gives for x the product scale*x*A'*B' of a low rank (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
// Models", arXiv:2106.09685): a is a parameter [rank, In], b one of [Out, rank]. With dropout above 0 that share of x is dropped while the graph
// is trained.
func (l *LinearLayer) Adapt(g *graph.Graph, a, b *graph.Value, scale, dropout float64) error {
	rank := a.Data.Shape()[0]
	if !a.Data.Shape().Equal(tensor.Shape{rank, l.In}) || !b.Data.Shape().Equal(tensor.Shape{l.Out, rank}) {
		return fmt.Errorf("module %q takes %d values and gives %d, its adapter has matrices %v and %v", l.Module, l.In, l.Out, a.Data.Shape(), b.Data.Shape())
	}
	at := slices.Index(g.Nodes, l.node)
	values, nodes := g.ValueNames(), g.NodeNames()
	var added []*graph.Node
	var err error
	node := func(name, kind string, attrs map[string]any, in ...*graph.Value) *graph.Value {
		o, ok := op.New(kind)
		if !ok {
			panic("arch: there is no operator " + kind)
		}
		if e := op.SetAttrs(o, attrs); e != nil && err == nil {
			err = e
		}
		n := &graph.Node{Name: nodes.Fresh(l.Module + "." + name), Op: o, In: in}
		v := &graph.Value{Name: values.Fresh(n.Name), Node: n}
		types, e := graph.InferNode(n)
		if e != nil && err == nil {
			err = fmt.Errorf("node %q (%s): %w", n.Name, kind, e)
		}
		if len(types) > 0 {
			v.Type = types[0]
		}
		n.Out = []*graph.Value{v}
		added = append(added, n)
		return v
	}
	x, y := l.node.In[0], l.node.Out[0]
	if dropout > 0 {
		x = node("lora_dropout", "Dropout", nil, x, graph.Param(values.Fresh(l.Module+".lora_dropout.ratio"), tensor.Scalar(float32(dropout))))
	}
	low := node("lora_A", "com.microsoft.FusedMatMul", map[string]any{"transB": int64(1)}, x, a)
	wide := node("lora_B", "com.microsoft.FusedMatMul", map[string]any{"transB": int64(1), "alpha": float32(scale)}, low, b)
	sum := node("lora", "Add", nil, y, wide)
	if err != nil {
		return err
	}
	g.Replace(y, sum)
	sum.Node.In[0] = y
	g.Nodes = slices.Insert(g.Nodes, at+1, added...)
	return nil
}

// ModulePrefix returns what the modules of a model of a configuration begin with, all but the head. Checkpoints of the model without a head
// leave it out of the names of their tensors.
func ModulePrefix(config map[string]any) (string, error) {
	c := newConfig(config)
	name := c.Text("model_type", "")
	read := architectures[name]
	if read == nil {
		return "", fmt.Errorf("config: unknown model_type %q", name)
	}
	_, base, _ := read(c).about()
	return base, nil
}
