package quantize

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// placement says where quantizers go: which activations are held in codes and which of them share parameters, and which
// weights, biases and constants. It is made from types alone and is the same for calibration and for training.
//
// Products (Conv, Gemm, MatMul) are what the rest is there for: their inputs are held in codes. From there codes spread through
// whatever can be computed on them, but only on ways that end in a product again: what nothing behind needs in codes stays in
// float, where it costs no accuracy. The result of a Conv is the exception. Runtimes have no integer convolution with a float
// result, so it is always held in codes.
type placement struct {
	g     *graph.Graph
	rules placeRules
	uses  map[*graph.Value][]*graph.Node
	roles map[*graph.Node]role
	// values are the quantized activations in the order of the graph; root names, for each, the value whose parameters it has.
	values []*graph.Value
	root   map[*graph.Value]*graph.Value
	fixed  map[*graph.Value][2]float32 // ranges known without calibration
	layers []placedLayer
	consts map[*graph.Node][]int // constant operands that are held in codes, by input
	floats []floatNode

	tails  map[*graph.Node]tail
	able   map[*graph.Value]bool // could be in codes
	wanted map[*graph.Value]bool // something behind it computes on codes
	kept   map[*graph.Node]string
}

// placeRules is what a recipe asks of a placement.
type placeRules struct {
	// layer says why a product or embedding is to be left alone, or nothing, other the same of any other node. w is the weight of a
	// layer, if it has one.
	layer func(n *graph.Node, w *graph.Value) string
	other func(n *graph.Node) string
	// codes are what activations are held in. Symmetric ones cannot take the clamp of a Relu into their range: zero is no end of it.
	codes codeForm
}

// role is what a node is to quantization.
type role uint8

const (
	inFloat  role = iota
	product       // Conv, Gemm, MatMul: what the rest is there for
	pointy        // computes on codes with parameters of its own: Add, Mul, pools, Sigmoid ...
	tabled        // a function between codes that has a table here and is computed in float by ONNX Runtime
	carrying      // moves codes: Reshape, MaxPool ...
	absorbed      // Relu or Clip whose clamp is in the range of its output, or a bias behind a MatMul
	lookup        // an embedding: rows of a table of codes
)

// placedLayer is a product with its weight and bias, if they are constant, or an embedding with its table.
type placedLayer struct {
	node    *graph.Node
	x       *graph.Value // nil for an embedding
	weight  *graph.Value // nil: both factors are activations
	bias    *graph.Value
	channel int // axis of the weight with scales of its own; -1: one scale in all
	why     string
}

// floatNode is a node that computes on float32, and why.
type floatNode struct {
	node *graph.Node
	why  string
}

// tail is the way from a node to the value whose range counts: over a bias behind a MatMul and a Relu or Clip.
type tail struct {
	out      *graph.Value
	absorbed []*graph.Node
}

// place chooses what is quantized.
func place(g *graph.Graph, rules placeRules) *placement {
	p := &placement{
		g: g, rules: rules, uses: g.Uses(), roles: map[*graph.Node]role{}, root: map[*graph.Value]*graph.Value{}, fixed: map[*graph.Value][2]float32{},
		consts: map[*graph.Node][]int{}, tails: map[*graph.Node]tail{}, able: map[*graph.Value]bool{}, wanted: map[*graph.Value]bool{}, kept: map[*graph.Node]string{},
	}
	p.findLayers()
	p.spread()
	p.want()
	p.takeAll()
	p.order()
	p.explain()
	return p
}

// findLayers finds products and embeddings and what the recipe wants to be left alone.
func (p *placement) findLayers() {
	for _, n := range p.g.Nodes {
		l, ok := p.layer(n)
		if !ok {
			p.kept[n] = p.rules.other(n)
			continue
		}
		if why := p.rules.layer(n, l.weight); l.why == "" {
			l.why = why
		}
		p.layers = append(p.layers, l)
		switch {
		case l.why != "":
		case l.x == nil:
			p.roles[n] = lookup
		default:
			p.roles[n] = product
			for _, v := range p.activations(n) {
				p.able[v] = true
			}
		}
	}
}

