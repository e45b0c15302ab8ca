package pass

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// This file recognizes single operators in what exporters spell out node by node: GELU and layer normalization.

// scalar returns the value of a constant of one element.
func (f *fuser) scalar(v *graph.Value) (float64, bool) {
	if v == nil {
		return 0, false
	}
	t := f.constant(v)
	if t == nil || t.Len() != 1 || t.DType != tensor.Float32 {
		return 0, false
	}
	return float64(tensor.Item[float32](t)), true
}

// withScalar reports whether n applies kind to v and a constant close to c, v on the left unless the operation commutes.
func (f *fuser) withScalar(n *graph.Node, kind string, v *graph.Value, c float64) bool {
	if n == nil || n.Op.Kind() != kind {
		return false
	}
	o := other(n, v)
	if kind == "Div" && n.In[0] != v || o == nil {
		return false
	}
	got, ok := f.scalar(o)
	return ok && math.Abs(got-c) <= 1e-5*math.Abs(c)
}

// reads reports whether v is read by exactly the given nodes, once each.
func (f *fuser) reads(v *graph.Value, nodes ...*graph.Node) bool {
	if f.g.IsOutput(v) || len(f.uses[v]) != len(nodes) {
		return false
	}
	for _, n := range nodes {
		found := false
		for _, u := range f.uses[v] {
			found = found || u == n
		}
		if !found {
			return false
		}
	}
	return true
}

// RecognizeGelu finds x*0.5*(1+erf(x/sqrt(2))), in the orders in which exporters write it, and makes it one Gelu (Hendrycks and
// Gimpel 2016; ONNX Gelu).
func RecognizeGelu(g *graph.Graph) error {
	f := newFuser(g)
	for _, e := range g.Nodes {
		if _, ok := e.Op.(*op.Erf); !ok || f.gone[e] || e.In[0].Node == nil {
			continue
		}
		scale := e.In[0].Node
		x := scale.In[0]
		if !f.withScalar(scale, "Div", x, math.Sqrt2) && !f.withScalar(scale, "Mul", x, math.Sqrt2/2) {
			if len(scale.In) < 2 {
				continue
			}
			if x = scale.In[1]; !f.withScalar(scale, "Mul", x, math.Sqrt2/2) {
				continue
			}
		}
		if f.next(scale) != e || x.Type.DType != tensor.Float32 {
			continue
		}
		shift := f.next(e)
		if !f.withScalar(shift, "Add", e.Out[0], 1) {
			continue
		}
		m := f.next(shift)
		if m == nil || m.Op.Kind() != "Mul" {
			continue
		}
		var chain []*graph.Node
		switch o := other(m, shift.Out[0]); {
		case o == x: // x * (1+erf), then * 0.5
			if half := f.next(m); f.withScalar(half, "Mul", m.Out[0], 0.5) {
				chain = []*graph.Node{scale, e, shift, m, half}
			}
		case f.withScalar(m, "Mul", shift.Out[0], 0.5): // (1+erf) * 0.5, then * x
			if last := f.next(m); last != nil && last.Op.Kind() == "Mul" && other(last, m.Out[0]) == x {
				chain = []*graph.Node{scale, e, shift, m, last}
			}
		case o != nil && o.Node != nil && f.withScalar(o.Node, "Mul", x, 0.5) && f.next(o.Node) == m: // (x * 0.5) * (1+erf)
			chain = []*graph.Node{scale, e, shift, o.Node, m}
		}
		if chain == nil {
			continue
		}
		gelu, _ := op.New("Gelu")
		f.replace(chain, gelu, x)
		chain[len(chain)-1].Out[0].Type = x.Type
	}
	return f.finish()
}

// RecognizeLayerNorm finds (x-mean(x))/sqrt(mean((x-mean(x))^2)+eps), over the last dimension and with scale and bias behind
// it, and makes it one LayerNormalization (Ba et al. 2016; ONNX LayerNormalization).
func RecognizeLayerNorm(g *graph.Graph) error {
	f := newFuser(g)
	for _, div := range g.Nodes {
		if div.Op.Kind() != "Div" || len(div.In) != 2 || div.In[0].Node == nil || div.In[1].Node == nil || f.gone[div] {
			continue
		}
		sub, root := div.In[0].Node, div.In[1].Node
		if sub.Op.Kind() != "Sub" || root.Op.Kind() != "Sqrt" || root.In[0].Node == nil || f.next(root) != div {
			continue
		}
		x := sub.In[0]
		mean := sub.In[1].Node
		add := root.In[0].Node
		if mean == nil || !f.isLastMean(mean, x) || f.next(mean) != sub || add.Op.Kind() != "Add" || f.next(add) != root {
			continue
		}
		variance := add.In[0].Node
		eps, ok := f.scalar(add.In[1])
		if !ok {
			variance = add.In[1].Node
			if eps, ok = f.scalar(add.In[0]); !ok {
				continue
			}
		}
		if variance == nil || f.next(variance) != add || len(variance.In) == 0 || variance.In[0].Node == nil {
			continue
		}
		square := variance.In[0].Node
		d := sub.Out[0]
		if !f.isLastMean(variance, square.Out[0]) || f.next(square) != variance {
			continue
		}
		switch square.Op.Kind() {
		case "Pow":
			if square.In[0] != d || !f.withScalar(square, "Pow", d, 2) || !f.reads(d, square, div) {
				continue
			}
		case "Mul":
			if square.In[0] != d || square.In[1] != d || len(f.uses[d]) != 3 || g.IsOutput(d) {
				continue
			}
		default:
			continue
		}
		width := x.Type.Dims[len(x.Type.Dims)-1]
		vector := func(v *graph.Value) bool {
			t := f.constant(v)
			return t != nil && t.DType == tensor.Float32 && len(t.Shape) == 1 && t.Shape[0] == width.Size
		}
		mul := f.next(div)
		if mul == nil || mul.Op.Kind() != "Mul" || other(mul, div.Out[0]) == nil || !vector(other(mul, div.Out[0])) {
			continue
		}
		chain := []*graph.Node{mean, sub, square, variance, add, root, div, mul}
		in := []*graph.Value{x, other(mul, div.Out[0])}
		if bias := f.next(mul); bias != nil && bias.Op.Kind() == "Add" && other(bias, mul.Out[0]) != nil && vector(other(bias, mul.Out[0])) {
			chain = append(chain, bias)
			in = append(in, other(bias, mul.Out[0]))
		}
		o, _ := op.New("LayerNormalization")
		if err := op.SetAttrs(o, map[string]any{"epsilon": float32(eps)}); err != nil {
			return err
		}
		f.replace(chain, o, in...)
	}
	return f.finish()
}

// isLastMean reports whether n is the mean of x over its last dimension, which stays with size one.
func (f *fuser) isLastMean(n *graph.Node, x *graph.Value) bool {
	if n.Op.Kind() != "ReduceMean" || n.In[0] != x || !x.Type.Ranked || len(x.Type.Dims) == 0 || x.Type.DType != tensor.Float32 || len(n.In) < 2 {
		return false
	}
	if a := op.Attrs(n.Op); a["keepdims"] != nil { // the default is to keep
		return false
	}
	axes := f.constant(n.In[1])
	if axes == nil || axes.Len() != 1 {
		return false
	}
	ax, err := axes.Ints()
	last := int64(len(x.Type.Dims) - 1)
	return err == nil && (ax[0] == -1 || ax[0] == last) && x.Type.Dims[last].IsKnown()
}
