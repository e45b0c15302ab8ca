package quantize

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// prepare brings operators to forms of the same function that have integer kernels: a mean over the image to GlobalAveragePool, a
// constant factor on the left of a MatMul to the right, the transposed input of a Gemm to a Transpose in front of it, and the
// parts of a HardSwish to one.
func prepare(g *graph.Graph) error {
	values, nodes := allNames(g)
	r := newRewriter(g, values, nodes)
	uses := g.Uses()
	gone := map[*graph.Node]bool{}
	for _, n := range g.Nodes {
		r.scope = n.Name
		switch o := n.Op.(type) {
		case *op.ReduceMean:
			if keep, ok := imageMean(g, n); ok {
				r.imageMean(n, keep)
				continue
			}
		case *op.MatMul:
			if leftFactor(g, n) {
				r.leftMatMul(n)
				continue
			}
		case *op.Gemm:
			if o.TransA && !g.IsParam(n.In[0]) {
				plain := *o
				plain.TransA = false
				n.Op = &plain
				n.In = slices.Clone(n.In)
				n.In[0] = r.emit("_transpose", 1, "Transpose", attrs{"perm": []int64{1, 0}}, n.In[0])[0]
			}
		case *op.Mul:
			if x, parts, ok := hardSwish(g, uses, n); ok {
				for _, m := range parts {
					gone[m] = true
				}
				r.become(r.add("_hardswish", "HardSwish", x), n.Out[0])
				continue
			}
		}
		r.nodes = append(r.nodes, n)
	}
	g.Nodes = slices.DeleteFunc(r.nodes, func(n *graph.Node) bool { return gone[n] })
	return r.err
}

// imageMean reports whether a ReduceMean goes over all dimensions but the first two, and keeps them.
func imageMean(g *graph.Graph, n *graph.Node) (keep, ok bool) {
	x := n.In[0].Type
	if !x.Ranked || x.DType != tensor.Float32 || len(x.Dims) < 3 || len(n.In) < 2 || n.In[1] == nil || n.Out[0] == nil {
		return false, false
	}
	t, err := g.Constant(n.In[1])
	if err != nil || t == nil {
		return false, false
	}
	axes, err := t.Ints()
	if err != nil || len(axes) != len(x.Dims)-2 {
		return false, false
	}
	seen := map[int]bool{}
	for _, a := range axes {
		k, err := tensor.Axis(int(a), len(x.Dims))
		if err != nil || k < 2 || seen[k] {
			return false, false
		}
		seen[k] = true
	}
	return op.Attrs(n.Op)["keepdims"] != int64(0), true
}

func (r *rewriter) imageMean(n *graph.Node, keep bool) {
	y := r.add("_pool", "GlobalAveragePool", n.In[0])
	if !keep {
		axes := make([]int64, len(n.In[0].Type.Dims)-2)
		for i := range axes {
			axes[i] = int64(i + 2)
		}
		y = r.add("_squeeze", "Squeeze", y, r.param(n.Name+"_axes", tensor.Vector(axes...)))
	}
	r.become(y, n.Out[0])
}

// leftFactor reports whether a MatMul multiplies a constant matrix by activations.
func leftFactor(g *graph.Graph, n *graph.Node) bool {
	w, x := n.In[0], n.In[1]
	return g.IsParam(w) && !g.IsParam(x) && w.Data.DType() == tensor.Float32 && len(w.Data.Shape()) == 2 && x.Type.Ranked && x.Type.DType == tensor.Float32 && len(x.Type.Dims) > 0
}

