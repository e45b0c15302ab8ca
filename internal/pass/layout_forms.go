package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// elementwise lists functions of single elements beside those of pointwise; further inputs must be constant scalars.
var elementwise = []string{
	"Identity", "Cast", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "ThresholdedRelu", "Shrink", "Not", "IsNaN", "IsInf",
}

// combining lists operators on two broadcast operands.
var combining = []string{
	"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu", "QuantizedAdd", "QuantizedSub", "QuantizedMul", "QuantizedDiv",
}

// form returns n as an operator on channels-last images with its inputs, if there is one and n's images are in that order
// already.
func (l *layouts) form(n *graph.Node) (graph.Op, []*graph.Value, bool) {
	if len(n.In) == 0 || n.In[0] == nil {
		return nil, nil, false
	}
	rank := len(n.In[0].Type.Dims)
	kind := n.Op.Kind()
	if slices.Contains(combining, kind) && len(n.In) == 2 {
		in, ok := l.operands(n.In)
		return n.Op, in, ok
	}
	if l.last[n.In[0]] == nil {
		return nil, nil, false
	}
	axis := func(a int) int { return lastAxis(a, rank) }
	switch o := n.Op.(type) {
	case *op.QuantizeLinear:
		p := *o
		p.Axis = axis(o.Axis)
		return &p, n.In, o.BlockSize == 0 && l.constants(n.In[1:], false)
	case *op.DequantizeLinear:
		p := *o
		p.Axis = axis(o.Axis)
		return &p, n.In, o.BlockSize == 0 && l.constants(n.In[1:], false)
	case *op.FakeQuantize:
		return n.Op, n.In, o.Axis < 0
	case *op.MaxPool:
		p := *o
		p.ChannelsLast, p.OmitIndices = true, true
		d := n.In[0].Type.DType
		return &p, n.In, (o.OmitIndices || l.unused(n.Out[1:])) && (d == tensor.Float32 || d == tensor.Int8 || d == tensor.Uint8)
	case *op.QLinearAveragePool:
		p := *o
		p.ChannelsLast = true
		return &p, n.In, !o.ChannelsLast
	case *op.QLinearGlobalAveragePool:
		return &op.QLinearGlobalAveragePool{ChannelsLast: true}, n.In, !o.ChannelsLast
	case *op.GlobalAveragePool:
		return l.mean(n, rank)
	case *op.Concat:
		for _, v := range n.In {
			if l.last[v] == nil {
				return nil, nil, false
			}
		}
		return &op.Concat{Axis: axis(o.Axis)}, n.In, true
	case *op.QLinearConcat:
		for i := 2; i < len(n.In); i += 3 {
			if l.last[n.In[i]] == nil {
				return nil, nil, false
			}
		}
		return &op.QLinearConcat{Axis: axis(o.Axis)}, n.In, true
	case *op.Split:
		p := *o
		p.Axis = axis(o.Axis)
		return &p, n.In, true
	case *op.Softmax:
		return &op.Softmax{Axis: axis(o.Axis)}, n.In, true
	case *op.Resize:
		p := *o
		axes := o.Axes
		if axes == nil {
			for i := range rank {
				axes = append(axes, i)
			}
		}
		p.Axes = make([]int, len(axes))
		for i, a := range axes {
			p.Axes[i] = axis(a)
		}
		return &p, n.In, true
	case *op.Pad:
		return l.pad(n, o, rank)
	}
	if slices.Contains(pointwise, kind) || slices.Contains(elementwise, kind) || isCodeTable(n.Op) {
		return n.Op, n.In, l.constants(n.In[1:], true)
	}
	return nil, nil, false
}

func isCodeTable(o graph.Op) bool {
	_, ok := o.(*op.CodeTable)
	return ok
}

// constants reports whether all values are parameters, or left out, and with scalars of one element each.
func (l *layouts) constants(vs []*graph.Value, scalars bool) bool {
	for _, v := range vs {
		if v != nil && (!l.g.IsParam(v) || scalars && v.Data.Shape().Len() != 1) {
			return false
		}
	}
	return true
}

// unused reports whether nobody reads any of the values.
func (l *layouts) unused(vs []*graph.Value) bool {
	for _, v := range vs {
		if v == nil {
			continue
		}
		if l.g.IsOutput(v) || slices.ContainsFunc(l.g.Nodes, func(n *graph.Node) bool { return slices.Contains(n.In, v) }) {
			return false
		}
	}
	return true
}

// operands returns the operands of a broadcasting operator for channels-last images: both are images, or one is and the other a
// constant of one value or one per channel, or of one position.
func (l *layouts) operands(in []*graph.Value) ([]*graph.Value, bool) {
	a, b := l.last[in[0]], l.last[in[1]]
	if a != nil && b != nil {
		return in, len(a.Type.Dims) == len(b.Type.Dims)
	}
	image, other, at := in[0], in[1], 1
	if a == nil {
		image, other, at = in[1], in[0], 0
	}
	rank := len(image.Type.Dims)
	if a == nil && b == nil || other == nil || !other.Type.Ranked {
		return nil, false
	}
	if !l.g.IsParam(other) {
		// What has one position only costs nothing to bring along: the gates of squeeze-and-excitation.
		dims := other.Type.Dims
		return in, len(dims) == rank && !slices.ContainsFunc(dims[2:], func(d graph.Dim) bool { return d.Size != 1 })
	}
	shape := other.Data.Shape()
	if shape.Len() == 1 && len(shape) <= rank {
		return in, true
	}
	if l.trained != nil && l.trained(other) {
		return nil, false
	}
	channel := len(shape) - (rank - 1)
	if channel < 0 || channel > 1 || shape.Len() != shape[channel] {
		return nil, false
	}
	t, err := l.g.Constant(other)
	if err != nil {
		l.err = err
		return nil, false
	}
	in = slices.Clone(in)
	in[at] = graph.Param(l.values.Fresh(other.Name+"_channels"), t.Reshape(shape.Len()))
	return in, true
}

// mean is the GlobalAveragePool of channels-last images.
func (l *layouts) mean(n *graph.Node, rank int) (graph.Op, []*graph.Value, bool) {
	axes := make([]int64, rank-2)
	for i := range axes {
		axes[i] = int64(i + 1)
	}
	o, ok := op.New("ReduceMean")
	return o, []*graph.Value{n.In[0], graph.Param(l.values.Fresh("spatial_axes"), tensor.Vector(axes...))}, ok
}

// pad permutes constant pads.
func (l *layouts) pad(n *graph.Node, o *op.Pad, rank int) (graph.Op, []*graph.Value, bool) {
	if len(n.In) > 3 && n.In[3] != nil {
		return nil, nil, false
	}
	t, err := l.g.Constant(n.In[1])
	if err != nil || t == nil || t.Len() != 2*rank {
		l.err = err
		return nil, nil, false
	}
	v, err := t.Ints()
	if err != nil {
		return nil, nil, false
	}
	pads := make([]int64, 2*rank)
	for i := range rank {
		pads[lastAxis(i, rank)], pads[rank+lastAxis(i, rank)] = v[i], v[rank+i]
	}
	in := slices.Clone(n.In)
	in[1] = graph.Param(l.values.Fresh(n.In[1].Name+lastSuffix), tensor.Vector(pads...))
	return o, in, true
}
