package onnx

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// attributes converts the attributes of a node to the values that [op.SetAttrs] takes. References to attributes of the enclosing
// function are resolved; one that the call does not give is left out. Subgraphs are imported and noted in c.
func (s *scope) attributes(n *protobuf.Node, c *call) (map[string]any, error) {
	attrs := make(map[string]any, len(n.Attributes))
	for _, a := range n.Attributes {
		name := a.Name
		if _, dup := attrs[name]; dup {
			return nil, fmt.Errorf("%w: attribute %q is given twice", ErrFormat, name)
		}
		if a.RefAttrName != "" {
			if a = s.attrs[a.RefAttrName]; a == nil {
				continue
			}
		}
		v, err := s.attribute(a, c)
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", name, err)
		}
		attrs[name] = v
	}
	return attrs, nil
}

func (s *scope) attribute(a *protobuf.Attribute, c *call) (any, error) {
	missing := fmt.Errorf("%w: the value is missing", ErrFormat)
	switch a.Type {
	case protobuf.AttrFloat:
		return a.F, nil
	case protobuf.AttrInt:
		return a.I, nil
	case protobuf.AttrString:
		return string(a.S), nil
	case protobuf.AttrFloats:
		return append([]float32{}, a.Floats...), nil
	case protobuf.AttrInts:
		return append([]int64{}, a.Ints...), nil
	case protobuf.AttrStrings:
		out := make([]string, len(a.Strings))
		for i, b := range a.Strings {
			out[i] = string(b)
		}
		return out, nil
	case protobuf.AttrTensor:
		if a.T == nil {
			return nil, missing
		}
		return s.im.load(a.T)
	case protobuf.AttrSparseTensor:
		if a.SparseTensor == nil {
			return nil, missing
		}
		src, err := s.im.storeSparse(a.SparseTensor)
		if err != nil {
			return nil, err
		}
		return src.Load()
	case protobuf.AttrGraph:
		if a.G == nil {
			return nil, missing
		}
		return s.body(a.G, c), nil
	case protobuf.AttrTypeProto:
		return importType(a.TypeProto)
	case protobuf.AttrUndefined:
		return nil, missing
	}
	return nil, fmt.Errorf("attributes of type %d are %w", a.Type, ErrUnsupported)
}

// body imports a subgraph. Inputs whose type the file does not declare get the element type of what the node will feed them.
func (s *scope) body(p *protobuf.Graph, c *call) *graph.Graph {
	b := s.im.newScope(p.Name, s, s.opset)
	b.fed = fedTypes(c, len(p.Inputs))
	b.importGraph(p)
	c.bodies = append(c.bodies, b)
	return b.g
}

// fedTypes returns what is known about the inputs of a subgraph from those of its node. Dimensions are not taken over: they may
// change from one iteration to the next.
func fedTypes(c *call, n int) []graph.Type {
	fed := make([]graph.Type, n)
	for i := range fed {
		if i >= len(c.in) || c.in[i] == nil {
			continue
		}
		t := c.in[i].Type
		fed[i] = graph.Type{DType: t.DType, Elem: t.Elem}
		if c.kind == "SequenceMap" && t.DType == tensor.Sequence && t.Elem != nil {
			fed[i] = *t.Elem
		}
	}
	if c.kind == "Loop" && n >= 2 {
		fed[0], fed[1] = graph.Ranked(tensor.Int64), graph.Ranked(tensor.Bool)
	}
	return fed
}
