package quantize

import (
	"context"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// dynamic stores weights in 8 bits and quantizes activations at run time, or stores weights in 16-bit floats.
//
// What it writes is ONNX's own: DynamicQuantizeLinear with MatMulInteger or ConvInteger for products, DynamicQuantizeLSTM
// (com.microsoft) for LSTM, the GRU equations over MatMulInteger in a Scan, Gather on codes for embeddings, and Cast
// behind 16-bit weights. Only combinations that ONNX Runtime's CPU kernels have are written.
var dynamic = Method{
	Name:    "dynamic",
	Title:   "8-bit weights, activations quantized at run time; no calibration data",
	Weights: []string{"qint8", "quint8", "float16", "bfloat16"},
	plan:    planDynamic,
	run:     runDynamic,
}

// dynamicLayer says how one operator is quantized.
type dynamicLayer struct {
	// weights are the input positions of its weights in a node.
	weights func(g *graph.Graph, n *graph.Node) []int
	// refuse says why this node cannot be quantized, or nothing.
	refuse func(g *graph.Graph, n *graph.Node) string
	// channels is the number of scales of the weight at input i, of the given shape.
	channels func(n *graph.Node, i int, shape tensor.Shape) int
	rewrite  func(d *dynamicRun, n *graph.Node) error
}

// dynamicLayers lists the operators with an integer form.
var dynamicLayers = map[string]dynamicLayer{
	"MatMul": {weights: matMulWeight, refuse: refuseMatMul, channels: func(_ *graph.Node, i int, s tensor.Shape) int { return s[i] }, rewrite: (*dynamicRun).matMul},
	"Gemm":   {weights: inputs(1), refuse: refuseMatMul, channels: gemmChannels, rewrite: (*dynamicRun).gemm},
	"Conv":   {weights: inputs(1), refuse: refuseConv, channels: firstDim, rewrite: (*dynamicRun).conv},
	"Gather": {weights: inputs(0), refuse: refuseGather, channels: firstDim, rewrite: (*dynamicRun).gather},
	"LSTM":   {weights: inputs(1, 2), refuse: refuseLSTM, channels: gateRows, rewrite: (*dynamicRun).lstm},
	"GRU":    {weights: inputs(1, 2), refuse: refuseGRU, channels: gateRows, rewrite: (*dynamicRun).gru},
}

func inputs(at ...int) func(*graph.Graph, *graph.Node) []int {
	return func(*graph.Graph, *graph.Node) []int { return at }
}

// matMulWeight finds the constant factor of a product: on the right as most exporters write it, or on the left (W times a
// column of activations).
func matMulWeight(g *graph.Graph, n *graph.Node) []int {
	if !g.IsParam(n.In[1]) && g.IsParam(n.In[0]) {
		return []int{0}
	}
	return []int{1}
}

func firstDim(_ *graph.Node, _ int, s tensor.Shape) int { return s[0] }

// gateRows is for recurrent weights [directions, gates*hidden, input].
func gateRows(_ *graph.Node, _ int, s tensor.Shape) int { return s[0] * s[1] }

// weighted lists operators with large constant weights that have no integer form in ONNX Runtime, so that a plan can say so.
var weighted = map[string][]int{"ConvTranspose": {1}, "RNN": {1, 2}, "DeformConv": {1}, "Einsum": {1}, "com.microsoft.FusedMatMul": {1}, "com.microsoft.Attention": {1}}

func planDynamic(m *model.Model, r Recipe) (*Plan, error) {
	sel, err := newSelection(r)
	if err != nil {
		return nil, err
	}
	p := &Plan{Recipe: r}
	if r.Weight == "float16" || r.Weight == "bfloat16" {
		p.Decisions = planHalf(m.Graph, r, sel)
	} else {
		p.Decisions = planInt8(m.Graph, r, sel)
	}
	var layers []string
	for _, d := range p.Decisions {
		if !slices.Contains(layers, d.Layer) {
			layers = append(layers, d.Layer)
		}
	}
	return p, sel.check(layers)
}

func planInt8(g *graph.Graph, r Recipe, sel *selection) []Decision {
	var out []Decision
	for _, n := range g.Nodes {
		layer, ok := dynamicLayers[n.Op.Kind()]
		idx := weighted[n.Op.Kind()]
		if ok {
			idx = layer.weights(g, n)
		}
		if idx == nil {
			continue
		}
		var weights []*graph.Value
		constant := true
		for _, i := range idx {
			weights = append(weights, n.In[i])
			constant = constant && g.IsParam(n.In[i])
		}
		if !constant && (n.Op.Kind() == "Gather" || !ok) {
			continue // not a layer: an indexing or a product of two activations
		}
		why, skip := sel.skip(n, weights...)
		switch {
		case skip:
		case !ok:
			why = fmt.Sprintf("ONNX Runtime has no integer kernel for %s", n.Op.Kind())
		case !constant:
			why = "the weight is not constant"
		default:
			why = layer.refuse(g, n)
		}
		for k, w := range weights {
			d := Decision{Layer: n.Name, Op: n.Op.Kind(), Param: w.Name, Quantized: why == "", Why: why}
			if g.IsParam(w) {
				d.Shape = w.Data.Shape()
				d.Before = w.Data.DType().ByteLen(w.Data.Shape().Len())
			}
			d.After, d.Stored = d.Before, w.Type.DType.String()
			if d.Quantized {
				d.Scheme = tensor.Scheme{Code: "int", Bits: 8, Symmetric: r.Weight == "qint8"}
				scales := 1
				if r.PerTensor {
					d.Scheme.Group = -1
				} else {
					scales = layer.channels(n, idx[k], d.Shape)
				}
				d.Stored = d.Scheme.String()
				d.After = tensor.Shape(d.Shape).Len() + 4*scales
				d.Why = "integer kernel, activations quantized at run time"
			}
			out = append(out, d)
		}
	}
	return out
}

func refuseFloat32(g *graph.Graph, n *graph.Node, x int, weights ...int) string {
	if x >= 0 && n.In[x].Type.DType != tensor.Float32 {
		return fmt.Sprintf("activations are %v; the integer form takes float32", n.In[x].Type.DType)
	}
	for _, i := range weights {
		if d := n.In[i].Data.DType(); d != tensor.Float32 {
			return fmt.Sprintf("the weight is %v already", d)
		}
		if len(n.In[i].Data.Shape()) == 0 || n.In[i].Data.Shape().Len() == 0 {
			return "the weight is empty"
		}
	}
	return ""
}

func refuseMatMul(g *graph.Graph, n *graph.Node) string {
	w := 1
	if n.Op.Kind() == "MatMul" {
		w = matMulWeight(g, n)[0]
	}
	x := 1 - w
	if why := refuseFloat32(g, n, x, w); why != "" {
		return why
	}
	if len(n.In[w].Data.Shape()) != 2 {
		return fmt.Sprintf("the weight has rank %d; the integer form takes matrices", len(n.In[w].Data.Shape()))
	}
	if t := n.In[x].Type; w == 0 && !t.Ranked {
		return fmt.Sprintf("the input is %v; a weight on the left takes one of known rank", t)
	}
	return ""
}

func refuseConv(g *graph.Graph, n *graph.Node) string {
	if why := refuseFloat32(g, n, 0, 1); why != "" {
		return why
	}
	if len(n.In) > 2 && n.In[2] != nil && !g.IsParam(n.In[2]) {
		return "the bias is not constant"
	}
	return ""
}

// smallTable is the size below which a looked-up table is not worth the two extra nodes.
const smallTable = 1 << 10

func refuseGather(g *graph.Graph, n *graph.Node) string {
	if why := refuseFloat32(g, n, -1, 0); why != "" {
		return why
	}
	s := n.In[0].Data.Shape()
	switch {
	case len(s) != 2 || intAttr(n.Op, "axis") != 0:
		return "not an embedding: a table of rank 2 looked up by rows"
	case s.Len() < smallTable:
		return fmt.Sprintf("a small table (%v)", s)
	}
	return ""
}

// planHalf decides which parameters are stored in 16 bits: every float32 one but the smallest.
func planHalf(g *graph.Graph, r Recipe, sel *selection) []Decision {
	const smallest = 64 // elements; below that a Cast node costs more than it saves
	var out []Decision
	seen := map[*graph.Value]bool{}
	for _, n := range g.Nodes {
		for _, w := range n.In {
			if w == nil || w.Data == nil || seen[w] || w.Data.DType() != tensor.Float32 {
				continue
			}
			seen[w] = true
			size := w.Data.Shape().Len()
			d := Decision{Layer: n.Name, Op: n.Op.Kind(), Param: w.Name, Shape: w.Data.Shape(), Before: 4 * size, After: 4 * size, Stored: "float32"}
			why, skip := sel.skip(n, w)
			switch {
			case skip:
				d.Why = why
			case !g.IsParam(w):
				d.Why = "a graph input with a default, which a caller may replace"
			case size < smallest:
				d.Why = fmt.Sprintf("small (%d values)", size)
			default:
				d.Quantized, d.After = true, 2*size
				d.Scheme = tensor.Scheme{Code: r.Weight}
				d.Stored = r.Weight
				d.Why = "stored in 16 bits, computed in float32"
			}
			out = append(out, d)
		}
	}
	return out
}

// dynamicRun is the state of carrying out a plan.
type dynamicRun struct {
	*rewriter
	recipe Recipe
	ready  map[string]*codes // quantized weights by parameter, for weights that several layers share
}

func runDynamic(ctx context.Context, m *model.Model, p *Plan) error {
	d := &dynamicRun{rewriter: newRewriter(m.Graph), recipe: p.Recipe, ready: map[string]*codes{}}
	chosen := map[string]bool{}
	for _, x := range p.Decisions {
		if x.Quantized {
			chosen[x.Layer] = true
		}
	}
	task := progress.From(ctx).Start("quantize", int64(p.Quantized()), "weights")
	defer task.Done()
	if p.Recipe.Weight == "float16" || p.Recipe.Weight == "bfloat16" {
		if err := d.half(ctx, p, task); err != nil {
			return err
		}
	} else {
		for _, n := range m.Graph.Nodes {
			if err := ctx.Err(); err != nil {
				return err
			}
			layer, ok := dynamicLayers[n.Op.Kind()]
			if !ok || !chosen[n.Name] {
				d.nodes = append(d.nodes, n)
				continue
			}
			d.scope = n.Name
			if err := layer.rewrite(d, n); err != nil {
				return fmt.Errorf("layer %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
			task.Add(int64(len(layer.weights(m.Graph, n))))
		}
		m.Graph.Nodes = d.nodes
	}
	if d.err != nil {
		return d.err
	}
	return m.Graph.Verify()
}

// half stores the chosen parameters in 16 bits behind a Cast to float32, one per parameter.
func (d *dynamicRun) half(ctx context.Context, p *Plan, task progress.Task) error {
	to := tensor.Float16
	if p.Recipe.Weight == "bfloat16" {
		to = tensor.BFloat16
	}
	for i := range p.Decisions {
		x := &p.Decisions[i]
		if !x.Quantized {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		w := d.paramNamed(x.Param)
		t, err := w.Data.Load()
		if err != nil {
			return fmt.Errorf("weight %q: %w", x.Param, err)
		}
		f := tensor.Data[float32](t)
		if err := checkFinite(x.Param, t.Shape, f); err != nil {
			return err
		}
		if to == tensor.Float16 {
			if v := largest(f); v >= 65520 {
				x.Quantized, x.After, x.Stored = false, x.Before, "float32"
				x.Scheme = tensor.Scheme{}
				x.Why = fmt.Sprintf("values up to %.4g do not fit float16", v)
				continue
			}
		}
		v, err := tensor.FromFloat64s(to, t.Shape, widen(f))
		if err != nil {
			return err
		}
		d.scope = w.Name
		half := d.param(w.Name+"_"+p.Recipe.Weight, v)
		cast := d.emit("_cast", 1, "Cast", attrs{"to": int64(tensor.Float32)}, half)[0]
		for _, n := range d.g.Nodes {
			for j, in := range n.In {
				if in == w {
					n.In[j] = cast
				}
			}
		}
		for j, o := range d.g.Outputs {
			if o == w {
				d.g.Outputs[j] = cast
			}
		}
		task.Add(1)
	}
	d.g.Nodes = append(d.nodes, d.g.Nodes...)
	return nil
}

func (d *dynamicRun) paramNamed(name string) *graph.Value {
	for _, v := range d.g.Params() {
		if v.Name == name {
			return v
		}
	}
	panic("quantize: the plan names a parameter that the graph does not have: " + name)
}

func largest(f []float32) float32 {
	var m float32
	for _, v := range f {
		m = max(m, v, -v)
	}
	return m
}

func widen(f []float32) []float64 {
	out := make([]float64, len(f))
	for i, v := range f {
		out[i] = float64(v)
	}
	return out
}
