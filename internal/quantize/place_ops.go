package quantize

import (
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// kinds says how an operator that is no product computes on codes.
var kinds = map[string]role{
	// ONNX Runtime has kernels for these with parameters of their own for every input and output. Sub and Div are written as Add
	// and Mul where what they take away or divide by is constant.
	"Add": pointy, "Sub": pointy, "Mul": pointy, "Div": pointy, "Concat": pointy, "Where": pointy, "AveragePool": pointy, "GlobalAveragePool": pointy,
	"Sigmoid": pointy, "LeakyRelu": pointy, "Softmax": pointy,
	// Functions of one value; Resize that interpolates is one of its neighbours.
	"Tanh": tabled, "HardSigmoid": tabled, "HardSwish": tabled, "Gelu": tabled, "com.microsoft.Gelu": tabled, "com.microsoft.QuickGelu": tabled, "Elu": tabled,
	"Selu": tabled, "Celu": tabled, "Softplus": tabled, "Softsign": tabled, "Mish": tabled, "Swish": tabled, "PRelu": tabled, "Abs": tabled, "Neg": tabled, "Resize": tabled,
	// These only move codes, or clamp them: their outputs have the parameters of their first input.
	"MaxPool": carrying, "Reshape": carrying, "Transpose": carrying, "Flatten": carrying, "Squeeze": carrying, "Unsqueeze": carrying, "Slice": carrying, "Split": carrying,
	"DepthToSpace": carrying, "SpaceToDepth": carrying, "Gather": carrying, "GatherElements": carrying, "GatherND": carrying, "Expand": carrying, "Tile": carrying,
	"Identity": carrying, "Pad": carrying, "Relu": carrying, "Clip": carrying,
}

// kindOf returns the role that a node's operator can have.
func kindOf(n *graph.Node) role {
	if n.Op.Kind() == "Resize" {
		if mode, _ := stringAttr(n.Op, "mode"); mode == "" || mode == "nearest" {
			return carrying
		}
	}
	return kinds[n.Op.Kind()]
}

// operands lists the inputs of a node that hold values, not shapes or indices.
func operands(n *graph.Node) []int {
	switch n.Op.Kind() {
	case "Add", "Sub", "Mul", "Div":
		return []int{0, 1}
	case "Where":
		return []int{1, 2}
	case "Concat":
		all := make([]int, len(n.In))
		for i := range all {
			all[i] = i
		}
		return all
	}
	return []int{0}
}

// admits reports whether a node's attributes and further inputs allow codes.
func (p *placement) admits(n *graph.Node) bool {
	switch o := n.Op.(type) {
	case *op.MaxPool:
		return len(n.Out) < 2 || n.Out[1] == nil
	case *op.Resize:
		return o.Transformation != "tf_crop_and_resize"
	case *op.Pad:
		if o.Mode != "constant" || len(n.In) < 3 || n.In[2] == nil {
			return true
		}
		t, err := p.g.Constant(n.In[2])
		return err == nil && t != nil && t.DType == tensor.Float32 && t.Len() == 1 && tensor.Item[float32](t) == 0
	}
	switch n.Op.Kind() {
	case "Clip", "Relu":
		lo, hi, ok := p.clamp(n)
		return ok && lo <= 0 && hi >= 0
	case "PRelu":
		return p.g.IsParam(n.In[1]) && n.In[1].Data.Shape().Len() == 1
	case "Div": // a quotient of activations has no bound
		return p.g.IsParam(n.In[1]) && p.nonzero(n.In[1])
	case "Sub":
		return true
	}
	return true
}

func (p *placement) nonzero(v *graph.Value) bool {
	f, ok := p.small(v)
	return ok && !slices.Contains(f, 0)
}

// mostConstant is the largest operand that is looked at for a plan.
const mostConstant = 1 << 16

// small returns the values of a constant operand that is worth holding in codes.
func (p *placement) small(v *graph.Value) ([]float32, bool) {
	if !p.g.IsParam(v) || v.Data.DType() != tensor.Float32 || v.Data.Shape().Len() > mostConstant || v.Data.Shape().Len() == 0 {
		return nil, false
	}
	t, err := v.Data.Load()
	if err != nil {
		return nil, false
	}
	f, err := t.Floats()
	return f, err == nil
}

// leastConstant is the ratio of signal to noise, about 35.6 dB, from which a constant operand is held in 8-bit codes of one scale. Scalars
// and values without outliers reach it.
const leastConstant = 3600

// constant reports whether operand i of a node is a constant that codes hold well.
func (p *placement) constant(n *graph.Node, i int) bool {
	if k := n.Op.Kind(); k == "Where" || k == "Concat" && len(n.In) == 1 {
		return false
	}
	v := n.In[i]
	if (n.Op.Kind() == "Sub" || n.Op.Kind() == "Div") && i != 1 {
		return false
	}
	f, ok := p.small(v)
	if !ok {
		return false
	}
	signal, noise := 0.0, 0.0
	a := p.constantCodes(n, f)
	for _, x := range operandValues(n, f) {
		if x-x != 0 {
			return false
		}
		d := float64(x) - a.value(a.code(x))
		signal += float64(x) * float64(x)
		noise += d * d
	}
	return noise*leastConstant <= signal
}

// operandValues returns a constant operand as the operator on codes takes it: negated for a Sub that becomes an Add, inverted for
// a Div that becomes a Mul.
func operandValues(n *graph.Node, f []float32) []float32 {
	out := slices.Clone(f)
	for i, x := range out {
		switch n.Op.Kind() {
		case "Sub":
			out[i] = -x
		case "Div":
			out[i] = 1 / x
		}
	}
	return out
}

// constantCodes maps the range of a constant operand to codes.
func (p *placement) constantCodes(n *graph.Node, f []float32) activation {
	v := operandValues(n, f)
	return p.rules.codes.of(slices.Min(v), slices.Max(v))
}

// join gives the inputs of a Concat and its output the same parameters as far as that takes nothing from anybody: an input that
// is read elsewhere too keeps its own, and so do all if a clamp in front would not be in the common range any more.
func (p *placement) join(n *graph.Node) {
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	var members []*graph.Value
	for _, v := range n.In {
		if p.root[v] == nil {
			continue
		}
		a, b, _ := p.span(v)
		lo, hi = min(lo, a), max(hi, b)
		if p.lonely(v) {
			members = append(members, v)
		}
	}
	for _, v := range n.In {
		if p.root[v] == nil {
			continue
		}
		if a, b, clamped := p.span(v); clamped && (lo < a || hi > b) {
			return
		}
	}
	for _, v := range members {
		p.share(v, n.Out[0])
	}
}

// lonely reports whether v, and what it was moved from, is read once.
func (p *placement) lonely(v *graph.Value) bool {
	for {
		if len(p.uses[v]) != 1 || p.g.IsOutput(v) || v.Node == nil {
			return false
		}
		if p.roles[v.Node] != carrying {
			return true
		}
		v = v.Node.In[0]
	}
}

// span returns the limits that a value is certain to keep, and whether the range of its codes stands for them.
func (p *placement) span(v *graph.Value) (lo, hi float32, clamped bool) {
	for v.Node != nil && p.roles[v.Node] == carrying && v.Node.Op.Kind() != "Relu" && v.Node.Op.Kind() != "Clip" {
		v = v.Node.In[0]
	}
	if v.Node != nil {
		if lo, hi, ok := p.clamp(v.Node); ok {
			return lo, hi, p.roles[v.Node] == absorbed
		}
		switch v.Node.Op.Kind() {
		case "Sigmoid", "HardSigmoid", "Softmax":
			return 0, 1, false
		}
	}
	return float32(math.Inf(-1)), float32(math.Inf(1)), false
}

// layer describes n if it is a product or an embedding, with the reason if it cannot be quantized.
func (p *placement) layer(n *graph.Node) (placedLayer, bool) {
	l := placedLayer{node: n}
	switch n.Op.Kind() {
	case "Conv":
		l.x, l.weight, l.channel = n.In[0], n.In[1], 0
	case "Gemm":
		l.x, l.weight, l.channel = n.In[0], n.In[1], gemmChannel(n)
	case "MatMul":
		l.x, l.weight, l.channel = n.In[0], n.In[1], 1
	case "Gather":
		return p.embedding(n)
	default:
		return l, false
	}
	if len(n.In) > 2 {
		l.bias = n.In[2]
	}
	switch {
	case p.g.IsParam(l.x) && p.g.IsParam(l.weight):
		l.why = "both factors are constant"
	case p.g.IsParam(l.x):
		l.weight, l.why = l.x, "the constant factor is on the left"
	case l.x.Type.DType != tensor.Float32:
		l.why = fmt.Sprintf("activations are %v; the integer form takes float32", l.x.Type.DType)
	case !p.g.IsParam(l.weight):
		if n.Op.Kind() != "MatMul" {
			l.why = "the weight is not constant"
		}
		l.weight = nil
	case l.weight.Data.DType() != tensor.Float32:
		l.why = fmt.Sprintf("the weight is %v already", l.weight.Data.DType())
	case l.weight.Data.Shape().Len() == 0:
		l.why = "the weight is empty"
	case n.Op.Kind() == "MatMul" && len(l.weight.Data.Shape()) != 2:
		l.channel = -1
	}
	if !p.g.IsParam(l.weight) {
		l.weight = nil
	}
	if l.why == "" && l.bias != nil && !p.g.IsParam(l.bias) {
		l.why = "the bias is not constant"
	}
	return l, true
}

// embedding describes a Gather of rows of a constant table.
func (p *placement) embedding(n *graph.Node) (placedLayer, bool) {
	l := placedLayer{node: n, weight: n.In[0], channel: 0}
	if !p.g.IsParam(n.In[0]) || !n.In[0].Data.DType().IsFloat() {
		return l, false
	}
	if l.why = refuseGather(p.g, n); l.why == "" {
		l.why = smallTable(n)
	}
	return l, true
}