// activations lists the inputs of a product that are held in codes and are no weight.
func (p *placement) activations(n *graph.Node) []*graph.Value {
	var out []*graph.Value
	for _, v := range n.In[:2] {
		if !p.g.IsParam(v) {
			out = append(out, v)
		}
	}
	return out
}

// spread finds, forward, what could be computed on codes.
func (p *placement) spread() {
	behind := map[*graph.Node]bool{} // absorbed by a node before them, if that is computed on codes
	for _, n := range p.g.Nodes {
		if behind[n] {
			continue
		}
		switch p.can(n) {
		case product, pointy, tabled:
			t := p.tail(n)
			p.tails[n], p.able[t.out] = t, true
			for _, m := range t.absorbed {
				behind[m] = true
			}
		case carrying:
			for _, v := range n.Out {
				p.able[v] = v != nil
			}
		}
	}
}

// can returns what n would be if its inputs and outputs were held in codes.
func (p *placement) can(n *graph.Node) role {
	if r := p.roles[n]; r != inFloat {
		return r
	}
	if p.kept[n] != "" || n.Out[0] == nil || n.Out[0].Type.DType != tensor.Float32 {
		return inFloat
	}
	k := kindOf(n)
	if k == inFloat || !p.admits(n) {
		return inFloat
	}
	if k == carrying {
		if p.able[n.In[0]] {
			return carrying
		}
		return inFloat
	}
	some := false
	for _, i := range operands(n) {
		v := n.In[i]
		switch {
		case p.able[v]:
			some = true
		case p.constant(n, i):
		case n.Op.Kind() == "Concat" && !p.g.IsParam(v): // quantized before instead of behind: no loss
		default:
			return inFloat
		}
	}
	if !some {
		return inFloat
	}
	return k
}

// want finds, backward, the values that something computes on codes if it gets them.
func (p *placement) want() {
	for i := len(p.g.Nodes) - 1; i >= 0; i-- {
		n := p.g.Nodes[i]
		switch p.can(n) {
		case product:
			for _, v := range p.activations(n) {
				p.wanted[v] = true
			}
		case pointy, tabled:
			if t, ok := p.tails[n]; ok && p.wanted[t.out] && n.Op.Kind() != "Softmax" { // logits in 8 bits cost accuracy
				for _, i := range operands(n) {
					p.wanted[n.In[i]] = true
				}
			}
		case carrying:
			for _, v := range n.Out {
				if v != nil && p.wanted[v] {
					p.wanted[n.In[0]] = true
				}
			}
		}
	}
}

// takeAll decides, forward, from what could be in codes and what is wanted.
func (p *placement) takeAll() {
	for _, n := range p.g.Nodes {
		if p.roles[n] == product {
			for _, v := range p.activations(n) {
				p.take(v)
			}
		}
	}
	for _, n := range p.g.Nodes {
		r := p.can(n)
		t, hasTail := p.tails[n]
		switch {
		case p.roles[n] == absorbed:
		case r == product:
			if n.Op.Kind() == "Conv" || p.wanted[t.out] {
				p.takeTail(n, t)
			}
		case r == carrying && p.root[n.In[0]] != nil && (!p.floatMade(n.In[0]) || p.anyWanted(n.Out)):
			p.roles[n] = carrying
			for _, v := range n.Out {
				if v != nil {
					p.take(v)
					p.share(n.In[0], v)
				}
			}
		case (r == pointy || r == tabled) && hasTail && p.wanted[t.out] && p.ready(n):
			p.roles[n] = r
			p.takeTail(n, t)
			for _, i := range operands(n) {
				if p.g.IsParam(n.In[i]) {
					p.consts[n] = append(p.consts[n], i)
				} else {
					p.take(n.In[i])
				}
			}
			if n.Op.Kind() == "Concat" {
				p.join(n)
			}
		}
		if n.Op.Kind() == "Softmax" {
			p.fixed[n.Out[0]] = [2]float32{0, 1}
		}
	}
}

