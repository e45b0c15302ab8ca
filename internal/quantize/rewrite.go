package quantize

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// rewriter replaces nodes of a graph one by one: emit appends nodes, and the last one takes over the outputs of the node it
// stands for, so the values of the graph stay what they are.
type rewriter struct {
	g      *graph.Graph
	nodes  []*graph.Node
	values graph.Names
	names  graph.Names
	scope  string // prefix of the names of new nodes and values
	err    error
	dyn    map[*graph.Value][3]*graph.Value // dynamically quantized form of a value, shared by its readers
}

func newRewriter(g *graph.Graph) *rewriter {
	return &rewriter{g: g, values: g.ValueNames(), names: g.NodeNames(), dyn: map[*graph.Value][3]*graph.Value{}}
}

type attrs map[string]any

// op returns an operator with attributes; a mistake in them is a defect of the caller and sticks as an error.
func (r *rewriter) op(kind string, a attrs) graph.Op {
	o, ok := op.New(kind)
	if !ok {
		r.fail(fmt.Errorf("there is no operator %s", kind))
		return nil
	}
	if a != nil {
		if err := op.SetAttrs(o, a); err != nil {
			r.fail(fmt.Errorf("%s: %w", kind, err))
		}
	}
	return o
}

func (r *rewriter) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// emit appends a node with n outputs and returns them.
func (r *rewriter) emit(suffix string, n int, kind string, a attrs, in ...*graph.Value) []*graph.Value {
	node := &graph.Node{Name: r.names.Fresh(r.scope + suffix), Op: r.op(kind, a), In: in}
	for i := range n {
		name := node.Name
		if i > 0 {
			name = fmt.Sprintf("%s_%d", node.Name, i)
		}
		node.Out = append(node.Out, &graph.Value{Name: r.values.Fresh(name + "_out"), Node: node})
	}
	if r.err == nil {
		types, err := graph.InferNode(node)
		if err != nil {
			r.fail(fmt.Errorf("node %q (%s): %w", node.Name, kind, err))
		}
		for i, v := range node.Out {
			if i < len(types) {
				v.Type = types[i]
			}
		}
	}
	r.nodes = append(r.nodes, node)
	return node.Out
}

func (r *rewriter) add(suffix, kind string, in ...*graph.Value) *graph.Value {
	return r.emit(suffix, 1, kind, nil, in...)[0]
}

// param makes a parameter of the graph.
func (r *rewriter) param(name string, t *tensor.Tensor) *graph.Value {
	return graph.Param(r.values.Fresh(name), t)
}

// become makes v's producer produce old instead: the value that the rest of the graph reads.
func (r *rewriter) become(v, old *graph.Value) {
	n := v.Node
	for i := range n.Out {
		if n.Out[i] == v {
			n.Out[i] = old
		}
	}
	old.Node = n
}

// quantized returns x dynamically quantized: codes, scale, zero point (ONNX DynamicQuantizeLinear), once per value.
func (r *rewriter) quantized(x *graph.Value) [3]*graph.Value {
	if q, ok := r.dyn[x]; ok {
		return q
	}
	scope := r.scope
	r.scope = x.Name
	o := r.emit("_quantize", 3, "DynamicQuantizeLinear", nil, x)
	r.scope = scope
	q := [3]*graph.Value{o[0], o[1], o[2]}
	r.dyn[x] = q
	return q
}

// float scales an integer product back: Cast(acc) * (scale of x * scale of w), in the order in which ONNX Runtime's fused
// kernels compute it.
func (r *rewriter) float(acc, xScale, wScale *graph.Value) *graph.Value {
	f := r.emit("_cast", 1, "Cast", attrs{"to": int64(tensor.Float32)}, acc)[0]
	s := r.add("_scales", "Mul", xScale, wScale)
	return r.add("_rescale", "Mul", f, s)
}
