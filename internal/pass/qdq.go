package pass

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// coded is a float32 value that DequantizeLinear makes of 8-bit codes with one constant scale and zero point.
type coded struct {
	op.Codes
	codes, scale, zero *graph.Value // zero: nil for 0
}

// coded returns how v is held in codes, or false if it is not.
func (f *qdqFuser) coded(v *graph.Value) (coded, bool) {
	if v == nil || v.Node == nil || v.Type.DType != tensor.Float32 {
		return coded{}, false
	}
	o, ok := v.Node.Op.(*op.DequantizeLinear)
	if !ok || o.BlockSize != 0 {
		return coded{}, false
	}
	in := v.Node.In
	c := coded{codes: in[0], scale: in[1], zero: optional(in, 2)}
	c.Codes, ok = f.parameters(in[0].Type.DType, c.scale, c.zero)
	return c, ok
}

// optional returns input i of a node, or nil.
func optional(in []*graph.Value, i int) *graph.Value {
	if i < len(in) {
		return in[i]
	}
	return nil
}

// parameters reads a constant scale and zero point (nil: 0) of 8-bit codes.
func (f *qdqFuser) parameters(d tensor.DType, scale, zero *graph.Value) (op.Codes, bool) {
	c := op.Codes{DType: d}
	if d != tensor.Uint8 && d != tensor.Int8 || scale == nil {
		return c, false
	}
	s := f.constant(scale)
	if s == nil || s.DType != tensor.Float32 || s.Len() != 1 {
		return c, false
	}
	c.Scale = tensor.Item[float32](s)
	if !(c.Scale > 0) || math.IsInf(float64(c.Scale), 1) {
		return c, false
	}
	if zero == nil {
		return c, true
	}
	z := f.constant(zero)
	if z == nil || z.DType != d || z.Len() != 1 {
		return c, false
	}
	v, err := z.Ints()
	if err != nil {
		return c, false
	}
	c.Zero = int32(v[0])
	return c, true
}

// quantizer returns the parameters of a QuantizeLinear to 8 bits with one constant scale and zero point.
func (f *qdqFuser) quantizer(n *graph.Node) (op.Codes, bool) {
	o, ok := n.Op.(*op.QuantizeLinear)
	if !ok || o.BlockSize != 0 || o.Precision != 0 && o.Precision != int(tensor.Float32) || n.In[0].Type.DType != tensor.Float32 {
		return op.Codes{}, false
	}
	return f.parameters(n.Out[0].Type.DType, n.In[1], optional(n.In, 2))
}

// quantEnd is the way from an operator to the codes of its result.
type quantEnd struct {
	chain  []*graph.Node // begins with the operator, ends with QuantizeLinear
	y      op.Codes
	lo, hi float32 // of a Relu or Clip between them; infinite if there is none
}

// end follows the chain through a Relu or Clip to a QuantizeLinear.
func (f *qdqFuser) end(chain []*graph.Node) (quantEnd, bool) {
	e := quantEnd{chain: chain, lo: float32(math.Inf(-1)), hi: float32(math.Inf(1))}
	last := chain[len(chain)-1]
	n := f.next(last)
	if n == nil {
		return e, false
	}
	if lo, hi, ok := f.clamp(n, last.Out[0]); ok {
		e.lo, e.hi = lo, hi
		e.chain = append(e.chain[:len(chain):len(chain)], n)
		if n = f.next(n); n == nil {
			return e, false
		}
	}
	var ok bool
	e.y, ok = f.quantizer(n)
	e.chain = append(e.chain[:len(e.chain):len(e.chain)], n)
	return e, ok
}

