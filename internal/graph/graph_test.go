package graph

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// sumOp adds its inputs, which must have one type. It counts evaluations.
type sumOp struct {
	Scale float32 `attr:"scale,1"`
	Axes  []int   `attr:"axes"`
	Mode  string  `attr:"mode"`
	Limit *int    `attr:"limit"`
	evals *int
}

func (*sumOp) Kind() string { return "Sum" }

func (*sumOp) Infer(in []Type) ([]Type, error) {
	for i, t := range in {
		if t.IsNone() {
			return nil, fmt.Errorf("input %d is missing", i)
		}
		if t.DType != in[0].DType {
			return nil, fmt.Errorf("types %v and %v differ", in[0], t)
		}
	}
	return []Type{{DType: in[0].DType, Ranked: in[0].Ranked, Dims: in[0].Dims}}, nil
}

func (o *sumOp) Eval(_ *Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if o.evals != nil {
		*o.evals++
	}
	out := in[0].Clone()
	for _, t := range in[1:] {
		if t.Len() != out.Len() {
			return nil, errors.New("lengths differ")
		}
		for i, v := range tensor.Data[float32](t) {
			tensor.Data[float32](out)[i] += v
		}
	}
	return []*tensor.Tensor{out}, nil
}

type randomOp struct{ sumOp }

func (*randomOp) IsRandom() {}

// bodyOp holds a subgraph.
type bodyOp struct {
	sumOp
	Sub *Graph `attr:"body"`
}

func (o *bodyOp) Bodies() []*Graph { return []*Graph{o.Sub} }

func (o *bodyOp) WithBodies(b []*Graph) Op { return &bodyOp{o.sumOp, b[0]} }

func float(dims ...Dim) Type { return Ranked(tensor.Float32, dims...) }

// wire makes a node without a builder.
func wire(name string, in ...*Value) *Node {
	n := &Node{Name: name, Op: &sumOp{}, In: in}
	n.Out = []*Value{{Name: name + "_out", Node: n, Type: float(Known(2))}}
	return n
}

func order(nodes []*Node) string {
	var s []string
	for _, n := range nodes {
		s = append(s, n.Name)
	}
	return strings.Join(s, " ")
}

func TestSort(t *testing.T) {
	x := &Value{Name: "x", Type: float(Known(2))}
	a := wire("a", x)
	b := wire("b", a.Out[0], nil)
	c := wire("c", x)
	d := wire("d", b.Out[0], c.Out[0], b.Out[0])
	g := &Graph{Inputs: []*Value{x}, Nodes: []*Node{d, b, a, c}, Outputs: d.Out}
	if err := g.Sort(); err != nil || order(g.Nodes) != "a b c d" {
		t.Errorf("%s %v", order(g.Nodes), err)
	}
	if err := g.Verify(); err != nil {
		t.Error(err)
	}
	g.Nodes = []*Node{c, a, b, d} // free to choose: the order that is there
	if err := g.Sort(); err != nil || order(g.Nodes) != "c a b d" {
		t.Errorf("%s %v", order(g.Nodes), err)
	}
	a.In[0] = d.Out[0]
	was := order(g.Nodes)
	if err := g.Sort(); err == nil || err.Error() != `the graph has a cycle: "a" -> "d" -> "b" -> "a"` {
		t.Errorf("cycle: %v", err)
	}
	if order(g.Nodes) != was {
		t.Error("a failed sort changed the order")
	}
	a.In[0] = a.Out[0]
	if err := g.Sort(); err == nil || err.Error() != `the graph has a cycle: "a" -> "a"` {
		t.Errorf("self: %v", err)
	}
	a.In[0] = wire("stranger").Out[0]
	if err := g.Sort(); err == nil || err.Error() != `node "a" (Sum): input "stranger_out" comes from a node outside the graph` {
		t.Errorf("outside: %v", err)
	}
}

