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
	params map[any]*graph.Value             // parameters by what they are made of, shared likewise
}

// newRewriter returns a rewriter of g that takes new names from sets shared with rewriters of graphs around it.
func newRewriter(g *graph.Graph, values, nodes graph.Names) *rewriter {
	return &rewriter{g: g, values: values, names: nodes, dyn: map[*graph.Value][3]*graph.Value{}, params: map[any]*graph.Value{}}
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
		node.Out = append(node.Out, &graph.Value{Name: r.values.Fresh(name), Node: node})
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

// shared makes a parameter once for everything of the same key.
func (r *rewriter) shared(key any, name string, make func() tensor.Source) *graph.Value {
	v := r.params[key]
	if v == nil {
		v = graph.FromSource(r.values.Fresh(name), make())
		r.params[key] = v
	}
	return v
}

// codeParam, scaleParam and zeroParam make the parameters of a quantized weight. Scales get trailing dimensions of one.
func (r *rewriter) codeParam(name string, c *codes) *graph.Value {
	return r.shared(c.source(), name+"_quantized", c.source)
}

func (r *rewriter) scaleParam(name string, c *codes, trailing int) *graph.Value {
	return r.shared(paramPart{c, "scale", trailing}, name+"_scale", func() tensor.Source { return tensor.InMemory(c.scales(trailing)) })
}

func (r *rewriter) zeroParam(name string, c *codes, t func() *tensor.Tensor) *graph.Value {
	return r.shared(paramPart{c, "zero", 0}, name+"_zero_point", func() tensor.Source { return tensor.InMemory(t()) })
}

// zeros makes zero points: n of the value zero, a single one as a scalar. All of one kind are one parameter.
func (r *rewriter) zeros(d tensor.DType, n int, zero int32) *graph.Value {
	type key struct {
		d    tensor.DType
		n    int
		zero int32
	}
	name, shape := fmt.Sprintf("zero_point_%d", zero), tensor.Shape{}
	if n > 1 {
		name, shape = fmt.Sprintf("zero_points_%d", n), tensor.Shape{n}
	}
	return r.shared(key{d, n, zero}, name, func() tensor.Source {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(zero)
		}
		t, err := tensor.FromFloat64s(d, shape, v)
		if err != nil {
			r.fail(fmt.Errorf("zero point %d of %v: %w", zero, d, err))
			t = tensor.New(d, shape...)
		}
		return tensor.InMemory(t)
	})
}

// paramPart is the key of what belongs to the codes of a weight.
type paramPart struct {
	of       *codes
	part     string
	trailing int
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