// clamp returns the limits of a Relu, or of a Clip with constant limits.
func (f *qdqFuser) clamp(n *graph.Node, v *graph.Value) (lo, hi float32, ok bool) {
	lo, hi = float32(math.Inf(-1)), float32(math.Inf(1))
	switch n.Op.(type) {
	case *op.Relu:
		return 0, hi, n.In[0] == v
	case *op.Clip:
		for i, limit := range []*float32{&lo, &hi} {
			x := optional(n.In, i+1)
			if x == nil {
				continue
			}
			t := f.constant(x)
			if t == nil || t.DType != tensor.Float32 || t.Len() != 1 {
				return 0, 0, false
			}
			*limit = tensor.Item[float32](t)
		}
		return lo, hi, n.In[0] == v && lo <= hi
	}
	return 0, 0, false
}

// result is the end as an integer product computes it: since rounding keeps the order, a number is clipped as well before it as
// after.
func (e *quantEnd) result() op.QuantResult {
	return op.QuantResult{Codes: e.y, Lo: e.y.Code(e.lo), Hi: e.y.Code(e.hi)}
}

// free reports whether the range of the codes clips all that a Relu or Clip does.
func (e *quantEnd) free() bool {
	r := e.result()
	lo, hi := e.y.Limits()
	return r.Lo == lo && r.Hi == hi
}

// out is the value of the codes.
func (e *quantEnd) out() *graph.Value { return e.chain[len(e.chain)-1].Out[0] }

// parametersOf returns scale and zero point of the end as values.
func (e *quantEnd) parameters() (scale, zero *graph.Value) {
	in := e.chain[len(e.chain)-1].In
	return in[1], optional(in, 2)
}

// quantWeight is a constant 8-bit weight, with scales per tensor or per output channel.
type quantWeight struct {
	value, stored      *graph.Value   // stored: the parameter that holds the codes
	codes, scale, zero *tensor.Tensor // zero: nil for 0
	trans              bool           // a matrix that is used transposed
	channels           int
	size               []float64 // per channel, the largest magnitude that a sum over codes can have
}

// weight returns the constant weight that v is the dequantized form of, or false. channel is the axis of its output channels.
func (f *qdqFuser) weight(v *graph.Value, channel int) (quantWeight, bool) {
	w := quantWeight{value: v}
	if v == nil || v.Node == nil {
		return w, false
	}
	n := v.Node
	if t, ok := n.Op.(*op.Transpose); ok && len(v.Type.Dims) == 2 && !keepsOrder(t.Perm) && n.In[0].Node != nil {
		n, w.trans, channel = n.In[0].Node, true, 1-channel
	}
	o, ok := n.Op.(*op.DequantizeLinear)
	if !ok || o.BlockSize != 0 || n.Out[0].Type.DType != tensor.Float32 {
		return w, false
	}
	w.stored = n.In[0]
	w.codes, w.scale = f.constant(w.stored), f.constant(n.In[1])
	if w.codes == nil || w.scale == nil || w.codes.Packed != nil || w.scale.DType != tensor.Float32 || channel >= len(w.codes.Shape) || w.codes.Len() == 0 {
		return w, false
	}
	if d := w.codes.DType; d != tensor.Uint8 && d != tensor.Int8 {
		return w, false
	}
	axis, err := tensor.Axis(o.Axis, len(w.codes.Shape))
	w.channels = w.codes.Shape[channel]
	if w.scale.Len() != 1 && (err != nil || axis != channel || len(w.scale.Shape) != 1 || w.scale.Len() != w.channels) {
		return w, false
	}
	for _, s := range tensor.Data[float32](w.scale) {
		if !(s > 0) || math.IsInf(float64(s), 1) {
			return w, false
		}
	}
	if z := optional(n.In, 2); z != nil {
		if w.zero = f.constant(z); w.zero == nil || w.zero.DType != w.codes.DType || w.zero.Len() != w.scale.Len() {
			return w, false
		}
	}
	return w, w.measure(channel)
}

