package pass

import (
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// FuseQDQ executes on integers what a graph in ONNX's QDQ form describes: an operator between DequantizeLinear and QuantizeLinear
// with constant parameters per tensor becomes an operator on codes. Products of constant weights are computed as QLinearConv,
// QLinearMatMul and QGemm define them, with a Relu or Clip taken into the limits of the codes, or with a float32 result where
// none is quantized. What only moves values moves codes, pointwise functions become tables.
//
// The float evaluation of the same graph rounds the same real number to a code, from sums of float32 that are not exact, so that
// both differ by at most one code, and only where that number lies near the middle of two codes. What does not match stays as
// it is.
func FuseQDQ(g *graph.Graph) error {
	f := &qdqFuser{fuser: newFuser(g), names: g.ValueNames(), packed: map[packKey]*op.QuantMatMulWeight{}}
	for _, n := range g.Nodes {
		if !f.gone[n] {
			f.match(n)
		}
		if f.err != nil {
			return f.err
		}
	}
	return f.finish()
}

// qdqFuser is the state of [FuseQDQ].
type qdqFuser struct {
	*fuser
	names  graph.Names
	packed map[packKey]*op.QuantMatMulWeight
}

type packKey struct {
	weight *graph.Value
	trans  bool
}

// moving lists operators that only move values of their first input.
var moving = []string{
	"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad", "Resize", "Gather", "GatherND", "Expand", "Tile",
	"DepthToSpace", "SpaceToDepth", "Identity",
}

// pointwise lists functions of one value; further inputs must be constant scalars.
var pointwise = []string{
	"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu", "Gelu", "com.microsoft.Gelu",
	"com.microsoft.QuickGelu", "Softplus", "Softsign", "Mish", "Swish", "Exp", "Log", "Sqrt", "Abs", "Neg", "Erf", "Reciprocal",
	"Add", "Sub", "Mul", "Div",
}

func (f *qdqFuser) match(n *graph.Node) {
	switch o := n.Op.(type) {
	case *op.Conv:
		f.conv(n, o)
		return
	case *op.MatMul:
		f.product(n, 1, 1, false)
		return
	case *op.Gemm:
		if !o.TransA {
			f.product(n, o.Alpha, o.Beta, o.TransB)
		}
		return
	case *op.AveragePool:
		f.pool(n, &op.QLinearAveragePool{Window: o.Window, CeilMode: o.CeilMode, CountIncludePad: o.CountIncludePad})
		return
	case *op.GlobalAveragePool:
		f.pool(n, &op.QLinearGlobalAveragePool{})
		return
	case *op.Concat:
		f.concat(n, o)
		return
	case *op.QuantizeLinear:
		f.requantize(n)
		return
	case *op.Shape, *op.Size:
		if x, ok := f.coded(n.In[0]); ok { // the shape of the codes is that of the values
			n.In[0] = x.codes
		}
		return
	}
	switch kind := n.Op.Kind(); {
	case slices.Contains(moving, kind):
		f.move(n)
	case slices.Contains(pointwise, kind):
		if !f.binary(n) {
			f.table(n)
		}
	}
}

// put replaces a chain of nodes by one that computes out of in, in the place of at.
func (f *qdqFuser) put(chain []*graph.Node, at *graph.Node, o graph.Op, in []*graph.Value, out ...*graph.Value) {
	for _, n := range chain {
		f.gone[n] = true
	}
	node := &graph.Node{Name: chain[0].Name, Op: o, In: in, Out: out}
	for _, v := range out {
		if v != nil {
			v.Node = node
		}
	}
	f.at[at] = append(f.at[at], node)
}

// valid reports whether an operator takes inputs of these types.
func valid(o graph.Op, in []*graph.Value) bool {
	if c, ok := o.(op.ChannelsLast); ok && c.ImageRank() > 0 {
		in = slices.Clone(in)
		for i, v := range in {
			if len(v.Type.Dims) == c.ImageRank() {
				in[i] = &graph.Value{Name: v.Name, Type: lastType(v.Type)}
			}
		}
	}
	_, err := graph.InferNode(&graph.Node{Op: o, In: in})
	return err == nil
}

// fuse replaces the end's chain by o on in, if o takes it.
func (f *qdqFuser) fuse(e *quantEnd, o graph.Op, in ...*graph.Value) bool {
	if !valid(o, in) {
		return false
	}
	f.put(e.chain, e.chain[len(e.chain)-1], o, in, e.out())
	return true
}

// zero returns a zero point as a value; v, or 0 if that is nil.
func (f *qdqFuser) zero(v *graph.Value, c op.Codes) *graph.Value {
	if v != nil {
		return v
	}
	return graph.Param(f.names.Fresh("zero_point"), tensor.New(c.DType))
}

func (f *qdqFuser) conv(n *graph.Node, o *op.Conv) {
	x, ok := f.coded(n.In[0])
	if !ok {
		return
	}
	w, ok := f.weight(n.In[1], 0)
	if !ok || w.trans || len(w.codes.Shape) < 3 {
		return
	}
	bias, ok := f.bias(optional(n.In, 2), w.channels)
	if !ok {
		return
	}
	if e, ok := f.end([]*graph.Node{n}); ok {
		if b, ok := w.biasCodes(bias, 1, x.Codes, e.y); ok {
			p, err := op.NewPackedQLinearConv(o, w.codes, w.scale, w.zero, b, x.Codes, e.result())
			letGo(w.stored)
			if err == nil {
				f.fuse(&e, p, x.codes)
			}
			return
		}
	}
	chain, b, residual, a := f.tail([]*graph.Node{n}, floatBias(bias), channelBias(w.channels, len(w.codes.Shape)-2), len(w.codes.Shape))
	p, err := op.NewDynamicQuantConv(&op.ConvInteger{Window: o.Window, Group: o.Group}, w.codes, w.scale, w.zero, b, residual != nil, a)
	letGo(w.stored)
	if err != nil {
		return
	}
	in := []*graph.Value{x.codes, x.scale, f.zero(x.zero, x.Codes)}
	if residual != nil {
		in = append(in, residual)
	}
	f.float(chain, p, in...)
}

// float replaces a chain whose result stays in float32.
func (f *qdqFuser) float(chain []*graph.Node, o graph.Op, in ...*graph.Value) {
	if last := chain[len(chain)-1]; valid(o, in) {
		f.put(chain, last, o, in, last.Out[0])
	}
}

// product is MatMul, or Gemm without transposition on the left.
func (f *qdqFuser) product(n *graph.Node, alpha, beta float32, trans bool) {
	x, ok := f.coded(n.In[0])
	if !ok {
		return
	}
	channel := 1
	if trans {
		channel = 0
	}
	w, ok := f.weight(n.In[1], channel)
	if !ok || len(w.codes.Shape) != 2 || !(alpha > 0) {
		if y, ok := f.coded(n.In[1]); ok && n.Op.Kind() == "MatMul" {
			f.dynamicProduct(n, x, y)
		}
		return
	}
	bias, ok := f.bias(optional(n.In, 2), w.channels)
	if !ok {
		return
	}
	for i := range bias {
		bias[i] *= float64(beta)
	}
	k := packKey{w.value, trans != w.trans}
	p := f.packed[k]
	if p == nil {
		var err error
		if p, err = op.NewQuantMatMulWeight(w.codes, k.trans, w.scale, w.zero); err != nil {
			return
		}
		letGo(w.stored)
		f.packed[k] = p
	}
	chain := []*graph.Node{n}
	whole := bias
	if m := f.next(n); m != nil && m.Op.Kind() == "Add" && bias == nil && len(n.Out[0].Type.Dims) >= 2 {
		if o := other(m, n.Out[0]); o != nil {
			if b, ok := f.bias(o, w.channels); ok {
				chain, whole = append(chain, m), b
			}
		}
	}
	if e, ok := f.end(chain); ok {
		if b, ok := w.biasCodes(whole, alpha, x.Codes, e.y); ok {
			o, err := op.NewPackedQLinearMatMul(p, alpha, b, x.Codes, e.result())
			if err == nil && f.fuse(&e, o, x.codes) {
				return
			}
		}
	}
	scale := x.scale
	if alpha != 1 {
		scale = graph.Param(f.names.Fresh(scale.Name), tensor.Scalar(alpha*x.Scale))
	}
	chain, b, residual, a := f.tail([]*graph.Node{n}, floatBias(bias), rowBias(w.channels), 0)
	o, err := op.NewDynamicQuantMatMul(p, b, residual != nil, a)
	if err != nil {
		return
	}
	in := []*graph.Value{x.codes, scale, f.zero(x.zero, x.Codes)}
	if residual != nil {
		in = append(in, residual)
	}
	f.float(chain, o, in...)
}

// maxProducts is how many products of two 9-bit differences int32 is certain to hold.
const maxProducts = (1<<31 - 1) / (255 * 255)

// dynamicProduct is a MatMul of two activations.
func (f *qdqFuser) dynamicProduct(n *graph.Node, a, b coded) {
	if d := n.In[0].Type.Dims; len(d) > 0 && d[len(d)-1].Size > maxProducts {
		return
	}
	za, zb := f.zero(a.zero, a.Codes), f.zero(b.zero, b.Codes)
	if e, ok := f.end([]*graph.Node{n}); ok && e.free() {
		scale, zero := e.parameters()
		f.fuse(&e, &op.QLinearMatMul{}, a.codes, a.scale, za, b.codes, b.scale, zb, scale, f.zero(zero, e.y))
		return
	}
	f.float([]*graph.Node{n}, &op.MatMulIntegerToFloat{}, a.codes, b.codes, a.scale, b.scale, za, zb)
}

// pool is an average that o computes on codes.
func (f *qdqFuser) pool(n *graph.Node, o graph.Op) {
	x, ok := f.coded(n.In[0])
	if !ok {
		return
	}
	e, ok := f.end([]*graph.Node{n})
	if !ok || !e.free() || e.y.DType != x.DType {
		return
	}
	scale, zero := e.parameters()
	f.fuse(&e, o, x.codes, x.scale, f.zero(x.zero, x.Codes), scale, f.zero(zero, e.y))
}

func (f *qdqFuser) concat(n *graph.Node, o *op.Concat) {
	e, ok := f.end([]*graph.Node{n})
	if !ok || !e.free() {
		return
	}
	same := true
	scale, zero := e.parameters()
	in := []*graph.Value{scale, f.zero(zero, e.y)}
	var codes []*graph.Value
	for _, v := range n.In {
		x, ok := f.coded(v)
		if !ok {
			return
		}
		same = same && x.Codes == e.y
		codes = append(codes, x.codes)
		in = append(in, x.codes, x.scale, f.zero(x.zero, x.Codes))
	}
	if same {
		f.fuse(&e, o, codes...)
		return
	}
	f.fuse(&e, &op.QLinearConcat{Axis: o.Axis}, in...)
}

// binary is Add, Sub, Mul or Div of two values in codes.
func (f *qdqFuser) binary(n *graph.Node) bool {
	if len(n.In) != 2 {
		return false
	}
	a, okA := f.coded(n.In[0])
	b, okB := f.coded(n.In[1])
	if !okA || !okB {
		return false
	}
	e, ok := f.end([]*graph.Node{n})
	if !ok {
		return false
	}
	if e.free() {
		e.lo, e.hi = float32(math.Inf(-1)), float32(math.Inf(1))
	}
	o, ok := op.NewQuantizedBinary(n.Op, a.Codes, b.Codes, e.y, e.lo, e.hi)
	if !ok {
		return false
	}
	return f.addToConv(&e, o, 0, a, b) || f.addToConv(&e, o, 1, b, a) || f.fuse(&e, o, a.codes, b.codes)
}

// addToConv lets a convolution that computes the codes c, which are operand at of the addition o and are read nowhere else, do the
// addition.
func (f *qdqFuser) addToConv(e *quantEnd, o *op.QuantizedBinary, at int, c, other coded) bool {
	n, v := c.codes.Node, e.chain[0].In[at]
	if n == nil || c.codes == other.codes || f.g.IsOutput(c.codes) || f.g.IsOutput(v) || len(f.uses[c.codes]) != 1 || len(f.uses[v]) != 1 ||
		len(other.codes.Type.Dims) != len(c.codes.Type.Dims) || f.g.IsParam(other.codes) {
		return false
	}
	conv, ok := n.Op.(*op.PackedQLinearConv)
	if !ok {
		return false
	}
	sum, ok := conv.WithAdd(o, at == 0)
	if !ok || !f.fuse(e, sum, n.In[0], other.codes) {
		return false
	}
	f.drop(n)
	return true
}

// drop takes a fused node away again.
func (f *qdqFuser) drop(n *graph.Node) {
	for at, nodes := range f.at {
		if i := slices.Index(nodes, n); i >= 0 {
			f.at[at] = slices.Delete(nodes, i, i+1)
		}
	}
}

// table is a function of one value in codes; what else it takes is constant and scalar.
func (f *qdqFuser) table(n *graph.Node) {
	at := -1
	var x coded
	in := make([]*tensor.Tensor, len(n.In))
	for i, v := range n.In {
		if v == nil {
			continue
		}
		if c, ok := f.coded(v); ok && at < 0 && !f.g.IsParam(c.codes) {
			at, x = i, c
			continue
		}
		t, ok := f.scalar(v)
		if !ok {
			return
		}
		in[i] = t
	}
	if at < 0 || n.Out[0].Type.DType != tensor.Float32 {
		return
	}
	chain := []*graph.Node{n}
	m := f.next(n)
	if m == nil {
		return
	}
	y, ok := f.quantizer(m)
	if !ok {
		return
	}
	o, err := op.NewCodeTable(n.Op, in, at, x.Codes, y)
	if err != nil {
		return
	}
	f.fuse(&quantEnd{chain: append(chain, m), y: y}, o, x.codes)
}

// scalar returns a constant of one float32 element that does not add dimensions to what it is combined with; it may be held in
// codes.
func (f *qdqFuser) scalar(v *graph.Value) (*tensor.Tensor, bool) {
	t := f.constant(v)
	if t == nil {
		c, ok := f.coded(v)
		if !ok {
			return nil, false
		}
		codes := f.constant(c.codes)
		if codes == nil || codes.Len() != 1 || len(codes.Shape) > 1 {
			return nil, false
		}
		z, err := codes.Ints()
		if err != nil {
			return nil, false
		}
		t = tensor.Scalar(float32(int32(z[0])-c.Zero) * c.Scale)
	}
	if t.DType != tensor.Float32 || t.Len() != 1 || len(t.Shape) > 1 {
		return nil, false
	}
	return t.Reshape(), true
}

// requantize is a QuantizeLinear of a value that is in codes already: other parameters, or the same.
func (f *qdqFuser) requantize(n *graph.Node) {
	x, ok := f.coded(n.In[0])
	if !ok {
		return
	}
	y, ok := f.quantizer(n)
	if !ok {
		return
	}
	if x.Codes == y && !f.g.IsParam(x.codes) && !f.g.IsOutput(n.Out[0]) {
		f.g.Replace(n.Out[0], x.codes)
		f.gone[n] = true
		return
	}
	o, err := op.NewCodeTable(nil, nil, 0, x.Codes, y)
	if err == nil {
		f.fuse(&quantEnd{chain: []*graph.Node{n}, y: y}, o, x.codes)
	}
}

// move moves codes instead of values, and changes their parameters afterwards where those differ.
func (f *qdqFuser) move(n *graph.Node) {
	x, ok := f.coded(n.In[0])
	if !ok || slices.Contains(n.In[1:], n.In[0]) {
		return
	}
	o, in := n.Op, slices.Clone(n.In)
	in[0] = x.codes
	switch k := n.Op.(type) {
	case *op.MaxPool:
		p := *k
		p.OmitIndices = true // indices that are used are no codes, and end the match below
		o = &p
	case *op.Pad:
		if k.Mode == "constant" {
			if v := optional(n.In, 2); v != nil {
				t := f.constant(v)
				if t == nil || t.DType != tensor.Float32 || t.Len() != 1 || tensor.Item[float32](t) != 0 {
					return
				}
			}
			for len(in) < 3 {
				in = append(in, nil)
			}
			in[2] = graph.Param(f.names.Fresh("zero_point"), codeScalar(x.Codes))
		}
	case *op.Resize:
		if k.Mode != "nearest" || k.Antialias || k.Transformation == "tf_crop_and_resize" {
			return
		}
	}
	// Every output that is used goes to a QuantizeLinear of its own.
	chain := []*graph.Node{n}
	out := make([]*graph.Value, len(n.Out))
	var ends []*graph.Node
	var to []op.Codes
	for i, v := range n.Out {
		if v == nil || len(f.uses[v]) == 0 && !f.g.IsOutput(v) {
			continue
		}
		if len(f.uses[v]) != 1 || f.g.IsOutput(v) || f.gone[f.uses[v][0]] {
			return
		}
		q := f.uses[v][0]
		y, ok := f.quantizer(q)
		if !ok {
			return
		}
		out[i] = q.Out[0]
		chain, ends, to = append(chain, q), append(ends, q), append(to, y)
	}
	if len(ends) == 0 || !valid(o, in) {
		return
	}
	tables := make([]graph.Op, len(ends))
	for i := range ends {
		if to[i] != x.Codes {
			t, err := op.NewCodeTable(nil, nil, 0, x.Codes, to[i])
			if err != nil {
				return
			}
			tables[i] = t
		}
	}
	for i, q := range ends {
		if tables[i] == nil {
			continue
		}
		k := slices.Index(out, q.Out[0])
		out[k] = &graph.Value{Name: f.names.Fresh(n.Out[k].Name + "_codes"), Type: n.Out[k].Type}
		out[k].Type.DType, out[k].Type.Const = x.DType, nil
		f.put([]*graph.Node{q}, q, tables[i], []*graph.Value{out[k]}, q.Out[0])
	}
	for len(out) > 1 && out[len(out)-1] == nil {
		out = out[:len(out)-1]
	}
	f.put(chain, n, o, in, out...)
}

// codeScalar is the zero point of codes as a scalar.
func codeScalar(c op.Codes) *tensor.Tensor {
	t := tensor.New(c.DType)
	t.Bytes()[0] = byte(c.Zero)
	return t
}
