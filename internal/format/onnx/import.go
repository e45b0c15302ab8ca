package onnx

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// Limits on what a file may expand to.
const (
	maxInlined = 1 << 17 // nodes from the bodies of local functions
	maxErrors  = 20      // reported at once
	maxCalls   = 64      // depth of local function calls
)

// importer turns a ModelProto into a graph.
type importer struct {
	ctx       context.Context
	proto     *protobuf.Model
	file      *mmap.File // that the model is read from; nil for other bytes
	ext       *external
	functions map[string]*protobuf.Function
	inlined   int
	calls     []string // local functions that are being inlined
	errs      []error
}

func (im *importer) fail(err error) {
	if len(im.errs) < maxErrors {
		im.errs = append(im.errs, err)
	} else if len(im.errs) == maxErrors {
		im.errs = append(im.errs, errors.New("and more"))
	}
}

func (im *importer) run(opset map[string]int) (*graph.Graph, error) {
	im.functions = map[string]*protobuf.Function{}
	for _, f := range im.proto.Functions {
		key := functionKey(f.Domain, f.Name, f.Overload)
		if im.functions[key] != nil {
			return nil, fmt.Errorf("%w: function %s is defined twice", ErrFormat, kind(f.Domain, f.Name))
		}
		im.functions[key] = f
	}
	if err := im.checkOperators(); err != nil {
		return nil, err
	}
	s := im.newScope(im.proto.Graph.Name, nil, opset)
	s.importGraph(im.proto.Graph)
	if len(im.errs) > 0 {
		return nil, errors.Join(im.errs...)
	}
	if err := s.g.Verify(); err != nil {
		return nil, err
	}
	return s.g, nil
}

