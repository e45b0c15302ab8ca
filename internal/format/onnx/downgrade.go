package onnx

import (
	"errors"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// outNode is a node in the form in which it will be written.
type outNode struct {
	kind     string
	attrs    map[string]any
	in       []*graph.Value
	out      []*graph.Value
	captured int // trailing inputs that are only captured by subgraphs
	g        *graph.Graph
	source   int // operator set that the model came from; 0 if it was made here
}

// downgrades lists how the newest form of an operator is written in an operator set below the given one. A rewrite that returns an
// error cannot express the node there: a newer set is needed.
var downgrades = []struct {
	kinds string
	below int
	do    func(n *outNode) error
}{
	{"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare", 18, axesToAttr},
	{"Split", 18, dropCount},
	{"Pad", 18, padAllAxes},
	{"Pad", 19, without("mode", "wrap")},
	{"Resize", 19, without("coordinate_transformation_mode", "half_pixel_symmetric")},
	{"ScatterElements ScatterND", 18, without("reduction", "max", "min")},
	{"RoiAlign", 16, oldRoiAlign},
	{"GridSample", 20, oldInterpolationName},
	{"DFT", 20, axisToAttr},
	{"GroupNormalization", 21, never("scale and bias are per group there")},
}

var downgradesOf = func() map[string][]int {
	m := map[string][]int{}
	for i, d := range downgrades {
		for k := range strings.FieldsSeq(d.kinds) {
			m[k] = append(m[k], i)
		}
	}
	return m
}()

// minOpset are operator sets below which an element type does not exist.
var minOpset = map[tensor.DType]int{
	tensor.Float8E4M3FN: 19, tensor.Float8E4M3FNUZ: 19, tensor.Float8E5M2: 19, tensor.Float8E5M2FNUZ: 19,
	tensor.Uint4: 21, tensor.Int4: 21, tensor.Float4E2M1: 23, tensor.Float8E8M0: 24, tensor.Uint2: 25, tensor.Int2: 25,
}

// irVersion returns the IR version that an operator set of the default domain needs at least.
func irVersion(opset int) int64 {
	switch {
	case opset >= 25:
		return 13
	case opset >= 24:
		return 12
	case opset >= 23:
		return 11
	case opset >= 21:
		return 10
	case opset >= 19:
		return 9
	case opset >= 15:
		return 8
	}
	return 7
}

// at returns the node in the form of an operator set, or why it has none there.
func (n *outNode) at(opset int) (*outNode, error) {
	s := schemaAt(n.kind, opset)
	if s == nil {
		return nil, errors.New("the operator does not exist yet")
	}
	c := *n
	c.attrs = map[string]any{}
	for k, v := range n.attrs {
		c.attrs[k] = v
	}
	c.in = append([]*graph.Value{}, n.in...)
	for _, i := range downgradesOf[n.kind] {
		if d := downgrades[i]; opset < d.below {
			if err := d.do(&c); err != nil {
				return nil, err
			}
		}
	}
	return &c, s.check(&c)
}

// needs returns the least operator set, from the given one on, that has a form of the node.
func (n *outNode) needs(from int) (int, error) {
	var first error
	for v := from; v <= maxOpset; v++ {
		_, err := n.at(v)
		if err == nil {
			return v, nil
		}
		if first == nil {
			first = err
		}
	}
	return 0, first
}

// constant returns the value of an input that is known.
func (n *outNode) constant(i int) *tensor.Tensor {
	if i >= len(n.in) || n.in[i] == nil {
		return nil
	}
	v := n.in[i]
	if v.Node != nil {
		if c, ok := v.Node.Op.(*op.Constant); ok {
			if t, err := c.Tensor(); err == nil {
				return t
			}
		}
	}
	if t, err := n.g.Constant(v); err == nil && t != nil {
		return t
	}
	return nil
}

// trim removes omitted inputs from the end.
func (n *outNode) trim() {
	for len(n.in) > 0 && n.in[len(n.in)-1] == nil {
		n.in = n.in[:len(n.in)-1]
	}
}

// axesToAttr turns constant axes into an attribute.
func axesToAttr(n *outNode) error {
	noop := n.attrs["noop_with_empty_axes"] == int64(1)
	if len(n.in) < 2 || n.in[1] == nil {
		if noop {
			return errors.New("noop_with_empty_axes does not exist yet")
		}
		n.trim()
		return nil
	}
	t := n.constant(1)
	if t == nil {
		return errors.New("the axes are not constant")
	}
	axes, err := t.Ints()
	if err != nil {
		return err
	}
	if len(axes) == 0 && noop {
		return errors.New("noop_with_empty_axes does not exist yet")
	}
	delete(n.attrs, "noop_with_empty_axes")
	if len(axes) > 0 {
		n.attrs["axes"] = axes
	}
	n.in = n.in[:1]
	return nil
}

// dropCount leaves out the number of parts, which follows from the outputs where the parts are equal.
func dropCount(n *outNode) error {
	count, ok := n.attrs["num_outputs"].(int64)
	if !ok {
		return nil
	}
	if int(count) != len(n.out) {
		return fmt.Errorf("%d of %d parts are outputs", len(n.out), count)
	}
	axis, _ := n.attrs["axis"].(int64)
	divides := n.source > 0 && n.source < 18 // then the file had it so
	if t := n.in[0].Type; t.Ranked && !divides {
		a, err := tensor.Axis(int(axis), len(t.Dims))
		if err != nil {
			return err
		}
		divides = t.Dims[a].IsKnown() && t.Dims[a].Size%int(count) == 0
	}
	if !divides {
		return errors.New("the parts may differ in size")
	}
	delete(n.attrs, "num_outputs")
	return nil
}

// padAllAxes spreads constant pads of some axes over all of them.
func padAllAxes(n *outNode) error {
	if len(n.in) < 4 || n.in[3] == nil {
		n.trim()
		return nil
	}
	axes, pads, t := n.constant(3), n.constant(1), n.in[0].Type
	if axes == nil || pads == nil || !t.Ranked {
		return errors.New("the axes are not constant")
	}
	a, err := axes.Ints()
	if err != nil {
		return err
	}
	p, err := pads.Ints()
	if err != nil {
		return err
	}
	rank := len(t.Dims)
	all := make([]int64, 2*rank)
	for i, x := range a {
		k, err := tensor.Axis(int(x), rank)
		if err != nil {
			return err
		}
		if len(p) != 2*len(a) {
			return fmt.Errorf("%d pads for %d axes", len(p), len(a))
		}
		all[k], all[rank+k] = p[i], p[len(a)+i]
	}
	n.in[1] = graph.Param(n.in[1].Name+"/all", tensor.Of(tensor.Shape{len(all)}, all))
	n.in = n.in[:3]
	n.trim()
	return nil
}

// without admits the node unless the attribute has one of the values.
func without(name string, values ...string) func(*outNode) error {
	return func(n *outNode) error {
		for _, v := range values {
			if n.attrs[name] == v {
				return fmt.Errorf("%s %q does not exist yet", name, v)
			}
		}
		return nil
	}
}

func never(why string) func(*outNode) error {
	return func(*outNode) error { return errors.New(why) }
}

// oldRoiAlign leaves out the coordinate mode, which was fixed.
func oldRoiAlign(n *outNode) error {
	if n.attrs["coordinate_transformation_mode"] != "output_half_pixel" {
		return errors.New("coordinates are transformed as output_half_pixel there")
	}
	delete(n.attrs, "coordinate_transformation_mode")
	return nil
}

// oldInterpolationName gives the modes of GridSample their earlier names.
func oldInterpolationName(n *outNode) error {
	switch n.attrs["mode"] {
	case "linear":
		n.attrs["mode"] = "bilinear"
	case "cubic":
		n.attrs["mode"] = "bicubic"
	}
	return nil
}

// axisToAttr turns the axis of DFT, which is the last but one by default, into an attribute.
func axisToAttr(n *outNode) error {
	axis := int64(-2)
	if len(n.in) > 2 && n.in[2] != nil {
		t := n.constant(2)
		if t == nil || t.Len() != 1 {
			return errors.New("the axis is not constant")
		}
		v, err := t.Ints()
		if err != nil {
			return err
		}
		axis = v[0]
	}
	if axis < 0 {
		t := n.in[0].Type
		if !t.Ranked {
			return errors.New("the rank is not known")
		}
		axis += int64(len(t.Dims))
	}
	n.attrs["axis"] = axis
	n.in = n.in[:min(len(n.in), 2)]
	n.trim()
	return nil
}
