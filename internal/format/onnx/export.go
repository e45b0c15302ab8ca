package onnx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sort"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// Versions of the domains besides the default one where a model does not say.
var domainVersions = map[string]int{"com.microsoft": 1, "ai.onnx.ml": 5, "ai.onnx.preview.training": 1, "ai.onnx.preview": 1}

// oldestWritten is the least operator set that is written: per-axis QuantizeLinear starts there.
const oldestWritten = 13

// exporter turns a graph into a ModelProto.
type exporter struct {
	ctx      context.Context
	opset    int
	source   int
	domains  map[string]bool
	shared   map[any]*graph.Value // parameters of several graphs, by their data; they are written once, in the model's graph
	root     *outScope
	payloads []*protobuf.Tensor // tensors that may go to an external file
	missing  []MissingKernel
	errs     []error
}

// outScope is one graph on its way out. The names of its values must differ from those of the graphs around it.
type outScope struct {
	x      *exporter
	g      *graph.Graph
	parent *outScope
	taken  graph.Names
	nodes  graph.Names
	names  map[*graph.Value]string
	params []*graph.Value // used by the written nodes, in this order
	used   map[*graph.Value]bool
	proto  *protobuf.Graph
}

func (x *exporter) fail(format string, a ...any) {
	if len(x.errs) < maxErrors {
		x.errs = append(x.errs, fmt.Errorf(format, a...))
	}
}

// export returns the message for m; parameters are in it as streams.
func export(ctx context.Context, m *model.Model, o model.SaveOptions) (*protobuf.Model, *exporter, error) {
	if m.Graph == nil {
		return nil, nil, errors.New("the model has no graph")
	}
	if o.Opset > maxOpset {
		return nil, nil, fmt.Errorf("operator set %d is %w; the newest that is written is %d", o.Opset, ErrUnsupported, maxOpset)
	}
	x := &exporter{ctx: ctx, domains: map[string]bool{"": true}, shared: map[any]*graph.Value{}, source: m.Opset[""]}
	x.opset = max(o.Opset, m.Opset[""], oldestWritten)
	if x.opset > maxOpset {
		return nil, nil, fmt.Errorf("operator set %d is %w; the newest that is written is %d", x.opset, ErrUnsupported, maxOpset)
	}
	x.choose(m.Graph, map[*graph.Graph]bool{})
	if len(x.errs) > 0 {
		return nil, nil, errors.Join(x.errs...)
	}
	x.root = x.scope(m.Graph, nil)
	x.findShared(m.Graph)
	x.root.write(0)
	if len(x.errs) > 0 {
		return nil, nil, errors.Join(x.errs...)
	}
	p := &protobuf.Model{
		IRVersion: irVersion(x.opset), ProducerName: "neuroquant", Domain: m.Domain, ModelVersion: m.Version, DocString: m.Doc, Graph: x.root.proto,
	}
	if p.Graph.Name == "" {
		p.Graph.Name = "main"
	}
	for d := range x.domains {
		v := x.opset
		if d != "" {
			if v = m.Opset[d]; v == 0 {
				v = domainVersions[d]
			}
		}
		p.OpsetImport = append(p.OpsetImport, protobuf.OperatorSetID{Domain: d, Version: int64(v)})
	}
	sort.Slice(p.OpsetImport, func(i, j int) bool { return p.OpsetImport[i].Domain < p.OpsetImport[j].Domain })
	for k, v := range m.Metadata {
		p.MetadataProps = append(p.MetadataProps, protobuf.StringEntry{Key: k, Value: v})
	}
	sort.Slice(p.MetadataProps, func(i, j int) bool { return p.MetadataProps[i].Key < p.MetadataProps[j].Key })
	return p, x, nil
}

