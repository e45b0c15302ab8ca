package quantize

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// staticRun writes the QDQ form.
type staticRun struct {
	*rewriter
	place       *placement
	recipe      Recipe
	params      map[*graph.Value]activation
	corrections map[string]Correction            // of layers
	dq          map[*graph.Value]*graph.Value    // dequantized form by value
	pairs       map[*graph.Value][2]*graph.Value // scale and zero point parameters by root
	sums        map[*graph.Value][]float32       // scales of the integer sums that a MatMul's result is made of, by channel

	rounded Rounded
}

func (w *staticRun) rewrite(ctx context.Context) error {
	task := progress.From(ctx).Start("quantize", int64(len(w.place.layers)), "layers")
	defer task.Done()
	layers := map[*graph.Node]placedLayer{}
	for _, l := range w.place.layers {
		if l.why == "" {
			layers[l.node] = l
		}
	}
	old := w.g.Nodes
	for _, v := range w.g.Inputs {
		w.pair(v)
	}
	for _, n := range old {
		if err := ctx.Err(); err != nil {
			return err
		}
		in := slices.Clone(n.In)
		for i, v := range in {
			in[i] = w.read(n, v)
		}
		if l, ok := layers[n]; ok {
			var err error
			if in, err = w.layer(l, in); err != nil {
				return fmt.Errorf("layer %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
			task.Add(1)
		}
		if at := w.place.consts[n]; at != nil {
			if err := w.operands(n, at, in); err != nil {
				return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
		if w.place.roles[n] == absorbed && n.Op.Kind() == "Add" {
			if err := w.addedBias(n, in); err != nil {
				return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
		if w.place.roles[n] != lookup {
			n.In = in
			w.nodes = append(w.nodes, n)
		}
		for _, v := range n.Out {
			if v != nil {
				w.pair(v)
			}
		}
	}
	for i, v := range w.g.Outputs {
		if d := w.read(nil, v); d != v { // the output keeps its name: what it was called before gets another
			name := v.Name
			v.Name = w.values.Fresh(name + "_float")
			d.Name = name
			w.g.Outputs[i] = d
		}
	}
	w.g.Nodes = w.nodes
	return w.err
}

// read returns what n, or the caller of the model if n is nil, reads in place of v: the dequantized form, unless both what
// computes v and n are in float.
func (w *staticRun) read(n *graph.Node, v *graph.Value) *graph.Value {
	d := w.dq[v]
	if d == nil || (n == nil || w.place.roles[n] == inFloat) && w.place.floatMade(v) {
		return v
	}
	return d
}

// pair emits QuantizeLinear and DequantizeLinear behind a value that is held in 8 bits.
func (w *staticRun) pair(v *graph.Value) {
	a, ok := w.params[v]
	if !ok {
		return
	}
	root, old := w.place.find(v), v
	par, ok := w.pairs[root]
	if !ok {
		par = [2]*graph.Value{w.param(root.Name+"_scale", tensor.Scalar(a.scale)), w.zeroPoint(a)}
		w.pairs[root] = par
	}
	w.scope = v.Name
	if lo, hi := a.limits(); a.bits > 0 { // the type has more codes
		least := w.shared(clampKey{root, lo}, root.Name+"_least", func() tensor.Source { return tensor.InMemory(tensor.Scalar(float32(a.value(lo)))) })
		most := w.shared(clampKey{root, hi}, root.Name+"_most", func() tensor.Source { return tensor.InMemory(tensor.Scalar(float32(a.value(hi)))) })
		v = w.add("_clamped", "Clip", v, least, most)
	}
	q := w.add("_q", "QuantizeLinear", v, par[0], par[1])
	w.dq[old] = w.add("_dq", "DequantizeLinear", q, par[0], par[1])
}

// clampKey is the key of a limit of the codes of a root.
type clampKey struct {
	root *graph.Value
	code int32
}

// operands puts the constant operands of a node into codes. A Sub or Div of a constant becomes an Add or Mul, which have kernels.
func (w *staticRun) operands(n *graph.Node, at []int, in []*graph.Value) error {
	for _, i := range at {
		t, err := n.In[i].Data.Load()
		if err != nil {
			return fmt.Errorf("constant %q: %w", n.In[i].Name, err)
		}
		f, err := t.Floats()
		if err != nil {
			return fmt.Errorf("constant %q: %w", n.In[i].Name, err)
		}
		a := w.place.constantCodes(n, f)
		codes, err := a.tensor(t.Shape, operandValues(n, f))
		if err != nil {
			return fmt.Errorf("constant %q: %w", n.In[i].Name, err)
		}
		w.scope = n.Name
		name := n.In[i].Name
		in[i] = w.add("_constant", "DequantizeLinear", w.param(name+"_q", codes),
			w.param(name+"_scale", tensor.Scalar(a.scale)), w.zeroPoint(a))
	}
	switch n.Op.(type) {
	case *op.Sub:
		n.Op = w.op("Add", nil)
	case *op.Div:
		n.Op = w.op("Mul", nil)
	}
	return nil
}

// layer quantizes the weight and bias of a layer into its inputs: the weight symmetric with a scale per output channel, the bias
// in 32 bits with the product of both scales. It returns the inputs, of which there may be one more.
func (w *staticRun) layer(l placedLayer, in []*graph.Value) ([]*graph.Value, error) {
	if l.weight == nil {
		return in, nil
	}
	if o, ok := l.node.Op.(*op.Gemm); ok && (o.Alpha != 1 || o.Beta != 1) {
		plain := *o
		plain.Alpha, plain.Beta = 1, 1
		defer func() { l.node.Op = &plain }()
	}
	r, err := l.round(&w.recipe, w.params[l.x].scale)
	if err != nil {
		return in, err
	}
	c, axis := r.codes, r.axis
	correction, corrected := w.corrections[l.node.Name]
	if corrected && correction.Gain != nil {
		for i := range c.scale {
			k := i
			if c.blocks != nil {
				k = c.blocks.channel(i, l.channel)
			}
			c.scale[i] *= correction.Gain[k]
		}
	}
	w.rounded.note(l.weight, rounded(c, axis, r.alpha))
	w.scope = l.node.Name
	if l.x == nil {
		w.lookUp(l.node, c)
		return in, nil
	}
	if c.blocks != nil {
		return w.blocked(l, in, r, correction)
	}
	in[1] = w.weight(l, c, axis)
	if l.node.Op.Kind() == "MatMul" {
		s := slices.Clone(c.scale)
		for i := range s {
			s[i] *= w.params[l.x].scale
		}
		w.sums[l.node.Out[0]] = s
	}
	if added := w.place.addedBias(l.node); corrected && added != nil {
		return in, w.correct(w.place.only(l.node.Out[0]), added, Correction{Bias: correction.Bias})
	}
	if l.bias == nil && !corrected {
		return in, nil
	}
	name, b := l.node.Name+"_bias", tensor.New(tensor.Float32, len(correction.Bias))
	if l.bias != nil {
		name, b = l.bias.Name, r.bias
	}
	if corrected {
		if b, err = correction.of(b); err != nil {
			return in, fmt.Errorf("bias %q: %w", name, err)
		}
	}
	v, err := w.bias(name, b, c.scale, w.params[l.x].scale)
	return append(in[:2], v), err
}

// weight emits the DequantizeLinear of codes with a scale in all or one per index of an axis.
//
// ONNX Runtime makes a MatMulNBits of a product with such a weight where the activations are not in 8 bits, and that rounds them to 8
// bits again. It knows the weight by an axis of 1 or a scalar scale; what means the same in other words, an axis of -1 or a scale in
// a vector of one element, is computed in float, which is what 16-bit codes are for.
func (w *staticRun) weight(l placedLayer, c *codes, axis int) *graph.Value {
	scales, zero := c.scales(0), w.zeros(c.stored(), len(c.scale), 0)
	var at attrs
	wide := w.recipe.activations().wide() && l.node.Op.Kind() != "Conv"
	switch {
	case len(c.scale) > 1 && wide && axis == len(c.shape)-1:
		at = attrs{"axis": int64(-1)}
	case len(c.scale) > 1:
		at = attrs{"axis": int64(axis)}
	case wide:
		scales, zero = scales.Reshape(1), nil
	}
	in := []*graph.Value{graph.FromSource(w.values.Fresh(l.weight.Name+"_q"), c.source()), w.param(l.weight.Name+"_scale", scales), zero}
	if zero == nil { // 0
		in = in[:2]
	}
	return w.emit("_weight", 1, "DequantizeLinear", at, in...)[0]
}

// correct corrects the constant b that m adds to a product.
func (w *staticRun) correct(m *graph.Node, b *graph.Value, by Correction) error {
	t, err := scaledFloats(b, 1)
	if err == nil {
		t, err = by.of(t)
	}
	if err != nil {
		return fmt.Errorf("bias %q: %w", b.Name, err)
	}
	m.In = slices.Clone(m.In)
	m.In[slices.Index(m.In, b)] = w.param(b.Name+"_corrected", t)
	return nil
}

// of returns a bias of one value per channel, corrected.
func (c Correction) of(t *tensor.Tensor) (*tensor.Tensor, error) {
	old := tensor.Data[float32](t)
	if len(old) != len(c.Bias) {
		return nil, fmt.Errorf("%v: want a value for each of %d channels", t.Shape, len(c.Bias))
	}
	out := make([]float32, len(old))
	for i, v := range old {
		if c.Gain != nil {
			v *= c.Gain[i]
		}
		out[i] = v + c.Bias[i]
	}
	return tensor.Of(t.Shape, out), nil
}

// bias returns a bias in 32-bit codes with scale x*scale[i]; one that is broadcast in another way than along the channels, or
// does not fit, stays in float.
func (w *staticRun) bias(name string, t *tensor.Tensor, scale []float32, x float32) (*graph.Value, error) {
	bias := tensor.Data[float32](t)
	if err := checkFinite(name, t.Shape, bias); err != nil {
		return nil, err
	}
	s := make([]float32, len(scale))
	for i := range s {
		s[i] = x * scale[i]
	}
	if t.Rank() != 1 || len(s) > 1 && len(bias) != len(s) {
		return w.param(name, t), nil
	}
	codes := make([]int32, len(bias))
	for i, b := range bias {
		q := math.RoundToEven(float64(b) / float64(s[i%len(s)]))
		if math.Abs(q) > math.MaxInt32 {
			return w.param(name, t), nil
		}
		codes[i] = int32(q)
	}
	bscale, at := tensor.Scalar(s[0]), attrs(nil)
	if len(s) > 1 {
		bscale, at = tensor.Vector(s...), attrs{"axis": int64(0)}
	}
	return w.emit("_bias", 1, "DequantizeLinear", at, w.param(name+"_q", tensor.Of(t.Shape, codes)), w.param(name+"_scale", bscale))[0], nil
}

// addedBias rounds the bias behind a MatMul to multiples of the scale of its sums. It stays float, the form that runtimes fuse,
// and is what an integer kernel adds.
func (w *staticRun) addedBias(n *graph.Node, in []*graph.Value) error {
	for i, v := range n.In {
		s := w.sums[n.In[1-i]]
		if s == nil || !w.g.IsParam(v) {
			continue
		}
		t, err := scaledFloats(v, 1)
		if err != nil {
			return fmt.Errorf("bias %q: %w", v.Name, err)
		}
		if r := t.Rank(); len(s) > 1 && (r == 0 || t.Shape[r-1] != len(s)) {
			return nil
		}
		f := slices.Clone(tensor.Data[float32](t))
		if err := checkFinite(v.Name, t.Shape, f); err != nil {
			return err
		}
		for k, b := range f {
			scale := float64(s[k%len(s)])
			f[k] = float32(math.RoundToEven(float64(b)/scale) * scale)
		}
		in[i] = w.param(v.Name+"_rounded", tensor.Of(t.Shape, f))
		return nil
	}
	return nil
}

// scaledFloats loads a parameter, multiplied by a number, as float32.
func scaledFloats(v *graph.Value, by float32) (*tensor.Tensor, error) {
	t, err := v.Data.Load()
	if err != nil {
		return nil, err
	}
	f, err := t.Floats()
	if err != nil {
		return nil, err
	}
	if by != 1 {
		f = slices.Clone(f)
		for i := range f {
			f[i] *= by
		}
	}
	return tensor.Of(t.Shape, f), nil
}
