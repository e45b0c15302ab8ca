package pass

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Rows is the name of the graph input that says which sequence each of the batch continues.
const Rows = "rows"

// CacheOptions say how the graph of a language model is to go on from earlier runs.
type CacheOptions struct {
	Positions string       // name of the value that holds the positions [batch, tokens]
	Type      tensor.DType // of the cache, one of op.CacheTypes
	Last      bool         // the output is that of the last token alone
}

// Cached returns a copy of the graph of a causal language model that computes whole sequences, as one that continues them:
// attention remembers keys and values, positions are an input, and so are the rows.
func Cached(g *graph.Graph, o CacheOptions) (*graph.Graph, error) {
	g = g.Clone()
	positions, err := takePositions(g, o.Positions)
	if err != nil {
		return nil, err
	}
	if err := apply(g, cleaning); err != nil {
		return nil, err
	}
	rows := &graph.Value{Name: g.ValueNames().Fresh(Rows), Type: graph.Ranked(tensor.Int64, graph.Named("batch"))}
	g.Inputs = append(g.Inputs, rows)
	n := 0
	for i, node := range g.Nodes {
		a, ok := node.Op.(*op.Attention)
		if !ok {
			continue
		}
		c, err := cachedAttention(g, node, a, positions, rows, o.Type)
		if err != nil {
			return nil, fmt.Errorf("node %q (Attention): %w", node.Name, err)
		}
		g.Nodes[i] = c
		n++
	}
	if n == 0 {
		return nil, errors.New("the model has no attention that could remember earlier tokens")
	}
	if o.Last {
		if err := lastToken(g); err != nil {
			return nil, err
		}
	}
	return g, RemoveDead(g)
}

// takePositions makes the value of a name, which the graph computes, one of its inputs.
func takePositions(g *graph.Graph, name string) (*graph.Value, error) {
	for _, n := range g.Nodes {
		for i, v := range n.Out {
			if v == nil || v.Name != name {
				continue
			}
			in := &graph.Value{Name: name, Type: graph.Ranked(tensor.Int64, graph.Named("batch"), graph.Named("tokens"))}
			g.Replace(v, in)
			n.Out[i].Name = g.ValueNames().Fresh(name + ".computed")
			g.Inputs = append(g.Inputs, in)
			return in, nil
		}
	}
	return nil, fmt.Errorf("the graph has no value %q: it is not that of a language model", name)
}

// cachedAttention returns the node that takes the place of an attention and of the rotations of its queries and keys.
func cachedAttention(g *graph.Graph, n *graph.Node, a *op.Attention, positions, rows *graph.Value, d tensor.DType) (*graph.Node, error) {
	switch {
	case !a.IsCausal:
		return nil, errors.New("it is not causal: a token sees those that come after it")
	case a.QueryHeads == nil || a.KVHeads == nil || len(n.In) > 4 || a.RightWindow >= 0 || a.SoftmaxPrecision != nil:
		return nil, errors.New("its form cannot be continued")
	}
	c := &op.CachedAttention{Heads: *a.QueryHeads, KVHeads: *a.KVHeads, Softcap: a.Softcap, Cache: d}
	if a.Scale != nil {
		c.Scale = *a.Scale
	}
	if a.LeftWindow >= 0 {
		c.Window = a.LeftWindow + 1
	}
	if len(n.In) == 4 && n.In[3] != nil {
		slopes, err := slopesOf(g, n.In[3], c.Heads)
		if err != nil {
			return nil, err
		}
		c.Slopes = slopes
	}
	in := []*graph.Value{n.In[0], n.In[1], n.In[2], positions, rows}
	q, k := rotationOf(n.In[0]), rotationOf(n.In[1])
	if q != nil && k != nil && q.In[1] == k.In[1] && q.In[2] == k.In[2] {
		r, s := q.Op.(*op.RotaryEmbedding), k.Op.(*op.RotaryEmbedding)
		if r.Interleaved == s.Interleaved && r.Rotated == s.Rotated {
			c.Rotary, c.Interleaved, c.Rotated = true, r.Interleaved, r.Rotated
			in[0], in[1] = q.In[0], k.In[0]
			in = append(in, q.In[1], q.In[2])
		}
	}
	out := n.Out[0]
	node := &graph.Node{Name: n.Name, Op: c, In: in, Out: []*graph.Value{out}}
	out.Node = node
	return node, nil
}

// rotationOf returns the rotary embedding of one table for each token that computes v; nil if there is none.
func rotationOf(v *graph.Value) *graph.Node {
	if v.Node == nil || len(v.Node.In) != 3 {
		return nil
	}
	if _, ok := v.Node.Op.(*op.RotaryEmbedding); !ok {
		return nil
	}
	return v.Node
}

// slopesOf returns the factors of a mask that is slopes [1, heads, 1, 1] times the positions of the keys.
func slopesOf(g *graph.Graph, mask *graph.Value, heads int) ([]float32, error) {
	if n := mask.Node; n != nil && n.Op.Kind() == "Mul" {
		t, err := g.Constant(n.In[0])
		if err != nil {
			return nil, err
		}
		if t != nil && t.DType == tensor.Float32 && t.Shape.Equal(tensor.Shape{1, heads, 1, 1}) && n.In[1].Node != nil && n.In[1].Node.Op.Kind() == "Cast" {
			return tensor.Data[float32](t), nil
		}
	}
	return nil, errors.New("its mask is none that can be continued")
}

// tokenwise are the operators that compute each token of their first input by itself if the others are parameters.
var tokenwise = map[string]bool{
	"com.microsoft.FusedMatMul": true, "MatMul": true, "Add": true, "Sub": true, "Mul": true, "Div": true, "Tanh": true,
	"RMSNormalization": true, "LayerNormalization": true, "Cast": true,
}

// lastToken takes the last token before what follows the last block, so that nothing is computed of the others there.
func lastToken(g *graph.Graph) error {
	if len(g.Outputs) != 1 {
		return fmt.Errorf("the graph has %d outputs; that of a language model has one", len(g.Outputs))
	}
	v := g.Outputs[0]
	for v.Node != nil && tokenwise[v.Node.Op.Kind()] {
		for _, p := range v.Node.In[1:] {
			if !g.IsParam(p) {
				return cut(g, v)
			}
		}
		v = v.Node.In[0]
	}
	return cut(g, v)
}

// cut makes all readers of v read its last token.
func cut(g *graph.Graph, v *graph.Value) error {
	o, _ := op.New("Gather")
	o.(*op.Gather).Axis = 1
	names := g.ValueNames()
	last := &graph.Value{Name: names.Fresh(v.Name + ".last")}
	index := graph.Param(names.Fresh("last"), tensor.Vector(int64(-1)))
	if !g.Replace(v, last) {
		return fmt.Errorf("the output %q is not computed of tokens", v.Name)
	}
	n := &graph.Node{Name: g.NodeNames().Fresh(last.Name), Op: o, In: []*graph.Value{v, index}, Out: []*graph.Value{last}}
	last.Node = n
	types, err := graph.InferNode(n)
	if err != nil {
		return err
	}
	last.Type = types[0]
	at := 0
	for i, m := range g.Nodes {
		if m == v.Node {
			at = i + 1
		}
	}
	g.Nodes = append(g.Nodes[:at], append([]*graph.Node{n}, g.Nodes[at:]...)...)
	return nil
}