// choose raises the operator set to what the nodes and element types need, and reports nodes that ONNX has no form for.
func (x *exporter) choose(g *graph.Graph, seen map[*graph.Graph]bool) {
	if seen[g] {
		return
	}
	seen[g] = true
	for _, v := range g.Inputs {
		x.opset = max(x.opset, minOpset[v.Type.DType])
	}
	for _, n := range g.Nodes {
		for _, v := range n.In {
			if v != nil {
				x.opset = max(x.opset, minOpset[v.Type.DType])
			}
		}
		for _, v := range n.Out {
			if v != nil {
				x.opset = max(x.opset, minOpset[v.Type.DType])
			}
		}
		o := x.node(g, n)
		dom, _ := splitKind(o.kind)
		if dom != "" {
			if domainVersions[dom] == 0 {
				x.fail("node %q (%s): ONNX has no operator of this name", n.Name, o.kind)
			}
			x.domains[dom] = true
		} else if schemas()[o.kind] == nil {
			x.fail("node %q (%s): ONNX has no operator of this name", n.Name, o.kind)
		} else if v, err := o.needs(x.opset); err != nil {
			x.fail("node %q (%s): no operator set up to %d has a form of it: %w", n.Name, o.kind, maxOpset, err)
		} else {
			x.opset = v
		}
		if b, ok := n.Op.(graph.Body); ok {
			for _, sub := range b.Bodies() {
				x.choose(sub, seen)
			}
		}
	}
}

// node returns a node in its newest form.
func (x *exporter) node(g *graph.Graph, n *graph.Node) *outNode {
	o := &outNode{kind: n.Op.Kind(), attrs: op.Attrs(n.Op), in: n.In, out: n.Out, g: g, source: x.source}
	if c, ok := n.Op.(interface{ Captures() int }); ok {
		o.captured = min(c.Captures(), len(n.In))
	}
	if o.kind == "Constant" && len(o.attrs) == 0 {
		o.attrs["value_string"] = ""
	}
	return o
}

// sourceKey identifies the data of a parameter.
func sourceKey(v *graph.Value) any {
	if reflect.TypeOf(v.Data).Comparable() {
		return v.Data
	}
	return v
}

// findShared finds parameters that are used in more than one graph and names them in the model's graph.
func (x *exporter) findShared(g *graph.Graph) {
	type use struct {
		g *graph.Graph
		v *graph.Value
	}
	first := map[any]use{}
	seen := map[*graph.Graph]bool{}
	var visit func(g *graph.Graph)
	visit = func(g *graph.Graph) {
		if seen[g] {
			return
		}
		seen[g] = true
		for _, v := range g.Params() {
			if !g.IsParam(v) {
				continue
			}
			k := sourceKey(v)
			f, ok := first[k]
			if !ok {
				first[k] = use{g, v}
			} else if f.g != g && x.shared[k] == nil {
				x.shared[k] = f.v
				x.root.assign(f.v)
			}
		}
		for _, n := range g.Nodes {
			if b, ok := n.Op.(graph.Body); ok {
				for _, sub := range b.Bodies() {
					visit(sub)
				}
			}
		}
	}
	visit(g)
}

func (x *exporter) scope(g *graph.Graph, parent *outScope) *outScope {
	s := &outScope{
		x: x, g: g, parent: parent, taken: graph.Names{}, nodes: g.NodeNames(), names: map[*graph.Value]string{},
		used: map[*graph.Value]bool{}, proto: &protobuf.Graph{Name: g.Name},
	}
	if parent == nil {
		// The model's own names stay what they are.
		s.each(func(v *graph.Value) {
			s.names[v] = v.Name
			s.taken.Take(v.Name)
		})
	}
	return s
}

// each visits the values of the graph.
func (s *outScope) each(f func(*graph.Value)) {
	list := func(vs []*graph.Value) {
		for _, v := range vs {
			if v != nil {
				f(v)
			}
		}
	}
	list(s.g.Inputs)
	for _, n := range s.g.Nodes {
		list(n.In)
		list(n.Out)
	}
	list(s.g.Outputs)
}

// isTaken reports whether a name is in use here or in a graph around.
func (s *outScope) isTaken(name string) bool {
	for ; s != nil; s = s.parent {
		if s.taken[name] > 0 {
			return true
		}
	}
	return false
}

// fresh takes a name that is new here and around.
func (s *outScope) fresh(name string) string {
	out := name
	for i := 1; s.isTaken(out) || out == ""; i++ {
		out = fmt.Sprintf("%s_%d", name, i)
	}
	s.taken.Take(out)
	return out
}

// assign gives a value its name in the file: its own, unless that is in use.
func (s *outScope) assign(v *graph.Value) string {
	n, ok := s.names[v]
	if !ok {
		n = s.fresh(v.Name)
		s.names[v] = n
	}
	return n
}

