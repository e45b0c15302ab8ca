package quantize

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// placement says where quantizers go: which activations are held in 8 bits and which of them share parameters, and which
// weights and biases. It is made from types alone and is the same for calibration and for training.
type placement struct {
	g     *graph.Graph
	uses  map[*graph.Value][]*graph.Node
	roles map[*graph.Node]role
	// values are the quantized activations in the order of the graph; root names, for each, the value whose parameters it has.
	values []*graph.Value
	root   map[*graph.Value]*graph.Value
	fixed  map[*graph.Value][2]float32 // ranges known without calibration
	layers []placedLayer
	left   map[*graph.Node]bool // operators with a range of their own that the recipe leaves in float
}

// role is what a node is to quantization.
type role uint8

const (
	inFloat  role = iota
	product       // Conv, Gemm, MatMul: what the rest is there for
	pointy        // computes on codes with parameters of its own: Add, Mul, pools, Sigmoid ...
	carrying      // moves codes: Reshape, MaxPool ...
	absorbed      // Relu or Clip whose clamp is in the range of its output, or a bias behind a MatMul
)

// placedLayer is a product with its weight and bias, if they are constant.
type placedLayer struct {
	node    *graph.Node
	x       *graph.Value
	weight  *graph.Value // nil: both factors are activations
	bias    *graph.Value
	channel int // axis of the weight with scales of its own
	why     string
}

