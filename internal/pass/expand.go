package pass

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// ExpandQOperators spells operators on codes whose parameters are constant as what they stand for, DequantizeLinear, an operator and
// QuantizeLinear, for [FuseQDQ] to find. So both forms of a model run alike.
func ExpandQOperators(g *graph.Graph) error {
	x := &expander{fuser: newFuser(g), names: g.ValueNames()}
	for _, n := range g.Nodes {
		x.expand(n)
		if x.err != nil {
			return x.err
		}
	}
	return x.finish()
}

// expander is the state of [ExpandQOperators].
type expander struct {
	*fuser
	names graph.Names
	n     *graph.Node   // the node that is expanded
	nodes []*graph.Node // what takes its place
}

func (x *expander) expand(n *graph.Node) {
	x.n, x.nodes = n, nil
	in := n.In
	switch o := n.Op.(type) {
	case *op.QLinearConv:
		if x.known(in[1:8]...) && x.known(optional(in, 8)) {
			v := []*graph.Value{x.value(in[0], in[1], in[2], 0), x.value(in[3], in[4], in[5], 0)}
			if b := optional(in, 8); b != nil {
				v = append(v, x.bias(b, 1, in[1], in[4]))
			}
			x.result(&op.Conv{Window: o.Window, Group: o.Group}, v, in[6], in[7])
		}
	case *op.QLinearMatMul:
		if x.known(in[1:8]...) && len(in[3].Data.Shape()) == 2 {
			x.result(&op.MatMul{}, []*graph.Value{x.value(in[0], in[1], in[2], 0), x.value(in[3], in[4], in[5], 1)}, in[6], in[7])
		}
	case *op.QGemm:
		axis := 1
		if o.TransB {
			axis = 0
		}
		if x.known(in[1:6]...) && x.known(in[6:]...) {
			v := []*graph.Value{x.value(in[0], in[1], in[2], 0), x.value(in[3], in[4], in[5], axis)}
			if b := optional(in, 6); b != nil {
				v = append(v, x.bias(b, o.Alpha, in[1], in[4]))
			}
			x.result(&op.Gemm{Alpha: o.Alpha, Beta: 1, TransA: o.TransA, TransB: o.TransB}, v, optional(in, 7), optional(in, 8))
		}
	case *op.MatMulIntegerToFloat:
		if x.known(in[1:]...) && in[3] != nil && len(in[1].Data.Shape()) == 2 {
			v := x.add(&op.MatMul{}, x.value(in[0], in[2], optional(in, 4), 0), x.value(in[1], in[3], optional(in, 5), 1))
			if b := optional(in, 6); b != nil && v != nil {
				v = x.add(&op.Add{}, v, b)
			}
			x.end(v)
		}
	case *op.QLinearAdd:
		x.binary(&op.Add{}, in)
	case *op.QLinearMul:
		x.binary(&op.Mul{}, in)
	case *op.QLinearSigmoid:
		x.unary(&op.Sigmoid{}, in)
	case *op.QLinearLeakyRelu:
		x.unary(&op.LeakyRelu{Alpha: o.Alpha}, in)
	}
}

func (x *expander) binary(o graph.Op, in []*graph.Value) {
	if x.known(in[1:3]...) && x.known(in[4:]...) {
		x.result(o, []*graph.Value{x.value(in[0], in[1], in[2], 0), x.value(in[3], in[4], in[5], 0)}, in[6], optional(in, 7))
	}
}

func (x *expander) unary(o graph.Op, in []*graph.Value) {
	if x.known(in[1:]...) {
		x.result(o, []*graph.Value{x.value(in[0], in[1], in[2], 0)}, in[3], optional(in, 4))
	}
}

// known reports whether all values are parameters, or left out.
func (x *expander) known(vs ...*graph.Value) bool {
	for _, v := range vs {
		if v != nil && !x.g.IsParam(v) {
			return false
		}
	}
	return true
}

// add appends a node and returns its output, or nil if it does not take its inputs.
func (x *expander) add(o graph.Op, in ...*graph.Value) *graph.Value {
	for _, v := range in[:min(2, len(in))] {
		if v == nil {
			return nil
		}
	}
	n := &graph.Node{Name: x.n.Name, Op: o, In: in}
	types, err := graph.InferNode(n)
	if err != nil || len(types) == 0 {
		return nil
	}
	v := &graph.Value{Name: x.names.Fresh(x.n.Out[0].Name + "_expanded"), Node: n, Type: types[0]}
	n.Out = []*graph.Value{v}
	x.nodes = append(x.nodes, n)
	return v
}

// value is codes as real values; scales of several are those along axis.
func (x *expander) value(codes, scale, zero *graph.Value, axis int) *graph.Value {
	if scale == nil {
		return nil
	}
	return x.add(&op.DequantizeLinear{Axis: axis}, codes, scale, zero)
}

// bias is a bias in codes of the scale alpha*a*b as real values.
func (x *expander) bias(codes *graph.Value, alpha float32, a, b *graph.Value) *graph.Value {
	sa, sb := x.constant(a), x.constant(b)
	if sa == nil || sb == nil || sa.DType != tensor.Float32 || sb.DType != tensor.Float32 || sa.Len() != 1 || len(codes.Data.Shape()) != 1 {
		return nil
	}
	s := tensor.New(tensor.Float32, sb.Shape...)
	for i, v := range tensor.Data[float32](sb) {
		tensor.Data[float32](s)[i] = alpha * tensor.Item[float32](sa) * v
	}
	return x.add(&op.DequantizeLinear{}, codes, graph.Param(x.names.Fresh(codes.Name+"_scale"), s))
}

// result ends with o on v, quantized where there is a scale.
func (x *expander) result(o graph.Op, v []*graph.Value, scale, zero *graph.Value) {
	for _, u := range v {
		if u == nil {
			return
		}
	}
	y := x.add(o, v...)
	if y != nil && scale != nil {
		y = x.add(&op.QuantizeLinear{Axis: 1}, y, scale, zero)
	}
	x.end(y)
}

// end puts the nodes in the place of the one that is expanded, if y is what that computes.
func (x *expander) end(y *graph.Value) {
	out := x.n.Out[0]
	if y == nil || y.Type.DType != out.Type.DType {
		return
	}
	last := x.nodes[len(x.nodes)-1]
	last.Out, out.Node = []*graph.Value{out}, last
	x.gone[x.n] = true
	x.at[x.n] = x.nodes
}