// ready reports whether the operands of n are in codes, or may be.
func (p *placement) ready(n *graph.Node) bool {
	for _, i := range operands(n) {
		v := n.In[i]
		if p.root[v] == nil && !p.g.IsParam(v) && n.Op.Kind() != "Concat" {
			return false
		}
	}
	return true
}

func (p *placement) takeTail(n *graph.Node, t tail) {
	p.take(t.out)
	for _, m := range t.absorbed {
		p.roles[m] = absorbed
	}
}

func (p *placement) anyWanted(vs []*graph.Value) bool {
	for _, v := range vs {
		if v != nil && p.wanted[v] {
			return true
		}
	}
	return false
}

// floatMade reports whether v is there in float as well, so that who computes in float need not read codes.
func (p *placement) floatMade(v *graph.Value) bool {
	if v.Node == nil {
		return true
	}
	r := p.roles[v.Node]
	return r == inFloat || r == lookup
}

// tail follows a node's output.
func (p *placement) tail(n *graph.Node) tail {
	t := tail{out: n.Out[0]}
	absorb := func(m *graph.Node) {
		t.out, t.absorbed = m.Out[0], append(t.absorbed, m)
	}
	if n.Op.Kind() == "MatMul" {
		if m := p.only(t.out); m != nil && p.kept[m] == "" && m.Op.Kind() == "Add" && p.g.IsParam(otherInput(m, t.out)) {
			absorb(m)
		}
	}
	if m := p.only(t.out); m != nil && p.kept[m] == "" && !p.rules.codes.symmetric && m.In[0] == t.out {
		if lo, hi, ok := p.clamp(m); ok && lo <= 0 && hi >= 0 {
			absorb(m)
		}
	}
	return t
}

// clamp returns the limits of a Relu, or of a Clip with constant limits.
func (p *placement) clamp(n *graph.Node) (lo, hi float32, ok bool) {
	lo, hi = float32(math.Inf(-1)), float32(math.Inf(1))
	switch n.Op.Kind() {
	case "Relu":
		return 0, hi, true
	case "Clip":
		for i, limit := range []*float32{&lo, &hi} {
			if i+1 >= len(n.In) || n.In[i+1] == nil {
				continue
			}
			t, err := p.g.Constant(n.In[i+1])
			if err != nil || t == nil || t.DType != tensor.Float32 || t.Len() != 1 {
				return 0, 0, false
			}
			*limit = tensor.Item[float32](t)
		}
		return lo, hi, lo <= hi
	}
	return 0, 0, false
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
	if p.root[a] == nil || p.root[b] == nil {
		return
	}
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

// explain says of every node that computes on float32 why it does.
func (p *placement) explain() {
	whys := map[*graph.Node]string{}
	for _, l := range p.layers {
		whys[l.node] = l.why
	}
	for _, n := range p.g.Nodes {
		if p.roles[n] != inFloat || !touchesFloat(n) {
			continue
		}
		p.floats = append(p.floats, floatNode{n, p.whyFloat(n, whys[n])})
	}
}

func (p *placement) whyFloat(n *graph.Node, layer string) string {
	switch {
	case layer != "":
		return layer
	case p.kept[n] != "":
		return p.kept[n]
	case kindOf(n) == inFloat:
		return fmt.Sprintf("%s is computed in float", n.Op.Kind())
	case n.Out[0] == nil || n.Out[0].Type.DType != tensor.Float32:
		return "its values are not float32"
	case !p.admits(n):
		return "its attributes have no form on codes"
	case p.can(n) == inFloat:
		for _, i := range operands(n) {
			if v := n.In[i]; !p.able[v] && !p.constant(n, i) {
				if p.g.IsParam(v) {
					return fmt.Sprintf("constant %q loses too much in 8 bits", v.Name)
				}
				return fmt.Sprintf("%q is in float", v.Name)
			}
		}
	}
	return "nothing behind it computes on codes"
}

// touchesFloat reports whether a node computes float values.
func touchesFloat(n *graph.Node) bool {
	for _, v := range n.Out {
		if v != nil && v.Type.DType.IsFloat() {
			return true
		}
	}
	return false
}