// ownRange lists operators that ONNX Runtime computes on codes with parameters of their own for every input and output.
var ownRange = []string{"Add", "Mul", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"}

// sameRange lists operators that only move codes, so that their output has the parameters of their first input.
var sameRange = []string{"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "DepthToSpace", "SpaceToDepth"}

// place chooses what is quantized. skip says why a product, or an operator with a range of its own, is to be left alone, or
// nothing.
func place(g *graph.Graph, skip func(n *graph.Node, w *graph.Value) string) *placement {
	p := &placement{g: g, uses: g.Uses(), roles: map[*graph.Node]role{}, root: map[*graph.Value]*graph.Value{}, fixed: map[*graph.Value][2]float32{}, left: map[*graph.Node]bool{}}
	for _, n := range g.Nodes {
		if l, ok := p.layer(n); ok {
			if l.why == "" {
				l.why = skip(n, l.weight)
			}
			p.layers = append(p.layers, l)
			if l.why == "" {
				p.roles[n] = product
			}
		}
	}
	for _, n := range g.Nodes {
		if slices.Contains(ownRange, n.Op.Kind()) && skip(n, nil) != "" {
			p.left[n] = true
		}
	}
	for _, n := range g.Nodes {
		if p.roles[n] != product {
			continue
		}
		for i, v := range n.In[:2] {
			if i == 0 || !g.IsParam(v) {
				p.take(v)
			}
		}
	}
	// Codes spread forward from the products through what can be computed on codes.
	for _, n := range g.Nodes {
		switch {
		case p.roles[n] == product:
			if out := p.result(n); n.Op.Kind() == "Conv" || p.wanted(out) {
				p.take(out)
			} else if len(p.uses[out]) > 0 || g.IsOutput(out) {
				p.release(n)
			}
		case p.roles[n] == absorbed:
		case slices.Contains(ownRange, n.Op.Kind()) && p.allTaken(n) && !p.left[n]:
			p.roles[n] = pointy
			p.take(p.result(n))
		case n.Op.Kind() == "Concat" && p.allTaken(n):
			p.roles[n] = carrying
			p.take(n.Out[0])
			for _, v := range n.In {
				p.share(v, n.Out[0])
			}
		case p.carries(n):
			p.roles[n] = carrying
			for _, v := range n.Out {
				if v != nil {
					p.take(v)
					p.share(n.In[0], v)
				}
			}
		case n.Op.Kind() == "Softmax":
			p.fixed[n.Out[0]] = [2]float32{0, 1}
		}
	}
	p.order()
	return p
}

// layer describes n if it is a product, with the reason if it cannot be quantized.
func (p *placement) layer(n *graph.Node) (placedLayer, bool) {
	l := placedLayer{node: n}
	switch n.Op.Kind() {
	case "Conv":
		l.x, l.weight, l.channel = n.In[0], n.In[1], 0
	case "Gemm":
		l.x, l.weight, l.channel = n.In[0], n.In[1], gemmChannel(n)
	case "MatMul":
		l.x, l.weight, l.channel = n.In[0], n.In[1], 1
	default:
		return l, false
	}
	if len(n.In) > 2 {
		l.bias = n.In[2]
	}
	switch {
	case l.x.Type.DType != tensor.Float32:
		l.why = fmt.Sprintf("activations are %v; the integer form takes float32", l.x.Type.DType)
	case p.g.IsParam(l.x):
		l.why = "the constant factor is on the left"
	case !p.g.IsParam(l.weight):
		if n.Op.Kind() != "MatMul" {
			l.why = "the weight is not constant"
		}
		l.weight = nil
	case l.weight.Data.DType() != tensor.Float32:
		l.why = fmt.Sprintf("the weight is %v already", l.weight.Data.DType())
	case n.Op.Kind() != "Conv" && len(l.weight.Data.Shape()) != 2:
		l.why = fmt.Sprintf("the weight has rank %d; the integer form takes matrices", len(l.weight.Data.Shape()))
	}
	if o, ok := n.Op.(*op.Gemm); ok && l.why == "" && (o.Alpha != 1 || l.bias != nil && o.Beta != 1 || o.TransA) {
		l.why = "alpha, beta or a transposed input, which the integer form does not have"
	}
	if l.why == "" && l.bias != nil && !p.g.IsParam(l.bias) {
		l.why = "the bias is not constant"
	}
	return l, true
}

// result follows a node's output through a bias behind a MatMul and a Relu or Clip to the value whose range counts.
func (p *placement) result(n *graph.Node) *graph.Value {
	v := n.Out[0]
	if n.Op.Kind() == "MatMul" {
		if m := p.only(v); m != nil && m.Op.Kind() == "Add" && p.g.IsParam(otherInput(m, v)) {
			p.roles[m] = absorbed
			v = m.Out[0]
		}
	}
	if m := p.only(v); m != nil && (m.Op.Kind() == "Relu" || m.Op.Kind() == "Clip") && m.In[0] == v {
		p.roles[m] = absorbed
		v = m.Out[0]
	}
	return v
}

// release undoes result for a product whose result stays in float.
func (p *placement) release(n *graph.Node) {
	for m := p.only(n.Out[0]); m != nil && p.roles[m] == absorbed; m = p.only(m.Out[0]) {
		delete(p.roles, m)
	}
}

// wanted reports whether somebody computes on codes of v: a product, or what carries codes to one.
func (p *placement) wanted(v *graph.Value) bool {
	for _, m := range p.uses[v] {
		if p.roles[m] == product || slices.Contains(ownRange, m.Op.Kind()) && p.allTakenBut(m, v) && !p.left[m] {
			return true
		}
		if (slices.Contains(sameRange, m.Op.Kind()) || m.Op.Kind() == "Concat") && m.In[0] == v && p.wanted(m.Out[0]) {
			return true
		}
	}
	return false
}

func (p *placement) allTakenBut(n *graph.Node, v *graph.Value) bool {
	for _, x := range n.In {
		if x != v && (x == nil || p.root[x] == nil) {
			return false
		}
	}
	return true
}

func (p *placement) allTaken(n *graph.Node) bool { return p.allTakenBut(n, nil) }

// carries reports whether n moves codes of a quantized value.
func (p *placement) carries(n *graph.Node) bool {
	if p.root[n.In[0]] == nil {
		return false
	}
	switch n.Op.Kind() {
	case "MaxPool":
		return len(n.Out) < 2 || n.Out[1] == nil
	case "Pad":
		mode, _ := stringAttr(n.Op, "mode")
		if mode == "" || mode == "constant" {
			if len(n.In) > 2 && n.In[2] != nil {
				t, err := p.g.Constant(n.In[2])
				if err != nil || t == nil {
					return false
				}
				f, err := t.Floats()
				return err == nil && len(f) == 1 && f[0] == 0
			}
		}
		return true
	case "Resize":
		mode, _ := stringAttr(n.Op, "mode")
		return mode == "" || mode == "nearest"
	}
	return slices.Contains(sameRange, n.Op.Kind())
}

// only returns the one reader of v, or nil.
func (p *placement) only(v *graph.Value) *graph.Node {
	if len(p.uses[v]) != 1 || p.g.IsOutput(v) {
		return nil
	}
	return p.uses[v][0]
}

func otherInput(n *graph.Node, v *graph.Value) *graph.Value {
	if n.In[0] == v {
		return n.In[1]
	}
	return n.In[0]
}

func (p *placement) take(v *graph.Value) {
	if p.root[v] == nil && v.Type.DType == tensor.Float32 {
		p.root[v] = v
	}
}

// share gives two values the same parameters: those of the earlier root.
func (p *placement) share(a, b *graph.Value) {
	ra, rb := p.find(a), p.find(b)
	if ra != rb {
		p.root[rb] = ra
	}
}

func (p *placement) find(v *graph.Value) *graph.Value {
	for p.root[v] != v {
		v = p.root[v]
	}
	return v
}

// order lists the quantized values as the graph computes them.
func (p *placement) order() {
	for _, v := range p.g.Inputs {
		if p.root[v] != nil {
			p.values = append(p.values, v)
		}
	}
	for _, n := range p.g.Nodes {
		for _, v := range n.Out {
			if v != nil && p.root[v] != nil {
				p.values = append(p.values, v)
			}
		}
	}
}