// name returns what a value is called in the file, for a use of it.
func (s *outScope) name(v *graph.Value) string {
	if v == nil {
		return ""
	}
	if s.g.IsParam(v) {
		if first := s.x.shared[sourceKey(v)]; first != nil && s.parent != nil {
			s.names[v] = s.x.root.use(first)
			return s.names[v]
		}
		return s.use(v)
	}
	return s.assign(v)
}

// use returns the name of a parameter and makes sure that it is written.
func (s *outScope) use(v *graph.Value) string {
	if !s.used[v] {
		s.used[v] = true
		s.params = append(s.params, v)
	}
	return s.assign(v)
}

// write fills s.proto. The last captured inputs of the graph have their names already: those of the values outside.
func (s *outScope) write(captured int) {
	g := s.g
	// All names are given first, so that graphs inside do not take them.
	s.each(func(v *graph.Value) {
		if !g.IsParam(v) || s.x.shared[sourceKey(v)] == nil {
			s.assign(v)
		}
	})
	formal := g.Inputs[:len(g.Inputs)-captured]
	for _, v := range formal {
		s.proto.Inputs = append(s.proto.Inputs, &protobuf.ValueInfo{Name: s.name(v), Type: exportType(v.Type)})
	}
	for _, n := range g.Nodes {
		if err := s.writeNode(n); err != nil {
			s.x.fail("node %q (%s): %w", n.Name, n.Op.Kind(), err)
		}
	}
	listed := map[*graph.Value]bool{}
	for _, v := range g.Outputs {
		own := v.Node != nil || s.parent == nil
		name := s.name(v)
		if !own || listed[v] {
			// Runtimes want what a graph returns to be computed in it, each output once.
			id := &protobuf.Node{OpType: "Identity", Name: s.nodes.Fresh("output"), Inputs: []string{name}}
			name = s.fresh(name)
			id.Outputs = []string{name}
			s.proto.Nodes = append(s.proto.Nodes, id)
		}
		listed[v] = true
		s.proto.Outputs = append(s.proto.Outputs, &protobuf.ValueInfo{Name: name, Type: exportType(v.Type)})
	}
	for _, v := range formal {
		if v.Data != nil {
			s.initializer(s.name(v), v)
		}
	}
	// Parameters that subgraphs share are added to the root while those are written, so this comes last.
	for _, v := range s.params {
		s.initializer(s.names[v], v)
	}
}

func (s *outScope) initializer(name string, v *graph.Value) {
	t, err := s.x.tensor(name, v.Data)
	if err != nil {
		s.x.fail("parameter %q: %w", v.Name, err)
		return
	}
	s.proto.Initializers = append(s.proto.Initializers, t)
}