// measure fills in size.
func (w *quantWeight) measure(channel int) bool {
	var zero []int64
	if w.zero != nil {
		var err error
		if zero, err = w.zero.Ints(); err != nil {
			return false
		}
	}
	w.size = make([]float64, w.channels)
	inner := w.codes.Shape[channel+1:].Len()
	codes, flip := w.codes.Bytes(), int64(0)
	if w.codes.DType == tensor.Int8 {
		flip = 0x80 // in two's complement, code^0x80 is 128 more than what the code stands for
	}
	for at := 0; at < len(codes); at += inner {
		m := at / inner % w.channels
		origin := flip
		if zero != nil {
			origin += zero[m%len(zero)]
		}
		sum := int64(0)
		for _, c := range codes[at : at+inner] {
			d := int64(c^byte(flip)) - origin
			sum += max(d, -d)
		}
		w.size[m] += 255 * float64(sum)
	}
	for _, s := range w.size {
		if s > math.MaxInt32 {
			return false
		}
	}
	return true
}

// biasCodes returns a bias as int32 codes of the scale of the sums, alpha*x.Scale*scale. False if they do not fit, or if
// rounding them would move results by more than a quarter of a code of y.
func (w *quantWeight) biasCodes(bias []float64, alpha float32, x, y op.Codes) ([]int32, bool) {
	if bias == nil {
		return nil, true
	}
	scale := tensor.Data[float32](w.scale)
	out := make([]int32, len(bias))
	for i, b := range bias {
		s := float64(alpha * x.Scale * scale[i%len(scale)])
		v := b / s
		q := math.RoundToEven(v)
		if !(w.size[i]+math.Abs(q) <= math.MaxInt32) || math.Abs(v-q)*math.Abs(s) > float64(y.Scale)/4 {
			return nil, false
		}
		out[i] = int32(q)
	}
	return out, true
}

// bias returns a constant bias of n values, one repeated; it may itself be held in codes.
func (f *qdqFuser) bias(v *graph.Value, n int) ([]float64, bool) {
	if v == nil {
		return nil, true
	}
	t := f.constant(v)
	var s, z *tensor.Tensor
	if t == nil {
		if v.Node == nil {
			return nil, false
		}
		o, ok := v.Node.Op.(*op.DequantizeLinear)
		if !ok || o.BlockSize != 0 {
			return nil, false
		}
		t, s = f.constant(v.Node.In[0]), f.constant(v.Node.In[1])
		if t == nil || s == nil || s.Len() != 1 && (s.Len() != n || len(t.Shape) != 1) {
			return nil, false
		}
		if zero := optional(v.Node.In, 2); zero != nil {
			if z = f.constant(zero); z == nil || z.Len() != s.Len() {
				return nil, false
			}
		}
	}
	if len(t.Shape) > 2 || t.Packed != nil {
		return nil, false
	}
	if t = rowBias(n)(t); t == nil {
		return nil, false
	}
	out := make([]float64, n)
	values, ok := reals(t)
	scale, okS := reals(s)
	zero, okZ := reals(z)
	if !ok || !okS || !okZ {
		return nil, false
	}
	for i := range out {
		out[i] = values[i%len(values)]
		if z != nil {
			out[i] -= zero[i%len(zero)]
		}
		if s != nil {
			out[i] *= scale[i%len(scale)]
		}
		if math.IsNaN(out[i]) || math.IsInf(out[i], 0) {
			return nil, false
		}
	}
	return out, true
}

// reals returns the values of a tensor of float32 or integers; nil stays nil.
func reals(t *tensor.Tensor) ([]float64, bool) {
	if t == nil {
		return nil, true
	}
	out := make([]float64, t.Len())
	if t.DType == tensor.Float32 {
		for i, v := range tensor.Data[float32](t) {
			out[i] = float64(v)
		}
		return out, true
	}
	v, err := t.Ints()
	if err != nil {
		return nil, false
	}
	for i := range out {
		out[i] = float64(v[i])
	}
	return out, true
}

// floatBias is a bias as float operators take it; nil stays nil.
func floatBias(bias []float64) *tensor.Tensor {
	if bias == nil {
		return nil
	}
	t := tensor.New(tensor.Float32, len(bias))
	for i, b := range bias {
		tensor.Data[float32](t)[i] = float32(b)
	}
	return t
}