// TestSortDeep sorts a chain that would overflow a recursion.
func TestSortDeep(t *testing.T) {
	v := &Value{Name: "x", Type: float(Known(2))}
	g := &Graph{Inputs: []*Value{v}}
	for i := range 200000 {
		n := wire(fmt.Sprint(i), v)
		g.Nodes = append(g.Nodes, n)
		v = n.Out[0]
	}
	slices.Reverse(g.Nodes)
	if err := g.Sort(); err != nil || g.Nodes[0].Name != "0" {
		t.Error(err)
	}
}

func TestVerify(t *testing.T) {
	type parts struct {
		g       *Graph
		x, w    *Value
		a, b, c *Node
	}
	build := func() parts {
		x := &Value{Name: "x", Type: float(Known(2))}
		w := Param("w", tensor.Vector[float32](1, 2))
		a := wire("a", x, w)
		b := wire("b", a.Out[0], w, nil)
		c := wire("c", b.Out[0])
		return parts{&Graph{Inputs: []*Value{x}, Nodes: []*Node{a, b, c}, Outputs: []*Value{c.Out[0], w, x}}, x, w, a, b, c}
	}
	if err := build().g.Verify(); err != nil {
		t.Errorf("a sound graph: %v", err)
	}
	for _, c := range []struct {
		name, want string
		spoil      func(p parts)
	}{
		{"order", `node "b" (Sum): input 0 ("a_out") is not computed before it`, func(p parts) { p.g.Nodes[0], p.g.Nodes[1] = p.b, p.a }},
		{"foreign input", `node "c" (Sum): input 0 ("z") is not computed before it`, func(p parts) { p.c.In[0] = &Value{Name: "z"} }},
		{"input with producer", `graph input "x" has a producer`, func(p parts) { p.x.Node = p.a }},
		{"wrong producer", `node "b" (Sum): output "b_out" names another producer`, func(p parts) { p.b.Out[0].Node = p.a }},
		{"two producers", `value "a_out" is produced twice`, func(p parts) { p.c.Out = append(p.c.Out, p.a.Out[0]) }},
		{"node names", `node name "a" is used twice`, func(p parts) { p.c.Name = "a" }},
		{"value names", `value name "x" is used twice`, func(p parts) { p.b.Out[0].Name = "x" }},
		{"parameter names", `value name "a_out" is used twice`, func(p parts) { p.w.Name = "a_out" }},
		{"output", `graph output "nowhere" is not computed`, func(p parts) { p.g.Outputs = append(p.g.Outputs, &Value{Name: "nowhere"}) }},
		{"subgraph", `node "c" (Sum): graph output "nowhere" is not computed`, func(p parts) { p.c.Op = &bodyOp{Sub: &Graph{Outputs: []*Value{{Name: "nowhere"}}}} }},
	} {
		p := build()
		c.spoil(p)
		if err := p.g.Verify(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	p := build()
	p.c.Name, p.x.Node = "a", p.a
	if err := p.g.Verify(); err == nil || len(strings.Split(err.Error(), "\n")) != 2 {
		t.Errorf("all violations at once: %v", err)
	}
}

func TestReplace(t *testing.T) {
	x := &Value{Name: "x", Type: float(Known(2))}
	w := Param("w", tensor.Vector[float32](1, 2))
	a := wire("a", x, w)
	b := wire("b", a.Out[0])
	c := wire("c", b.Out[0], b.Out[0])
	c.Out[0].Name = "y"
	g := &Graph{Inputs: []*Value{x}, Nodes: []*Node{a, b, c}, Outputs: []*Value{c.Out[0], c.Out[0]}}

	if !g.Replace(b.Out[0], a.Out[0]) || c.In[0] != a.Out[0] || c.In[1] != a.Out[0] || a.Out[0].Name != "a_out" {
		t.Error("an inner value")
	}
	if !g.Replace(c.Out[0], a.Out[0]) || g.Outputs[0] != a.Out[0] || g.Outputs[1] != a.Out[0] || a.Out[0].Name != "y" {
		t.Errorf("an output keeps its name: %v", g)
	}
	for name, v := range map[string]*Value{"a graph input": x, "a parameter": w} {
		if g.Replace(a.Out[0], v) || g.Outputs[0] != a.Out[0] || v.Name == "y" {
			t.Errorf("%s took an output's place", name)
		}
	}
	g.Outputs = []*Value{a.Out[0], b.Out[0]}
	if g.Replace(b.Out[0], a.Out[0]) {
		t.Error("two outputs became one")
	}
}

func TestClone(t *testing.T) {
	b := NewBuilder("g")
	x := b.Input("x", float(Named("n")))
	w := b.Param("w", tensor.Vector[float32](1, 2))
	h := b.AddN("a", 2, &sumOp{}, x, w, Param("z", tensor.Vector[float32](0, 0)))
	b.Output("y", b.Add("b", &sumOp{}, h[0], w))
	b.Output("w2", w)
	b.Output("x2", x)
	g := &b.g
	g.Nodes[0].Out[1] = nil
	text := g.String()
	c := g.Clone()
	if c.String() != text {
		t.Errorf("got\n%v\nwant\n%s", c, text)
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
	if c.Outputs[1] != c.Nodes[0].In[1] || c.Outputs[2] != c.Inputs[0] || c.Nodes[1].In[0] != c.Nodes[0].Out[0] || c.Nodes[0].Out[0].Node != c.Nodes[0] {
		t.Error("values that are one in the original are two in the copy")
	}
	for _, v := range append(slices.Clone(c.Nodes[0].In), c.Nodes[0].Out...) {
		if v != nil {
			v.Name, v.Type, v.Data = "changed", Type{}, nil
		}
	}
	c.Nodes[0].Name, c.Nodes[0].In[0], c.Name = "changed", nil, "changed"
	c.Nodes = c.Nodes[:1]
	if g.String() != text {
		t.Errorf("changing the copy changed the original:\n%v", g)
	}
}

func TestParams(t *testing.T) {
	x := &Value{Name: "x", Type: float(Known(2))}
	w, v, unused := Param("w", tensor.Vector[float32](1, 2)), Param("v", tensor.Vector[float32](1, 2)), Param("u", tensor.Vector[float32](1, 2))
	a := wire("a", w, nil, x)
	b := wire("b", a.Out[0], w, v)
	g := &Graph{Inputs: []*Value{x, v}, Nodes: []*Node{a, b}, Outputs: []*Value{b.Out[0], unused}}
	var got []string
	for _, p := range g.Params() {
		got = append(got, p.Name)
	}
	if !slices.Equal(got, []string{"w", "v", "u"}) {
		t.Errorf("parameters %v", got)
	}
	if !g.IsParam(w) || g.IsParam(v) || g.IsParam(x) || g.IsParam(nil) {
		t.Error("an input with a default is no constant")
	}
	if c, err := g.Constant(v); c != nil || err != nil {
		t.Errorf("constant of an input with a default: %v %v", c, err)
	}
	if c, err := g.Constant(w); err != nil || tensor.Data[float32](c)[1] != 2 {
		t.Errorf("constant: %v %v", c, err)
	}
	if u := g.Uses()[w]; len(u) != 2 || u[0] != a || u[1] != b {
		t.Errorf("uses %v", u)
	}
	broken := FromSource("broken", failing{})
	if _, err := g.Constant(broken); err == nil || err.Error() != `parameter "broken": no disk` {
		t.Errorf("broken: %v", err)
	}
}

type failing struct{}

func (failing) Shape() tensor.Shape           { return tensor.Shape{2} }
func (failing) DType() tensor.DType           { return tensor.Float32 }
func (failing) Load() (*tensor.Tensor, error) { return nil, errors.New("no disk") }

func TestNames(t *testing.T) {
	s := Names{}
	s.Take("a")
	s.Take("a_1")
	if got := []string{s.Fresh("a"), s.Fresh("a"), s.Fresh("b"), s.Fresh("b")}; !slices.Equal(got, []string{"a_2", "a_3", "b", "b_1"}) {
		t.Errorf("got %v", got)
	}
}
