package pass

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// WriteQOperators brings a graph in ONNX's QDQ form to its QOperator form: what stands between DequantizeLinear and
// QuantizeLinear becomes one of the operators on codes that ONNX and ONNX Runtime define, QLinearConv and its like. What has none
// stays between its pair. The graph stays portable.
func WriteQOperators(g *graph.Graph) error {
	w := &qoperatorWriter{&qdqFuser{fuser: newFuser(g), names: g.ValueNames()}}
	for _, n := range g.Nodes {
		if !w.gone[n] {
			w.match(n)
		}
		if w.err != nil {
			return w.err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return RemoveDead(g)
}

// qoperatorWriter is the state of [WriteQOperators].
type qoperatorWriter struct{ *qdqFuser }

func (w *qoperatorWriter) match(n *graph.Node) {
	switch o := n.Op.(type) {
	case *op.Conv:
		w.conv(n, o)
	case *op.MatMul:
		w.matMul(n)
	case *op.Gemm:
		w.gemm(n, o)
	case *op.Add:
		w.binary(n, &op.QLinearAdd{})
	case *op.Mul:
		w.binary(n, &op.QLinearMul{})
	case *op.Sigmoid:
		w.unary(n, &op.QLinearSigmoid{})
	case *op.LeakyRelu:
		w.unary(n, &op.QLinearLeakyRelu{Alpha: o.Alpha})
	case *op.Softmax:
		w.unary(n, &op.QLinearSoftmax{Axis: o.Axis, Opset: 13})
	case *op.AveragePool:
		w.unary(n, &op.QLinearAveragePool{Window: o.Window, CeilMode: o.CeilMode, CountIncludePad: o.CountIncludePad})
	case *op.GlobalAveragePool:
		w.unary(n, &op.QLinearGlobalAveragePool{})
	case *op.Concat:
		w.concat(n, o)
	case *op.Where:
		w.where(n)
	case *op.Relu, *op.Clip:
		w.clamped(n)
	default:
		if slices.Contains(moving, n.Op.Kind()) || n.Op.Kind() == "GatherElements" {
			w.moved(n)
		}
	}
}

// emit replaces the end's chain by o, whose codes are clipped as a Relu or Clip in the chain would do.
func (w *qoperatorWriter) emit(e *quantEnd, o graph.Op, in ...*graph.Value) {
	if !valid(o, in) {
		return
	}
	last := e.chain[len(e.chain)-1]
	if e.free() {
		w.put(e.chain, last, o, in, e.out())
		return
	}
	v := &graph.Value{Name: w.names.Fresh(e.out().Name + "_unclipped"), Type: e.out().Type}
	r := e.result()
	w.put(e.chain, last, o, in, v)
	w.put(e.chain[1:], last, &op.Clip{}, []*graph.Value{v, w.code(e.y, r.Lo), w.code(e.y, r.Hi)}, e.out())
}

// code is a code as a parameter.
func (w *qoperatorWriter) code(c op.Codes, code int32) *graph.Value {
	c.Zero = code
	return graph.Param(w.names.Fresh("limit"), codeScalar(c))
}

// plainEnd is the end of a chain of codes of one type.
func (w *qoperatorWriter) plainEnd(d tensor.DType, chain ...*graph.Node) (e quantEnd, scale, zero *graph.Value, ok bool) {
	if e, ok = w.end(chain); !ok || e.y.DType != d {
		return e, nil, nil, false
	}
	scale, zero = e.parameters()
	return e, scale, w.zero(zero, e.y), true
}

// of lists codes with their parameters, as operands are passed.
func (w *qoperatorWriter) of(c coded) []*graph.Value {
	return []*graph.Value{c.codes, c.scale, w.zero(c.zero, c.Codes)}
}

// operand lists a constant weight with its parameters.
func (w *qoperatorWriter) operand(q *quantWeight) []*graph.Value {
	in := q.value.Node.In
	zero := optional(in, 2)
	if zero == nil {
		zero = graph.Param(w.names.Fresh(in[1].Name+"_zero_point"), tensor.New(q.codes.DType, q.scale.Shape...))
	}
	return []*graph.Value{in[0], in[1], zero}
}

// sums is a bias in codes of the scale of the sums.
func (w *qoperatorWriter) sums(name string, codes []int32) *graph.Value {
	return graph.Param(w.names.Fresh(name), tensor.Of(tensor.Shape{len(codes)}, codes))
}

// factors returns the activation and the constant weight of a product. Runtimes want signed weights where activations are signed.
func (w *qoperatorWriter) factors(n *graph.Node, channel int) (x coded, q quantWeight, ok bool) {
	if x, ok = w.coded(n.In[0]); !ok {
		return
	}
	q, ok = w.weight(n.In[1], channel)
	return x, q, ok && !q.trans && (x.DType == tensor.Uint8 || q.codes.DType == tensor.Int8)
}

func (w *qoperatorWriter) conv(n *graph.Node, o *op.Conv) {
	x, q, ok := w.factors(n, 0)
	if !ok || len(q.codes.Shape) < 3 {
		return
	}
	e, scale, zero, ok := w.plainEnd(x.DType, n)
	if !ok {
		return
	}
	bias, ok := w.bias(optional(n.In, 2), q.channels)
	if !ok {
		return
	}
	codes, ok := q.biasCodes(bias, 1, x.Codes, e.y)
	if !ok {
		return
	}
	in := append(append(w.of(x), w.operand(&q)...), scale, zero)
	if codes != nil {
		in = append(in, w.sums(n.Name+"_bias", codes))
	}
	w.emit(&e, &op.QLinearConv{Window: o.Window, Group: o.Group}, in...)
}

// gemm becomes QGemm, which gives float32 where its result is not quantized.
func (w *qoperatorWriter) gemm(n *graph.Node, o *op.Gemm) {
	channel := 1
	if o.TransB {
		channel = 0
	}
	x, q, ok := w.factors(n, channel)
	if !ok || o.TransA || !(o.Alpha > 0) {
		return
	}
	bias, ok := w.bias(optional(n.In, 2), q.channels)
	if !ok {
		return
	}
	for i := range bias {
		bias[i] *= float64(o.Beta)
	}
	w.product(n, []*graph.Node{n}, x, &q, bias, &op.QGemm{Alpha: o.Alpha, TransB: o.TransB})
}

// product replaces a chain that begins with a product of matrices and ends before its QuantizeLinear, if it has one.
func (w *qoperatorWriter) product(n *graph.Node, chain []*graph.Node, x coded, q *quantWeight, bias []float64, o *op.QGemm) {
	in := append(w.of(x), w.operand(q)...)
	e, scale, zero, quantized := w.plainEnd(x.DType, chain...)
	limit := e.y
	if !quantized { // of a float result nothing is lost by a bias that is as fine as its sums
		limit.Scale = 4 * x.Scale * slices.Max(tensor.Data[float32](q.scale))
	}
	codes, ok := q.biasCodes(bias, o.Alpha, x.Codes, limit)
	if !ok {
		return
	}
	in = append(in, nil)
	if codes != nil {
		in[6] = w.sums(n.Name+"_bias", codes)
	}
	if quantized {
		w.emit(&e, o, append(in, scale, zero)...)
		return
	}
	if codes == nil {
		in = in[:6]
	}
	w.float(chain, o, in...)
}

// matMul becomes QLinearMatMul, or QGemm where a bias is added to a product of matrices. Between further dimensions there is no such
// operator with a bias: MatMulIntegerToFloat gives float32, as it does where the result is not quantized.
func (w *qoperatorWriter) matMul(n *graph.Node) {
	x, q, ok := w.factors(n, 1)
	if !ok || len(q.codes.Shape) != 2 {
		a, okA := w.coded(n.In[0])
		b, okB := w.coded(n.In[1])
		if okA && okB && (a.DType == tensor.Uint8 || b.DType == tensor.Int8) {
			w.activations(n, a, b)
		}
		return
	}
	chain := []*graph.Node{n}
	var bias []float64
	if m := w.next(n); m != nil && m.Op.Kind() == "Add" && len(n.Out[0].Type.Dims) >= 2 {
		if o := other(m, n.Out[0]); o != nil {
			if b, ok := w.bias(o, q.channels); ok {
				chain, bias = append(chain, m), b
			}
		}
	}
	if bias != nil && len(n.In[0].Type.Dims) == 2 {
		w.product(n, chain, x, &q, bias, &op.QGemm{Alpha: 1})
		return
	}
	if bias == nil {
		if e, scale, zero, ok := w.plainEnd(x.DType, n); ok {
			w.emit(&e, &op.QLinearMatMul{}, append(append(w.of(x), w.operand(&q)...), scale, zero)...)
			return
		}
	}
	a, b := w.of(x), w.operand(&q)
	in := []*graph.Value{a[0], b[0], a[1], b[1], a[2], b[2]}
	if bias != nil {
		in = append(in, graph.Param(w.names.Fresh(n.Name+"_bias"), floatBias(bias)))
	}
	w.float(chain, &op.MatMulIntegerToFloat{}, in...)
}

// activations is a MatMul of two activations.
func (w *qoperatorWriter) activations(n *graph.Node, a, b coded) {
	ca, cb := w.of(a), w.of(b)
	if e, scale, zero, ok := w.plainEnd(a.DType, n); ok {
		w.emit(&e, &op.QLinearMatMul{}, append(append(ca, cb...), scale, zero)...)
		return
	}
	w.float([]*graph.Node{n}, &op.MatMulIntegerToFloat{}, ca[0], cb[0], ca[1], cb[1], ca[2], cb[2])
}

func (w *qoperatorWriter) binary(n *graph.Node, o graph.Op) {
	a, okA := w.coded(n.In[0])
	b, okB := w.coded(n.In[1])
	if !okA || !okB || a.DType != b.DType {
		return
	}
	if e, scale, zero, ok := w.plainEnd(a.DType, n); ok {
		w.emit(&e, o, append(append(w.of(a), w.of(b)...), scale, zero)...)
	}
}

func (w *qoperatorWriter) unary(n *graph.Node, o graph.Op) {
	x, ok := w.coded(n.In[0])
	if !ok {
		return
	}
	if e, scale, zero, ok := w.plainEnd(x.DType, n); ok {
		w.emit(&e, o, append(w.of(x), scale, zero)...)
	}
}

func (w *qoperatorWriter) concat(n *graph.Node, o *op.Concat) {
	first, ok := w.coded(n.In[0])
	if !ok {
		return
	}
	e, scale, zero, ok := w.plainEnd(first.DType, n)
	if !ok {
		return
	}
	same := true
	in := []*graph.Value{scale, zero}
	var codes []*graph.Value
	for _, v := range n.In {
		x, ok := w.coded(v)
		if !ok || x.DType != first.DType {
			return
		}
		same = same && x.Codes == e.y
		codes, in = append(codes, x.codes), append(in, w.of(x)...)
	}
	if same {
		w.emit(&e, o, codes...)
		return
	}
	w.emit(&e, &op.QLinearConcat{Axis: o.Axis}, in...)
}

func (w *qoperatorWriter) where(n *graph.Node) {
	a, okA := w.coded(n.In[1])
	b, okB := w.coded(n.In[2])
	if !okA || !okB || a.DType != b.DType {
		return
	}
	if e, scale, zero, ok := w.plainEnd(a.DType, n); ok {
		w.emit(&e, &op.QLinearWhere{}, append(append(append([]*graph.Value{n.In[0]}, w.of(a)...), w.of(b)...), scale, zero)...)
	}
}

// clamped is a Relu or Clip between codes of the same parameters, which clips the codes.
func (w *qoperatorWriter) clamped(n *graph.Node) {
	x, ok := w.coded(n.In[0])
	if !ok {
		return
	}
	lo, hi, ok := w.clamp(n, n.In[0])
	m := w.next(n)
	if !ok || m == nil {
		return
	}
	if y, ok := w.quantizer(m); ok && y == x.Codes {
		in := []*graph.Value{x.codes, w.code(y, y.Code(lo)), w.code(y, y.Code(hi))}
		w.put([]*graph.Node{n, m}, m, &op.Clip{}, in, m.Out[0])
	}
}

// moved moves codes where all outputs have the parameters of the input.
func (w *qoperatorWriter) moved(n *graph.Node) {
	x, ok := w.coded(n.In[0])
	if !ok {
		return
	}
	for _, v := range n.Out {
		for _, q := range w.uses[v] {
			if y, ok := w.quantizer(q); !ok || y != x.Codes {
				return
			}
		}
	}
	if p, ok := n.Op.(*op.MaxPool); ok && (p.OmitIndices || optional(n.Out, 1) != nil) {
		return
	}
	w.move(n)
	for _, m := range w.at[n] {
		if p, ok := m.Op.(*op.MaxPool); ok {
			p.OmitIndices = false // for lowering alone
		}
	}
}
