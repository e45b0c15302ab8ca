package onnx

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
)

func functionKey(dom, name, overload string) string {
	return domain(dom) + "\x00" + name + "\x00" + overload
}

// inline appends the body of a local function in place of a node that calls it. Names made in the body carry the node's name as
// a prefix.
func (s *scope) inline(f *protobuf.Function, n *protobuf.Node, in []*graph.Value, label string) error {
	key := functionKey(f.Domain, f.Name, f.Overload)
	for _, k := range s.im.calls {
		if k == key {
			return fmt.Errorf("%w: function %s calls itself", ErrFormat, kind(f.Domain, f.Name))
		}
	}
	if len(s.im.calls) >= maxCalls {
		return fmt.Errorf("%w: functions call each other deeper than %d", ErrFormat, maxCalls)
	}
	s.im.calls = append(s.im.calls, key)
	defer func() { s.im.calls = s.im.calls[:len(s.im.calls)-1] }()

	if len(in) > len(f.Inputs) {
		return fmt.Errorf("%w: the function takes %d inputs, got %d", ErrFormat, len(f.Inputs), len(in))
	}
	if len(n.Outputs) > len(f.Outputs) {
		return fmt.Errorf("%w: the function has %d outputs, %d are wanted", ErrFormat, len(f.Outputs), len(n.Outputs))
	}
	opset, err := opsets(f.OpsetImport, s.im.proto.IRVersion)
	if err != nil {
		return err
	}
	for d, v := range s.opset {
		if _, ok := opset[d]; !ok {
			opset[d] = v
		}
	}
	body := &scope{
		im: s.im, g: s.g, opset: opset, names: map[string]*graph.Value{}, declared: map[string]graph.Type{},
		attrs: map[string]*protobuf.Attribute{}, omitted: map[string]bool{}, prefix: label + "/", used: s.used,
	}
	for _, a := range f.AttributeProtos {
		body.attrs[a.Name] = a
	}
	for _, a := range n.Attributes {
		if a.RefAttrName != "" {
			bound := s.attrs[a.RefAttrName]
			if bound == nil {
				continue
			}
			b := *bound
			b.Name = a.Name
			a = &b
		}
		body.attrs[a.Name] = a
	}
	for i, name := range f.Inputs {
		if i < len(in) && in[i] != nil {
			body.names[name] = in[i]
		} else {
			body.omitted[name] = true
		}
	}
	body.declare(f.ValueInfo)
	failed := len(s.im.errs)
	body.importNodes(f.Nodes)
	if len(s.im.errs) > failed {
		// The body's nodes are named in the errors already.
		for _, out := range n.Outputs {
			if out != "" {
				s.names[out] = s.value(out)
			}
		}
		return nil
	}
	c := &call{s: s, outs: n.Outputs}
	for i, name := range f.Outputs {
		if i == len(n.Outputs) {
			break
		}
		v := body.lookup(name)
		if v == nil && n.Outputs[i] != "" {
			return fmt.Errorf("%w: output %q of function %s is not computed", ErrFormat, name, kind(f.Domain, f.Name))
		}
		c.results = append(c.results, v)
	}
	return c.bind()
}