// checkOperators reports all operators that are not known, with how often each occurs.
func (im *importer) checkOperators() error {
	type count struct {
		n     int
		first string
	}
	unknown := map[string]*count{}
	var visit func(nodes []*protobuf.Node)
	visitGraph := func(g *protobuf.Graph) {
		if g != nil {
			visit(g.Nodes)
		}
	}
	visited := map[*protobuf.Function]bool{}
	visit = func(nodes []*protobuf.Node) {
		for i, n := range nodes {
			k := kind(n.Domain, n.OpType)
			if f := im.functions[functionKey(n.Domain, n.OpType, n.Overload)]; f != nil {
				if !visited[f] {
					visited[f] = true
					visit(f.Nodes)
				}
			} else if !known(k) {
				if unknown[k] == nil {
					unknown[k] = &count{first: nodeLabel(n, i)}
				}
				unknown[k].n++
			}
			for _, a := range n.Attributes {
				visitGraph(a.G)
				for _, g := range a.Graphs {
					visitGraph(g)
				}
			}
		}
	}
	visitGraph(im.proto.Graph)
	if len(unknown) == 0 {
		return nil
	}
	kinds := make([]string, 0, len(unknown))
	for k := range unknown {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	for i, k := range kinds {
		c := unknown[k]
		nodes := "nodes, the first is"
		if c.n == 1 {
			nodes = "node,"
		}
		kinds[i] = fmt.Sprintf("%s (%d %s %q)", k, c.n, nodes, c.first)
	}
	return fmt.Errorf("operators that are %w: %s", ErrUnsupported, strings.Join(kinds, ", "))
}

// known reports whether an operator, in whatever version, can be imported.
func known(kind string) bool {
	if _, ok := op.New(kind); ok {
		return true
	}
	_, ok := renamed[kind]
	return ok
}

// nodeLabel returns the name of a node for messages.
func nodeLabel(n *protobuf.Node, index int) string {
	if n.Name != "" {
		return n.Name
	}
	return fmt.Sprintf("%s_%d", n.OpType, index)
}

// scope is what names mean in one graph, or in the body of a local function, whose nodes go to the graph of its caller.
type scope struct {
	im       *importer
	g        *graph.Graph
	parent   *scope // of the graph that this subgraph sits in; nil for the model's graph and function bodies
	opset    map[string]int
	names    map[string]*graph.Value // as the file names them
	declared map[string]graph.Type
	attrs    map[string]*protobuf.Attribute // of the function call; nil outside of functions
	omitted  map[string]bool                // inputs that the function call leaves out
	prefix   string                         // of names made in a function body
	used     *taken
	captures []capture
	fed      []graph.Type // what a subgraph's inputs are, from its node
}

// taken holds the names in use in one graph.
type taken struct{ values, nodes graph.Names }

// isOmitted reports whether a name is an input that the call of the enclosing function leaves out.
func (s *scope) isOmitted(name string) bool {
	for ; s != nil; s = s.parent {
		if s.names[name] != nil {
			return false
		}
		if s.omitted[name] {
			return true
		}
	}
	return false
}

// capture is an outer value that a subgraph reads, and the input that stands for it.
type capture struct{ outer, inner *graph.Value }

func (im *importer) newScope(name string, parent *scope, opset map[string]int) *scope {
	s := &scope{
		im: im, g: &graph.Graph{Name: name}, parent: parent, opset: opset, names: map[string]*graph.Value{},
		declared: map[string]graph.Type{}, used: &taken{graph.Names{}, graph.Names{}},
	}
	if parent != nil {
		s.attrs, s.prefix = parent.attrs, parent.prefix
	}
	return s
}

func (s *scope) fail(format string, a ...any) { s.im.fail(fmt.Errorf(format, a...)) }

// importGraph reads a graph into s.g. Errors are collected in the importer.
func (s *scope) importGraph(p *protobuf.Graph) {
	s.declare(p.ValueInfo)
	s.declare(p.Outputs)
	s.reserve(p)
	inputs := map[string]*graph.Value{}
	for i, in := range p.Inputs {
		if in.Name == "" {
			s.fail("%w: graph input %d has no name", ErrFormat, i)
			continue
		}
		if s.names[in.Name] != nil {
			s.fail("%w: graph input %q is declared twice", ErrFormat, in.Name)
			continue
		}
		t, err := importType(in.Type)
		if err != nil {
			s.fail("graph input %q: %w", in.Name, err)
		}
		if i < len(s.fed) && t.DType == tensor.Invalid {
			t.DType, t.Elem = s.fed[i].DType, s.fed[i].Elem
		}
		v := &graph.Value{Name: in.Name, Type: t}
		s.names[in.Name], inputs[in.Name] = v, v
		s.g.Inputs = append(s.g.Inputs, v)
	}
	for _, t := range p.Initializers {
		src, err := s.im.store(t)
		if err != nil {
			s.fail("initializer %q: %w", t.Name, err)
			continue
		}
		s.initializer(t.Name, graph.FromSource(t.Name, src), inputs)
	}
	for _, t := range p.SparseInitializer {
		src, err := s.im.storeSparse(t)
		name := ""
		if t.Values != nil {
			name = t.Values.Name
		}
		if err != nil {
			s.fail("sparse initializer %q: %w", name, err)
			continue
		}
		s.initializer(name, graph.FromSource(name, src), inputs)
	}
	s.importNodes(p.Nodes)
	for i, out := range p.Outputs {
		v := s.lookup(out.Name)
		if v == nil {
			s.fail("%w: graph output %d (%q) is not computed by any node", ErrFormat, i, out.Name)
			continue
		}
		s.g.Outputs = append(s.g.Outputs, v)
	}
}

// reserve takes the names of the file, so that names made up on the way do not collide with them.
func (s *scope) reserve(p *protobuf.Graph) {
	for _, v := range p.Inputs {
		s.used.values.Take(v.Name)
	}
	for _, t := range p.Initializers {
		s.used.values.Take(t.Name)
	}
	for _, n := range p.Nodes {
		for _, name := range n.Outputs {
			s.used.values.Take(name)
		}
	}
}

func (s *scope) declare(infos []*protobuf.ValueInfo) {
	for _, v := range infos {
		t, err := importType(v.Type)
		if err != nil {
			s.fail("value %q: %w", v.Name, err)
			continue
		}
		if _, ok := s.declared[v.Name]; !ok {
			s.declared[v.Name] = t
		}
	}
}

// initializer enters a parameter. One that is a graph input too is an input with a default; before IR version 4 every
// initializer had to be listed among the inputs and none was meant to be overridden.
func (s *scope) initializer(name string, v *graph.Value, inputs map[string]*graph.Value) {
	in := inputs[name]
	switch {
	case name == "":
		s.fail("%w: an initializer has no name", ErrFormat)
		return
	case in == nil && s.names[name] != nil, in != nil && in.Data != nil:
		s.fail("%w: initializer %q is defined twice", ErrFormat, name)
		return
	case in == nil:
		s.names[name] = v
		return
	}
	if in.Type.DType != 0 && in.Type.DType != v.Type.DType {
		s.fail("initializer %q: the graph input of this name is declared %v, the initializer is %v", name, in.Type, v.Type)
		return
	}
	in.Data = v.Data
	if s.im.proto.IRVersion < 4 {
		in.Type = v.Type
		for i, x := range s.g.Inputs {
			if x == in {
				s.g.Inputs = append(s.g.Inputs[:i:i], s.g.Inputs[i+1:]...)
				break
			}
		}
	}
}

// lookup returns the value that a name stands for, or nil. A name of an enclosing graph is captured: a parameter becomes a
// parameter of this graph too, over the same data, anything else an additional input.
func (s *scope) lookup(name string) *graph.Value {
	if v := s.names[name]; v != nil {
		return v
	}
	if s.parent == nil || name == "" {
		return nil
	}
	outer := s.parent.lookup(name)
	if outer == nil {
		return nil
	}
	v := &graph.Value{Name: s.used.values.Fresh(name), Type: outer.Type}
	if s.parent.g.IsParam(outer) {
		v.Data = outer.Data
	} else {
		s.captures = append(s.captures, capture{outer, v})
		s.g.Inputs = append(s.g.Inputs, v)
	}
	s.names[name] = v
	return v
}