func (s *outScope) writeNode(n *graph.Node) error {
	o := s.x.node(s.g, n)
	dom, opType := splitKind(o.kind)
	if dom == "" {
		var err error
		if o, err = o.at(s.x.opset); err != nil {
			return fmt.Errorf("operator set %d: %w", s.x.opset, err)
		}
	}
	if why := whyMissing(o, s.x.opset); why != "" {
		s.x.missing = append(s.x.missing, MissingKernel{n.Name, o.kind, why})
	}
	p := &protobuf.Node{Name: n.Name, OpType: opType, Domain: dom}
	in := o.in[:len(o.in)-o.captured]
	for _, v := range in {
		p.Inputs = append(p.Inputs, s.name(v))
	}
	for len(p.Inputs) > 0 && p.Inputs[len(p.Inputs)-1] == "" {
		p.Inputs = p.Inputs[:len(p.Inputs)-1]
	}
	for _, v := range o.out {
		p.Outputs = append(p.Outputs, s.name(v))
	}
	names := make([]string, 0, len(o.attrs))
	for name := range o.attrs {
		names = append(names, name)
	}
	sort.Strings(names)
	outside := o.in[len(o.in)-o.captured:]
	for _, name := range names {
		a, err := s.attribute(name, o.attrs[name], outside)
		if err != nil {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
		p.Attributes = append(p.Attributes, a)
	}
	s.proto.Nodes = append(s.proto.Nodes, p)
	return nil
}

func (s *outScope) attribute(name string, v any, outside []*graph.Value) (*protobuf.Attribute, error) {
	a := &protobuf.Attribute{Name: name}
	switch v := v.(type) {
	case int64:
		a.Type, a.I = protobuf.AttrInt, v
	case float32:
		a.Type, a.F = protobuf.AttrFloat, v
	case string:
		a.Type, a.S = protobuf.AttrString, []byte(v)
	case []int64:
		a.Type, a.Ints = protobuf.AttrInts, v
	case []float32:
		a.Type, a.Floats = protobuf.AttrFloats, v
	case []string:
		a.Type = protobuf.AttrStrings
		for _, x := range v {
			a.Strings = append(a.Strings, []byte(x))
		}
	case *tensor.Tensor:
		t, err := s.x.tensor("", tensor.InMemory(v))
		if err != nil {
			return nil, err
		}
		a.Type, a.T = protobuf.AttrTensor, t
	case graph.Type:
		a.Type, a.TypeProto = protobuf.AttrTypeProto, exportType(v)
	case *graph.Graph:
		a.Type, a.G = protobuf.AttrGraph, s.body(v, outside)
	default:
		return nil, fmt.Errorf("a %T cannot be written", v)
	}
	return a, nil
}

// body writes a subgraph. Its captured inputs become references to the values outside.
func (s *outScope) body(g *graph.Graph, outside []*graph.Value) *protobuf.Graph {
	sub := s.x.scope(g, s)
	captured := min(len(outside), len(g.Inputs))
	for i, v := range g.Inputs[len(g.Inputs)-captured:] {
		sub.names[v] = s.name(outside[i])
	}
	sub.write(captured)
	if sub.proto.Name == "" {
		sub.proto.Name = "body"
	}
	return sub.proto
}

// inlineBytes is the size up to which a tensor's bytes are held in the message while it is built.
const inlineBytes = 1 << 10

// tensor returns the message of a parameter. Its contents are loaded when they are written.
func (x *exporter) tensor(name string, src tensor.Source) (*protobuf.Tensor, error) {
	d, shape := src.DType(), src.Shape()
	p := &protobuf.Tensor{Name: name, DataType: int32(d)}
	for _, n := range shape {
		p.Dims = append(p.Dims, int64(n))
	}
	if d == tensor.String {
		t, err := src.Load()
		if err != nil {
			return nil, err
		}
		for _, s := range t.Text() {
			p.StringData = append(p.StringData, []byte(s))
		}
		return p, nil
	}
	if d.Bits() == 0 {
		return nil, fmt.Errorf("a constant of type %v cannot be stored", d)
	}
	n := d.ByteLen(shape.Len())
	if n <= inlineBytes {
		t, err := dense(src)
		if err != nil {
			return nil, err
		}
		p.HasRaw, p.RawData = true, t.Bytes()
		return p, nil
	}
	p.StreamLen = int64(n)
	p.Stream = func(w protobuf.Sink) error { return x.stream(w, src) }
	x.payloads = append(x.payloads, p)
	return p, nil
}

// stream writes the contents of a tensor and drops it.
func (x *exporter) stream(w io.Writer, src tensor.Source) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	t, err := dense(src)
	if err != nil {
		return err
	}
	const piece = 8 << 20
	for b := t.Bytes(); len(b) > 0; {
		n := min(len(b), piece)
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		if err := x.ctx.Err(); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func dense(src tensor.Source) (*tensor.Tensor, error) {
	t, err := src.Load()
	if err != nil {
		return nil, err
	}
	if n, ok := t.Packed.(*packed.Narrow); ok { // 16-bit floats that are computed with as float32
		f, err := t.Floats()
		if err != nil {
			return nil, fmt.Errorf("a matrix of scheme %v: %w", n.Scheme(), err)
		}
		return tensor.Of(t.Shape, f), nil
	}
	if t.Packed != nil {
		return nil, fmt.Errorf("a matrix of scheme %v cannot be stored as an ONNX tensor", t.Packed.Scheme())
	}
	if t.DType != src.DType() || !t.Shape.Equal(src.Shape()) {
		return nil, fmt.Errorf("announced as %v of shape %v, loaded as %v", src.DType(), src.Shape(), t)
	}
	return t, nil
}