// leftMatMul writes W times x as the transpose of x' times W', which has a scale for every row of W.
func (r *rewriter) leftMatMul(n *graph.Node) {
	x := n.In[1]
	w := r.shared(leftKey{paramKey(n.In[0])}, n.In[0].Name+"_transposed", func() tensor.Source { return &transposed{n.In[0].Data} })
	rank := len(x.Type.Dims)
	if rank == 1 { // a vector is its own transpose
		r.become(r.add("_product", "MatMul", x, w), n.Out[0])
		return
	}
	perm := make([]int64, rank)
	for i := range perm {
		perm[i] = int64(i)
	}
	perm[rank-2], perm[rank-1] = perm[rank-1], perm[rank-2]
	y := r.add("_product", "MatMul", r.emit("_transpose", 1, "Transpose", attrs{"perm": perm}, x)[0], w)
	r.become(r.emit("_restore", 1, "Transpose", attrs{"perm": perm}, y)[0], n.Out[0])
}

type leftKey struct{ param any }

// transposed is a matrix of float32 whose rows are the columns of another.
type transposed struct{ of tensor.Source }

func (t *transposed) Shape() tensor.Shape {
	s := t.of.Shape()
	return tensor.Shape{s[1], s[0]}
}

func (t *transposed) DType() tensor.DType { return tensor.Float32 }

// Parts implements [tensor.Derived].
func (t *transposed) Parts() []tensor.Source { return []tensor.Source{t.of} }

// Spread implements [tensor.Derived].
func (t *transposed) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	turned, err := (&transposed{tensor.InMemory(value)}).Load()
	if err == nil {
		copy(tensor.Data[float32](parts[0]), tensor.Data[float32](turned))
	}
	return err
}

func (t *transposed) Load() (*tensor.Tensor, error) {
	w, err := t.of.Load()
	if err != nil {
		return nil, err
	}
	f, err := w.Floats()
	if err != nil {
		return nil, err
	}
	rows, cols := w.Shape[0], w.Shape[1]
	out := make([]float32, len(f))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = f[i*cols+j]
		}
	}
	return tensor.Of(t.Shape(), out), nil
}

// hardSwish reports whether n ends x*clip(x+3, 0, 6)/6, in one of the orders in which exporters write it (Howard et al., "Searching
// for MobileNetV3", 2019): Mul(x, Div(clip, 6)) or Mul(x, HardSigmoid(x)) of a slope of a sixth. parts are the nodes in front of it.
func hardSwish(g *graph.Graph, uses map[*graph.Value][]*graph.Node, n *graph.Node) (x *graph.Value, parts []*graph.Node, ok bool) {
	alone := func(v *graph.Value) *graph.Node {
		if v == nil || v.Node == nil || len(uses[v]) != 1 || g.IsOutput(v) {
			return nil
		}
		return v.Node
	}
	near := func(v *graph.Value, want float64) bool {
		if v == nil {
			return false
		}
		t, err := g.Constant(v)
		if err != nil || t == nil || t.DType != tensor.Float32 || t.Len() != 1 {
			return false
		}
		d := float64(tensor.Item[float32](t)) - want
		return d > -1e-6 && d < 1e-6
	}
	for i, v := range n.In {
		x = n.In[1-i]
		m := alone(v)
		if m == nil || x.Type.DType != tensor.Float32 {
			continue
		}
		switch o := m.Op.(type) {
		case *op.HardSigmoid:
			if m.In[0] == x && o.Alpha > 1./6-1e-6 && o.Alpha < 1./6+1e-6 && o.Beta == 0.5 {
				return x, []*graph.Node{m}, true
			}
			continue
		case *op.Div:
			if !near(m.In[1], 6) {
				continue
			}
		case *op.Mul:
			if !near(m.In[1], 1./6) {
				continue
			}
		default:
			continue
		}
		clip := alone(m.In[0])
		if clip == nil || clip.Op.Kind() != "Clip" || len(clip.In) < 3 || !near(clip.In[1], 0) || !near(clip.In[2], 6) {
			continue
		}
		add := alone(clip.In[0])
		if add == nil || add.Op.Kind() != "Add" {
			continue
		}
		if add.In[0] == x && near(add.In[1], 3) || add.In[1] == x && near(add.In[0], 3) {
			return x, []*graph.Node{add, clip, m}, true
		}
	}
	return nil, nil, false
}
